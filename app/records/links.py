"""Links at rest: contact ↔ record, unique in both directions, with the shadow."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, RowMapping, bindparam, delete, insert, select, update

from app.core import tables as t
from app.core.db import execute_many
from app.records.contacts import chunks


@dataclass(slots=True)
class Link:
    """A link in hand, inside one transaction."""

    connection: str
    kind: str
    remote_id: str = field(repr=False)
    contact_id: int
    shadow: dict[str, Any] = field(repr=False)
    rev: int = 0
    modified: int | None = None
    written_at: int = 0
    gone_at: int | None = None
    altered: dict[str, Any] | None = field(default=None, repr=False)
    landed: dict[str, int] | None = None  # field -> when our last write of it landed, by the database's clock
    warnings: list[dict[str, str]] | None = None
    address_of: int | None = None  # the contact whose own address the record holds, where that is another one
    origin: dict[str, Any] | None = field(default=None, repr=False)  # what it said when paired with a known contact
    likeness: float | None = None  # log-odds, base 2, where likeness paired it and no address did
    second_at: int | None = None  # since when it is known to be a second record of somebody (ms)


_COLUMNS = (
    t.link.c.connection,
    t.link.c.kind,
    t.link.c.remote_id,
    t.link.c.contact_id,
    t.link.c.shadow,
    t.link.c.rev,
    t.link.c.modified,
    t.link.c.written_at,
    t.link.c.gone_at,
    t.link.c.altered,
    t.link.c.landed,
    t.link.c.warnings,
    t.link.c.address_of,
    t.link.c.origin,
    t.link.c.likeness,
    t.link.c.second_at,
)


def of_records(
    db: Connection, connection: str, kind: str, ids: Collection[str], *, lock: bool = False
) -> dict[str, Link]:
    """The links of these records of one connection, by remote id."""
    found: dict[str, Link] = {}
    for chunk in chunks(sorted(ids)):
        query = (
            select(*_COLUMNS)
            .where(t.link.c.connection == connection, t.link.c.kind == kind, t.link.c.remote_id.in_(chunk))
            .order_by(t.link.c.remote_id)
        )
        if lock:
            query = query.with_for_update()
        for row in db.execute(query).mappings():
            found[row["remote_id"]] = _link(row)
    return found


def of_contacts(
    db: Connection, connection: str, kind: str, ids: Collection[int], *, lock: bool = False
) -> dict[int, Link]:
    """The links of these contacts at one connection, by contact id.

    Locked in the order of remote ids, as ``of_records`` does, so that the two cannot deadlock.
    """
    found: dict[int, Link] = {}
    for chunk in chunks(sorted(ids)):
        query = select(*_COLUMNS).where(
            t.link.c.contact_id.in_(chunk), t.link.c.connection == connection, t.link.c.kind == kind
        )
        if lock and db.dialect.name == "postgresql":
            # Not on SQLite, which has one writer anyway: to save the sort it would read all links of the connection.
            query = query.order_by(t.link.c.remote_id).with_for_update()
        for row in db.execute(query).mappings():
            found[row["contact_id"]] = _link(row)
    return found


def of_contact(db: Connection, contact_id: int, *, lock: bool = False) -> list[Link]:
    """All links of one contact."""
    c = t.link.c
    query = select(*_COLUMNS).where(c.contact_id == contact_id).order_by(c.connection, c.kind, c.remote_id)
    if lock:
        query = query.with_for_update()
    return [_link(row) for row in db.execute(query).mappings()]


def first_contact(db: Connection, connection: str, kind: str) -> int | None:
    """Some contact that has a record at this connection, always the same one; None where nobody has."""
    c = t.link.c
    query = select(c.contact_id).where(c.connection == connection, c.kind == kind, c.gone_at.is_(None))
    number: int | None = db.execute(query.order_by(c.remote_id).limit(1)).scalar()
    return number


def with_address_of(db: Connection, connection: str, contacts: Collection[int]) -> set[int]:
    """The contacts whose record at this connection holds an address that is one of these contacts' own."""
    found: set[int] = set()
    for chunk in chunks(sorted(contacts)):
        query = select(t.link.c.contact_id).where(t.link.c.address_of.in_(chunk), t.link.c.connection == connection)
        found.update(db.execute(query).scalars())
    return found


def address_is_of(db: Connection, former: int, contact: int | None) -> None:
    """What was an address of ``former`` is one of ``contact`` now; None: nobody's."""
    db.execute(update(t.link).where(t.link.c.address_of == former).values(address_of=contact))


def _this(link: Link) -> tuple[Any, ...]:
    c = t.link.c
    return (c.connection == link.connection, c.kind == link.kind, c.remote_id == link.remote_id)


def give(db: Connection, link: Link, contact_id: int) -> None:
    """The record is another contact's from now on.  One that is paired there already raises IntegrityError."""
    changed = {"contact_id": contact_id, "rev": t.link.c.rev + 1, "likeness": None, "second_at": None}
    db.execute(update(t.link).where(*_this(link)).values(**changed))
    link.contact_id, link.rev, link.likeness, link.second_at = contact_id, link.rev + 1, None, None


def remove(db: Connection, link: Link) -> None:
    """The record is nobody's any more."""
    db.execute(delete(t.link).where(*_this(link)))


def _link(row: RowMapping) -> Link:
    return Link(**{name: row[name] for name in Link.__dataclass_fields__})


def create(db: Connection, links: Iterable[Link], now: int) -> None:
    """Store new links.  A record or contact that is already paired raises IntegrityError."""
    rows = [
        {**{name: getattr(k, name) for name in Link.__dataclass_fields__}, "created_at": now}
        for k in sorted(links, key=lambda k: (k.connection, k.kind, k.remote_id))
    ]
    if rows:
        execute_many(db, insert(t.link), rows)


_FIXED = frozenset({"contact_id", "origin", "likeness", "second_at"})  # said once, when the pair is made
_SAVE = (
    update(t.link)
    .where(
        t.link.c.connection == bindparam("b_connection"),
        t.link.c.kind == bindparam("b_kind"),
        t.link.c.remote_id == bindparam("b_remote_id"),
    )
    .values(
        shadow=bindparam("b_shadow"),
        rev=bindparam("b_rev"),
        modified=bindparam("b_modified"),
        written_at=bindparam("b_written_at"),
        gone_at=bindparam("b_gone_at"),
        altered=bindparam("b_altered"),
        landed=bindparam("b_landed"),
        warnings=bindparam("b_warnings"),
        address_of=bindparam("b_address_of"),
    )
)


def save(db: Connection, links: Iterable[Link]) -> None:
    """Store changed links, which their caller holds locked."""
    rows = [
        {f"b_{name}": getattr(k, name) for name in Link.__dataclass_fields__ if name not in _FIXED}
        for k in sorted(links, key=lambda k: (k.connection, k.kind, k.remote_id))
    ]
    if rows:
        execute_many(db, _SAVE, rows)


def rename(db: Connection, connection: str, kind: str, renamed: Iterable[tuple[str, str]]) -> None:
    """The vendor knows these records under new ids now: (old, new)."""
    c = t.link.c
    for old, new in renamed:
        where = (c.connection == connection, c.kind == kind, c.remote_id == old)
        db.execute(update(t.link).where(*where).values(remote_id=new))
