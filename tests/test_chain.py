"""From an event at one vendor to equal records at the others, stepped by hand."""

from __future__ import annotations

import dataclasses
import sqlite3
from collections.abc import Sequence
from typing import Any

import psycopg
import pytest
from sqlalchemy import func, select
from sqlalchemy.exc import DBAPIError, OperationalError

from app.core import tables as t
from app.core.db import Database, unwell
from app.core.words import Likeness
from app.push import push, settling
from app.records import contacts as people
from app.sync import chain, fetch, whose
from connectors.contract import Order, Receipt, Side, TryLater
from tests.world import MAPPING, World

TWO = {"hub": Side.CRM, "chimp": Side.MARKETING}
ANN = {"mail": "ann@x.org", "first": "Ann", "last": "Lee"}


def count(world: World, table: Any) -> int:
    with world.database.read() as db:
        return db.execute(select(func.count()).select_from(table)).scalar_one()


def test_a_new_record_is_created_at_the_other_side(database: Database) -> None:
    """One record here becomes one record there, and then there is peace."""
    world = World(database, TWO)
    world.vendors["hub"].put(None, ANN)
    assert world.settle() == 1
    assert world.people("chimp") == world.people("hub")
    assert world.settle() == 0


@pytest.mark.parametrize(
    ("name", "change", "expected"),
    [
        ("hub", {"first": "Anna"}, {"first": "Anna"}),
        ("chimp", {"first": "Anna"}, {"first": "Anna"}),
        ("chimp", {"last": None}, {"last": None}),
        ("chimp", {"last": ""}, {"last": None}),
        ("hub", {"first": None}, {"first": "Ann"}),
        ("hub", {"first": "Unknown"}, {"first": "Ann"}),
        ("hub", {"mail": "ann@new.org"}, {"mail": "ann@new.org"}),
        ("hub", {"mail": "ANN@X.org"}, {"mail": "ann@x.org"}),
        ("hub", {"town": "Bonn", "job": "Pilot"}, {"town": "Bonn", "job": "Pilot"}),
    ],
)
def test_an_edit_travels(database: Database, name: str, change: dict[str, Any], expected: dict[str, Any]) -> None:
    """What one side changes, both hold; a blank only where clearing is allowed; a placeholder never."""
    world = World(database, TWO)
    world.vendors["hub"].put(None, ANN)
    world.settle()
    vendor = world.vendors[name]
    vendor.put(next(iter(vendor.records)), change)
    world.settle()
    (there,) = world.people("chimp" if name == "hub" else "hub").values()
    assert {f: there[f] for f in expected} == expected
    assert count(world, t.contact) == 1
    assert world.settle() == 0


def test_an_echo_ends_where_it_came_in(database: Database) -> None:
    """Ping-pong: our own write comes back as an event, equals the shadow, and leads to no write."""
    world = World(database, TWO)
    hub, chimp = world.vendors["hub"], world.vendors["chimp"]
    hub.put(None, ANN)
    world.settle()
    hub.put("hub1", {"town": "Bonn"})
    assert world.settle() == 1
    assert (len(hub.calls), len(chimp.calls)) == (0, 2)


def test_the_shadow_is_what_stops_the_ping_pong(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Saboteur: a vendor that alters what it is told loops for ever where the alteration is not remembered."""
    monkeypatch.setattr(settling, "held_now", lambda _c, planned, _r: (dict(planned.sent), {}))
    with pytest.raises(AssertionError, match="does not come to rest"):
        altering(World(database, TWO))


def test_a_vendor_that_alters_what_it_is_told_does_not_loop(database: Database) -> None:
    """One writes capitals, the other small letters: each keeps its own way, and there is peace."""
    world = World(database, TWO)
    altering(world)
    assert world.settle() == 0


def altering(world: World) -> None:
    """Two vendors that disagree about the letters of a name."""
    for vendor, change in ((world.vendors["hub"], str.upper), (world.vendors["chimp"], str.lower)):
        put = vendor.put

        def altered(record_id: Any, fields: Any, put: Any = put, change: Any = change) -> str:
            return put(record_id, {k: change(v) if k == "town" and v is not None else v for k, v in fields.items()})

        vendor.put = altered
    world.vendors["hub"].put(None, {**ANN, "town": "Bonn"})
    world.settle(steps=60)
    world.vendors["hub"].put("hub1", {"town": "Köln"})
    world.settle(steps=60)


def test_ten_edits_in_a_burst_are_one_write(database: Database) -> None:
    """Changes of one contact coalesce into one order with the last state."""
    world = World(database, TWO)
    world.vendors["hub"].put(None, ANN)
    world.settle()
    for n in range(10):
        world.vendors["hub"].put("hub1", {"town": f"Town {n}"})
    assert world.settle() == 1
    assert world.people("chimp")["ann@x.org"]["town"] == "Town 9"


def test_records_on_both_sides_are_paired_not_doubled(database: Database) -> None:
    """The first walk pairs who is on both sides, whichever is read first, and fills the gaps of both."""
    world = World(database, TWO)
    world.vendors["chimp"].put(None, {**ANN, "town": "Bonn", "first": "Annie"})
    world.vendors["hub"].put(None, {**ANN, "job": "Pilot"})
    world.walk()
    world.settle(webhooks=False)
    expected = {**ANN, "town": "Bonn", "job": "Pilot", "firm": None}
    assert world.people("hub") == world.people("chimp") == {"ann@x.org": expected}
    assert count(world, t.contact) == 1


def test_a_create_that_meets_somebody_is_paired(database: Database) -> None:
    """The other side was never read: the create finds a record there, looks, merges, and overwrites nothing."""
    world = World(database, TWO)
    world.vendors["chimp"].put(None, {**ANN, "town": "Bonn"})
    world.vendors["chimp"].events.clear()
    world.vendors["hub"].put(None, {**ANN, "job": "Pilot"})
    world.settle()
    assert world.people("hub") == world.people("chimp")
    assert world.people("hub")["ann@x.org"]["town"] == "Bonn"
    assert len(world.vendors["chimp"].records) == 1


@pytest.mark.parametrize("ending", ["before", "after"])
def test_an_ambiguous_time_out_creates_nobody_twice(database: Database, ending: str) -> None:
    """Whether the lost call took effect or not: one record there."""
    world = World(database, TWO)
    world.vendors["hub"].put(None, ANN)
    world.vendors["chimp"].fail_next = [ending, ending]
    world.settle()
    assert world.people("chimp") == world.people("hub")
    assert len(world.vendors["chimp"].records) == 1


def test_the_same_person_twice_in_a_batch_is_one_contact(database: Database) -> None:
    """Two events of one create arriving together, and the same person at both sides in one batch."""
    world = World(database, TWO)
    world.vendors["hub"].put(None, ANN)
    world.deliver("hub", world.vendors["hub"].events * 3)
    world.settle()
    assert count(world, t.contact) == 1


def test_failure_5_one_record_paired_with_two(database: Database) -> None:
    """A second pairing of one contact goes to review: the two would overwrite each other in turn."""
    world = World(database, TWO)
    world.vendors["hub"].put(None, ANN)
    world.vendors["hub"].put(None, {**ANN, "first": "Anna"})
    world.settle()
    (letter,) = world.rows(t.dead)
    assert (letter.code, letter.station) == ("second_record", "sync")
    assert len([c for c in world.rows(t.contact) if c.merged_into is None]) == 1


def test_a_bad_row_does_not_hold_the_others(database: Database) -> None:
    """One refused record has its reason; everybody else in the batch arrives."""
    world = World(database, TWO)
    for n in range(4):
        world.vendors["hub"].put(None, {"mail": f"p{n}@x.org", "last": "REFUSE" if n == 1 else f"L{n}"})
    world.settle()
    assert sorted(world.people("chimp")) == ["p0@x.org", "p2@x.org", "p3@x.org"]
    (letter,) = world.rows(t.dead)
    assert (letter.code, letter.field, letter.next_step != "") == ("invalid", "last", True)
    world.vendors["hub"].put("hub2", {"last": "Fine"})
    world.settle()
    assert world.people("chimp") == world.people("hub")
    assert world.rows(t.dead) == []


def felled(world: World) -> set[str]:
    """Who arrives where one record makes the vendor fall over, whatever else is in the call; tried a dozen times."""
    hub, chimp = world.vendors["hub"], world.vendors["chimp"]
    write = chimp.write

    def falls(orders: Sequence[Order]) -> Sequence[Receipt]:
        if any(o.fields.get("mail") == "p2@x.org" for o in orders):
            chimp.calls.append(list(orders))
            raise TryLater("POST /batch: 500", landed=True)
        return write(orders)

    chimp.write = falls  # type: ignore[method-assign]
    for n in range(4):
        hub.put(None, {"mail": f"p{n}@x.org", "last": f"L{n}"})
    world.deliver("hub")
    for _ in range(12):
        world.due()
        world.fetch.step()
        world.push.step()
    return set(world.people("chimp"))


def test_a_record_that_fells_its_batch_does_not_hold_the_others(database: Database) -> None:
    """A batch that the vendor answers with an error again and again is cut, in a bounded number of calls."""
    world = World(database, TWO)
    assert felled(world) == {"p0@x.org", "p1@x.org", "p3@x.org"}
    assert len(world.vendors["chimp"].calls) < 12 + 6  # one for each try, and those of one cut


def test_uncut_the_others_wait_for_ever(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Saboteur."""
    monkeypatch.setattr(push, "TOGETHER", 1_000)
    assert felled(World(database, TWO)) == set()


def test_an_older_reading_never_wins(database: Database) -> None:
    """Out of order: a page read before a newer reading changes nothing."""
    world = World(database, TWO)
    hub = world.vendors["hub"]
    hub.put(None, ANN)
    old = hub.records["hub1"]
    world.settle()
    hub.put("hub1", {"town": "Bonn"})
    world.settle()
    new = hub.records["hub1"]
    hub.records["hub1"] = old
    world.walk()
    hub.records["hub1"] = new
    world.settle()
    assert world.people("hub") == world.people("chimp")
    assert world.people("chimp")["ann@x.org"]["town"] == "Bonn"


def test_an_address_of_another_contact_is_not_taken(database: Database) -> None:
    """An edit never makes two people one: the address stays whose it is, and the record carries a warning."""
    world = World(database, TWO)
    world.vendors["hub"].put(None, ANN)
    world.vendors["hub"].put(None, {"mail": "ben@x.org", "first": "Ben"})
    world.settle()
    world.vendors["chimp"].put("chimp2", {"mail": "ann@x.org", "town": "Bonn"})
    world.settle()
    assert count(world, t.contact) == 2
    links = {(k.connection, k.remote_id): k for k in world.rows(t.link)}
    assert links[("chimp", "chimp2")].warnings[0]["code"] == "belongs_to_another"
    assert world.people("hub")["ben@x.org"]["town"] == "Bonn"


def _full(*_: Any, **__: Any) -> Any:
    raise OperationalError("INSERT", {}, sqlite3.OperationalError("database or disk is full"))


def _defect(*_: Any, **__: Any) -> Any:
    raise ValueError("a defect")


@pytest.mark.parametrize(("breaks", "waits"), [(_full, True), (_defect, False)])
def test_a_database_in_trouble_blames_no_record(
    database: Database, monkeypatch: pytest.MonkeyPatch, breaks: Any, waits: bool
) -> None:
    """Where the disk is full or the database away, all events wait; a record that breaks the chain is set aside."""
    world = World(database, TWO)
    world.vendors["hub"].put(None, ANN)
    world.deliver("hub")
    with monkeypatch.context() as broken:
        broken.setattr(chain, "absorb", lambda *a: breaks() if a[3] else [])
        if waits:
            with pytest.raises(OperationalError):
                world.fetch.step()
        else:
            world.fetch.step()
    assert [d.code for d in world.rows(t.dead)] == ([] if waits else ["error"])
    world.settle(webhooks=False)
    assert list(world.people("chimp")) == (["ann@x.org"] if waits else [])


def test_a_pair_that_a_push_notes_meanwhile_is_no_second_record(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The echo of our own create is read before the create is noted, and stored after: it is read again."""
    world = World(database, TWO)
    world.vendors["hub"].put(None, ANN)
    world.deliver("hub")
    world.fetch.step()
    with database.write() as db:
        batch = world.push._lease(db, world.connections["chimp"])
    receipts = world.push._send(batch)
    world.deliver("chimp")
    real = whose.pair_up

    def noted_meanwhile(db: Any, *rest: Any) -> None:
        if world.rows(t.link)[-1].connection == "hub":
            world.push._finish(db, batch, receipts)  # on PostgreSQL another transaction, committed in between
        real(db, *rest)

    monkeypatch.setattr(whose, "pair_up", noted_meanwhile)
    world.fetch.step()
    world.settle()
    assert world.rows(t.dead) == []
    assert world.people("chimp") == world.people("hub")


def test_a_large_batch_is_stored_in_pieces(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was stored stays when the database fails in the middle; the rest waits, and comes with the next look."""
    world = World(database, TWO)
    for n in range(3):
        world.vendors["hub"].put(None, {**ANN, "mail": f"p{n}@x.org"})
    world.deliver("hub")
    real, pieces = chain.absorb, []

    def full_at_the_second(db: Any, connection: Any, connections: Any, arrivals: Any) -> Any:
        pieces.append(len(arrivals))
        if len(pieces) == 2:
            raise OperationalError("INSERT", {}, sqlite3.OperationalError("database or disk is full"))
        return real(db, connection, connections, arrivals)

    monkeypatch.setattr(fetch, "PIECE", 2)
    monkeypatch.setattr(chain, "absorb", full_at_the_second)
    with pytest.raises(OperationalError):
        world.fetch.step()
    assert (count(world, t.contact), [e.status for e in world.rows(t.inbox)].count("pending")) == (2, 1)
    world.due()
    world.settle()
    assert pieces[:3] == [2, 1, 1]
    assert world.people("chimp") == world.people("hub")


TROUBLE: list[tuple[Any, bool]] = [
    (psycopg.errors.DiskFull(), True),
    (psycopg.errors.AdminShutdown(), True),
    (psycopg.errors.DeadlockDetected(), True),
    (psycopg.errors.CannotConnectNow(), True),
    (psycopg.OperationalError("the connection is lost"), True),
    (psycopg.errors.ProgramLimitExceeded(), False),  # this row is too large for an index
    (psycopg.errors.UniqueViolation(), False),
    (sqlite3.OperationalError("database or disk is full"), True),
    (sqlite3.DataError("string or blob too big"), False),
]


@pytest.mark.parametrize(("cause", "trouble"), TROUBLE, ids=lambda v: type(v).__name__)
def test_what_is_the_databases_trouble(cause: Exception, trouble: bool) -> None:
    """Told by the driver's code where there is one; a row that cannot be stored is not the database's trouble."""
    assert unwell(DBAPIError("INSERT", {}, cause)) is trouble


def test_a_lossy_mapping_does_not_loop(database: Database) -> None:
    """A value that one side cuts short stays whole at the other, and there is peace."""
    world = World(database, TWO)
    world.vendors["hub"].put(None, {**ANN, "firm": "A very long company name"})
    world.settle()
    assert world.settle() == 0
    assert world.people("hub")["ann@x.org"]["firm"] == "A very long company name"


def test_a_deleted_record_is_not_written_to_nor_made_again(database: Database) -> None:
    """Deletes are ignored by default: the other side keeps its record, the deleted one does not come back."""
    world = World(database, TWO)
    world.vendors["hub"].put(None, ANN)
    world.settle()
    del world.vendors["chimp"].records["chimp1"]
    world.vendors["hub"].put("hub1", {"town": "Bonn"})
    world.settle()
    world.vendors["hub"].put("hub1", {"town": "Köln"})
    world.settle()
    assert world.vendors["chimp"].records == {}
    assert [d.code for d in world.rows(t.dead)] == ["gone"]


def test_failure_14_a_merge_makes_a_new_record(database: Database) -> None:
    """The vendor made a new record of two; the pair goes on under the new id, nobody is doubled."""
    world = World(database, TWO)
    hub = world.vendors["hub"]
    hub.put(None, ANN)
    world.settle()
    hub.records["hub9"] = dataclasses.replace(hub.records["hub1"], id="hub9", fields={"mail": None})
    hub.merge("hub1", "hub9", into="hub10")
    world.settle()
    hub.put("hub10", {"town": "Bonn"})
    world.settle()
    assert {k.remote_id for k in world.rows(t.link) if k.connection == "hub"} == {"hub10"}
    assert world.people("chimp")["ann@x.org"]["town"] == "Bonn"
    assert (count(world, t.contact), len(world.vendors["chimp"].records)) == (1, 1)


def test_a_merge_of_two_contacts_is_reported(database: Database) -> None:
    """Two contacts became one person at a vendor: the winner goes on, somebody is told of the loser."""
    world = World(database, TWO)
    world.vendors["hub"].put(None, ANN)
    world.vendors["hub"].put(None, {"mail": "a.lee@x.org", "job": "Pilot"})
    world.settle()
    world.vendors["hub"].merge("hub1", "hub2")
    world.settle()
    assert [d.code for d in world.rows(t.dead)] == ["merged"]
    assert world.people("chimp")["ann@x.org"]["job"] == "Pilot"
    assert world.settle() == 0


def test_history_says_who_when_and_why(database: Database) -> None:
    """Each change of a field leaves a line with its source, its event and its rule."""
    world = World(database, TWO)
    world.vendors["hub"].put(None, ANN)
    world.settle()
    world.vendors["chimp"].put("chimp1", {"town": "Bonn"})
    world.settle()
    lines = [(h.field, h.old, h.new, h.source, h.rule, h.event is not None) for h in world.rows(t.history)]
    assert lines[-1] == ("town", None, "Bonn", "chimp", "first", True) or lines[-1][:4] == (
        "city",
        None,
        "Bonn",
        "chimp",
    )
    assert {line[3] for line in lines[:-1]} == {"hub"}


def test_a_number_that_many_have_does_not_bring_them_all(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """The switchboard of a company is no reason to read, and on PostgreSQL to lock, everybody who works there."""
    phones = "  phone: {{theirs: phone, winner: newest, clear: ignored}}\n"
    world = World(database, TWO, mapping_text=MAPPING.rstrip() + "\n" + phones, likeness=Likeness.LINK)
    switchboard = {"phone": "+4930901820", "firm": "Acme"}
    for n in range(40):
        world.vendors["hub"].put(None, {"mail": f"p{n}@x.org", "first": f"F{n}", "last": f"L{n}", **switchboard})
    world.deliver("hub")
    while world.fetch.step():
        pass
    asked: set[int] = set()
    real = people.load

    def counted(db: Any, ids: Any, **how: Any) -> Any:
        asked.update(ids)
        return real(db, ids, **how)

    monkeypatch.setattr(people, "load", counted)
    world.vendors["chimp"].put(None, {**ANN, **switchboard})
    world.deliver("chimp")
    world.fetch.step()
    assert len(world.rows(t.contact)) == 41
    assert len(asked) <= 12
