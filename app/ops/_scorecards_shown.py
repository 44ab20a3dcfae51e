"""What ``/scorecard`` and ``/flow`` answer, and the same for the command line: from what was read to what is shown."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta
from typing import Final, Literal

from pydantic import Field
from sqlalchemy import Connection as Db

from app.agreement import flow as chain
from app.agreement import scorecard
from app.agreement.attribution import ABOUT
from app.agreement.leads import Known
from app.agreement.rates import BANDS, FORMULAS, OTHERS, Rate
from app.agreement.scorecard import MARKETING, SALES, Per, Span, number
from app.core.clock import from_ms
from app.core.db import clock_of
from app.ops import drift as drifting
from app.ops.problems import invalid
from app.ops.shapes import Shape
from app.ops.sla import PromiseShown, promises
from app.records import briefs
from app.repair import freshness
from app.sync.connection import Connections

DEFAULT_DAYS: Final = 90


class RateShown(Shape):
    """A share of a cohort."""

    name: str = Field(examples=["acceptance"])
    means: str
    hits: int = Field(examples=[31])
    of: int = Field(examples=[52])
    undecided: int = Field(description="Of the cohort, that may still come to it.")
    rate: float | None = Field(description="hits / of; null: nobody is in the cohort.", examples=[0.6])
    of_decided: float | None = Field(description="hits / (of - undecided).")
    low: float | None = Field(description="Of the rate among the decided: Wilson's interval, 95 %.")
    high: float | None
    small: bool = Field(description="Fewer than 30 are decided: mostly chance.")
    usual: tuple[float, float] | None = Field(description="What others report; no target.")


class NumberShown(Shape):
    """One leading indicator."""

    name: str = Field(examples=["mql"])
    team: Literal["marketing", "sales"]
    means: str
    n: int
    before: int = Field(description="In as many days just before.")
    trend: dict[str, int] = Field(description="By the first day of each period.")


class MoneyShown(Shape):
    """Money in one currency, by the day of opening, winning or losing.  `sourced` and `influenced` overlap."""

    currency: str = Field(examples=["EUR"])
    opened: float
    won: float
    lost: float
    sourced: float
    influenced: float
    mean_amount: float | None
    velocity: float | None = Field(description="Money a day.")


class AimShown(Shape):
    """A target of the agreement in the period that holds the last day."""

    name: str = Field(examples=["mql_month"])
    means: str
    stage: str
    per: str
    at_least: int
    so_far: int
    passed: float = Field(description="Share of the period that is over.")


class GoalShown(Shape):
    """What both work for."""

    means: str
    target: float
    unit: str
    by: date
    since: date
    so_far: float | None = Field(description="null: its unit is neither a currency nor deals or clients.")


class SpeedShown(Shape):
    """How soon sales tried to reach who was handed over; hours of the clock."""

    handed: int
    tried: int
    median: float | None
    p90: float | None
    within: list[RateShown]


class HealthShown(Shape):
    """How good the data behind the figures is, at one connection."""

    connection: str
    freshness_p95: float | None = Field(description="Seconds, last seven days; null: nothing landed.")
    drift: float | None = Field(description="Share of mapped values that disagree; null: never compared.")
    opt_outs: int = Field(description="Withdrawals that landed within seven days.")
    opt_out_lag_p99: float | None = Field(description="Seconds; null: none landed.")


class ScorecardShown(Shape):
    """The scorecard."""

    since: date
    until: date
    by: str | None
    value: str | None
    numbers: list[NumberShown]
    rates: list[RateShown]
    attempts_per_lead: float | None
    cycle_days: float | None
    money: list[MoneyShown]
    speed: SpeedShown
    owed_by_sales: list[RateShown] = Field(description="Clocks of all leads that were due within the span, and kept.")
    owed_by_marketing: list[PromiseShown] = Field(description="Promises in the period that holds the last day.")
    targets: list[AimShown]
    goal: GoalShown | None
    health: list[HealthShown]


class MovesShown(Shape):
    """How it went on with leads for which one value holds."""

    value: str = Field(examples=["ads"])
    numbers: dict[str, int]
    rates: list[RateShown]
    without: list[RateShown] = Field(description="Of the other leads; for `did` only.")
    won: dict[str, float] = Field(description="Money won, by currency.")


class MovesList(Shape):
    """By each value, those with the most won first."""

    since: date
    until: date
    by: str
    items: list[MovesShown]


class CreditShown(Shape):
    """What a model credits to one value."""

    value: str
    deals: float
    money: dict[str, float]


class CreditList(Shape):
    """By each value, the most first."""

    since: date
    until: date
    model: str
    means: str
    by: str
    items: list[CreditShown]


class CohortShown(Shape):
    """Leads that passed a milestone within one period."""

    first: date
    of: int
    reached: list[RateShown]


class CohortList(Shape):
    """All periods, the oldest first."""

    milestone: str
    items: list[CohortShown]


class DefinitionShown(Shape):
    """What a figure means."""

    name: str
    means: str


class DefinitionList(Shape):
    """All of them."""

    items: list[DefinitionShown]


class StepShown(Shape):
    """One step of the chain; waits in hours."""

    start: str
    to: str
    team: str = Field(description="Who has to act.")
    came: int
    passed: int
    around: int = Field(description="Came further without this step.")
    lost: int
    waiting: int
    median_wait: int | None = Field(description="Of all, who still waits included; null: half of them still do.")
    median_passed: int | None
    oldest: int | None = Field(description="Of those that wait.")
    rate: RateShown


class BackShown(Shape):
    """Leads given back to marketing."""

    how: str
    why: str | None
    n: int


class FlowShown(Shape):
    """The chain from the segment to what the client said after."""

    since: date
    until: date
    segments: dict[str, dict[str, int]] = Field(description="Segment → milestone → how many.")
    steps: list[StepShown]
    slowest: str | None = Field(description="The step with the longest median wait.", examples=["mql>sal"])
    back: list[BackShown]


def rate_shown(name: str, rate: Rate, means: str | None = None) -> RateShown:
    """A rate with all that belongs to it."""
    known = FORMULAS[name][1] if name in FORMULAS else OTHERS.get(name, name)
    low, high = rate.interval if rate.interval is not None else (None, None)
    return RateShown(
        name=name,
        means=means if means is not None else known,
        hits=rate.hits,
        of=rate.of,
        undecided=rate.undecided,
        rate=rate.rate,
        of_decided=rate.of_decided,
        low=low,
        high=high,
        small=rate.small,
        usual=BANDS.get(name),
    )


def rates_shown(rates: Mapping[str, Rate]) -> list[RateShown]:
    """All of them."""
    return [rate_shown(name, rate) for name, rate in rates.items()]


def today(db: Db) -> date:
    """The database's day, UTC."""
    now = clock_of(db)
    return from_ms(now).date()


def span_of(db: Db, since: date | None, until: date | None) -> Span:
    """The span of two days, both included.  Raises RequestValidationError where it ends before it begins."""
    last = until if until is not None else today(db)
    first = since if since is not None else last - timedelta(days=DEFAULT_DAYS - 1)
    if first > last:
        raise invalid("query", "since", "is after `until`")
    return Span(number(first), number(last) + 1)


def ends(span: Span) -> tuple[date, date]:
    """The first and the last day of a span."""
    begin = date(1970, 1, 1)
    return begin + timedelta(days=span.since), begin + timedelta(days=span.until - 1)


def card_shown(
    db: Db, connections: Connections, known: Known, span: Span, per: Per, by: str = "", value: str = ""
) -> ScorecardShown:
    """The scorecard with everything that stands beside it."""
    card = scorecard.card(db, known.versions(db).versions, span, per, number(today(db)), by, value)
    first, last = ends(span)
    others = {
        "win_rate": card.win_rate,
        "recycle_rate": card.recycle_rate,
        "requalified": card.requalified,
        "recycled_won": card.recycled_won,
    }
    return ScorecardShown(
        since=first,
        until=last,
        by=by if by else None,
        value=value if by else None,
        numbers=[
            NumberShown(
                name=name,
                team=team,
                means=means,
                n=card.numbers[name][0],
                before=card.numbers[name][1],
                trend={on.isoformat(): n for on, n in sorted(card.trend[name].items())},
            )
            for team, names in (("marketing", MARKETING), ("sales", SALES))
            for name, means in names.items()
        ],
        rates=rates_shown(card.rates) + rates_shown(others),
        attempts_per_lead=card.attempts_per_lead,
        cycle_days=card.cycle_days,
        money=[MoneyShown(**{n: getattr(m, n) for n in MoneyShown.model_fields}) for m in card.money],
        speed=speed_shown(scorecard.speed(db, span)),
        owed_by_sales=kept_shown(db, span),
        owed_by_marketing=_promises(db, known, span),
        targets=[AimShown(**{n: getattr(a, n) for n in AimShown.model_fields}) for a in card.aims],
        goal=None
        if card.goal is None
        else GoalShown(**{n: getattr(card.goal, n) for n in GoalShown.model_fields if n != "by"}, by=card.goal.by),
        health=health_of(db, connections),
    )


def kept_shown(db: Db, span: Span) -> list[RateShown]:
    """Of the clocks that were due within the span, how many were kept, by their name."""
    found = briefs.kept(db, span.since * scorecard.DAY_MS, span.until * scorecard.DAY_MS)
    means = "clocks kept / clocks that were due within the span"
    return [rate_shown(name, Rate(good, good + bad), means) for name, (good, bad) in sorted(found.items())]


def _promises(db: Db, known: Known, span: Span) -> list[PromiseShown]:
    now = clock_of(db)
    return promises(db, known, from_ms(min(now, span.until * scorecard.DAY_MS - 1)))


def speed_shown(speed: scorecard.Speed) -> SpeedShown:
    """How soon sales tried."""
    within = [rate_shown(name, rate, f"tried within {name} / tried") for name, rate in speed.within.items()]
    return SpeedShown(handed=speed.handed, tried=speed.tried, median=speed.median, p90=speed.p90, within=within)


def health_of(db: Db, connections: Connections) -> list[HealthShown]:
    """Freshness, drift and the lag of withdrawals of each connection."""
    ages = freshness.ages(db, connections, freshness.KEPT_MS)
    lags = freshness.lags(db, connections)
    apart = {one.connection: one.drift for one in drifting.drift_of(db, connections)}
    return [
        HealthShown(
            connection=name,
            freshness_p95=ages[name].p95,
            drift=apart.get(name),
            opt_outs=lags[name][0],
            opt_out_lag_p99=lags[name][1],
        )
        for name in connections
    ]


def moves_shown(db: Db, by: str, span: Span) -> MovesList:
    """How it went on by each value of a dimension."""
    found = scorecard.moves(db, by, span)
    whole = scorecard.rates(scorecard.sums(db, span)) if by == "did" else {}
    first, last = ends(span)
    items = [
        MovesShown(
            value=one.value,
            numbers=dict(one.numbers),
            rates=rates_shown(one.rates),
            without=rates_shown(scorecard.without(whole, one.rates)) if whole else [],
            won=dict(one.won),
        )
        for one in found
    ]
    return MovesList(since=first, until=last, by=by, items=items)


def credit_shown(db: Db, model: str, by: str, span: Span) -> CreditList:
    """What a model credits."""
    first, last = ends(span)
    items = [
        CreditShown(value=c.value, deals=c.deals, money=dict(c.money)) for c in scorecard.credited(db, model, by, span)
    ]
    return CreditList(since=first, until=last, model=model, means=ABOUT[model], by=by, items=items)


def cohorts_shown(db: Db, milestone: str, per: Per, span: Span) -> CohortList:
    """Cohorts by date."""
    items = [
        CohortShown(
            first=one.first,
            of=one.of,
            reached=[rate_shown(b, rate, f"{milestone} that came to {b}") for b, rate in one.reached.items()],
        )
        for one in scorecard.cohorts(db, milestone, span, per)
    ]
    return CohortList(milestone=milestone, items=items)


def flow_shown(db: Db, span: Span, segment: str) -> FlowShown:
    """The chain."""
    now = clock_of(db)
    found = chain.flow(db, span, now, segment)
    first, last = ends(span)
    steps = [
        StepShown(
            **{n: getattr(one, n) for n in StepShown.model_fields if n not in {"rate", "team"}},
            team=str(one.team),
            rate=rate_shown(f"{one.start}>{one.to}", one.rate, f"{one.start} that came to {one.to}"),
        )
        for one in found.steps
    ]
    slowest = found.slowest
    return FlowShown(
        since=first,
        until=last,
        segments={name: dict(of) for name, of in sorted(found.segments.items())},
        steps=steps,
        slowest=f"{slowest.start}>{slowest.to}" if slowest is not None else None,
        back=[BackShown(how=b.how, why=b.why, n=b.number) for b in found.back],
    )


def definitions() -> DefinitionList:
    """What every figure means."""
    items = [DefinitionShown(name=name, means=means) for name, (_, means) in FORMULAS.items()]
    items += [DefinitionShown(name=name, means=means) for name, means in OTHERS.items()]
    items += [DefinitionShown(name=f"model:{name}", means=means) for name, means in ABOUT.items()]
    return DefinitionList(items=items)
