"""One call where all processes need its result, such as a new access token.  In: what to do.  Out: the result, for all.

Whoever finds the result missing, old or refused takes a lease and does the work; the others wait for what it stores.
The lease is checked in the transaction that stores, so that one that was stopped meanwhile does not put an old result
over a newer one.  Where the result is a secret ``work`` returns it sealed: it is stored as it comes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import Connection as Db
from sqlalchemy import select

from app.core import leases
from app.core import tables as t
from app.core.db import Database, now_ms, upsert
from app.core.errors import LeaseLost

NOW = now_ms()
f = t.flight.c
LOOK = 0.05  # seconds between two looks for what another process is getting


class Busy(Exception):
    """Another process has been at it for too long."""


@dataclass(frozen=True, slots=True)
class Landed:
    """What came of it."""

    value: str
    good_ms: int  # for how long it may be used


def shared(
    database: Database,
    name: str,
    holder: str,
    work: Callable[[], Landed],
    *,
    refused: str | None = None,
    lease_ms: int,
    sleep: Callable[[float], object],
) -> str:
    """The stored result where it is good, else that of ``work``, done by one caller of all processes.

    ``refused``: a result that was tried and is not good, whatever its time says.  ``lease_ms``: longer than ``work``
    takes.  ``sleep``: waits so many seconds.  Raises Busy after waiting ``lease_ms`` twice, and what ``work`` raises,
    to the one who did it; the next caller tries again.
    """
    waited = 0.0
    while True:
        with database.read() as db:
            found = _good(db, name, refused)
        if found is not None:
            return found
        with database.write() as db:
            token = leases.acquire(db, _right(name), holder, lease_ms)
            found = _good(db, name, refused) if token is not None else None
        if token is not None:
            try:
                with leases.holding(database, _right(name), token):
                    return found if found is not None else _land(database, name, token, work())
            except LeaseLost:
                continue  # somebody else got a newer one
        if waited * 1000 > 2 * lease_ms:
            raise Busy(f"{name}: another process has been at it for {waited:.0f} s; try again later")
        sleep(LOOK)
        waited += LOOK


def _right(name: str) -> str:
    return f"flight:{name}"


def _good(db: Db, name: str, refused: str | None) -> str | None:
    value: str | None = db.execute(select(f.value).where(f.name == name, f.good_until > NOW)).scalar()
    return value if value != refused else None


def _land(database: Database, name: str, token: str, landed: Landed) -> str:
    def keep(db: Db) -> None:
        leases.verify(db, _right(name), token)
        new = upsert(db.dialect.name, t.flight).values(name=name, value=landed.value, good_until=NOW + landed.good_ms)
        now = {"value": new.excluded.value, "good_until": new.excluded.good_until}
        db.execute(new.on_conflict_do_update(index_elements=["name"], set_=now))

    database.transact(keep)
    return landed.value
