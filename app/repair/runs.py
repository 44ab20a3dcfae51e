"""The runs of a reconcile at rest: what each has to do, where it is, what it counted; and beginning one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final

import structlog
from sqlalchemy import Connection as Db
from sqlalchemy import RowMapping, insert, select, update

from app.core import tables as t
from app.core.db import clock_of, now_ms
from app.core.errors import NotFound, NotPossible
from app.records import drift
from app.sync.connection import Connection, Connections
from connectors.contract import Can

log = structlog.get_logger(__name__)

KIND: Final = "reconcile"
RUNS: Final = 200  # looked at: they are few, a schedule and operators start them
WALK, LACKED, REPAIR, AGAIN, DONE = "walk", "lacked", "repair", "again", "done"

NOW = now_ms()
r, s = t.run.c, t.connection_state.c


@dataclass(frozen=True, slots=True)
class Plan:
    """Where a run is, and what it counted.  Times in ms since 1970 by the database's clock."""

    connection: str
    repair: bool = False
    by: str | None = None
    phase: str = WALK
    cursor: str | None = None  # of the vendor's list
    after: str = ""  # of this store's lists
    began: int = 0
    seen: int = 0
    blocked: int = 0
    in_flight: int = 0
    missing: int = 0
    repaired: int = 0
    repaired_at: int = 0
    totals: tuple[int, ...] = ()
    doubt: str | None = None
    hidden: tuple[str, ...] = ()
    compared: Mapping[str, int] = field(default_factory=dict)
    held: Mapping[str, int] = field(default_factory=dict)
    shown: Mapping[str, int] = field(default_factory=dict)
    attempts: int = 0
    failing: int | None = None
    wait_until: int = 0

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Plan:
        """The plan of a run's params.  Raises TypeError for those of another version."""
        plan = cls(**data)
        return replace(plan, totals=tuple(plan.totals), hidden=tuple(plan.hidden))


def start(
    db: Db, connections: Connections, connection: str | None = None, *, repair: bool = False, by: str | None = None
) -> list[int]:
    """Begin a compare of one connection, or of all that can be compared; the numbers of the runs.

    A run of the connection that is under way is gone on with, unless it does not repair and this one shall.  Raises
    NotFound, and NotPossible where the connection cannot be compared, which says why.
    """
    names = list(connections) if connection is None else [connections[connection].name]
    able = {name: obstacle(db, connections[name]) for name in names}
    if not any(why is None for why in able.values()):
        raise NotPossible("; ".join(f"{name}: {why}" for name, why in able.items()) or "there is no connection")
    return [begin(db, connections, name, repair=repair, by=by) for name, why in able.items() if why is None]


def obstacle(db: Db, connection: Connection) -> str | None:
    """Why a connection cannot be compared; None where it can."""
    lacks = {Can.CHANGED, Can.READ} - connection.connector.can
    if lacks:
        return f"its connector cannot {' or '.join(sorted(lacks))}"
    if db.execute(select(s.walked_at).where(s.name == connection.name)).scalar() is None:
        return "its first complete walk has not ended yet: nothing can be compared before"
    return None


def begin(db: Db, connections: Connections, name: str, *, repair: bool = False, by: str | None = None) -> int:
    """Begin a run, or go on with the one that is under way; its number."""
    for row in running(db):
        if row["params"].get("connection") == name:
            if row["params"].get("repair") or not repair:
                return int(row["id"])
            values = {"status": "failed", "error": "begun anew, with repair", "ended_at": NOW}
            db.execute(update(t.run).where(r.id == row["id"]).values(**values))
    now = clock_of(db)
    drift.forget_sightings(db, name)
    plan = Plan(name, repair, by, began=now)
    total = drift.known(db, name, connections[name].kind, now)
    new = {"kind": KIND, "params": asdict(plan), "status": "running", "total": total, "done": 0}
    number: int = db.execute(insert(t.run).values(**new, started_at=now).returning(r.id)).scalar_one()
    log.info("reconcile.started", run=number, connection=name, repair=repair)
    return number


def begin_due(db: Db, connections: Connections) -> int | None:
    """Begin the run that is longest due by its connection's schedule; its number, None where none is."""
    now = clock_of(db)
    last: dict[str, int] = {}
    for row in db.execute(select(r.params, r.started_at).where(r.kind == KIND).order_by(r.id.desc()).limit(RUNS)):
        last.setdefault(str(row.params.get("connection")), row.started_at)
    walked = {row.name: row.walked_at for row in db.execute(select(s.name, s.walked_at))}
    due = []
    for one in connections.values():
        every, since = one.watch.reconcile_every_ms, walked.get(one.name)
        if every is not None and since is not None and obstacle(db, one) is None:
            due.append((max(since, last.get(one.name, 0)) + every, one.name))
    if not due or min(due)[0] > now:
        return None
    return begin(db, connections, min(due)[1])


def running(db: Db) -> Sequence[RowMapping]:
    """The runs that are under way, the oldest first."""
    query = select(r.id, r.params).where(r.kind == KIND, r.status == "running").order_by(r.id).limit(RUNS)
    return db.execute(query).mappings().all()


def one(db: Db, number: int) -> RowMapping:
    """A run.  Raises NotFound."""
    row = db.execute(select(t.run).where(r.id == number, r.kind == KIND)).mappings().one_or_none()
    if row is None:
        raise NotFound(f"there is no reconcile run {number}")
    return row
