"""Who is in which programme, at rest."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, RowMapping, and_, delete, func, or_, select

from app.core import tables as t
from app.core.db import upsert
from app.records.contacts import chunks

m = t.programme_member.c
KEYS: Final = ("contact_id", "programme", "round")
HINDSIGHT: Final = 86_400_000
"""A membership that became known longer than this (ms) after it began was delivered late: it is not measured."""


def load(db: Connection, contacts: Collection[int]) -> dict[int, list[RowMapping]]:
    """The memberships of these contacts in the order of their start."""
    found: dict[int, list[RowMapping]] = {i: [] for i in contacts}
    for chunk in chunks(sorted(contacts)):
        query = select(t.programme_member).where(m.contact_id.in_(chunk))
        for row in db.execute(query.order_by(m.contact_id, m.enrolled_at, m.programme)).mappings():
            found[row["contact_id"]].append(row)
    return found


def save(db: Connection, rows: Sequence[Mapping[str, Any]], gone: Collection[int]) -> None:
    """Keep these memberships; those with the numbers ``gone`` are shown not to be so.  When one became known stays."""
    for chunk in chunks(sorted(gone)):
        db.execute(delete(t.programme_member).where(m.id.in_(chunk)))
    if rows:
        statement = upsert(db.dialect.name, t.programme_member)
        names = {c.name for c in t.programme_member.c} - {"id", "stored_at", *KEYS}
        statement = statement.on_conflict_do_update(
            index_elements=list(KEYS), set_={n: statement.excluded[n] for n in names}
        )
        db.execute(statement, sorted(rows, key=lambda row: tuple(row[k] for k in KEYS)))


def forget(db: Connection, contacts: Collection[int]) -> None:
    """These contacts are in no programme: another one stands for them, or they are gone."""
    for chunk in chunks(sorted(contacts)):
        db.execute(delete(t.programme_member).where(m.contact_id.in_(chunk)))


def over(db: Connection, cutoff: int, limit: int) -> dict[int, int]:
    """Memberships of which nothing can change after ``cutoff`` (ms since 1970), the oldest first: number → contact."""
    done = or_(m.until.is_(None), m.until <= cutoff, m.reached_at <= cutoff)
    query = select(m.id, m.contact_id).where(m.ended_at <= cutoff, done).order_by(m.id).limit(limit)
    return {row.id: row.contact_id for row in db.execute(query)}


def members(db: Connection, programme: str, *, current: bool, before: int | None, limit: int) -> Sequence[RowMapping]:
    """Memberships of a programme, the newest first, behind a number; ``current``: only those that last."""
    query = select(t.programme_member).where(m.programme == programme)
    if before is not None:
        query = query.where(m.id < before)
    if current:
        query = query.where(m.ended_at.is_(None))
    return db.execute(query.order_by(m.id.desc()).limit(limit)).mappings().all()


@dataclass(frozen=True, slots=True)
class Arm:
    """People of a programme who got it, or of those left without it."""

    enrolled: int = 0  # ever, each person once
    now: int = 0  # at present
    measured: int = 0  # whose time to come to the stage is over, or who came to it
    waiting: int = 0  # whose time is not over
    late: int = 0  # whose enrolment became known late, so that nothing can be measured
    reached: int = 0  # of the measured: came to the stage in time


def known(db: Connection, programme: str) -> bool:
    """Whether anybody is, or was, in a programme of this name."""
    return db.execute(select(m.id).where(m.programme == programme).limit(1)).first() is not None


def arms(db: Connection, now: int, programme: str | None = None) -> dict[tuple[str, bool], Arm]:
    """Programme, held out → figures; ``programme``: only of this one.

    One pass over its memberships: not for the hot path.
    """
    first = m.round == 1
    timely = and_(first, m.until.is_not(None), m.stored_at - m.enrolled_at <= HINDSIGHT)
    over = and_(timely, m.until <= now)
    query = select(
        m.programme,
        m.held_out,
        _count(first).label("enrolled"),
        _count(m.ended_at.is_(None)).label("now"),
        _count(over).label("measured"),
        _count(and_(timely, m.until > now)).label("waiting"),
        _count(and_(first, m.until.is_not(None), m.stored_at - m.enrolled_at > HINDSIGHT)).label("late"),
        _count(and_(over, m.reached_at.is_not(None))).label("reached"),
    ).group_by(m.programme, m.held_out)
    if programme is not None:
        query = query.where(m.programme == programme)
    return {
        (row.programme, bool(row.held_out)): Arm(
            row.enrolled, row.now, row.measured, row.waiting, row.late, row.reached
        )
        for row in db.execute(query)
    }


def _count(condition: Any) -> Any:
    return func.count().filter(condition)
