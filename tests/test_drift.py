"""Drift: every record beside what is held for it; found, aged and repaired, and nothing concluded from half a read."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from sqlalchemy import insert, select, update

from app.core import tables as t
from app.core.db import Database, clock_of
from app.ops.drift import drift_of, run_shown
from app.push import work
from app.records import alarms, drift
from app.records import links as pairs
from app.repair import comparing, runs, verified
from app.repair.reconcile import Reconcile
from app.sync.connection import Connection
from connectors.contract import Kind, Page, Record, Side
from tests.world import World

PEOPLE = 12


def world(database: Database, people: int = PEOPLE) -> World:
    """Two vendors in step."""
    made = World(database, {"crm": Side.CRM, "mail": Side.MARKETING})
    for n in range(people):
        made.vendors["crm"].put(None, {"mail": f"p{n}@example.org", "first": f"P{n}", "last": "Lee", "town": "Bern"})
    made.walk()
    made.settle()
    made.walk()
    made.settle()
    return made


def silently(made: World, vendor: str, n: int, **fields: Any) -> str:
    """A computed field, or a restore from a backup: another value, the same modified time, and no webhook."""
    records = made.vendors[vendor].records
    record_id = sorted(records)[n]
    record = records[record_id]
    records[record_id] = dataclasses.replace(record, fields={**record.fields, **fields})
    return record_id


def compare(made: World, connection: str, *, repair: bool = False, steps: int = 200) -> Any:
    """One run, stepped with everything else until it is through."""
    number = made.database.transact(lambda db: runs.start(db, made.connections, connection, repair=repair))[0]
    for _ in range(steps):
        with made.database.write() as db:
            db.execute(update(t.lease).values(until=0))
        made.reconcile.step()
        row = run_of(made, number)
        if row["status"] != "running":
            return run_shown(row)
        if row["params"]["phase"] == runs.AGAIN:
            made.settle()
            with made.database.write() as db:
                plan = dataclasses.replace(runs.Plan.from_json(row["params"]), wait_until=0)
                db.execute(update(t.run).where(t.run.c.id == number).values(params=dataclasses.asdict(plan)))
    raise AssertionError("it does not end")


def run_of(made: World, number: int) -> Any:
    with made.database.read() as db:
        return runs.one(db, number)


def noted(made: World) -> set[tuple[str, str, str]]:
    return {(r.connection, r.field, r.why) for r in made.rows(t.disagreement)}


def share(made: World, connection: str) -> tuple[int, int]:
    with made.database.read() as db:
        one = next(d for d in drift_of(db, made.connections) if d.connection == connection)
    return one.mismatched, one.compared


def opened(made: World) -> set[str]:
    with made.database.read() as db:
        return {kind for kind, _ in alarms.counts(db)}


def test_two_in_step_have_no_drift(database: Database) -> None:
    """Everything is compared, nothing disagrees, and nothing is read or written that need not be."""
    made = world(database)
    for name in ("crm", "mail"):
        run = compare(made, name)
        assert (run.status, run.doubt, run.seen, run.known) == ("done", None, PEOPLE, PEOPLE)
        wrong, compared = share(made, name)
        assert wrong == 0
        assert compared >= PEOPLE * 4
    assert noted(made) == set()
    assert opened(made) == set()
    assert made.settle() == 0
    assert made.rows(t.sighting) == []


def test_what_moves_no_modified_time_is_found_and_repaired(database: Database) -> None:
    """A computed field, a value restored from a backup: found, aged over the runs, merged by the rules, gone after."""
    made = world(database)
    record = silently(made, "crm", 3, town="Basel", last="Ray")  # town: marketing wins an edit of both; nobody else did
    silently(made, "mail", 5, first="Wrong")
    compare(made, "crm")
    assert noted(made) == {("crm", "city", drift.UNSEEN), ("crm", "family_name", drift.UNSEEN)}
    assert share(made, "crm")[0] == 2
    assert opened(made) == {"drift"}
    first = {r.field: r.first_seen for r in made.rows(t.disagreement)}
    with made.database.write() as db:
        db.execute(update(t.disagreement).values(first_seen=1_000, last_seen=1_000))
    compare(made, "crm")
    assert {r.field: (r.first_seen, r.last_seen >= first[r.field]) for r in made.rows(t.disagreement)} == {
        "city": (1_000, True),
        "family_name": (1_000, True),
    }
    run = compare(made, "crm", repair=True)
    assert (run.repaired, run.phase, share(made, "crm")[0]) == (1, "done", 0)
    assert compare(made, "mail", repair=True).repaired == 1
    assert noted(made) == set()
    assert opened(made) == set()
    assert made.people("crm") == made.people("mail")
    assert made.vendors["crm"].records[record].fields["town"] == "Basel"


def test_a_lost_write_is_found_and_written_again(database: Database) -> None:
    """The shadow believes what the vendor does not hold any more: the merge decides, and both are equal after."""
    made = world(database)
    silently(made, "mail", 2, job=None, town=None)
    compare(made, "mail", repair=True)
    assert noted(made) == set()
    assert made.people("crm") == made.people("mail")


def test_records_that_one_side_lacks(database: Database) -> None:
    """Missing is reported and deletes nobody; extra is taken in by a repair; both are counted, not as fields."""
    made = world(database, 40)
    gone = sorted(made.vendors["mail"].records)[7]
    del made.vendors["mail"].records[gone]
    made.vendors["mail"].put(None, {"mail": "new@example.org", "first": "New"})
    made.vendors["mail"].events.clear()
    run = compare(made, "mail")
    assert (run.doubt, run.missing) == (None, 1)
    assert noted(made) == {("mail", "", drift.EXTRA), ("mail", "", drift.MISSING)}
    assert share(made, "mail")[0] == 0
    assert [k.gone_at for k in made.rows(t.link) if k.remote_id == gone] == [None]
    compare(made, "mail", repair=True)
    assert noted(made) == {("mail", "", drift.MISSING)}
    assert "new@example.org" in made.people("crm")
    assert len(made.people("crm")) == 41


def test_what_is_on_its_way_is_no_drift(database: Database) -> None:
    """Dirty links and events that wait are in flight; what waits for a brake is not, but held."""
    made = world(database)
    ids = sorted(made.vendors["crm"].records)
    made.vendors["crm"].put(ids[0], {"town": "Basel"})
    made.deliver("crm")
    silently(made, "crm", 1, town="Chur")
    contacts = {k.remote_id: k.contact_id for k in made.rows(t.link) if k.connection == "crm"}
    with made.database.write() as db:
        db.execute(insert(t.work).values(connection="crm", contact_id=contacts[ids[1]], gen=1, due_at=0, since=0))
    run = compare(made, "crm")
    assert run.in_flight == 2
    assert noted(made) == set()
    with made.database.write() as db:
        db.execute(update(t.work).values(due_at=2**62, held="overwrites"))
        contact = db.execute(select(t.contact.c.facts).where(t.contact.c.id == contacts[ids[1]])).scalar_one()
        contact["given_name"]["v"] = "Other"
        db.execute(update(t.contact).where(t.contact.c.id == contacts[ids[1]]).values(facts=contact))
    compare(made, "crm")
    assert ("crm", "given_name", drift.HELD) in noted(made)


def test_killed_it_goes_on_where_it_was(database: Database) -> None:
    """Position and counts move together: after each page another process takes over, and counts come out the same."""
    made = world(database)
    silently(made, "crm", 1, town="Chur")
    number = made.database.transact(lambda db: runs.start(db, made.connections, "crm"))[0]
    pages = 0
    while run_of(made, number)["status"] == "running":
        made.start()
        with made.database.write() as db:
            db.execute(update(t.lease).values(until=0))
        pages += bool(made.reconcile.step())
    assert pages == 4  # three pages of five, and what the list lacked
    run = run_shown(run_of(made, number))
    assert (run.seen, share(made, "crm")[0]) == (PEOPLE, 1)


def test_live_changes_go_first(database: Database) -> None:
    """While something is due the run takes no page, until it has waited for long enough; nor where it rests."""
    made = world(database)
    made.database.transact(lambda db: runs.start(db, made.connections, "crm"))
    made.reconcile.patience_ms = 2**60
    assert made.reconcile.step() > 0
    made.vendors["crm"].put(None, {"mail": "live@example.org"})
    made.deliver("crm")
    made.due()
    assert made.reconcile.step() == 0
    made.settle()
    assert made.reconcile.step() > 0
    with made.database.write() as db:
        db.execute(update(t.connection_state).values(paused=1))
    assert made.reconcile.step() == 0


@pytest.mark.parametrize(
    ("name", "broken", "promise"),
    [
        ("_unlike", lambda _before, _theirs: False, test_what_moves_no_modified_time_is_found_and_repaired),
        ("lacking", lambda *_: frozenset(), test_what_is_on_its_way_is_no_drift),
        ("_told", lambda *_: set(), test_what_is_on_its_way_is_no_drift),
        ("_work", lambda *_: (set(), set()), test_what_is_on_its_way_is_no_drift),
    ],
)
def test_a_compare_that_is_broken_is_caught(
    database: Database, monkeypatch: pytest.MonkeyPatch, name: str, broken: Any, promise: Callable[[Database], None]
) -> None:
    """Saboteurs: one that sees no news, one that forgets the push, two that count what is on its way."""
    monkeypatch.setattr(comparing, name, broken)
    with pytest.raises(AssertionError):
        promise(database)


def test_a_repair_that_overwrites_blindly_is_caught(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Saboteur: the contact is pushed over what the vendor says, in place of an arrival that is merged."""

    def blindly(_: Reconcile, db: Any, connection: Connection, _run: int, records: Sequence[Record], _at: int) -> int:
        links = pairs.of_records(db, connection.name, connection.kind, [r.id for r in records], lock=True)
        for record in records:
            link = links[record.id]
            link.shadow = {**link.shadow, **connection.map.read(record.fields).claim}
            link.rev += 1
            work.mark(db, connection.name, {link.contact_id: 0})
        pairs.save(db, links.values())
        return len(records)

    monkeypatch.setattr(Reconcile, "_hand_over", blindly)
    with pytest.raises(AssertionError):
        test_what_moves_no_modified_time_is_found_and_repaired(database)


def half(made: World) -> None:
    """The vendor's list ends after half of its records, and says nothing of it."""
    vendor = made.vendors["mail"]

    def changed(kind: Kind, cursor: str | None) -> Page:
        everything = sorted(vendor.records.values(), key=lambda r: r.id)
        return Page(tuple(everything[: len(everything) // 2]), "0", more=False)

    vendor.changed = changed  # type: ignore[method-assign]


def short_of_total(made: World) -> None:
    """The vendor says how many there are, and shows a few less; by id it shows none of those either."""
    vendor = made.vendors["mail"]
    total = len(vendor.records)

    def changed(kind: Kind, cursor: str | None) -> Page:
        return Page(tuple(vendor.records.values()), "0", more=False, total=total)

    for record_id in sorted(vendor.records)[:2]:
        del vendor.records[record_id]
    vendor.changed = changed  # type: ignore[method-assign]


def one_short(made: World) -> None:
    """The list lacks one record, which the vendor shows by its id."""
    vendor = made.vendors["mail"]

    def changed(kind: Kind, cursor: str | None) -> Page:
        return Page(tuple(sorted(vendor.records.values(), key=lambda r: r.id)[1:]), "0", more=False)

    vendor.changed = changed  # type: ignore[method-assign]


def _concludes_nothing(made: World, mutilate: Callable[[World], None]) -> None:
    before = made.people("crm")
    mutilate(made)
    silently(made, "mail", 5, town="Chur")
    run = compare(made, "mail", repair=True)
    assert run.doubt is not None
    assert (run.missing, run.repaired) == (0, 0)
    assert not any(why == drift.MISSING for _, _, why in noted(made))
    assert "read" in opened(made)
    made.settle()
    assert made.people("crm") == before
    assert all(k.gone_at is None for k in made.rows(t.link))
    assert len(made.rows(t.tombstone)) == 0


@pytest.mark.parametrize("mutilate", [half, short_of_total, one_short])
def test_a_mutilated_read_concludes_nothing(database: Database, mutilate: Callable[[World], None]) -> None:
    """Half of the pages, fewer than the vendor says, one that is there by its id: an alarm, nothing lost."""
    _concludes_nothing(world(database, 20), mutilate)


@pytest.mark.parametrize(
    ("mutilate", "rule"),
    [(half, "too_many"), (short_of_total, "short"), (one_short, "read")],
    ids=["half", "total", "id"],
)
def test_a_reader_that_believes_everything_is_caught(
    database: Database, monkeypatch: pytest.MonkeyPatch, mutilate: Callable[[World], None], rule: str
) -> None:
    """Saboteurs: each rule of a verified read, left out, is missed."""
    made = world(database, 20)
    if rule == "read":
        made.vendors["mail"].read = lambda kind, ids: []  # type: ignore[method-assign]
    else:
        monkeypatch.setattr(verified, rule, lambda *_: None)
        if rule == "too_many":
            made.vendors["mail"].read = lambda kind, ids: []  # type: ignore[method-assign]
    with pytest.raises(AssertionError):
        _concludes_nothing(made, mutilate)


def _hide(made: World, vendor: str, field: str, *, absent: bool = False) -> Callable[[], None]:
    """From now on no reading of the vendor shows the field; call the answer to let it be shown again."""
    there = made.vendors[vendor]
    read, changed = there.read, there.changed

    def without(record: Record) -> Record:
        fields = {n: v for n, v in record.fields.items() if n != field}
        return dataclasses.replace(record, fields=fields if absent else {**fields, field: None})

    def hidden_read(kind: Kind, ids: Sequence[str]) -> Sequence[Record]:
        return [without(r) for r in read(kind, ids)]

    def hidden_changed(kind: Kind, cursor: str | None) -> Page:
        page = changed(kind, cursor)
        return dataclasses.replace(page, records=tuple(without(r) for r in page.records))

    there.read, there.changed = hidden_read, hidden_changed  # type: ignore[method-assign]

    def show() -> None:
        there.read, there.changed = read, changed  # type: ignore[method-assign]

    return show


def test_a_hidden_field_is_suspended_and_not_cleared(database: Database) -> None:
    """One edit is enough: others are asked, none shows the field, so it is absent until it is shown again."""
    made = world(database)
    ids = sorted(made.vendors["crm"].records)
    _hide(made, "crm", "town")
    made.vendors["crm"].put(ids[0], {"last": "Ray"})
    made.settle()
    assert all(p["town"] == "Bern" for p in made.people("mail").values())
    assert [r.field for r in made.rows(t.suspended)] == ["town"]
    assert "field" in opened(made)
    # Not written either: the vendor would keep what nobody can see.
    mail = sorted(made.vendors["mail"].records)[1]
    made.vendors["mail"].put(mail, {"town": "Chur", "first": "Ann"})
    made.settle()
    assert sum(1 for p in made.people("crm").values() if p["town"] == "Chur") == 0
    assert sum(1 for p in made.people("crm").values() if p["first"] == "Ann") == 1
    run = compare(made, "crm")
    assert run.doubt is None
    assert not any(field == "city" for _, field, _ in noted(made))


def test_a_walk_that_shows_a_field_nowhere(database: Database) -> None:
    """A complete compare notices too, before any event brings it, and counts no drift for it."""
    made = world(database)
    _hide(made, "crm", "town")
    run = compare(made, "crm", repair=True)
    assert run.hidden == ["town"]
    assert share(made, "crm")[0] == 0
    made.walk()
    made.settle()
    assert all(p["town"] == "Bern" for p in made.people("mail").values())


def test_a_guard_that_asks_nobody_is_caught(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Saboteur: without witnesses a hidden field clears the other side."""
    made = world(database)
    monkeypatch.setattr("app.sync.hiding.Guard.look", lambda *_: [])
    _hide(made, "crm", "town")
    made.vendors["crm"].put(sorted(made.vendors["crm"].records)[0], {"last": "Ray"})
    made.settle()
    with pytest.raises(AssertionError):
        assert all(p["town"] == "Bern" for p in made.people("mail").values())


def test_what_one_person_emptied_is_emptied(database: Database) -> None:
    """Others still show the field: then it is no hiding, and the clearing travels as before."""
    made = world(database)
    made.vendors["crm"].put(sorted(made.vendors["crm"].records)[0], {"town": None})
    made.settle()
    assert sum(1 for p in made.people("mail").values() if p["town"] is None) == 1
    assert made.rows(t.suspended) == []


def test_a_hidden_key_lets_the_connection_rest(database: Database) -> None:
    """Without the field by which people are known nothing is read at all."""
    made = world(database)
    _hide(made, "crm", "mail")
    made.vendors["crm"].put(sorted(made.vendors["crm"].records)[0], {"last": "Ray"})
    made.deliver("crm")
    made.due()
    made.fetch.step()
    states = {r.name: r.paused for r in made.rows(t.connection_state)}
    assert states == {"crm": 1, "mail": 0}
    assert "field" in opened(made)


@pytest.mark.parametrize(
    ("before", "theirs", "unlike"),
    [
        (None, None, False),
        (..., None, False),
        (None, "x", True),
        (..., "x", True),
        ("x", "x", False),
        ("x", None, True),
        (0, None, True),
        ("", None, True),
    ],
)
def test_absent_and_empty_are_no_disagreement(before: Any, theirs: Any, unlike: bool) -> None:
    """A field that was never spoken of and an empty one say the same of a record; a value and none do not."""
    from app.core.words import MISSING

    assert comparing._unlike(MISSING if before is ... else before, theirs) is unlike


@pytest.mark.parametrize(
    ("seen", "totals", "left", "doubted"),
    [
        (100, (), 0, False),
        (100, (100, 100), 0, False),
        (50, (100, 100), 0, True),
        (98, (100, 100), 2, False),
        (99, (100,), 0, False),
        (90, (100, 90), 0, False),
        (0, (1,), 0, True),
    ],
)
def test_totals(seen: int, totals: tuple[int, ...], left: int, doubted: bool) -> None:
    """The smaller of the two totals counts, less what left meanwhile, less what an index may lag behind."""
    assert (verified.short(seen, totals, left) is not None) is doubted


def test_a_schedule_begins_runs_one_after_the_other(database: Database) -> None:
    """Each connection once in its time, none before its first walk ended, and none where it is off."""
    made = world(database)
    every = dataclasses.replace(made.connections["crm"].watch, reconcile_every_ms=3_600_000)
    c = t.connection_state.c
    with made.database.write() as db:
        now = clock_of(db)
        assert runs.begin_due(db, made.connections) is None
        db.execute(update(t.connection_state).values(walked_at=now - 90_000_000))
        db.execute(update(t.connection_state).where(c.name == "mail").values(walked_at=None))
        number = runs.begin_due(db, made.connections)
        assert number is not None
        assert runs.one(db, number)["params"]["connection"] == "crm"
        db.execute(update(t.run).values(status="done", started_at=now))
        assert runs.begin_due(db, made.connections) is None
    assert every.reconcile_every_ms == 3_600_000
