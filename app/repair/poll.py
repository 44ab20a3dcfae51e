"""Poll: the safety net beside webhooks, and the first complete walk of a connection.

Each page becomes events that carry their records; what was seen before, by its modified time, is stored by nobody.
The cursor moves in the same transaction as the page's events, so a killed walk goes on where it was.

A poll that finds what no webhook told is followed by the next one soon, one that finds nothing new by a later one:
between the connection's least and its usual time, twice as long each time.
"""

from __future__ import annotations

import hashlib
from typing import Any

import structlog
from sqlalchemy import Connection as Db
from sqlalchemy import case, func, select, update

from app.core import leases
from app.core import tables as t
from app.core.clock import to_ms
from app.core.db import Database, clock_of, dumps, now_ms, upsert
from app.core.errors import LeaseLost
from app.core.retry import Schedule
from app.entry import inbox
from app.records import state
from app.records.contacts import chunks
from app.sync import matching
from app.sync.connection import Connection, Connections
from connectors.contract import Action, Can, Event, NeedsHuman, Page, Record, Ref, Refused, TryLater

log = structlog.get_logger(__name__)

NOW = now_ms()
s, h = t.connection_state.c, t.rhythm.c
BACKLOG = 5_000  # pending events of a connection above which its walk waits: live changes come first


class Poll:
    """The station.  One worker polls a connection at a time."""

    def __init__(
        self,
        database: Database,
        connections: Connections,
        worker: str,
        *,
        lease_ms: int,
        schedule: Schedule,
    ) -> None:
        self._database = database
        self._connections = connections
        self._worker = worker
        self._lease_ms = lease_ms
        self._schedule = schedule

    def step(self) -> int:
        """Take one page of one connection whose poll is due; how many records it had, 0 = nothing is due."""
        with self._database.read() as db:
            due = self._due(db)
        for name in due:
            connection = self._connections[name]
            with self._database.write() as db:
                token = leases.acquire(db, f"poll:{name}", self._worker, self._lease_ms)
                if token is None:
                    continue
                read_at = clock_of(db)
                cursor = db.execute(select(s.cursor).where(s.name == name)).scalar()
            with leases.holding(self._database, f"poll:{name}", token):
                return self._page(connection, token, cursor, read_at)
        return 0

    def _due(self, db: Db) -> list[str]:
        able = [c.name for c in self._connections.values() if Can.CHANGED in c.connector.can]
        i = t.inbox.c
        rows = db.execute(
            select(s.name).where(s.name.in_(able), s.paused == 0, s.poll_due_at <= NOW).order_by(s.poll_due_at, s.name)
        ).scalars()
        found = []
        for name in rows.all():
            # Counts at most BACKLOG + 1 rows of the pending index.
            some = select(i.id).where(i.connection == name, i.status == "pending").limit(BACKLOG + 1).subquery()
            if db.execute(select(func.count()).select_from(some)).scalar_one() <= BACKLOG:
                found.append(name)
        return found

    def _page(self, connection: Connection, token: str, cursor: str | None, read_at: int) -> int:
        try:
            page = connection.connector.changed(connection.kind, cursor)
        except (TryLater, NeedsHuman, Refused) as problem:
            self._fail(connection, problem)
            return 0

        def work(db: Db) -> None:
            leases.verify(db, f"poll:{connection.name}", token)
            rows = [inbox.event_row(connection.name, e, read_at, None) for e in _events(connection, page)]
            gap = _gap(db, connection, page, {str(r["dedupe"]) for r in rows})
            inbox.store_events(db, sorted(rows, key=lambda r: str(r["dedupe"])))
            values: dict[str, Any] = {"cursor": page.cursor, "polled_at": NOW}
            # Of the first walk only: how far it is.
            first = s.walked_at.is_(None)
            seen = len(page.records)
            values["walk_began_at"] = case((first, func.coalesce(s.walk_began_at, read_at)), else_=s.walk_began_at)
            values["walk_read"] = s.walk_read + case((first, seen), else_=0)
            if page.total is not None:
                values["walk_total"] = case((first, page.total), else_=s.walk_total)
            if page.more:
                values["poll_due_at"] = NOW
            else:
                values["poll_due_at"] = NOW + gap
                values["walked_at"] = func.coalesce(s.walked_at, NOW)
            db.execute(update(t.connection_state).where(s.name == connection.name).values(**values))
            state.recovered(db, connection.name)

        try:
            self._database.transact(work)
        except LeaseLost:
            log.warning("poll.lease_lost", connection=connection.name)
            return 0
        return max(1, len(page.records)) if page.more else len(page.records)

    def _fail(self, connection: Connection, problem: TryLater | NeedsHuman | Refused) -> None:
        log.warning("poll.failed", connection=connection.name, problem=type(problem).__name__, reason=str(problem))
        with self._database.write() as db:
            if isinstance(problem, NeedsHuman):
                state.pause(db, connection.name, str(problem))
                return
            state.failing(db, connection.name, str(problem))
            row = db.execute(select(s.failing_since, NOW).where(s.name == connection.name)).one()
            attempts = 1 + (row[1] - row[0]) // 60_000
            after = problem.after if isinstance(problem, TryLater) else None
            delay = self._schedule.delay_ms(attempts, 0, after)
            db.execute(
                update(t.connection_state)
                .where(s.name == connection.name)
                .values(poll_due_at=NOW + (delay if delay is not None else 60_000))
            )


def _gap(db: Db, connection: Connection, page: Page, dedupes: set[str]) -> int:
    """How long to wait after a walk that ends with this page, ms; keeps the gap, and what no webhook had told."""
    usual = int(connection.poll_seconds * 1000)
    least = min(usual, connection.watch.poll_least_ms)
    row = db.execute(select(h.poll_gap).where(h.connection == connection.name)).one_or_none()
    before = row.poll_gap if row is not None and row.poll_gap is not None else usual
    missed = _missed(db, connection, page, dedupes)
    # 0 marks a walk under way that has found something.
    gap = 0 if missed or before == 0 else before
    if not page.more:
        gap = least if gap == 0 else min(usual, 2 * gap)
    statement = upsert(db.dialect.name, t.rhythm).values(
        connection=connection.name, state={}, read_to=0, poll_gap=gap, missed=missed, hooks_due_at=0
    )
    statement = statement.on_conflict_do_update(
        index_elements=["connection"], set_={"poll_gap": gap, "missed": h.missed + missed}
    )
    db.execute(statement)
    return max(least, gap)


def _missed(db: Db, connection: Connection, page: Page, dedupes: set[str]) -> int:
    """How many records of a page are news that no webhook told: not known as they are, and no event waits for them."""
    i, k = t.inbox.c, t.link.c
    if db.execute(select(s.walked_at).where(s.name == connection.name)).scalar() is None:
        return 0  # the first walk: everything is news
    known: set[str] = set()
    for chunk in chunks(sorted(dedupes)):
        known |= set(db.execute(select(i.dedupe).where(i.connection == connection.name, i.dedupe.in_(chunk))).scalars())
    rows = {r.id: r for r in page.records if not r.archived and _dedupe(r) not in known}
    for chunk in chunks(sorted(rows)):
        links = select(k.remote_id, k.modified).where(
            k.connection == connection.name, k.kind == connection.kind, k.remote_id.in_(chunk)
        )
        for link in db.execute(links):
            modified = rows[link.remote_id].modified
            if link.modified is not None and modified is not None and to_ms(modified) <= link.modified:
                del rows[link.remote_id]
    names = {r.id: r.id for r in rows.values()}
    for r in rows.values():
        claim = connection.map.read(r.fields).claim
        names |= {key.value: r.id for key in matching.keys_of(claim, connection.map.keys)}
    for chunk in chunks(sorted(names)):
        told = select(i.ref_value).where(i.connection == connection.name, i.status == "pending", i.ref_value.in_(chunk))
        for value in db.execute(told).scalars():
            rows.pop(names[value], None)
    return len(rows)


def _dedupe(record: Record) -> str:
    """As ``inbox.event_row`` writes it."""
    moment = to_ms(record.modified) if record.modified is not None else None
    return _seen(record) if moment is None else f"{moment:012x} {_seen(record)}"


def _events(connection: Connection, page: Page) -> list[Event]:
    events = [
        Event(connection.kind, Action.CHANGED, Ref(r.id), _seen(r), r.modified, record=r)
        for r in page.records
        if not r.archived
    ]
    events += [
        Event(connection.kind, Action.DELETED, Ref(i), f"poll:{i}:gone:{page.cursor}", None) for i in page.deleted
    ]
    return events


def _seen(record: Record) -> str:
    """Equal for two readings of an unchanged record.

    The fields, and what the record is associated with, are part of it: some vendors count whole seconds, and computed
    fields move no modified time at all.  So are former ids: a merge, or a lead's conversion, may change nothing else of
    the record that lives on.
    """
    said: dict[str, Any] = dict(record.fields)
    if record.ties:
        said["ties"] = {str(kind): [[tie.id, tie.main, tie.role] for tie in ties] for kind, ties in record.ties.items()}
    shown = dumps(said) + (dumps(sorted(record.former_ids)) if record.former_ids else "")
    digest = hashlib.sha256(shown.encode()).hexdigest()[:16]
    moment = to_ms(record.modified) if record.modified is not None else ""
    return f"poll:{record.id}:{moment}:{digest}"
