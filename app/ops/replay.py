"""Replay: events that were closed become pending again, so that their records are read once more.

In: which events.  Out: the same events, pending and due now, and a run that says how far it is.  A replay is harmless:
a record that did not change meanwhile ends as an echo.  What cannot be replayed is what names no record: a delivery
that could not be read.  Runs go on where they were after a crash, since position and events move in one transaction.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any, Final

import structlog
from sqlalchemy import ColumnElement, RowMapping, Select, and_, case, delete, false, func, insert, or_, select, update
from sqlalchemy import Connection as Db

from app.core import tables as t
from app.core.clock import to_ms
from app.core.db import Database, clock_of, now_ms, ring
from app.core.errors import NotFound
from app.core.words import Station
from app.ops.arrival import TROUBLE, being, span
from app.records import contacts as people
from app.records import links as pairs
from app.sync import matching
from app.sync.connection import Connections
from connectors.contract import Can

log = structlog.get_logger(__name__)

KIND: Final = "replay"
CLOSED: Final = ("done", "ignored", "dead", "parked")  # the statuses from which an event may come back
BATCH: Final = 500  # events made pending in one transaction
LOOK: Final = 2_000  # events looked at for them
COUNT: Final = 10_000  # events looked at in one step of counting
BACKLOG: Final = 5_000  # pending events of a connection above which a run waits: live changes come first
RUNS: Final = 20  # runs looked at in one step

NOW = now_ms()
i, r, d, s = t.inbox.c, t.run.c, t.dead.c, t.connection_state.c


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run has to do, and where it is: first counting, then replaying, pass by pass in the order of ids."""

    connection: str | None
    since: int | None  # ms since 1970, inclusive
    until: int | None  # exclusive
    status: tuple[str, ...]
    asked_at: int  # an event closed after it is none of this run's
    first: int  # ids in [first, last) may fit
    last: int
    contact: int | None = None  # only events about a record of this one
    counted: bool = False
    at: int = 0  # the pass it is in
    event: int = 0  # the pass got to this id

    @property
    def passes(self) -> tuple[tuple[str, ...], ...]:
        """Statuses that are looked for together: the rare ones have an index, all others are one walk by id."""
        if set(self.status) <= TROUBLE:
            return tuple((one,) for one in self.status)
        return (self.status,)

    def beyond(self, event: int | None) -> Plan:
        """The plan behind an event; None: behind the pass."""
        return replace(self, event=event) if event is not None else replace(self, at=self.at + 1, event=0)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Plan:
        """The plan of a run's params.  Raises TypeError, KeyError or IndexError for those of another version."""
        plan = cls(**{**data, "status": tuple(data["status"])})
        plan.passes[plan.at]
        return plan


class Replay:
    """The station."""

    def __init__(self, database: Database, connections: Connections) -> None:
        self._database = database
        self._connections = connections

    def start(
        self,
        *,
        connection: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        status: Collection[str] = CLOSED,
        contact: int | None = None,
    ) -> int:
        """Begin a run over the events received in [``since``, ``until``); its id.  ``contact``: only its records'.

        Raises NotFound for an unknown connection or contact and ValueError for a status that cannot be replayed.
        """
        if connection is not None:
            self._connections[connection]  # raises NotFound
        strange = sorted(set(status) - set(CLOSED))
        if strange or not status:
            raise ValueError(f"status {', '.join(strange) or 'missing'}: replayable are {', '.join(CLOSED)}")

        def work(db: Db) -> int:
            if contact is not None and contact not in people.load(db, [contact]):
                raise NotFound(f"there is no contact {contact}")
            first, last = span(db, since, until)
            plan = Plan(
                connection=connection,
                since=to_ms(since) if since is not None else None,
                until=to_ms(until) if until is not None else None,
                contact=contact,
                status=tuple(one for one in CLOSED if one in status),
                asked_at=clock_of(db),
                first=first,
                last=last,
            )
            total = 0
            for _ in plan.passes:  # where there is little, the total is known at once
                if not plan.counted:
                    found, plan = self._count(db, plan)
                    total += found
            values = {
                "kind": KIND,
                "params": asdict(plan),
                "status": "running",
                "total": total,
                "done": 0,
                "started_at": NOW,
            }
            ring(db, Station.REPLAY)
            number: int = db.execute(insert(t.run).values(**values).returning(r.id)).scalar_one()
            return number

        number = self._database.transact(work)
        log.info("replay.started", run=number, connection=connection)
        return number

    def step(self) -> int:
        """Take the next batch of the oldest run that can go on; how much was done, 0 = nothing to do now."""
        running = select(r.id, r.params).where(r.kind == KIND, r.status == "running").order_by(r.id).limit(RUNS)
        with self._database.read() as db:  # runs are few: operators start them
            ready = [row.id for row in db.execute(running) if not self._flooded(db, row.params.get("connection"))]
        for number in ready:
            did = self._database.transact(partial(self._batch, number))
            if did:
                return did
        return 0

    def _batch(self, number: int, db: Db) -> int:
        query = select(r.params, r.done, r.total).where(r.id == number, r.status == "running")
        row = db.execute(query.with_for_update(skip_locked=True)).one_or_none()
        if row is None:
            return 0  # another process has it in hand, or has ended it
        try:
            plan = Plan.from_json(row.params)
        except (TypeError, KeyError, IndexError) as error:
            log.error("replay.unreadable", run=number, error=type(error).__name__)
            values = {"status": "failed", "error": "written by another version of Tandem", "ended_at": NOW}
            db.execute(update(t.run).where(r.id == number).values(**values))
            return 1
        if not plan.counted:
            found, plan = self._count(db, plan)
            db.execute(update(t.run).where(r.id == number).values(params=asdict(plan), total=row.total + found))
            return 1
        letters = "dead" in plan.passes[plan.at]
        ids, plan = self._next(db, plan)
        done = row.done + requeue(db, ids, letters=letters)
        values = {"params": asdict(plan), "done": done, "total": max(row.total, done)}
        if plan.at == len(plan.passes):
            values |= {"status": "done", "total": done, "ended_at": NOW}
            log.info("replay.done", run=number, events=done)
        db.execute(update(t.run).where(r.id == number).values(**values))
        return max(1, len(ids))

    def _next(self, db: Db, plan: Plan) -> tuple[list[int], Plan]:
        """The next events, and the plan behind them.  Looks at a bounded number of rows, whatever fits."""
        rows = db.execute(self._look(db, plan).limit(LOOK)).all()
        ids: list[int] = []
        for row in rows:
            if row.fits:
                ids.append(row.id)
            if len(ids) == BATCH:
                return ids, plan.beyond(row.id)
        return ids, plan.beyond(rows[-1].id if len(rows) == LOOK else None)

    def _count(self, db: Db, plan: Plan) -> tuple[int, Plan]:
        """How many events of the next piece fit, and the plan behind it.  Looks at a bounded number of rows."""
        rows = self._look(db, plan).limit(COUNT).subquery()
        found = select(func.count(), func.coalesce(func.sum(rows.c.fits), 0), func.max(rows.c.id))
        looked, fits, last = db.execute(found.select_from(rows)).one()
        plan = plan.beyond(last if looked == COUNT else None)
        if plan.at == len(plan.passes):
            plan = replace(plan, counted=True, at=0, event=0)
        return int(fits), plan

    def _look(self, db: Db, plan: Plan) -> Select[Any]:
        """The events behind the plan's position in the order of ids; ``fits``: 1 where the plan wants them."""
        wanted = [i.status.in_(plan.status), self._readable(plan.connection)]
        # An event closed later was replayed by this run, or is processed anyway.
        wanted.append(or_(i.done_at.is_(None), i.done_at <= plan.asked_at))
        if plan.since is not None:
            wanted.append(i.received_at >= plan.since)
        if plan.until is not None:
            wanted.append(i.received_at < plan.until)
        if plan.contact is not None:
            wanted.append(_about(db, plan.contact))
        query = select(i.id, case((and_(*wanted), 1), else_=0).label("fits")).order_by(i.id)
        query = query.where(i.id > plan.event, i.id >= plan.first, i.id < plan.last)
        this = plan.passes[plan.at]
        return query.where(being(this[0])) if len(this) == 1 and this[0] in TROUBLE else query

    def _readable(self, connection: str | None) -> ColumnElement[bool]:
        """The event names a record that its connection can read back."""
        mine = [one for one in self._connections.values() if connection is None or one.name == connection]
        read = [one.name for one in mine if Can.READ in one.connector.can]
        find = [one.name for one in mine if Can.FIND in one.connector.can]
        return or_(
            and_(i.ref_key == "id", i.connection.in_(read)),
            and_(i.ref_key.not_in(["id", ""]), i.connection.in_(find)),
        )

    def _flooded(self, db: Db, connection: str | None) -> bool:
        """Whether a connection that works has more to do already than a replay should add to."""
        names = [connection] if connection is not None else list(self._connections)
        working = db.execute(select(s.name).where(s.name.in_(names), s.paused == 0)).scalars().all()
        for name in working:
            some = select(i.id).where(i.connection == name, i.status == "pending").limit(BACKLOG + 1).subquery()
            if db.execute(select(func.count()).select_from(some)).scalar_one() > BACKLOG:
                return True
        return False


def _about(db: Db, contact: int) -> ColumnElement[bool]:
    """The event names a record of the contact, by its id or by an address."""
    held = people.load(db, [contact]).get(contact)
    if held is None:
        return false()  # erased meanwhile
    mine = [and_(i.connection == k.connection, i.ref_value == k.remote_id) for k in pairs.of_contact(db, contact)]
    addresses = sorted(matching.addresses(held.values()))
    return or_(i.ref_value.in_(addresses), *(and_(i.ref_key == "id", one) for one in mine))


def obstacle(connections: Connections, event: RowMapping) -> str | None:
    """Why an event (its status, connection, action, ref_key) cannot be replayed; None where it can."""
    name = event["connection"]
    if event["status"] == "pending":
        return "it waits to be processed already"
    if not event["ref_key"] and event["status"] == "ignored":
        return "it was about somebody who was erased: nothing of it is kept"
    if not event["ref_key"]:
        return (
            "it names no record: its delivery could not be read, and delivering the kept bytes again would be refused "
            "as too old.  The next poll reads what changed; the bytes are there for a look with ?raw=true"
        )
    if name not in connections:
        return f"its connection {name} is not configured any more"
    connector = connections[name].connector
    needed = Can.READ if event["ref_key"] == "id" else Can.FIND
    if needed not in connector.can:
        return f"connector {connector.name} cannot read a record back by {event['ref_key']}"
    return None


def requeue(db: Db, ids: Sequence[int], *, letters: bool = True) -> int:
    """Make closed events pending and due now; how many were.  ``letters``: their dead letters are moot, so they go."""
    if not ids:
        return 0
    values = {
        "status": "pending",
        "due_at": NOW,
        "attempts": 0,
        "first_failed_at": None,
        "error": None,
        "record": None,
        "done_at": None,
    }
    mine = i.id.in_(sorted(ids))
    query = update(t.inbox).where(mine, i.status.in_(CLOSED)).values(**values).returning(i.id, i.connection)
    back = db.execute(query).all()
    ring(db, Station.FETCH)
    if letters and back:
        names, moved = sorted({row.connection for row in back}), sorted(row.id for row in back)
        db.execute(delete(t.dead).where(d.connection.in_(names), d.station == "sync", d.event.in_(moved)))
    return len(back)
