"""The scorecard, which shows what both teams did, side by side with targets and the goal; and what moves it."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request, Response

from app.agreement.attribution import ABOUT
from app.agreement.leads import Known
from app.agreement.scorecard import Per, Span, number, period
from app.console.agreeing import Asked, Day, hours
from app.console.menu import Entry
from app.console.shell import ROOT, Shell
from app.ops import _scorecards_shown as shown
from app.ops.scorecards import Among, Dimension, Model

PATH: Final = f"{ROOT}/scorecard"
ENTRY: Final = Entry("Scorecard", PATH, "Agreement", "s")
PERIODS: Final = 53  # of a trend at most: more cannot be told apart
ROWS: Final = 30  # values of a dimension on the first page
DIMENSIONS: Final = ("channel", "campaign", "variant", "persona", "profile", "team", "did")
AMONG: Final = ("channel", "campaign", "team")
TITLES: Final = {
    "acceptance": "Accepted by sales",
    "rejection": "Given back",
    "attempted": "Tried by a person",
    "attempts_kept": "Tried as agreed",
    "lead_to_mql": "Lead to MQL",
    "mql_to_sql": "MQL to SQL",
    "sal_to_sql": "SAL to SQL",
    "sql_to_opportunity": "SQL to opportunity",
    "mql_to_won": "MQL to won",
    "sql_to_won": "SQL to won",
    "opportunity_to_won": "Opportunity to won",
    "win_rate": "Deals won of those decided",
    "recycle_rate": "Given back to come again",
    "requalified": "Came again",
    "recycled_won": "Came again and won",
    "attempts_per_lead": "Attempts per lead",
    "speed_to_lead": "First attempt after the handover",
    "cycle_days": "Days from open to won",
    "mean_amount": "Mean amount",
    "velocity": "Money a day",
    "sourced": "Sourced by marketing",
    "influenced": "Influenced by marketing",
    "freshness": "Changes land within",
    "drift": "Drift",
    "opt_out_lag": "Withdrawals land within",
    "median_wait": "Median wait",
    "median_passed": "Median wait of those who went on",
}
COMPARED: Final = ("lead_to_mql", "acceptance", "mql_to_sql", "mql_to_won")
"""Rates that are shown for each value of a dimension."""


class CardAsked(Asked):
    """What the scorecard is asked."""

    since: Day | None = None
    until: Day | None = None
    per: Per = "week"
    by: Dimension = "channel"
    value: Annotated[str | None, Query(max_length=300, pattern=r"^[^\x00]*$")] = None
    model: Model = "w"
    among: Among = "channel"
    all: bool = False


def periods(span: Span, per: Per) -> list[date]:
    """The first day of each period that a span touches; none where there are too many for a picture."""
    first, last = period(span.since, per)[0], period(span.until - 1, per)[0]
    found = [first]
    while found[-1] < last and len(found) <= PERIODS:
        found.append(period(number(found[-1]), per)[1])
    return found if len(found) <= PERIODS else []


def routes(shell: Shell) -> APIRouter:
    """Its path."""
    router = shell.router()
    known = Known()

    @router.get("/scorecard")
    def show_scorecard(request: Request, asked: Annotated[CardAsked, Query()]) -> Response:
        with shell.database.read() as db:
            span = shown.span_of(db, asked.since, asked.until)
            narrowed = (asked.by, asked.value) if asked.value is not None else ("", "")
            card = shown.card_shown(db, shell.connections, known, span, asked.per, *narrowed)
            moves = shown.moves_shown(db, asked.by, span)
            credit = shown.credit_shown(db, asked.model, asked.among, span)
        values: dict[str, Any] = {
            "asked": asked,
            "path": PATH,
            "card": card,
            "moves": moves.items if asked.all else moves.items[:ROWS],
            "more": 0 if asked.all else max(0, len(moves.items) - ROWS),
            "credit": credit,
            "most_credited": max((one.deals for one in credit.items), default=0),
            "periods": periods(span, asked.per),
            "days": (card.until - card.since + timedelta(days=1)).days,
            "means": {one.name: one.means for one in shown.definitions().items},
            "titles": TITLES,
            "compared": COMPARED,
            "dimensions": DIMENSIONS,
            "among": AMONG,
            "models": ABOUT,
            "hours": hours,
        }
        return shell.page(request, "scorecard.html", **values)

    return router
