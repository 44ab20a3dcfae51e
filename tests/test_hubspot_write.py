"""Writing to HubSpot: values, batches, partial failures, duplicates, time-outs and waits."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import httpx
import pytest

from connectors import _hubspot_walk as walk
from connectors.contract import (
    Done,
    Exists,
    Failed,
    Gone,
    Kind,
    NeedsHuman,
    Order,
    Receipt,
    Ref,
    Refused,
    TryLater,
    Verb,
)
from connectors.hubspot import HubSpot
from tests.examples.hubspot import NOW, SECRET, TOKEN, FakeHubSpot, connect, error, mocked, ms


@pytest.fixture
def api() -> FakeHubSpot:
    return mocked()


@pytest.fixture
def hubspot(api: FakeHubSpot) -> HubSpot:
    return connect(api.transport)


def create(key: str, *, again: bool = False, **fields: Any) -> Order:
    return Order(key, Kind.CONTACT, Verb.CREATE, fields, again=again)


def update(key: str, id_: str, **fields: Any) -> Order:
    return Order(key, Kind.CONTACT, Verb.UPDATE, fields, id=id_)


def archive(key: str, id_: str) -> Order:
    return Order(key, Kind.CONTACT, Verb.ARCHIVE, {}, id=id_)


def brief(receipt: Receipt) -> Any:
    """What matters of a receipt."""
    match receipt:
        case Done():
            return receipt.id
        case Exists():
            return receipt.ref
        case Gone():
            return "gone"
        case Failed(problem=Refused() as refused):
            return (refused.code, refused.field)
        case Failed():
            return type(receipt.problem).__name__
    raise AssertionError(receipt)


def test_values_on_the_wire(api: FakeHubSpot, hubspot: HubSpot) -> None:
    """None clears with the empty text, what is absent is not sent, numbers and truth become text."""
    api.add(1, email="a@example.com", firstname="Ann")
    fields = {"lastname": None, "jobtitle": "", "n": 3, "x": 2.5, "y": 2.0, "yes": True, "no": False}
    (receipt,) = hubspot.write([update("k", "1", **fields)])
    sent = api.calls[-1][2]["properties"]
    assert sent == {"lastname": "", "jobtitle": "", "n": "3", "x": "2.5", "y": "2", "yes": "true", "no": "false"}
    assert isinstance(receipt, Done)
    assert receipt.record is not None
    assert receipt.record.fields["lastname"] is None
    assert receipt.modified == receipt.record.modified is not None
    assert "firstname" not in receipt.record.fields  # not answered, so not said
    (receipt,) = hubspot.write([update("k", "1", jobtitle=["a"])])
    assert brief(receipt) == ("type", "jobtitle")


def test_one_batch_call_per_verb_and_receipts_in_order(api: FakeHubSpot, hubspot: HubSpot) -> None:
    """Mixed orders become one call per verb; receipts come in the order of the orders, whatever the answer's order."""
    for i in range(1, 5):
        api.add(i, email=f"{i}@example.com")
    orders = [
        archive("k0", "4"),
        create("k1", email="New1@example.com", firstname="A", lastname=None),
        update("k2", "1", firstname="X"),
        create("k3", email="new2@example.com"),
        update("k4", "2", firstname="Y"),
        create("k5", firstname="No", lastname="Address"),
    ]
    receipts = hubspot.write(orders)
    assert [r.key for r in receipts] == [o.key for o in orders]
    assert api.paths() == ["POST /batch/update", "POST /batch/create", "POST /batch/archive"]
    emails = [api.rows[r.id]["properties"].get("email") for r in receipts if isinstance(r, Done)]
    assert emails == ["4@example.com", "new1@example.com", "1@example.com", "new2@example.com", "2@example.com", None]
    inputs = api.calls[1][2]["inputs"]
    assert [i["objectWriteTraceId"] for i in inputs] == ["k1", "k3", "k5"]
    assert inputs[0]["properties"] == {"email": "New1@example.com", "firstname": "A"}
    assert api.rows["4"]["archived"]


def test_partial_failure_is_per_record(api: FakeHubSpot, hubspot: HubSpot) -> None:
    """In a 207 each order has its own outcome: made, already there, refused, gone."""
    api.add(1, email="there@example.com")
    bad = {
        "status": "error",
        "category": "VALIDATION_ERROR",
        "message": 'Property values were not valid: [{"isValid":false,"message":"Email address bad@x is invalid",'
        '"error":"INVALID_EMAIL","name":"email","localizedErrorMessage":"Email address bad@x is invalid"}]',
        "context": {"objectWriteTraceId": ["k2"]},
    }
    real = api.create

    def answer(body: Any) -> httpx.Response:
        whole = real({"inputs": [i for i in body["inputs"] if i["objectWriteTraceId"] != "k2"]}).json()
        return httpx.Response(207, json={**whole, "errors": [*whole["errors"], bad]})

    api.trouble["/batch/create"] = answer
    receipts = hubspot.write(
        [create("k1", email="there@example.com"), create("k2", email="bad@x"), create("k3", email="ok@example.com")]
    )
    assert [brief(r) for r in receipts] == [Ref("1"), ("INVALID_EMAIL", "email"), "9001"]
    problem = receipts[1]
    assert isinstance(problem, Failed)
    assert "bad@x" not in str(problem.problem)
    assert "invalid" in str(problem.problem)
    assert api.rows["1"]["properties"]["email"] == "there@example.com"


@pytest.mark.parametrize("silent", [True, False])
def test_updates_of_missing_and_merged_records(api: FakeHubSpot, hubspot: HubSpot, silent: bool) -> None:
    """Missing is Gone; merged away, whatever the batch call says of it, is written to the record it lives on in."""
    api.silent = silent
    api.add(1, email="a@example.com")
    api.add(2, email="b@example.com")
    api.merged["3"] = "2"
    receipts = hubspot.write([update(f"k{i}", i, firstname=i) for i in ("1", "3", "4", "x/../1")])
    assert [brief(r) for r in receipts] == ["1", "2", "gone", "gone"]
    merged = receipts[1]
    assert isinstance(merged, Done)
    assert merged.record is not None
    assert merged.record.former_ids == ("3",)
    assert api.rows["2"]["properties"]["firstname"] == "3"
    assert brief(hubspot.write([update("k", "4", firstname="x")])[0]) == "gone"
    api.calls.clear()
    assert [brief(r) for r in hubspot.write([update("k1", "../1", firstname="x"), archive("k2", "")])] == ["gone"] * 2
    assert not api.calls  # no id of this shape exists, and none becomes part of a path


def no(*codes: tuple[str, str], value: str = "") -> httpx.Response:
    """A whole batch refused for its values, in the shape of ``errors``."""
    errors = [
        {"message": f'{value} was wrong for "{name}"', "code": code, "context": {"propertyName": [name]}}
        for code, name in codes
    ]
    return error(400, "Invalid input JSON", category="VALIDATION_ERROR", errors=errors)


@pytest.mark.parametrize("verb", ["create", "update"])
@pytest.mark.parametrize("bad", [{7}, {0, 99}, {3, 4, 50}])
def test_one_bad_record_fails_alone(api: FakeHubSpot, hubspot: HubSpot, verb: str, bad: set[int]) -> None:
    """A batch refused as a whole is cut until the bad records stand alone; all others are written, once."""

    def refuse(body: Any) -> httpx.Response | None:
        entries = body.get("inputs", [body])
        if any(e["properties"].get("zip") == "bad" for e in entries):
            return no(("INVALID_OPTION", "zip"), value="bad")
        return None

    api.trouble |= {f"/batch/{verb}": refuse, **{f"/{i + 1}": refuse for i in range(100)}}
    for i in range(100):
        api.add(i + 1, email=f"{i}@example.com")
    fields = [{"zip": "bad" if i in bad else "ok", "lastname": f"L{i}"} for i in range(100)]
    if verb == "create":
        receipts = hubspot.write([create(f"k{i}", email=f"new{i}@example.com", **fields[i]) for i in range(100)])
    else:
        receipts = hubspot.write([update(f"k{i}", str(i + 1), **fields[i]) for i in range(100)])
    assert {i for i, r in enumerate(receipts) if isinstance(r, Failed)} == bad
    assert {brief(receipts[i]) for i in bad} == {("INVALID_OPTION", "zip")}
    assert len(api.calls) <= 1 + 2 * 7 * len(bad)
    if verb == "create":
        assert len(api.rows) == 200 - len(bad)


def test_a_property_nobody_has_is_found_without_cutting(api: FakeHubSpot, hubspot: HubSpot) -> None:
    """A property that does not exist fails all orders that send it at once; the others go through in one more call."""
    for i in range(1, 101):
        api.add(i, email=f"{i}@example.com")

    def refuse(body: Any) -> httpx.Response | None:
        found = any("nope" in e["properties"] for e in body["inputs"])
        return no(("PROPERTY_DOESNT_EXIST", "nope")) if found else None

    api.trouble["/batch/update"] = refuse
    receipts = hubspot.write([update(f"k{i}", str(i), **{"nope" if i % 2 else "city": "x"}) for i in range(1, 101)])
    assert [brief(r) for r in receipts[:2]] == [("PROPERTY_DOESNT_EXIST", "nope"), "2"]
    assert sum(isinstance(r, Failed) for r in receipts) == 50
    assert len(api.calls) == 2


def test_isolating_is_bounded(api: FakeHubSpot, hubspot: HubSpot) -> None:
    """A hundred bad values do not take calls without end; what is not reached comes later, with nothing landed."""
    api.trouble["/batch/create"] = lambda _: no(("INVALID_OPTION", "zip"))
    receipts = hubspot.write([create(f"k{i}", email=f"{i}@example.com", zip="x") for i in range(100)])
    assert len(api.calls) <= 101
    assert {brief(r) for r in receipts} == {("INVALID_OPTION", "zip"), "TryLater"}
    assert not any(isinstance(r, Failed) and getattr(r.problem, "landed", False) for r in receipts)


def test_equal_addresses_and_ids_never_share_a_call(api: FakeHubSpot, hubspot: HubSpot) -> None:
    """Two creates of one address make one contact and an Exists; two updates of one record keep their order."""
    api.add(1, email="a@example.com")
    api.add(2, email="b@example.com")
    receipts = hubspot.write(
        [
            create("k1", email="new@example.com"),
            create("k2", email="NEW@example.com"),
            update("k3", "1", firstname="first"),
            update("k4", "2", firstname="other"),
            update("k5", "1", firstname="second"),
            archive("k6", "2"),
            archive("k7", "2"),
        ]
    )
    made = receipts[0]
    assert isinstance(made, Done)
    assert [brief(r) for r in receipts[1:]] == [Ref(made.id), "1", "2", "1", "2", "2"]
    assert api.rows["1"]["properties"]["firstname"] == "second"


@pytest.mark.parametrize(
    ("response", "outcome"),
    [
        (error(409, "Contact already exists. Existing ID: 321", category="CONFLICT"), Ref("321")),
        (error(409, "Contact already exists", category="CONFLICT", context={"existingId": ["321"]}), Ref("321")),
        (error(409, "Contact already exists", category="CONFLICT"), Ref("a@example.com", "email")),
        (no(("INVALID_EMAIL", "email"), value="a@example.com"), ("INVALID_EMAIL", "email")),
        (no(("INVALID_OPTION", "firstname"), value="Ann"), ("INVALID_OPTION", "firstname")),
        (error(400, "odd", category="VALIDATION_ERROR"), ("VALIDATION_ERROR", None)),
        (error(400), ("http_400", None)),
        (httpx.Response(400, text="<html>"), ("http_400", None)),
        (error(401, "expired", category="EXPIRED_AUTHENTICATION"), "NeedsHuman"),
        (error(403, "scope", category="MISSING_SCOPES"), "NeedsHuman"),
        (error(500), "TryLater"),
        (error(502), "TryLater"),
        (error(521), "TryLater"),
        (httpx.Response(201, json={"results": [], "errors": []}), "TryLater"),
        (httpx.Response(201, text="<html>"), "TryLater"),
    ],
)
def test_what_a_refused_create_leads_to(
    api: FakeHubSpot, hubspot: HubSpot, response: httpx.Response, outcome: Any
) -> None:
    """Each answer of HubSpot's leads to one next step, without the person's data or our token in its words."""
    api.trouble["/batch/create"] = lambda _: response
    (receipt,) = hubspot.write([create("k", email="a@example.com", firstname="Ann")])
    assert brief(receipt) == outcome
    if isinstance(receipt, Failed):
        assert not re.search(rf"a@example.com|\bAnn\b|{TOKEN}", str(receipt.problem) + repr(receipt))


@pytest.mark.parametrize(
    ("fields", "response", "outcome"),
    [
        ({"email": "b@example.com"}, error(409, "Contact already exists. Existing ID: 2"), ("conflict", "email")),
        ({"code": "7"}, error(409, "taken", category="CONFLICT"), ("conflict", None)),
        ({"city": "x"}, error(404, "not found", category="OBJECT_NOT_FOUND"), "gone"),
        ({"city": "x"}, no(("READ_ONLY_VALUE", "city")), ("READ_ONLY_VALUE", "city")),
        ({"city": "x"}, httpx.Response(200, text="<html>"), "TryLater"),
    ],
)
def test_what_a_refused_update_leads_to(
    api: FakeHubSpot, hubspot: HubSpot, fields: dict[str, str], response: httpx.Response, outcome: Any
) -> None:
    """An address that another contact has refuses this update only."""
    api.trouble["/1"] = lambda _: response
    assert brief(hubspot.write([update("k", "1", **fields)])[0]) == outcome


@pytest.mark.parametrize(
    ("response", "after"),
    [
        (error(423, "locked"), timedelta(seconds=2)),
        (httpx.Response(477, headers={"retry-after": "7200"}), timedelta(hours=2)),
        (httpx.Response(477, headers={"retry-after": "9999999"}), timedelta(days=1)),
        (error(429, "daily", policyName="DAILY", errorType="RATE_LIMIT"), timedelta(hours=1)),
        (
            httpx.Response(429, json={"policyName": "DAILY"}, headers={"date": "Mon, 02 Mar 2026 21:30:00 GMT"}),
            timedelta(hours=2, minutes=30),
        ),
        (error(429, "burst", policyName="TEN_SECONDLY_ROLLING"), timedelta(seconds=10)),
        (error(429, "burst", policyName="SECONDLY"), timedelta(seconds=1)),
        (httpx.Response(429, headers={"retry-after": "7"}), timedelta(seconds=7)),
        (
            httpx.Response(429, text="x", headers={"x-hubspot-ratelimit-interval-milliseconds": "4000"}),
            timedelta(seconds=4),
        ),
    ],
)
def test_waits_are_hubspots(api: FakeHubSpot, response: httpx.Response, after: timedelta) -> None:
    """Locks, data-centre moves and the several rate limits say how long to wait; a write then stops calling."""
    api.trouble["/batch/read"] = lambda _: response
    hubspot = connect(api.transport)
    with pytest.raises(TryLater) as caught:
        hubspot.read(Kind.CONTACT, ["1"])
    assert caught.value.after == after
    with pytest.raises(TryLater):
        hubspot.read(Kind.CONTACT, ["1"])
    assert len(api.calls) == (2 if response.status_code == 423 else 1)  # a lock is about records, the others about us
    api.trouble = {"/batch/update": lambda _: response}
    api.calls.clear()
    orders = [update("k1", "1", city="x"), update("k2", "2", city="x"), create("k3", email="a@example.com")]
    receipts = connect(api.transport).write(orders)
    assert [brief(r) for r in receipts] == ["TryLater"] * 3
    assert all(isinstance(r, Failed) and isinstance(r.problem, TryLater) and r.problem.after == after for r in receipts)
    assert len(api.calls) == 1


def test_an_ambiguous_create_is_looked_up_first(api: FakeHubSpot, hubspot: HubSpot) -> None:
    """A time-out after the contact was made says `landed`; the next try finds it and makes no second one."""
    real = api.create

    def lost(body: Any) -> httpx.Response:
        real(body)
        raise httpx.ReadTimeout("no answer")

    api.trouble["/batch/create"] = lost
    orders = [
        create("k1", email="new@example.com", firstname="Ann"),
        create("k2", firstname="No", lastname="Address"),
    ]
    receipts = hubspot.write(orders)
    assert [isinstance(r, Failed) and isinstance(r.problem, TryLater) and r.problem.landed for r in receipts] == [
        True
    ] * 2
    assert len(api.rows) == 2
    api.trouble.clear()
    again = [create(o.key, again=True, **o.fields) for o in orders]
    api.now += timedelta(hours=5)
    assert sorted(map(brief, hubspot.write(again))) == sorted(api.rows)
    assert len(api.rows) == 2
    api.now += timedelta(hours=2)  # too old for a namesake without address to pass for ours
    assert brief(hubspot.write(again)[1]) not in {Ref("9001"), "9001"}
    assert len(api.rows) == 3


@pytest.mark.parametrize(
    ("there", "fields", "outcome"),
    [
        ({"email": "a@example.com", "firstname": "Ann"}, {"email": "A@example.com", "firstname": "Ann"}, "1"),
        ({"email": "a@example.com", "firstname": "Bob"}, {"email": "a@example.com", "firstname": "Ann"}, Ref("1")),
        ({"email": "a@example.com"}, {"email": "a@example.com", "unread": "x"}, Ref("1")),
        (
            {"email": "z@example.com", "hs_additional_emails": "a@example.com"},
            {"email": "a@example.com"},
            Ref("1"),
        ),
        ({"firstname": "Ann", "city": "Rome"}, {"firstname": "Ann", "city": "Oslo"}, "9001"),
        ({}, {"email": "a@example.com"}, "9001"),
    ],
)
def test_trying_again_takes_only_what_is_evidently_ours(
    api: FakeHubSpot, hubspot: HubSpot, there: dict[str, str], fields: dict[str, str], outcome: Any
) -> None:
    """Equal in all that was sent: ours.  Same address, other values: somebody was there.  Otherwise it is made."""
    api.add(1, ms(NOW), **there)
    assert brief(hubspot.write([create("k", again=True, **fields)])[0]) == outcome


def test_two_equal_creates_without_address_do_not_share_a_record(api: FakeHubSpot, hubspot: HubSpot) -> None:
    """One twin serves one order only."""
    api.add(1, ms(NOW), firstname="Ann")
    orders = [create("k1", again=True, firstname="Ann"), create("k2", again=True, firstname="Ann")]
    assert [brief(r) for r in hubspot.write(orders)] == ["1", "9001"]


def test_a_look_that_fails_forgets_nothing(api: FakeHubSpot, hubspot: HubSpot) -> None:
    """While the first try cannot be looked up, the order still may have landed, and nothing is made."""
    api.trouble["/batch/read"] = lambda _: error(500)
    receipts = hubspot.write([create("k1", again=True, email="a@example.com"), create("k2", email="b@example.com")])
    flags = [isinstance(r, Failed) and isinstance(r.problem, TryLater) and r.problem.landed for r in receipts]
    assert flags == [True, False]
    assert not any("create" in path for path in api.paths())


def test_a_revoked_key_stops_the_connection(api: FakeHubSpot, hubspot: HubSpot) -> None:
    """401 on a read is for a person, and neither the error nor the connector shows the token."""
    api.trouble["/batch/read"] = lambda _: error(401, f"token {TOKEN} expired", category="EXPIRED_AUTHENTICATION")
    with pytest.raises(NeedsHuman) as caught:
        hubspot.read(Kind.CONTACT, ["1"])
    assert TOKEN not in f"{caught.value!s}{hubspot!r}{caught.value!r}"
    assert SECRET not in repr(hubspot)


def test_bodies_have_the_shape_of_the_official_client(api: FakeHubSpot, hubspot: HubSpot) -> None:
    """What we send are the models of HubSpot's own client, no unknown key, no missing one; it can read our answers."""
    from hubspot.crm.contacts import models

    def keys(model: Any) -> set[str]:
        return set(model.attribute_map.values())

    api.add(1, email="a@example.com")
    hubspot.write([create("k", email="n@example.com"), update("k1", "1", city="x"), update("k2", "2", city="y")])
    hubspot.find(Kind.CONTACT, "email", ["q@example.com"])
    hubspot.changed(Kind.CONTACT, walk.dump(walk.Poll(since=0)))
    seen = set()
    shapes: Mapping[str, tuple[Any, Any]] = {
        "/batch/create": (
            models.BatchInputSimplePublicObjectBatchInputForCreate,
            models.SimplePublicObjectBatchInputForCreate,
        ),
        "/batch/update": (models.BatchInputSimplePublicObjectBatchInput, models.SimplePublicObjectBatchInput),
        "/batch/read": (models.BatchReadInputSimplePublicObjectId, models.SimplePublicObjectId),
        "/search": (models.PublicObjectSearchRequest, models.FilterGroup),
    }
    for _, path, body in api.calls:
        for ending, (whole, part) in shapes.items():
            if path.endswith(ending):
                seen.add(ending)
                assert set(body) <= keys(whole)
                for entry in body.get("inputs", body.get("filterGroups")):
                    assert set(entry) <= keys(part)
                    for rule in entry.get("filters", ()):
                        assert set(rule) <= keys(models.Filter)
    assert seen == set(shapes)
