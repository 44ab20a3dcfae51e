"""Mass changes that wait for a person, and how one decides about them: ``/ops/brakes``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

import structlog
from fastapi import APIRouter, Depends, Path, Query
from pydantic import Field
from sqlalchemy import Connection as Db

from app.core.clock import from_ms
from app.core.db import Database
from app.core.words import Writes
from app.ops import paging
from app.ops.auth import allowed
from app.ops.paging import After, Limit, Page
from app.ops.problems import known_query
from app.ops.shapes import Asked, By, Moment, Name, Shape, moment
from app.push import brake, ending
from app.push.gather import Gathered, gather
from app.push.plan import Held, Planned, plan
from app.push.work import Leased
from app.sync.connection import Connection, Connections

log = structlog.get_logger(__name__)

Kind = Annotated[Writes, Path(description="The kind of write that is stopped.")]
Ended = Annotated[bool, Query(description="Also those that were ended, and how.")]


class LimitShown(Shape):
    """Both have to be exceeded within the window before the kind stops."""

    count: int = Field(description="So many writes.", examples=[1000])
    share: float = Field(description="Such a share of the records known there.", examples=[0.2])
    window_minutes: float = Field(examples=[60])


class BrakeOn(Shape):
    """A kind of write that is stopped at a connection."""

    kind: Writes = Field(description="What is stopped.")
    since: Moment
    why: str = Field(description="What was about to be written, and what the limits are.")
    waiting: int = Field(description="Links that wait for a person.", examples=[1200])


class BrakeShown(BrakeOn):
    """A brake that is on, or was."""

    id: int = Field(examples=[3])
    connection: str = Field(examples=["mailchimp"])
    seen: int = Field(description="Writes within the window, those included that it stopped first.", examples=[1201])
    known: int = Field(description="Records known at the connection then.", examples=[4000])
    limits: LimitShown | None = Field(
        description="As the configuration says them now; null: `off`, or the connection is not configured any more."
    )
    ended_at: Moment | None
    ended_by: str | None = Field(description="The operator.", examples=["Kim"])
    ending: Literal["released", "discarded"] | None = Field(
        description="released: what waited was written.  discarded: it is not to be."
    )


class FieldWaiting(Shape):
    """One field that would be written."""

    field: str = Field(description="In canonical words; `consent:…` for consent.", examples=["city"])
    old: Any = Field(description="What the record is known to hold; null: nothing, or not known.")
    new: Any = Field(description="What it would hold.")


class WaitingShown(Shape):
    """A contact of whom something waits."""

    contact_id: int = Field(description="See /contacts/{contact_id}.", examples=[42])
    since: Moment = Field(description="When the oldest change in it happened.")
    action: Literal["create", "update", "archive", "merge"] | None = Field(
        description="What is to be done to the record; null: nothing any more, the contact has changed since."
    )
    fields: list[FieldWaiting] = Field(description="What waits; other fields of the contact have gone already.")


class EndingAsked(Asked):
    """Who ends it."""

    by: By = Field(description="The operator's name; it is kept.", examples=["Kim"])


class BrakeEnded(Shape):
    """A brake that went off just now."""

    connection: str = Field(examples=["mailchimp"])
    kind: Writes = Field(description="What is stopped.")
    ending: Literal["released", "discarded"]
    links: int = Field(description="How many links had waited.", examples=[1200])


def on(db: Db) -> dict[str, list[BrakeOn]]:
    """The brakes that are on, by connection."""
    found: dict[str, list[BrakeOn]] = {}
    for row in sorted(brake.listed(db), key=lambda row: str(row["kind"])):
        shown = BrakeOn(kind=row["kind"], since=from_ms(row["since"]), why=row["why"], waiting=row["waiting"])
        found.setdefault(row["connection"], []).append(shown)
    return found


def told(connection: str, stopped: BrakeOn) -> str:
    """A brake in a sentence, with what to do about it."""
    this = f"{connection} {stopped.kind}"
    return (
        f"{connection}: a brake is on for {stopped.kind}, {stopped.waiting:,} wait: {stopped.why}; look with "
        f"`tandem brake show {this}`, then `tandem brake release {this} --by NAME`, or discard"
    )


def _limits(connections: Connections, name: str, kind: str) -> LimitShown | None:
    limits = connections[name].brake if name in connections else None
    limit = limits.limits.get(Writes(kind)) if limits is not None else None
    if limits is None or limit is None:
        return None
    return LimitShown(count=limit.count, share=limit.share, window_minutes=limits.window_ms / 60_000)


def shown(connections: Connections, row: dict[str, Any]) -> BrakeShown:
    """A row of ``app.push.brake.listed`` for people."""
    data = {
        **row,
        "since": from_ms(row["since"]),
        "ended_at": moment(row["ended_at"]),
        "limits": _limits(connections, row["connection"], row["kind"]),
    }
    return BrakeShown(**data)


def waiting(
    db: Db, connections: Connections, connection: str, kind: Writes, limit: int, after: int | None = None
) -> list[WaitingShown]:
    """What waits for a brake, by contact id after ``after``, and what would be written.  Raises NotFound."""
    to = connections[connection]
    rows = brake.waiting(db, connection, kind, limit, after)
    found = gather(db, to, connections, [contact for contact, _ in rows])
    return [_waiting(to, found, contact, since, kind) for contact, since in rows]


def _waiting(to: Connection, found: Gathered, number: int, since: int, kind: Writes) -> WaitingShown:
    """What is written without the brake and is not with it."""
    nothing = WaitingShown(contact_id=number, since=from_ms(since), action=None, fields=[])
    contact, link = found.contacts.get(number), found.links.get(number)
    if contact is None or number in found.erased:
        return nothing
    row, known = Leased(number, 1, since, None), found.known[number]
    free, stopped = plan(to, row, contact, link, known), plan(to, row, contact, link, known, {kind})
    if not isinstance(free, Planned) or stopped is None or (isinstance(stopped, Planned) and stopped.held is not kind):
        return nothing
    goes = {} if isinstance(stopped, Held) else stopped.sent
    shadow = link.shadow if link is not None else {}
    fields = [FieldWaiting(field=n, old=shadow.get(n), new=v) for n, v in sorted(free.sent.items()) if n not in goes]
    return nothing.model_copy(update={"action": str(free.order.verb), "fields": fields})


def release(database: Database, connection: str, kind: Writes, by: str) -> BrakeEnded:
    """Let through what waits for a brake.  Raises NotFound."""
    links = database.transact(lambda db: ending.release(db, connection, kind, by))
    log.info("operator.released", connection=connection, kind=str(kind), links=links)
    return BrakeEnded(connection=connection, kind=kind, ending="released", links=links)


def discard(database: Database, connections: Connections, connection: str, kind: Writes, by: str) -> BrakeEnded:
    """Decide that nothing of what waits for a brake is written.  Raises NotFound."""
    links = ending.discard(database, connections, connection, kind, by)
    log.info("operator.discarded", connection=connection, kind=str(kind), links=links)
    return BrakeEnded(connection=connection, kind=kind, ending="discarded", links=links)


def brakes_api(database: Database, connections: Connections, wake: Callable[[], None]) -> APIRouter:
    """The routes."""
    router = APIRouter(prefix="/ops/brakes", tags=["brakes"], dependencies=[Depends(allowed), Depends(known_query)])

    @router.get("")
    def list_brakes(ended: Ended = False, limit: Limit = 50, after: After = None) -> Page[BrakeShown]:
        """List brakes that are on, the newest first."""
        position = paging.decode("brakes", after, 1)
        before = position[0] if position is not None else None
        with database.read() as db:
            found = brake.listed(db, ended=ended, limit=limit + 1, before=before)
        following = (found[limit - 1]["id"],) if len(found) > limit else None
        return Page(items=[shown(connections, row) for row in found[:limit]], next=paging.encode("brakes", following))

    @router.get("/{connection}/{kind}/waiting")
    def list_waiting(connection: Name, kind: Kind, limit: Limit = 50, after: After = None) -> Page[WaitingShown]:
        """List the contacts that wait for a brake, in the order of their ids, with what would be written."""
        position = paging.decode("waiting", after, 1)
        with database.read() as db:
            found = waiting(db, connections, connection, kind, limit + 1, position[0] if position is not None else None)
        following = (found[limit - 1].contact_id,) if len(found) > limit else None
        return Page(items=found[:limit], next=paging.encode("waiting", following))

    @router.post("/{connection}/{kind}/release")
    def release_brake(connection: Name, kind: Kind, asked: EndingAsked) -> BrakeEnded:
        """Let through everything that waits, and count anew."""
        ended = release(database, connection, kind, asked.by)
        wake()
        return ended

    @router.post("/{connection}/{kind}/discard")
    def discard_brake(connection: Name, kind: Kind, asked: EndingAsked) -> BrakeEnded:
        """Decide that nothing of what waits is written: the vendor keeps what it has, until a contact says more.

        Takes some seconds for each thousand links.  Cut off, it is gone on with by the same request.
        """
        ended = discard(database, connections, connection, kind, asked.by)
        wake()
        return ended

    return router
