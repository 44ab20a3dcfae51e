"""The page for the joint meeting: ``/brief``."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any

import structlog
from fastapi import APIRouter, Depends, Query
from fastapi.responses import HTMLResponse, PlainTextResponse, Response
from pydantic import Field
from sqlalchemy import Connection as Db
from sqlalchemy import RowMapping

from app.agreement import pages
from app.agreement.briefing import Body, brief
from app.agreement.leads import Known
from app.core.clock import from_ms, to_ms
from app.core.db import Database, clock_of
from app.core.errors import NotFound
from app.ops import paging
from app.ops.auth import allowed
from app.ops.paging import After, Limit, Page
from app.ops.problems import invalid, known_query
from app.ops.shapes import Asked, By, Id, LooseTime, Moment, Shape, Since, Until
from app.records import briefs

log = structlog.get_logger(__name__)

DAYS = 28  # of a brief that follows none


class Form(StrEnum):
    """How the page is written."""

    JSON = "json"
    MARKDOWN = "markdown"
    HTML = "html"


ByForm = Annotated[Form, Query(description="json, markdown, or html that prints.")]


class Section(Shape):
    """One table of the brief.  Where there was a brief before, its figures stand in the third column."""

    name: str = Field(examples=["sales"])
    title: str
    columns: list[str]
    rows: list[list[Any]]
    empty: str = Field(description="What it says where there is no row.")


class BriefShown(Shape):
    """The page for the joint meeting."""

    start: str = Field(description="First day, UTC.", examples=["2026-11-01"])
    end: str = Field(description="Last day, UTC.", examples=["2026-11-28"])
    since: str | None = Field(description="End of the brief that it is compared with.")
    sections: list[Section]
    questions: list[str]


class BriefLine(Shape):
    """A brief that was kept."""

    id: int = Field(examples=[3])
    start: Moment
    end: Moment
    made_at: Moment
    by: str


class BriefAsked(Asked):
    """That the brief of a period is to be kept."""

    by: By = Field(description="The operator's name; it is kept.", examples=["Kim"])
    since: LooseTime | None = Field(default=None, description="Without it: the end of the last one.")
    until: LooseTime | None = Field(default=None, description="Without it: now.")


def period(db: Db, since: datetime | None, until: datetime | None) -> tuple[int, int]:
    """The period that is meant: up to now, from the end of the last brief, or ``DAYS`` days."""
    now = clock_of(db)
    end = to_ms(until) if until is not None else now
    if since is not None:
        return to_ms(since), end
    last = briefs.last(db, end - 1)
    return last["end_at"] if last is not None else to_ms(from_ms(end) - timedelta(days=DAYS)), end


def made(db: Db, known: Known, since: datetime | None, until: datetime | None) -> tuple[int, int, Body]:
    """The brief of a period and the period.  Raises ValueError for one that ends before it starts."""
    start, end = period(db, since, until)
    return start, end, brief(db, known.versions(db).versions, start, end)


def keep(db: Db, known: Known, by: str, since: datetime | None, until: datetime | None) -> tuple[int, Body]:
    """Make the brief of a period and keep it; its number, and itself."""
    now = clock_of(db)
    start, end, body = made(db, known, since, until)
    return briefs.keep(db, start, end, by, body, now), body


def one(db: Db, number: int) -> Body:
    """A brief that was kept.  Raises NotFound."""
    row = briefs.one(db, number)
    if row is None:
        raise NotFound(f"there is no brief {number}; /briefs lists them")
    body: Body = row["body"]
    return body


def line(row: RowMapping) -> BriefLine:
    """A brief that was kept, in short."""
    return BriefLine(
        id=row["id"],
        start=from_ms(row["start_at"]),
        end=from_ms(row["end_at"]),
        made_at=from_ms(row["made_at"]),
        by=row["by"],
    )


def _written(body: Body, form: Form) -> Response | BriefShown:
    if form is Form.MARKDOWN:
        return PlainTextResponse(pages.markdown(body), media_type="text/markdown")
    return HTMLResponse(pages.html(body)) if form is Form.HTML else BriefShown(**body)


def brief_api(database: Database) -> APIRouter:
    """The routes."""
    router = APIRouter(tags=["brief"], dependencies=[Depends(allowed), Depends(known_query)])
    known = Known()
    text: dict[str, Any] = {"schema": {"type": "string"}}
    forms: dict[int | str, dict[str, Any]] = {
        200: {"description": "As asked for by `form`.", "content": {"text/html": text, "text/markdown": text}}
    }

    @router.get("/brief", response_model=BriefShown, responses=forms)
    def show_brief(since: Since = None, until: Until = None, form: ByForm = Form.JSON) -> Response | BriefShown:
        """Make the brief of a period, without keeping it; without a period, since the last one that was kept."""
        try:
            with database.read() as db:
                return _written(made(db, known, _utc(since), _utc(until))[2], form)
        except ValueError as error:
            raise invalid("query", "since", str(error)) from None

    @router.post("/brief")
    def keep_brief(asked: BriefAsked) -> BriefShown:
        """Make the brief of a period and keep it: the next one is compared with it."""
        try:
            number, body = database.transact(lambda db: keep(db, known, asked.by, _utc(asked.since), _utc(asked.until)))
        except ValueError as error:
            raise invalid("body", "since", str(error)) from None
        log.info("operator.brief", brief=number)
        return BriefShown(**body)

    @router.get("/briefs")
    def list_briefs(limit: Limit = 50, after: After = None) -> Page[BriefLine]:
        """List the briefs that were kept, the newest first."""
        position = paging.decode("briefs", after, 1)
        with database.read() as db:
            rows = briefs.listed(db, position[0] if position is not None else None, limit)
        following = (rows[-1]["id"],) if len(rows) == limit else None
        return Page(items=[line(row) for row in rows], next=paging.encode("briefs", following))

    @router.get("/briefs/{brief_id}", response_model=BriefShown, responses=forms)
    def show_kept(brief_id: Id, form: ByForm = Form.JSON) -> Response | BriefShown:
        """Show a brief as it was handed out."""
        with database.read() as db:
            return _written(one(db, brief_id), form)

    return router


def _utc(moment: datetime | None) -> datetime | None:
    return moment if moment is None or moment.tzinfo is not None else moment.replace(tzinfo=UTC)
