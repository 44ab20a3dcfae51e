"""What happens right now: what came in, what was decided about it, and what went out because of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection as Db
from sqlalchemy import select

from app.core import tables as t
from app.core.clock import from_ms
from app.ops import events
from app.ops.events import Event
from app.sync.connection import Connections

LINES = 15
LOOKED_AT = 60  # changes whose contacts are asked for what went out

h, k, w = t.history.c, t.link.c, t.work.c


@dataclass(frozen=True, slots=True)
class Decided:
    """One value that was let in."""

    contact_id: int
    field: str
    old: Any
    new: Any
    source: str
    actor: str | None
    rule: str
    event: int | None
    at: datetime


@dataclass(frozen=True, slots=True)
class Went:
    """One value that landed at a connection, or waits for it."""

    contact_id: int
    connection: str
    fields: tuple[str, ...]
    at: datetime | None  # None: it waits
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Flow:
    """The newest of each, the newest first."""

    came: Sequence[Event]
    decided: Sequence[Decided]
    went: Sequence[Went]


def flow(db: Db, connections: Connections) -> Flow:
    """All three; bounded whatever the number of contacts."""
    came = events.listing(db, connection=None, status=None, since=None, until=None, after=None, limit=LINES)
    rows = db.execute(select(t.history).order_by(h.id.desc()).limit(LOOKED_AT)).mappings().all()
    decided = [
        Decided(
            row["contact_id"],
            row["field"],
            row["old"],
            row["new"],
            row["source"],
            row["actor"],
            row["rule"],
            row["event"],
            from_ms(row["stored_at"]),
        )
        for row in rows[:LINES]
    ]
    went = _went(db, connections, {row["contact_id"]: min(row["stored_at"], row["at"]) for row in reversed(rows)})
    return Flow(came.items, decided, went)


def _went(db: Db, connections: Connections, changed: Mapping[int, int]) -> list[Went]:
    """What landed of these contacts since they changed, and what waits.  ``changed``: contact → when, ms."""
    names = sorted(connections)
    links = select(k.contact_id, k.connection, k.landed).where(k.contact_id.in_(changed), k.connection.in_(names))
    landed: dict[tuple[int, str, int], list[str]] = {}
    for row in db.execute(links):
        for name, at in (row.landed if row.landed is not None else {}).items():
            if at >= changed[row.contact_id]:
                landed.setdefault((row.contact_id, row.connection, at), []).append(name)
    dirty = select(w.contact_id, w.connection, w.error).where(w.connection.in_(names), w.contact_id.in_(changed))
    waits = [Went(row.contact_id, row.connection, (), None, row.error) for row in db.execute(dirty)]
    gone = [
        Went(contact, connection, tuple(sorted(fields)), from_ms(at))
        for (contact, connection, at), fields in sorted(landed.items(), key=lambda one: -one[0][2])
    ]
    return [*waits[:LINES], *gone][:LINES]
