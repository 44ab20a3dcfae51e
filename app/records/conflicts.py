"""Open conflicts at rest: true double edits of ``ask`` fields that wait for a person."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from sqlalchemy import Connection, delete, select

from app.core import tables as t
from app.core.db import upsert
from app.core.words import Decision
from app.records.contacts import chunks

c = t.conflict.c


def ask(db: Connection, connection: str, asked: Iterable[tuple[int, Decision, int | None]], now: int) -> None:
    """Open conflicts of a connection's claims: contact, decision, event.  A newer one replaces its forerunner."""
    rows = [
        {
            "contact_id": contact_id,
            "field": decision.field,
            "connection": connection,
            "ours": decision.old,
            "theirs": decision.new,
            "event": event,
            "at": now,
        }
        for contact_id, decision, event in asked
    ]
    if not rows:
        return
    statement = upsert(db.dialect.name, t.conflict)
    new = statement.excluded
    db.execute(
        statement.on_conflict_do_update(
            index_elements=["contact_id", "field", "connection"],
            set_={"ours": new.ours, "theirs": new.theirs, "event": new.event, "at": new.at},
        ),
        rows,
    )


def settle(db: Connection, connection: str, settled: Iterable[tuple[int, str]]) -> None:
    """The two sides agree again: nothing is left to ask."""
    for contact_id, name in sorted(settled):
        db.execute(delete(t.conflict).where(c.contact_id == contact_id, c.field == name, c.connection == connection))


def drop(db: Connection, contact: int) -> None:
    """Nothing is asked about this contact any more."""
    db.execute(delete(t.conflict).where(c.contact_id == contact))


def asked(db: Connection, connection: str, ids: Collection[int]) -> dict[int, frozenset[str]]:
    """Fields with an open conflict, by contact."""
    found: dict[int, set[str]] = {}
    for chunk in chunks(sorted(ids)):
        for row in db.execute(select(c.contact_id, c.field).where(c.contact_id.in_(chunk), c.connection == connection)):
            found.setdefault(row.contact_id, set()).add(row.field)
    return {contact_id: frozenset(names) for contact_id, names in found.items()}
