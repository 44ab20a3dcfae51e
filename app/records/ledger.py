"""The consent ledger at rest: append, and read by address.  Lines are never changed."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Collection, Iterable

from sqlalchemy import Connection, RowMapping, select

from app.core import tables as t
from app.core.db import dumps, execute_many, upsert
from app.core.words import Channel, Entry, Reason, Status
from app.records.contacts import chunks

c = t.consent.c


def append(db: Connection, entries: Iterable[tuple[Entry, int | None]], now: int) -> None:
    """Store lines, each with the event that brought it; a line that is there already is not stored again."""
    rows = [
        {
            "address": e.address,
            "channel": str(e.channel),
            "purpose": e.purpose,
            "status": str(e.status),
            "reason": str(e.reason),
            "basis": e.basis,
            "source": e.source,
            "actor": e.actor,
            "evidence": dict(e.evidence) if e.evidence else None,
            "event": event,
            "at": e.at,
            "received_at": now,
            "digest": _digest(e),
        }
        for e, event in entries
    ]
    if rows:
        statement = upsert(db.dialect.name, t.consent).on_conflict_do_nothing(index_elements=["digest"])
        execute_many(db, statement, sorted(rows, key=lambda r: str(r["digest"])))


def _digest(e: Entry) -> str:
    parts = [e.address, e.channel, e.purpose, e.status, e.reason, e.basis, e.source, e.actor, dict(e.evidence), e.at]
    return hashlib.sha256(dumps(parts).encode()).hexdigest()


def of_addresses(db: Connection, addresses: Collection[str]) -> dict[str, list[Entry]]:
    """All lines of these addresses, by address, in the order in which they were stored."""
    found: dict[str, list[Entry]] = defaultdict(list)
    for chunk in chunks(sorted(addresses)):
        for row in db.execute(select(t.consent).where(c.address.in_(chunk)).order_by(c.id)).mappings():
            found[row["address"]].append(
                Entry(
                    row["address"],
                    Channel(row["channel"]),
                    row["purpose"],
                    Status(row["status"]),
                    Reason(row["reason"]),
                    row["source"],
                    row["at"],
                    row["basis"],
                    row["evidence"] if row["evidence"] is not None else {},
                    row["actor"],
                )
            )
    return found


def newest_events(db: Connection, addresses: Collection[str]) -> dict[str, int]:
    """Of each of these addresses the event that brought its last line, where one did."""
    found: dict[str, int] = {}
    for chunk in chunks(sorted(addresses)):
        query = select(c.address, c.event).where(c.address.in_(chunk), c.event.is_not(None)).order_by(c.id)
        found |= {row.address: row.event for row in db.execute(query)}
    return found


def newest(db: Connection, addresses: Collection[str], limit: int, before: int | None = None) -> list[RowMapping]:
    """Lines of these addresses as they are kept, the last stored first, below the number ``before``."""
    query = select(t.consent).where(c.address.in_(sorted(addresses))).order_by(c.id.desc()).limit(limit)
    if before is not None:
        query = query.where(c.id < before)
    return list(db.execute(query).mappings()) if addresses else []
