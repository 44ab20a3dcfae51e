"""How far the first complete reading of each connection is: read, gone through the chain, at what rate, until when."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import Connection as Db
from sqlalchemy import func, select

from app.core import tables as t
from app.core.db import clock_of
from app.push import trust
from app.sync.connection import Connections

i, s = t.inbox.c, t.connection_state.c
COUNTED = 20_000  # events that a count looks at; a walk lets fewer wait


@dataclass(frozen=True, slots=True)
class Reading:
    """The first reading of one connection.  Times are ms since 1970."""

    connection: str
    state: str  # waiting, reading, storing (read, but not all of it gone through the chain), done, paused, none
    read: int  # records so far
    total: int | None  # how many there are, where the vendor says so
    pending: int  # events that wait to go through the chain
    began_at: int | None
    walked_at: int | None
    done_at: int | None
    rate: float | None  # records a second, from the beginning on; None: not begun
    ends_at: int | None  # when reading ends at this rate; None: not known


def readings(db: Db, connections: Connections, names: Collection[str]) -> list[Reading]:
    """How far these connections are, by name."""
    rows = {row.name: row for row in db.execute(select(t.connection_state).where(s.name.in_(sorted(names))))}
    now = clock_of(db)
    readable = trust.readable(connections)
    found = []
    for name in sorted(names):
        row = rows.get(name)
        if row is None or name not in readable:
            found.append(Reading(name, "none" if name not in readable else "waiting", *_NOTHING))
            continue
        some = select(i.id).where(i.connection == name, i.status == "pending").limit(COUNTED).subquery()
        pending: int = db.execute(select(func.count()).select_from(some)).scalar_one()
        ended = row.walked_at if row.walked_at is not None else now
        rate = None
        if row.walk_began_at is not None and row.walk_read:
            rate = row.walk_read * 1000 / max(1, ended - row.walk_began_at)
        total = row.walk_total if row.walked_at is None else row.walk_read
        ends = row.walked_at
        if ends is None and rate and total is not None:
            ends = now + int(max(0, total - row.walk_read) * 1000 / rate)
        state = _state(row.first_read_at, row.walked_at, row.walk_began_at, paused=bool(row.paused))
        times = (row.walk_began_at, row.walked_at, row.first_read_at)
        found.append(Reading(name, state, row.walk_read, total, pending, *times, rate, ends))
    return found


_NOTHING = (0, None, 0, None, None, None, None, None)


def _state(done: int | None, walked: int | None, began: int | None, *, paused: bool) -> str:
    if done is not None:
        return "done"
    if paused:
        return "paused"
    if walked is not None:
        return "storing"
    return "reading" if began is not None else "waiting"
