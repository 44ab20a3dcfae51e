"""Tell sinks about alarms.  In: open alarms and what each sink knows.  Out: messages, and what came of them.

One process at a time tells, under a lease; nothing is sent within a transaction.  What was sent and not noted, since
the process died, is sent again under the same id.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from app.core import leases
from app.core.clock import monotonic
from app.core.db import Database
from app.core.errors import LeaseLost, NotFound
from app.core.retry import Schedule
from app.ops.sinks import Message, Sink, Unheard
from app.records import notices
from app.records.notices import Notice, Wish

log = structlog.get_logger(__name__)

NAME: Final = "alarms"
OFTEN: Final = 5.0  # seconds between looks
AT_ONCE: Final = 20  # alarms in one message
SENT, FAILED = "sent", "failed"


@dataclass(frozen=True, slots=True)
class Tried:
    """What came of a test."""

    sink: Sink
    why: str | None  # it did not get through; None: it did


class Telling:
    """The station."""

    def __init__(
        self,
        database: Database,
        sinks: Sequence[Sink],
        worker: str,
        *,
        lease_ms: int,
        schedule: Schedule,
        repeat: int | None,
        settle: int | None,
        where: str | None = None,
        count: Callable[[str, str], None] = lambda _sink, _outcome: None,
    ) -> None:
        """``repeat``, ``settle``: ms, see ``app.records.notices``.  ``where``: what messages call this installation.

        ``count(sink, outcome)`` counts messages.
        """
        self._database = database
        self.sinks = tuple(sinks)
        self._worker = worker
        self._lease_ms = lease_ms
        self._schedule = schedule
        self._wishes = [Wish(s.name, s.kinds, repeat, settle if settle is not None else 0) for s in sinks]
        self._where = where if where is not None else ""
        self._count = count
        self._next = 0.0

    def step(self) -> int:
        """Tell each sink what it does not know yet; how many messages were tried, 0 = nobody has to be told now."""
        if monotonic() < self._next:
            return 0
        self._next = monotonic() + OFTEN
        with self._database.read() as db:  # look before writing: most looks find nothing
            if leases.held(db, NAME):
                return 0
            owed = self._wishes and notices.plan(db, self._wishes, 1)
            if not owed and not notices.untidy(db, [s.name for s in self.sinks]):
                return 0
        with self._database.write() as db:
            token = leases.acquire(db, NAME, self._worker, self._lease_ms)
            if token is None:
                return 0
            notices.tidy(db, [s.name for s in self.sinks])
            planned = notices.plan(db, self._wishes, AT_ONCE)
        try:
            with leases.using(token):
                return sum(self._tell(sink, planned[sink.name], token) for sink in self.sinks if sink.name in planned)
        except LeaseLost:
            log.warning("alarms.lease_lost")
            return 0
        finally:
            with self._database.write() as db:
                leases.give_back(db, NAME, token)

    def _tell(self, sink: Sink, wanted: Sequence[Notice], token: str) -> int:
        why = None
        try:
            sink.send(Message(_id(sink, wanted), wanted, self._where))
        except Unheard as problem:
            why = str(problem)
            log.warning("alarms.not_heard", sink=sink.name, reason=why)
        self._count(sink.name, SENT if why is None else FAILED)
        with self._database.write() as db:
            leases.verify(db, NAME, token)
            if why is None:
                notices.told(db, sink.name, wanted)
            else:
                attempts = 1 + max(one.attempts for one in wanted)
                delay = self._schedule.delay_ms(attempts, 0)  # for as long as the alarm is open: never given up
                notices.failed(db, sink.name, wanted, delay if delay is not None else 0, why)
        if why is None and len(wanted) == AT_ONCE:
            self._next = 0.0  # there may be more
        return 1

    def test(self, name: str | None = None) -> list[Tried]:
        """Send a test to a sink, or to all.  Raises NotFound for a sink that is not configured."""
        chosen = [s for s in self.sinks if name in {None, s.name}]
        if name is not None and not chosen:
            there = ", ".join(s.name for s in self.sinks) if self.sinks else "none: docs/observability.md"
            raise NotFound(f"no sink {name!r}; there are: {there}")
        tried = []
        for sink in chosen:
            why = None
            try:
                sink.send(Message(f"test-{leases.new_worker_id()}", (), self._where, test=True))
            except Unheard as problem:
                why = str(problem)
            self._count(sink.name, SENT if why is None else FAILED)
            log.info("alarms.tested", sink=sink.name, heard=why is None)
            if why is None:
                with self._database.write() as db:
                    notices.again(db, sink.name)
            tried.append(Tried(sink, why))
        return tried

    def close(self) -> None:
        """Let go of connections."""
        for sink in self.sinks:
            sink.close()


def _id(sink: Sink, wanted: Sequence[Notice]) -> str:
    """The same for the same message, tried again."""
    said = "\n".join(f"{one.key} {one.says} {one.since} {one.over_at} {one.told_at}" for one in wanted)
    return hashlib.sha256(f"{sink.name}\n{said}".encode()).hexdigest()[:32]
