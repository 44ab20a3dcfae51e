"""What is marked or stored wakes whose work it is, here and in other processes, at most once for a transaction."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Collection, Iterator
from datetime import UTC, datetime

import psycopg
import pytest

from app.core import db as store
from app.core.bell import Listener
from app.core.db import Database
from app.core.words import LANES, Station
from app.entry import inbox
from app.entry.inbox import Arrived
from app.push import work
from app.records import state
from app.worker import Wake
from connectors.contract import Action, Delivery, Event, Kind, Ref
from tests.conftest import DIALECTS

AT = datetime(2026, 1, 1, tzinfo=UTC)
SECONDS = 20  # until a wait for another thread is given up

postgresql = pytest.mark.skipif("postgresql" not in DIALECTS, reason="this is about PostgreSQL")


def url(database: Database) -> str:
    return database.url.set(drivername="postgresql").render_as_string(hide_password=False)


@contextlib.contextmanager
def listening(database: Database) -> Iterator[tuple[Listener, threading.Semaphore, list[set[str]]]]:
    """A listener that hears, a count of its calls, and the stations they were for."""
    calls, stations = threading.Semaphore(0), list[set[str]]()

    def called(some: Collection[str]) -> None:
        stations.append(set(some))
        calls.release()

    listener = Listener(database, called)
    listener.start()
    try:
        assert listener.hears.wait(SECONDS)
        assert calls.acquire(timeout=SECONDS)  # what was said before it listened
        yield listener, calls, stations
    finally:
        listener.stop()


@contextlib.contextmanager
def other(database: Database) -> Iterator[Database]:
    """The same store, as another process opens it."""
    opened = Database(url(database), pool=1)
    yield opened
    opened.close()


def arrived(*ids: str) -> list[Arrived]:
    events = tuple(Event(Kind.CONTACT, Action.CHANGED, Ref(i), i, AT) for i in ids)
    return [Arrived("a", Delivery("POST", "https://x.example/", {}, b"{}", AT), events)]


def marks(db: store.Connection) -> None:
    for name in ("a", "b"):
        work.mark(db, name, {1: 1, 2: 1})


ACTS: dict[str, Callable[[store.Connection], object]] = {
    "links marked": marks,
    "deliveries stored": lambda db: inbox.accept(db, arrived("1", "2")),
    "events stored": lambda db: inbox.store_events(
        db, [inbox.event_row("a", e, 1, None) for e in arrived("3")[0].events]
    ),
    "gone on with a connection": lambda db: state.resume(db, "a"),
}


WOKEN: dict[str, set[Station]] = {
    "links marked": {Station.PUSH},
    "deliveries stored": {Station.FETCH},
    "events stored": {Station.FETCH},
    "gone on with a connection": set(Station),
}


@pytest.mark.parametrize("act", ACTS)
def test_a_commit_wakes_whose_work_it_is(database: Database, act: str) -> None:
    """Once it is there, and nobody else: a thread that is woken for nothing looks for nothing."""
    wake, found = Wake(), list[bool]()
    database.heard = wake
    before = {station: wake.of(station).calls for station in Station}
    with database.write() as db:
        ACTS[act](db)
        found = [wake.of(station).calls == before[station] for station in Station]
    assert all(found)
    assert {station for station in Station if wake.of(station).calls > before[station]} == WOKEN[act]


@pytest.mark.parametrize("lane", LANES)
def test_withdrawals_have_a_thread_of_their_own(database: Database, lane: int) -> None:
    """It is woken for them alone."""
    rung: list[set[str]] = []
    database.heard = lambda stations: rung.append(set(stations))
    with database.write() as db:
        work.mark(db, "a", {1: 1}, lane=lane)
    assert rung == [{Station.PUSH, Station.WITHDRAWALS} if lane == 0 else {Station.PUSH}]


def test_what_is_rolled_back_wakes_nobody(database: Database) -> None:
    """Neither then nor with the next transaction."""
    rung: list[Collection[str]] = []
    database.heard = rung.append
    with contextlib.suppress(ZeroDivisionError), database.write() as db:
        marks(db)
        raise ZeroDivisionError
    with database.write() as db:
        state.ensure(db, ())
    assert rung == []


def heard(database: Database, act: Callable[[store.Connection], object]) -> int:
    """How many notifications one transaction with this act sends."""
    with psycopg.connect(url(database), autocommit=True) as ear:
        ear.execute(f"LISTEN {store.CHANNEL}")
        with database.write() as db:
            act(db)
            act(db)
        with psycopg.connect(url(database), autocommit=True) as last:
            last.execute(f"NOTIFY {store.CHANNEL}, 'end'")
        for count, notice in enumerate(ear.notifies(timeout=SECONDS)):
            if notice.payload == "end":
                return count
    raise AssertionError("the end was not heard")


@pytest.mark.parametrize("database", [pytest.param("postgresql", marks=pytest.mark.postgres)], indirect=True)
@postgresql
class TestPostgres:
    """Where there is NOTIFY."""

    @pytest.mark.parametrize("act", ACTS)
    def test_one_transaction_rings_once(self, database: Database, act: str) -> None:
        """However much it marks."""
        assert heard(database, ACTS[act]) == 1

    def test_a_mark_that_does_not_ring_is_found(self, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
        """Saboteur: a mark that tells nobody sends nothing, which the test above would see."""
        monkeypatch.setattr(work, "ring", lambda _db, *_stations: None)
        assert heard(database, marks) == 0

    def test_what_is_rolled_back_rings_nobody(self, database: Database) -> None:
        """Neither then nor with the next transaction of the same connection."""

        def fail(db: store.Connection) -> None:
            marks(db)
            raise ZeroDivisionError

        with contextlib.suppress(ZeroDivisionError), database.write() as db:
            fail(db)
        assert heard(database, lambda _db: None) == 0

    def test_another_process_is_woken(self, database: Database) -> None:
        """By what others do, not by what it did itself: its own workers know already."""
        with listening(database) as (_, calls, stations), other(database) as away:
            for one in (database, away):
                with one.write() as db:
                    marks(db)
            assert calls.acquire(timeout=SECONDS)
            assert not calls.acquire(blocking=False)
        assert stations == [set(Station), {Station.PUSH}]  # what was said before it listened, and this

    def test_a_lost_connection_is_made_again(self, database: Database) -> None:
        """And what was said meanwhile is looked for."""
        with listening(database) as (listener, calls, _), other(database) as away:
            with psycopg.connect(url(database), autocommit=True) as chief:
                ours = "SELECT pid FROM pg_stat_activity WHERE query = %s"
                (pid,) = chief.execute(ours, [f"LISTEN {store.CHANNEL}"]).fetchall()
                chief.execute("SELECT pg_terminate_backend(%s)", pid)
            assert calls.acquire(timeout=SECONDS)  # it listens again
            assert listener.hears.wait(SECONDS)
            with away.write() as db:
                marks(db)
            assert calls.acquire(timeout=SECONDS)


@pytest.mark.skipif("sqlite" not in DIALECTS, reason="this is about SQLite")
@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_on_sqlite_nobody_listens(database: Database) -> None:
    """Other processes look by themselves there."""
    listener = Listener(database, lambda _stations: None)
    listener.start()
    with database.write() as db:
        marks(db)
    assert not listener.hears.is_set()
    listener.stop()
