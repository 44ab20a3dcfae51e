"""Named rights that one worker holds at a time, with a fencing check at the end of the work done under them."""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from sqlalchemy import Connection, bindparam, delete, insert, or_, select, update

from app.core import tables as t
from app.core.db import Database, now_ms, upsert
from app.core.errors import LeaseLost

RESTS = "rests"  # the token of a right that nobody has for a while
NOW = now_ms()
c = t.lease.c
wk = t.worker.c
_used: Final[set[str]] = set()  # tokens under which this process works right now


def new_worker_id() -> str:
    """A name for this process as a worker; tokens of its leases begin with it."""
    return uuid.uuid4().hex[:16]


def acquire(db: Connection, name: str, holder: str, ttl_ms: int) -> str | None:
    """Take the right ``name`` for ``ttl_ms``; its token, or None where somebody else holds it."""
    token = f"{holder}:{uuid.uuid4().hex}"
    new = upsert(db.dialect.name, t.lease).values(name=name, token=token, until=NOW + ttl_ms)
    statement = new.on_conflict_do_update(
        index_elements=["name"],
        set_={"token": new.excluded.token, "until": new.excluded.until},
        where=c.until <= NOW,
    ).returning(c.token)
    return token if db.execute(statement).scalar() == token else None


def held(db: Connection, name: str) -> bool:
    """Whether somebody holds the right now, or it rests."""
    return db.execute(select(c.name).where(c.name == name, c.until > NOW)).first() is not None


def holder(token: str) -> str | None:
    """The worker that a token is of; None while the right rests."""
    return None if token == RESTS else token.partition(":")[0]


def rest(db: Connection, name: str, token: str, ms: int) -> None:
    """End the right and let nobody have it for ``ms``: in nobody's name, so that no heart renews it."""
    db.execute(update(t.lease).where(c.name == name, c.token == token).values(token=RESTS, until=NOW + ms))


def verify(db: Connection, name: str, token: str) -> None:
    """Hold the right's row until the end of the transaction.  Raises LeaseLost where it is somebody else's now."""
    held = db.execute(update(t.lease).where(c.name == name, c.token == token).values(token=token).returning(c.name))
    if held.first() is None:
        raise LeaseLost(name)


def give_back(db: Connection, name: str, token: str) -> None:
    """End the right early."""
    db.execute(delete(t.lease).where(c.name == name, c.token == token))


@contextmanager
def using(token: str) -> Iterator[None]:
    """The block works under this right, which is renewed as long as it does.

    Not as long as the worker lives: a right whose ``acquire`` was committed while the answer got lost, or that could
    not be given back since the database was away, would be held by nobody and never run out.
    """
    _used.add(token)
    try:
        yield
    finally:
        _used.discard(token)


@contextmanager
def holding(database: Database, name: str, token: str) -> Iterator[None]:
    """As ``using``, and the right is given back at the end."""
    try:
        with using(token):
            yield
    finally:
        with database.write() as db:
            give_back(db, name, token)


def renew(db: Connection, holder: str, ttl_ms: int) -> None:
    """Extend every right that a worker is using by ``ttl_ms`` from now."""
    used = sorted(token for token in _used.copy() if token.startswith(f"{holder}:"))
    if used:
        db.execute(update(t.lease).where(c.token.in_(used), c.until > NOW).values(until=NOW + ttl_ms))


def register(db: Connection, holder: str) -> list[str]:
    """Enter this process as a worker; the ids of dead workers of this machine, whose work can be taken back.

    Dead: same host, and its process is gone or carries our own process id (a container that was started again).
    """
    host, pid = socket.gethostname(), os.getpid()
    rows = db.execute(select(wk.id, wk.pid).where(wk.host == host, wk.id != holder)).all()
    dead = [row.id for row in rows if row.pid == pid or not _alive(row.pid)]
    if dead:
        db.execute(delete(t.worker).where(wk.id.in_(dead)))
        db.execute(delete(t.lease).where(or_(*(c.token.startswith(f"{d}:", autoescape=True) for d in dead))))
    db.execute(insert(t.worker).values(id=holder, host=host, pid=pid, started_at=NOW, beat_at=NOW))
    return dead


def beat(db: Connection, holder: str) -> None:
    """Say that this worker is alive."""
    db.execute(update(t.worker).where(wk.id == bindparam("b_id")).values(beat_at=NOW), {"b_id": holder})


def sign_off(db: Connection, holder: str) -> None:
    """Leave in good order."""
    db.execute(delete(t.lease).where(c.token.startswith(f"{holder}:", autoescape=True)))
    db.execute(delete(t.worker).where(wk.id == holder))


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
