"""Who belongs to which company or deal, at rest: as a connection says it, by its ids, with whom we know by them.

Both ends are filled in when they become known, whichever comes first.  Statements only; the callers hold the lease of
the connection, or are the chain.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, Table, bindparam, delete, or_, select, update

from app.core import tables as t
from app.core.db import upsert
from app.records import merges
from app.records.contacts import chunks
from connectors.contract import Kind, Tie

b = t.belonging.c


@dataclass(frozen=True, slots=True)
class Said:
    """One belonging as a vendor says it."""

    kind: Kind  # company or deal
    remote_id: str
    who: str
    main: bool
    role: str | None


def of_object(
    db: Connection, connection: str, kind: Kind, said: Mapping[str, Sequence[Tie]], at: Mapping[str, int], now: int
) -> set[int]:
    """These companies (or deals) have just these people; the contacts for whom something changed."""
    rows = {(i, tie.id): Said(kind, i, tie.id, tie.main, tie.role) for i, ties in said.items() for tie in ties}
    return _replace(db, connection, b.remote_id, kind, said, rows, {i: at.get(i, now) for i in said})


def of_people(
    db: Connection, connection: str, kind: Kind, said: Mapping[str, Sequence[Tie]], at: Mapping[str, int], now: int
) -> set[int]:
    """These records of people belong to just these companies (or deals); the contacts for whom something changed."""
    rows = {(tie.id, i): Said(kind, tie.id, i, tie.main, tie.role) for i, ties in said.items() for tie in ties}
    return _replace(db, connection, b.who, kind, said, rows, {i: at.get(i, now) for i in said})


_PUT = (
    update(t.belonging)
    .where(
        b.connection == bindparam("b_connection"),
        b.kind == bindparam("b_kind"),
        b.remote_id == bindparam("b_remote_id"),
        b.who == bindparam("b_who"),
    )
    .values(main=bindparam("b_main"), role=bindparam("b_role"))
)


def _replace(
    db: Connection,
    connection: str,
    by: ColumnElement[str],
    kind: Kind,
    said: Collection[str],
    rows: Mapping[tuple[str, str], Said],
    at: Mapping[str, int],
) -> set[int]:
    """``by``: the column that ``said`` is of."""
    touched: set[int] = set()
    known: dict[tuple[str, str], tuple[bool, str | None]] = {}
    gone: list[tuple[str, str]] = []
    for chunk in chunks(sorted(said)):
        where = (b.connection == connection, b.kind == str(kind), by.in_(chunk))
        query = select(b.remote_id, b.who, b.contact_id, b.main, b.role).where(*where)
        for row in db.execute(query):
            key = (row.remote_id, row.who)
            known[key] = (bool(row.main), row.role)
            new = rows.get(key)
            if new is None:
                gone.append(key)
            if row.contact_id is not None and (new is None or known[key] != (new.main, new.role)):
                touched.add(row.contact_id)
    for remote_id, who in sorted(gone):
        db.execute(
            delete(t.belonging).where(
                b.connection == connection, b.kind == str(kind), b.remote_id == remote_id, b.who == who
            )
        )
    moved = [r for k, r in rows.items() if k in known and known[k] != (r.main, r.role)]
    if moved:
        names = ("remote_id", "who", "role")
        db.execute(
            _PUT,
            [
                {
                    "b_connection": connection,
                    "b_kind": str(kind),
                    "b_main": int(r.main),
                    **{f"b_{n}": getattr(r, n) for n in names},
                }
                for r in moved
            ],
        )
    fresh = [r for k, r in sorted(rows.items()) if k not in known]
    if fresh:
        touched |= _add(db, connection, fresh, at)
    return touched


def _add(db: Connection, connection: str, fresh: Sequence[Said], at: Mapping[str, int]) -> set[int]:
    people = _ends(db, connection, t.link, Kind.CONTACT, {r.who for r in fresh}, "contact_id")
    stand_ins = merges.stand_ins(db, set(people.values()))
    kind = fresh[0].kind
    objects = _ends(db, connection, t.object_link, kind, {r.remote_id for r in fresh}, "object_id")
    found = {who: stand_ins.get(contact, contact) for who, contact in people.items()}
    statement = upsert(db.dialect.name, t.belonging).on_conflict_do_nothing(
        index_elements=["connection", "kind", "remote_id", "who"]
    )
    db.execute(
        statement,
        [
            {
                "connection": connection,
                "kind": str(r.kind),
                "remote_id": r.remote_id,
                "who": r.who,
                "contact_id": found.get(r.who),
                "object_id": objects.get(r.remote_id),
                "main": int(r.main),
                "role": r.role,
                "since": at[r.remote_id] if r.remote_id in at else at[r.who],
            }
            for r in fresh
        ],
    )
    return {found[r.who] for r in fresh if r.who in found}


def _ends(
    db: Connection, connection: str, table: Table, kind: Kind, ids: Collection[str], column: str
) -> dict[str, int]:
    """Whom, or what, we know under these ids of a connection."""
    c = table.c
    found: dict[str, int] = {}
    for chunk in chunks(sorted(ids)):
        query = select(c.remote_id, c[column]).where(
            c.connection == connection, c.kind == str(kind), c.remote_id.in_(chunk)
        )
        found.update((row[0], row[1]) for row in db.execute(query))
    return found


def claim(db: Connection, connection: str, people: Mapping[str, int]) -> set[int]:
    """The records of these people have become known: what was said of them is theirs; contacts that got something."""
    got: set[int] = set()
    for chunk in chunks(sorted(people)):
        query = (
            select(b.who)
            .where(b.connection == connection, b.who.in_(chunk), b.contact_id.is_(None))
            .distinct()
            .order_by(b.who)
        )
        for who in db.execute(query).scalars().all():
            db.execute(
                update(t.belonging).where(b.connection == connection, b.who == who).values(contact_id=people[who])
            )
            got.add(people[who])
    return got


def found(db: Connection, connection: str, kind: Kind, objects: Mapping[str, int]) -> set[int]:
    """These companies or deals have become known, or another one stands for them; the contacts concerned."""
    touched: set[int] = set()
    for remote_id in sorted(objects):
        where = (
            *(b.connection == connection, b.kind == str(kind), b.remote_id == remote_id),
            or_(b.object_id.is_(None), b.object_id != objects[remote_id]),
        )
        rows = db.execute(
            update(t.belonging).where(*where).values(object_id=objects[remote_id]).returning(b.contact_id)
        )
        touched |= {row.contact_id for row in rows if row.contact_id is not None}
    return touched


def people_of(db: Connection, kind: Kind, objects: Collection[int]) -> set[int]:
    """The contacts that belong to these companies or deals."""
    people: set[int] = set()
    for chunk in chunks(sorted(objects)):
        query = select(b.contact_id).where(b.kind == str(kind), b.object_id.in_(chunk), b.contact_id.is_not(None))
        people |= set(db.execute(query).scalars())
    return people


def renamed(db: Connection, connection: str, renamed: Iterable[tuple[str, str]]) -> None:
    """The vendor knows these records of people under new ids: (old, new)."""
    for old, new in renamed:
        taken = select(b.remote_id).where(b.connection == connection, b.who == new)
        db.execute(delete(t.belonging).where(b.connection == connection, b.who == old, b.remote_id.in_(taken)))
        db.execute(update(t.belonging).where(b.connection == connection, b.who == old).values(who=new))


def move(db: Connection, former: int, contact: int, records: Collection[tuple[str, str]] | None = None) -> None:
    """What is ``former``'s is ``contact``'s; ``records``: only what was said of these (connection, id)."""
    statement = update(t.belonging).where(b.contact_id == former).values(contact_id=contact)
    if records is None:
        db.execute(statement)
        return
    for connection, who in sorted(records):
        db.execute(statement.where(b.connection == connection, b.who == who))


def forget(db: Connection, contacts: Collection[int], records: Mapping[str, Collection[str]]) -> int:
    """Remove what is known of these contacts, and of these records (connection → ids); how many rows."""
    removed = db.execute(delete(t.belonging).where(b.contact_id.in_(sorted(contacts)))).rowcount
    for connection, ids in sorted(records.items()):
        for chunk in chunks(sorted(set(ids))):
            where = (b.connection == connection, b.who.in_(chunk))
            removed += db.execute(delete(t.belonging).where(*where)).rowcount
    return removed
