"""Rounds: reads companies, deals, the user directory and acts of each connection, each kind with its own cursor.

A page and its cursor are one transaction, so a killed walk goes on where it was.  Companies and deals are walked whole
now and then, since a vendor may move no modified time where only an association changed; the directory always is.
A kind that the vendor refuses (a scope is missing) rests by itself: the contacts of the connection go on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import structlog
from sqlalchemy import Connection as Db
from sqlalchemy import RowMapping, update

from app.core import leases
from app.core import tables as t
from app.core.db import Database
from app.core.errors import LeaseLost
from app.core.retry import Schedule
from app.records import alarms, surveys
from app.sync import engaging, objects
from app.sync.connection import Connection, Connections
from connectors.contract import Can, Kind, NeedsHuman, Refused, TryLater

log = structlog.get_logger(__name__)

HOUR_MS: Final = 3_600_000
REFUSED_MS: Final = HOUR_MS  # until a kind that was refused is asked for again: somebody may have given the scope
DIRECTORY_MS: Final = HOUR_MS


class Rounds:
    """The station.  One worker reads one kind of one connection at a time."""

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
        self._pairs = frozenset(pairs(connections))

    def step(self) -> int:
        """Take one page of one kind that is due; how many records it had at least 1 where there is more, 0 = none."""
        if not self._pairs:
            return 0
        with self._database.read() as db:
            new = surveys.missing(db, self._pairs)
        if new:
            with self._database.write() as db:
                surveys.ensure(db, new)
        with self._database.read() as db:
            due = surveys.due(db, self._pairs)
        for name, kind in due:
            lease = f"rounds:{name}:{kind}"
            with self._database.write() as db:
                token = leases.acquire(db, lease, self._worker, self._lease_ms)
                if token is None:
                    continue
                row = surveys.one(db, name, kind)
            with leases.holding(self._database, lease, token):
                return self._page(self._connections[name], kind, row, lease, token)
        return 0

    def _page(self, connection: Connection, kind: str, row: RowMapping, lease: str, token: str) -> int:
        try:
            read, more, store, cursor = self._read(connection, kind, row["cursor"])
        except (TryLater, NeedsHuman, Refused) as problem:
            self._fail(connection, kind, row, problem)
            return 0
        values: dict[str, Any] = {
            "cursor": cursor,
            "due_at": row["now"] if more else row["now"] + _gap(connection, kind),
        }
        began = row["now"] if row["cursor"] is None else row["whole_at"]
        values["whole_at"] = began
        if not more:
            values["walked_at"] = row["walked_at"] if row["walked_at"] is not None else row["now"]
            if _whole_again(connection, kind, began, row["now"]):
                values["cursor"] = None

        def work(db: Db) -> None:
            leases.verify(db, lease, token)
            store(db)
            if kind == Kind.COLLEAGUE and not more:
                _left(db, connection.name, began)
            surveys.went_on(db, connection.name, kind, **values)
            if row["failure"] is not None:
                alarms.cleared(db, alarms.Kind.READ, connection.name, [kind])

        try:
            self._database.transact(work)
        except LeaseLost:
            log.warning("rounds.lease_lost", connection=connection.name, kind=kind)
            return 0
        return max(1, read) if more else read

    def _read(
        self, connection: Connection, kind: str, cursor: str | None
    ) -> tuple[int, bool, Callable[[Db], object], str]:
        """One page: how many it has, whether there is more, what stores it, and where to go on."""
        it, connections = connection.connector, self._connections
        if kind == surveys.ACTS:
            acts = it.acts(cursor)
            return (
                len(acts.acts),
                acts.more,
                lambda db: engaging.engage(db, connection, connections, acts.acts),
                acts.cursor,
            )
        page = it.changed(Kind(kind), cursor)
        if kind == Kind.COLLEAGUE:
            return (
                len(page.records),
                page.more,
                lambda db: objects.directory(db, connection, connections, page.records),
                page.cursor,
            )

        def store(db: Db) -> None:
            objects.absorb(db, connection, connections, Kind(kind), page.records)
            objects.gone(db, connection, connections, Kind(kind), page.deleted)

        return len(page.records), page.more, store, page.cursor

    def _fail(
        self, connection: Connection, kind: str, row: RowMapping, problem: TryLater | NeedsHuman | Refused
    ) -> None:
        log.warning("rounds.failed", connection=connection.name, kind=kind, problem=type(problem).__name__)
        delay: int | None = REFUSED_MS
        again: dict[str, Any] = {}
        if isinstance(problem, TryLater):
            since = row["failing_since"] if row["failing_since"] is not None else row["now"]
            delay = self._schedule.delay_ms(1 + (row["now"] - since) // 60_000, 0, problem.after)
        elif isinstance(problem, Refused) and problem.code == "cursor":
            again, delay = {"cursor": None}, 0
        with self._database.write() as db:
            if not isinstance(problem, TryLater) and not again:
                advice = (
                    f"give the connection's key the right to read it, or take `{_section(kind)}` out of the mapping"
                )
                words = f"{connection.name}: {kind} records cannot be read: {problem}: {advice}"
                alarms.raised(db, alarms.Kind.READ, connection.name, kind, words)
            wait = REFUSED_MS if delay is None else delay
            surveys.failed(db, connection.name, kind, wait, str(problem), **again)


def pairs(connections: Connections) -> set[tuple[str, str]]:
    """What is read where: what the connector claims and the mapping reads."""
    found = set()
    for one in connections.values():
        mapped, can = one.map.objects, one.connector.can
        wanted = {
            str(Kind.COMPANY): mapped.company is not None and Can.COMPANIES in can,
            str(Kind.DEAL): mapped.deal is not None and Can.DEALS in can,
            surveys.ACTS: mapped.engagement is not None and Can.ENGAGEMENT in can,
        }
        if any(wanted.values()) and Can.COLLEAGUES in can:
            wanted[str(Kind.COLLEAGUE)] = True
        found |= {(one.name, kind) for kind, yes in wanted.items() if yes}
    return found


def _section(kind: str) -> str:
    """The section of a mapping that has it read."""
    return "engagement" if kind in {surveys.ACTS, str(Kind.COLLEAGUE)} else kind


def _gap(connection: Connection, kind: str) -> int:
    return DIRECTORY_MS if kind == Kind.COLLEAGUE else int(connection.poll_seconds * 1000)


def _whole_again(connection: Connection, kind: str, began: int | None, now: int) -> bool:
    if kind == Kind.COLLEAGUE:
        return True
    every = connection.watch.reconcile_every_ms
    return kind != surveys.ACTS and every is not None and began is not None and now - began >= every


def _left(db: Db, connection: str, began: int | None) -> None:
    """Whom a complete walk over the directory did not show is there no more."""
    o = t.colleague.c
    if began is not None:
        db.execute(update(t.colleague).where(o.connection == connection, o.seen_at < began).values(active=0))
