"""Timeline: writes acts that other connections told as readable entries, each once.

Only where the mapping asks for it (``engagement: timeline:``) and the connection is live.  The attempt is counted
before the call is made, so that after a crash the connector is told to look first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import structlog
from sqlalchemy import RowMapping

from app.core import leases
from app.core.clock import from_ms
from app.core.db import Database, clock_of
from app.core.retry import Schedule
from app.core.words import Mode
from app.push import readable
from app.records import contacts as people
from app.records import links as pairs
from app.records import state, timelines
from app.sync.connection import Connection, Connections
from connectors.contract import Can, Done, Failed, Kind, NeedsHuman, Note, Receipt, Refused, TryLater

log = structlog.get_logger(__name__)

MOST: Final = 20  # entries in one go
NO_RECORD_MS: Final = 3_600_000  # until an entry is looked at again whose contact has no record there yet
GIVEN_UP_MS: Final = 7 * 86_400_000  # after this long nobody needs it any more


class Timeline:
    """The station.  One worker writes the entries of a connection at a time."""

    def __init__(
        self, database: Database, connections: Connections, worker: str, *, lease_ms: int, schedule: Schedule
    ) -> None:
        self._database = database
        self._connections = connections
        self._worker = worker
        self._lease_ms = lease_ms
        self._schedule = schedule

    def step(self) -> int:
        """Write some entries of one connection; how many were due, 0 = none."""
        able = [c for c in self._connections.values() if c.mode is Mode.LIVE and Can.TIMELINE in c.connector.can]
        able = [c for c in able if c.map.objects.engagement is not None and c.map.objects.engagement.timeline]
        if not able:
            return 0
        with self._database.read() as db:
            resting = state.paused(db)
            waiting = [c for c in able if c.name not in resting and timelines.due(db, c.name, 1)]
        for connection in waiting:
            lease = f"timeline:{connection.name}"
            with self._database.write() as db:
                token = leases.acquire(db, lease, self._worker, self._lease_ms)
                if token is None:
                    continue
                rows, ids = self._take(db, connection)
            with leases.holding(self._database, lease, token):
                return self._write(connection, rows, ids)
        return 0

    def _take(self, db: Any, connection: Connection) -> tuple[Sequence[RowMapping], dict[int, str]]:
        most = min(MOST, connection.connector.limits.write_batch)
        rows = timelines.due(db, connection.name, most)
        links = pairs.of_contacts(db, connection.name, Kind.CONTACT, {r["contact_id"] for r in rows})
        ids = {contact: link.remote_id for contact, link in links.items() if link.gone_at is None}
        now = clock_of(db)
        held = people.load(db, ids) if connection.only_out.where else {}
        outside = {i for i, contact in held.items() if not connection.only_out.fits(contact.values())}
        for row in rows:
            if row["contact_id"] in outside:
                why = "the connection is not about such contacts (only: out)"
                timelines.failed(db, connection.name, row["engagement_id"], None, why)
            elif row["contact_id"] not in ids:
                delay = NO_RECORD_MS if row["at"] > now - GIVEN_UP_MS else None
                timelines.failed(db, connection.name, row["engagement_id"], delay, "the contact has no record there")
        ids = {contact: remote_id for contact, remote_id in ids.items() if contact not in outside}
        mine = [row for row in rows if row["contact_id"] in ids]
        timelines.taken(db, connection.name, [row["engagement_id"] for row in mine], self._lease_ms)
        return rows, ids

    def _write(self, connection: Connection, rows: Sequence[RowMapping], ids: dict[int, str]) -> int:
        mine = [row for row in rows if row["contact_id"] in ids]
        notes = [
            Note(
                key=f"{row['connection']}:{row['remote_id']}",
                id=ids[row["contact_id"]],
                at=from_ms(row["at"]),
                text=readable.entry(dict(row)),
                again=row["attempts"] > 0,
            )
            for row in mine
        ]
        try:
            receipts = connection.connector.note(notes) if notes else []
        except (TryLater, NeedsHuman, Refused) as problem:
            receipts = [Failed(note.key, problem) for note in notes]
        with self._database.write() as db:
            for row, receipt in zip(mine, receipts, strict=True):
                self._settle(db, connection, row, receipt)
        return len(rows)

    def _settle(self, db: Any, connection: Connection, row: RowMapping, receipt: Receipt) -> None:
        number = row["engagement_id"]
        if isinstance(receipt, Done):
            timelines.written(db, connection.name, number, receipt.id)
        elif isinstance(receipt, Failed) and isinstance(receipt.problem, TryLater):
            now = clock_of(db)
            delay = self._schedule.delay_ms(row["attempts"] + 1, now - row["received_at"], receipt.problem.after)
            timelines.failed(db, connection.name, number, delay, str(receipt.problem))
        elif isinstance(receipt, Failed) and isinstance(receipt.problem, NeedsHuman):
            # The right to write entries is apart from that for contacts: the connection goes on.
            timelines.failed(db, connection.name, number, NO_RECORD_MS, str(receipt.problem))
        else:
            reason = str(receipt.problem) if isinstance(receipt, Failed) else "the record is not there"
            timelines.failed(db, connection.name, number, None, reason)
