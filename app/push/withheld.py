"""What a person decided not to write to a connection: a value of a field, a creation, an archiving.

It binds until the contact says something else: another value of the field is written, and forgets it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from sqlalchemy import Connection, delete, select

from app.core import tables as t
from app.core.db import clock_of, upsert

h = t.withheld.c


def keep(db: Connection, connection: str, what: Iterable[tuple[int, str, Any]], by: str) -> None:
    """Remember what is not to be written: contact, field, value as the vendor would say it.

    ``plan.CREATION`` and ``plan.ARCHIVING`` stand for a field where it is the record itself.
    """
    now = clock_of(db)
    rows = [
        {"connection": connection, "contact_id": contact, "field": name, "value": value, "by": by, "at": now}
        for contact, name, value in what
    ]
    statement = upsert(db.dialect.name, t.withheld)
    new = statement.excluded
    statement = statement.on_conflict_do_update(
        index_elements=["connection", "contact_id", "field"], set_={"value": new.value, "by": new.by, "at": new.at}
    )
    if rows:
        db.execute(statement, rows)


def of(db: Connection, connection: str, contacts: Collection[int]) -> dict[int, dict[str, Any]]:
    """What is not to be written, by contact and field."""
    found: dict[int, dict[str, Any]] = {}
    query = select(h.contact_id, h.field, h.value).where(h.connection == connection, h.contact_id.in_(sorted(contacts)))
    for row in db.execute(query):
        found.setdefault(row.contact_id, {})[row.field] = row.value
    return found


def forget(db: Connection, connection: str, contact: int, names: Collection[str]) -> None:
    """Another value of these fields was written: nothing of them is withheld any more."""
    db.execute(
        delete(t.withheld).where(h.connection == connection, h.contact_id == contact, h.field.in_(sorted(names)))
    )


def forget_field(db: Connection, connection: str, name: str, contacts: Collection[int]) -> None:
    """A person says another value of a field of these contacts: nothing of it is withheld any more."""
    db.execute(
        delete(t.withheld).where(h.connection == connection, h.contact_id.in_(sorted(contacts)), h.field == name)
    )
