"""How far companies, deals, the directory and acts of each connection are read: rows, shared by all replicas."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Final

from sqlalchemy import Connection, RowMapping, case, func, select, update

from app.core import tables as t
from app.core.db import now_ms, upsert

NOW = now_ms()
s = t.survey.c
ACTS: Final = "act"
ORDER: Final = ("colleague", "company", "deal", ACTS)
"""What is due is read in this order: who acted, and what an act was about, is known before the act."""


def ensure(db: Connection, pairs: Collection[tuple[str, str]]) -> None:
    """Give each (connection, kind) its row."""
    statement = upsert(db.dialect.name, t.survey).on_conflict_do_nothing(index_elements=["connection", "kind"])
    if pairs:
        db.execute(statement, [{"connection": name, "kind": kind, "due_at": 0} for name, kind in sorted(pairs)])


def due(db: Connection, pairs: Collection[tuple[str, str]]) -> list[tuple[str, str]]:
    """Those of the pairs that are due, in the order of kinds, then the one that waited longest."""
    rank = case({kind: place for place, kind in enumerate(ORDER)}, value=s.kind, else_=len(ORDER))
    resting = select(t.connection_state.c.name).where(t.connection_state.c.paused == 1)
    query = (
        select(s.connection, s.kind)
        .where(s.due_at <= NOW, s.connection.not_in(resting))
        .order_by(rank, s.due_at, s.connection)
    )
    return [(row.connection, row.kind) for row in db.execute(query) if (row.connection, row.kind) in pairs]


def missing(db: Connection, pairs: Collection[tuple[str, str]]) -> set[tuple[str, str]]:
    """Those of the pairs that have no row yet."""
    return set(pairs) - {(row.connection, row.kind) for row in db.execute(select(s.connection, s.kind))}


def one(db: Connection, connection: str, kind: str) -> RowMapping:
    """One row."""
    query = select(t.survey, NOW.label("now")).where(s.connection == connection, s.kind == kind)
    return db.execute(query).mappings().one()


def went_on(db: Connection, connection: str, kind: str, **values: Any) -> None:
    """A page was read."""
    where = (s.connection == connection, s.kind == kind)
    db.execute(update(t.survey).where(*where).values(failing_since=None, failure=None, **values))


def failed(db: Connection, connection: str, kind: str, delay_ms: int, why: str, **values: Any) -> None:
    """The vendor did not answer as it should: again after ``delay_ms``."""
    where = (s.connection == connection, s.kind == kind)
    since = func.coalesce(s.failing_since, NOW)
    db.execute(
        update(t.survey).where(*where).values(due_at=NOW + delay_ms, failing_since=since, failure=why[:500], **values)
    )


def listed(db: Connection) -> Sequence[RowMapping]:
    """All of them, for people."""
    return db.execute(select(t.survey).order_by(s.connection, s.kind)).mappings().all()
