"""Watch: the small looks that keep a service honest about itself, each on its own schedule.

Fields that are suspended are read again from the store every moment, since another process may have suspended one; how
fresh changes land is counted into the store; vendors are asked for their fields; webhooks that stay away, promises that
are not kept and subscriptions that a vendor switched off raise alarms.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import structlog
from sqlalchemy import Connection as Db
from sqlalchemy import select

from app.core import leases
from app.core import tables as t
from app.core.clock import monotonic
from app.core.db import Database, clock_of, upsert
from app.records import alarms, suspended
from app.records.access import Access
from app.repair import connecting, freshness, standing
from app.repair.freshness import Recorder
from app.repair.hooks import Hooks
from app.repair.rhythm import Rhythm
from app.repair.schema import Describe
from app.sync.connection import Connection, Connections
from connectors.contract import Can

log = structlog.get_logger(__name__)

NAME: Final = "watch"
OFTEN: Final = 2.0  # seconds between looks at what is cheap
SELDOM_MS: Final = 60_000  # between rounds over the connections, whichever process makes them
DELIVERIES: Final = 5_000  # read at once

h, e = t.rhythm.c, t.delivery.c


class Watch:
    """The station."""

    def __init__(
        self,
        database: Database,
        connections: Connections,
        recorder: Recorder,
        *,
        door: str | None = None,
        access: Mapping[str, Access] | None = None,
    ) -> None:
        """``door``: scheme and host by which vendors reach us; None: nobody said, so subscriptions are left alone.

        ``access``: of the connections that use OAuth.
        """
        self._database = database
        self._connections = connections
        self._recorder = recorder
        self._access = access if access is not None else {}
        self._describe = Describe(database, connections)
        self._hooks = Hooks(database, connections, door)
        self._next = 0.0

    def step(self) -> int:
        """Look at what is due; always 0, as nobody has to hurry after it."""
        if monotonic() < self._next:
            return 0
        self._next = monotonic() + OFTEN
        with self._database.write() as db:
            self._recorder.flush(db)
            self._connections.suspend(suspended.fields(db))
            # Not in the worker's name, so that it is not renewed: the round is made once in this time.
            mine = leases.acquire(db, NAME, NAME, SELDOM_MS) is not None
        if mine:
            with self._database.read() as db:
                now = clock_of(db)
            for one in self._connections.values():
                if Can.WEBHOOK in one.connector.can:
                    self._database.transact(lambda db, one=one: listen(db, one, now))  # type: ignore[misc]
            self._database.transact(lambda db: freshness.judge(db, self._connections))
            for name in self._database.transact(lambda db: connecting.judge(db, self._access)):
                log.warning("access.ends", connection=name)
            for kind, name in self._database.transact(lambda db: standing.judge(db, self._connections)):
                log.warning("alarm.raised", kind=kind, connection=name)
            self._describe.step()
            self._hooks.step()
        return 0


def listen(db: Db, connection: Connection, now: int) -> float | None:
    """Learn from the deliveries that came, and raise an alarm where none has for too long: for how many intervals.

    ``now``: ms since 1970, by the database's clock.
    """
    name = connection.name
    row = db.execute(select(h.state, h.read_to).where(h.connection == name)).one_or_none()
    rhythm = Rhythm.from_json(row.state if row is not None else {})
    read_to = row.read_to if row is not None else 0
    query = select(e.id).where(e.connection == name, e.id > read_to, e.id < now << 20).order_by(e.id)
    ids = db.execute(query.limit(DELIVERIES)).scalars().all()
    times = [i >> 20 for i in ids]  # a delivery's id begins with its time
    catching_up = len(ids) == DELIVERIES
    if catching_up:
        rhythm.feed(times, times[-1], away_ms=2**60)
        rhythm.looked = None
    else:
        rhythm.feed(times, now)
    values = {"state": rhythm.to_json(), "read_to": ids[-1] if ids else read_to}
    statement = upsert(db.dialect.name, t.rhythm).values(connection=name, missed=0, hooks_due_at=0, **values)
    db.execute(statement.on_conflict_do_update(index_elements=["connection"], set_=values))
    if catching_up:
        return None
    intervals = rhythm.silent(now)
    if intervals is None:
        alarms.cleared(db, alarms.Kind.SILENCE, name)
        return None
    minutes = (now - (rhythm.last if rhythm.last is not None else now)) / 60_000
    words = (
        f"{name}: no webhook for {minutes:,.0f} minutes, {intervals:.0f} times the usual gap at this hour of the week. "
        f"Changes are found by polls meanwhile.  Look whether the subscription is on at the vendor (`tandem webhooks "
        f"status`) and whether the vendor reaches the door"
    )
    if alarms.raised(db, alarms.Kind.SILENCE, name, "", words):
        log.warning("webhooks.silent", connection=name, intervals=round(intervals, 1))
    return intervals
