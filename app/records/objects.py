"""Links of companies and deals at rest, and the directory of colleagues."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, RowMapping, bindparam, insert, select, update

from app.core import tables as t
from app.core.db import upsert
from app.records.contacts import chunks
from connectors.contract import Kind

k, o = t.object_link.c, t.colleague.c


@dataclass(slots=True)
class ObjectLink:
    """Which record is which company or deal."""

    connection: str
    kind: str
    remote_id: str = field(repr=False)
    object_id: int
    shadow: dict[str, Any] = field(repr=False)
    company_ref: str | None = None
    modified: int | None = None
    seen_at: int = 0
    gone_at: int | None = None


_NAMES = tuple(ObjectLink.__dataclass_fields__)


def links(db: Connection, connection: str, kind: Kind, ids: Collection[str]) -> dict[str, ObjectLink]:
    """The links of these records, by id, locked in the order of ids."""
    found: dict[str, ObjectLink] = {}
    for chunk in chunks(sorted(ids)):
        query = (
            select(*(k[name] for name in _NAMES))
            .where(k.connection == connection, k.kind == str(kind), k.remote_id.in_(chunk))
            .order_by(k.remote_id)
            .with_for_update()
        )
        for row in db.execute(query).mappings():
            found[row["remote_id"]] = ObjectLink(**row)
    return found


_SAVE = (
    update(t.object_link)
    .where(
        k.connection == bindparam("b_connection"),
        k.kind == bindparam("b_kind"),
        k.remote_id == bindparam("b_remote_id"),
    )
    .values(
        {
            name: bindparam(f"b_{name}")
            for name in ("object_id", "shadow", "company_ref", "modified", "seen_at", "gone_at")
        }
    )
)


def save(db: Connection, changed: Iterable[ObjectLink]) -> None:
    """Store changed links."""
    rows = [{f"b_{n}": getattr(x, n) for n in _NAMES} for x in sorted(changed, key=lambda x: (x.kind, x.remote_id))]
    if rows:
        db.execute(_SAVE, rows)


def create(db: Connection, new: Sequence[ObjectLink]) -> None:
    """Store new links."""
    if new:
        db.execute(insert(t.object_link), [{n: getattr(x, n) for n in _NAMES} for x in new])


def known_at(db: Connection, connection: str, kind: Kind, objects: Collection[int]) -> set[int]:
    """Those of the companies or deals that have a record at this connection."""
    found: set[int] = set()
    for chunk in chunks(sorted(objects)):
        query = select(k.object_id).where(
            k.kind == str(kind), k.object_id.in_(chunk), k.connection == connection, k.gone_at.is_(None)
        )
        found |= set(db.execute(query).scalars())
    return found


def left(db: Connection, kind: Kind, objects: Collection[int]) -> set[int]:
    """Those of the companies or deals that still have a record somewhere."""
    found: set[int] = set()
    for chunk in chunks(sorted(objects)):
        query = select(k.object_id).where(k.kind == str(kind), k.object_id.in_(chunk), k.gone_at.is_(None))
        found |= set(db.execute(query).scalars())
    return found


def of_company(db: Connection, connection: str, refs: Collection[str]) -> dict[str, list[int]]:
    """Deals that name these company records: the company's id there → deals."""
    found: dict[str, list[int]] = {}
    for chunk in chunks(sorted(refs)):
        query = select(k.company_ref, k.object_id).where(
            k.connection == connection, k.company_ref.in_(chunk), k.kind == str(Kind.DEAL), k.gone_at.is_(None)
        )
        for row in db.execute(query):
            found.setdefault(row.company_ref, []).append(row.object_id)
    return found


def owned(db: Connection, connection: str, owners: Collection[str]) -> dict[int, str]:
    """Deals whose record names one of these owners, by the vendor's id: deal → owner.

    Looks through the deals of the connection; for what is seldom, a colleague who is new.
    """
    found: dict[int, str] = {}
    owner = k.shadow["owner"].as_string()
    for chunk in chunks(sorted(owners)):
        where = (k.connection == connection, k.kind == str(Kind.DEAL), k.gone_at.is_(None), owner.in_(chunk))
        found |= {
            row.object_id: row.owner for row in db.execute(select(k.object_id, owner.label("owner")).where(*where))
        }
    return found


# --- the directory ----------------------------------------------------------------------------------------------------


def colleagues(db: Connection, connection: str, ids: Collection[str]) -> dict[str, str]:
    """The addresses of these of our people, by the vendor's id."""
    found: dict[str, str] = {}
    for chunk in chunks(sorted(ids)):
        query = select(o.remote_id, o.email).where(o.connection == connection, o.remote_id.in_(chunk))
        found.update((row.remote_id, row.email) for row in db.execute(query) if row.email is not None)
    return found


def keep_colleagues(db: Connection, connection: str, rows: Sequence[dict[str, Any]], now: int) -> dict[str, str]:
    """Store people of the directory (remote_id, email, name, team, active); those whose address is new, by id."""
    before = colleagues(db, connection, [r["remote_id"] for r in rows])
    if rows:
        statement = upsert(db.dialect.name, t.colleague)
        new = statement.excluded
        names = ("email", "name", "team", "active", "seen_at")
        db.execute(
            statement.on_conflict_do_update(
                index_elements=["connection", "remote_id"], set_={name: new[name] for name in names}
            ),
            [{"connection": connection, **row, "seen_at": now} for row in sorted(rows, key=lambda r: r["remote_id"])],
        )
    return {
        r["remote_id"]: r["email"] for r in rows if r["email"] is not None and before.get(r["remote_id"]) != r["email"]
    }


def directory(db: Connection, after: int, limit: int) -> Sequence[RowMapping]:
    """Our people, behind a row, in the order of rows."""
    return db.execute(select(t.colleague).where(o.id > after).order_by(o.id).limit(limit)).mappings().all()
