"""Merges at rest: which contact stands for which and what it took from it; former ids of records at their vendors."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from sqlalchemy import Connection, RowMapping, insert, select, update

from app.core import tables as t
from app.core.db import now_ms, upsert
from app.core.errors import NotFound
from app.records.contacts import chunks

m, a, c = t.merge.c, t.alias.c, t.contact.c


def enter(db: Connection, winner: int, loser: int, by: str, now: int) -> int:
    """Write down that ``winner`` stands for ``loser`` from now on; the number of the merge."""
    stand_in(db, loser, winner)
    number: int = db.execute(
        insert(t.merge).values(winner=winner, loser=loser, by=by, before={}, links=[], at=now).returning(m.id)
    ).scalar_one()
    return number


def stand_in(db: Connection, contact: int, by: int) -> None:
    """``by`` stands for this contact, which nothing was taken from."""
    db.execute(update(t.contact).where(c.id == contact).values(merged_into=by))


def remember(db: Connection, number: int, before: Mapping[str, Any], links: Iterable[tuple[str, str, str]]) -> None:
    """What it takes to split them again: fields as the winner had them, the loser's records that moved."""
    db.execute(update(t.merge).where(m.id == number).values(before=dict(before), links=[list(k) for k in links]))


def one(db: Connection, number: int) -> RowMapping:
    """One merge, locked.  Raises NotFound."""
    row = db.execute(select(t.merge).where(m.id == number).with_for_update()).mappings().one_or_none()
    if row is None:
        raise NotFound(f"there is no merge {number}; `tandem merges` lists them")
    return row


def undone(db: Connection, number: int, by: str) -> None:
    """It was split."""
    row = db.execute(
        update(t.merge).where(m.id == number).values(split_at=now_ms(), split_by=by).returning(m.loser)
    ).one()
    db.execute(update(t.contact).where(c.id == row.loser).values(merged_into=None))


def never(db: Connection, stays: int, leaves: int, connection: str, by: str, now: int) -> None:
    """Write down that these two were one by a wrong pairing of ``connection``, and who took them apart."""
    values = {"winner": stays, "loser": leaves, "by": connection, "before": {}, "links": [], "at": now}
    db.execute(insert(t.merge).values(**values, split_at=now, split_by=by))


def listed(
    db: Connection, limit: int, before: int | None = None, *, contact: int | None = None
) -> list[dict[str, Any]]:
    """The newest first, below the number ``before``; of one contact only, whichever of the two it is."""
    query = select(m.id, m.winner, m.loser, m.by, m.at, m.split_at, m.split_by).order_by(m.id.desc()).limit(limit)
    if before is not None:
        query = query.where(m.id < before)
    if contact is not None:
        query = query.where((m.winner == contact) | (m.loser == contact))
    return [dict(row) for row in db.execute(query).mappings()]


def standing_for(db: Connection, contact: int) -> int:
    """The contact that stands for this one now: itself, or the end of the chain of merges."""
    return stand_ins(db, [contact]).get(contact, contact)


def stand_ins(db: Connection, contacts: Collection[int]) -> dict[int, int]:
    """Those of the contacts that were merged, each with the one that stands for it now."""
    into: dict[int, int] = {}
    wave = set(contacts)
    while wave:
        wanted, wave = sorted(wave), set()
        for chunk in chunks(wanted):
            query = select(c.id, c.merged_into).where(c.id.in_(chunk), c.merged_into.is_not(None))
            into.update((row.id, row.merged_into) for row in db.execute(query))
        wave = {into[i] for i in wanted if i in into} - set(into)
    found = {}
    for contact in set(contacts) & set(into):
        other, seen = contact, {contact}
        while other in into and into[other] not in seen:
            other = into[other]
            seen.add(other)
        found[contact] = other
    return found


def absorbed(db: Connection, contacts: Collection[int]) -> set[int]:
    """All contacts that these stand for, directly or through others; without these themselves."""
    found: set[int] = set()
    wave = set(contacts)
    while wave:
        wave = {
            i
            for chunk in chunks(sorted(wave))
            for i in db.execute(select(c.id).where(c.merged_into.in_(chunk))).scalars()
        } - found
        found |= wave
    return found - set(contacts)


def alias(db: Connection, connection: str, kind: str, former: str, remote_id: str, now: int) -> None:
    """The vendor merged the record ``former`` into ``remote_id``, or knows it under that id now."""
    statement = upsert(db.dialect.name, t.alias).values(
        connection=connection, kind=kind, former=former, remote_id=remote_id, at=now
    )
    new = statement.excluded
    db.execute(
        statement.on_conflict_do_update(
            index_elements=["connection", "kind", "former"], set_={"remote_id": new.remote_id, "at": new.at}
        )
    )
    # An older alias leads to where the record is now in one step.
    older = (a.connection == connection, a.kind == kind, a.remote_id == former)
    db.execute(update(t.alias).where(*older).values(remote_id=remote_id))


def aliases(db: Connection, connection: str, kind: str, ids: Collection[str]) -> dict[str, str]:
    """Those of the ids that are former ones, each with the id of today."""
    found: dict[str, str] = {}
    for chunk in chunks(sorted(ids)):
        query = select(a.former, a.remote_id).where(a.connection == connection, a.kind == kind, a.former.in_(chunk))
        found.update((row.former, row.remote_id) for row in db.execute(query))
    return found
