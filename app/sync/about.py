"""Events about companies and deals: read each record again, once however many events name it, and store it.

In: rows of the inbox.  Out: companies and deals stored (``app.sync.objects``), the events closed, all in a transaction
that the lease is checked in.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Final

from sqlalchemy import Connection as Db
from sqlalchemy import RowMapping

from app.core import leases
from app.core.db import Database
from app.entry import inbox
from app.records.contacts import chunks
from app.sync import objects
from app.sync.connection import Connection, Connections
from connectors.contract import KINDS, Action, Kind, NeedsHuman, Record, Refused, TryLater

TRIES: Final = 3  # readings of a record that the vendor does not show yet, or cannot show; the next whole walk has it
AGAIN_MS: Final = 60_000  # between two of them
_GONE: Final = frozenset({Action.DELETED, Action.ERASED})


def fetch(
    database: Database,
    connection: Connection,
    connections: Connections,
    kind: Kind,
    rows: Sequence[RowMapping],
    token: str,
) -> None:
    """Read and store what these events of one kind are about.  Raises LeaseLost, and what the vendor's answer means."""
    mapped = connection.map.objects.company if kind is Kind.COMPANY else connection.map.objects.deal
    if mapped is None or KINDS[kind] not in connection.connector.can:
        with database.write() as db:
            inbox.finish(db, [r["id"] for r in rows], "ignored", "the mapping reads none of these")
        return
    found: dict[str, Record] = {}
    ids = sorted({r["ref_value"] for r in rows})
    for part in chunks(ids, connection.connector.limits.read_batch):
        found |= {record.id: record for record in connection.connector.read(kind, part)}
    losers: dict[str, set[str]] = {}
    for row in rows:
        losers.setdefault(row["ref_value"], set()).update(row["losers"] if row["losers"] is not None else ())
    records = [_with(record, losers.get(record.id, set())) for record in found.values() if not record.archived]
    shown = {i for record in records for i in (record.id, *record.former_ids)}

    def work(db: Db) -> None:
        leases.verify(db, f"sync:{connection.name}", token)
        events = {row["ref_value"]: row["id"] for row in rows}
        objects.absorb(db, connection, connections, kind, records, events)
        missing = [row for row in rows if row["ref_value"] not in shown]
        deleted = {row["ref_value"] for row in missing if row["action"] in _GONE}
        objects.gone(db, connection, connections, kind, deleted)
        again = [r for r in missing if r["ref_value"] not in deleted and r["attempts"] < TRIES]
        inbox.postpone(db, [r["id"] for r in again], AGAIN_MS, "the vendor does not show this record", failed=True)
        waits = {r["id"] for r in again}
        inbox.finish(db, [r["id"] for r in rows if r["id"] not in waits], "done")

    database.transact(work)


def failed(database: Database, rows: Sequence[RowMapping], problem: TryLater | NeedsHuman | Refused) -> None:
    """The vendor did not answer: the events wait, a few times; then the next whole walk brings what they told."""
    with database.write() as db:
        over = [r["id"] for r in rows if r["attempts"] >= TRIES]
        inbox.finish(db, over, "ignored", str(problem)[:500])
        inbox.postpone(db, [r["id"] for r in rows if r["attempts"] < TRIES], AGAIN_MS, str(problem), failed=True)


def _with(record: Record, losers: set[str]) -> Record:
    new = losers - {record.id, *record.former_ids}
    return dataclasses.replace(record, former_ids=(*record.former_ids, *sorted(new))) if new else record
