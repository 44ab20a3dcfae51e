"""Rights that one worker holds at a time."""

from __future__ import annotations

import pytest
from sqlalchemy import select, update

from app.core import leases
from app.core import tables as t
from app.core.db import Database, now_ms
from connectors.contract import Side
from tests.world import World

MINUTE = 60_000


def left(database: Database, name: str) -> int | None:
    """Milliseconds until the right ends."""
    with database.read() as db:
        until = db.execute(select(t.lease.c.until - now_ms()).where(t.lease.c.name == name)).scalar()
    return None if until is None else int(until)


@pytest.mark.parametrize(("used", "renewed"), [(True, True), (False, False)])
def test_only_what_is_used_is_renewed(database: Database, used: bool, renewed: bool) -> None:
    """A right that was acquired while the answer got lost is used by nobody: it must run out while its worker lives."""
    with database.write() as db:
        token = leases.acquire(db, "sync:hub", "me", MINUTE)
    assert token is not None
    if used:
        with leases.using(token), database.write() as db:
            leases.renew(db, "me", 60 * MINUTE)
    else:
        with database.write() as db:
            leases.renew(db, "me", 60 * MINUTE)
    span = left(database, "sync:hub")
    assert span is not None
    assert (span > 2 * MINUTE) is renewed


def test_another_workers_right_is_not_renewed(database: Database) -> None:
    """Two workers in one process, as in tests: each renews its own."""
    with database.write() as db:
        token = leases.acquire(db, "sync:hub", "me", MINUTE)
    assert token is not None
    with leases.using(token), database.write() as db:
        leases.renew(db, "other", 60 * MINUTE)
    span = left(database, "sync:hub")
    assert span is not None
    assert span <= MINUTE


def test_a_right_that_could_not_be_given_back_runs_out(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """The database went away after a reading: the next one waits for the lease to end, and not for a restart."""
    world = World(database, {"hub": Side.CRM, "chimp": Side.MARKETING})
    hub = world.vendors["hub"]
    person = hub.put(None, {"mail": "ann@x.org", "first": "Ann"})
    world.deliver("hub")
    with monkeypatch.context() as broken:
        broken.setattr(leases, "give_back", _away)
        with pytest.raises(ConnectionError):
            world.fetch.step()
    with database.write() as db:
        leases.renew(db, world.fetch._worker, 60 * MINUTE)
        db.execute(update(t.lease).values(until=t.lease.c.until - 2 * MINUTE))  # so much time goes by
    hub.put(person, {"first": "Anna"})
    world.deliver("hub")
    assert world.fetch.step() > 0


def _away(*_: object) -> None:
    raise ConnectionError
