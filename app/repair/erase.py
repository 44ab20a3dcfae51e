"""Erase: carry out erasures.  Every vendor is asked until it answers; then the person's rows go, then their bytes.

Each part leaves a state from which the next process goes on: calls may be made twice, which erases nothing more.
"""

from __future__ import annotations

import structlog
from sqlalchemy import Connection as Db
from sqlalchemy import RowMapping, exists, select, update

from app.core import leases
from app.core import tables as t
from app.core.db import Database, now_ms
from app.core.errors import LeaseLost
from app.core.retry import Schedule
from app.records import state
from app.records.contacts import chunks
from app.repair import erasing
from app.repair.erasing import BY_HAND, CALLING, OPEN, PENDING, REFUSED, SCRUBBING, STEP_DONE, SWEEPING
from app.repair.subject import Subject
from app.sync.connection import Connection, Connections
from connectors.contract import Done, Failed, Gone, NeedsHuman, Order, Receipt, Refused, TryLater, Verb

log = structlog.get_logger(__name__)

NOW = now_ms()
AGAIN_MS = 60_000  # until the file is tried again while somebody reads
WAIT_MS = 1_000  # until a write that is under way is looked at again
HUMAN_MS = 60_000  # until a connection that needs a person is tried again
e, p = t.erasure.c, t.erasure_step.c


class Erase:
    """The station.  One worker erases at a time."""

    def __init__(
        self, database: Database, connections: Connections, worker: str, *, lease_ms: int, schedule: Schedule
    ) -> None:
        self._database = database
        self._connections = connections
        self._worker = worker
        self._lease_ms = lease_ms
        self._schedule = schedule

    def step(self) -> int:
        """Do one part of one erasure; 0 = nothing is due."""
        with self._database.read() as db:
            if not db.execute(select(exists().where(e.status.in_(OPEN), e.due_at <= NOW))).scalar():
                return 0
        with self._database.write() as db:
            token = leases.acquire(db, "erase", self._worker, self._lease_ms)
            if token is not None:
                self._leave(db)
        if token is None:
            return 0
        try:
            with leases.holding(self._database, "erase", token):
                return self._call(token) or self._close()
        except LeaseLost:
            log.warning("erase.lease_lost")
            return 0

    def _leave(self, db: Db) -> None:
        """What was to be asked of a connection that is gone or only observes by now is left to a person."""
        names = [c.name for c in self._connections.values() if erasing.able(c)]
        left = (p.status == PENDING, p.connection.not_in(names))
        values = {"status": BY_HAND, "answer": "cannot be asked any more: erase there by hand", "answered_at": NOW}
        db.execute(update(t.erasure_step).where(*left).values(**values))

    def _call(self, token: str) -> int:
        """Ask one vendor once."""
        with self._database.read() as db:
            resting = state.paused(db)
            names = [c.name for c in self._connections.values() if erasing.able(c) and c.name not in resting]
            due = (p.status == PENDING, p.due_at <= NOW, p.connection.in_(names))
            query = select(t.erasure_step, e.subject).join(t.erasure, e.id == p.erasure_id)
            step = db.execute(query.where(*due).order_by(p.due_at, p.id).limit(1)).mappings().one_or_none()
        if step is None:
            return 0
        connection = self._connections[step["connection"]]
        found: list[str] = []
        receipt: Receipt | None = None
        key = f"{connection.name}:erase:{step['id']}"
        try:
            if step["remote_id"] is None:
                found = self._look(connection, Subject.from_json(step["subject"]))
            else:
                order = Order(key, connection.kind, Verb.ERASE, {}, id=step["remote_id"], again=step["attempts"] > 0)
                (receipt,) = connection.connector.write([order])
        except (TryLater, NeedsHuman, Refused) as problem:
            receipt = Failed(key, problem)

        def answered(db: Db) -> None:
            leases.verify(db, "erase", token)
            self._answered(db, connection, step, receipt, found)

        self._database.transact(answered)
        return 1

    def _look(self, connection: Connection, who: Subject) -> list[str]:
        """The records with the person's addresses that were never paired."""
        found: list[str] = []
        for values in chunks(sorted(who.addresses), connection.connector.limits.find_batch):
            found += [r.id for r in connection.connector.find(connection.kind, "email", values)]
        return found

    def _answered(
        self, db: Db, connection: Connection, step: RowMapping, receipt: Receipt | None, found: list[str]
    ) -> None:
        match receipt:
            case None:
                erasing.add_records(db, self._connections, step["erasure_id"], {connection.name: found})
                self._end(db, step, STEP_DONE, "looked for the address")
            case Failed(problem=TryLater() as problem):
                delay = self._schedule.delay_ms(step["attempts"] + 1, 0, problem.after)
                self._later(db, step, delay if delay is not None else HUMAN_MS, "no answer yet")
            case Failed(problem=NeedsHuman() as problem):
                log.error("erase.needs_human", connection=connection.name, reason=str(problem))
                state.pause(db, connection.name, str(problem))
                self._later(db, step, HUMAN_MS, "the connection needs a person")
            case Failed(problem=Refused() as problem):
                self._end(db, step, REFUSED, f"refused: {problem.code}")
            case Gone():
                self._end(db, step, STEP_DONE, "no such record")
            case Done():
                self._end(db, step, STEP_DONE, "erased")
            case _:
                self._end(db, step, REFUSED, "an answer that makes no sense")

    def _end(self, db: Db, step: RowMapping, status: str, answer: str) -> None:
        values = {"status": status, "answer": answer, "answered_at": NOW, "attempts": step["attempts"] + 1}
        db.execute(update(t.erasure_step).where(p.id == step["id"]).values(**values))

    def _later(self, db: Db, step: RowMapping, delay: int, answer: str) -> None:
        values = {"due_at": NOW + delay, "answer": answer, "attempts": step["attempts"] + 1}
        db.execute(update(t.erasure_step).where(p.id == step["id"]).values(**values))

    def _close(self) -> int:
        """One part of what follows the vendors' answers."""
        waiting = exists().where(p.erasure_id == e.id, p.status == PENDING)
        with self._database.read() as db:
            query = select(e.id, e.status).where(e.status.in_(OPEN), e.due_at <= NOW, ~waiting).order_by(e.id).limit(1)
            row = db.execute(query).one_or_none()
        if row is None:
            return 0
        if row.status == CALLING:
            if not self._database.transact(lambda db: erasing.remove(db, self._connections, row.id)):
                self._postpone(row.id, WAIT_MS)
        elif row.status == SWEEPING:
            erasing.sweep(self._database, row.id)
        elif row.status == SCRUBBING and self._database.scrub():
            self._database.transact(lambda db: erasing.prove(db, self._connections, row.id))
            log.info("erase.done", erasure=row.id)
        else:
            self._postpone(row.id, AGAIN_MS)
        return 1

    def _postpone(self, number: int, delay: int) -> None:
        with self._database.write() as db:
            db.execute(update(t.erasure).where(e.id == number).values(due_at=NOW + delay))
