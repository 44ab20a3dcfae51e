"""Mautic's simulator over real sockets: what it answers, what it refuses, what it tells by webhook."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Iterator
from functools import partial
from typing import Any

import httpx
import pytest

from sandbox.control import BadEdit
from sandbox.mautic import CLIENT, CLIENT_SECRET, SECRET, MauticSim, fill
from sandbox.people import people
from sandbox.serve import Sandbox
from tests.sandboxed import PLAIN, Receiver


@pytest.fixture
def sim() -> MauticSim:
    return MauticSim(retry_span=0.2)


@pytest.fixture
def sandbox(sim: MauticSim) -> Iterator[Sandbox]:
    with Sandbox(mautic=sim) as running:
        yield running


@pytest.fixture
def api(sim: MauticSim, sandbox: Sandbox) -> Iterator[httpx.Client]:
    base = f"{sandbox.url('mautic')}/api"
    with httpx.Client(base_url=base, auth=(sim.user, sim.password), verify=PLAIN) as client:
        yield client


def new(api: httpx.Client, **fields: Any) -> dict[str, Any]:
    answer = api.post("/contacts/new", json=fields)
    assert answer.status_code in {200, 201}, answer.text
    found: dict[str, Any] = answer.json()["contact"]
    return found


def get(api: httpx.Client, id_: int) -> dict[str, Any]:
    found: dict[str, Any] = api.get(f"/contacts/{id_}").raise_for_status().json()["contact"]
    return found


def events(receiver: Receiver, count: int) -> list[tuple[str, dict[str, Any]]]:
    """So many events, over several deliveries, each proven."""
    found: list[tuple[str, dict[str, Any]]] = []
    while len(found) < count:
        got = receiver.inbox.get(timeout=10)
        wanted = base64.b64encode(hmac.new(SECRET.encode(), got.body, hashlib.sha256).digest()).decode()
        assert {k.lower(): v for k, v in got.headers.items()}["webhook-signature"] == wanted
        assert b"/" not in got.body.replace(b"\\/", b""), "PHP escapes every slash"
        assert got.body.isascii()
        found += [(kind, item) for kind, items in json.loads(got.body).items() for item in items]
    return found


@pytest.fixture
def receiver(sim: MauticSim, sandbox: Sandbox) -> Iterator[Receiver]:
    made = Receiver()
    sandbox.call(lambda: sim.deliver_to(made.url))
    yield made
    made.close()


def test_credentials(sim: MauticSim, sandbox: Sandbox) -> None:
    """User and password, or a token for client credentials; anything else is 401 with Mautic's error list."""
    base = sandbox.url("mautic")
    refused = httpx.get(f"{base}/api/contacts", auth=(sim.user, "wrong"))
    assert (refused.status_code, refused.json()["errors"][0]["code"]) == (401, 401)
    body = {"grant_type": "client_credentials", "client_id": CLIENT, "client_secret": CLIENT_SECRET}
    token = httpx.post(f"{base}/oauth/v2/token", json=body).json()["access_token"]
    answer = httpx.get(f"{base}/api/contacts", headers={"authorization": f"Bearer {token}"})
    assert answer.json() == {"total": "0", "contacts": []}, "PHP writes an empty object as a list"
    assert answer.headers["mautic-version"]
    assert httpx.post(f"{base}/oauth/v2/token", json={**body, "client_secret": "x"}).status_code == 400


def test_a_create_of_somebody_who_is_there_changes_them(api: httpx.Client) -> None:
    """201 for a new one, 200 for one who is found by a unique field, whatever the accents; blanks change nothing."""
    first = api.post("/contacts/new", json={"email": "Renée@one.example", "firstname": "R", "city": "Bonn"})
    again = api.post("/contacts/new", json={"email": "renee@one.example", "firstname": "S", "city": ""})
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json()["contact"]["id"] == again.json()["contact"]["id"]
    shown = again.json()["contact"]["fields"]
    assert (shown["all"]["firstname"], shown["core"]["city"]["value"]) == ("S", "Bonn")
    assert shown["personal"] == []


def test_an_edit_that_gives_away_somebody_s_address_makes_one_of_two(api: httpx.Client) -> None:
    """No error: the other id leads to the contact that was edited, in single calls only, and points are added."""
    kept, lost = new(api, email="a@one.example")["id"], new(api, email="b@one.example", city="Bonn")["id"]
    for id_ in (kept, lost):
        api.post(f"/contacts/{id_}/points/plus/5").raise_for_status()
    api.post(f"/contacts/{lost}/dnc/email/add", json={"reason": 1}).raise_for_status()
    answer = api.patch(f"/contacts/{kept}/edit", json={"email": "b@one.example"})
    assert (answer.status_code, answer.json()["contact"]["id"]) == (200, kept)
    one = get(api, lost)
    assert (one["id"], one["points"], one["fields"]["all"]["city"], one["doNotContact"]) == (kept, 10, "Bonn", [])
    answer = api.patch("/contacts/batch/edit", json=[{"id": lost, "firstname": "X"}])
    assert answer.json()["statusCodes"] == [404]
    assert api.delete(f"/contacts/{lost}/delete").status_code == 200
    assert api.get(f"/contacts/{kept}").status_code == 404, "the deletion met the survivor"


def test_blanks_and_zeros(api: httpx.Client) -> None:
    """Blanks are dropped unless they are asked for; zeros even then."""
    id_ = new(api, email="a@one.example", city="Bonn", attribution=3)["id"]
    body: dict[str, Any] = {"city": "", "attribution": 0}
    for wanted, more in (("Bonn", {}), (None, {"overwriteWithBlank": True})):
        shown = api.patch(f"/contacts/{id_}/edit", json={**body, **more}).json()["contact"]["fields"]["all"]
        assert (shown["city"], shown["attribution"]) == (wanted, 3)


def test_batches_answer_for_each(api: httpx.Client) -> None:
    """Lists where all keys are 0, 1, 2, objects where some are missing; too many are refused."""
    people_ = [{"email": "a@one.example"}, {"email": "no address"}, {"email": "c@one.example", "country": "Germany"}]
    answer = api.post("/contacts/batch/new", json=people_)
    body = answer.json()
    assert (answer.status_code, body["statusCodes"]) == (201, [201, 400, 201])
    assert sorted(body["contacts"]) == ["0", "2"]
    assert "email" in body["errors"]["1"]["details"]
    assert api.post("/contacts/batch/new", json=[{}] * 201).status_code == 500


@pytest.mark.parametrize(
    ("moves", "left"),
    [((1, 3), 1), ((1, 2), 1), ((2, 3), 3), ((3, 2), 2), ((3, 1), 1), ((2, 0), None), ((1, 0), None)],
)
def test_moves_of_do_not_contact(api: httpx.Client, moves: tuple[int, ...], left: int | None) -> None:
    """What the person said is overwritten by no other reason, but removed by any call."""
    id_ = new(api, email="a@one.example")["id"]
    for reason in moves:
        api.patch(f"/contacts/{id_}/edit", json={"doNotContact": [{"channel": "email", "reason": reason}]})
    assert [d["reason"] for d in get(api, id_)["doNotContact"]] == ([] if left is None else [left])
    assert api.post(f"/contacts/{id_}/dnc/email/add", json={"reason": 0}).status_code == 400


def test_lists_take_conditions(api: httpx.Client, sim: MauticSim, sandbox: Sandbox) -> None:
    """As PHP reads them; a column that is not there is an error of the database."""
    sandbox.call(lambda: fill(sim, [p for _, p in people(40, 3) if p is not None]))
    sandbox.call(lambda: sim.edit({"action": "visit"}))
    every = api.get("/contacts", params={"limit": 500, "search": "!is:anonymous"}).json()
    ids = [int(i) for i in every["contacts"]]
    assert every["total"] == str(len(ids))
    above: dict[str, Any] = {
        "where[0][col]": "id",
        "where[0][expr]": "gt",
        "where[0][val]": ids[4],
        "orderBy": "id",
        "limit": 3,
    }
    assert [int(i) for i in api.get("/contacts", params=above).json()["contacts"]] == ids[5:8]
    addresses = [c["fields"]["all"]["email"] for c in list(every["contacts"].values())[:2]]
    some = {"where[0][col]": "email", "where[0][expr]": "in", "where[0][val]": ",".join(addresses)}
    assert len(api.get("/contacts", params=some).json()["contacts"]) == 2
    either = {"where[0][expr]": "orX"}
    for place, column in enumerate(("dateModified", "dateAdded")):
        at = f"where[0][val][{place}]"
        either |= {f"{at}[col]": column, f"{at}[expr]": "gte", f"{at}[val]": "2000-01-01 00:00:00"}
    assert api.get("/contacts", params=either).json()["total"] == str(len(ids) + 1)
    wrong: dict[str, Any] = {"where[0][col]": "nonsense", "where[0][expr]": "eq", "where[0][val]": 1}
    assert api.get("/contacts", params=wrong).status_code == 500


def test_an_unsubscribe_tells_two_events(api: httpx.Client, receiver: Receiver) -> None:
    """As version 5.2.0 was seen to do; the contact in them has no flat list of fields."""
    id_ = new(api, email="a@one.example", firstname="Zoë/")["id"]
    assert [kind for kind, _ in events(receiver, 1)] == ["mautic.lead_post_save_new"]
    api.post(f"/contacts/{id_}/dnc/email/add", json={"reason": 1})
    told = dict(events(receiver, 2))
    assert set(told) == {"mautic.lead_channel_subscription_changed", "mautic.lead_post_save_update"}
    item = told["mautic.lead_channel_subscription_changed"]
    assert (item["old_status"], item["new_status"]) == ("contactable", "unsubscribed")
    assert "all" not in item["contact"]["fields"]
    api.delete(f"/contacts/{id_}/delete")
    ((kind, item),) = events(receiver, 1)
    assert (kind, item["id"], item["contact"]["id"]) == ("mautic.lead_post_delete", id_, None)


@pytest.mark.parametrize(("answer", "on"), [(500, True), (410, False)])
def test_events_are_lost_after_any_answer(
    api: httpx.Client, receiver: Receiver, sim: MauticSim, sandbox: Sandbox, answer: int, on: bool
) -> None:
    """One try only; 410 switches the webhook off."""
    receiver.answers.append(answer)
    new(api, email="a@one.example")
    receiver.inbox.get(timeout=10)
    for _ in range(200):
        if sandbox.call(lambda: sim.webhooks.state()["pending"]) == 0:
            break
        new(api, email="a@one.example")
    state = sandbox.call(sim.webhooks.state)
    assert (state["failed"], state["deliveries"][0]["attempts"]) == (1, 1)
    assert sandbox.call(lambda: sim.webhooks.targets["sandbox"].enabled) is on


def test_what_a_person_does(api: httpx.Client, sim: MauticSim, sandbox: Sandbox) -> None:
    """The control endpoint's edits; deletions and merges stand in the audit log, objections in their table."""
    a = sandbox.call(lambda: sim.edit({"action": "create", "fields": {"email": "a@one.example"}}))["id"]
    b = sandbox.call(lambda: sim.edit({"action": "create", "fields": {"email": "b@one.example"}}))["id"]
    for step in (
        {"id": a, "fields": {"city": "Bonn"}},
        {"id": a, "action": "points", "delta": 4},
        {"id": a, "action": "object", "reason": 2},
        {"id": a, "action": "merge", "loser": b},
    ):
        sandbox.call(partial(sim.edit, step))
    one = get(api, b)
    assert (one["id"], one["points"], one["modifiedByUser"]) == (a, 4, "Ad Min")
    rows = api.get("/stats/lead_donotcontact").json()["stats"]
    assert [(r["lead_id"], r["reason"]) for r in rows] == [(str(a), "2")]
    assert [r["action"] for r in api.get("/stats/audit_log").json()["stats"]] == ["merge", "delete"]
    sim.hidden.add("audit_log")
    assert "stats" not in api.get("/stats/audit_log").json()


def test_what_stands_around_contacts_is_made_by_edits() -> None:
    """Companies with people, names, rows of tables; what makes no sense is said so."""
    sim = MauticSim()
    who = sim.edit({"action": "create", "fields": {"email": "a@one.example"}})["id"]
    company = sim.edit({"action": "company", "fields": {"companyname": "One"}, "contacts": [who]})["id"]
    assert sim.around.members == {(company, who): True}
    sim.edit({"action": "name", "kind": "emails", "id": 7, "name": "Spring"})
    sim.edit({"action": "happen", "table": "email_stats", "fields": {"lead_id": who, "email_id": 7}})
    assert sim.around.named["emails"][7]["name"] == "Spring"
    assert [row["id"] for row in sim.around.did["email_stats"]] == [1]
    for wrong in ({"table": "nonsense"}, {"table": "email_stats", "fields": {"x": 1}}, {}):
        with pytest.raises(BadEdit):
            sim.edit({"action": "happen", **wrong})
    sim.clear()
    assert not sim.around.companies
