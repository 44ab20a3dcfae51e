"""Vendors' fields that are neither read nor written at present: absent, never cleared.

A field is suspended because its vendor no longer shows it as before, and is back when the vendor does, or when a named
person says so.  What a person let through is not suspended again for the same reason.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import Connection, RowMapping, delete, select, update

from app.core import tables as t
from app.core.db import now_ms, upsert
from app.core.errors import NotFound

NOW = now_ms()
x = t.suspended.c


def fields(db: Connection) -> dict[str, frozenset[str]]:
    """The vendor fields that are suspended, by connection."""
    found: dict[str, set[str]] = {}
    for row in db.execute(select(x.connection, x.field).where(x.resumed_at.is_(None))):
        found.setdefault(row.connection, set()).add(row.field)
    return {name: frozenset(of) for name, of in found.items()}


def suspend(db: Connection, connection: str, wanted: Mapping[str, str]) -> list[str]:
    """Suspend these fields (field → why); those that are suspended now and were not before."""
    new = []
    for name, why in sorted(wanted.items()):
        statement = upsert(db.dialect.name, t.suspended).values(
            connection=connection, field=name, why=why[:300], since=NOW
        )
        fresh = statement.excluded
        statement = statement.on_conflict_do_update(
            index_elements=["connection", "field"],
            set_={"why": fresh.why, "since": fresh.since, "resumed_at": None, "resumed_by": None},
            where=(x.resumed_at.is_not(None)) & (x.why != fresh.why),
        ).returning(x.field)
        if db.execute(statement).first() is not None:
            new.append(name)
    return new


def back(db: Connection, connection: str, name: str) -> bool:
    """The vendor shows the field as before; False where it was not suspended."""
    gone = delete(t.suspended).where(x.connection == connection, x.field == name).returning(x.resumed_at)
    row = db.execute(gone).first()
    return row is not None and row.resumed_at is None


def resume(db: Connection, connection: str, name: str, by: str) -> None:
    """A named person lets the field be read and written as it is now.  Raises NotFound."""
    found = db.execute(
        update(t.suspended)
        .where(x.connection == connection, x.field == name, x.resumed_at.is_(None))
        .values(resumed_at=NOW, resumed_by=by)
        .returning(x.field)
    )
    if found.first() is None:
        raise NotFound(f"{connection}: the field {name!r} is not suspended; `tandem field list` shows those that are")


def listed(db: Connection, connection: str | None = None) -> Sequence[RowMapping]:
    """The fields that are suspended, the latest first."""
    query = select(t.suspended).where(x.resumed_at.is_(None)).order_by(x.since.desc(), x.connection, x.field)
    if connection is not None:
        query = query.where(x.connection == connection)
    return db.execute(query).mappings().all()


def why(db: Connection, connection: str) -> dict[str, tuple[str, bool]]:
    """Per field of a connection that is or was suspended: why, and whether it is now."""
    query = select(x.field, x.why, x.resumed_at).where(x.connection == connection)
    return {row.field: (row.why, row.resumed_at is None) for row in db.execute(query)}
