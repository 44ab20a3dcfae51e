"""The supply chain: the map from the market segment to the won deal and what the client said after."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Query, Request, Response

from app.agreement.journey import STAGES
from app.console.agreeing import Asked, Day, hours
from app.console.menu import Entry
from app.console.scorecard import DIMENSIONS
from app.console.shell import ROOT, Shell
from app.ops import _scorecards_shown as shown
from app.ops.scorecards import Dimension

PATH: Final = f"{ROOT}/supply-chain"
ENTRY: Final = Entry("Supply chain", PATH, "Agreement", "w")
NAMES: Final = {
    "lead": "Lead",
    "mql": "MQL",
    "sal": "SAL",
    "sql": "SQL",
    "opportunity": "Opportunity",
    "won": "Won",
    "feedback": "Feedback",
    "given_back": "Given back",
}
ROWS: Final = 30  # segments


class ChainAsked(Asked):
    """What the map is asked."""

    since: Day | None = None
    until: Day | None = None
    segment: Dimension = "profile"


def routes(shell: Shell) -> APIRouter:
    """Its path."""
    router = shell.router()

    @router.get("/supply-chain")
    def show_chain(request: Request, asked: Annotated[ChainAsked, Query()]) -> Response:
        with shell.database.read() as db:
            found = shown.flow_shown(db, shown.span_of(db, asked.since, asked.until), asked.segment)
        segments = sorted(found.segments.items(), key=lambda one: (-one[1].get(STAGES[0], 0), one[0]))
        return shell.page(
            request,
            "supply.html",
            asked=asked,
            path=PATH,
            found=found,
            segments=segments[:ROWS],
            more=max(0, len(segments) - ROWS),
            stages=STAGES,
            names=NAMES,
            dimensions=DIMENSIONS,
            most=max((step.came for step in found.steps), default=0),
            means={one.name: one.means for one in shown.definitions().items},
            hours=hours,
        )

    return router
