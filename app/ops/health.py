"""Is it alive, is it of use, and its figures: ``/health/live``, ``/health/ready``, ``/metrics``."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final, Literal

from fastapi import APIRouter, Depends, Request, Response
from prometheus_client.exposition import choose_encoder
from pydantic import Field
from sqlalchemy import Connection as Db
from sqlalchemy import RowMapping, select
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from app.core import tables as t
from app.core.db import Database, clock_of
from app.entry import inbox
from app.ops import brakes
from app.ops.auth import admits, allowed
from app.ops.brakes import BrakeOn
from app.ops.metrics import Metrics
from app.ops.shapes import Moment, Shape, moment
from app.records import alarms, migrate
from app.sync.connection import Connections
from app.worker import SILENT_MS

EVENT_AGE: Final = timedelta(minutes=5)  # an event that waits longer than this says that nobody works
WORKERS: Final = 200  # looked at, the last heard first

State = Literal["ok", "paused", "failing"]

w = t.worker.c


class Live(Shape):
    """The process runs."""

    status: Literal["ok"] = Field(examples=["ok"])


class Store(Shape):
    """The database."""

    reachable: bool
    migrated: bool = Field(description="Whether this version can work with its tables.")


class WorkersSeen(Shape):
    """The worker processes."""

    expected: bool = Field(description="Whether there have to be some.")
    alive: int = Field(description=f"Heard of within {SILENT_MS // 1000} s.", examples=[1])
    silent: int = Field(description="Not heard of since, and not signed off.", examples=[0])


class Waiting(Shape):
    """Events not processed yet, but for those of a connection that rests or fails."""

    overdue_seconds: float = Field(description="For how long the oldest of them could have been processed.")
    limit_seconds: float = Field(description="From when on this service is not ready.", examples=[300])


class Connected(Shape):
    """One connection."""

    name: str = Field(examples=["hubspot"])
    mode: str = Field(description="observe (nothing is written), canary or live", examples=["live"])
    state: State = Field(examples=["ok"])
    why: str | None = Field(description="Why it rests or fails.")
    since: Moment | None = Field(description="Since when.")
    brakes: list[BrakeOn] = Field(
        default_factory=list, description="Kinds of write that are stopped there until a person decides."
    )


class Ready(Shape):
    """Whether the service is of use.  Callers that are not authorised see the status only."""

    status: Literal["ok", "degraded", "down"] = Field(
        description="degraded: of use, but a connection rests, its vendor fails, a brake is on, or an alarm is "
        "raised.  "
        "down: answered with 503."
    )
    problems: list[str] = Field(default_factory=list, description="What is wrong, in words.")
    database: Store | None = None
    workers: WorkersSeen | None = None
    events: Waiting | None = None
    connections: list[Connected] = Field(default_factory=list)


def state_of(known: RowMapping | None) -> tuple[State, str | None, datetime | None]:
    """How a connection stands, why, and since when.  ``known``: its row in the store."""
    if known is not None and known["paused"]:
        return "paused", known["paused_why"], moment(known["paused_at"])
    if known is not None and known["failing_since"] is not None:
        return "failing", known["failure"], moment(known["failing_since"])
    return "ok", None, None


class Examiner:
    """Finds out whether the service is of use."""

    def __init__(
        self, database: Database, connections: Connections, *, worker_expected: bool, event_age: timedelta = EVENT_AGE
    ) -> None:
        self._database = database
        self._connections = connections
        self._worker_expected = worker_expected
        self._event_age = event_age

    def examine(self) -> Ready:
        """Look at everything; never raises for a database that is away."""
        try:
            tables = migrate.standing(self._database)
            if not tables.usable:
                why = f"the database: {tables.why}"
                return Ready(status="down", problems=[why], database=Store(reachable=True, migrated=False))
            with self._database.read() as db:
                return self._look(db)
        except (OperationalError, InterfaceError, PoolTimeout):
            why = "the database does not answer"
            return Ready(status="down", problems=[why], database=Store(reachable=False, migrated=False))

    def _look(self, db: Db) -> Ready:
        now = clock_of(db)
        beats = db.execute(select(w.beat_at).order_by(w.beat_at.desc()).limit(WORKERS)).scalars().all()
        alive = sum(now - beat <= SILENT_MS for beat in beats)
        workers = WorkersSeen(expected=self._worker_expected, alive=alive, silent=len(beats) - alive)
        states = {row["name"]: row for row in db.execute(select(t.connection_state)).mappings()}
        on = brakes.on(db)
        connections = []
        for one in self._connections.values():
            state, why, since = state_of(states.get(one.name))
            connections.append(
                Connected(
                    name=one.name,
                    mode=str(one.mode),
                    state=state,
                    why=why,
                    since=since,
                    brakes=on.get(one.name, []),
                )
            )
        waiting = Waiting(
            overdue_seconds=max((self._overdue_ms(db, c.name, now) for c in connections if c.state == "ok"), default=0)
            / 1000,
            limit_seconds=self._event_age.total_seconds(),
        )
        down = []
        if alive == 0 and (beats or self._worker_expected):
            down.append("no worker is alive: start `tandem serve` or `tandem work`")
        if waiting.overdue_seconds > waiting.limit_seconds:
            down.append(f"an event waits for {waiting.overdue_seconds:.0f} s: nobody processes it")
        poor = [
            f"{c.name} is {c.state}: {c.why}" if c.why is not None else f"{c.name} is {c.state}"
            for c in connections
            if c.state != "ok"
        ]
        poor += [brakes.told(c.name, brake) for c in connections for brake in c.brakes]
        # Drift is measured and repaired by and by; what else raises an alarm makes the service worse right now.
        untold = {alarms.Kind.DRIFT, *alarms.SHOWN}  # the latter were said above
        open_ = [row for row in alarms.listed(db) if row["kind"] not in untold]
        poor += [row["words"] for row in open_ if row["connection"] in self._connections]
        return Ready(
            status="down" if down else "degraded" if poor else "ok",
            problems=[*down, *poor],
            database=Store(reachable=True, migrated=True),
            workers=workers,
            events=waiting,
            connections=connections,
        )

    def _overdue_ms(self, db: Db, name: str, now: int) -> int:
        """How long ago the first pending event became due, one that waits for a retry or a replay counted from then."""
        since = inbox.overdue(db, name)
        return 0 if since is None else max(0, now - since)


_TEXT: Final = {"schema": {"type": "string"}}


def health(examiner: Examiner, metrics: Metrics) -> APIRouter:
    """The routes."""
    router = APIRouter(tags=["health"])

    @router.head("/health/live", include_in_schema=False)
    @router.get("/health/live")
    async def live() -> Live:
        """Say that the process runs.  Looks at nothing, needs no token."""
        return Live(status="ok")

    @router.head("/health/ready", include_in_schema=False)
    @router.get(
        "/health/ready",
        response_model_exclude_unset=True,
        responses={503: {"model": Ready, "description": "Not of use; the body says why, to authorised callers."}},
    )
    def ready(request: Request, response: Response) -> Ready:
        """Say whether the service is of use: database, workers, waiting events, connections.

        Needs no token, but tells only authorised callers more than the status.
        """
        found = examiner.examine()
        if found.status == "down":
            response.status_code = 503
        return found if admits(request) else Ready(status=found.status)

    @router.get(
        "/metrics",
        dependencies=[Depends(allowed)],
        response_class=Response,
        responses={
            200: {
                "description": "The figures.",
                "content": {"text/plain": _TEXT, "application/openmetrics-text": _TEXT},
            },
        },
    )
    def figures(request: Request) -> Response:
        """Give the figures of this process and of the store, for Prometheus (text or OpenMetrics, as it asks)."""
        encode, media_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(metrics.registry), headers={"Content-Type": media_type})

    return router
