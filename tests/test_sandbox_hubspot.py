"""HubSpot's simulator over real sockets: what it answers, what it refuses, what it tells by webhook."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from sandbox.hubspot import HubSpotSim
from sandbox.hubspot_consent import MIRRORS
from sandbox.hubspot_events import sign as hubspot_sign
from sandbox.serve import Sandbox
from tests import sandboxed as stage
from tests.sandboxed import CONTACTS, Receiver, asked, create, settled, values

running, sandbox, hs, receiver = stage.running, stage.sandbox, stage.hs, stage.receiver  # the fixtures


# --- HubSpot: the gate ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"authorization": "Bearer wrong"}, 401),
        ({"authorization": "Basic pat"}, 401),
        ({"authorization": "Bearer TOKEN"}, 200),
        ({"authorization": "bearer TOKEN"}, 200),
    ],
)
def test_hubspot_wants_its_token(sandbox: Sandbox, headers: dict[str, str], status: int) -> None:
    """Without the right token every call is answered with HubSpot's own error body."""
    headers = {k: v.replace("TOKEN", sandbox.hubspot.token) for k, v in headers.items()}
    answer = httpx.get(sandbox.hubspot_url + CONTACTS, headers=headers)
    assert answer.status_code == status
    if status == 401:
        assert answer.json()["category"] == "INVALID_AUTHENTICATION"
        assert {"status", "message", "correlationId"} <= answer.json().keys()


def test_hubspot_limits_the_rate_as_published() -> None:
    """Calls beyond the limit of ten seconds get 429 with the policy's name; the window rolls on."""
    now = [1_000.0]
    sim = HubSpotSim(rate=3, search_rate=1, clock=lambda: now[0])
    token = {"authorization": f"Bearer {sim.token}"}
    answers = asked(sim, *[("GET", CONTACTS)] * 4, **token)
    assert [a.status_code for a in answers] == [200, 200, 200, 429]
    assert answers[0].headers["x-hubspot-ratelimit-remaining"] == "2"
    assert answers[0].headers["x-hubspot-ratelimit-interval-milliseconds"] == "10000"
    assert (answers[3].json()["policyName"], answers[3].json()["errorType"]) == ("TEN_SECONDLY_ROLLING", "RATE_LIMIT")
    searches = asked(sim, *[("POST", f"{CONTACTS}/search")] * 2, **token)
    assert [a.status_code for a in searches] == [400, 429]  # apart from the other calls
    assert searches[1].json()["policyName"] == "SECONDLY"
    now[0] += 10
    assert asked(sim, ("GET", CONTACTS), **token)[0].status_code == 200


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/crm/v3/objects/contacts", 200),
        ("/crm/objects/2026-03/contacts", 200),
        ("/crm/objects/2026-03/0-1", 200),
        ("/crm/v3/objects/contacts/", 200),
        ("/crm/properties/2026-09/contacts", 200),
        ("/crm/v3/properties/0-1/email", 200),
        ("/crm/owners/2026-03", 200),
        ("/crm/v3/owners/7001", 200),
        ("/crm/v3/owners/1", 404),
        ("/account-info/v3/details", 200),
        ("/communication-preferences/v3/definitions", 200),
        ("/communication-preferences/v4/definitions", 200),
        ("/communication-preferences/2026-03/definitions", 200),
        ("/crm/v3/objects/contacts/999", 404),
        ("/crm/v3/objects/unicorns", 404),
    ],
)
def test_hubspot_knows_both_families_of_paths(hs: httpx.Client, path: str, status: int) -> None:
    """Legacy and dated paths lead to the same endpoints; what is not there is a 404 in HubSpot's words."""
    answer = hs.get(path)
    assert answer.status_code == status
    assert status == 200 or answer.json()["status"] == "error"


# --- HubSpot: contacts ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("properties", "code"),
    [
        ({"email": "not an address"}, "INVALID_EMAIL"),
        ({"email": '"quoted"@example.com'}, "INVALID_EMAIL"),
        ({"email": "a@example"}, "INVALID_EMAIL"),
        ({"email": "a@example.com", "shoe_size": "43"}, "PROPERTY_DOESNT_EXIST"),
        ({"email": "a@example.com", "customer_tier": "Gold"}, "INVALID_OPTION"),
        ({"email": "a@example.com", "topics": "products;golf"}, "INVALID_OPTION"),
        ({"email": "a@example.com", "hs_language": "xx"}, "INVALID_OPTION"),
        ({"email": "a@example.com", "lastmodifieddate": "2026-01-01"}, "READ_ONLY_VALUE"),
        ({"email": "a@example.com", "hs_email_optout": "true"}, "READ_ONLY_VALUE"),
        ({"email": "a@example.com", "renewal_date": "soon"}, "INVALID_DATE"),
        ({"email": "a@example.com", "renewal_date": "1767229200000"}, "INVALID_DATE"),  # 01:00
    ],
)
def test_hubspot_refuses_what_does_not_fit(hs: httpx.Client, properties: dict[str, str], code: str) -> None:
    """An invalid property is named with its code, in the list of errors and in the message; nothing is created."""
    answer = hs.post(CONTACTS, json={"properties": properties})
    assert answer.status_code == 400
    assert [e["code"] for e in answer.json()["errors"]] == [code]
    assert json.loads(answer.json()["message"].partition(": ")[2])[0]["error"] == code
    assert hs.get(CONTACTS).json()["results"] == []


@pytest.mark.parametrize(
    ("name", "sent", "kept"),
    [
        ("email", "Ada@Example.COM", "ada@example.com"),
        ("firstname", 7, "7"),
        ("firstname", True, "true"),
        ("topics", "events;products;events", "events;products"),
        ("topics", ";research", "offers;research"),
        ("renewal_date", "1767225600000", "2026-01-01"),
        ("closedate", "2026-01-01T10:00:00+01:00", "2026-01-01T09:00:00.000Z"),
        ("lifecyclestage", "subscriber", "lead"),  # moves forward only
        ("lifecyclestage", "customer", "customer"),
        ("lifecyclestage", "", None),
        ("lastname", "", None),
        ("lastname", None, None),
    ],
)
def test_hubspot_keeps_values_as_text(hs: httpx.Client, name: str, sent: object, kept: str | None) -> None:
    """Each value comes back as text in HubSpot's form; an empty one clears."""
    id_ = create(hs, email="x@example.com", lastname="Old", topics="offers", lifecyclestage="lead")
    assert hs.patch(f"{CONTACTS}/{id_}", json={"properties": {name: sent}}).status_code == 200
    assert values(hs, id_, name) == [kept]


@pytest.mark.parametrize("email", ["ada@example.com", "ADA@example.com", "lovelace@example.org"])
def test_hubspot_has_one_contact_per_address(hs: httpx.Client, email: str) -> None:
    """A primary or secondary address of another contact is a conflict that names the other."""
    id_ = create(hs, email="ada@example.com", hs_additional_emails="lovelace@example.org")
    other = create(hs, email="bob@example.com")
    made = hs.post(CONTACTS, json={"properties": {"email": email}})
    moved = hs.patch(f"{CONTACTS}/{other}", json={"properties": {"email": email}})
    for answer in (made, moved):
        assert (answer.status_code, answer.json()["category"]) == (409, "CONFLICT")
        assert answer.json()["message"] == f"Contact already exists. Existing ID: {id_}"


def test_hubspot_swaps_a_secondary_address_with_the_primary_one(hs: httpx.Client) -> None:
    """Writing a contact's own secondary address as primary loses neither."""
    id_ = create(hs, email="a@example.com", hs_additional_emails="b@example.com;c@example.com")
    hs.patch(f"{CONTACTS}/{id_}", json={"properties": {"email": "b@example.com"}})
    assert values(hs, id_, "email", "hs_additional_emails") == ["b@example.com", "a@example.com;c@example.com"]


def test_hubspot_moves_the_modified_time_on_changes_only(hs: httpx.Client) -> None:
    """Each change is later than the one before; writing what is there already is no change."""
    id_ = create(hs, email="a@example.com", city="Bonn")
    one = hs.get(f"{CONTACTS}/{id_}").json()
    hs.patch(f"{CONTACTS}/{id_}", json={"properties": {"city": "Bonn"}})
    two = hs.get(f"{CONTACTS}/{id_}").json()
    hs.patch(f"{CONTACTS}/{id_}", json={"properties": {"city": "Kiel"}})
    three = hs.get(f"{CONTACTS}/{id_}").json()
    assert one["updatedAt"] == two["updatedAt"] == two["properties"]["lastmodifieddate"]
    assert two["updatedAt"] < three["updatedAt"]
    assert three["updatedAt"].endswith("Z")
    assert len(three["updatedAt"]) == len("2026-01-01T00:00:00.000Z")


def test_hubspot_shows_what_was_asked_for(hs: httpx.Client) -> None:
    """Without names there is a default set; unknown names are ignored; what has no value is null."""
    id_ = create(hs, email="a@example.com", city="Bonn")
    default = hs.get(f"{CONTACTS}/{id_}").json()["properties"]
    assert default.keys() == {"createdate", "email", "firstname", "hs_object_id", "lastmodifieddate", "lastname"}
    some = hs.get(f"{CONTACTS}/{id_}?properties=city,phone,unicorn").json()["properties"]
    assert (some["city"], some["phone"], "unicorn" in some) == ("Bonn", None, False)
    history = hs.get(f"{CONTACTS}/{id_}?propertiesWithHistory=city").json()["propertiesWithHistory"]
    assert [h["value"] for h in history["city"]] == ["Bonn"]


def test_hubspot_lists_page_by_page(hs: httpx.Client) -> None:
    """The list goes on after the last id of a page and misses nobody."""
    ids = [create(hs, email=f"p{i}@example.com") for i in range(5)]
    found, after = [], None
    for _ in range(3):
        params = {"limit": 2, **({"after": after} if after else {})}
        page = hs.get(CONTACTS, params=params).json()
        found += [c["id"] for c in page["results"]]
        after = page.get("paging", {}).get("next", {}).get("after")
    assert (found, after) == (ids, None)
    assert hs.get(CONTACTS, params={"limit": 101}).status_code == 400


def test_hubspot_archives_and_restores(sandbox: Sandbox, hs: httpx.Client) -> None:
    """An archived contact is out of every list but that of the archive, and its address is free."""
    id_ = create(hs, email="a@example.com")
    assert hs.delete(f"{CONTACTS}/{id_}").status_code == 204
    assert hs.get(f"{CONTACTS}/{id_}").status_code == 404
    archived = hs.get(CONTACTS, params={"archived": "true"}).json()["results"]
    assert [(c["id"], c["archived"], "archivedAt" in c) for c in archived] == [(id_, True, True)]
    assert hs.get(f"{CONTACTS}/{id_}?archived=true").status_code == 200
    other = create(hs, email="a@example.com")
    assert hs.post("/_sandbox/edit", json={"action": "restore", "id": id_}).status_code == 400
    hs.delete(f"{CONTACTS}/{other}")
    assert hs.post("/_sandbox/edit", json={"action": "restore", "id": id_}).json()["id"] == id_
    assert hs.get(f"{CONTACTS}/{id_}").status_code == 200


def test_hubspot_follows_merges_for_single_calls_only(hs: httpx.Client) -> None:
    """A merged id leads to the winner, which took over addresses and filled its gaps; batch calls do not follow."""
    winner = create(hs, email="a@example.com", firstname="Ada")
    loser = create(hs, email="b@example.com", firstname="Bea", city="Bonn")
    merged = hs.post(f"{CONTACTS}/merge", json={"primaryObjectId": winner, "objectIdToMerge": loser})
    assert merged.json()["id"] == winner
    assert hs.get(f"{CONTACTS}/{loser}").json()["id"] == winner
    assert hs.patch(f"{CONTACTS}/{loser}", json={"properties": {"phone": "1"}}).json()["id"] == winner
    names = ("email", "firstname", "city", "phone", "hs_additional_emails", "hs_merged_object_ids")
    assert values(hs, winner, *names) == ["a@example.com", "Ada", "Bonn", "1", "b@example.com", loser]
    batch = hs.post(f"{CONTACTS}/batch/read", json={"inputs": [{"id": loser}], "properties": []})
    assert (batch.status_code, batch.json()["errors"][0]["context"]["ids"]) == (207, [loser])
    assert hs.post(f"{CONTACTS}/merge", json={"primaryObjectId": "1", "objectIdToMerge": winner}).status_code == 404


def test_hubspot_can_merge_into_a_new_record() -> None:
    """Some merges make a record with a new id, to which both old ones lead."""
    sim = HubSpotSim(merge_makes_new=True)
    a = sim.edit({"action": "create", "properties": {"email": "a@example.com"}})["id"]
    b = sim.edit({"action": "create", "properties": {"email": "b@example.com"}})["id"]
    new = sim.edit({"action": "merge", "id": a, "loser": b})
    assert new["id"] not in {a, b}
    assert {sim.portal.by_id(i).id for i in (a, b)} == {int(new["id"])}
    assert set(new["properties"]["hs_merged_object_ids"].split(";")) == {a, b}


def test_hubspot_erases_for_good(hs: httpx.Client) -> None:
    """A privacy deletion leaves nothing, not even in the archive."""
    id_ = create(hs, email="a@example.com")
    body = {"objectId": "a@example.com", "idProperty": "email"}
    assert hs.post(f"{CONTACTS}/gdpr-delete", json=body).status_code == 204
    assert hs.get(f"{CONTACTS}/{id_}").status_code == 404
    assert hs.get(CONTACTS, params={"archived": "true"}).json()["results"] == []


# --- HubSpot: batch calls ---------------------------------------------------------------------------------------------


def test_hubspot_reads_in_batches(hs: httpx.Client) -> None:
    """By id or by address; who is missing makes the answer a 207 that names them."""
    a, b = (create(hs, email=f"{n}@example.com") for n in "ab")
    one = hs.post(f"{CONTACTS}/batch/read", json={"inputs": [{"id": a}, {"id": b}], "properties": ["email"]})
    assert (one.status_code, {r["id"] for r in one.json()["results"]}) == (200, {a, b})
    inputs = [{"id": "A@example.com"}, {"id": "nobody@example.com"}]
    two = hs.post(f"{CONTACTS}/batch/read", json={"inputs": inputs, "idProperty": "email", "properties": ["email"]})
    assert (two.status_code, [r["id"] for r in two.json()["results"]]) == (207, [a])
    error = two.json()["errors"][0]
    assert (error["category"], error["context"]["ids"]) == ("OBJECT_NOT_FOUND", ["nobody@example.com"])


@pytest.mark.parametrize(
    ("traces", "status", "made"),
    [
        (["t1", "t2", "t3"], 207, 2),
        (["t1", "t2", None], 409, 0),
        (["t1", "t1", "t2"], 409, 0),
        ([None, None, None], 409, 0),
    ],
)
def test_hubspot_creates_in_part_only_with_trace_ids(
    hs: httpx.Client, traces: list[str | None], status: int, made: int
) -> None:
    """The first error fails the whole batch, unless each input has a trace id of its own."""
    create(hs, email="taken@example.com")
    emails = ["new@example.com", "taken@example.com", "newer@example.com"]
    inputs = [
        {"properties": {"email": e}, **({"objectWriteTraceId": t} if t else {})}
        for e, t in zip(emails, traces, strict=True)
    ]
    answer = hs.post(f"{CONTACTS}/batch/create", json={"inputs": inputs})
    assert answer.status_code == status
    assert len(hs.get(CONTACTS).json()["results"]) == 1 + made
    if status == 207:
        error = answer.json()["errors"][0]
        assert (error["category"], error["context"]) == ("CONFLICT", {"objectWriteTraceId": ["t2"]})
        assert [r["objectWriteTraceId"] for r in answer.json()["results"]] == ["t1", "t3"]


@pytest.mark.parametrize(
    ("inputs", "status", "says"),
    [
        ([{"id": "ID", "properties": {"city": "Bonn"}}], 200, ""),
        ([{"id": "ID", "properties": {"city": "Bonn"}}, {"id": "7", "properties": {}}], 207, "may be deleted"),
        ([{"id": "ID", "properties": {"city": "Bonn"}}, {"id": "OTHER", "properties": {"nope": "1"}}], 400, "nope"),
        ([{"id": "a@example.com", "idProperty": "email", "properties": {"city": "Bonn"}}], 400, "non-unique"),
        ([{"id": "m1", "idProperty": "member_number", "properties": {"city": "Bonn"}}], 200, ""),
        ([{"id": "ID", "properties": {"city": "Bonn"}}, {"id": "ID", "properties": {}}], 400, "Duplicate IDs"),
    ],
)
def test_hubspot_updates_in_batches(hs: httpx.Client, inputs: list[dict[str, Any]], status: int, says: str) -> None:
    """A missing record is an error of its own, an invalid value fails the batch, an address names no record."""
    id_ = create(hs, email="a@example.com", member_number="m1")
    other = create(hs, email="b@example.com")
    inputs = [{**i, "id": i["id"].replace("ID", id_).replace("OTHER", other)} for i in inputs]
    answer = hs.post(f"{CONTACTS}/batch/update", json={"inputs": inputs})
    assert answer.status_code == status
    assert says in answer.text
    assert values(hs, id_, "city") == ["Bonn" if status < 300 else None]


def test_hubspot_upserts(hs: httpx.Client) -> None:
    """Rows say whether they are new; the value of the unique property need not be repeated."""
    a = create(hs, email="a@example.com")
    create(hs, email="c@example.com", hs_additional_emails="second@example.com")
    inputs = [
        {"id": e, "idProperty": "email", "properties": {"city": "Bonn"}, "objectWriteTraceId": e}
        for e in ("A@example.com", "b@example.com", "second@example.com")
    ]
    answer = hs.post(f"{CONTACTS}/batch/upsert", json={"inputs": inputs[:2]})
    assert (answer.status_code, [r["new"] for r in answer.json()["results"]]) == (200, [False, True])
    assert answer.json()["results"][0]["id"] == a
    second = hs.post(f"{CONTACTS}/batch/upsert", json={"inputs": inputs[2:]})
    assert (second.status_code, second.json()["errors"][0]["category"]) == (207, "CONFLICT")


@pytest.mark.parametrize("verb", ["read", "create", "update", "upsert", "archive"])
def test_hubspot_takes_a_hundred_inputs(hs: httpx.Client, verb: str) -> None:
    """A hundred inputs are taken, one more is refused as a whole."""
    one = {"id": "1", "properties": {"firstname": "x"}, "idProperty": "email"}
    answer = hs.post(f"{CONTACTS}/batch/{verb}", json={"inputs": [one] * 101})
    assert (answer.status_code, answer.json()["category"]) == (400, "VALIDATION_ERROR")


def test_hubspot_archives_in_batches_without_a_word(hs: httpx.Client) -> None:
    """The answer does not say which ids were known."""
    id_ = create(hs, email="a@example.com")
    answer = hs.post(f"{CONTACTS}/batch/archive", json={"inputs": [{"id": id_}, {"id": "7"}]})
    assert (answer.status_code, answer.content) == (204, b"")
    assert hs.get(CONTACTS).json()["results"] == []


# --- HubSpot: search --------------------------------------------------------------------------------------------------

ANN = {"email": "ann@example.com", "firstname": "Ann", "city": "Bonn", "customer_tier": "gold", "member_number": "1"}
BEA = {"email": "bea@example.com", "firstname": "Bea", "city": "Kiel", "renewal_date": "2026-02-01"}
CAT = {
    "email": "cat@other.net",
    "firstname": "Cat",
    "hs_additional_emails": "kitty@example.com",
    "topics": "events;offers",
}
RENEWAL = {"propertyName": "renewal_date"}
IN_TOWN = {"propertyName": "city", "operator": "HAS_PROPERTY"}


def search(hs: httpx.Client, *groups: list[dict[str, Any]], **more: Any) -> httpx.Response:
    body = {"filterGroups": [{"filters": g} for g in groups], "sorts": [], "properties": ["email"], "limit": 10}
    return hs.post(f"{CONTACTS}/search", json={**body, "after": "0", **more})


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ([{"propertyName": "firstname", "operator": "EQ", "value": "ann"}], "a"),
        ([{"propertyName": "firstname", "operator": "NEQ", "value": "Ann"}], "bc"),
        ([{"propertyName": "customer_tier", "operator": "EQ", "value": "Gold"}], "a"),
        ([{"propertyName": "city", "operator": "IN", "values": ["bonn", "kiel"]}], "ab"),
        ([{"propertyName": "city", "operator": "IN", "values": ["Bonn"]}], ""),
        ([{"propertyName": "city", "operator": "NOT_IN", "values": ["bonn"]}], "b"),
        ([{"propertyName": "city", "operator": "HAS_PROPERTY"}], "ab"),
        ([{"propertyName": "city", "operator": "NOT_HAS_PROPERTY"}], "c"),
        ([{"propertyName": "email", "operator": "CONTAINS_TOKEN", "value": "example"}], "ab"),
        ([{"propertyName": "email", "operator": "CONTAINS_TOKEN", "value": "*@other.net"}], "c"),
        ([{"propertyName": "email", "operator": "NOT_CONTAINS_TOKEN", "value": "example"}], "c"),
        ([{"propertyName": "email", "operator": "EQ", "value": "BEA@example.com"}], "b"),
        ([{"propertyName": "email", "operator": "EQ", "value": "kitty@example.com"}], ""),
        ([{"propertyName": "hs_additional_emails", "operator": "IN", "values": ["kitty@example.com"]}], "c"),
        ([{"propertyName": "topics", "operator": "EQ", "value": "offers"}], "c"),
        ([{**RENEWAL, "operator": "BETWEEN", "value": "2026-01-31", "highValue": "2026-02-01"}], "b"),
        ([{**RENEWAL, "operator": "BETWEEN", "value": "2026-02-02", "highValue": "2026-03-01"}], ""),
        ([{**RENEWAL, "operator": "GT", "value": "2026-02-01"}], ""),
        ([{**RENEWAL, "operator": "LTE", "value": "1769904000000"}], "b"),
        ([{"propertyName": "lastmodifieddate", "operator": "GTE", "value": "1767225600000"}], "abc"),
        ([{"propertyName": "lastmodifieddate", "operator": "LT", "value": "1767225600000"}], ""),
        ([IN_TOWN, {"propertyName": "firstname", "operator": "GT", "value": "b"}], "b"),
    ],
)  # fmt: skip
def test_hubspot_searches(hs: httpx.Client, filters: list[dict[str, Any]], found: str) -> None:
    """Each operator finds what HubSpot's finds; filters of one group all hold."""
    for person in (ANN, BEA, CAT):
        create(hs, **person)
    answer = search(hs, filters)
    assert answer.status_code == 200, answer.text
    assert "".join(sorted(c["properties"]["email"][0] for c in answer.json()["results"])) == found
    assert answer.json()["total"] == len(found)


def test_hubspot_sorts_and_pages_searches(hs: httpx.Client) -> None:
    """Results come in the order asked for, those without the property last, page by page; groups are alternatives."""
    for person in (ANN, BEA, CAT):
        create(hs, **person)
    sorts = [{"propertyName": "city", "direction": "DESCENDING"}]
    one = search(hs, sorts=sorts, limit=2).json()
    two = search(hs, sorts=sorts, limit=2, after=one["paging"]["next"]["after"]).json()
    assert [c["properties"]["email"][0] for c in one["results"] + two["results"]] == ["b", "a", "c"]
    assert "paging" not in two
    either = search(hs, *([{"propertyName": "firstname", "operator": "EQ", "value": n}] for n in ("Ann", "Cat"))).json()
    assert either["total"] == 2
    assert search(hs, query="kitt").json()["total"] == 1


@pytest.mark.parametrize(
    "change",
    [
        {"limit": 201},
        {"limit": 0},
        {"after": "9999", "limit": 2},
        {"after": "x"},
        {"filterGroups": [{"filters": []}] * 6},
        {"filterGroups": [{"filters": [{"propertyName": "city", "operator": "HAS_PROPERTY"}] * 7}]},
        {"filterGroups": [{"filters": [{"propertyName": "city", "operator": "HAS_PROPERTY"}] * 6}] * 4},
        {"filterGroups": [{"filters": [{"propertyName": "nope", "operator": "HAS_PROPERTY"}]}]},
        {"filterGroups": [{"filters": [{"propertyName": "city", "operator": "LIKE", "value": "x"}]}]},
        {"filterGroups": [{"filters": [{"propertyName": "city", "operator": "EQ"}]}]},
        {"filterGroups": [{"filters": [{"propertyName": "city", "operator": "IN", "values": []}]}]},
        {"sorts": [{"propertyName": "nope", "direction": "ASCENDING"}]},
        {"properties": ["x" * 3000]},
        {"sorts": None, "without": "sorts"},
        {"without": "after"},
        {"without": "filterGroups"},
    ],
    ids=str,
)
def test_hubspot_refuses_searches_beyond_its_limits(hs: httpx.Client, change: dict[str, Any]) -> None:
    """Too long, too deep, unknown or incomplete searches are a 400, and so is what lies beyond 10,000 results."""
    body = {"filterGroups": [], "sorts": [], "properties": [], "limit": 10, "after": "0", **change}
    body = {k: v for k, v in body.items() if k not in {"without", change.get("without")}}
    answer = hs.post(f"{CONTACTS}/search", json=body)
    assert (answer.status_code, answer.json()["category"]) == (400, "VALIDATION_ERROR")


def test_hubspot_searches_lag_where_asked() -> None:
    """With a lag a fresh change does not show yet."""
    now = [1_800_000_000.0]
    sim = HubSpotSim(search_lag=5, strict_search=False, clock=lambda: now[0])
    sim.edit({"action": "create", "properties": {"email": "a@example.com"}})
    token = {"authorization": f"Bearer {sim.token}"}
    assert asked(sim, ("POST", f"{CONTACTS}/search"), **token)[0].json()["total"] == 0
    now[0] += 5
    assert asked(sim, ("POST", f"{CONTACTS}/search"), **token)[0].json()["total"] == 1


# --- HubSpot: properties and consent ----------------------------------------------------------------------------------


def test_hubspot_describes_and_takes_properties(hs: httpx.Client) -> None:
    """The definitions say type, options and what is read-only; an own one can be added once, and then holds values."""
    found = {p["name"]: p for p in hs.get("/crm/v3/properties/contacts").json()["results"]}
    assert [o["value"] for o in found["customer_tier"]["options"]] == ["bronze", "silver", "gold"]
    assert found["lastmodifieddate"]["modificationMetadata"]["readOnlyValue"] is True
    own = {"name": "shoe_size_eu", "label": "Shoes", "type": "number", "fieldType": "number", "groupName": "x"}
    assert [hs.post("/crm/v3/properties/contacts", json=own).status_code for _ in range(2)] == [201, 409]
    id_ = create(hs, email="a@example.com", shoe_size_eu="43")
    assert values(hs, id_, "shoe_size_eu") == ["43"]
    assert hs.post(CONTACTS, json={"properties": {"email": "b@example.com", "shoe_size_eu": "big"}}).status_code == 400


def test_hubspot_keeps_consent_per_address(hs: httpx.Client) -> None:
    """An opt-out of all mail shows in the contact's property and stays with the address, not with the contact."""
    id_ = create(hs, email="a@example.com")
    statuses = "/communication-preferences/v4/statuses/a@example.com"
    assert hs.get(f"{statuses}/unsubscribe-all?channel=EMAIL").json()["results"] == []
    assert hs.post(f"{statuses}/unsubscribe-all?channel=EMAIL").status_code == 200
    assert hs.get(f"{statuses}/unsubscribe-all?channel=EMAIL").json()["results"][0]["wideStatusType"] == "PORTAL_WIDE"
    assert {s["status"] for s in hs.get(f"{statuses}?channel=EMAIL").json()["results"]} == {"UNSUBSCRIBED"}
    assert values(hs, id_, "hs_email_optout", "hs_email_optout_1001") == ["true", "true"]
    hs.patch(f"{CONTACTS}/{id_}", json={"properties": {"email": "new@example.com"}})
    assert values(hs, id_, "hs_email_optout", "hs_email_optout_1001") == [None, None]


STATUSES = "/communication-preferences/v4/statuses"
ONE = {"channel": "EMAIL", "subscriptionId": 1001}
BASIS = {"legalBasis": "CONSENT_WITH_NOTICE", "legalBasisExplanation": "a form"}


@pytest.mark.parametrize(
    ("state", "mirrored"), [("UNSUBSCRIBED", "true"), ("SUBSCRIBED", "false"), ("NOT_SPECIFIED", None)]
)
@pytest.mark.parametrize("first", [True, False], ids=["said first", "created first"])
def test_hubspot_mirrors_each_subscription(hs: httpx.Client, state: str, mirrored: str | None, first: bool) -> None:
    """One subscription has a property of its own, also of a contact that comes later; the others keep theirs."""
    id_ = "" if first else create(hs, email="a@example.com")
    said = hs.post(f"{STATUSES}/A@example.com", json={**ONE, "statusState": state}).json()["results"][0]
    assert (said["status"], said["subscriptionId"]) == (state, 1001)
    id_ = create(hs, email="a@example.com") if first else id_
    assert values(hs, id_, "hs_email_optout", *MIRRORS) == [None, mirrored, None, None]


@pytest.mark.parametrize(
    ("settings", "before", "asked", "status"),
    [
        ({}, {}, {"statusState": "SUBSCRIBED"}, 200),
        ({}, {"subscription": 1001}, {"statusState": "SUBSCRIBED"}, 200),
        ({"resubscribes": False}, {"subscription": 1001}, {"statusState": "SUBSCRIBED"}, 400),
        ({"resubscribes": False}, {"subscription": 1002}, {"statusState": "SUBSCRIBED"}, 200),
        ({}, {"all": True}, {"statusState": "SUBSCRIBED"}, 400),
        ({}, {"all": True}, {"statusState": "UNSUBSCRIBED"}, 200),
        ({"data_privacy": True}, {}, {"statusState": "UNSUBSCRIBED"}, 400),
        ({"data_privacy": True}, {}, {"statusState": "UNSUBSCRIBED", **BASIS}, 200),
        ({"data_privacy": True}, {}, {"statusState": "SUBSCRIBED", **BASIS, "legalBasis": "BECAUSE"}, 400),
    ],
)
def test_hubspot_refuses_changes_of_consent(
    settings: dict[str, bool], before: dict[str, Any], asked: dict[str, str], status: int
) -> None:
    """What somebody opted out of, and what the account's privacy settings want, decides whether a state is taken."""
    sim = HubSpotSim(**settings)
    sim.edit({"action": "create", "properties": {"email": "a@example.com"}})
    if before:
        sim.edit({"action": "unsubscribe", "email": "a@example.com", **before})
    token = {"authorization": f"Bearer {sim.token}"}
    with Sandbox(hubspot=sim) as one:
        answer = httpx.post(f"{one.hubspot_url}{STATUSES}/a@example.com", json={**ONE, **asked}, headers=token)
    assert answer.status_code == status, answer.text


def test_hubspot_takes_the_consent_of_the_primary_address_in_a_merge() -> None:
    """An opt-out stays with its address: where that becomes a secondary one, the contact shows it no more."""
    for loser_out, shown in ((True, None), (False, "true")):
        sim = HubSpotSim()
        a, b = (sim.edit({"action": "create", "properties": {"email": f"{n}@example.com"}})["id"] for n in "ab")
        sim.edit({"action": "unsubscribe", "id": b if loser_out else a, "subscription": 1001})
        assert sim.edit({"action": "merge", "id": a, "loser": b})["properties"]["hs_email_optout_1001"] == shown


def test_hubspot_resubscribes_by_v4_only(hs: httpx.Client) -> None:
    """v3 refuses whoever opted out and what changes nothing; v4 takes both and says what happened."""
    v3 = "/communication-preferences/v3"
    person = {"emailAddress": "a@example.com", "subscriptionId": "1001"}
    assert hs.post(f"{v3}/subscribe", json=person).json()["status"] == "SUBSCRIBED"
    assert hs.post(f"{v3}/subscribe", json=person).status_code == 400
    assert hs.post(f"{v3}/unsubscribe", json=person).json()["status"] == "NOT_SUBSCRIBED"
    assert hs.post(f"{v3}/subscribe", json=person).status_code == 400
    statuses = hs.get(f"{v3}/status/email/a@example.com").json()["subscriptionStatuses"]
    assert {s["status"] for s in statuses} == {"NOT_SUBSCRIBED"}
    body = {"channel": "EMAIL", "statusState": "SUBSCRIBED", "subscriptionId": 1001}
    v4 = "/communication-preferences/v4/statuses"
    said = [hs.post(f"{v4}/a@example.com", json=body).json()["results"][0] for _ in range(2)]
    assert [s["setStatusSuccessReason"] for s in said] == ["RESUBSCRIBE_OCCURRED", "NO_STATUS_CHANGE"]
    assert hs.post(f"{v4}/a@example.com", json={**body, "subscriptionId": 7}).status_code == 400


def test_hubspot_batches_consent(hs: httpx.Client) -> None:
    """A batch answers 200 with the errors of single inputs beside the results."""
    one = {
        "subscriberIdString": "a@example.com",
        "channel": "EMAIL",
        "statusState": "SUBSCRIBED",
        "subscriptionId": 1001,
    }
    batch = "/communication-preferences/v4/statuses/batch"
    answer = hs.post(f"{batch}/write", json={"inputs": [one, {**one, "statusState": "MAYBE"}]})
    assert (answer.status_code, answer.json()["numErrors"], len(answer.json()["results"])) == (200, 1, 1)
    assert hs.post(f"{batch}/read", json={"inputs": []}).status_code == 400, "the channel is missing"
    read = hs.post(f"{batch}/read?channel=EMAIL", json={"inputs": ["a@example.com"]}).json()["results"]
    assert [s["status"] for s in read[0]["statuses"] if s["subscriptionId"] == 1001] == ["SUBSCRIBED"]


# --- HubSpot: webhooks ------------------------------------------------------------------------------------------------

SDK_SECRET = "yyyyyyyy-yyyy-yyyy-yyyy-yyyyyyyyyyyy"
SDK_URL = "https://www.example.com/webhook_uri"
SDK_BODY = b"{'example_field':'example_value'}"


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("v1", "69fc6631a867edd4f9e9e627fc5c1148e3fbdd8b21837b6d2b8901c1fa57f750"),
        ("v2", "4fe4e3a7d3cf09db53be39d0a58130e2aaba074ec123a9e355b876a689a1c383"),
        ("v3", "K36dawei4A+QBNolUOqo7s91KQDWQ5MXZ/QufNYuk/Y="),
    ],
)
def test_hubspot_signs_as_its_published_examples(version: Any, expected: str) -> None:
    """The signature of HubSpot's published examples, from its own client library's tests."""
    assert hubspot_sign(version, SDK_SECRET, "POST", SDK_URL, SDK_BODY, "1693657560000") == expected


@pytest.mark.parametrize(
    ("act", "told"),
    [
        ({"action": "create", "properties": {"email": "n@example.com", "message": "x"}}, ["contact.creation", "email"]),
        ({"email": "a@example.com", "properties": {"city": "Kiel", "message": "x"}}, ["city"]),
        ({"email": "a@example.com", "properties": {"city": "Bonn"}}, []),
        ({"email": "a@example.com", "action": "archive"}, ["contact.deletion"]),
        ({"email": "a@example.com", "action": "erase"}, ["contact.deletion", "contact.privacyDeletion"]),
        ({"email": "a@example.com", "action": "unsubscribe"}, ["hs_email_optout", *MIRRORS]),
        ({"email": "a@example.com", "action": "unsubscribe", "subscription": 1001}, ["hs_email_optout_1001"]),
        (
            {"email": "a@example.com", "action": "merge", "loser": "B"},
            ["contact.merge", "hs_additional_emails", "phone"],
        ),
    ],
)
def test_hubspot_tells_what_happened(
    sandbox: Sandbox, hs: httpx.Client, receiver: Receiver, act: dict[str, Any], told: list[str]
) -> None:
    """Each act is told by its events, in one signed delivery; only subscribed properties are."""
    create(hs, email="a@example.com", city="Bonn")
    other = create(hs, email="b@example.com", city="Ulm", phone="1")
    hs.post("/_sandbox/webhooks", json={"url": f"{receiver.url}/hook?x=a%2Fb", "secret": "s3cret"})
    act = {**act, "loser": other} if "loser" in act else act
    assert hs.post("/_sandbox/edit", json=act).status_code == 200
    create(hs, firstname="Last")  # so that something is told in any case
    delivery = receiver.take()
    events = [e for e in delivery.events if e["changeSource"] == "CRM_UI"]
    names = [e.get("propertyName", e["subscriptionType"]) for e in events]
    assert sorted(names) == sorted(told)
    stamp = delivery.headers["x-hubspot-request-timestamp"]
    signed = hubspot_sign("v3", "s3cret", "POST", f"{receiver.url}/hook?x=a%2Fb", delivery.body, stamp)
    assert delivery.headers["x-hubspot-signature-v3"] == signed
    for event in events:
        assert {"eventId", "subscriptionId", "portalId", "appId", "occurredAt", "objectId"} <= event.keys()


@pytest.mark.parametrize(("header", "source"), [({}, "INTEGRATION"), ({"x-sandbox-source": "CRM_UI"}, "CRM_UI")])
def test_hubspot_says_who_changed_it(hs: httpx.Client, receiver: Receiver, header: dict[str, str], source: str) -> None:
    """Changes by the API come back too, marked as such."""
    hs.post("/_sandbox/webhooks", json={"url": receiver.url})
    hs.post(CONTACTS, json={"properties": {"email": "a@example.com"}}, headers=header)
    events = receiver.take().events
    assert {e["changeSource"] for e in events} == {source}
    assert events[0]["changeFlag"] == "NEW"


def test_hubspot_packs_a_hundred_events(sandbox: Sandbox, hs: httpx.Client, receiver: Receiver) -> None:
    """Events gathered in a moment come together, at most a hundred in a delivery."""
    hs.post("/_sandbox/webhooks", json={"url": receiver.url})
    sandbox.call(
        lambda: [
            sandbox.hubspot.edit({"action": "create", "properties": {"email": f"p{i}@example.com"}}) for i in range(60)
        ]
    )
    assert sorted(len(receiver.take().events) for _ in range(2)) == [20, 100]


def test_hubspot_tries_again_ten_times(sandbox: Sandbox, hs: httpx.Client, receiver: Receiver) -> None:
    """An answer outside 2xx brings the same events again, with the number of the attempt, until they are taken."""
    hs.post("/_sandbox/webhooks", json={"url": receiver.url})
    receiver.answers = [500, 404, 302]
    create(hs, email="a@example.com")
    tries = [receiver.take().events for _ in range(4)]
    assert [t[0]["attemptNumber"] for t in tries] == [0, 1, 2, 3]
    assert len({t[0]["occurredAt"] for t in tries}) == 1
    receiver.answers = [500] * 11
    create(hs, email="b@example.com")
    assert [receiver.take().events[0]["attemptNumber"] for _ in range(11)] == list(range(11))
    state = settled(hs)
    assert (state["delivered"], state["failed"], state["pending"]) == (2, 2, 0)
