"""Push: lease dirty links of one connection, read the newest contacts, send ONE batch of differences, finish.

Level-triggered: what is sent is the difference between the contact now and the shadow, however many changes led there.
No difference, no call.  Success moves the shadow; failure says what happens next, per record.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

import structlog
from sqlalchemy import Connection as Db

from app.core import clock
from app.core.db import Database, clock_of
from app.core.retry import Schedule
from app.core.trace import OFF, Trace
from app.core.words import LANES, Brake, Waits, Writes
from app.entry import inbox
from app.push import brake, telling, trust, withheld, work
from app.push.gather import Gathered, gather
from app.push.plan import Held, Planned, objections, plan
from app.push.settling import COMPLIANCE, Outcome, Settle
from app.push.trust import Trust
from app.push.work import Leased
from app.records import dead, state
from app.records import links as pairs
from app.sync import unnoted
from app.sync.connection import Connection, Connections
from connectors._http import until, urgently
from connectors.contract import (
    Action,
    Can,
    Done,
    Event,
    Failed,
    NeedsHuman,
    Receipt,
    Ref,
    Refused,
    TryLater,
)

log = structlog.get_logger(__name__)

# The pace of a connection: a batch that was not full is followed by a rest that grows with its size, so that a burst is
# gathered into few calls while a single edit travels at once.  A full batch is followed by the next without a rest.
TOGETHER = 3  # tries of a batch that fails as a whole with an error of the server, before it is cut
GAP_PER_ROW_MS = 15
GAP_LEAST_MS = 40
GAP_MOST_MS = 1_500
REST_MOST_MS = (
    1_000  # a vendor that has nobody in now is not asked for each of its batches, and gets no thread meanwhile
)


@dataclass(slots=True)
class Batch:
    """What one push has in hand."""

    connection: Connection
    token: str
    rows: list[Leased]
    planned: list[Planned] = field(default_factory=list)
    idle: list[int] = field(default_factory=list)  # contacts without a difference
    held: dict[int, Writes | Waits] = field(default_factory=dict)  # contacts of whom everything waits, and for what
    withheld: set[int] = field(default_factory=set)  # contacts of whom something is not to be written
    trust: Trust = field(default_factory=Trust)
    doubts: dict[int, Event | None] = field(default_factory=dict)  # contacts whose records are looked at first
    alone: list[tuple[Planned, Done]] = field(default_factory=list)  # objections that landed without the rest


class Push:
    """The station.

    ``landed(connection, seconds)`` measures freshness, ``withdrawn`` the same of withdrawals, from when they were made;
    ``count(connection, receipt)`` counts receipts.
    """

    def __init__(
        self,
        database: Database,
        connections: Connections,
        worker: str,
        *,
        lease_ms: int,
        schedule: Schedule,
        landed: Callable[[str, float], None] = lambda _connection, _seconds: None,
        withdrawn: Callable[[str, float], None] = lambda _connection, _seconds: None,
        count: Callable[[str, str], None] = lambda _connection, _outcome: None,
        trace: Trace = OFF,
    ) -> None:
        self._trace = trace
        self._database = database
        self._connections = connections
        self._worker = worker
        self._lease_ms = lease_ms
        self._settle = Settle(connections, schedule)
        self._landed = landed
        self._withdrawn = withdrawn
        self._count = count
        self._headcount = brake.Headcount()
        self._up_to_date = False
        self._held_up = False
        self._told: list[str] = []
        self._creating = False  # whether every connection was seen to be read completely

    def step(self, lanes: Sequence[int] = LANES) -> int:
        """Push one batch of the connection that waited longest; how many links were leased, 0 = nothing is due.

        ``lanes``: of work, the first one first.  A thread that takes withdrawals only has none of the batches in hand
        that they would have to wait for.
        """
        if not self._creating:  # whether or not anything is written: the end of reading is noted here
            self._creating = trust.begin(self._database, self._connections)
        writable = [c.name for c in self._connections.values() if c.writes]
        if not writable or self._restored():
            return 0
        alone = self._database.dialect == "sqlite"  # it has one writer at a time
        if alone:
            with self._database.read() as db:
                if work.pick(db, writable, lanes, self._connections) is None:  # look before taking the write lock
                    return 0
        ends = clock.monotonic() + self._lease_ms / 1000
        with self._database.write() as db:
            name = work.pick(db, writable, lanes, self._connections)
            if name is None:
                return 0
            take = self._lease if alone else self._take
            batch = take(db, self._connections[name], lanes)
        if not batch.rows:  # another worker was quicker
            return 0
        if not alone:
            # Not in the transaction that leases: what that locks, all workers of the connection wait for.
            try:
                self._database.transact(lambda db: self._prepare(db, batch))
            except Exception:
                with self._database.write() as db:
                    work.release(db, batch.token)
                raise
        with self._trace.batch("push", name):
            with until(ends):
                receipts = self._protected(batch, self._send(batch))
            self._database.transact(lambda db: self._finish(db, batch, receipts))
            if self._trace.on:
                with self._database.read() as db:
                    steps = telling.steps(db, list(zip(batch.planned, receipts, strict=True)))
                self._trace.steps("receipt", name, steps)
        return len(batch.rows)

    def _restored(self) -> bool:
        """Whether the store is an old copy, and not every connection was read up to the present since."""
        if self._up_to_date:
            return False
        readable = [c.name for c in self._connections.values() if Can.CHANGED in c.connector.can]
        with self._database.read() as db:
            behind, still = state.behind(db, readable)
        if behind and behind != self._told:
            log.warning("push.waits_after_restore", not_read_yet=behind)
        self._told = behind
        if not still:
            if self._held_up:
                with self._database.write() as db:
                    state.caught_up(db)
            self._up_to_date = True  # a restore asks that no process runs: it cannot happen behind our back
        self._held_up = self._held_up or still
        return bool(behind)

    def _lease(self, db: Db, connection: Connection, lanes: Sequence[int] = LANES) -> Batch:
        """A batch that is ready to be sent."""
        batch = self._take(db, connection, lanes)
        self._prepare(db, batch)
        return batch

    def _take(self, db: Db, connection: Connection, lanes: Sequence[int] = LANES) -> Batch:
        """Lease what is due and let the connection rest."""
        limit = connection.connector.limits.write_batch
        token, rows = work.lease(db, connection.name, self._worker, limit, self._lease_ms, lanes)
        if rows:
            gap = 0 if len(rows) == limit else max(GAP_LEAST_MS, min(GAP_MOST_MS, GAP_PER_ROW_MS * len(rows)))
            work.pace(db, connection.name, gap)
        return Batch(connection, token, rows)

    def _prepare(self, db: Db, batch: Batch) -> None:
        """Read the newest contacts and plan what to send."""
        connection = batch.connection
        found = gather(db, connection, self._connections, [row.contact_id for row in batch.rows])
        batch.withheld = {i for i, known in found.known.items() if known.withheld}
        batch.doubts = self._doubts(db, batch, found)
        batch.trust = trust.of(db, connection, self._connections, batch.rows, found)
        stopped = brake.on(db, connection.name) if connection.brake is not None else frozenset()
        self._plan(batch, found, stopped)
        if connection.brake is not None and batch.planned:
            work.alone(db, connection.name)  # two batches, each within the limit, must not exceed it together
            if stopped != (now := brake.on(db, connection.name)):
                stopped = now
                self._plan(batch, found, stopped)
            self._brake(db, connection, connection.brake, batch, found, stopped)

    def _plan(self, batch: Batch, found: Gathered, stopped: Collection[Writes]) -> None:
        batch.planned, batch.idle, batch.held = [], [], {}
        for row in batch.rows:
            contact = found.contacts.get(row.contact_id)
            planned = None
            if contact is not None and contact.id not in found.erased:
                link, waits = found.links.get(contact.id), batch.trust.waits(contact.id)
                planned = plan(batch.connection, row, contact, link, found.known[contact.id], stopped, waits)
            if row.contact_id in batch.doubts and not (isinstance(planned, Planned) and planned.consents):
                continue  # an objection waits for nothing, and ends no doubt
            if planned is None:
                batch.idle.append(row.contact_id)
            elif isinstance(planned, Held):
                batch.held[row.contact_id] = planned.kind
            else:
                batch.planned.append(planned)

    def _doubts(self, db: Db, batch: Batch, found: Gathered) -> dict[int, Event | None]:
        """Contacts whose records are looked at before anything more is written, with the look; None: it is under way.

        After every try of which nobody knows what came of it, where it may have brought what the contact said for a
        moment: nothing would ever be written about that again.  The next try asks for a look, and the one after it
        waits for it: a write that is noted ends what is known of the one before.
        """
        retried = [row for row in batch.rows if row.attempts > 1 and row.contact_id not in found.erased]
        suspects = [
            (link, contact)
            for row in retried
            if (contact := found.contacts.get(row.contact_id)) is not None
            if (link := found.links.get(row.contact_id)) is not None and link.gone_at is None
        ]
        if not suspects:
            return {}
        doubted = unnoted.doubts(db, batch.connection, suspects)
        looks = {row.contact_id: _look(row) for row in retried if row.contact_id in doubted}
        became = inbox.statuses(db, batch.connection.name, looks.values())
        doubts: dict[int, Event | None] = {}
        for contact_id, why in looks.items():
            if why not in became:  # also where the one that was to ask for it died before
                remote = found.links[contact_id].remote_id
                doubts[contact_id] = Event(batch.connection.kind, Action.CHANGED, Ref(remote), why, None)
            elif became[why] == "pending":
                doubts[contact_id] = None
        return doubts

    def _brake(
        self,
        db: Db,
        connection: Connection,
        limits: Brake,
        batch: Batch,
        found: Gathered,
        stopped: Collection[Writes],
    ) -> None:
        """Count what is about to be written for the first time; where that is too much, stop its kind first."""
        stops = brake.too_many(db, connection.name, limits, _first_tries(batch.planned), self._headcount)
        if stops:
            brake.put_on(db, connection.name, stops)
            for stop in stops:
                log.warning("push.brake_on", connection=connection.name, kind=str(stop.kind), why=stop.why)
            self._plan(batch, found, {*stopped, *(stop.kind for stop in stops)})
        brake.count(db, connection.name, limits, _first_tries(batch.planned))

    def _send(self, batch: Batch) -> Sequence[Receipt]:
        if not batch.planned:
            return ()
        receipts = self._write(batch.connection, batch.planned)
        tries = min(p.row.attempts for p in batch.planned)
        if tries < TOGETHER or not _fell_together(receipts):
            return receipts
        # Its orders say by now that they may have been carried out before: saying them again makes nobody twice.
        return self._halved(batch.connection, batch.planned, receipts, 2 * tries)[0]

    def _halved(
        self, connection: Connection, planned: Sequence[Planned], receipts: Sequence[Receipt], calls: int
    ) -> tuple[Sequence[Receipt], int]:
        """Write a batch that fell as a whole in halves, to find the one record that fells the others.

        ``calls``: as many more at most, so that a vendor that is down hears little of it.  The receipts, and what is
        left of the calls.
        """
        if len(planned) < 2 or calls < 2:
            return receipts, calls
        middle = len(planned) // 2
        told: list[Receipt] = []
        calls -= 2
        halves = [(part, self._write(connection, part)) for part in (planned[:middle], planned[middle:])]
        for part, found in halves:
            if _fell_together(found):
                found, calls = self._halved(connection, part, found, calls)  # noqa: PLW2901 - the better answer
            told += found
        return told, calls

    def _protected(self, batch: Batch, receipts: Sequence[Receipt]) -> Sequence[Receipt]:
        """Say objections by themselves where the orders that they were part of were refused, e.g. for an address.

        The receipts, where such an objection has to be tried again that of the try: then all of it is tried again.
        """
        refused = {}
        for at, (planned, receipt) in enumerate(zip(batch.planned, receipts, strict=True)):
            if isinstance(receipt, Failed) and isinstance(receipt.problem, Refused):
                alone = None if receipt.problem.code in COMPLIANCE else objections(batch.connection, planned)
                if alone is not None:
                    refused[at] = alone
        if not refused:
            return receipts
        told = list(receipts)
        for (at, alone), receipt in zip(
            refused.items(), self._write(batch.connection, list(refused.values())), strict=True
        ):
            if isinstance(receipt, Done):
                batch.alone.append((alone, receipt))
            elif isinstance(receipt, Failed) and not isinstance(receipt.problem, Refused):
                told[at] = Failed(told[at].key, receipt.problem)
        return told

    def _write(self, connection: Connection, planned: Sequence[Planned]) -> Sequence[Receipt]:
        orders = [p.order for p in planned]
        name = connection.name
        try:
            # A withdrawal may use the part of the budget that is kept free for it.
            with urgently() if any(p.consents for p in planned) else contextlib.nullcontext():
                receipts = connection.connector.write(orders)
        except (TryLater, NeedsHuman, Refused) as problem:
            return [Failed(o.key, problem) for o in orders]
        except Exception as error:  # noqa: BLE001 - a defect of a connector must not stop the worker, nor lose the rows
            log.error("push.connector_failed", connection=name, error=type(error).__name__)
            defect = TryLater(f"{type(error).__name__} in the connector", landed=True)
            return [Failed(o.key, defect) for o in orders]
        if [r.key for r in receipts] != [o.key for o in orders]:
            log.error("push.receipts_do_not_match", connection=name, orders=len(orders), receipts=len(receipts))
            mismatch = TryLater("the connector's receipts do not match its orders", landed=True)
            return [Failed(o.key, mismatch) for o in orders]
        return receipts

    def _finish(self, db: Db, batch: Batch, receipts: Sequence[Receipt]) -> None:
        connection = batch.connection
        now = clock_of(db)
        links = pairs.of_contacts(
            db, connection.name, connection.kind, [p.contact.id for p in batch.planned], lock=True
        )
        mine = work.still(db, connection.name, batch.token, [p.contact.id for p in batch.planned])
        paired = list(zip(batch.planned, receipts, strict=True))
        met = {r.id for p, r in paired if isinstance(r, Done) and p.contact.id not in links}
        there = pairs.of_records(db, connection.name, connection.kind, met, lock=True)
        outcome = Outcome(done=list(batch.idle), held=dict(batch.held), there=there)
        for planned, receipt in paired:
            self._count(connection.name, type(receipt).__name__.lower())
            self._settle.one(db, connection, planned, receipt, links.get(planned.contact.id), outcome, now, mine)
        for alone, done in batch.alone:
            link = links.get(alone.contact.id)
            if link is not None:
                late = alone.contact.id not in mine
                self._settle.landed_at(connection, alone, done, link, outcome, now, late=late)
        self._settle.doubtful(batch.doubts, outcome)
        pairs.create(db, outcome.created.values(), now)
        pairs.save(db, outcome.changed.values())
        lost = work.complete(
            db, connection.name, batch.token, outcome.done, outcome.failed, outcome.held, batch.trust.names
        )
        if lost:
            log.warning("push.lease_lost", connection=connection.name, links=len(lost))
        dead.write(db, [letter for letter in outcome.letters if letter.contact_id not in lost])
        landed = [p for p, r in paired if isinstance(r, Done)]
        dead.settle(db, connection.name, [p.contact.id for p in landed])
        for p in landed:
            if p.contact.id in batch.withheld:
                withheld.forget(db, connection.name, p.contact.id, p.sent)
        if batch.trust.approved:
            over = {letter.contact_id: trust.FAILED for letter in outcome.letters if letter.contact_id is not None}
            over |= {p.contact.id: trust.WRITTEN for p in landed if p.held is None}
            trust.settle(db, connection.name, {n: how for n, how in over.items() if n in batch.trust.approved})
        inbox.store_events(db, [inbox.event_row(connection.name, e, now, None) for e in outcome.looks])
        if outcome.human is not None:
            log.error("push.needs_human", connection=connection.name, reason=outcome.human)
            state.pause(db, connection.name, outcome.human)
        rest = _rest(receipts)
        if rest:
            work.pace(db, connection.name, rest)
        if outcome.trouble is not None:
            state.failing(db, connection.name, outcome.trouble)
        if landed:
            state.pushed(db, connection.name, now, recovered=outcome.trouble is None)
        for planned in landed:
            self._landed(connection.name, max(0, now - planned.row.since) / 1000)
        for planned in (*landed, *(alone for alone, _ in batch.alone)):
            if planned.withdrawn:
                self._withdrawn(connection.name, max(0, now - max(planned.withdrawn)) / 1000)


def _look(row: Leased) -> str:
    """The key of the look that a doubt of this try asks for, or that it waits for: one for every two tries.

    Not by ``since``, which becomes another one when an older change turns up.
    """
    return f"look:doubt:{row.contact_id}:{row.first_failed_at}:{row.attempts // 2}"


def _first_tries(planned: Collection[Planned]) -> Counter[Writes]:
    """What a brake counts: a write that is tried again, or that a person let through, is not another one."""
    return Counter(k for p in planned if p.row.attempts <= 1 for k in p.kinds if k is not p.row.let)


def _rest(receipts: Sequence[Receipt]) -> int:
    """For how many ms nothing more is worth sending: the whole batch was put off, and it was said for how long."""
    waits = [r.problem.after for r in receipts if isinstance(r, Failed) and isinstance(r.problem, TryLater)]
    if len(waits) < len(receipts):
        return 0
    return min([REST_MOST_MS, *(int(wait.total_seconds() * 1000) for wait in waits if wait)]) if any(waits) else 0


def _fell_together(receipts: Sequence[Receipt]) -> bool:
    """Whether an error of the server, or no whole answer, was the end of all of them."""
    problems = [r.problem for r in receipts if isinstance(r, Failed)]
    return len(problems) == len(receipts) and all(
        isinstance(p, TryLater) and p.landed and p.after is None for p in problems
    )
