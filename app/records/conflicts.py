"""Open conflicts at rest: true double edits of ``ask`` fields that wait for a person, and rulings about all such."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from sqlalchemy import Connection, RowMapping, delete, func, select

from app.core import tables as t
from app.core.db import upsert
from app.core.errors import NotFound
from app.core.words import Decision
from app.records.contacts import chunks

c, u = t.conflict.c, t.ruling.c


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


def one(db: Connection, number: int, *, lock: bool = False) -> RowMapping:
    """One of them.  Raises NotFound."""
    query = select(t.conflict).where(c.id == number)
    row = db.execute(query.with_for_update() if lock else query).mappings().one_or_none()
    if row is None:
        raise NotFound(f"there is no conflict {number}; it goes once it is decided, or once the two sides agree")
    return row


def listed(
    db: Connection, limit: int, before: int | None = None, *, connection: str | None = None, contact: int | None = None
) -> list[RowMapping]:
    """The newest first, below the id ``before``."""
    query = select(t.conflict).order_by(c.id.desc()).limit(limit)
    for column, wanted in ((c.connection, connection), (c.contact_id, contact)):
        if wanted is not None:
            query = query.where(column == wanted)
    if before is not None:
        query = query.where(c.id < before)
    return list(db.execute(query).mappings())


def of_contact(db: Connection, contact: int) -> list[RowMapping]:
    """The open conflicts of a contact."""
    return list(db.execute(select(t.conflict).where(c.contact_id == contact).order_by(c.id)).mappings())


def close(db: Connection, number: int) -> None:
    """A person has decided."""
    db.execute(delete(t.conflict).where(c.id == number))


def waiting(db: Connection, connection: str, name: str) -> int:
    """How many conflicts about a field wait at a connection."""
    query = select(func.count()).where(c.connection == connection, c.field == name)
    return int(db.execute(query).scalar_one())


def rule(db: Connection, connection: str, name: str, choice: str, by: str, now: int) -> None:
    """Remember what a person says of every double edit of a field at a connection; it replaces an earlier word."""
    statement = upsert(db.dialect.name, t.ruling).values(
        connection=connection, field=name, choice=choice, by=by, at=now
    )
    new = statement.excluded
    db.execute(
        statement.on_conflict_do_update(
            index_elements=["connection", "field"], set_={"choice": new.choice, "by": new.by, "at": new.at}
        )
    )


def rulings(db: Connection, connection: str) -> dict[str, str]:
    """What people said of every double edit at a connection: field to ``ours`` or ``theirs``."""
    return {row.field: row.choice for row in db.execute(select(u.field, u.choice).where(u.connection == connection))}


def all_rulings(db: Connection) -> list[RowMapping]:
    """All of them, by connection and field.  There are never more than connections have fields."""
    return list(db.execute(select(t.ruling).order_by(u.connection, u.field)).mappings())


def unrule(db: Connection, connection: str, name: str) -> None:
    """Ask again from now on.  Raises NotFound where nothing was remembered."""
    gone = db.execute(delete(t.ruling).where(u.connection == connection, u.field == name).returning(u.field)).first()
    if gone is None:
        raise NotFound(f"nothing is remembered about {name} at {connection}; `tandem conflict rules` lists what is")
