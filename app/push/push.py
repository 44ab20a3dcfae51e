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
from sqlalchemy import select, update

from app.core import clock
from app.core import tables as t
from app.core.clock import from_ms, to_ms
from app.core.db import Database, now_ms
from app.core.retry import Schedule
from app.core.words import EVERYTHING, Brake, Channel, Entry, Reason, Status, Writes
from app.entry import inbox
from app.push import brake, withheld, work
from app.push.gather import Gathered, gather
from app.push.plan import Held, Planned, held_now, plan
from app.push.work import Leased, Retry
from app.records import dead, ledger, state
from app.records import links as pairs
from app.records.links import Link
from app.sync import consent
from app.sync.connection import Connection, Connections
from connectors._http import until, urgently
from connectors.contract import (
    Action,
    Done,
    Event,
    Exists,
    Failed,
    Gone,
    NeedsHuman,
    Receipt,
    Ref,
    Refused,
    TryLater,
    Verb,
)

log = structlog.get_logger(__name__)

# The pace of a connection: a batch that was not full is followed by a rest that grows with its size, so that a burst is
# gathered into few calls while a single edit travels at once.  A full batch is followed by the next without a rest.
GAP_PER_ROW_MS = 15
GAP_LEAST_MS = 40
GAP_MOST_MS = 1_500
COMPLIANCE = frozenset({"compliance", "forgotten"})  # codes by which a vendor says that it may not mail somebody
EXISTS_TRIES = 5
EXISTS_DELAY_MS = 3_000


@dataclass(slots=True)
class Batch:
    """What one push has in hand."""

    connection: Connection
    token: str
    rows: list[Leased]
    planned: list[Planned] = field(default_factory=list)
    idle: list[int] = field(default_factory=list)  # contacts without a difference
    held: dict[int, Writes] = field(default_factory=dict)  # contacts of whom everything waits for a brake to end
    withheld: set[int] = field(default_factory=set)  # contacts of whom something is not to be written


@dataclass(slots=True)
class _Outcome:
    done: list[int] = field(default_factory=list)
    held: dict[int, Writes] = field(default_factory=dict)
    failed: dict[int, Retry] = field(default_factory=dict)
    letters: list[dead.Letter] = field(default_factory=list)
    looks: list[Event] = field(default_factory=list)
    human: str | None = None
    trouble: str | None = None


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
    ) -> None:
        self._database = database
        self._connections = connections
        self._worker = worker
        self._lease_ms = lease_ms
        self._schedule = schedule
        self._landed = landed
        self._withdrawn = withdrawn
        self._count = count

    def step(self) -> int:
        """Push one batch of the connection that waited longest; how many links were leased, 0 = nothing is due."""
        writable = [c.name for c in self._connections.values() if c.writes]
        if not writable:
            return 0
        with self._database.read() as db:
            if work.pick(db, writable) is None:  # look before taking the write lock
                return 0
        ends = clock.monotonic() + self._lease_ms / 1000
        with self._database.write() as db:
            name = work.pick(db, writable)
            if name is None:
                return 0
            batch = self._lease(db, self._connections[name])
        with until(ends):
            receipts = self._send(batch)
        self._database.transact(lambda db: self._finish(db, batch, receipts))
        return len(batch.rows)

    def _lease(self, db: Db, connection: Connection) -> Batch:
        limit = connection.connector.limits.write_batch
        token, rows = work.lease(db, connection.name, self._worker, limit, self._lease_ms)
        full = len(rows) == limit
        gap = 0 if full else max(GAP_LEAST_MS, min(GAP_MOST_MS, GAP_PER_ROW_MS * len(rows)))
        work.pace(db, connection.name, gap)
        batch = Batch(connection, token, rows)
        found = gather(db, connection, self._connections, [row.contact_id for row in rows])
        batch.withheld = {i for i, known in found.known.items() if known.withheld}
        stopped = brake.on(db, connection.name) if connection.brake is not None else frozenset()
        self._plan(batch, found, stopped)
        if connection.brake is not None and batch.planned:
            self._brake(db, connection, connection.brake, batch, found, stopped)
        return batch

    def _plan(self, batch: Batch, found: Gathered, stopped: Collection[Writes]) -> None:
        batch.planned, batch.idle, batch.held = [], [], {}
        for row in batch.rows:
            contact = found.contacts.get(row.contact_id)
            planned = None
            if contact is not None and contact.id not in found.erased:
                link = found.links.get(contact.id)
                planned = plan(batch.connection, row, contact, link, found.known[contact.id], stopped)
            if planned is None:
                batch.idle.append(row.contact_id)
            elif isinstance(planned, Held):
                batch.held[row.contact_id] = planned.kind
            else:
                batch.planned.append(planned)

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
        stops = brake.too_many(db, connection.name, limits, _first_tries(batch.planned))
        if stops:
            brake.put_on(db, connection.name, stops)
            for stop in stops:
                log.warning("push.brake_on", connection=connection.name, kind=str(stop.kind), why=stop.why)
            self._plan(batch, found, {*stopped, *(stop.kind for stop in stops)})
        brake.count(db, connection.name, limits, _first_tries(batch.planned))

    def _send(self, batch: Batch) -> Sequence[Receipt]:
        if not batch.planned:
            return ()
        orders = [p.order for p in batch.planned]
        name = batch.connection.name
        try:
            # A withdrawal may use the part of the budget that is kept free for it.
            with urgently() if any(p.consents for p in batch.planned) else contextlib.nullcontext():
                receipts = batch.connection.connector.write(orders)
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
        now: int = db.execute(select(now_ms())).scalar_one()
        links = pairs.of_contacts(
            db, connection.name, connection.kind, [p.contact.id for p in batch.planned], lock=True
        )
        mine = work.still(db, connection.name, batch.token, [p.contact.id for p in batch.planned])
        outcome = _Outcome(done=list(batch.idle), held=dict(batch.held))
        for planned, receipt in zip(batch.planned, receipts, strict=True):
            self._count(connection.name, type(receipt).__name__.lower())
            self._one(db, connection, planned, receipt, links.get(planned.contact.id), outcome, now, mine)
        lost = work.complete(db, connection.name, batch.token, outcome.done, outcome.failed, outcome.held)
        if lost:
            log.warning("push.lease_lost", connection=connection.name, links=len(lost))
        dead.write(db, [letter for letter in outcome.letters if letter.contact_id not in lost])
        landed = [p for p, r in zip(batch.planned, receipts, strict=True) if isinstance(r, Done)]
        dead.settle(db, connection.name, [p.contact.id for p in landed])
        for p in landed:
            if p.contact.id in batch.withheld:
                withheld.forget(db, connection.name, p.contact.id, p.sent)
        inbox.store_events(db, [inbox.event_row(connection.name, e, now, None) for e in outcome.looks])
        if outcome.human is not None:
            log.error("push.needs_human", connection=connection.name, reason=outcome.human)
            state.pause(db, connection.name, outcome.human)
        if outcome.trouble is not None:
            state.failing(db, connection.name, outcome.trouble)
        elif landed:
            state.recovered(db, connection.name)
        if landed:
            s = t.connection_state.c
            db.execute(update(t.connection_state).where(s.name == connection.name).values(last_push_at=now))
        for planned in landed:
            self._landed(connection.name, max(0, now - planned.row.since) / 1000)
            if planned.withdrawn:
                self._withdrawn(connection.name, max(0, now - max(planned.withdrawn)) / 1000)

    def _one(
        self,
        db: Db,
        connection: Connection,
        planned: Planned,
        receipt: Receipt,
        link: Link | None,
        out: _Outcome,
        now: int,
        mine: Collection[int],
    ) -> None:
        """What one receipt leads to.  ``mine``: the contacts whose lease still holds."""
        contact_id = planned.contact.id
        match receipt:
            case Done() | Gone() if planned.order.verb is Verb.ARCHIVE:
                self._left(db, link, now)
                out.done.append(contact_id)
            case Done(id=survivor) if planned.order.verb is Verb.MERGE:
                self._left(db, link, now)
                out.looks.append(_look(connection, Ref(survivor), f"merged:{contact_id}:{now}", now))
                out.done.append(contact_id)
            case Done():
                self._landed_at(db, connection, planned, receipt, link, out, now, late=contact_id not in mine)
                if planned.held is not None:
                    out.held[contact_id] = planned.held
                else:
                    out.done.append(contact_id)
            case Exists(ref=ref):
                # Somebody is there already: look, so that the two are paired and merged before anything is written.
                out.looks.append(_look(connection, ref, f"exists:{contact_id}:{planned.row.attempts}:{now}", now))
                if planned.row.attempts < EXISTS_TRIES:
                    out.failed[contact_id] = Retry(
                        EXISTS_DELAY_MS * planned.row.attempts, "already there: looking first"
                    )
                else:
                    self._give_up(
                        out,
                        connection,
                        planned,
                        "conflict",
                        "a record with this key is there, but is not this contact's",
                    )
            case Gone() if link is not None and link.gone_at is not None:
                out.done.append(contact_id)  # the vendor told of the deletion meanwhile
            case Gone() if planned.row.attempts == 1:
                # It may live on under another id (merged, a lead that was converted): look there, then once more.
                if planned.order.id is not None:
                    out.looks.append(_look(connection, Ref(planned.order.id), f"gone:{contact_id}:{now}", now))
                out.failed[contact_id] = Retry(EXISTS_DELAY_MS, "the record is not there: looking where it went")
            case Gone(reason=reason):
                # Not where the lease was lost: nobody would be told, and the vendor's own word would be no news then.
                if link is not None and contact_id in mine:
                    link.gone_at = now
                    pairs.save(db, [link])
                self._give_up(out, connection, planned, "gone", reason)
            case Failed(problem=Refused() as problem):
                if problem.code in COMPLIANCE:
                    self._suppress(db, connection, planned, problem.field, now)
                self._give_up(out, connection, planned, problem.code, str(problem), problem.field)
            case Failed(problem=NeedsHuman() as problem):
                out.human = str(problem)
                out.failed[contact_id] = Retry(1_000, str(problem))
            case Failed(problem=TryLater() as problem):
                out.trouble = str(problem)
                first = planned.row.first_failed_at
                failing = now - first if first is not None else 0
                delay = self._schedule.delay_ms(planned.row.attempts, failing, problem.after)
                if delay is None:
                    self._give_up(out, connection, planned, "exhausted", str(problem))
                else:
                    out.failed[contact_id] = Retry(delay, str(problem))

    def _left(self, db: Db, link: Link | None, now: int) -> None:
        """The record is no more there, as we wanted."""
        if link is not None and link.gone_at is None:
            link.gone_at, link.written_at = now, now
            pairs.save(db, [link])

    def _suppress(self, db: Db, connection: Connection, planned: Planned, name: str | None, now: int) -> None:
        """The vendor keeps this address from being mailed: the other sides have to know.

        ``name``: the vendor's field that it refused; where it is that of one topic, the rest stays as it was.
        """
        rule = next((r for r in connection.map.consents if r.theirs == name), None)
        channel, purpose = (rule.channel, rule.purpose) if rule is not None else (Channel.EMAIL, EVERYTHING)
        address = consent.address(planned.contact.values(), channel)
        if address is None:
            return
        entry = Entry(address, channel, purpose, Status.SUPPRESSED, Reason.COMPLIANCE, connection.name, now)
        ledger.append(db, [(entry, None)], now)
        others = [c.name for c in self._connections.values() if c.name != connection.name and c.map.consents]
        work.mark_at(db, others, (planned.contact.id,), now, lane=0)

    def _give_up(
        self,
        out: _Outcome,
        connection: Connection,
        planned: Planned,
        code: str,
        reason: str,
        name: str | None = None,
    ) -> None:
        out.failed[planned.contact.id] = Retry(None, reason)
        out.letters.append(
            dead.Letter(
                "push",
                connection.name,
                code,
                reason,
                contact_id=planned.contact.id,
                field=name,
                attempts=planned.row.attempts,
            )
        )

    def _landed_at(
        self,
        db: Db,
        connection: Connection,
        planned: Planned,
        receipt: Done,
        link: Link | None,
        out: _Outcome,
        now: int,
        *,
        late: bool,
    ) -> None:
        """Move the shadow to what the vendor holds now.

        ``late``: the lease was lost, so that another worker may have written something newer before this landed.  What
        landed is then believed to stand there all the same: it is ours and no edit of theirs, and since the link is
        dirty again, the newest is brought once more.
        """
        modified = to_ms(receipt.modified) if receipt.modified is not None else None
        held, altered = held_now(connection, planned, receipt)
        if link is None:
            other = pairs.of_records(db, connection.name, connection.kind, [receipt.id], lock=True).get(receipt.id)
            if other is None:
                link = Link(connection.name, connection.kind, receipt.id, planned.contact.id, held, 1, modified, now)
                link.altered = altered if altered else None
                pairs.create(db, [link], now)
            else:
                # The vendor answered with a record that belongs to another contact: look at it, a person may decide.
                out.looks.append(_look(connection, Ref(receipt.id), f"taken:{planned.contact.id}:{now}", now))
            return
        moved_meanwhile = planned.link is None or planned.link.rev != link.rev
        link.written_at = now
        if modified is not None:
            link.modified = modified if link.modified is None else max(modified, link.modified)
        if moved_meanwhile and not late:
            # A reading moved the shadow while our call was under way: only a look can say which came first there.
            out.looks.append(_look(connection, Ref(link.remote_id), f"crossed:{link.rev}:{now}", now))
        else:
            link.shadow = {**link.shadow, **held}
            kept = {n: v for n, v in (link.altered if link.altered is not None else {}).items() if n not in held}
            link.altered = {**kept, **altered} if kept or altered else None
            link.rev += 1
        pairs.save(db, [link])


def _first_tries(planned: Collection[Planned]) -> Counter[Writes]:
    """What a brake counts: a write that is tried again, or that a person let through, is not another one."""
    return Counter(k for p in planned if p.row.attempts <= 1 for k in p.kinds if k is not p.row.let)


def _look(connection: Connection, ref: Ref, why: str, now: int) -> Event:
    return Event(connection.kind, Action.CHANGED, ref, f"look:{why}", from_ms(now))
