"""The supply chain: the map from the market segment to the won deal and what the client said after.

Per step: how many came, how many went on, left or still wait, and for how long.  The last step leads back: from being
given back to the next handover.  Read from the rounds of leads (``app.agreement.journey``), one query per step.  Waits
are counted in whole hours; the median of all waits takes those that go on into account (``app.agreement.rates``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection as Db

from app.agreement.counting import ALL
from app.agreement.journey import STAGES
from app.agreement.rates import Rate, median_with_waiting, quantile
from app.agreement.scorecard import DAY_MS, Span
from app.agreement.words import Team
from app.records import scores
from app.records.scores import AROUND, LOST, PASSED, WAITS

HOUR_MS: Final = 3_600_000
STEPS: Final[Mapping[tuple[str, str], Team]] = {
    ("lead", "mql"): Team.MARKETING,
    ("mql", "sal"): Team.SALES,
    ("sal", "sql"): Team.SALES,
    ("sql", "opportunity"): Team.SALES,
    ("opportunity", "won"): Team.SALES,
    ("won", "feedback"): Team.MARKETING,
}
"""From, to → who has to act."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the chain.  Waits in hours; None: nobody, or half of them are not over yet."""

    start: str
    to: str
    team: Team
    came: int
    passed: int
    around: int  # came further without this step
    lost: int  # given back, lost, or begun anew
    waiting: int
    median_wait: int | None  # of all, those that wait included
    median_passed: int | None  # of those that passed
    oldest: int | None  # of those that wait

    @property
    def rate(self) -> Rate:
        """The share that passed."""
        return Rate(self.passed, self.came, self.waiting)


@dataclass(frozen=True, slots=True)
class Back:
    """Leads that sales gave back to marketing."""

    how: str  # recycled, rejected
    why: str | None
    number: int


@dataclass(frozen=True, slots=True)
class Flow:
    """The whole chain within a span, by the day on which each step was begun."""

    segments: Mapping[str, Mapping[str, int]]  # profile → milestone → how many
    steps: tuple[Step, ...]
    back: tuple[Back, ...]

    @property
    def slowest(self) -> Step | None:
        """The step with the longest median wait of all."""
        known = [s for s in self.steps if s.median_wait is not None]
        return max(known, key=lambda s: s.median_wait if s.median_wait is not None else 0, default=None)


def flow(db: Db, span: Span, now: int, segment: str = "profile") -> Flow:
    """The chain for rounds that came to each step within the span; ``segment``: the dimension of the market's parts."""
    since, until = span.since * DAY_MS, span.until * DAY_MS
    order = [*STAGES, "feedback"]
    steps = []
    for (a, b), team in STEPS.items():
        later = order[order.index(b) + 1 : -1]
        steps.append(_step(a, b, team, scores.waits(db, a, b, later, since, until, now, HOUR_MS)))
    steps.append(_step("given_back", "mql", Team.MARKETING, scores.returns(db, since, until, now, HOUR_MS)))
    segments: dict[str, dict[str, int]] = {}
    for (value, indicator), n in scores.totals(db, segment, span.since, span.until, STAGES).items():
        if value != ALL:
            segments.setdefault(value, {})[indicator] = n
    back = tuple(Back(how, why, n) for how, why, n in scores.given_back(db, since, until))
    return Flow(segments, tuple(steps), back)


def _step(a: str, b: str, team: Team, waits: list[tuple[int, int, int]]) -> Step:
    number = {ending: sum(n for _, e, n in waits if e == ending) for ending in (PASSED, AROUND, LOST, WAITS)}
    return Step(
        start=a,
        to=b,
        team=team,
        came=sum(number.values()),
        passed=number[PASSED],
        around=number[AROUND],
        lost=number[LOST],
        waiting=number[WAITS],
        median_wait=median_with_waiting((hours, ending != WAITS, n) for hours, ending, n in waits),
        median_passed=quantile(((hours, n) for hours, ending, n in waits if ending == PASSED), 0.5),
        oldest=max((hours for hours, ending, _ in waits if ending == WAITS), default=None),
    )
