"""What vendors said happened, and saying it again: ``/ops/events``, ``/ops/replay``, ``/ops/runs``."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Final, Literal

import structlog
from fastapi import APIRouter, Depends, HTTPException, Query, Response
from pydantic import Field, model_validator
from sqlalchemy import Connection as Db
from sqlalchemy import RowMapping, func, select

from app.core import tables as t
from app.core.clock import from_ms, to_ms
from app.core.db import BIGGEST, Database
from app.core.errors import NotFound
from app.ops import paging
from app.ops.arrival import TROUBLE, being, span
from app.ops.auth import allowed
from app.ops.paging import After, Limit, Page
from app.ops.problems import known_query
from app.ops.replay import CLOSED, Replay, obstacle, requeue
from app.ops.shapes import Asked, ByConnection, Id, Moment, NameText, Shape, Since, Status, Time, Until, moment
from app.sync.connection import Connections

log = structlog.get_logger(__name__)

Closed = Literal["done", "ignored", "dead", "parked"]

i, v, r = t.inbox.c, t.delivery.c, t.run.c

# All but the record that an event may carry: it is wide, and the processing's business.
_COLUMNS: Final = [column for column in t.inbox.c if column.name != "record"]


class Pointer(Shape):
    """Points at one record of the vendor."""

    key: str = Field(description="id, or another unique key; empty where the event names no record", examples=["id"])
    value: str = Field(examples=["12345"])


class Event(Shape):
    """What a delivery or a poll said happened to one record."""

    id: int = Field(examples=[7])
    connection: str = Field(examples=["hubspot"])
    kind: str = Field(examples=["contact"])
    action: str = Field(description="changed, deleted, restored, merged, erased; or unreadable", examples=["changed"])
    ref: Pointer
    losers: list[str] = Field(description="Ids that were merged into the record.")
    status: Status = Field(
        description="pending: waits.  done.  ignored: nothing to do.  parked: kept, not readable.  dead: given up.",
        examples=["done"],
    )
    error: str | None = Field(description="Why it is where it is.")
    attempts: int = Field(description="Tries that failed.")
    occurred_at: Moment | None = Field(description="By the vendor's clock, where it says so.")
    received_at: Moment
    due_at: Moment = Field(description="When it may be processed; of interest while it is pending.")
    first_failed_at: Moment | None
    done_at: Moment | None


class Raw(Shape):
    """The delivery that brought an event, as long as it is kept."""

    id: int
    received_at: Moment
    method: str = Field(examples=["POST"])
    path: str = Field(description="Without the query, which may hold a secret.", examples=["/webhooks/hubspot"])
    content_type: str = Field(examples=["application/json"])
    size: int = Field(description="Bytes of the body.", examples=[312])
    body: str | None = Field(description="The body, base64; only where ?raw=true asks for it.")


class EventDetail(Event):
    """One event, with its delivery."""

    delivery: Raw | None = Field(description="null: it came from a poll, or the delivery is no longer kept.")


class Run(Shape):
    """A long piece of work that an operator asked for."""

    id: int = Field(examples=[3])
    kind: str = Field(examples=["replay"])
    status: str = Field(description="running, done or failed", examples=["running"])
    total: int = Field(description="How much there is to do.", examples=[1200])
    exact: bool = Field(description="False while `total` is only known to be at least that.")
    done: int = Field(examples=[500])
    error: str | None
    by: str | None = Field(description="The operator, where one gave their name.")
    connection: str | None = Field(description="Only of this connection.")
    since: Moment | None
    until: Moment | None
    statuses: list[str] = Field(description="Only events that had one of these.")
    started_at: Moment
    ended_at: Moment | None


class Started(Shape):
    """A run was started."""

    run: int = Field(description="Its id: see /ops/runs/{id}.", examples=[3])


class ReplayAsked(Asked):
    """Which events to replay: all that were closed, or fewer."""

    connection: NameText | None = Field(default=None, description="Only of this connection.", examples=["hubspot"])
    since: Time | None = Field(default=None, description="Received at this moment or later.")
    until: Time | None = Field(default=None, description="Received before this moment.")
    contact: Annotated[int, Field(ge=1, le=BIGGEST)] | None = Field(
        default=None, description="Only of this contact's records.", examples=[42]
    )
    status: list[Closed] = Field(
        default=list(CLOSED),
        min_length=1,
        max_length=20,
        description="Only with one of these.  Of the parked ones, those that name a record.",
    )

    @model_validator(mode="after")
    def _span(self) -> ReplayAsked:
        if self.since is not None and self.until is not None and self.since >= self.until:
            raise ValueError("since has to be before until")
        return self


def listing(
    db: Db,
    *,
    connection: str | None,
    status: str | None,
    since: datetime | None,
    until: datetime | None,
    after: str | None,
    limit: int,
) -> Page[Event]:
    """One page of events, the newest first.

    The order is that of ids.  What no index serves is looked at row by row, up to a bound.
    """
    position = paging.decode("events", after, 1)
    first, last = span(db, since, until)
    served = connection is None and since is None and until is None and (status is None or status in TROUBLE)
    looked_at = limit + 1 if served else paging.MOST
    query = select(i.id, i.connection, i.status, i.received_at).where(i.id >= first, i.id < last)
    if position is not None:
        query = query.where(i.id < position[0])
    if status in TROUBLE:
        query = query.where(being(status))
    least = to_ms(since) if since is not None else None
    most = to_ms(until) if until is not None else None

    def keep(row: RowMapping) -> bool:
        return (
            connection in {None, row["connection"]}
            and status in {None, row["status"]}
            and (least is None or row["received_at"] >= least)
            and (most is None or row["received_at"] < most)
        )

    rows, following = paging.cut(
        db.execute(query.order_by(i.id.desc()).limit(looked_at)).mappings().all(),
        key=lambda row: (row["id"],),
        keep=keep,
        limit=limit,
        looked_at=looked_at,
    )
    found = {row["id"]: row for row in _by_id(db, [row["id"] for row in rows])}
    items = [Event(**_event(found[row["id"]])) for row in rows if row["id"] in found]
    return Page(items=items, next=paging.encode("events", following))


def _by_id(db: Db, ids: Sequence[int]) -> Sequence[RowMapping]:
    return db.execute(select(*_COLUMNS).where(i.id.in_(ids))).mappings().all() if ids else ()


def _event(row: RowMapping) -> dict[str, Any]:
    return {
        "id": row["id"],
        "connection": row["connection"],
        "kind": row["kind"],
        "action": row["action"],
        "ref": Pointer(key=row["ref_key"], value=row["ref_value"]),
        "losers": row["losers"] if row["losers"] is not None else [],
        "status": row["status"],
        "error": row["error"],
        "attempts": row["attempts"],
        "occurred_at": moment(row["occurred_at"]),
        "received_at": moment(row["received_at"]),
        "due_at": moment(row["due_at"]),
        "first_failed_at": moment(row["first_failed_at"]),
        "done_at": moment(row["done_at"]),
    }


def _one(db: Db, number: int) -> RowMapping:
    rows = _by_id(db, [number])
    if not rows:
        raise NotFound(f"there is no event {number}")
    return rows[0]


def _delivery(db: Db, number: int | None, *, raw: bool) -> Raw | None:
    if number is None:
        return None
    columns = [v.id, v.received_at, v.method, v.path, v.content_type, func.length(v.body).label("size")]
    row = db.execute(select(*columns, *([v.body] if raw else [])).where(v.id == number)).one_or_none()
    if row is None:
        return None
    return Raw(
        id=row.id,
        received_at=from_ms(row.received_at),
        method=row.method,
        path=row.path,
        content_type=row.content_type,
        size=row.size,
        body=base64.b64encode(row.body).decode() if raw else None,
    )


def _run(row: RowMapping) -> Run:
    asked: Mapping[str, Any] = row["params"]
    return Run(
        id=row["id"],
        kind=row["kind"],
        status=row["status"],
        total=row["total"],
        exact=row["status"] == "done" or bool(asked.get("counted", True)),
        done=row["done"],
        error=row["error"],
        by=asked.get("by"),
        connection=asked.get("connection"),
        since=moment(asked.get("since")),
        until=moment(asked.get("until")),
        statuses=list(asked.get("status", [])),
        started_at=from_ms(row["started_at"]),
        ended_at=moment(row["ended_at"]),
    )


def events(database: Database, connections: Connections, replay: Replay, wake: Callable[[], None]) -> APIRouter:
    """The routes."""
    router = APIRouter(prefix="/ops", tags=["events"], dependencies=[Depends(allowed), Depends(known_query)])

    @router.get("/events")
    def list_events(
        connection: ByConnection = None,
        status: Annotated[Status | None, Query(description="Only with this status.")] = None,
        since: Since = None,
        until: Until = None,
        limit: Limit = 50,
        after: After = None,
    ) -> Page[Event]:
        """List events, the newest first; `since` and `until` are about when they were received."""
        with database.read() as db:
            return listing(
                db,
                connection=connection,
                status=status,
                since=since,
                until=until,
                after=after,
                limit=limit,
            )

    @router.get("/events/{event_id}")
    def get_event(
        event_id: Id,
        raw: Annotated[bool, Query(description="Also give the body of the delivery, base64.")] = False,
    ) -> EventDetail:
        """Show one event and the delivery that brought it."""
        with database.read() as db:
            row = _one(db, event_id)
            return EventDetail(**_event(row), delivery=_delivery(db, row["delivery"], raw=raw))

    @router.post("/events/{event_id}/replay", status_code=202, responses={409: {}})
    def replay_event(event_id: Id) -> Event:
        """Process one closed event again: its record is read back from the vendor."""
        with database.write() as db:
            row = _one(db, event_id)
            reason = obstacle(connections, row)
            if reason is not None:
                raise HTTPException(409, f"event {event_id} cannot be replayed: {reason}")
            requeue(db, [event_id])
            event = Event(**_event(_one(db, event_id)))
        log.info("operator.replayed", event_id=event_id)
        wake()
        return event

    @router.post("/replay", status_code=202, tags=["runs"], responses={404: {}})
    def start_replay(asked: ReplayAsked, response: Response) -> Started:
        """Process many closed events again, in the background; the answer names the run to look at."""
        if asked.connection is not None:
            connections[asked.connection]  # raises NotFound
        number = replay.start(
            connection=asked.connection,
            since=asked.since,
            until=asked.until,
            status=frozenset(asked.status),
            contact=asked.contact,
        )
        response.headers["Location"] = f"/ops/runs/{number}"
        wake()
        return Started(run=number)

    @router.get("/runs", tags=["runs"])
    def list_runs(limit: Limit = 50, after: After = None) -> Page[Run]:
        """List runs, the newest first."""
        position = paging.decode("runs", after, 1)
        query = select(t.run).order_by(r.id.desc()).limit(limit + 1)
        if position is not None:
            query = query.where(r.id < position[0])
        with database.read() as db:
            rows, following = paging.cut(
                db.execute(query).mappings().all(),
                key=lambda row: (row["id"],),
                keep=lambda _row: True,
                limit=limit,
                looked_at=limit + 1,
            )
        return Page(items=[_run(row) for row in rows], next=paging.encode("runs", following))

    @router.get("/runs/{run_id}", tags=["runs"])
    def get_run(run_id: Id) -> Run:
        """Show how far a run is."""
        with database.read() as db:
            row = db.execute(select(t.run).where(r.id == run_id)).mappings().one_or_none()
        if row is None:
            raise NotFound(f"there is no run {run_id}")
        return _run(row)

    return router
