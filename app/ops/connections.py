"""The connections, how they stand, and letting them rest: ``/ops/connections``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import structlog
from fastapi import APIRouter, Depends
from pydantic import Field
from sqlalchemy import Connection as Db
from sqlalchemy import RowMapping, Select, func, select

from app.core import tables as t
from app.core.db import Database
from app.ops import brakes
from app.ops.auth import allowed
from app.ops.brakes import BrakeOn
from app.ops.health import State, state_of
from app.ops.problems import known_query
from app.ops.shapes import COUNTED, Asked, Count, Moment, Name, Reason, Shape, count, counted, moment
from app.push import work
from app.records import state
from app.sync.connection import Connection, Connections
from connectors.contract import Limits, Rate

log = structlog.get_logger(__name__)

BY: Final = "operator"  # stays paused over a restart, unlike what Tandem paused itself

i, w, d, s = t.inbox.c, t.work.c, t.dead.c, t.connection_state.c


class Allowance(Shape):
    """At most so many calls in so many seconds, as the vendor publishes it."""

    calls: int = Field(examples=[100])
    seconds: float = Field(examples=[10])


class Allowed(Shape):
    """What the vendor allows."""

    read_batch: int = Field(description="Records in one read.", examples=[100])
    find_batch: int = Field(examples=[100])
    write_batch: int = Field(examples=[100])
    concurrency: int = Field(description="Calls at the same time.", examples=[4])
    rates: list[Allowance]
    families: dict[str, list[Allowance]] = Field(description="Narrower rates of some endpoints.")


class Backlog(Count):
    """What waits."""

    oldest: Moment | None = Field(description="Since when the oldest of the counted ones waits.")


class ConnectionState(Shape):
    """One connection: what it is, how it stands, what waits."""

    name: str = Field(examples=["hubspot"])
    connector: str = Field(examples=["hubspot"])
    side: str = Field(description="crm or marketing", examples=["crm"])
    mode: str = Field(
        description="observe (nothing is written), canary (a few are written to) or live", examples=["live"]
    )
    state: State = Field(
        description="paused: neither read nor written, though webhooks are taken.  failing: its vendor does not "
        "answer as it should."
    )
    why: str | None = Field(description="Why it rests or fails.")
    since: Moment | None = Field(description="Since when it rests or fails.")
    paused_by: str | None = Field(description="operator, or tandem (after a refusal that only people can mend)")
    events: Backlog = Field(description="Events not processed yet.")
    links: Backlog = Field(
        description="Contacts with something to write to this connection; not those that wait for a brake to end."
    )
    brakes: list[BrakeOn] = Field(description="Kinds of write that are stopped here until a person decides.")
    dead: Count = Field(description="Dead letters.")
    last_event_at: Moment | None
    last_push_at: Moment | None
    polled_at: Moment | None
    poll_due_at: Moment | None
    poll_seconds: float = Field(description="How often it is polled, beside its webhooks.", examples=[300])
    walked_at: Moment | None = Field(description="When the first complete walk ended; null: not yet.")
    can: list[str] = Field(description="What its connector claims.", examples=[["changed", "find", "read", "write"]])
    limits: Allowed


class ConnectionList(Shape):
    """All connections.  There are as many as the configuration names, so they are not paged."""

    items: list[ConnectionState]


class PauseAsked(Asked):
    """Why a connection shall rest."""

    reason: Reason | None = Field(default=None, description="Shown to everybody who wonders.", examples=["migration"])


def _view(db: Db, one: Connection, known: RowMapping | None, stopped: list[BrakeOn]) -> ConnectionState:
    condition, why, since = state_of(known)
    row: dict[str, Any] = {str(key): value for key, value in known.items()} if known is not None else {}
    name = one.name
    pending = select(i.received_at.label("since")).where(i.connection == name, i.status == "pending")
    dirty = select(w.since).where(w.connection == name, w.due_at < work.FAR).order_by(w.lane, w.due_at)
    return ConnectionState(
        name=name,
        connector=one.connector.name,
        side=str(one.side),
        mode=str(one.mode),
        state=condition,
        why=why,
        since=since,
        paused_by=row.get("paused_by"),
        events=_backlog(db, pending.order_by(i.due_at)),
        links=_backlog(db, dirty),
        brakes=stopped,
        dead=count(db, select(d.id).where(d.connection == name)),
        last_event_at=moment(row.get("last_event_at")),
        last_push_at=moment(row.get("last_push_at")),
        polled_at=moment(row.get("polled_at")),
        poll_due_at=moment(row.get("poll_due_at")),
        poll_seconds=one.poll_seconds,
        walked_at=moment(row.get("walked_at")),
        can=sorted(str(claim) for claim in one.connector.can),
        limits=_limits(one.connector.limits),
    )


def _backlog(db: Db, rows: Select[Any]) -> Backlog:
    some = rows.limit(COUNTED + 1).subquery()
    found, oldest = db.execute(select(func.count(), func.min(some.c.since)).select_from(some)).one()
    return Backlog(**counted(found).model_dump(), oldest=moment(oldest))


def _limits(limits: Limits) -> Allowed:
    def said(rates: tuple[Rate, ...]) -> list[Allowance]:
        return [Allowance(calls=rate.calls, seconds=rate.seconds) for rate in rates]

    return Allowed(
        read_batch=limits.read_batch,
        find_batch=limits.find_batch,
        write_batch=limits.write_batch,
        concurrency=limits.concurrency,
        rates=said(limits.rates),
        families={family: said(rates) for family, rates in sorted(limits.keys.items())},
    )


def states(db: Db, connections: Connections) -> list[ConnectionState]:
    """How all connections stand."""
    known = {row["name"]: row for row in db.execute(select(t.connection_state)).mappings()}
    on = brakes.on(db)
    return [_view(db, one, known.get(one.name), on.get(one.name, [])) for one in connections.values()]


def state_now(db: Db, connections: Connections, name: str) -> ConnectionState:
    """How one connection stands.  Raises NotFound."""
    return _view(db, connections[name], _known(db, name), brakes.on(db).get(name, []))


def _known(db: Db, name: str) -> RowMapping | None:
    return db.execute(select(t.connection_state).where(s.name == name)).mappings().one_or_none()


def rest(db: Db, name: str, reason: str | None) -> None:
    """Pause for an operator.  A pause of Tandem's own becomes the operator's, so that a restart does not lift it."""
    known = _known(db, name)
    why = reason if reason is not None else "paused by an operator"
    if known is not None and known["paused"]:
        if reason is None and known["paused_why"] is not None:
            why = known["paused_why"]
        state.resume(db, name)
    state.pause(db, name, why, by=BY)


def pause(database: Database, connections: Connections, name: str, reason: str | None) -> ConnectionState:
    """Let a connection rest; how it stands then.  Raises NotFound."""
    one = connections[name]
    with database.write() as db:
        rest(db, name, reason)
        found = _view(db, one, _known(db, name), brakes.on(db).get(name, []))
    log.info("operator.paused", connection=name)
    return found


def resume(database: Database, connections: Connections, name: str) -> ConnectionState:
    """Go on with a connection that rests; how it stands then.  Raises NotFound."""
    one = connections[name]
    with database.write() as db:
        state.resume(db, name)
        found = _view(db, one, _known(db, name), brakes.on(db).get(name, []))
    log.info("operator.resumed", connection=name)
    return found


def connections_api(database: Database, connections: Connections, wake: Callable[[], None]) -> APIRouter:
    """The routes."""
    router = APIRouter(
        prefix="/ops/connections", tags=["connections"], dependencies=[Depends(allowed), Depends(known_query)]
    )

    @router.get("")
    def list_connections() -> ConnectionList:
        """Show all connections."""
        with database.read() as db:
            return ConnectionList(items=states(db, connections))

    @router.post("/{name}/pause")
    def pause_connection(name: Name, asked: PauseAsked | None = None) -> ConnectionState:
        """Let a connection rest: nothing is read from it or written to it until it is resumed, restarts included.

        Webhooks are still taken and wait.  Pausing what rests already changes at most the reason.
        """
        found = pause(database, connections, name, asked.reason if asked is not None else None)
        wake()
        return found

    @router.post("/{name}/resume")
    def resume_connection(name: Name) -> ConnectionState:
        """Go on with a connection that rests.  Resuming what does not rest changes nothing."""
        found = resume(database, connections, name)
        wake()
        return found

    return router
