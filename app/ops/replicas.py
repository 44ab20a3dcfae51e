"""The processes that share this database, and what they share: ``/ops/replicas``."""

from __future__ import annotations

from fastapi import APIRouter, Depends
from pydantic import Field
from sqlalchemy import Connection as Db
from sqlalchemy import select

from app.core import leases
from app.core import tables as t
from app.core.clock import from_ms
from app.core.db import Database, clock_of
from app.ops.auth import allowed
from app.ops.problems import known_query
from app.ops.shapes import Moment, Shape, moment
from app.records import budgets
from app.worker import SILENT_MS


class WorkerProcess(Shape):
    """A process with workers."""

    id: str = Field(description="New at each start.", examples=["9f86d081884c7d65"])
    host: str
    pid: int
    alive: bool = Field(description="Whether it gave a sign of life lately.")
    started_at: Moment
    beat_at: Moment = Field(description="Its last sign of life.")


class Right(Shape):
    """Something that one process does at a time."""

    name: str = Field(description="`sync:` and `poll:` by connection, `erase`, `prune` …", examples=["poll:hubspot"])
    worker: str | None = Field(description="The process that has it; null: it is done, and rests until then.")
    until: Moment = Field(description="A living process renews it long before.")


class RateUsed(Shape):
    """How much of one published rate all processes have taken together."""

    family: str = Field(description="A narrower rate of some endpoints; empty: all calls.", examples=["search"])
    lane: str = Field(description="all, or ordinary: without the part that is kept for withdrawals.", examples=["all"])
    seconds: float = Field(description="The rate's window.", examples=[10])
    calls: int = Field(description="Taken in the window that ends now, not yet used ones included.", examples=[37])


class CallsUsed(Shape):
    """The calls to one connection."""

    connection: str = Field(examples=["hubspot"])
    counted_at: Moment = Field(description="When a process drew calls last.")
    closed_until: Moment | None = Field(description="The vendor asked all to stay away until then.")
    rates: list[RateUsed]


class Replicas(Shape):
    """Everything."""

    workers: list[WorkerProcess]
    rights: list[Right]
    calls: list[CallsUsed] = Field(description="Connections whose calls are counted by all processes together.")


def replicas(db: Db) -> Replicas:
    """The processes and what they share now.  All of it is few: processes, connections, kinds of work."""
    now = clock_of(db)
    w, c = t.worker.c, t.lease.c
    return Replicas(
        workers=[
            WorkerProcess(
                id=row["id"],
                host=row["host"],
                pid=row["pid"],
                alive=now - row["beat_at"] < SILENT_MS,
                started_at=from_ms(row["started_at"]),
                beat_at=from_ms(row["beat_at"]),
            )
            for row in db.execute(select(t.worker).order_by(w.started_at, w.id)).mappings()
        ],
        rights=[
            Right(name=row.name, worker=leases.holder(row.token), until=from_ms(row.until))
            for row in db.execute(select(t.lease).where(c.until > now).order_by(c.name))
        ],
        calls=[
            CallsUsed(
                connection=one.connection,
                counted_at=from_ms(one.at),
                closed_until=moment(one.closed_until),
                rates=[
                    RateUsed(family=used.family, lane=used.lane, seconds=used.seconds, calls=used.calls)
                    for used in one.used
                ],
            )
            for one in budgets.standings(db)
        ],
    )


def replicas_api(database: Database) -> APIRouter:
    """The route."""
    router = APIRouter(prefix="/ops/replicas", tags=["replicas"], dependencies=[Depends(allowed), Depends(known_query)])

    @router.get("")
    def show_replicas() -> Replicas:
        """Show the worker processes, what each has in hand alone, and the calls that all have made together."""
        with database.read() as db:
            return replicas(db)

    return router
