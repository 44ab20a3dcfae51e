"""Retention: what is processed is kept for a while, for replay and for questions, then removed in small batches.

Never what is unprocessed: pending events, parked ones, dead letters and the bytes that belong to them stay.  Row ids
and delivery ids grow with time, so a batch starts at the oldest and ends where time begins to be too near.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from sqlalchemy import Connection as Db
from sqlalchemy import Table, delete, func, select

from app.agreement import keeping, scores
from app.core import tables as t
from app.core.db import Database, clock_of
from app.core.duties import Duty
from app.core.settings import Settings
from app.records import alarms, attempts, audit, engagements, sessions, tokens
from app.sync.connection import Connections

log = structlog.get_logger(__name__)

BATCH = 500  # rows in one transaction
DAY_MS = 86_400_000
EVERY_MS = 3_600_000  # between two rounds
NAME = "prune"
NOBODY = Connections({})
PROCESSED, UNPROCESSED = ("done", "ignored"), ("pending", "parked", "dead")


@dataclass(frozen=True, slots=True)
class Retention:
    """Days for which things are kept; None = for ever."""

    events: int | None = 30
    history: int | None = None
    engagements: int | None = None
    audit: int | None = None


def retention_of(settings: Settings) -> Retention:
    """As the environment says it."""
    return Retention(
        settings.keep_events_days,
        settings.keep_history_days,
        settings.keep_engagements_days,
        settings.keep_audit_days,
    )


@dataclass(frozen=True, slots=True)
class Pruned:
    """How many rows were removed."""

    events: int = 0
    deliveries: int = 0
    history: int = 0
    refusals: int = 0
    engagements: int = 0

    @property
    def total(self) -> int:
        """All of them."""
        return self.events + self.deliveries + self.history + self.refusals + self.engagements


class Prune:
    """The station.  One worker prunes at a time; a step removes one batch of each kind, then rests for an hour."""

    def __init__(
        self,
        database: Database,
        retention: Retention,
        worker: str,
        *,
        lease_ms: int,
        connections: Connections = NOBODY,
    ) -> None:
        self._retention = retention
        self._connections = connections
        self._duty = Duty(database, NAME, worker, self._batch, every_ms=EVERY_MS, lease_ms=lease_ms)

    def step(self) -> int:
        """Remove one batch; how many rows, 0 = nothing (more) to remove in this round."""
        removed = self._duty.step()
        if removed:
            log.info("prune.removed", rows=removed)
        return removed

    def _batch(self, db: Db) -> int:
        return prune(db, self._retention, self._connections).total


def prune(db: Db, retention: Retention, connections: Connections = NOBODY) -> Pruned:
    """Remove one batch of each kind that is older than its retention, in the caller's transaction."""
    now = clock_of(db)
    tokens.forget_late(db)
    sessions.forget(db)
    attempts.forget(db)
    if retention.audit is not None:
        audit.forget(db, now - retention.audit * DAY_MS, BATCH)
    events = deliveries = history = refusals = acts = 0
    if retention.events is not None:
        cutoff = now - retention.events * DAY_MS
        # An act whose contact never came is an event that led to nothing.
        acts += _acts(db, engagements.unclaimed(db, cutoff, BATCH))
        events = _events(db, cutoff)
        deliveries = _deliveries(db, cutoff)
        refusals = _refusals(db, cutoff)
        alarms.forget(db, cutoff, BATCH)
    if retention.history is not None:
        cutoff = now - retention.history * DAY_MS
        history = _history(db, connections, cutoff) + keeping.prune(db, connections, cutoff, BATCH)
    if retention.engagements is not None:
        cutoff = now - retention.engagements * DAY_MS
        old = engagements.old(db, cutoff, BATCH)
        # Or a lead would be judged anew as if nobody had ever called, and the scorecard would forget what brought it.
        whose = engagements.whose(db, old)
        keeping.before(db, connections, whose, cutoff)
        scores.shorten(db, whose, cutoff)
        acts += _acts(db, old)
    return Pruned(events, deliveries, history, refusals, acts)


def everything(database: Database, retention: Retention, connections: Connections = NOBODY) -> Pruned:
    """Remove all that is older than its retention, a batch in each transaction; how many rows."""
    total = Pruned()
    while True:
        step = database.transact(lambda db: prune(db, retention, connections))
        total = Pruned(
            total.events + step.events,
            total.deliveries + step.deliveries,
            total.history + step.history,
            total.refusals + step.refusals,
            total.engagements + step.engagements,
        )
        if step.total == 0:
            return total


def due(db: Db, retention: Retention) -> Pruned:
    """How many rows ``everything`` would remove."""
    i, d, h = t.inbox.c, t.delivery.c, t.history.c
    now = clock_of(db)
    events = deliveries = history = refusals = acts = 0
    g = t.engagement.c
    if retention.events is not None:
        cutoff = now - retention.events * DAY_MS
        acts = db.execute(select(func.count()).where(g.contact_id.is_(None), g.received_at < cutoff)).scalar_one()
        refusals = db.execute(select(func.count()).where(t.refusal.c.stored_at < cutoff)).scalar_one()
        events = db.execute(select(func.count()).where(i.status.in_(PROCESSED), i.done_at < cutoff)).scalar_one()
        needed = select(i.delivery).where(i.status.in_(UNPROCESSED), i.delivery.is_not(None))
        bytes_ = select(func.count()).where(d.id < cutoff << 20, d.id.not_in(needed))
        deliveries = db.execute(bytes_).scalar_one()
    if retention.history is not None:
        past = select(func.count()).where(h.stored_at < now - retention.history * DAY_MS)
        history = db.execute(past).scalar_one()
    if retention.engagements is not None:
        old = select(func.count()).where(g.at < now - retention.engagements * DAY_MS)
        acts += db.execute(old).scalar_one()
    return Pruned(events, deliveries, history, refusals, acts)


def _history(db: Db, connections: Connections, cutoff: int) -> int:
    h = t.history.c
    oldest = db.execute(select(h.id, h.stored_at, h.contact_id).where(h.id > 0).order_by(h.id).limit(BATCH))
    old = [row for row in oldest if row.stored_at < cutoff]
    keeping.before(db, connections, {row.contact_id for row in old}, cutoff)
    return _remove(db, t.history, [row.id for row in old])


def _arrived(db: Db, until: int) -> Iterator[Any]:
    """Events from the oldest on, up to those that came after ``until`` (ms).

    To ask for all that are old enough would read the whole table whenever there are fewer than one asks for.
    """
    i = t.inbox.c
    query = select(i.id, i.status, i.done_at, i.received_at).order_by(i.id).limit(BATCH)
    after = 0
    while rows := db.execute(query.where(i.id > after)).all():
        yield from rows
        if len(rows) < BATCH or rows[-1].received_at >= until:
            return
        after = rows[-1].id


def _events(db: Db, cutoff: int) -> int:
    old = (
        row.id
        for row in _arrived(db, cutoff)
        if row.status in PROCESSED and row.done_at is not None and row.done_at < cutoff
    )
    return _remove(db, t.inbox, list(itertools.islice(old, BATCH)))


def _deliveries(db: Db, cutoff: int) -> int:
    i, d = t.inbox.c, t.delivery.c
    needed = {
        row
        for status in UNPROCESSED  # all that waits, each by the index of its status
        for row in db.execute(select(i.delivery).where(i.status == status, i.delivery.is_not(None))).scalars()
    }
    old = db.execute(select(d.id).where(d.id < cutoff << 20).order_by(d.id).limit(BATCH + len(needed))).scalars()
    return _remove(db, t.delivery, [row for row in old if row not in needed][:BATCH])


def _refusals(db: Db, cutoff: int) -> int:
    """They explain what an event did not change, so they are kept as long as events are."""
    r = t.refusal.c
    old = select(r.connection, r.contact_id, r.field).where(r.stored_at < cutoff).order_by(r.stored_at).limit(BATCH)
    keys = db.execute(old).all()
    for key in keys:
        db.execute(
            delete(t.refusal).where(
                r.connection == key.connection, r.contact_id == key.contact_id, r.field == key.field
            )
        )
    return len(keys)


def _acts(db: Db, ids: Sequence[int]) -> int:
    """Acts and their timeline entries here; the sums stay, which say only how often."""
    if ids:
        db.execute(delete(t.timeline_entry).where(t.timeline_entry.c.engagement_id.in_(ids)))
    return _remove(db, t.engagement, ids)


def _remove(db: Db, table: Table, ids: Sequence[int]) -> int:
    if ids:
        db.execute(delete(table).where(table.c.id.in_(ids)))
    return len(ids)
