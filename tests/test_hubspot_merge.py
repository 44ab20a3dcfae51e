"""Merging at HubSpot: what is asked, what each answer leads to, what the simulator tells of it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from connectors.contract import Action, Delivery, Done, Event, Kind, Order, Verb
from connectors.hubspot import HubSpot
from sandbox.hubspot import HubSpotSim
from sandbox.serve import Sandbox
from tests import sandboxed
from tests.examples.hubspot import FakeHubSpot, connect, error, mocked
from tests.examples.hubspot_contract import Line
from tests.sandboxed import PLAIN, Receiver
from tests.test_hubspot_write import archive, brief, create, update

receiver = sandboxed.receiver  # the fixture


@pytest.fixture
def api() -> FakeHubSpot:
    """Five contacts; 6 was merged into 5, 7 is archived."""
    api = mocked()
    for i in range(1, 6):
        api.add(i, email=f"{i}@example.com", firstname=f"F{i}", hs_merged_object_ids="6" if i == 5 else None)
    api.merged["6"] = "5"
    api.add(7, archived=True)
    return api


@pytest.fixture
def hubspot(api: FakeHubSpot) -> HubSpot:
    return connect(api.transport)


def merge(key: str, winner: str, loser: str | None, *, again: bool = False) -> Order:
    return Order(key, Kind.CONTACT, Verb.MERGE, {}, id=winner, again=again, loser=loser)


def merges(api: FakeHubSpot) -> list[tuple[str, str]]:
    """(into, what) of every merge that was asked for."""
    return [(b["primaryObjectId"], b["objectIdToMerge"]) for _, path, b in api.calls if path.endswith("/merge")]


def test_a_merge_on_the_wire(api: FakeHubSpot, hubspot: HubSpot) -> None:
    """One lookup for all, then a call each, with the body of the official client; the receipt has the new id."""
    from hubspot.crm.contacts.models import PublicMergeInput

    first, second = hubspot.write([merge("k1", "1", "2"), merge("k2", "3", "4")])
    assert api.paths() == ["POST /batch/read", "POST /merge", "POST /merge"]
    assert merges(api) == [("1", "2"), ("3", "4")]
    assert set(api.calls[-1][2]) == set(PublicMergeInput.attribute_map.values())
    for receipt, both in ((first, {"1", "2"}), (second, {"3", "4"})):
        assert isinstance(receipt, Done)
        assert receipt.id not in both
        assert receipt.record is not None
        assert receipt.record.id == receipt.id
        assert set(receipt.record.former_ids) == both
        assert receipt.modified == receipt.record.modified is not None


@pytest.mark.parametrize("again", [True, False])
@pytest.mark.parametrize(
    ("winner", "loser", "outcome", "asked"),
    [
        ("5", "6", "5", None),  # done already
        ("6", "5", "5", None),
        ("1", "6", ("conflict", None), None),  # lives on in a third one, which nobody meant
        ("6", "1", "7001", ("5", "1")),  # the winner lives on: there
        ("1", "99", "gone", None),
        ("99", "1", "gone", None),
        ("1", "7", "gone", None),  # archived
        ("7", "1", "gone", None),
        ("x/../1", "1", "gone", None),
        ("1", "x/../1", "gone", None),
        ("1", "1", ("id", None), None),
        ("1", None, ("id", None), None),
    ],
)
def test_what_is_there_decides(
    api: FakeHubSpot,
    hubspot: HubSpot,
    winner: str,
    loser: str | None,
    outcome: Any,
    asked: tuple[str, str] | None,
    again: bool,
) -> None:
    """A merge is asked for only of two records that are there; whether one was made is told by the ids."""
    assert brief(hubspot.write([merge("k", winner, loser, again=again)])[0]) == outcome
    assert merges(api) == ([asked] if asked else [])


@pytest.mark.parametrize(
    ("response", "outcome"),
    [
        (error(400, "no", category="VALIDATION_ERROR"), ("VALIDATION_ERROR", None)),
        (error(404, "no", category="OBJECT_NOT_FOUND"), ("OBJECT_NOT_FOUND", None)),
        (error(409, "no", category="CONFLICT"), ("CONFLICT", None)),
        (error(414, "too many", category="VALIDATION_ERROR"), ("merges", None)),
        (error(403, "scope", category="MISSING_SCOPES"), "NeedsHuman"),
        (error(423, "locked"), "TryLater"),
        (error(502), "TryLater"),
        (httpx.Response(200, text="<html>"), "TryLater"),
        (httpx.Response(200, json={}), "TryLater"),
    ],
)
def test_what_a_refused_merge_leads_to(
    api: FakeHubSpot, hubspot: HubSpot, response: httpx.Response, outcome: Any
) -> None:
    """Each answer of HubSpot's leads to one next step, and only a passing one stops the merges that follow."""
    real = api.merge
    api.trouble["/merge"] = lambda body: response if body["objectIdToMerge"] == "2" else real(body)
    receipts = hubspot.write([merge("k1", "1", "2"), merge("k2", "3", "4")])
    assert brief(receipts[0]) == outcome
    assert brief(receipts[1]) == (outcome if isinstance(outcome, str) else "7001")
    assert len(merges(api)) == (1 if isinstance(outcome, str) else 2), "one that may have landed is not sent twice"


@pytest.mark.parametrize(("meanwhile", "outcome"), [("merged", "7001"), ("archived", "gone")])
def test_a_refusal_is_checked_by_the_ids(api: FakeHubSpot, hubspot: HubSpot, meanwhile: str, outcome: str) -> None:
    """Somebody was faster: what is merged already is Done, what was archived is Gone."""

    def refuse(body: Any) -> httpx.Response:
        if meanwhile == "merged":
            api.merge(body)
        else:
            api.rows["2"]["archived"] = True
        return error(400, "no", category="VALIDATION_ERROR")

    api.trouble["/merge"] = refuse
    assert brief(hubspot.write([merge("k", "1", "2")])[0]) == outcome


def test_merges_of_one_write_build_on_each_other(api: FakeHubSpot, hubspot: HubSpot) -> None:
    """Two into one, and the result into another: each under the ids of its time."""
    receipts = hubspot.write([merge("k1", "1", "2"), merge("k2", "1", "3"), merge("k3", "4", "1")])
    ids = [brief(r) for r in receipts]
    assert len(set(ids)) == 3
    assert merges(api) == [("1", "2"), (ids[0], "3"), ("4", ids[1])]
    (survivor,) = hubspot.read(Kind.CONTACT, ["1", "2", "3", "4"])
    assert survivor.id == ids[2]
    assert survivor.fields["email"] == "4@example.com"
    assert set(survivor.former_ids) >= {"1", "2", "3", "4"}


def test_merges_come_after_updates_and_before_archives(api: FakeHubSpot, hubspot: HubSpot) -> None:
    """What is said of the loser is said while it is there; the others are carried out as ever."""
    orders = [archive("k1", "4"), merge("k2", "1", "2"), update("k3", "2", jobtitle="x"), create("k4", email="n@x.org")]
    receipts = hubspot.write(orders)
    assert [r.key for r in receipts] == ["k1", "k2", "k3", "k4"]
    assert all(isinstance(r, Done) for r in receipts)
    verbs = [path for path in api.paths() if not path.endswith("/read")]
    assert verbs == ["PATCH /2", "POST /batch/create", "POST /merge", "POST /batch/archive"]
    assert api.rows[brief(receipts[1])]["properties"]["jobtitle"] == "x"


def test_the_simulator_refuses_the_251st_merge() -> None:
    """A record takes in 250 others."""
    sim = HubSpotSim()
    a, b = (sim.edit({"action": "create", "properties": {"email": f"{n}@example.com"}})["id"] for n in "ab")
    sim.portal.by_id(a).values["hs_merged_object_ids"] = ";".join(str(i) for i in range(250))
    with Sandbox(hubspot=sim) as one, httpx.HTTPTransport(verify=PLAIN) as line:
        hubspot = connect(line, base_url=one.hubspot_url, access_token=sim.token)
        (receipt,) = hubspot.write([merge("k", a, b)])
    assert brief(receipt) == ("merges", None)


@pytest.mark.parametrize("new", [True, False], ids=["a new id", "the winner's id"])
def test_a_merge_at_the_simulator(receiver: Receiver, new: bool) -> None:
    """Done, repeated Done, readable by every id, and told as a merge of the loser into the id of the receipt."""
    sim = HubSpotSim(merge_makes_new=new, webhook=f"{receiver.url}/hook")
    with Sandbox(hubspot=sim) as one, httpx.HTTPTransport(verify=PLAIN) as inner:
        line = Line(inner, one.hubspot_url)
        hubspot = connect(line, base_url=one.hubspot_url, access_token=sim.token, client_secret=sim.secret)
        made = hubspot.write([create("c1", email="a@example.com"), create("c2", email="b@example.com", city="Bonn")])
        a, b = (brief(r) for r in made)
        (done,) = hubspot.write([merge("k", a, b)])
        (again,) = hubspot.write([merge("k", a, b, again=True)])
        (found,) = hubspot.read(Kind.CONTACT, [a, b])
        told: list[Event] = []
        while not told:  # the creations may come in the same delivery, or in one before
            told = [e for e in hubspot.receive(_signed(receiver)).events if e.action is Action.MERGED]
    assert line.checked.seen == ["POST /crm/v3/objects/contacts/merge"]
    assert isinstance(done, Done)
    assert (done.id != a) is new
    assert brief(again) == done.id == found.id
    assert {a, b} <= {found.id, *found.former_ids}
    assert (found.fields["email"], found.fields["hs_additional_emails"]) == ("a@example.com", "b@example.com")
    assert [(e.ref.value, set(e.losers)) for e in told] == [(done.id, {a, b} - {done.id})]


def _signed(receiver: Receiver) -> Delivery:
    """The next delivery that came."""
    got = receiver.take()
    stamp = int(got.headers["x-hubspot-request-timestamp"]) / 1000
    return Delivery(got.method, got.url, got.headers, got.body, datetime.fromtimestamp(stamp, UTC))
