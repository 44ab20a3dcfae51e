"""Dead letters: what was given up, why, and what would help."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, delete, func, insert, select

from app.core import tables as t
from app.core.db import now_ms
from app.records.contacts import chunks

d = t.dead.c

NEXT_STEP: Final = {
    "refused": "correct the value at its source, or the mapping, then retry",
    "invalid": "correct the value at its source, then retry",
    "conflict": "another record at the vendor has this address: merge the two there, then retry",
    "gone": "the record no longer exists at the vendor: restore it there, or leave it",
    "compliance": "the vendor keeps this address from being mailed; only the person can change that there",
    "forgotten": "the vendor erased this person for good; only the person can sign up again there",
    "exhausted": "the vendor failed for the whole retry span: check its status, then retry",
    "merged": "if they are one person, merge the two at the other vendors as well; then discard this letter",
    "ambiguous": "merge the contacts that share the address, then retry",
    "second_record": "two records at the vendor are one person here: merge them at the vendor, then retry",
    "belongs_to_another": "another contact has this address: merge the two or correct it, then retry",
    "error": "this is a defect of Tandem: report it with the reason, then retry after an update",
}


@dataclass(frozen=True, slots=True)
class Letter:
    """One dead letter to write."""

    station: str  # sync or push
    connection: str
    code: str
    reason: str
    contact_id: int | None = None
    event: int | None = None
    field: str | None = None
    attempts: int = 0


def write(db: Connection, letters: Iterable[Letter]) -> None:
    """Store dead letters."""
    rows = [
        {
            "station": letter.station,
            "connection": letter.connection,
            "contact_id": letter.contact_id,
            "event": letter.event,
            "code": letter.code,
            "reason": letter.reason[:1000],
            "next_step": NEXT_STEP.get(letter.code, NEXT_STEP["refused"]),
            "field": letter.field,
            "attempts": letter.attempts,
        }
        for letter in letters
    ]
    if rows:
        db.execute(insert(t.dead).values(at=now_ms()), rows)


def settle(db: Connection, connection: str, contacts: Iterable[int]) -> None:
    """A later write got through: earlier letters of the same link are moot."""
    for chunk in chunks(sorted(contacts)):
        db.execute(delete(t.dead).where(d.contact_id.in_(chunk), d.connection == connection, d.station == "push"))


def gone(db: Connection, connection: str, contacts: Iterable[int]) -> set[int]:
    """Those of the contacts whose record a write did not find any more, which are settled by this: the vendor says so.

    A write may learn of a deletion before the vendor tells it.
    """
    found: set[int] = set()
    for chunk in chunks(sorted(contacts)):
        mine = (d.contact_id.in_(chunk), d.connection == connection, d.station == "push", d.code == "gone")
        found |= {int(i) for i in db.execute(select(d.contact_id).where(*mine)).scalars() if i is not None}
        db.execute(delete(t.dead).where(*mine))
    return found


def counts(db: Connection) -> dict[str, int]:
    """How many dead letters each connection has, where it has any."""
    return {row[0]: row[1] for row in db.execute(select(d.connection, func.count()).group_by(d.connection))}
