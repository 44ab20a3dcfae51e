"""Merges that vendors make are followed, bind both people's objections, and can be split again."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from app.core import tables as t
from app.core.db import Database
from app.core.errors import NotFound, NotPossible
from app.core.words import Brake, Channel, Duplicates, Limit, Writes
from app.push import brake
from app.records import ledger, merges
from app.repair import subject
from app.sync import consent, splitting, uniting
from app.sync.connection import Connections
from connectors.contract import Action, Can, Done, Side, Verb
from tests.test_consent_travels import CONSENT
from tests.world import MAPPING, Vendor, World

THREE = {"hub": Side.CRM, "chimp": Side.MARKETING, "desk": Side.CRM}
# Her record says "never", which the vendor keeps when it merges another one into it.
ANN = {"mail": "ann@x.org", "first": "Ann", "last": "Lee", "town": "Ulm", "mailing": "never"}
ANNA = {"mail": "anna@y.org", "first": "Anna", "last": "Lee", "job": "Cook"}


def world(database: Database, **policies: Duplicates) -> World:
    """Two people on three sides, with policies for records that are one too many."""
    w = World(database, THREE, mapping_text=MAPPING + CONSENT)
    w.grant("chimp")
    changed = {n: dataclasses.replace(w.connections[n], duplicates=policy) for n, policy in policies.items()}
    w.connections = Connections({**w.connections, **changed})
    w.start()
    w.vendors["hub"].put(None, ANN)
    w.vendors["hub"].put(None, ANNA)
    w.settle()
    return w


def mailing(w: World, name: str) -> dict[str, Any]:
    return {r.fields["mail"]: r.fields.get("mailing") for r in w.vendors[name].records.values()}


def held(w: World, address: str) -> consent.State:
    with w.database.read() as db:
        lines = ledger.of_addresses(db, [address]).get(address, [])
    return consent.state([e for e in lines if e.channel is Channel.EMAIL], w.connections.may_grant)


@pytest.mark.parametrize("into", [None, "hub9"])
def test_failure_14_merged_ids_linger_as_duplicates(database: Database, into: str | None) -> None:
    """A merge at one vendor makes one contact of two, whatever id the record has afterwards; nothing is made anew."""
    w = world(database)
    w.vendors["hub"].merge("hub1", "hub2", into=into)
    w.settle()
    w.walk()
    w.settle()
    links = [(k.remote_id, k.contact_id) for k in w.rows(t.link) if k.connection == "hub"]
    assert links == [(into if into is not None else "hub1", 1)]
    assert [c.merged_into for c in sorted(w.rows(t.contact))] == [None, 1]
    assert {a.former: a.remote_id for a in w.rows(t.alias)} == (
        {"hub2": "hub1"} if into is None else {"hub1": "hub9", "hub2": "hub9"}
    )
    assert len(w.vendors["hub"].records) == 1
    assert w.people("chimp")["ann@x.org"]["job"] == "Cook", "what only the other knew is not lost"
    assert sorted(d.connection for d in w.rows(t.dead)) == ["chimp", "desk"], "a person is told of both left-overs"
    assert w.settle() == 0


def test_failure_14_a_merge_seen_as_deletion_and_update(database: Database) -> None:
    """The loser's deletion that comes first makes nobody disappear: with the merge its tombstone goes."""
    w = world(database)
    w.deletes(hub=("archive", "ignore"))
    hub = w.vendors["hub"]
    lost = hub.remove("hub2")
    w.settle()
    assert [s.lifted_at is None for s in w.rows(t.tombstone)] == [True]
    hub.records["hub2"] = lost
    hub.merge("hub1", "hub2")
    w.settle()
    assert [s.lifted_at is None for s in w.rows(t.tombstone)] == [False]
    assert sorted(w.people("chimp")) == ["ann@x.org", "anna@y.org"]
    assert [c.merged_into for c in sorted(w.rows(t.contact))] == [None, 1]


def test_a_late_event_of_the_loser_is_the_survivors(database: Database) -> None:
    """An event that names the former id looks at the record of today; a deletion of it deletes nobody."""
    w = world(database)
    hub = w.vendors["hub"]
    hub.merge("hub1", "hub2")
    w.settle()
    hub.records["hub1"] = dataclasses.replace(hub.records["hub1"], former_ids=())
    hub._tell(Action.DELETED, "hub2")
    w.settle()
    assert [k.gone_at for k in w.rows(t.link) if k.connection == "hub"] == [None]


def test_failure_15_lead_converted(database: Database) -> None:
    """A lead that lives on as a contact under another id: a write to the old id is repeated once on the new one."""
    w = world(database)
    hub = w.vendors["hub"]
    hub.records["003"] = dataclasses.replace(hub.records.pop("hub1"), id="003", former_ids=("hub1",))
    hub.read = lambda kind, ids: [  # type: ignore[method-assign]
        r for r in hub.records.values() if {r.id, *r.former_ids} & set(ids)
    ]
    w.vendors["chimp"].put("chimp1", {"town": "Bonn"})
    w.settle()
    assert hub.records["003"].fields["town"] == "Bonn"
    assert sorted(hub.records) == ["003", "hub2"], "no later new lead"
    assert w.rows(t.dead) == []


@pytest.mark.parametrize("objects", ["hub1", "hub2"])
def test_consent_of_the_merged_is_the_strictest(database: Database, objects: str) -> None:
    """Whoever of the two had objected, nobody may write to either address any more, on no side."""
    w = world(database)
    w.vendors["hub"].put(objects, {"mailing": "no"})
    w.settle()
    w.vendors["hub"].merge("hub1", "hub2")
    w.settle()
    assert held(w, "ann@x.org").stops
    assert held(w, "anna@y.org").stops
    for name in ("chimp", "desk"):
        assert mailing(w, name) == {"ann@x.org": "no", "anna@y.org": "no"}


def test_a_merge_that_forgets_consent_is_noticed(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Saboteur: without the strictest of both, the survivor may be written to under the other address."""
    monkeypatch.setattr(uniting, "_strictest", lambda *_: [])
    w = world(database)
    w.vendors["hub"].put("hub2", {"mailing": "no"})
    w.settle()
    w.vendors["hub"].merge("hub1", "hub2")
    w.settle()
    assert mailing(w, "desk")["ann@x.org"] != "no"


def test_the_duplicate_is_archived_where_the_policy_says_so(database: Database) -> None:
    """At chimp the loser's record goes, at desk it stays and is reported; the brake counts it as a deletion."""
    w = world(database, chimp=Duplicates.ARCHIVE)
    w.vendors["hub"].merge("hub1", "hub2")
    w.settle()
    assert sorted(w.people("chimp")) == ["ann@x.org"]
    assert sorted(w.people("desk")) == ["ann@x.org", "anna@y.org"]
    assert [d.connection for d in w.rows(t.dead)] == ["desk"]
    assert w.settle() == 0


def test_the_duplicate_of_a_duplicate_is_archived_too(database: Database) -> None:
    """Merged twice over before chimp heard of it, and the one between is gone: who stands for both has a record."""
    w = world(database, chimp=Duplicates.ARCHIVE)
    w.vendors["hub"].put(None, {"mail": "annie@z.org", "first": "Annie", "last": "Lee"})
    w.settle()
    with database.write() as db:
        uniting.unite(db, w.connections, 2, 1, by="hub", now=1)
        uniting.unite(db, w.connections, 3, 2, by="hub", now=2)
    w.vendors["chimp"].remove("chimp2")
    w.deliver("chimp")
    w.fetch.step()
    w.settle()
    assert sorted(w.people("chimp")) == ["annie@z.org"]


def test_the_brake_holds_duplicates_too(database: Database) -> None:
    """Merging many at one vendor archives few at the other before somebody looks."""
    w = world(database, chimp=Duplicates.ARCHIVE)
    w.brake(chimp=Brake(3_600_000, {Writes.DELETES: Limit(0, 0.0)}))
    w.vendors["hub"].merge("hub1", "hub2")
    w.settle()
    assert sorted(w.people("chimp")) == ["ann@x.org", "anna@y.org"]
    with database.read() as db:
        assert [on["kind"] for on in brake.listed(db)] == ["deletes"]


def test_the_duplicate_is_merged_where_the_vendor_can(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """One order names both records; what comes back of it is followed and comes to rest."""
    real = Vendor._one

    def one(self: Vendor, order: Any) -> Any:
        if order.verb is not Verb.MERGE:
            return real(self, order)
        assert order.id is not None
        assert order.loser is not None
        self.merge(order.id, order.loser)
        return Done(order.key, order.id)

    monkeypatch.setattr(Vendor, "_one", one)
    monkeypatch.setattr(Vendor, "can", Vendor.can | {Can.MERGE})
    w = world(database, chimp=Duplicates.MERGE)
    w.vendors["hub"].merge("hub1", "hub2")
    w.settle()
    assert sorted(w.people("chimp")) == ["ann@x.org"]
    orders = [o for batch in w.vendors["chimp"].calls for o in batch if o.verb is Verb.MERGE]
    assert [(o.id, o.loser) for o in orders] == [("chimp1", "chimp2")]
    assert [k.remote_id for k in w.rows(t.link) if k.connection == "chimp"] == ["chimp1"]
    assert w.settle() == 0


@pytest.mark.parametrize("policy", [Duplicates.REPORT, Duplicates.ARCHIVE])
def test_a_merge_is_split(database: Database, policy: Duplicates) -> None:
    """Values, records, keys and consent go back to whom they came from, and every side has both people again."""
    w = world(database, chimp=policy)
    w.vendors["hub"].put("hub2", {"mailing": "no"})
    w.settle()
    before = {name: w.people(name) for name in THREE}
    w.vendors["hub"].merge("hub1", "hub2")
    w.settle()
    with database.write() as db:
        (number,) = [m["id"] for m in merges.listed(db, 10)]
        apart = splitting.merge(db, w.connections, number, "Kim")
        assert (apart.stays, apart.leaves) == (1, 2)
        with pytest.raises(NotPossible, match="split before, by Kim"):
            splitting.merge(db, w.connections, number, "Lou")
    assert not held(w, "ann@x.org").stops, "what came with the merge goes with it"
    assert held(w, "anna@y.org").stops, "her own objection stays hers"
    w.settle()
    w.walk()
    w.settle()
    for name in ("chimp", "desk"):
        assert {m: p["town"] for m, p in w.people(name).items()} == {m: p["town"] for m, p in before[name].items()}
        assert {m: p["job"] for m, p in w.people(name).items()} == {m: p["job"] for m, p in before[name].items()}
    assert sorted(w.people("hub")) == ["ann@x.org", "anna@y.org"], "whom the vendor's merge swallowed is made again"
    assert mailing(w, "hub")["anna@y.org"] == "no", "and made objecting"
    assert [c.merged_into for c in sorted(w.rows(t.contact))] == [None, None]
    assert w.settle() == 0


def wrongly_paired(database: Database) -> World:
    """Ann at hub and another Ann at chimp share a phone-less household address: paired by it."""
    w = World(database, THREE, mapping_text=MAPPING + CONSENT)
    w.vendors["hub"].put(None, ANN)
    w.vendors["chimp"].put(None, {**ANN, "first": "Bob", "town": "Bonn", "job": "Pilot"})
    w.deliver("hub")
    w.fetch.step()
    w.settle()
    w.vendors["chimp"].put("chimp1", {"last": "Roth"})
    w.settle()
    assert w.people("hub")["ann@x.org"]["last"] == "Roth"
    return w


def test_a_wrong_pairing_is_split(database: Database) -> None:
    """The record takes along what it said itself; the others get back what they had said."""
    w = wrongly_paired(database)
    with database.write() as db:
        apart = splitting.pairing(db, w.connections, 1, "chimp", "Kim")
    w.settle()
    people = {c.id: {n: f["v"] for n, f in c.facts.items()} for c in w.rows(t.contact)}
    assert people[apart.leaves]["given_name"] == "Bob"
    assert people[apart.leaves]["job_title"] == "Pilot"
    assert people[apart.leaves]["family_name"] == "Roth"
    assert people[apart.stays]["given_name"] == "Ann"
    assert people[apart.stays]["family_name"] == "Lee"
    assert w.vendors["hub"].records["hub1"].fields["last"] == "Lee", "repaired there"
    assert w.vendors["chimp"].records["chimp1"].fields["first"] == "Bob", "and here"
    assert len(w.vendors["chimp"].records) == 1, "nobody is made a second time under one address"


@pytest.mark.parametrize(
    ("contact", "connection", "error", "message"),
    [
        (9, "chimp", NotFound, "no contact 9"),
        (1, "mars", NotFound, "has no record at mars; it has one at: chimp, desk, hub"),
        (1, "hub", NotPossible, "split off chimp instead"),
        (1, "desk", NotPossible, "made with it or from it"),
    ],
)
def test_what_cannot_be_split_says_why(
    database: Database, contact: int, connection: str, error: type[Exception], message: str
) -> None:
    """And changes nothing."""
    w = wrongly_paired(database)
    before = w.rows(t.contact)
    with database.write() as db, pytest.raises(error, match=message):
        splitting.pairing(db, w.connections, contact, connection, "Kim")
    assert w.rows(t.contact) == before


def test_a_merge_under_a_later_one_is_split_after_it(database: Database) -> None:
    """Merges are taken apart in the order opposite to that in which they were made."""
    w = world(database)
    w.vendors["hub"].put(None, {"mail": "third@x.org", "first": "Eva"})
    w.settle()
    w.vendors["hub"].merge("hub2", "hub3")
    w.settle()
    w.vendors["hub"].merge("hub1", "hub2")
    w.settle()
    with database.write() as db:
        late, early = [m["id"] for m in merges.listed(db, 10)]
        with pytest.raises(NotPossible, match="was merged into another one later"):
            splitting.merge(db, w.connections, early, "Kim")
        splitting.merge(db, w.connections, late, "Kim")
        splitting.merge(db, w.connections, early, "Kim")
    assert [c.merged_into for c in sorted(w.rows(t.contact))] == [None, None, None]


def test_the_absorbed_are_part_of_the_person(database: Database) -> None:
    """Subject access and erasure find those a contact stands for, by either address."""
    w = world(database)
    w.vendors["hub"].merge("hub1", "hub2")
    w.settle()
    with database.read() as db:
        for address in ("ann@x.org", "anna@y.org"):
            assert subject.find(db, w.connections, address).contacts == {1, 2}
