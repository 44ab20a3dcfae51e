"""ActiveCampaign's simulator over real sockets: what it answers, what it refuses, what it tells by webhook."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from sandbox.activecampaign import CampaignSim, fill
from sandbox.control import BadEdit
from sandbox.people import people
from sandbox.serve import Sandbox
from tests.sandboxed import PATIENCE, PLAIN, Receiver


@pytest.fixture(scope="module")
def sim() -> CampaignSim:
    return CampaignSim(retry_span=0.2)


@pytest.fixture(scope="module")
def sandbox(sim: CampaignSim) -> Iterator[Sandbox]:
    with Sandbox(activecampaign=sim) as running:
        yield running


@pytest.fixture
def api(sim: CampaignSim, sandbox: Sandbox) -> Iterator[httpx.Client]:
    sandbox.call(sim.reset)
    base = f"{sandbox.url('activecampaign')}/api/3"
    with httpx.Client(base_url=base, headers={"api-token": sim.key}, verify=PLAIN) as client:
        yield client


def new(api: httpx.Client, **fields: Any) -> str:
    return str(api.post("/contacts", json={"contact": fields}).raise_for_status().json()["contact"]["id"])


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/contacts", {"contact": {"email": "ADA@people.example"}}, 422),
        ("POST", "/contacts", {"contact": {"email": "nonsense"}}, 422),
        ("POST", "/contacts", {"contact": {"firstName": "Ada"}}, 422),
        ("POST", "/contacts", {"firstName": "Ada"}, 400),
        ("POST", "/contact/sync", {"contact": {"email": "ada@people.example", "firstName": "Bea"}}, 200),
        ("POST", "/contact/sync", {"contact": {"email": "new@people.example"}}, 201),
        ("PUT", "/contacts/99999", {"contact": {"firstName": "Ada"}}, 404),
        ("DELETE", "/contacts/99999", None, 404),
        ("POST", "/contactLists", {"contactList": {"list": "99", "contact": "{id}", "status": "1"}}, 400),
        ("POST", "/webhooks", {"webhook": {"url": "http://here.example", "events": ["update"]}}, 422),
        ("POST", "/webhooks", {"webhook": {"url": "https://here.example", "events": ["deleted"]}}, 422),
        ("GET", "/nothing", None, 404),
    ],
)
def test_answers(api: httpx.Client, method: str, path: str, body: Any, status: int) -> None:
    """Statuses as the reference has them; a refusal says why in one of two shapes."""
    id_ = new(api, email="ada@people.example")
    if body is not None and "contactList" in body:
        body["contactList"]["contact"] = id_
    answer = api.request(method, path, json=body)
    assert answer.status_code == status
    assert status < 400 or answer.json().keys() & {"errors", "message"}


def test_without_a_key_it_is_403(sandbox: Sandbox) -> None:
    """Not 401."""
    assert httpx.get(f"{sandbox.url('activecampaign')}/api/3/users/me", verify=PLAIN).status_code == 403


def test_lists_and_what_stands_beside(api: httpx.Client) -> None:
    """By id upwards, totals as text, states and fields brought along; without a status only who is on a list."""
    ids = [new(api, email=f"{n}@people.example") for n in range(3)]
    state = {"contactList": {"list": "1", "contact": ids[1], "status": "2"}}
    api.post("/contactLists", json=state).raise_for_status()
    params = {"status": "-1", "orders[id]": "ASC", "id_greater": ids[0], "include": "contactLists"}
    body = api.get("/contacts", params=params).json()
    assert [c["id"] for c in body["contacts"]] == ids[1:]
    assert body["meta"]["total"] == "2"
    assert [(c["contact"], c["status"]) for c in body["contactLists"]] == [(ids[1], "2")]
    assert api.get("/contacts").json()["contacts"] == []


def test_webhooks_are_unsigned_forms_told_once(api: httpx.Client, sim: CampaignSim, sandbox: Sandbox) -> None:
    """One event each, with the secret in the URL; after an error there is no second try, after 410 nothing at all."""
    receiver = Receiver()
    sandbox.call(lambda: sim.deliver_to(receiver.url))
    receiver.answers = [500, 410]
    id_ = new(api, email="ada@people.example")
    first = receiver.inbox.get(timeout=PATIENCE)
    assert first.url.endswith(f"?secret={sim.secret}")
    assert (first.form["type"], first.form["contact[id]"]) == ("update", id_)
    sandbox.call(lambda: sim.edit({"action": "unsubscribe", "id": id_}))
    assert receiver.inbox.get(timeout=PATIENCE).form["type"] == "unsubscribe", "an error is not tried again"
    receiver.close()


def test_the_rate_of_the_account() -> None:
    """Five calls a second, then 429 with a time to wait."""
    sim = CampaignSim(limits=True, clock=lambda: 1_000_000.0)
    statuses = [sim.gate({}, "/", 0) for _ in range(6)]
    assert statuses[:5] == [None] * 5
    assert statuses[5] is not None
    assert (statuses[5].status_code, statuses[5].headers["retry-after"]) == (429, "1")


def test_a_crowd_fills_it() -> None:
    """Some are subscribed, some have left, some are on no list."""
    sim = CampaignSim()
    crowd = [own for _, own in people(60, 1) if own is not None]
    fill(sim, crowd)
    states = [c["lists"].get("1") for c in sim.records(0, 100)[0]]
    assert len(states) == len(crowd)
    assert {"1", "2", None} == set(states)


def test_what_stands_around_contacts_is_made_by_edits() -> None:
    """Accounts, deals and the rest; what makes no sense is said so."""
    sim = CampaignSim()
    deal = sim.edit({"action": "put", "kind": "deals", "fields": {"title": "Big", "value": "100"}})
    assert sim.edit({"action": "put", "kind": "deals", "id": deal["id"], "fields": {"status": "1"}})["title"] == "Big"
    for wrong in ({"kind": "nonsense"}, {"kind": "deals", "fields": {"x": 1}}):
        with pytest.raises(BadEdit):
            sim.edit({"action": "put", **wrong})
    sim.clear()
    assert not sim.account.crm.rows["deals"]
