"""What sales and marketing owe each other, and how it stands: ``/sla``."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any

import structlog
from fastapi import APIRouter, Depends, Query
from pydantic import Field
from sqlalchemy import Connection as Db
from sqlalchemy import RowMapping

from app.agreement import pausing, pledges
from app.agreement.clocks import Mark, Reading, State
from app.agreement.leads import Known
from app.agreement.quotas import Judgement, Standing
from app.core.clock import from_ms
from app.core.db import Database, clock_of
from app.ops import paging
from app.ops.auth import allowed
from app.ops.paging import After, Limit, Page
from app.ops.problems import known_query
from app.ops.shapes import Asked, By, Id, Moment, Reason, Shape, Text, moment
from app.records import clocks
from app.sync.connection import Connections

log = structlog.get_logger(__name__)

ByState = Annotated[State | None, Query(description="Only in this state; without it all that have not ended.")]
ByOwner = Annotated[Text | None, Query(max_length=320, description="Only of this colleague, by address.")]
ByTeam = Annotated[Text | None, Query(max_length=200, description="Only of colleagues of this team.")]


class ClockShown(Shape):
    """One clock of a lead, as it stands since its last mark."""

    contact_id: int = Field(description="See /leads/{contact_id}.", examples=[42])
    clock: str = Field(description="Its name in the agreement.", examples=["first_touch"])
    round: int = Field(description="1, and one more each time that it began again.")
    state: State
    owner: str | None = Field(description="The colleague in charge, by address.")
    team: str | None
    started_at: Moment
    due_at: Moment | None = Field(description="null: it stands, and nobody knows.")
    breached_at: Moment | None
    ended_at: Moment | None = Field(description="When it was done, or taken back.")
    paused_for: list[str] = Field(description="Why it stands.", examples=[["asked to wait"]])


class NoticeShown(Shape):
    """A moment of a clock of which somebody is to hear."""

    id: int
    contact_id: int
    clock: str = Field(examples=["first_touch"])
    mark: Mark
    at: Moment
    owner: str | None = Field(description="Who was in charge then.")
    to: str | None = Field(description="Who hears of it beside the owner.", examples=["head of sales"])
    reassign: bool = Field(description="Whether the lead is to go to somebody else.")


class ReadingShown(Shape):
    """One clock of a lead at this moment.  Durations in minutes of business time."""

    clock: str = Field(examples=["first_touch"])
    round: int
    state: State
    owner: str | None
    calendar: str
    version: str = Field(description="Digest of the version by which it goes.")
    started_at: Moment
    due_at: Moment | None
    breached_at: Moment | None
    ended_at: Moment | None
    elapsed: float
    remaining: float = Field(description="Negative: over by so much.")
    paused: float = Field(description="That the pauses took.")
    paused_for: list[str]
    next_at: Moment | None = Field(description="When it changes by itself.")


class LeadClocks(Shape):
    """The clocks of a lead."""

    contact_id: int
    clocks: list[ReadingShown]


class PromiseShown(Shape):
    """A promise of marketing in the period that runs."""

    promise: str = Field(description="Its name in the agreement.", examples=["quality"])
    period: str = Field(examples=["2026-Q4"])
    start: Moment
    end: Moment
    judgement: Judgement
    target: float = Field(description="Leads, or a rate from 0 to 1.")
    so_far: float | None
    expected: float = Field(description="Of the target by now.")
    projected: float | None
    leads: int
    accepted: int
    decided: int = Field(description="Accepted, or properly given back.")
    low: float | None = Field(description="Of the rate among decided leads: Wilson's 95 % interval.")
    high: float | None
    small: bool = Field(description="Too few decided leads to say much.")


class Promises(Shape):
    """All of them: they are as many as the agreement names."""

    items: list[PromiseShown]


class PauseAsked(Asked):
    """Why the clocks of a lead are to stand, or go on."""

    by: By = Field(description="The operator's name; it is kept.", examples=["Kim"])
    reason: Reason = Field(description="One that the agreement knows.", examples=["asked to wait"])
    clock: Reason | None = Field(default=None, description="This clock only.", examples=["first_touch"])


class ResumeAsked(Asked):
    """That the clocks of a lead are to go on."""

    by: By = Field(description="The operator's name; it is kept.", examples=["Kim"])
    reason: Reason | None = Field(default=None, description="What they stand for; without it all of it.")


class ReassignAsked(Asked):
    """Who is to be in charge of a lead."""

    by: By = Field(description="The operator's name; it is kept.", examples=["Kim"])
    owner: Reason = Field(description="Address of the colleague.", examples=["lou@example.org"])
    reason: Reason = Field(examples=["on leave"])


def _clock(row: RowMapping) -> ClockShown:
    moments = ("started_at", "due_at", "breached_at", "ended_at")
    data = {n: moment(row[n]) if n in moments else row[n] for n in row if n in ClockShown.model_fields}
    reasons = row["paused_for"] if row["paused_for"] is not None else []
    return ClockShown(**{**data, "clock": row["name"], "paused_for": reasons})


def _reading(r: Reading) -> ReadingShown:
    moments = {n: moment(getattr(r, n)) for n in ("started_at", "due_at", "breached_at", "ended_at", "next_at")}
    lasting = {n: round(getattr(r, n) / 60_000, 1) for n in ("elapsed", "remaining", "paused")}
    names = ("clock", "round", "state", "owner", "calendar", "version")
    reasons = [p.reason for p in r.pauses if p.until is None]
    return ReadingShown(**moments, **lasting, **{n: getattr(r, n) for n in names}, paused_for=reasons)


def _promise(s: Standing) -> PromiseShown:
    names = ("judgement", "target", "so_far", "expected", "projected", "low", "high", "small")
    count = {"leads": s.count.leads, "accepted": s.count.accepted, "decided": s.count.decided}
    span = {"period": s.period.label, "start": from_ms(s.period.start), "end": from_ms(s.period.end)}
    return PromiseShown(promise=s.quota, **span, **count, **{n: getattr(s, n) for n in names})


def listed(
    db: Db,
    *,
    state: State | None = None,
    owner: str | None = None,
    team: str | None = None,
    after: paging.Position | None = None,
    limit: int = 50,
) -> tuple[list[ClockShown], paging.Position | None]:
    """A page of clocks by when they are due, and where to go on; None at the end."""
    behind = (after[0], after[1]) if after is not None else None
    rows = clocks.listed(db, state=state, team=team, owner=owner, after=behind, limit=paging.MOST)

    def fits(row: RowMapping) -> bool:
        return owner in {None, row["owner"]} and team in {None, row["team"]}

    kept, following = paging.cut(
        rows, lambda row: (row["rank_at"], row["id"]), fits, limit=limit, looked_at=paging.MOST
    )
    return [_clock(row) for row in kept], following


def promises(db: Db, known: Known, at: datetime | None = None) -> list[PromiseShown]:
    """How the promises of marketing stand in the period that ``at`` (None: now) lies in."""
    now = clock_of(db)
    moment_ = None if at is None else int(at.timestamp() * 1000)
    return [_promise(s) for s in pledges.standings(db, known.versions(db).versions, now, moment_)]


def of_lead(contact: int, readings: tuple[Reading, ...]) -> LeadClocks:
    """The clocks of a lead for people."""
    return LeadClocks(contact_id=contact, clocks=[_reading(r) for r in readings])


def sla_api(database: Database, connections: Connections, wake: Callable[[], None]) -> APIRouter:
    """The routes."""
    router = APIRouter(tags=["sla"], dependencies=[Depends(allowed), Depends(known_query)])
    known = Known()

    def act(what: str, contact: int, do: Callable[[Db], tuple[Reading, ...]]) -> LeadClocks:
        found = of_lead(contact, database.transact(do))
        log.info("operator.clock", contact=contact, what=what)
        wake()
        return found

    @router.get("/sla")
    def list_clocks(
        state: ByState = None, owner: ByOwner = None, team: ByTeam = None, limit: Limit = 50, after: After = None
    ) -> Page[ClockShown]:
        """List the clocks of leads, the earliest due first; those that stand come last."""
        position = paging.decode("sla", after, 2)
        with database.read() as db:
            found, following = listed(db, state=state, owner=owner, team=team, after=position, limit=limit)
        return Page(items=found, next=paging.encode("sla", following))

    @router.get("/sla/promises")
    def list_promises() -> Promises:
        """Show how the promises of marketing stand in the period that runs."""
        with database.read() as db:
            return Promises(items=promises(db, known))

    @router.get("/sla/notices")
    def list_notices(limit: Limit = 50, after: After = None) -> Page[NoticeShown]:
        """List reminders, breaches and escalations in the order in which they became known, each once."""
        position = paging.decode("notices", after, 1)
        with database.read() as db:
            rows = clocks.heard(db, position[0] if position is not None else 0, limit)
        items = [_notice(row) for row in rows]
        return Page(items=items, next=paging.encode("notices", (rows[-1]["id"],) if len(rows) == limit else None))

    @router.get("/sla/{contact_id}")
    def show_clocks(contact_id: Id) -> LeadClocks:
        """Show the clocks of a lead at this moment, every round of them."""
        with database.read() as db:
            return of_lead(*pausing.shown(db, connections, known, contact_id))

    @router.post("/sla/{contact_id}/pause", responses={409: {}})
    def pause_clocks(contact_id: Id, asked: PauseAsked) -> LeadClocks:
        """Let the clocks of a lead stand, for a reason that the agreement knows."""
        return act(
            "pause",
            contact_id,
            lambda db: pausing.pause(db, connections, known, contact_id, asked.reason, asked.by, clock=asked.clock),
        )

    @router.post("/sla/{contact_id}/resume", responses={409: {}})
    def resume_clocks(contact_id: Id, asked: ResumeAsked) -> LeadClocks:
        """Let the clocks of a lead go on."""
        return act(
            "resume",
            contact_id,
            lambda db: pausing.resume(db, connections, known, contact_id, asked.by, reason=asked.reason),
        )

    @router.post("/sla/{contact_id}/reassign", responses={409: {}})
    def reassign_lead(contact_id: Id, asked: ReassignAsked) -> LeadClocks:
        """Give a lead to another colleague, here and where the mappings write the owner."""
        return act(
            "reassign",
            contact_id,
            lambda db: pausing.reassign(db, connections, known, contact_id, asked.owner, asked.reason, asked.by),
        )

    return router


def _notice(row: RowMapping) -> NoticeShown:
    data: dict[str, Any] = {n: row[n] for n in ("id", "contact_id", "mark", "owner")}
    to = row["to"] if row["to"] != "" else None
    return NoticeShown(**data, clock=row["name"], at=from_ms(row["at"]), to=to, reassign=bool(row["reassign"]))
