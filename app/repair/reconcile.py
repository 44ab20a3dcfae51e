"""Reconcile: compare every record of a vendor with what this store holds for it, and repair through the usual path.

A run walks the vendor's own list, page by page, at the ordinary share of its rate, and lets live changes go first.
Position, counts and findings of a page move in one transaction, so a killed run goes on where it was, and memory does
not grow with the number of records.  Phases: walk, then what the list lacked (believed only after ``verified`` and a
look by id, and only ever reported), then, if asked, the repair: a record read again by its id goes to the inbox as an
arrival, like what a poll finds, and the contact is marked.  Then what was repaired is compared once more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, Final

import structlog
from sqlalchemy import Connection as Db
from sqlalchemy import select, update

from app.core import leases
from app.core import tables as t
from app.core.db import Database, clock_of, now_ms
from app.core.errors import LeaseLost
from app.core.retry import Schedule
from app.entry import inbox
from app.push import work
from app.records import alarms, drift, state
from app.records import links as pairs
from app.repair import comparing, runs, verified
from app.repair.runs import AGAIN, DONE, KIND, LACKED, REPAIR, WALK, Plan
from app.sync import hiding
from app.sync.connection import Connection, Connections
from connectors.contract import Action, Event, NeedsHuman, Record, Ref, Refused, TryLater

log = structlog.get_logger(__name__)

LINKS: Final = 2_000  # links looked at in one step, when it is asked what the list lacked
RECENT_MS: Final = 60_000  # what changed at the vendor within this time may have its webhook on the way
PATIENCE_MS: Final = 60_000  # how long a page waits for live changes at most
SETTLE_MS: Final = 600_000  # how long the second compare waits for what the repair set going
AFTER_MS: Final = 15_000  # a contact whose record has to be read first is written after that
LOOK_MS: Final = 30_000  # between looks for runs that are due

NOW = now_ms()
r, w = t.run.c, t.work.c


class Reconcile:
    """The station.  One run at a time moves, whichever process does it."""

    def __init__(
        self,
        database: Database,
        connections: Connections,
        worker: str,
        *,
        lease_ms: int,
        schedule: Schedule,
        recent_ms: int = RECENT_MS,
        patience_ms: int = PATIENCE_MS,
    ) -> None:
        self._database = database
        self._connections = connections
        self._worker = worker
        self._lease_ms = lease_ms
        self._schedule = schedule
        self.recent_ms = recent_ms
        self.patience_ms = patience_ms
        self._paged_at = 0
        self._looked_at = 0

    # --- stepping -----------------------------------------------------------------------------------------------------

    def step(self) -> int:
        """Take the next step of the oldest run that can go on; how much was done, 0 = nothing to do now."""
        with self._database.read() as db:
            now = clock_of(db)
            resting = state.paused(db)
            under_way = [(row["id"], row["params"]) for row in runs.running(db)]
            ready = [
                number
                for number, params in under_way
                if params.get("connection") not in resting
                and params.get("wait_until", 0) <= now
                and not self._waits(db, params.get("connection", ""), now)
            ]
        if not under_way and now - self._looked_at > LOOK_MS:
            self._looked_at = now
            self._database.transact(lambda db: runs.begin_due(db, self._connections))
        if not ready:
            return 0
        with self._database.write() as db:
            token = leases.acquire(db, KIND, self._worker, self._lease_ms)
        if token is None:
            return 0
        try:
            self._paged_at = now
            with leases.holding(self._database, KIND, token):
                return self._go_on(ready[0], token)
        except LeaseLost:
            log.warning("reconcile.lease_lost", run=ready[0])
            return 0

    def _waits(self, db: Db, name: str, now: int) -> bool:
        """Live changes go first; a page is taken all the same once they have kept it waiting for long enough."""
        if now - self._paged_at >= self.patience_ms:
            return False
        due = select(w.contact_id).where(w.connection == name, w.due_at <= NOW).limit(1)
        return bool(inbox.waiting(db, [name])) or db.execute(due).first() is not None

    def _go_on(self, number: int, token: str) -> int:
        with self._database.read() as db:
            row = db.execute(select(t.run).where(r.id == number)).mappings().one()
        try:
            plan = Plan.from_json(row["params"])
            connection = self._connections[plan.connection]
        except (TypeError, KeyError):
            self._end(number, token, "written by another version of Tandem, or for a connection that is gone")
            return 1
        steps = {WALK: self._walk, LACKED: self._lacked, REPAIR: self._repair, AGAIN: self._again}
        try:
            return steps[plan.phase](number, token, connection, plan)
        except (TryLater, NeedsHuman, Refused) as problem:
            return self._fail(number, token, connection, plan, problem)

    def _walk(self, number: int, token: str, connection: Connection, plan: Plan) -> int:
        with self._database.read() as db:
            read_at = clock_of(db)
        page = connection.connector.changed(connection.kind, plan.cursor)

        def work_(db: Db) -> None:
            leases.verify(db, KIND, token)
            found = comparing.page(db, connection, self._connections, page.records, read_at, self.recent_ms)
            drift.note(db, connection.name, number, found.found)
            drift.still(db, connection.name, number, found.in_flight)
            new = drift.saw(db, connection.name, [r.id for r in page.records])
            drift.saw(db, connection.name, [i for r in page.records for i in r.former_ids])
            totals = (*plan.totals[:1], page.total) if page.total is not None else plan.totals
            after = replace(
                plan,
                cursor=page.cursor,
                phase=WALK if page.more else LACKED,
                seen=plan.seen + new,
                blocked=plan.blocked + found.blocked,
                in_flight=plan.in_flight + len(found.in_flight),
                totals=totals,
                compared=_sum(plan.compared, found.compared),
                held=_sum(plan.held, found.held),
                shown=_sum(plan.shown, found.shown),
                **_FRESH,
            )
            if not page.more:
                after = self._walked(db, number, connection, after)
            self._keep(db, number, after)

        self._database.transact(work_)
        return max(1, len(page.records))

    def _walked(self, db: Db, number: int, connection: Connection, plan: Plan) -> Plan:
        """The list ended: find out whether it was whole, and whether a field is gone from all of it."""
        left = drift.left_since(db, connection.name, connection.kind, plan.began)
        hidden = verified.hidden(plan.held, plan.shown)
        if hidden:
            hiding.suspend(db, self._connections, connection, hidden)
            names = {n for n, e in connection.map.entries.items() if e.theirs in hidden}
            drift.of_field(db, connection.name, names)
            plan = replace(
                plan,
                hidden=tuple(sorted(hidden)),
                compared={n: c for n, c in plan.compared.items() if n not in names},
            )
        doubt = verified.short(plan.seen, plan.totals, left)
        if doubt is None:
            return plan
        return self._compared(db, number, connection, self._doubted(db, number, connection, plan, doubt))

    def _lacked(self, number: int, token: str, connection: Connection, plan: Plan) -> int:
        name, kind = connection.name, connection.kind
        with self._database.read() as db:
            links = drift.links(db, name, kind, plan.began, plan.after, LINKS)
            lacked = [k for k in links if not k["seen"]][: connection.connector.limits.read_batch]
            known = drift.known(db, name, kind, plan.began)
        full = len(lacked) == connection.connector.limits.read_batch
        last = lacked[-1]["remote_id"] if full else links[-1]["remote_id"] if links else plan.after
        ended = not full and len(links) < LINKS
        doubt = verified.too_many(plan.missing + len(lacked), known)
        if lacked and doubt is None:
            there = connection.connector.read(kind, [k["remote_id"] for k in lacked])
            if any(not one.archived for one in there):
                doubt = "its list lacked a record that it shows when asked for its id"

        def work_(db: Db) -> None:
            leases.verify(db, KIND, token)
            after = replace(plan, after=last, missing=plan.missing + len(lacked), **_FRESH)
            if doubt is not None:
                after = self._doubted(db, number, connection, after, doubt)
            else:
                drift.note(
                    db,
                    name,
                    number,
                    [drift.Found(k["remote_id"], k["contact_id"], {drift.RECORD: drift.MISSING}) for k in lacked],
                )
            if doubt is not None or ended:
                after = self._compared(db, number, connection, after)
            self._keep(db, number, after)

        self._database.transact(work_)
        return max(1, len(links))

    def _doubted(self, db: Db, number: int, connection: Connection, plan: Plan, doubt: str) -> Plan:
        """Nothing is concluded from what this read lacked."""
        log.warning("reconcile.doubted", run=number, connection=connection.name, why=doubt)
        words = f"{connection.name}: {doubt}; so nothing was taken for deleted, and nothing was repaired"
        advice = "look at the vendor's status and at what its key may see, then `tandem reconcile` again"
        alarms.raised(db, alarms.Kind.READ, connection.name, "list", f"{words}: {advice}")
        drift.not_missing(db, connection.name, number)
        return replace(plan, doubt=doubt, missing=0)

    def _compared(self, db: Db, number: int, connection: Connection, plan: Plan) -> Plan:
        """Every record was compared: keep the counts; go on to the repair if one is wanted."""
        if plan.doubt is None:
            drift.outdated(db, connection.name, number)
            alarms.cleared(db, alarms.Kind.READ, connection.name, ["list"])
        drift.counted(db, connection.name, number, plan.compared)
        drift.forget_sightings(db, connection.name)
        if plan.repair and plan.doubt is None:
            return replace(plan, phase=REPAIR, after="")
        return self._over(db, number, connection, plan)

    def _repair(self, number: int, token: str, connection: Connection, plan: Plan) -> int:
        records, read_at, ids = self._noted(connection, number, plan)

        def work_(db: Db) -> None:
            leases.verify(db, KIND, token)
            if not ids:
                now = clock_of(db)
                self._keep(db, number, replace(plan, phase=AGAIN, after="", repaired_at=now, **_FRESH))
                return
            handed = self._hand_over(db, connection, number, records, read_at)
            self._keep(db, number, replace(plan, after=ids[-1], repaired=plan.repaired + handed, **_FRESH))

        self._database.transact(work_)
        return 1

    def _hand_over(self, db: Db, connection: Connection, number: int, records: Sequence[Record], read_at: int) -> int:
        """Give what disagrees to the inbox, as a poll does; correct what we believe of fields that are only written."""
        now = comparing.page(db, connection, self._connections, records, read_at, self.recent_ms)
        drift.note(db, connection.name, number, now.found)
        drift.still(db, connection.name, number, now.in_flight)
        wanted = {f.remote_id: f for f in now.found if set(f.fields.values()) - {drift.HELD}}
        mapping, name = connection.map, connection.name
        links = pairs.of_records(db, name, connection.kind, wanted, lock=True)
        moved = []
        soon: dict[int, int] = {}
        later: dict[int, int] = {}
        for record in records:
            if record.id not in wanted:
                continue
            link = links.get(record.id)
            if link is None:
                continue
            claim = mapping.read(record.fields, all=True).claim
            true = {n: v for n, v in claim.items() if n not in mapping.in_fields and link.shadow.get(n) != v}
            if true and link.written_at < read_at:
                link.shadow = {**link.shadow, **true}
                link.rev += 1
                moved.append(link)
            unseen = drift.UNSEEN in wanted[record.id].fields.values()
            (later if unseen else soon)[link.contact_id] = read_at
        pairs.save(db, moved)
        rows = [
            inbox.event_row(name, _arrival(connection, r, f"{KIND}:{number}:{r.id}"), read_at, None)
            for r in records
            if r.id in wanted
        ]
        inbox.store_events(db, sorted(rows, key=lambda row: str(row["dedupe"])))
        work.mark(db, name, soon)
        work.mark(db, name, later, delay_ms=AFTER_MS)
        return len(wanted)

    def _again(self, number: int, token: str, connection: Connection, plan: Plan) -> int:
        records, read_at, ids = self._noted(connection, number, plan)

        def work_(db: Db) -> int:
            leases.verify(db, KIND, token)
            found = comparing.page(db, connection, self._connections, records, read_at, self.recent_ms)
            now = clock_of(db)
            if found.in_flight and now - plan.repaired_at < SETTLE_MS:
                self._keep(db, number, replace(plan, wait_until=now + 1_000))
                return 0
            drift.note(db, connection.name, number, found.found)
            drift.still(db, connection.name, number, found.in_flight)
            after = replace(plan, after=ids[-1] if ids else plan.after, **_FRESH)
            if not ids:
                drift.count_again(db, connection.name)
                after = self._over(db, number, connection, after)
            self._keep(db, number, after)
            return 1

        return self._database.transact(work_)

    def _noted(self, connection: Connection, number: int, plan: Plan) -> tuple[Sequence[Record], int, list[str]]:
        """The next records of whom this run noted something, as they are now."""
        with self._database.read() as db:
            read_at = clock_of(db)
            limit = connection.connector.limits.read_batch
            ids = drift.noted(db, connection.name, number, plan.after, limit)
        return (connection.connector.read(connection.kind, ids) if ids else ()), read_at, ids

    # --- ending -------------------------------------------------------------------------------------------------------

    def _over(self, db: Db, number: int, connection: Connection, plan: Plan) -> Plan:
        """The run is through: say what is left."""
        fields = drift.by_field(db, connection.name)
        records = drift.of_records(db).get(connection.name, {})
        wrong = sum(n for n, _ in fields.values())
        words = [
            f"{n:,} {what}"
            for n, what in (
                (wrong, f"values of {', '.join(sorted(fields))} disagree"),
                (records.get(drift.EXTRA, 0), "records at the vendor belong to nobody here"),
                (records.get(drift.MISSING, 0), "records known here are not at the vendor"),
            )
            if n
        ]
        name = connection.name
        if words:
            advice = f"look with `tandem reconcile --connection {name} --show`, then repair with --repair"
            alarms.raised(db, alarms.Kind.DRIFT, name, "", f"{name}: {'; '.join(words)}: {advice}")
        elif plan.doubt is None:
            alarms.cleared(db, alarms.Kind.DRIFT, name)
        values = {"status": "done", "ended_at": NOW}
        db.execute(update(t.run).where(r.id == number).values(**values))
        log.info("reconcile.done", run=number, connection=name, mismatched=wrong, doubt=plan.doubt)
        return replace(plan, phase=DONE, cursor=None, after="")  # they may name a record, which is a person

    def _keep(self, db: Db, number: int, plan: Plan) -> None:
        values = {"params": asdict(plan), "done": plan.seen}
        kept = update(t.run).where(r.id == number, r.status != "failed").values(**values).returning(r.id)
        if db.execute(kept).first() is None:
            raise LeaseLost(KIND)  # begun anew meanwhile

    def _fail(
        self, number: int, token: str, connection: Connection, plan: Plan, problem: TryLater | NeedsHuman | Refused
    ) -> int:
        """The vendor did not answer: the run waits; or it cannot, and the run ends."""
        log.warning("reconcile.failed", run=number, problem=type(problem).__name__, reason=str(problem))
        with self._database.read() as db:
            now = clock_of(db)
        delay = None
        if isinstance(problem, TryLater):
            failing = plan.failing if plan.failing is not None else now
            delay = self._schedule.delay_ms(plan.attempts + 1, now - failing, problem.after)
            waits = replace(plan, attempts=plan.attempts + 1, failing=failing, wait_until=now + (delay or 0))
        if delay is None:
            if isinstance(problem, NeedsHuman):
                with self._database.write() as db:
                    state.pause(db, connection.name, str(problem))
            self._end(number, token, str(problem))
            return 1

        def work_(db: Db) -> None:
            leases.verify(db, KIND, token)
            self._keep(db, number, waits)

        self._database.transact(work_)
        return 0

    def _end(self, number: int, token: str, error: str) -> None:
        def work_(db: Db) -> None:
            leases.verify(db, KIND, token)
            row = db.execute(select(r.params).where(r.id == number)).scalar_one()
            params = {**row, "cursor": None, "after": ""}
            values = {"status": "failed", "error": error[:500], "ended_at": NOW, "params": params}
            db.execute(update(t.run).where(r.id == number).values(**values))

        self._database.transact(work_)


_FRESH: Final[Mapping[str, Any]] = {"attempts": 0, "failing": None, "wait_until": 0}


def _sum(a: Mapping[str, int], b: Mapping[str, int]) -> dict[str, int]:
    return {name: a.get(name, 0) + b.get(name, 0) for name in {*a, *b}}


def _arrival(connection: Connection, record: Record, dedupe: str) -> Event:
    return Event(connection.kind, Action.CHANGED, Ref(record.id), dedupe, record.modified, record=record)
