"""Timeline entries at rest: which engagement is to be shown where, and what became of it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final

from sqlalchemy import Connection, RowMapping, select, update

from app.core import tables as t
from app.core.db import now_ms, ring, upsert
from app.core.words import Station

NOW = now_ms()
e, g = t.timeline_entry.c, t.engagement.c
FAR: Final = 2**62


def want(db: Connection, connection: str, rows: Mapping[int, int]) -> None:
    """These engagements (row → contact) are to be shown at this connection; those that are already stay."""
    if rows:
        statement = upsert(db.dialect.name, t.timeline_entry)
        values = [
            {"connection": connection, "engagement_id": i, "contact_id": contact, "due_at": 0, "attempts": 0}
            for i, contact in sorted(rows.items())
        ]
        db.execute(statement.on_conflict_do_nothing(index_elements=["connection", "engagement_id"]), values)
        ring(db, Station.TIMELINE)


def move(db: Connection, former: int, contact: int) -> None:
    """What is of ``former`` is of ``contact``."""
    db.execute(update(t.timeline_entry).where(e.contact_id == former).values(contact_id=contact))


def follow(db: Connection, contact: int) -> None:
    """After a split: entries are of the contact that their engagements are of."""
    whose = select(g.contact_id).where(g.id == e.engagement_id).scalar_subquery()
    mine = select(g.id).where(g.contact_id == contact)
    db.execute(update(t.timeline_entry).where(e.engagement_id.in_(mine)).values(contact_id=whose))


def due(db: Connection, connection: str, limit: int) -> Sequence[RowMapping]:
    """Entries that are due, with their engagements, the oldest act first."""
    query = (
        select(e.engagement_id, e.attempts, t.engagement)
        .join_from(t.timeline_entry, t.engagement, g.id == e.engagement_id)
        .where(e.connection == connection, e.due_at <= NOW)
        .order_by(e.due_at, e.engagement_id)
        .limit(limit)
    )
    return db.execute(query).mappings().all()


def taken(db: Connection, connection: str, ids: Collection[int], ttl_ms: int) -> None:
    """A worker has these in hand; after ``ttl_ms`` they are anybody's again.  The attempt counts before it is made."""
    where = (e.connection == connection, e.engagement_id.in_(sorted(ids)))
    db.execute(update(t.timeline_entry).where(*where).values(due_at=NOW + ttl_ms, attempts=e.attempts + 1))


def written(db: Connection, connection: str, engagement: int, remote_id: str) -> None:
    """It stands there."""
    where = (e.connection == connection, e.engagement_id == engagement)
    values = {"due_at": None, "remote_id": remote_id, "error": None, "written_at": NOW}
    db.execute(update(t.timeline_entry).where(*where).values(**values))


def failed(db: Connection, connection: str, engagement: int, delay_ms: int | None, why: str) -> None:
    """It does not; again after ``delay_ms``, None: given up."""
    where = (e.connection == connection, e.engagement_id == engagement)
    due_at = None if delay_ms is None else NOW + delay_ms
    db.execute(update(t.timeline_entry).where(*where).values(due_at=due_at, error=why[:500]))
