"""One person, one contact: what is linked without asking, what a person is asked, and what the answer leads to."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.core import tables as t
from app.core.db import Database
from app.core.errors import NotFound, NotPossible
from app.core.words import Channel, Likeness
from app.records import blocks, ledger, proposals
from app.records.proposals import Decision
from app.repair import matches
from app.sync import chain, consent, identity, splitting, whose
from app.sync.batch import Arrival
from connectors.contract import Kind, Record, Side
from tests.test_consent_travels import CONSENT
from tests.test_convergence import world as stored
from tests.world import START, World

MAPPING = """
version: 1
connector: {name}
keys: [email]
fields:
  email: {{theirs: mail, winner: crm, clear: ignored, read: [lower_email], write: [lower_email]}}
  given_name: {{theirs: first, winner: crm, clear: ignored}}
  family_name: {{theirs: last, winner: newest, clear: allowed}}
  phone: {{theirs: tel, winner: newest, clear: allowed, read: [e164]}}
  street: {{theirs: road, winner: newest, clear: allowed}}
  city: {{theirs: town, winner: newest, clear: allowed}}
  postal_code: {{theirs: zip, winner: newest, clear: allowed}}
  company_name: {{theirs: firm, winner: newest, clear: allowed}}
  birthday: {{theirs: born, winner: newest, clear: allowed}}
"""
TWO = {"hub": Side.CRM, "chimp": Side.MARKETING}
ANN = {
    "mail": "ann.lindqvist@acme-turbines.com",
    "first": "Ann",
    "last": "Lindqvist",
    "tel": "+46701234567",
    "road": "Storgatan 12",
    "town": "Lund",
    "zip": "22350",
    "firm": "Acme Turbines",
    "born": "1981-04-02",
}


def world(database: Database, likeness: Likeness = Likeness.LINK) -> World:
    return World(database, TWO, mapping_text=MAPPING + CONSENT, likeness=likeness)


def meet(w: World, **other: Any) -> None:
    """Ann at hub; at chimp a record that may be hers, which differs as said."""
    w.vendors["hub"].put(None, ANN)
    w.deliver("hub")
    w.fetch.step()
    w.vendors["chimp"].put(None, {k: v for k, v in {**ANN, **other}.items() if v is not None})
    w.settle()


def decide(w: World, decision: Decision, **choices: Any) -> matches.Answer:
    (one,) = w.rows(t.proposal)
    with w.database.write() as db:
        return matches.decide(db, w.connections, one.id, decision, "Kim", choices)


@pytest.mark.parametrize(
    ("other", "contacts", "asked"),
    [
        pytest.param({"mail": "ann@private.example", "first": "Annie"}, 1, 0, id="all but the address: linked"),
        pytest.param({"mail": None}, 1, 0, id="no address at all, all else the same: linked"),
        pytest.param(
            {"mail": "a.l@private.example", "tel": None, "born": None, "firm": None}, 2, 1, id="name, street: asked"
        ),
        pytest.param({"mail": "bo@private.example", "first": "Bo"}, 2, 0, id="another given name in one house: two"),
        pytest.param(
            {"mail": "x@private.example", "last": "Lindqvist Jr", "born": None}, 2, 1, id="junior and senior: asked"
        ),
        pytest.param({"first": "Bo", "born": "1979-01-30"}, 2, 1, id="one address, two people: asked"),
        pytest.param({"last": "Lindqvist Jr", "born": None}, 2, 1, id="one address, one of them a junior: asked"),
        pytest.param({"last": "Lindqvist Jr"}, 1, 0, id="one address and birth, one side says junior: linked"),
        pytest.param(
            {
                "mail": "eva.roth@else.example",
                "first": "Eva",
                "last": "Roth",
                "tel": None,
                "road": "Ringvägen 3",
                "born": None,
            },
            2,
            0,
            id="a colleague: two",
        ),
    ],
)
def test_who_is_who(database: Database, other: dict[str, Any], contacts: int, asked: int) -> None:
    """Linked on strong evidence without contradiction, asked where it may be, made new otherwise."""
    w = world(database)
    meet(w, **other)
    assert (len(w.rows(t.contact)), len(w.rows(t.proposal))) == (contacts, asked)
    assert w.settle() == 0


@pytest.mark.parametrize(
    ("address", "asked"),
    [
        pytest.param("info@acme-turbines.com", 1, id="a mailbox of a function"),
        pytest.param("noemail@acme-turbines.com", 1, id="made up to fill the field"),
        pytest.param("ann***@acme-turbines.com", 0, id="masked, so that many have it"),
    ],
)
def test_an_address_that_identifies_nobody(database: Database, address: str, asked: int) -> None:
    """Two people behind one such address are two contacts, and a person is asked where it may be one."""
    w = world(database)
    w.vendors["hub"].put(None, {"mail": address, "first": "Ann", "last": "Lindqvist"})
    w.deliver("hub")
    w.fetch.step()
    w.vendors["chimp"].put(None, {"mail": address, "first": "Bo", "last": "Ek"})
    w.settle()
    assert len(w.rows(t.contact)) == 2
    assert [p.status for p in w.rows(t.proposal)] == ["open"] * asked


@pytest.mark.parametrize("likeness", list(Likeness))
def test_a_masked_address_never_makes_two_people_one(database: Database, likeness: Likeness) -> None:
    """Whether likeness counts or not: what is shown of the address is that of many."""
    w = world(database, likeness=likeness)
    for first in ("Ann", "Bo"):
        w.vendors["hub"].put(None, {"mail": "m***@example.com", "first": first, "last": first * 3})
    w.deliver("hub")
    w.fetch.step()
    assert len(w.rows(t.contact)) == 2


UNSURE: dict[str, Any] = {"mail": "a.l@private.example", "tel": None, "born": None, "firm": None}


def test_whoever_is_not_decided_is_made_nowhere(database: Database) -> None:
    """The duplicate does not spread before a person looked; the known one goes on."""
    w = world(database)
    meet(w, **UNSURE)
    assert len(w.vendors["hub"].records) == 1
    assert len(w.vendors["chimp"].records) == 2, "Ann herself was made there"
    (one,) = w.rows(t.proposal)
    assert (one.older, one.newer, one.source) == (1, 2, "record")
    assert {r["field"] for r in one.reasons} >= {"first", "last", "street"}
    assert all(r["words"] for r in one.reasons)


def test_different_is_remembered_for_ever(database: Database) -> None:
    """The other person is made on every side, and the two are never proposed again, whatever changes."""
    w = world(database)
    meet(w, **UNSURE)
    decide(w, Decision.DIFFERENT)
    w.settle()
    assert (len(w.vendors["hub"].records), len(w.vendors["chimp"].records)) == (2, 2)
    with database.write() as db:
        assert proposals.propose(db, [proposals.Proposal(2, 1, 30.0, [])]) == 0
    assert [p.status for p in w.rows(t.proposal)] == ["different"]


@pytest.mark.parametrize(("choices", "town"), [({}, "Lund"), ({"city": "newer"}, "Malmö")])
def test_same_makes_them_one(database: Database, choices: dict[str, Any], town: str) -> None:
    """Both records are one contact's; field by field the older's value holds unless the other was chosen."""
    w = world(database)
    w.vendors["hub"].put(None, ANN)
    w.deliver("hub")
    w.fetch.step()
    w.vendors["chimp"].put(None, {k: v for k, v in {**ANN, **UNSURE, "town": "Malmö"}.items() if v is not None})
    w.deliver("chimp")
    w.fetch.step()
    answer = decide(w, Decision.SAME, **choices)
    w.settle()
    assert answer.contact == 1
    assert [c.merged_into for c in sorted(w.rows(t.contact))] == [None, 1]
    towns = {r.fields["town"] for v in w.vendors.values() for r in v.records.values()}
    assert towns == {town}
    assert [len(v.records) for v in w.vendors.values()] == [1, 1], "nobody was doubled"
    assert [h.actor for h in w.rows(t.history) if h.rule == matches.RULE] == ["Kim"] * len(choices)
    with pytest.raises(NotPossible, match="was decided before: same, by Kim; split"):
        decide(w, Decision.DIFFERENT)


def test_different_binds_syncs_and_not_people(database: Database) -> None:
    """Said by mistake, it is put right by `same`; the vendors' two records become one contact's; twice is refused."""
    w = world(database)
    meet(w, **UNSURE)
    decide(w, Decision.DIFFERENT)
    w.settle()
    assert [c.merged_into for c in sorted(w.rows(t.contact))] == [None, None]
    for again in (Decision.DIFFERENT, Decision.LATER):
        with pytest.raises(NotPossible, match="was decided before: different, by Kim"):
            decide(w, again)
    answer = decide(w, Decision.SAME)
    w.settle()
    assert answer.contact == 1
    assert [c.merged_into for c in sorted(w.rows(t.contact))] == [None, 1]
    assert [p.status for p in w.rows(t.proposal)] == ["same"]


def test_a_merge_by_mistake_is_split_and_never_proposed_again(database: Database) -> None:
    """Undo: two people again, with their own values, and `different` from now on."""
    w = world(database)
    meet(w, **UNSURE)
    answer = decide(w, Decision.SAME)
    w.settle()
    assert answer.merge is not None
    with database.write() as db:
        splitting.merge(db, w.connections, answer.merge, "Kim")
    w.settle()
    assert [c.merged_into for c in sorted(w.rows(t.contact))] == [None, None]
    assert [p.status for p in w.rows(t.proposal)] == ["different"]
    assert w.settle() == 0


def test_consent_after_a_merge_is_the_strictest(database: Database) -> None:
    """Whichever of the two objected."""
    w = world(database)
    meet(w, **UNSURE, mailing="no")
    decide(w, Decision.SAME)
    w.settle()
    for address in ("ann.lindqvist@acme-turbines.com", "a.l@private.example"):
        with database.read() as db:
            lines = ledger.of_addresses(db, [address])[address]
        assert consent.state([e for e in lines if e.channel is Channel.EMAIL], w.connections.may_grant).stops


OTHERS = "ann@private.example"


def objected_elsewhere(w: World) -> bool:
    """Whether an objection at chimp holds for the address that hub, found by likeness, gives the contact."""
    w.vendors["chimp"].put(None, {**ANN, "mail": OTHERS, "mailing": "no"})
    w.deliver("chimp")
    w.fetch.step()
    w.vendors["hub"].put(None, ANN)
    w.deliver("hub")
    w.fetch.step()
    (contact,) = w.rows(t.contact)
    assert contact.facts["email"]["v"] == ANN["mail"]
    with w.database.read() as db:
        lines = ledger.of_addresses(db, [ANN["mail"]]).get(ANN["mail"], [])
    return consent.state([e for e in lines if e.channel is Channel.EMAIL], w.connections.may_grant).stops


def test_an_objection_follows_whom_likeness_found(database: Database) -> None:
    """To the address that the record brings, before anybody else says it of that one."""
    assert objected_elsewhere(world(database))


def test_whom_likeness_found_without_being_heard_is_noticed(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Saboteur: nothing is read of what they objected to."""
    monkeypatch.setattr(whose.consenting, "hear", lambda *_: None)
    assert not objected_elsewhere(world(database))


def test_later_stays_in_the_queue(database: Database) -> None:
    """Looked at, not decided: it still waits, and can be decided."""
    w = world(database)
    meet(w, **UNSURE)
    decide(w, Decision.LATER)
    assert len(w.vendors["hub"].records) == 1
    decide(w, Decision.SAME)
    with database.write() as db, pytest.raises(NotFound, match="no proposal 99"):
        matches.decide(db, w.connections, 99, Decision.SAME, "Kim")
    w2 = [p.status for p in w.rows(t.proposal)]
    assert w2 == ["same"]


def test_a_choice_of_what_nobody_has_says_so(database: Database) -> None:
    """And decides nothing."""
    w = world(database)
    meet(w, **UNSURE)
    with pytest.raises(ValueError, match="neither of the two has: shoe_size"):
        decide(w, Decision.SAME, shoe_size="newer")
    assert [p.status for p in w.rows(t.proposal)] == ["open"]


def test_the_queue_follows_merges(database: Database) -> None:
    """What is asked about a contact that became another one is asked about that one; what was decided stays decided."""
    w = world(database)
    meet(w, **UNSURE)
    with database.write() as db:
        proposals.settle(db, 2, 7, Decision.DIFFERENT, "Kim")
        proposals.follow(db, 5, 2)
    found = {(p.older, p.newer): p.status for p in w.rows(t.proposal)}
    assert found == {(1, 5): "open", (5, 7): "different", (2, 7): "different"}


@pytest.mark.parametrize("likeness", [Likeness.OFF, Likeness.PROPOSE])
def test_whoever_wants_no_guesses_gets_none(database: Database, likeness: Likeness) -> None:
    """Off: only addresses count.  Propose: nothing is linked without asking."""
    w = world(database, likeness)
    meet(w, mail="ann@private.example", first="Annie")
    assert len(w.rows(t.contact)) == 2
    assert len(w.rows(t.proposal)) == (likeness is Likeness.PROPOSE)


def test_two_alike_in_one_batch_are_seen(database: Database) -> None:
    """Records of one batch are compared with each other too."""
    w = world(database)
    for mail in ("a@one.example", "b@two.example"):
        w.vendors["hub"].put(None, {**ANN, "mail": mail})
    w.settle()
    assert [p.status for p in w.rows(t.proposal)] == ["open"], "one vendor has both: a person is asked"


def test_keys_follow_the_values(database: Database) -> None:
    """A contact is found under what it says now, not under what it said, and a merged one under nothing."""
    w = world(database)
    w.vendors["hub"].put(None, ANN)
    w.settle()
    with database.read() as db:
        before = {row.key for row in db.execute(t.block.select())}
    w.vendors["hub"].put("hub1", {"last": "Ek", "town": "Malmö", "road": "Ringvägen 3"})
    w.settle()
    with database.read() as db:
        after = {row.key for row in db.execute(t.block.select())}
        values = {n: f["v"] for n, f in w.rows(t.contact)[0].facts.items()}
        assert after == set(identity.filed(values)) != before
        assert set(blocks.of(db, after, 10)) == after
        assert blocks.of(db, before - after, 10) == {}


def test_a_full_block_reads_no_more_than_its_share(database: Database) -> None:
    """However many stand under one key, so many are read, the newest first."""
    with database.write() as db:
        blocks.refile(db, {}, {i: [7] for i in range(1, 400)})
        assert blocks.of(db, [7], 51) == {7: list(range(399, 348, -1))}


def arrivals(name: str) -> list[Arrival]:
    fields = {**ANN, "tel": "+46701234567"}
    return [Arrival(Record(Kind.CONTACT, f"{name}1", fields, START), 2**50, since=1)]


def test_one_new_person_through_two_doors_at_once(database: Database) -> None:
    """Two replicas store the same new person from two connections at the same time: one contact, both records."""
    w = world(database)
    barrier = threading.Barrier(2)
    errors: list[BaseException] = []

    def store(name: str) -> None:
        barrier.wait()
        try:
            for _ in range(10):
                database.transact(lambda db: chain.absorb(db, w.connections[name], w.connections, arrivals(name)))
        except BaseException as error:  # noqa: BLE001
            errors.append(error)

    threads = [threading.Thread(target=store, args=(name,)) for name in TWO]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert errors == []
    assert len(w.rows(t.contact)) == 1
    assert len({k.contact_id for k in w.rows(t.link)}) == 1
    assert sorted(k.connection for k in w.rows(t.link)) == ["chimp", "hub"]


PEOPLE = [
    ("hub", {**ANN}),
    ("chimp", {**ANN, "mail": "ann@private.example"}),
    ("chimp", {k: v for k, v in {**ANN, **UNSURE}.items() if v is not None}),
    ("hub", {**ANN, "mail": "bo@private.example", "first": "Bo", "born": "1979-01-30"}),
    ("chimp", {"mail": "eva@else.example", "first": "Eva", "last": "Roth", "town": "Lund"}),
]
OF_ANN = {0, 1, 2}


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.permutations(range(len(PEOPLE))))
def test_the_order_of_arrival_does_not_matter(order: list[int]) -> None:
    """When everything is decided truthfully, the same records end together, and no answer was overruled."""
    with stored() as plain:
        w = World(plain.database, TWO, mapping_text=MAPPING + CONSENT, likeness=Likeness.LINK)
        ids: dict[int, tuple[str, str]] = {}
        for i in order:
            name, fields = PEOPLE[i]
            ids[i] = (name, w.vendors[name].put(None, fields))
            w.deliver(name)
            w.fetch.step()
        for _ in range(10):
            waiting = [p for p in w.rows(t.proposal) if p.status == "open"]
            if not waiting:
                break
            with plain.database.write() as db:
                truth = _are_one(w, ids, waiting[0].older, waiting[0].newer)
                matches.decide(db, w.connections, waiting[0].id, Decision.SAME if truth else Decision.DIFFERENT, "Kim")
        w.settle()
        told = {(p.older, p.newer) for p in w.rows(t.proposal) if p.status == "different"}
        roots = {c.id: c.merged_into if c.merged_into is not None else c.id for c in w.rows(t.contact)}
        assert all(roots[a] != roots[b] for a, b in told if a in roots and b in roots)
        owner = {(k.connection, k.remote_id): k.contact_id for k in w.rows(t.link)}
        of_ann = {roots[roots[owner[ids[i]]]] for i in OF_ANN}
        others = {roots[owner[ids[i]]] for i in range(len(PEOPLE)) if i not in OF_ANN}
        assert len(of_ann) == 1
        assert len(others) == 2
        assert not of_ann & others


def _are_one(w: World, ids: dict[int, tuple[str, str]], older: int, newer: int) -> bool:
    """What somebody who knows the people would say."""
    owner = {(k.connection, k.remote_id): k.contact_id for k in w.rows(t.link)}
    of = {i: owner[key] for i, key in ids.items() if key in owner}
    ann = {contact for i, contact in of.items() if i in OF_ANN}
    return older in ann and newer in ann
