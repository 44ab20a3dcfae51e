"""Work on a schedule that one process does at a time.  In: a step on the database.  Out: who does it, and when again.

A duty is a named lease.  Whoever holds it does a step in each transaction, and the lease is checked in the same
transaction, so that a process that was stopped for longer than its lease changes nothing when it comes back.  The
heart of a living worker renews its leases; those of a dead one run out, or are taken back by the next process on its
machine.  After the last step the lease rests, in nobody's name, until the duty is due again.
"""

from __future__ import annotations

from collections.abc import Callable

import structlog
from sqlalchemy import Connection as Db

from app.core import leases
from app.core.db import Database
from app.core.errors import LeaseLost

log = structlog.get_logger(__name__)


class Duty:
    """A station for work that is due every ``every_ms``; ``step`` is for one thread."""

    def __init__(
        self, database: Database, name: str, worker: str, work: Callable[[Db], int], *, every_ms: int, lease_ms: int
    ) -> None:
        """``work``: one short step in the caller's transaction; how much it did, 0 = nothing is left in this round."""
        self._database = database
        self._name = name
        self._worker = worker
        self._work = work
        self._every_ms = every_ms
        self._lease_ms = lease_ms
        self._token: str | None = None

    def step(self) -> int:
        """Do a step, if the duty is due and nobody else has it; how much was done, 0 = nothing to do now."""
        if self._token is None:
            with self._database.read() as db:  # look before writing: most looks find that it rests
                if leases.held(db, self._name):
                    return 0
            with self._database.write() as db:
                self._token = leases.acquire(db, self._name, self._worker, self._lease_ms)
            if self._token is None:
                return 0
        token = self._token
        try:
            with leases.using(token):
                did = self._database.transact(lambda db: self._fenced(db, token))
        except LeaseLost:
            log.warning("duty.lost", duty=self._name)
            self._token = None
            return 0
        if not did:
            self._token = None
        return did

    def _fenced(self, db: Db, token: str) -> int:
        leases.verify(db, self._name, token)
        did = self._work(db)
        if not did:
            leases.rest(db, self._name, token, self._every_ms)
        return did
