"""Disagreements between vendors and this store at rest, and what a complete compare counted.

No values are kept: which field of which record, why, and since when.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, RowMapping, case, delete, func, insert, literal, select, update

from app.core import tables as t
from app.core.db import clock_of, upsert
from app.records.contacts import chunks

RECORD: Final = ""  # in place of a field: the record itself

# Why.  The first three are drift of a field, the last two of a record.
UNSEEN: Final = "unseen"  # the vendor holds what was never read
UNWRITTEN: Final = "unwritten"  # the vendor does not hold what it should
HELD: Final = "held"  # as before, and a brake or a person has to decide first
EXTRA: Final = "extra"  # the vendor has a record that nobody here belongs to
MISSING: Final = "missing"  # a record that is known here is not at the vendor

g, v, d = t.disagreement.c, t.sighting.c, t.drift.c


@dataclass(frozen=True, slots=True)
class Found:
    """What the compare of one record found: field → why."""

    remote_id: str
    contact_id: int | None
    fields: Mapping[str, str]


def note(db: Connection, connection: str, run: int, found: Iterable[Found]) -> None:
    """Exactly this is wrong with these records now.  What was wrong before keeps its first time."""
    found = list(found)
    keep = {(one.remote_id, name) for one in found for name in one.fields}
    for chunk in chunks(sorted({one.remote_id for one in found})):
        before = select(g.remote_id, g.field).where(g.connection == connection, g.remote_id.in_(chunk))
        for row in db.execute(before).all():
            if (row.remote_id, row.field) not in keep:
                where = (g.connection == connection, g.remote_id == row.remote_id, g.field == row.field)
                db.execute(delete(t.disagreement).where(*where))
    statement = upsert(db.dialect.name, t.disagreement)
    new = statement.excluded
    statement = statement.on_conflict_do_update(
        index_elements=["connection", "remote_id", "field"],
        set_={"why": new.why, "contact_id": new.contact_id, "last_seen": new.last_seen, "run": new.run},
    )
    now = clock_of(db)
    rows = [
        {
            "connection": connection,
            "remote_id": one.remote_id,
            "field": name,
            "why": why,
            "contact_id": one.contact_id,
            "first_seen": now,
            "last_seen": now,
            "run": run,
        }
        for one in sorted(found, key=lambda one: one.remote_id)
        for name, why in sorted(one.fields.items())
    ]
    if rows:
        db.execute(statement, rows)


def still(db: Connection, connection: str, run: int, records: Collection[str]) -> None:
    """Of these records nothing can be said now: what was wrong with them stays noted."""
    for chunk in chunks(sorted(records)):
        db.execute(update(t.disagreement).where(g.connection == connection, g.remote_id.in_(chunk)).values(run=run))


def outdated(db: Connection, connection: str, run: int) -> int:
    """Forget what a complete compare did not find again; how many."""
    return db.execute(delete(t.disagreement).where(g.connection == connection, g.run != run)).rowcount


def not_missing(db: Connection, connection: str, run: int) -> int:
    """Take back what a run that is doubted noted as missing; how many."""
    gone = delete(t.disagreement).where(g.connection == connection, g.run == run, g.why == MISSING)
    return db.execute(gone).rowcount


def of_field(db: Connection, connection: str, names: Collection[str]) -> int:
    """Forget what was noted of these fields; how many."""
    return db.execute(delete(t.disagreement).where(g.connection == connection, g.field.in_(sorted(names)))).rowcount


def noted(db: Connection, connection: str, run: int, after: str, limit: int) -> list[str]:
    """Records of whom a run noted something of a field, or that they are extra, by id."""
    query = (
        select(g.remote_id)
        .where(g.connection == connection, g.run == run, g.remote_id > after, g.why.not_in([MISSING, HELD]))
        .group_by(g.remote_id)
        .order_by(g.remote_id)
        .limit(limit)
    )
    return list(db.execute(query).scalars())


def by_field(db: Connection, connection: str) -> dict[str, tuple[int, int]]:
    """Per field: how many disagreements, and when the oldest was first seen."""
    query = (
        select(g.field, func.count(), func.min(g.first_seen))
        .where(g.connection == connection, g.field != RECORD)
        .group_by(g.field)
    )
    return {row[0]: (int(row[1]), int(row[2])) for row in db.execute(query)}


def of_records(db: Connection) -> dict[str, dict[str, int]]:
    """Per connection: how many records are missing, and how many extra."""
    query = select(g.connection, g.why, func.count()).where(g.field == RECORD).group_by(g.connection, g.why)
    found: dict[str, dict[str, int]] = {}
    for name, why, n in db.execute(query):
        found.setdefault(name, {})[why] = int(n)
    return found


def count_again(db: Connection, connection: str) -> None:
    """Set the counts of mismatches to what is noted now."""
    now = by_field(db, connection)
    for name in db.execute(select(d.field).where(d.connection == connection)).scalars().all():
        where = (d.connection == connection, d.field == name)
        db.execute(update(t.drift).where(*where).values(mismatched=now.get(name, (0, 0))[0]))


def counted(db: Connection, connection: str, run: int, compared: Mapping[str, int]) -> None:
    """Keep what a complete compare counted, in place of what the one before did."""
    now = by_field(db, connection)
    db.execute(delete(t.drift).where(d.connection == connection))
    moment = clock_of(db)
    rows = [
        {
            "connection": connection,
            "field": name,
            "compared": n,
            "mismatched": now.get(name, (0, 0))[0],
            "run": run,
            "at": moment,
        }
        for name, n in sorted(compared.items())
    ]
    if rows:
        db.execute(insert(t.drift), rows)


def measured(db: Connection) -> Sequence[RowMapping]:
    """What the last complete compare of each connection counted, by field, with the oldest first sight."""
    oldest = (
        select(func.min(g.first_seen))
        .where(g.connection == d.connection, g.field == d.field)
        .scalar_subquery()
        .label("oldest")
    )
    return db.execute(select(t.drift, oldest).order_by(d.connection, d.field)).mappings().all()


def compared_at(db: Connection) -> dict[str, int]:
    """When each connection was last compared completely."""
    return {row[0]: int(row[1]) for row in db.execute(select(d.connection, func.max(d.at)).group_by(d.connection))}


def listed(
    db: Connection, connection: str | None, field: str | None, limit: int, after: int | None = None
) -> Sequence[RowMapping]:
    """Disagreements in the order in which they were found, behind the id ``after``."""
    query = select(t.disagreement).order_by(g.id).limit(limit)
    if connection is not None:
        query = query.where(g.connection == connection)
    if field is not None:
        query = query.where(g.field == field)
    if after is not None:
        query = query.where(g.id > after)
    return db.execute(query).mappings().all()


def saw(db: Connection, connection: str, records: Collection[str]) -> int:
    """Remember that a run saw these records; how many of them are new."""
    statement = upsert(db.dialect.name, t.sighting).on_conflict_do_nothing(index_elements=["connection", "remote_id"])
    before = _seen(db, connection, records)
    rows = [{"connection": connection, "remote_id": i} for i in sorted(set(records) - before)]
    if rows:
        db.execute(statement, rows)
    return len(rows)


def _seen(db: Connection, connection: str, records: Collection[str]) -> set[str]:
    found: set[str] = set()
    for chunk in chunks(sorted(set(records))):
        found |= set(
            db.execute(select(v.remote_id).where(v.connection == connection, v.remote_id.in_(chunk))).scalars()
        )
    return found


def forget_sightings(db: Connection, connection: str) -> None:
    """A run is over, or begins."""
    db.execute(delete(t.sighting).where(v.connection == connection))


def links(db: Connection, connection: str, kind: str, made_before: int, after: str, limit: int) -> Sequence[RowMapping]:
    """Links by remote id behind ``after``, each with ``seen``: whether a page of the run held its record.

    Those made after the run began cannot have been on all pages, so they are left out.
    """
    k = t.link.c
    there = select(literal(1)).where(v.connection == k.connection, v.remote_id == k.remote_id).exists()
    query = (
        select(k.remote_id, k.contact_id, case((there, 1), else_=0).label("seen"))
        .where(k.connection == connection, k.kind == kind, k.gone_at.is_(None), k.created_at < made_before)
        .where(k.remote_id > after)
        .order_by(k.remote_id)
        .limit(limit)
    )
    return db.execute(query).mappings().all()


def known(db: Connection, connection: str, kind: str, made_before: int) -> int:
    """How many records are linked, those that are gone aside."""
    k = t.link.c
    query = (
        select(func.count())
        .select_from(t.link)
        .where(k.connection == connection, k.kind == kind, k.gone_at.is_(None), k.created_at < made_before)
    )
    found: int = db.execute(query).scalar_one()
    return found


def left_since(db: Connection, connection: str, kind: str, since: int) -> int:
    """How many records were taken away since ``since``: a list that lacks them is whole all the same."""
    k = t.link.c
    query = (
        select(func.count()).select_from(t.link).where(k.connection == connection, k.kind == kind, k.gone_at >= since)
    )
    found: int = db.execute(query).scalar_one()
    return found


def forget(db: Connection, contacts: Collection[int], records: Mapping[str, Collection[str]]) -> int:
    """Keep nothing of somebody who is erased; how many rows went."""
    gone = 0
    for chunk in chunks(sorted(contacts)):
        gone += db.execute(delete(t.disagreement).where(g.contact_id.in_(chunk))).rowcount
    for name, ids in records.items():
        for part in chunks(sorted(ids)):
            gone += db.execute(delete(t.disagreement).where(g.connection == name, g.remote_id.in_(part))).rowcount
            gone += db.execute(delete(t.sighting).where(v.connection == name, v.remote_id.in_(part))).rowcount
    return gone
