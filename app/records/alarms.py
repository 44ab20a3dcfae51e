"""Alarms at rest: what a person should look at, since when, and whether it is over.

One open row for each kind, connection and subject: what is found again moves ``last_seen`` and adds nothing.  A subject
is a field, a vendor's word or nothing; never a person.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from enum import StrEnum
from typing import Final

from sqlalchemy import Connection, RowMapping, delete, select, update

from app.core import tables as t
from app.core.db import now_ms, upsert

NOW = now_ms()
a = t.alarm.c


class Kind(StrEnum):
    """What an alarm is about."""

    DRIFT = "drift"  # the two sides disagree, or one has records that the other lacks
    READ = "read"  # a vendor's answer was not whole: nothing was concluded from it
    FIELD = "field"  # a field is gone, renamed, hidden, or of another type
    SILENCE = "silence"  # no webhook for much longer than usual
    FRESHNESS = "freshness"  # changes land later than promised
    ACCESS = "access"  # a token ends, or was lost: somebody has to connect again
    SLA = "sla"  # leads wait longer than sales and marketing agreed
    WEBHOOK = "webhook"  # the vendor's subscription is missing or switched off
    REST = "rest"  # a connection rests until a person mended something
    VENDOR = "vendor"  # a vendor has been failing for a while
    BRAKE = "brake"  # a mass change waits for a person
    BACKLOG = "backlog"  # events wait, and nobody processes them
    DEAD = "dead"  # something was given up lately
    WITHDRAWAL = "withdrawal"  # somebody objected, and a vendor does not know it yet


SHOWN: Final = frozenset({Kind.REST, Kind.VENDOR, Kind.BRAKE, Kind.BACKLOG, Kind.DEAD})
"""Kinds that repeat what stands elsewhere, for those who look at nothing but alarms."""


def raised(db: Connection, kind: Kind, connection: str, subject: str, words: str) -> bool:
    """Raise an alarm, or see it again; True where it is new."""
    same = (a.kind == str(kind), a.connection == connection, a.subject == subject, a.cleared_at.is_(None))
    known = db.execute(select(a.id).where(*same)).first() is not None  # not by its times: two looks may share one
    values = {"kind": str(kind), "connection": connection, "subject": subject, "words": words[:1000]}
    statement = upsert(db.dialect.name, t.alarm).values(**values, since=NOW, last_seen=NOW)
    statement = statement.on_conflict_do_update(
        index_elements=["kind", "connection", "subject"],
        index_where=a.cleared_at.is_(None),
        set_={"last_seen": statement.excluded.last_seen, "words": statement.excluded.words},
    )
    db.execute(statement)
    return not known


def cleared(db: Connection, kind: Kind, connection: str, subjects: Collection[str] | None = None) -> list[str]:
    """What it was about is mended (None: all of this kind there); the subjects whose alarm was open."""
    where = [a.kind == str(kind), a.connection == connection, a.cleared_at.is_(None)]
    if subjects is not None:
        where.append(a.subject.in_(sorted(subjects)))
    return list(db.execute(update(t.alarm).where(*where).values(cleared_at=NOW).returning(a.subject)).scalars())


def kept(db: Connection, kind: Kind, connection: str, found: dict[str, str]) -> list[str]:
    """Exactly these (subject → words) are wrong now: raise them, clear the rest; the subjects that are new."""
    stale = select(a.subject).where(a.kind == str(kind), a.connection == connection, a.cleared_at.is_(None))
    over = set(db.execute(stale).scalars()) - set(found)
    if over:
        cleared(db, kind, connection, over)
    return [subject for subject, words in sorted(found.items()) if raised(db, kind, connection, subject, words)]


def orphaned(db: Connection, connections: Collection[str]) -> None:
    """Clear alarms of connections that are configured no more: nobody would find them mended."""
    mine = (a.cleared_at.is_(None), a.kind != str(Kind.SLA), a.connection.not_in(sorted(connections)))
    db.execute(update(t.alarm).where(*mine).values(cleared_at=NOW))


def listed(
    db: Connection, *, everything: bool = False, limit: int = 200, before: int | None = None
) -> Sequence[RowMapping]:
    """Alarms, the newest first; ``everything``: those that are over too.  ``before``: only with a lower id."""
    query = select(t.alarm).order_by(a.id.desc()).limit(limit)
    if not everything:
        query = query.where(a.cleared_at.is_(None))
    if before is not None:
        query = query.where(a.id < before)
    return db.execute(query).mappings().all()


def counts(db: Connection) -> dict[tuple[str, str], int]:
    """How many are open, by kind and connection."""
    found: dict[tuple[str, str], int] = {}
    for row in db.execute(select(a.kind, a.connection).where(a.cleared_at.is_(None))):
        found[(row.kind, row.connection)] = found.get((row.kind, row.connection), 0) + 1
    return found


def forget(db: Connection, cutoff: int, limit: int) -> int:
    """Remove alarms that were over before ``cutoff``, at most ``limit``; how many."""
    old = select(a.id).where(a.cleared_at < cutoff).order_by(a.id).limit(limit)
    ids = db.execute(old).scalars().all()
    if ids:
        db.execute(delete(t.alarm).where(a.id.in_(ids)))
    return len(ids)
