"""Proposals at rest: two contacts that may be one person, what speaks for it, and what a person decided.

``different`` is remembered for ever, also for contacts that stand for one of the two.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import Connection, RowMapping, delete, func, or_, select, text, update

from app.core import tables as t
from app.core.db import clock_of, now_ms, upsert
from app.core.errors import NotFound
from app.records.contacts import chunks

p = t.proposal.c
NOW = now_ms()


class Decision(StrEnum):
    """What became of a proposal."""

    OPEN = "open"
    LATER = "later"  # looked at, not decided
    SAME = "same"
    DIFFERENT = "different"


WAITING: Final = (str(Decision.OPEN), str(Decision.LATER))
STILL_WAITS: Final = text("proposal.status IN ('open', 'later')")  # word for word, or its index is not used


@dataclass(frozen=True, slots=True)
class Proposal:
    """Two contacts that may be one person."""

    older: int
    newer: int
    score: float  # log-odds, base 2
    reasons: Sequence[dict[str, Any]] = field(repr=False)  # field, level, weight, words
    source: str = "record"  # record, sweep, or operator
    contradiction: str | None = None


def propose(db: Connection, proposals: Iterable[Proposal]) -> int:
    """Store those that were never proposed before, in either order; how many."""
    rows = {
        (min(one.older, one.newer), max(one.older, one.newer)): {
            "older": min(one.older, one.newer),
            "newer": max(one.older, one.newer),
            "score": one.score,
            "reasons": list(one.reasons),
            "contradiction": one.contradiction,
            "source": one.source,
            "status": str(Decision.OPEN),
        }
        for one in proposals
        if one.older != one.newer
    }
    if not rows:
        return 0
    now = clock_of(db)
    statement = upsert(db.dialect.name, t.proposal).on_conflict_do_nothing(index_elements=["older", "newer"])
    return len(db.execute(statement.returning(p.id), [{**rows[key], "at": now} for key in sorted(rows)]).all())


def undecided(db: Connection, contacts: Collection[int]) -> set[int]:
    """Those of the contacts of whom it is not decided yet whether an older contact is the same person."""
    found: set[int] = set()
    for chunk in chunks(sorted(contacts)):
        query = select(p.newer).where(p.newer.in_(chunk), p.status.in_(WAITING))
        found |= set(db.execute(query).scalars())
    return found


def different(db: Connection, contacts: Collection[int]) -> set[tuple[int, int]]:
    """Pairs with one of these contacts that a person said are two people, as (older, newer)."""
    found: set[tuple[int, int]] = set()
    for chunk in chunks(sorted(contacts)):
        query = select(p.older, p.newer).where(
            or_(p.older.in_(chunk), p.newer.in_(chunk)), p.status == str(Decision.DIFFERENT)
        )
        found |= {(row.older, row.newer) for row in db.execute(query)}
    return found


def one(db: Connection, number: int) -> RowMapping:
    """One proposal, locked.  Raises NotFound."""
    row = db.execute(select(t.proposal).where(p.id == number).with_for_update()).mappings().one_or_none()
    if row is None:
        raise NotFound(f"there is no proposal {number}; `tandem match list` shows those that wait")
    return row


def decided(db: Connection, number: int, decision: Decision, by: str) -> None:
    """Write down what a person decided."""
    db.execute(update(t.proposal).where(p.id == number).values(status=str(decision), decided_at=NOW, decided_by=by))


def settle(db: Connection, one: int, other: int, decision: Decision, by: str) -> None:
    """Write down what was decided about two contacts, whether somebody was asked or not."""
    row = {"older": min(one, other), "newer": max(one, other), "status": str(decision), "decided_by": by}
    statement = upsert(db.dialect.name, t.proposal).values(
        **row, score=0.0, reasons=[], source="operator", at=NOW, decided_at=NOW
    )
    new = statement.excluded
    db.execute(
        statement.on_conflict_do_update(
            index_elements=["older", "newer"],
            set_={"status": new.status, "decided_at": new.decided_at, "decided_by": new.decided_by},
        )
    )


def follow(db: Connection, winner: int, loser: int) -> None:
    """One contact stands for another now: what was asked or decided about it is asked or decided about the one."""
    query = select(t.proposal).where(or_(p.older == loser, p.newer == loser)).order_by(p.id)
    for row in db.execute(query).mappings().all():
        other = row["newer"] if row["older"] == loser else row["older"]
        if other == winner:
            if row["status"] in WAITING:
                decided(db, row["id"], Decision.SAME, "tandem")
            continue
        values = {**row, "older": min(winner, other), "newer": max(winner, other)}
        values.pop("id")
        statement = upsert(db.dialect.name, t.proposal).values(**values)
        if row["status"] == Decision.DIFFERENT:  # stronger than a question that is still open
            statement = statement.on_conflict_do_update(
                index_elements=["older", "newer"],
                set_={n: getattr(statement.excluded, n) for n in ("status", "decided_at", "decided_by")},
            )
        else:
            statement = statement.on_conflict_do_nothing(index_elements=["older", "newer"])
        db.execute(statement)
        if row["status"] in WAITING:
            db.execute(delete(t.proposal).where(p.id == row["id"]))


def forget(db: Connection, contacts: Collection[int]) -> int:
    """Remove everything that was asked or decided about these."""
    ids = sorted(contacts)
    return db.execute(delete(t.proposal).where(or_(p.older.in_(ids), p.newer.in_(ids)))).rowcount


def get(db: Connection, number: int) -> RowMapping | None:
    """One proposal, to be looked at."""
    return db.execute(select(t.proposal).where(p.id == number)).mappings().one_or_none()


def between(db: Connection, one: int, other: int) -> RowMapping | None:
    """The proposal about these two contacts, whatever became of it."""
    query = select(t.proposal).where(p.older == min(one, other), p.newer == max(one, other))
    return db.execute(query).mappings().one_or_none()


def waiting(db: Connection) -> dict[str, int]:
    """How many wait for a person: not looked at yet, and put off."""
    query = select(p.status, func.count()).where(STILL_WAITS).group_by(p.status)
    found = {row[0]: row[1] for row in db.execute(query)}
    return {status: found.get(status, 0) for status in WAITING}


def waiting_of(db: Connection, contact: int, limit: int) -> list[int]:
    """The proposals about a contact that wait for a person, the oldest first."""
    query = select(p.id).where(or_(p.older == contact, p.newer == contact), STILL_WAITS).order_by(p.id).limit(limit)
    return list(db.execute(query).scalars())
