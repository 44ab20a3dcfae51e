"""Alarms, suspended fields and freshness: ``/ops/alarms``, ``/ops/fields``, ``/ops/freshness``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated

import structlog
from fastapi import APIRouter, Depends, Query
from pydantic import Field
from sqlalchemy import Connection as Db

from app.core.clock import from_ms
from app.core.db import Database
from app.ops import paging
from app.ops.auth import allowed
from app.ops.paging import After, Limit, Page
from app.ops.problems import known_query
from app.ops.shapes import Asked, By, Moment, NameText, Shape, moment
from app.records import alarms, suspended
from app.repair import freshness, schema
from app.sync.connection import Connections

log = structlog.get_logger(__name__)

Everything = Annotated[bool, Query(alias="all", description="Those that are over, too.")]


class AlarmShown(Shape):
    """Something that a person should look at."""

    id: int = Field(examples=[3])
    kind: str = Field(
        description="drift, read (an answer that was not whole), field, silence, freshness, webhook, access (a token "
        "ends or was lost), sla (leads wait longer than agreed)",
        examples=["field"],
    )
    connection: str = Field(examples=["hubspot"])
    subject: str = Field(description="What it is about, where that is not the whole connection.", examples=["city"])
    words: str = Field(description="What is wrong, and what to do.")
    since: Moment
    last_seen: Moment
    cleared_at: Moment | None = Field(description="null: it is still so.")


class SuspendedField(Shape):
    """A vendor's field that is neither read nor written at present."""

    connection: str = Field(examples=["hubspot"])
    field: str = Field(description="In the vendor's words.", examples=["jobtitle"])
    why: str = Field(description="gone, renamed, type, options or hidden", examples=["hidden"])
    since: Moment


class SuspendedList(Shape):
    """All of them.  They are as many as mappings name at most, so they are not paged."""

    items: list[SuspendedField]


class ResumeAsked(Asked):
    """Which field is taken as it is now."""

    by: By = Field(description="The operator's name; it is kept.", examples=["Kim"])
    connection: NameText = Field(examples=["hubspot"])
    field: str = Field(min_length=1, max_length=200, description="In the vendor's words.", examples=["jobtitle"])


class Fresh(Shape):
    """How old changes were when they landed at a connection within the last hour, in seconds."""

    connection: str = Field(examples=["mailchimp"])
    landed: int = Field(description="How many changes.", examples=[120])
    p50: float | None = Field(description="null: none landed.", examples=[0.8])
    p95: float | None
    p99: float | None
    oldest: float | None = Field(description="Of the changes that have not landed yet; null: none waits.")
    objective: float | None = Field(description="What tandem.yml promises of p95; null: nothing.", examples=[60])
    kept: bool | None = Field(description="Whether the promise is kept; null: there is none.")


class FreshList(Shape):
    """All connections."""

    items: list[Fresh]


def listing(db: Db, *, everything: bool, limit: int, after: str | None = None) -> Page[AlarmShown]:
    """One page of alarms, the newest first."""
    position = paging.decode("alarms", after, 1)
    before = position[0] if position is not None else None
    rows = alarms.listed(db, everything=everything, limit=limit + 1, before=before)
    items = [
        AlarmShown(
            id=row["id"],
            kind=row["kind"],
            connection=row["connection"],
            subject=row["subject"],
            words=row["words"],
            since=from_ms(row["since"]),
            last_seen=from_ms(row["last_seen"]),
            cleared_at=moment(row["cleared_at"]),
        )
        for row in rows[:limit]
    ]
    following = (rows[limit - 1]["id"],) if len(rows) > limit else None
    return Page(items=items, next=paging.encode("alarms", following))


def fields_of(db: Db, connection: str | None = None) -> list[SuspendedField]:
    """The fields that are suspended."""
    return [
        SuspendedField(connection=row["connection"], field=row["field"], why=row["why"], since=from_ms(row["since"]))
        for row in suspended.listed(db, connection)
    ]


def fresh(db: Db, connections: Connections, oldest: Mapping[str, int | None] | None = None) -> list[Fresh]:
    """How fresh changes land, by connection.  ``oldest``: see ``freshness.ages``."""
    ages = freshness.ages(db, connections, oldest=oldest)
    found = []
    for name, one in connections.items():
        of, most = ages[name], one.watch.freshness_ms
        limit = most / 1000 if most is not None else None
        late = [limit is not None and age is not None and age > limit for age in (of.p95, of.oldest)]
        found.append(
            Fresh(
                connection=name,
                landed=of.n,
                p50=of.p50,
                p95=of.p95,
                p99=of.p99,
                oldest=of.oldest,
                objective=limit,
                kept=not any(late) if limit is not None else None,
            )
        )
    return found


def alarms_api(database: Database, connections: Connections, wake: Callable[[], None]) -> APIRouter:
    """The routes."""
    router = APIRouter(prefix="/ops", tags=["alarms"], dependencies=[Depends(allowed), Depends(known_query)])

    @router.get("/alarms")
    def list_alarms(everything: Everything = False, limit: Limit = 50, after: After = None) -> Page[AlarmShown]:
        """List what a person should look at, the newest first, each with what to do."""
        with database.read() as db:
            return listing(db, everything=everything, limit=limit, after=after)

    @router.get("/fields")
    def list_suspended_fields() -> SuspendedList:
        """List vendors' fields that are neither read nor written at present."""
        with database.read() as db:
            return SuspendedList(items=fields_of(db))

    @router.post("/fields/resume", responses={404: {}})
    def resume_field(asked: ResumeAsked) -> SuspendedList:
        """Take a field as it is now: it is read and written again.  Answers what is still suspended.

        Where it is really empty everywhere, emptied values are let in from now on as the mapping says.
        """

        def work(db: Db) -> list[SuspendedField]:
            schema.resume(db, connections, asked.connection, asked.field, asked.by)
            return fields_of(db)

        found = database.transact(work)
        log.info("operator.resumed_field", connection=asked.connection, field=asked.field)
        wake()
        return SuspendedList(items=found)

    @router.get("/freshness")
    def get_freshness() -> FreshList:
        """Show how old changes were when they landed within the last hour, and whether promises are kept."""
        with database.read() as db:
            return FreshList(items=fresh(db, connections))

    return router
