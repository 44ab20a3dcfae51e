"""Work on a schedule has one process at a time, also when that process is killed, or stopped and comes back."""

from __future__ import annotations

import contextlib
import signal
import subprocess
from collections.abc import Iterator, Mapping

import psutil
import pytest
from sqlalchemy import select, text, update

from app.core import leases
from app.core import tables as t
from app.core.db import Database
from app.core.duties import Duty
from app.push import work
from tests.conftest import DIALECTS
from tests.test_journey import until
from tests.test_replicas import running, said

r, c = t.run.c, t.lease.c
HOUR = 3_600_000


@contextlib.contextmanager
def holder(
    database: Database, *arguments: str, env: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[str]]:
    """A process of ``tests.holder``; woken before it is ended."""
    more = env if env is not None else {}
    whole = {"TANDEM_DATABASE": database.url.render_as_string(hide_password=False), **more}
    with running("tests.holder", *arguments, env=whole) as process:
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGCONT)


def woken(process: subprocess.Popen[str]) -> None:
    """Let a process go on that stops itself: not before it has, or it would stop for good."""
    until(lambda: psutil.Process(process.pid).status() == psutil.STATUS_STOPPED)
    process.send_signal(signal.SIGCONT)


def did(database: Database) -> list[str]:
    """Who did each step, in their order."""
    with database.read() as db:
        return list(db.execute(select(r.kind).order_by(r.id)).scalars())


def test_a_killed_leader_is_followed(database: Database) -> None:
    """The other takes over once the lease has run out, and only then."""
    with holder(database, "duty", "first") as first, holder(database, "duty", "second") as second:
        assert (said(first), said(second)) == ("ready", "ready")
        until(lambda: len(did(database)) > 3)
        (leader,) = set(did(database))
        (first if leader == "first" else second).kill()
        until(lambda: len(set(did(database))) == 2)
        steps = did(database)
        change = steps.index("second" if leader == "first" else "first")
        assert leader not in steps[change:], "two at a time"


def test_a_stopped_leader_changes_nothing_when_it_comes_back(database: Database) -> None:
    """It still believes to have the right; its step is refused, since the right is somebody else's by now."""
    with holder(database, "stopped", "first") as first:
        assert said(first) == "3"
        with holder(database, "duty", "second") as second:
            assert said(second) == "ready"
            until(lambda: "second" in did(database))
            woken(first)
            assert said(first) == "0"
    assert did(database)[:3] == ["first"] * 3
    assert set(did(database)[3:]) == {"second"}


def duty(database: Database, worker: str, did: list[str], *, rounds: int = 10**6) -> Duty:
    def work(_db: object) -> int:
        did.append(worker)
        return int(len(did) % rounds != 0)

    return Duty(database, "test", worker, work, every_ms=HOUR, lease_ms=HOUR)


def taken_over(database: Database) -> list[str]:
    """One holds the right, loses it to the other, and goes on as if nothing had been."""
    steps: list[str] = []
    one, other = duty(database, "one", steps), duty(database, "other", steps)
    one.step()
    with database.write() as db:
        db.execute(update(t.lease).values(until=0))
    other.step()
    one.step()
    other.step()
    return steps


def test_a_right_that_was_lost_is_refused(database: Database) -> None:
    """The same in one process, step by step."""
    assert taken_over(database) == ["one", "other", "other"]


def test_without_the_fence_both_work(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Saboteur: a lease that is not checked in the transaction leaves two at it."""
    monkeypatch.setattr(leases, "verify", lambda *_: None)
    assert taken_over(database) == ["one", "other", "one", "other"]


def test_after_the_last_step_it_rests(database: Database) -> None:
    """Neither its holder nor anybody else does it again before it is due, and no heart keeps it from being due."""
    steps: list[str] = []
    one, other = duty(database, "one", steps, rounds=2), duty(database, "other", steps, rounds=2)
    assert [one.step(), one.step(), one.step(), other.step()] == [1, 0, 0, 0]
    with database.write() as db:
        db.execute(update(t.lease).values(until=0))
        leases.renew(db, "one", HOUR)
    assert other.step() == 1
    assert steps == ["one", "one", "other"]


def test_a_push_that_was_stopped_past_its_lease_completes_nothing(database: Database) -> None:
    """Its links were another's meanwhile: it is told so, and they are written once more."""
    with database.write() as db:
        work.mark(db, "hubspot", {1: 1, 2: 1, 3: 1})
    with holder(database, "push") as frozen:
        assert said(frozen) == "3"
        with database.write() as db:
            db.execute(update(t.work).values(due_at=0))
            token, rows = work.lease(db, "hubspot", "other", 10, HOUR)
            assert work.complete(db, "hubspot", token, [row.contact_id for row in rows], {}, {}) == frozenset()
        woken(frozen)
        assert said(frozen) == "3"
    with database.write() as db:
        assert len(work.lease(db, "hubspot", "other", 10, HOUR)[1]) == 3


@pytest.mark.skipif("postgresql" not in DIALECTS, reason="this is about PostgreSQL")
@pytest.mark.parametrize("database", [pytest.param("postgresql", marks=pytest.mark.postgres)], indirect=True)
def test_a_heartbeat_changes_no_index(database: Database) -> None:
    """Signs of life and renewed leases are updates in place (HOT): they leave no work for vacuum in any index."""
    with database.write() as db:
        db.execute(text("TRUNCATE lease, worker"))  # pages without rows of earlier tests, which take room
        leases.register(db, "me")
        a, b = (leases.acquire(db, name, "me", HOUR) for name in ("a", "b"))
    assert a is not None
    assert b is not None
    with leases.using(a), leases.using(b):
        for _ in range(20):
            with database.write() as db:
                leases.beat(db, "me")
                leases.renew(db, "me", HOUR)
    with database.write() as db:
        db.execute(text("SELECT pg_stat_force_next_flush()"))
    with database.read() as db:
        query = "SELECT relname, n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname IN ('lease', 'worker')"
        found = {name: (updates, hot) for name, updates, hot in db.execute(text(query))}
    assert found == {"worker": (20, 20), "lease": (40, 40)}
