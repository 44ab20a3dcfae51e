"""The scorecard and the supply chain: ``/scorecard``, ``/flow``."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from datetime import date
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Path, Query, Response
from fastapi.responses import StreamingResponse

from app.agreement import exporting
from app.agreement.leads import Known
from app.agreement.scorecard import Per
from app.core.db import Database
from app.ops._scorecards_shown import (
    DEFAULT_DAYS,
    CohortList,
    CreditList,
    DefinitionList,
    FlowShown,
    MovesList,
    ScorecardShown,
    card_shown,
    cohorts_shown,
    credit_shown,
    definitions,
    flow_shown,
    moves_shown,
    span_of,
)
from app.ops.auth import allowed
from app.ops.problems import known_query
from app.sync.connection import Connections

Dimension = Literal["channel", "campaign", "variant", "persona", "profile", "team", "did"]
Among = Literal["channel", "campaign", "team"]
Model = Literal["first", "last", "linear", "u", "w", "decay"]
Milestone = Literal["lead", "mql", "sal", "sql", "opportunity"]
Export = Literal["lead_rounds", "lead_sources", "lead_steps", "deals", "programme_members", "scores"]

Since = Annotated[
    date | None,
    Query(description=f"The first day, UTC; {DEFAULT_DAYS} days before the end without it.", examples=["2026-01-01"]),
]
Until = Annotated[date | None, Query(description="The last day, UTC; today without it.", examples=["2026-03-31"])]
ByPer = Annotated[Per, Query(description="The periods of the trend.")]
Value = Annotated[
    str, Query(max_length=300, description="Only of this value of `by`.", pattern=r"^[^\x00]*$", examples=["ads"])
]


def scorecards_api(database: Database, connections: Connections) -> APIRouter:
    """The routes."""
    router = APIRouter(tags=["scorecard"], dependencies=[Depends(allowed), Depends(known_query)])
    known = Known()

    @router.get("/scorecard")
    def get_scorecard(
        since: Since = None,
        until: Until = None,
        per: ByPer = "month",
        by: Annotated[Dimension | None, Query(description="A dimension; `value` says which of it.")] = None,
        value: Value = "",
    ) -> ScorecardShown:
        """Show what both teams did, side by side with targets and the goal, and how good the data is."""
        with database.read() as db:
            span = span_of(db, since, until)
            return card_shown(db, connections, known, span, per, by if by is not None else "", value)

    @router.get("/scorecard/moves")
    def get_moves(
        by: Annotated[Dimension, Query(description="`did`: by what was done with the lead.")] = "channel",
        since: Since = None,
        until: Until = None,
    ) -> MovesList:
        """Show how it went on with leads by channel, campaign, variant, persona, profile, or by what was done.

        A difference is no proof of a cause: who is called was promising before.
        """
        with database.read() as db:
            return moves_shown(db, by, span_of(db, since, until))

    @router.get("/scorecard/attribution")
    def get_attribution(
        model: Annotated[Model, Query(description="How a deal is divided.")] = "w",
        by: Annotated[Among, Query(description="Among what.")] = "channel",
        since: Since = None,
        until: Until = None,
    ) -> CreditList:
        """Show what a model credits won deals to, by the day on which they were won."""
        with database.read() as db:
            return credit_shown(db, model, by, span_of(db, since, until))

    @router.get("/scorecard/cohorts")
    def get_cohorts(
        milestone: Annotated[Milestone, Query(description="By whose date.")] = "mql",
        per: ByPer = "month",
        since: Since = None,
        until: Until = None,
    ) -> CohortList:
        """Show how far leads went, by the period in which they passed a milestone."""
        with database.read() as db:
            return cohorts_shown(db, milestone, per, span_of(db, since, until))

    @router.get("/scorecard/definitions")
    def get_definitions() -> DefinitionList:
        """Show what every figure means."""
        return definitions()

    @router.get(
        "/scorecard/export/{name}",
        response_class=Response,
        responses={200: {"content": {"text/csv": {}}, "description": "CSV with a heading."}},
    )
    def export_scorecard(
        name: Annotated[Export, Path(description="What to export.", examples=["lead_rounds"])],
    ) -> StreamingResponse:
        """Export rows as CSV; people are in it by their number here only."""
        head = {"Content-Disposition": f'attachment; filename="{name}.csv"'}
        return StreamingResponse(_lines(database, name), media_type="text/csv; charset=utf-8", headers=head)

    @router.get("/flow")
    def get_flow(
        since: Since = None,
        until: Until = None,
        segment: Annotated[Dimension, Query(description="The parts of the market.")] = "profile",
    ) -> FlowShown:
        """Show the chain from the market segment to the won deal: volume, loss and waiting time of each step."""
        with database.read() as db:
            return flow_shown(db, span_of(db, since, until), segment)

    return router


def _lines(database: Database, name: str) -> Iterator[str]:
    with database.read() as db:
        text = io.StringIO()
        writer = csv.writer(text)
        writer.writerow(exporting.columns(name))
        for row in exporting.rows(db, name):
            writer.writerow(row)
            if text.tell() > 60_000:
                yield text.getvalue()
                text.seek(0)
                text.truncate()
        yield text.getvalue()
