"""What all processes need is got once, by one of them, and no old result is put over a newer one."""

from __future__ import annotations

import pytest
from sqlalchemy import func, select, update

from app.core import flights, leases
from app.core import tables as t
from app.core.db import Database
from app.core.flights import Busy, Landed, shared
from tests.test_duties import holder
from tests.test_replicas import said, tell

HOUR = 3_600_000


def calls(database: Database) -> int:
    with database.read() as db:
        return int(db.execute(select(func.count()).select_from(t.run)).scalar_one())


def get(database: Database, value: str, did: list[str], *, refused: str | None = None, good_ms: int = HOUR) -> str:
    def work() -> Landed:
        did.append(value)
        return Landed(value, good_ms)

    return shared(database, "token", "me", work, refused=refused, lease_ms=HOUR, sleep=lambda _: None)


def test_two_processes_of_eight_threads_call_once(database: Database) -> None:
    """All get the one result, though the one before was refused to all of them."""
    get(database, "old", [])
    with database.write() as db:
        db.execute(update(t.flight).values(name="test", value="old"))
    with holder(database, "refresh") as one, holder(database, "refresh") as other:
        assert [said(one), said(other)] == ["ready", "ready"]
        tell(one)
        tell(other)
        assert [said(one), said(other)] == ["token 1", "token 1"]
    assert calls(database) == 1


def test_a_good_result_is_kept(database: Database) -> None:
    """Until its time is over, or somebody says that it was refused."""
    did: list[str] = []
    assert [get(database, "a", did), get(database, "b", did)] == ["a", "a"]
    assert get(database, "c", did, refused="a") == "c"
    assert get(database, "d", did, refused="a") == "c"
    with database.write() as db:
        db.execute(update(t.flight).values(good_until=0))
    assert get(database, "e", did) == "e"
    assert did == ["a", "c", "e"]


def test_a_failure_is_the_callers_own(database: Database) -> None:
    """The next one tries at once."""

    def fail() -> Landed:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        shared(database, "token", "me", fail, lease_ms=HOUR, sleep=lambda _: None)
    assert get(database, "a", []) == "a"


def test_waiting_ends(database: Database) -> None:
    """Where another process holds on to it for too long."""
    with database.write() as db:
        leases.acquire(db, "flight:token", "other", HOUR)
    with pytest.raises(Busy, match="try again"):
        shared(database, "token", "me", lambda: Landed("a", 1), lease_ms=100, sleep=lambda _: None)


def overtaken(database: Database) -> str:
    """One is stopped in the middle of its call; another gets a newer result; then the first comes back."""

    def slow() -> Landed:
        with database.write() as db:
            db.execute(update(t.lease).values(until=0))
        get(database, "newer", [])
        return Landed("older", HOUR)

    shared(database, "token", "slow", slow, lease_ms=HOUR, sleep=lambda _: None)
    with database.read() as db:
        return str(db.execute(select(t.flight.c.value)).scalar_one())


def test_an_old_result_is_not_put_over_a_newer_one(database: Database) -> None:
    """Its lease was lost meanwhile."""
    assert overtaken(database) == "newer"


def test_without_the_fence_it_would_be(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Saboteur: stored without a look at the lease, the old one wins, and the test above finds it."""
    monkeypatch.setattr(flights.leases, "verify", lambda *_: None)
    assert overtaken(database) == "older"
