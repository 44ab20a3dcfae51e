"""Deletions: what a vendor's word leads to, who is not made again, and how that is taken back."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from sqlalchemy import update

from app.core import tables as t
from app.core.db import Database
from app.core.settings import ConnectionConfig
from app.core.words import Deletes
from app.records import dead, tombstones
from app.sync import deleting
from connectors.contract import Action, Side
from tests.world import World

TWO = {"hub": Side.CRM, "chimp": Side.MARKETING}
ANN = {"mail": "ann@x.org", "first": "Ann", "last": "Lee"}


def paired(database: Database, **policies: tuple[str, str]) -> World:
    world = World(database, TWO)
    world.deletes(**policies)
    world.vendors["hub"].put(None, ANN)
    world.settle()
    assert list(world.people("chimp")) == ["ann@x.org"]
    return world


def ends(world: World) -> list[tuple[str, str | None]]:
    return [(e.status, e.error) for e in world.rows(t.inbox) if e.status == "ignored"]


@pytest.mark.parametrize(("inward", "outward"), [*itertools.product(("ignore", "archive", "delete"), repeat=2)])
def test_policies(database: Database, inward: str, outward: str) -> None:
    """A deletion travels only where both connections say so, and leaves a tombstone where the first one does."""
    world = paired(database, hub=(inward, "ignore"), chimp=("ignore", outward))
    world.vendors["hub"].remove("hub1")
    world.settle()
    travels = inward != "ignore" and outward != "ignore"
    assert list(world.people("chimp")) == ([] if travels else ["ann@x.org"])
    stones = world.rows(t.tombstone)
    assert [(s.connection, s.remote_id, s.reason, s.actor) for s in stones] == (
        [] if inward == "ignore" else [("hub", "hub1", "deleted", "hub")]
    )
    assert world.settle() == 0
    assert world.rows(t.dead) == []
    assert len(world.rows(t.contact)) == 1, "the contact itself stays"


def test_our_own_archiving_is_no_second_deletion(database: Database) -> None:
    """Where both sides tell and follow, the echo of the archiving ends here: one tombstone."""
    world = paired(database, hub=("archive", "archive"), chimp=("archive", "archive"))
    world.vendors["chimp"].remove("chimp1")
    world.settle()
    assert (world.people("hub"), world.people("chimp")) == ({}, {})
    assert [s.connection for s in world.rows(t.tombstone)] == ["chimp"]


def test_an_echo_that_comes_before_our_receipt_is_no_second_deletion(database: Database) -> None:
    """The vendor tells of our own archiving before our call has ended: still one tombstone."""
    world = paired(database, hub=("archive", "archive"), chimp=("archive", "archive"))
    world.vendors["hub"].remove("hub1")
    world.deliver("hub")
    world.fetch.step()
    world.due()
    with database.write() as db:
        batch = world.push._lease(db, world.connections["chimp"])
    receipts = world.push._send(batch)
    world.deliver("chimp")
    world.fetch.step()
    database.transact(lambda db: world.push._finish(db, batch, receipts))
    world.settle()
    assert [s.connection for s in world.rows(t.tombstone)] == ["hub"]


def met(world: World) -> None:
    """A write meets a deletion that the vendor has not told yet, and is given up."""
    hub = world.vendors["hub"]
    hub.remove("hub1")
    told, hub.events = hub.events, []
    world.vendors["chimp"].put("chimp1", {"last": "Lea"})
    world.settle()
    assert [d.code for d in world.rows(t.dead)] == ["gone"]
    hub.events += told
    world.settle()


def test_a_deletion_that_a_write_met_first_counts(database: Database) -> None:
    """The vendor's word comes later than our failed write: it leads to the same as before it."""
    world = paired(database, hub=("archive", "ignore"), chimp=("ignore", "archive"))
    met(world)
    assert world.people("chimp") == {}
    assert [(s.connection, s.remote_id) for s in world.rows(t.tombstone)] == [("hub", "hub1")]
    assert world.rows(t.dead) == [], "the letter is settled: the vendor said what became of the record"
    assert world.settle() == 0


def test_saboteur_what_a_write_met_is_known_already(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Were the vendor's word no news then, the person would stay at the other side for ever."""
    monkeypatch.setattr(dead, "gone", lambda *_: set())
    world = paired(database, hub=("archive", "ignore"), chimp=("ignore", "archive"))
    met(world)
    assert world.people("chimp") != {}


def test_a_worker_that_lost_its_lease_knows_of_no_deletion(database: Database) -> None:
    """It met one, but its letter is not written: what the vendor says later must not be old news."""
    world = paired(database, hub=("archive", "ignore"), chimp=("ignore", "archive"))
    world.vendors["chimp"].put("chimp1", {"last": "Lea"})
    world.deliver("chimp")
    world.fetch.step()
    with database.write() as db:
        db.execute(update(t.work).values(attempts=1))  # it has looked where the record went
        batch = world.push._lease(db, world.connections["hub"])
    world.vendors["hub"].remove("hub1")
    receipts = world.push._send(batch)
    with database.write() as db:
        db.execute(update(t.work).values(lease="another:1"))
    database.transact(lambda db: world.push._finish(db, batch, receipts))
    world.deliver("hub")
    world.settle()
    assert world.people("chimp") == {}


def test_a_write_that_comes_after_the_vendors_word_is_no_letter(database: Database) -> None:
    """The record went while our call was under way, and the vendor told it before the call had ended."""
    world = paired(database, hub=("archive", "ignore"), chimp=("ignore", "archive"))
    world.vendors["chimp"].put("chimp1", {"last": "Lea"})
    world.deliver("chimp")
    world.fetch.step()
    with database.write() as db:
        batch = world.push._lease(db, world.connections["hub"])
    world.vendors["hub"].remove("hub1")
    receipts = world.push._send(batch)
    world.deliver("hub")
    world.fetch.step()
    database.transact(lambda db: world.push._finish(db, batch, receipts))
    world.settle()
    assert world.rows(t.dead) == []
    assert world.people("chimp") == {}


@pytest.mark.parametrize("name", ["hub", "chimp"])
@pytest.mark.parametrize("mail", ["ann@x.org", "ANN@X.org"])
def test_failure_12_deleted_people_come_back(database: Database, name: str, mail: str) -> None:
    """A new record of a deleted person, at either side and in any spelling, is refused with its reason."""
    world = paired(database, hub=("archive", "ignore"), chimp=("ignore", "archive"))
    world.vendors["hub"].remove("hub1")
    world.settle()
    world.vendors[name].put(None, {**ANN, "mail": mail})
    world.settle()
    other = "chimp" if name == "hub" else "hub"
    assert world.people(other) == {}
    assert ("ignored", "the person was deleted: a tombstone stands") in ends(world)


def test_nobody_is_made_at_a_third_side(database: Database) -> None:
    """Who was not created there yet when the deletion came is not created after it."""
    world = World(database, TWO)
    world.deletes(hub=("archive", "ignore"))
    world.vendors["hub"].put(None, ANN)
    world.deliver("hub")
    assert world.fetch.step() == 1
    world.vendors["hub"].remove("hub1")
    world.deliver("hub")
    assert world.fetch.step() == 1
    world.settle()
    assert world.people("chimp") == {}


def test_without_the_check_somebody_deleted_is_made_again(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Saboteur: where nobody looks at the tombstones, a deleted person is back at the other side."""
    world = World(database, TWO)
    world.deletes(hub=("archive", "ignore"))
    world.vendors["hub"].put(None, ANN)
    world.deliver("hub")
    world.fetch.step()
    world.vendors["hub"].remove("hub1")
    monkeypatch.setattr(tombstones, "buried", lambda _db, _contacts: set())
    monkeypatch.setattr(tombstones, "standing", lambda _db, _addresses, _key: {})
    world.settle()
    assert list(world.people("chimp")) == ["ann@x.org"]


def test_an_operator_lifts_it(database: Database) -> None:
    """A lifted tombstone lets a new record of the person in; it is lifted once, and says by whom."""
    world = paired(database, hub=("archive", "ignore"), chimp=("ignore", "archive"))
    world.vendors["hub"].remove("hub1")
    world.settle()
    (stone,) = world.rows(t.tombstone)
    assert "ann" not in repr(stone)
    with database.write() as db:
        assert tombstones.lift(db, stone.id, "Kim") is True
        assert tombstones.lift(db, stone.id, "Lou") is False
    world.vendors["hub"].put(None, {**ANN, "town": "Bonn"})
    world.settle()
    assert world.rows(t.dead) == []
    assert [k.remote_id for k in world.rows(t.link) if k.connection == "hub"] == ["hub2"]
    assert [s.lifted_by for s in world.rows(t.tombstone)] == ["Kim"]


def test_a_restored_record_lifts_it(database: Database) -> None:
    """The vendor shows the record again: it is kept in step again, and the tombstone is lifted."""
    world = paired(database, hub=("archive", "ignore"))
    hub = world.vendors["hub"]
    hub.restore(hub.remove("hub1"))
    world.settle()
    record = hub.remove("hub1")
    world.settle()
    assert [s.lifted_by for s in world.rows(t.tombstone)] == [None]
    hub.restore(record)
    world.settle()
    assert [s.lifted_by for s in world.rows(t.tombstone)] == ["vendor"]
    hub.put("hub1", {"town": "Bonn"})
    world.settle()
    assert world.people("chimp")["ann@x.org"]["town"] == "Bonn"


def test_failure_19_a_partial_fetch_deletes(database: Database) -> None:
    """A record that cannot be read, without the vendor's word that it is deleted, leads to nothing."""
    world = paired(database, hub=("delete", "ignore"), chimp=("ignore", "delete"))
    hub = world.vendors["hub"]
    hub.put("hub1", {"town": "Bonn"})
    del hub.records["hub1"]
    assert [e.action for e in hub.events] == [Action.CHANGED]
    world.settle()
    world.walk()
    world.settle()
    assert list(world.people("chimp")) == ["ann@x.org"]
    assert world.rows(t.tombstone) == []


def test_a_merged_record_is_no_deletion(database: Database) -> None:
    """The loser of a merge ends its pairing; nobody is archived for it."""
    world = paired(database, hub=("delete", "ignore"), chimp=("ignore", "delete"))
    hub = world.vendors["hub"]
    winner = hub.put(None, {"mail": "ann@y.org", "first": "Ann"})
    world.settle()
    del hub.records["hub1"]
    event: Any = hub.events
    hub.put(winner, {"town": "Bonn"})
    changed = event.pop()
    event.append(type(changed)(**{**{n: getattr(changed, n) for n in changed.__slots__}, "losers": ("hub1",)}))
    world.settle()
    assert sorted(world.people("chimp")) == ["ann@x.org", "ann@y.org"]
    assert world.rows(t.tombstone) == []


def test_the_hash_takes_the_key_to_know(database: Database) -> None:
    """The same address has another hash under another key; a key of the deployment's own is never stored."""
    from pydantic import SecretStr

    with database.write() as db:
        given = tombstones.secret(db, SecretStr("k" * 40))
    world_rows = World(database, TWO).rows(t.meta)
    assert world_rows == []
    with database.write() as db:
        made = tombstones.secret(db, None)
        assert tombstones.secret(db, None) == made
    assert len(made) == 64
    assert tombstones.digest(made, "Ann@x.org ") == tombstones.digest(made, "ann@x.org")
    assert tombstones.digest(made, "ann@x.org") != tombstones.digest(given, "ann@x.org")


@pytest.mark.parametrize(
    ("said", "inward", "outward"),
    [
        ({}, Deletes.IGNORE, Deletes.IGNORE),
        ({"deletes": {"in": "archive"}}, Deletes.ARCHIVE, Deletes.IGNORE),
        ({"deletes": {"in": "ignore", "out": "delete"}}, Deletes.IGNORE, Deletes.DELETE),
    ],
)
def test_the_file_says_so(said: dict[str, Any], inward: Deletes, outward: Deletes) -> None:
    """``deletes`` in tandem.yml, one policy for each direction; ignore where it says nothing."""
    config = ConnectionConfig.model_validate({"name": "hub", "connector": "hubspot", **said})
    assert (config.deletes.in_, config.deletes.out) == (inward, outward)


def test_an_unknown_record_is_nobodys_deletion(database: Database) -> None:
    """The deletion of a record that was never paired leaves nothing."""
    world = paired(database, hub=("delete", "ignore"))
    with database.write() as db:
        assert deleting.deleted(db, world.connections["hub"], world.connections, ["hub99"]) == 0
    assert world.rows(t.tombstone) == []
