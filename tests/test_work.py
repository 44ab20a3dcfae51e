"""Dirty links: nothing marked is lost, whatever happens between a lease and its end."""

from __future__ import annotations

import pytest
from sqlalchemy import select, text, update
from sqlalchemy.exc import OperationalError

from app.core import tables as t
from app.core.db import Database
from app.core.words import LANES
from app.entry import inbox
from app.push import work
from app.push.work import Retry
from app.records import state
from connectors.contract import Action, Event, Kind, Record, Ref, Side
from tests.conftest import DIALECTS
from tests.world import World

w = t.work.c
HOUR = 3_600_000


def mark(database: Database, *ids: int, name: str = "chimp", lane: int = 1, delay_ms: int = 0) -> None:
    with database.write() as db:
        work.mark(db, name, dict.fromkeys(ids, 1_000), lane=lane, delay_ms=delay_ms)


def lease(database: Database, n: int = 10, ttl_ms: int = HOUR) -> tuple[str, list[int]]:
    with database.write() as db:
        token, rows = work.lease(db, "chimp", "me", n, ttl_ms)
    return token, [r.contact_id for r in rows]


def complete(database: Database, token: str, done: list[int], failed: dict[int, Retry] | None = None) -> frozenset[int]:
    with database.write() as db:
        return work.complete(db, "chimp", token, done, failed if failed is not None else {}, {})


def rows(database: Database) -> dict[int, tuple[int, str | None, int]]:
    with database.read() as db:
        found = db.execute(select(w.contact_id, w.gen, w.lease, w.attempts))
        return {r.contact_id: (r.gen, r.lease, r.attempts) for r in found}


def expire(database: Database) -> None:
    """The lease's time runs out."""
    with database.write() as db:
        db.execute(update(t.work).values(due_at=0))


def test_ten_changes_are_one_row(database: Database) -> None:
    """Changes of one contact coalesce."""
    for _ in range(10):
        mark(database, 1)
    assert rows(database) == {1: (10, None, 0)}


def test_done_means_gone(database: Database) -> None:
    """A row is deleted when what was taken was written."""
    mark(database, 1, 2)
    token, ids = lease(database)
    assert ids == [1, 2]
    assert complete(database, token, ids) == frozenset()
    assert rows(database) == {}


def test_a_change_during_the_call_is_due_again(database: Database) -> None:
    """What changed between lease and end is pushed once more."""
    mark(database, 1)
    token, _ = lease(database)
    mark(database, 1)
    assert complete(database, token, [1]) == frozenset()
    assert lease(database)[1] == [1]


def test_a_leased_row_is_nobody_elses(database: Database) -> None:
    """A lease holds until its time is over, also against new marks."""
    mark(database, 1)
    lease(database)
    mark(database, 1)
    assert lease(database)[1] == []


def test_an_expired_lease_is_taken_over(database: Database) -> None:
    """After a worker's death the row is due again, and known to have been tried."""
    mark(database, 1)
    lease(database)
    expire(database)
    assert lease(database)[1] == [1]
    assert rows(database)[1][2] == 2


def test_a_late_completion_marks_dirty_again(database: Database) -> None:
    """A paused worker that comes back may have overwritten a newer push: the newest state is pushed once more."""
    mark(database, 1)
    late, _ = lease(database)
    expire(database)
    token, _ = lease(database)
    assert complete(database, token, [1]) == frozenset()
    assert complete(database, late, [1]) == frozenset({1})
    assert lease(database)[1] == [1]


def test_without_the_mark_the_late_completion_would_be_forgotten(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Saboteur: a completion that ignores its lost lease leaves the vendor on old data; the test above catches it."""
    monkeypatch.setattr(work, "mark", lambda *_a, **_k: None)
    with database.write() as db:
        work.complete(db, "chimp", "me:gone", [1], {}, {})
    assert lease(database)[1] == []


def test_a_retry_waits_and_a_new_change_wakes_it(database: Database) -> None:
    """A failed row rests; a change of the contact may mend what made it fail, so it is due at once."""
    mark(database, 1)
    token, _ = lease(database)
    complete(database, token, [], {1: Retry(HOUR, "later")})
    assert lease(database)[1] == []
    mark(database, 1)
    assert lease(database)[1] == [1]


def test_giving_up_deletes_the_row_unless_it_changed(database: Database) -> None:
    """A dead letter leaves the hot table, but a change meanwhile deserves its own try."""
    mark(database, 1, 2)
    token, _ = lease(database)
    mark(database, 2)
    assert complete(database, token, [], {1: Retry(None, "no"), 2: Retry(None, "no")}) == frozenset()
    assert lease(database)[1] == [2]


def test_a_retry_counts_on_and_a_change_begins_anew(database: Database) -> None:
    """Put off together with others, each row keeps its own count, delay and error."""
    mark(database, 1, 2, 3)
    token, _ = lease(database)
    mark(database, 3)
    failed = {1: Retry(HOUR, "later"), 2: Retry(2 * HOUR, "much later"), 3: Retry(None, "no")}
    assert complete(database, token, [], failed) == frozenset()
    with database.read() as db:
        rows = {row.contact_id: row for row in db.execute(select(t.work))}
    assert [(rows[n].attempts, rows[n].error, rows[n].lease) for n in (1, 2, 3)] == [
        (1, "later", None),
        (1, "much later", None),
        (0, "no", None),
    ]
    assert abs(rows[2].due_at - rows[1].due_at - HOUR) < HOUR // 2
    assert [rows[n].first_failed_at is None for n in (1, 2, 3)] == [False, False, True]


def test_withdrawals_travel_first(database: Database) -> None:
    """The priority lane is leased before everything else, and a mark never puts a row into a slower lane."""
    mark(database, 1, 2, 3)
    mark(database, 3, lane=0)
    mark(database, 3, lane=1)
    assert lease(database, 1)[1] == [3]
    mark(database, 2, lane=0)
    assert lease(database, 10)[1] == [2]  # by itself: others in the batch would have to be planned first
    assert lease(database, 10)[1] == [1]


def test_withdrawals_wait_for_no_other_connection_and_no_pace(database: Database) -> None:
    """Where several connections have work, the one with a withdrawal comes first, even while it paces itself."""
    with database.write() as db:
        state.ensure(db, ["a", "b"])
        work.mark(db, "a", {1: 1})
        work.mark(db, "b", {1: 1})
        work.pace(db, "b", HOUR)
        assert work.pick(db, ["a", "b"]) == "a"
        work.mark(db, "b", {2: 1}, lane=0)
        assert work.pick(db, ["a", "b"]) == "b"
        assert work.lease(db, "a", "me", 10, HOUR, LANES[:1])[1] == []  # a thread for withdrawals only
        assert work.pick(db, ["a"], LANES[:1]) is None
        state.pause(db, "b", "test")
        assert work.pick(db, ["a", "b"]) == "a"


def test_an_objection_waits_from_when_it_was_due(database: Database) -> None:
    """Not from when it was made: a first reading finds those of years ago.  One that fails waits from its first try."""
    with database.write() as db:
        work.mark(db, "chimp", {1: 500}, lane=0)
        at = db.execute(select(w.due_at)).scalar_one()
        assert work.objections(db) == {"chimp": at}
        db.execute(update(t.work).values(first_failed_at=at - 7, due_at=at + HOUR))
        assert work.objections(db) == {"chimp": at - 7}
        db.execute(update(t.work).values(since=at + 9))
        assert work.objections(db) == {"chimp": at + 9}


def test_the_oldest_change_counts_for_freshness(database: Database) -> None:
    """``since`` is when the oldest change in the row happened."""
    with database.write() as db:
        work.mark(db, "chimp", {1: 500})
        work.mark(db, "chimp", {1: 900})
        work.mark(db, "chimp", {1: 300})
        assert db.execute(select(w.since)).scalar() == 300


def test_the_connection_that_waited_longest_comes_next(database: Database) -> None:
    """Fair between connections; a paused or pacing one is passed over."""
    with database.write() as db:
        state.ensure(db, ["a", "b", "c"])
        for n, name in enumerate(["a", "b", "c"]):
            work.mark(db, name, {1: 1})
            db.execute(update(t.connection_state).where(t.connection_state.c.name == name).values(next_at=n))
    with database.write() as db:
        assert work.pick(db, ["a", "b", "c"]) == "a"
        work.pace(db, "a", HOUR)
        assert work.pick(db, ["a", "b", "c"]) == "b"
        state.pause(db, "b", "test")
        assert work.pick(db, ["a", "b", "c"]) == "c"
        assert work.pick(db, ["a", "b"]) is None


def arrive(database: Database, name: str, events: int, lane: int = 1) -> None:
    """As many events of as many records wait to be read."""
    with database.write() as db:
        found = [Event(Kind.CONTACT, Action.CHANGED, Ref(str(n)), f"{lane}:{n}", None) for n in range(events)]
        inbox.store_events(db, [{**inbox.event_row(name, e, 1, None), "lane": lane} for e in found])


@pytest.mark.parametrize(
    ("source", "events", "paused", "lane", "old", "picked"),
    [
        pytest.param("hub", inbox.BEHIND, False, 1, False, None, id="the rest of a burst is read first"),
        pytest.param("hub", inbox.BEHIND - 1, False, 1, False, "chimp", id="few events"),
        pytest.param("hub", inbox.BEHIND, False, 1, True, "chimp", id="not longer than so long"),
        pytest.param("hub", inbox.BEHIND, True, 1, False, "chimp", id="nobody reads a paused one"),
        pytest.param("hub", inbox.BEHIND, False, 0, False, "chimp", id="a withdrawal waits for nothing"),
        pytest.param("chimp", inbox.BEHIND, False, 1, False, "chimp", id="its own events, such as echoes"),
        pytest.param("left", inbox.BEHIND, False, 1, False, "chimp", id="nobody reads one that is not configured"),
    ],
)
def test_a_burst_is_gathered(
    database: Database, source: str, events: int, paused: bool, lane: int, old: bool, picked: str | None
) -> None:
    """While much waits to be read elsewhere, what is read next may change the same contacts again."""
    with database.write() as db:
        state.ensure(db, ["hub", "chimp", "left"])
        if paused:
            state.pause(db, source, "test")
    arrive(database, source, events)
    mark(database, 1, lane=lane)
    with database.write() as db:
        if old:
            db.execute(update(t.work).values(due_at=w.due_at - work.GATHER_MOST_MS))
        assert work.pick(db, ["chimp"], LANES, ["hub", "chimp"]) == picked


def test_one_reading_answers_all_that_names_the_record(database: Database) -> None:
    """Also those events that are further behind than a batch is long; those of other records wait for their turn."""
    with database.write() as db:
        state.ensure(db, ["hub"])
        for turn in range(3):
            events = [Event(Kind.CONTACT, Action.CHANGED, Ref(str(n)), f"{turn}:{n}", None) for n in range(4)]
            inbox.store_events(db, [inbox.event_row("hub", e, turn, None) for e in events])
        whole = Record(Kind.CONTACT, "0", {"a": 1}, modified=None)
        carried = Event(Kind.CONTACT, Action.CHANGED, Ref("0"), "carried", None, record=whole)
        inbox.store_events(db, [inbox.event_row("hub", carried, 9, None)])
        found = inbox.pending(db, "hub", 2)
        assert [(row["ref_value"], row["received_at"]) for row in found] == [
            *(("0", 0), ("1", 0)),
            *(("0", 1), ("1", 1), ("0", 2), ("1", 2)),
        ]
        assert [row["ref_value"] for row in inbox.pending(db, "hub", 100)] == [*("0123" * 3), "0"]


def test_a_dead_workers_rows_are_given_back(database: Database) -> None:
    """What a worker held is due at once when it is released, and only its own."""
    mark(database, 1, 2)
    with database.write() as db:
        work.lease(db, "chimp", "dead", 1, HOUR)
        work.lease(db, "chimp", "alive", 1, HOUR)
        assert work.release(db, "dead") == 1
    assert lease(database)[1] == [1]


def test_a_batch_that_cannot_be_planned_is_given_back(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error between lease and call, such as a database that went away, leaves nobody waiting for a lease to end."""
    world = World(database, {"hub": Side.CRM, "chimp": Side.MARKETING})
    mark(database, 1, 2)

    def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(world.push, "_prepare", fail)
    with pytest.raises(ZeroDivisionError):
        world.push.step()
    assert {lease for _, lease, _ in rows(database).values()} == {None}
    assert lease(database)[1] == [1, 2]


@pytest.mark.skipif("postgresql" not in DIALECTS, reason="this is about PostgreSQL")
@pytest.mark.parametrize("database", [pytest.param("postgresql", marks=pytest.mark.postgres)], indirect=True)
def test_two_batches_of_a_connection_are_counted_one_after_the_other(database: Database) -> None:
    """By the brake: what one counts the other sees.  Leasing does not wait for that."""
    with database.write() as db:
        state.ensure(db, ["chimp", "hub"])
    mark(database, 1)
    with database.write() as first:
        work.alone(first, "chimp")
        with database.write() as other:
            work.alone(other, "hub")
            assert work.pick(other, ["chimp"]) == "chimp"
            assert work.lease(other, "chimp", "me", 1, HOUR)[1]
            other.execute(text("SET LOCAL lock_timeout = '50ms'"))
            with pytest.raises(OperationalError):
                work.alone(other, "chimp")
            other.rollback()
