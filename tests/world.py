"""A small world: vendors that live in dicts, and the stations stepped by hand on a real database.

Nothing here sleeps: what waits for its time is made due by hand.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import select, update

from app.agreement.leads import Leads
from app.core import tables as t
from app.core.db import Database, clock_of, now_ms
from app.core.retry import Schedule
from app.core.words import Brake, Canary, Deletes, Likeness, Mode, Waits
from app.entry import inbox
from app.push import trust
from app.push.push import Push
from app.push.timeline import Timeline
from app.push.work import FAR
from app.records import state
from app.repair.erase import Erase
from app.repair.poll import Poll
from app.repair.reconcile import Reconcile
from app.repair.rounds import Rounds
from app.sync import mapping
from app.sync.connection import Connection, Connections
from app.sync.fetch import Fetch
from connectors.contract import (
    Action,
    Can,
    Connector,
    Done,
    Event,
    Exists,
    Failed,
    Gone,
    Kind,
    Limits,
    Order,
    Page,
    Receipt,
    Record,
    Ref,
    Refused,
    Side,
    TryLater,
    Verb,
)

NOW = now_ms()
START = datetime(2026, 1, 1, tzinfo=UTC)

MAPPING = """
version: 1
connector: {name}
keys: [email]
fields:
  email: {{theirs: mail, winner: crm, clear: ignored, required: true, read: [lower_email], write: [lower_email]}}
  given_name: {{theirs: first, winner: crm, clear: ignored}}
  family_name: {{theirs: last, winner: newest, clear: allowed}}
  city: {{theirs: town, winner: marketing, clear: allowed}}
  job_title: {{theirs: job, winner: fill, clear: allowed}}
  company_name: {{theirs: firm, winner: newest, clear: ignored, max_length: 12}}
"""

MAPPED = ("mail", "first", "last", "town", "job", "firm")


class Vendor(Connector):
    """A vendor that lives in a dict.  One record per address; every write moves its modified time."""

    name = "vendor"
    side = Side.CRM
    can = frozenset({Can.READ, Can.FIND, Can.CHANGED, Can.WRITE, Can.ARCHIVE, Can.ERASE})
    limits = Limits(read_batch=3, find_batch=3, write_batch=4)
    settings = ()
    hosts = frozenset()
    page = 5  # records of one page of ``changed``

    def __init__(self, label: str, clock: itertools.count[int]) -> None:
        http: Any = None
        super().__init__({}, http)
        self.label = label
        self.clock = clock
        self.ids = itertools.count(1)
        self.records: dict[str, Record] = {}
        self.calls: list[list[Order]] = []
        self.events: list[Event] = []  # happenings not delivered yet
        self.compliance = False  # whether it refuses to subscribe anybody
        self.fail_next: list[str] = []  # "before", "after": how the next writes end

    def put(self, record_id: str | None, fields: Mapping[str, Any]) -> str:
        """Change or create a record, as a person there would; returns its id."""
        if record_id is None:
            record_id = f"{self.label}{next(self.ids)}"
        before = self.records[record_id].fields if record_id in self.records else {}
        after = {**before, **fields}
        moment = START + timedelta(seconds=next(self.clock))
        self.records[record_id] = Record(Kind.CONTACT, record_id, after, moment)
        self.events.append(
            Event(Kind.CONTACT, Action.CHANGED, Ref(record_id), f"{self.label}:{len(self.events)}:{moment}", moment)
        )
        return record_id

    def remove(self, record_id: str) -> Record:
        """Delete a record, as a person there would; ``restore`` takes what it returns."""
        record = self.records.pop(record_id)
        self._tell(Action.DELETED, record_id)
        return record

    def restore(self, record: Record) -> None:
        """Bring a deleted record back."""
        self.records[record.id] = record
        self._tell(Action.RESTORED, record.id)

    def _tell(self, action: Action, record_id: str) -> None:
        moment = START + timedelta(seconds=next(self.clock))
        dedupe = f"{self.label}:{action}:{record_id}:{moment}"
        self.events.append(Event(Kind.CONTACT, action, Ref(record_id), dedupe, moment))

    def merge(self, winner: str, loser: str, *, into: str | None = None) -> None:
        """Merge two records, as a person there would; ``into``: some vendors make a new record of the two."""
        gone, kept = self.records.pop(loser), self.records[winner]
        moment = START + timedelta(seconds=next(self.clock))
        fields = {**gone.fields, **{k: v for k, v in kept.fields.items() if v is not None}}
        former = (*gone.former_ids, *kept.former_ids, loser)
        if into is not None:
            del self.records[winner]
            former = (*former, winner)
        target = into if into is not None else winner
        self.records[target] = Record(Kind.CONTACT, target, fields, moment, former_ids=former)
        losers = (loser,) if into is None else (loser, winner)
        event = Event(Kind.CONTACT, Action.MERGED, Ref(target), f"{self.label}:merge:{moment}", moment, losers=losers)
        self.events.append(event)

    def holder(self, mail: str) -> Record | None:
        """Who has this address; vendors compare addresses without regard to case."""
        found = (r for r in self.records.values() if str(r.fields.get("mail")).lower() == mail.lower())
        return next(found, None)

    def read(self, kind: Kind, ids: Sequence[str]) -> Sequence[Record]:
        assert len(ids) <= self.limits.read_batch
        return [self.records[i] for i in ids if i in self.records]

    def find(self, kind: Kind, key: str, values: Sequence[str]) -> Sequence[Record]:
        assert len(values) <= self.limits.find_batch
        return [r for v in values if (r := self.holder(v)) is not None]

    def changed(self, kind: Kind, cursor: str | None) -> Page:
        everything = sorted(self.records.values(), key=lambda r: (r.modified, r.id))
        start = int(cursor) if cursor is not None else 0
        page = everything[start : start + self.page]
        more = start + self.page < len(everything)
        return Page(tuple(page), str(start + self.page) if more else "0", more, total=len(everything))

    def write(self, orders: Sequence[Order]) -> Sequence[Receipt]:
        assert len(orders) <= self.limits.write_batch
        self.calls.append(list(orders))
        ending = self.fail_next.pop(0) if self.fail_next else "ok"
        if ending == "before":
            raise TryLater("no answer")
        receipts = [self._one(o) for o in orders]
        if ending == "after":
            raise TryLater("no answer", landed=True)
        return receipts

    def _one(self, order: Order) -> Receipt:
        mail = order.fields.get("mail")
        holder = self.holder(mail) if mail is not None else None
        if order.fields.get("mailing") == "yes" and self.compliance:
            return Failed(order.key, Refused("this address may not be mailed", code="compliance", field="mailing"))
        if order.fields.get("last") == "REFUSE":
            return Failed(order.key, Refused("this name is not taken here", code="invalid", field="last"))
        if order.verb is Verb.CREATE:
            if holder is not None:
                return Exists(order.key, Ref(holder.id))
            record_id = self.put(None, order.fields)
        else:
            assert order.id is not None
            if order.id not in self.records:
                return Gone(order.key, "no such record")
            if order.verb in {Verb.ARCHIVE, Verb.ERASE}:
                self.remove(order.id)
                return Done(order.key, order.id)
            if holder is not None and holder.id != order.id:
                return Failed(order.key, Refused("another record has this address", code="conflict", field="mail"))
            record_id = order.id
            self.put(record_id, order.fields)
        record = self.records[record_id]
        return Done(order.key, record_id, record, record.modified)


_mapping = functools.cache(mapping.loads)


class World:
    """Vendors, a database and the stations between them."""

    def __init__(
        self,
        database: Database,
        sides: Mapping[str, Side],
        *,
        mapping_text: str = MAPPING,
        likeness: Likeness = Likeness.OFF,
        first_read: bool = True,
        vendor: type[Vendor] = Vendor,
    ) -> None:
        """``first_read`` False: no connection has been read completely yet, so that nobody is created."""
        self.database = database
        self.clock = itertools.count(1)
        self.vendors = {name: vendor(name, self.clock) for name in sides}
        self.likeness = likeness
        self.connections = Connections(
            {
                name: Connection(
                    name, side, Mode.LIVE, self.vendors[name], _mapping(mapping_text.format(name=name), name)
                )
                for name, side in sides.items()
            },
            likeness=likeness,
        )
        with database.write() as db:
            state.ensure(db, self.connections)
            if first_read:
                db.execute(update(t.connection_state).values(walked_at=NOW, first_read_at=NOW))
        self.start()

    def trusted(self, **modes: Mode | Canary) -> None:
        """Set the modes of connections; a canary by its records."""
        for name, mode in modes.items():
            how = {"mode": Mode.CANARY, "canary": mode} if isinstance(mode, Canary) else {"mode": mode}
            changed = dataclasses.replace(self.connections[name], **how)  # type: ignore[arg-type]
            self.connections = Connections({**self.connections, name: changed}, likeness=self.likeness)
        self.start()

    def grant(self, name: str) -> None:
        """Let a connection's evidence lift withdrawals."""
        connections = {n: dataclasses.replace(c, may_grant=n == name) for n, c in self.connections.items()}
        self.connections = Connections(connections, likeness=self.likeness)
        self.start()

    def deletes(self, **policies: tuple[str, str]) -> None:
        """Set the policies of connections: ``in``, ``out``."""
        for name, (inward, outward) in policies.items():
            changed = dataclasses.replace(
                self.connections[name], deletes_in=Deletes(inward), deletes_out=Deletes(outward)
            )
            self.connections = Connections({**self.connections, name: changed}, likeness=self.likeness)
        self.start()

    def brake(self, **brakes: Brake) -> None:
        """Set the brakes of connections."""
        for name, limits in brakes.items():
            changed = dataclasses.replace(self.connections[name], brake=limits)
            self.connections = Connections({**self.connections, name: changed}, likeness=self.likeness)
        self.start()

    def start(self) -> None:
        """(Re)start the stations, as a new process would."""
        trust.awake(self.database, Waits.MODE, [c.name for c in self.connections.values() if c.writes])
        schedule = Schedule(random=lambda a, _b: a)
        args: Any = (self.database, self.connections, "test")
        self.fetch = Fetch(*args, lease_ms=60_000, schedule=schedule)
        self.push = Push(*args, lease_ms=60_000, schedule=schedule)
        self.poll = Poll(*args, lease_ms=60_000, schedule=schedule)
        self.erase = Erase(*args, lease_ms=60_000, schedule=schedule)
        self.rounds = Rounds(*args, lease_ms=60_000, schedule=schedule)
        self.timeline = Timeline(*args, lease_ms=60_000, schedule=schedule)
        self.leads = Leads(*args, lease_ms=60_000)
        self.reconcile = Reconcile(*args, lease_ms=60_000, schedule=schedule, recent_ms=0, patience_ms=0)

    def deliver(self, name: str, events: Sequence[Event] | None = None) -> None:
        """Deliver events of a vendor; None = all that happened."""
        vendor = self.vendors[name]
        if events is None:
            events, vendor.events = vendor.events, []
        if not events:
            return
        with self.database.write() as db:
            now = clock_of(db)
            inbox.store_events(db, [inbox.event_row(name, e, now, None) for e in events])

    def due(self) -> None:
        """Let everything that waits for its time be due, dead workers' leases included."""
        with self.database.write() as db:
            db.execute(update(t.connection_state).values(next_at=0, poll_due_at=0))
            db.execute(
                update(t.work).where(t.work.c.due_at < FAR).values(due_at=0)
            )  # but for what a person has to decide
            db.execute(update(t.inbox).values(due_at=0))
            db.execute(update(t.erasure).values(due_at=0))
            db.execute(update(t.erasure_step).values(due_at=0))

    def settle(self, *, webhooks: bool = True, steps: int = 400) -> int:
        """Step until nothing is left to do; how many write calls it took.  Raises where it does not come to rest."""
        before = sum(len(v.calls) for v in self.vendors.values())
        for _ in range(steps):
            self.due()
            if webhooks:
                for name in self.vendors:
                    self.deliver(name)
            if not (self.fetch.step() or self.leads.step() or self.push.step() or self.erase.step()):
                return sum(len(v.calls) for v in self.vendors.values()) - before
        raise AssertionError("it does not come to rest")

    def walk(self) -> None:
        """Poll every connection completely, once."""
        c = t.connection_state.c
        with self.database.write() as db:
            db.execute(update(t.connection_state).values(cursor=None, poll_due_at=2**60))
        for name in self.vendors:
            while True:
                with self.database.write() as db:
                    db.execute(update(t.connection_state).where(c.name == name).values(poll_due_at=0))
                self.poll.step()
                with self.database.read() as db:
                    if db.execute(select(c.cursor).where(c.name == name)).scalar_one() == "0":
                        break

    def rows(self, table: Any) -> list[Any]:
        """All rows of a table."""
        with self.database.read() as db:
            return list(db.execute(select(table)).all())

    def people(self, name: str) -> dict[str, dict[str, Any]]:
        """A vendor's records by address, mapped fields only, cleared ones as None."""
        return {
            r.fields["mail"]: {f: r.fields.get(f) for f in MAPPED}
            for r in self.vendors[name].records.values()
            if r.fields.get("mail") is not None
        }
