"""The page for the joint meeting: made of a period, kept, printed."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from typing import Annotated, Final

import structlog
from fastapi import APIRouter, Query, Request, Response
from sqlalchemy import Connection as Db

from app.agreement import pages
from app.agreement.briefing import Body
from app.agreement.leads import Known
from app.console.agreeing import Asked, Day
from app.console.menu import Entry
from app.console.shell import ROOT, Sent, Shell, shape
from app.ops import briefs, paging
from app.ops.problems import invalid
from app.ops.shapes import Id
from app.records import briefs as rows

log = structlog.get_logger(__name__)

PATH: Final = f"{ROOT}/brief"
ENTRY: Final = Entry("Brief", PATH, "Agreement", "e")
KEPT: Final = 12  # briefs in the list beside the page


class BriefAsked(Asked):
    """What the page is asked: the first day, and the day before which it ends."""

    since: Day | None = None
    until: Day | None = None
    after: Annotated[str | None, Query(max_length=200)] = None  # of the list of kept briefs


def moment(day: date | None) -> datetime | None:
    """The beginning of a day, UTC; None for None."""
    return None if day is None else datetime.combine(day, time(), UTC)


def routes(shell: Shell) -> APIRouter:
    """Its paths."""
    router = shell.router()
    known = Known()

    def page(request: Request, db: Db, asked: BriefAsked, body: Body, number: int | None) -> Response:
        position = paging.decode("briefs", asked.after, 1)
        kept = [briefs.line(row) for row in rows.listed(db, position[0] if position is not None else None, KEPT)]
        return shell.page(
            request,
            "brief.html",
            asked=asked,
            path=PATH,
            body=body,
            number=number,
            kept=kept,
            next=paging.encode("briefs", (kept[-1].id,)) if len(kept) == KEPT else None,
            title=pages.title(body),
            compared=pages.compared(body),
            questions=pages.questions(body),
        )

    @router.get("/brief")
    def show_brief(request: Request, asked: Annotated[BriefAsked, Query()]) -> Response:
        with shell.database.read() as db:
            try:
                body = briefs.made(db, known, moment(asked.since), moment(asked.until))[2]
            except ValueError as error:
                raise invalid("query", "since", str(error)) from None
            return page(request, db, asked, body, None)

    @router.post("/brief")
    def keep_brief(sent: Sent) -> Response:
        days: BriefAsked = shape(BriefAsked, since=sent.get("since"), until=sent.get("until"))
        asked: briefs.BriefAsked = shape(
            briefs.BriefAsked, by=sent.get("by"), since=moment(days.since), until=moment(days.until)
        )
        try:
            number, _ = shell.database.transact(lambda db: briefs.keep(db, known, asked.by, asked.since, asked.until))
        except ValueError as error:
            raise invalid("form", "since", str(error)) from None
        log.info("operator.brief", brief=number)
        return shell.done(f"{PATH}/{number}", "kept", by=asked.by)

    @router.get("/brief/{brief_id}")
    def show_kept(request: Request, brief_id: Id, asked: Annotated[BriefAsked, Query()]) -> Response:
        with shell.database.read() as db:
            return page(request, db, asked, briefs.one(db, brief_id), brief_id)

    return router
