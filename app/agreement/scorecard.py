"""The scorecard read: what both teams did, side by side with targets and the goal, and how each moves it.

Reads counters only (``app.agreement.counting``), so its cost depends on the days and values asked for, not on how many
leads there are.  Days are UTC; a span is [since, until) in days since 1970.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Final, Literal

from sqlalchemy import Connection as Db
from sqlalchemy import func, select

from app.agreement.attribution import MODELS, PARTS
from app.agreement.counting import AGAIN_DAYS, ALL, DIMENSIONS
from app.agreement.load import Agreement
from app.agreement.rates import FORMULAS, Rate, quantile
from app.agreement.versions import Versions
from app.core import tables as t
from app.core.clock import from_ms
from app.core.errors import NotPossible
from app.records import scores

Per = Literal["day", "week", "month", "quarter"]
MOST_VALUES: Final = 200  # values of a dimension in one answer
MARKETING: Final[Mapping[str, str]] = {
    "page_visit": "visits",
    "open": "opens",
    "click": "clicks",
    "paid_click": "paid clicks",
    "form": "forms",
    "survey": "surveys",
    "reply": "replies to mailings",
    "event": "events attended",
    "lead": "leads",
    "mql": "MQL: handed over to sales",
    "recycled>again": "handed over again after being given back",
}
SALES: Final[Mapping[str, str]] = {
    "call": "calls",
    "mail": "mails",
    "message": "messages",
    "meeting": "appointments",
    "sal": "SAL: accepted by sales",
    "sql": "SQL: a need confirmed",
    "recycled": "given back, to come again",
    "rejected": "given back for good",
    "opportunity": "opportunities: leads with a deal",
    "won": "won: leads with a won deal",
}
DAY_MS: Final = 86_400_000


@dataclass(frozen=True, slots=True)
class Span:
    """Days [since, until), since 1970."""

    since: int
    until: int

    def __post_init__(self) -> None:
        """Refuse a span without a day."""
        if self.until <= self.since:
            raise NotPossible("the span ends before it begins")

    @property
    def days(self) -> int:
        """How many days."""
        return self.until - self.since

    def before(self) -> Span:
        """As many days just before it."""
        return Span(self.since - self.days, self.since)


@dataclass(frozen=True, slots=True)
class Aim:
    """A target of the agreement, for the period that holds the last day of the span."""

    name: str
    means: str
    stage: str
    per: str
    at_least: int
    so_far: int
    passed: float  # share of the period that is over


@dataclass(frozen=True, slots=True)
class Goal:
    """What both work for."""

    means: str
    target: float
    unit: str
    by: str
    since: date
    so_far: float | None  # None: its unit is neither a currency nor deals or clients


@dataclass(frozen=True, slots=True)
class Money:
    """Won, lost and opened within the span, in one currency.  ``sourced`` and ``influenced`` overlap."""

    currency: str
    opened: float
    won: float
    lost: float
    sourced: float
    influenced: float
    mean_amount: float | None
    velocity: float | None  # a day


@dataclass(frozen=True, slots=True)
class Card:
    """The scorecard of a span.  ``numbers``: indicator → (within the span, within as many days before it)."""

    span: Span
    numbers: Mapping[str, tuple[int, int]]
    trend: Mapping[str, Mapping[date, int]]  # indicator → first day of each period → n
    rates: Mapping[str, Rate]
    win_rate: Rate
    recycle_rate: Rate
    requalified: Rate
    recycled_won: Rate
    attempts_per_lead: float | None
    cycle_days: float | None
    money: tuple[Money, ...]
    aims: tuple[Aim, ...] = ()
    goal: Goal | None = None


@dataclass(frozen=True, slots=True)
class Moves:
    """One value of a dimension: how it went on with those it holds for."""

    value: str
    numbers: Mapping[str, int]
    rates: Mapping[str, Rate]
    won: Mapping[str, float] = field(default_factory=dict)  # money, by currency


def card(db: Db, versions: Versions, span: Span, per: Per, today: int, dimension: str = ALL, value: str = ALL) -> Card:
    """The scorecard of a span, of all or of one value of a dimension."""
    known(dimension)
    of = _of(db, dimension, value, span)
    shown = [*MARKETING, *SALES]
    before = _of(db, dimension, value, span.before(), shown)
    trend: dict[str, dict[date, int]] = {name: {} for name in shown}
    for indicator, day, n in scores.daily(db, dimension, value, span.since, span.until, shown):
        first = period(day, per)[0]
        trend[indicator][first] = trend[indicator].get(first, 0) + n
    given = of.get("recycled", 0) + of.get("rejected", 0)
    fresh = max(span.since, today - AGAIN_DAYS)  # given back since then, they may come again within their time
    young = _of(db, dimension, value, Span(fresh, span.until), _AGAIN) if fresh < span.until else {}
    undecided = young.get("recycled", 0) - young.get("recycled>again", 0)
    recycled = of.get("recycled", 0)
    lost, won = of.get("deal:lost", 0), of.get("deal:won", 0)
    win = Rate(won, won + lost)
    cycle = of.get("deal:days", 0) / PARTS / won if won else None
    agreement = versions.at(span.until * DAY_MS - 1)
    return Card(
        span=span,
        numbers={name: (of.get(name, 0), before.get(name, 0)) for name in shown},
        trend=trend,
        rates=rates(of),
        win_rate=win,
        recycle_rate=Rate(recycled, given),
        requalified=Rate(of.get("recycled>again", 0), recycled, undecided),
        recycled_won=Rate(of.get("recycled>won", 0), recycled),
        attempts_per_lead=of.get("mql:tries", 0) / of["mql"] if of.get("mql") else None,
        cycle_days=cycle,
        money=tuple(_money(of, win, cycle)),
        aims=_aims(db, agreement.agreement, span.until - 1) if agreement is not None else (),
        goal=_goal(db, agreement.agreement, agreement.since, span.until) if agreement is not None else None,
    )


_AGAIN: Final = ("recycled", "recycled>again")
_MILESTONES: Final = ("lead", "mql", "sal", "sql", "opportunity", "won")
_MOVED: Final = {
    *_MILESTONES,
    *(name for counter, _ in FORMULAS.values() for name in (counter, f"{counter}?", counter.split(">")[0])),
}


def rates(of: Mapping[str, int]) -> dict[str, Rate]:
    """All rates over cohorts."""
    found = {}
    for name, (counter, _) in FORMULAS.items():
        cohort = counter.split(">")[0]
        found[name] = Rate(of.get(counter, 0), of.get(cohort, 0), of.get(f"{counter}?", 0))
    return found


def sums(db: Db, span: Span) -> dict[str, int]:
    """All indicators of a span, of all leads."""
    return _of(db, ALL, ALL, span)


def moves(db: Db, dimension: str, span: Span) -> list[Moves]:
    """How it went on by each value of a dimension, those with the most won money and leads first."""
    known(dimension)
    by: dict[str, dict[str, int]] = defaultdict(dict)
    money = {f"won:{currency}" for currency in _currencies(db, span)}
    for (value, indicator), n in scores.totals(db, dimension, span.since, span.until, _MOVED | money).items():
        by[value][indicator] = n
    found = []
    for value, of in by.items():
        numbers = {name: of.get(name, 0) for name in _MILESTONES}
        won = {i.removeprefix("won:"): n / PARTS for i, n in of.items() if i.startswith("won:")}
        if any(numbers.values()) or won:
            found.append(Moves(value, numbers, rates(of), won))
    found.sort(key=lambda m: (-m.numbers["won"], -m.numbers["mql"], -m.numbers["lead"], m.value))
    return found[:MOST_VALUES]


def without(whole: Mapping[str, Rate], having: Mapping[str, Rate]) -> dict[str, Rate]:
    """The rates of the rest: of those leads for which a value of ``did`` does not hold."""
    return {
        name: Rate(one.hits - having[name].hits, one.of - having[name].of, one.undecided - having[name].undecided)
        for name, one in whole.items()
    }


@dataclass(frozen=True, slots=True)
class Credit:
    """What a model credits to one value: deals, and money by currency."""

    value: str
    deals: float
    money: Mapping[str, float]


def credited(db: Db, model: str, dimension: str, span: Span) -> list[Credit]:
    """What a model credits to each value of a dimension (channel, campaign or team), the most first."""
    if model not in MODELS:
        raise NotPossible(f"there is no model {model!r}; there are: {', '.join(MODELS)}")
    if dimension not in {"channel", "campaign", "team"}:
        raise NotPossible(f"deals are credited by channel, campaign or team, not by {dimension!r}")
    by: dict[str, dict[str, int]] = defaultdict(dict)
    names = {f"by:{model}", *(f"by:{model}:{currency}" for currency in _currencies(db, span))}
    for (value, indicator), n in scores.totals(db, dimension, span.since, span.until, names).items():
        head, _, rest = indicator.partition(":")
        name, _, currency = rest.partition(":")
        if head == "by" and name == model:
            by[value][currency if indicator.count(":") == 2 else ALL] = n
    found = []
    for value, of in by.items():
        money = {currency: n / PARTS for currency, n in sorted(of.items()) if currency != ALL}
        found.append(Credit(value, of.get(ALL, 0) / PARTS, money))
    return sorted(found, key=lambda c: (-c.deals, c.value))


@dataclass(frozen=True, slots=True)
class Cohort:
    """The leads that came to a milestone within one period, and how far they went."""

    first: date
    of: int
    reached: Mapping[str, Rate]


def cohorts(db: Db, milestone: str, span: Span, per: Per) -> list[Cohort]:
    """Leads by the period in which they passed a milestone, and what share of them passed each later one."""
    if milestone not in LATER:
        raise NotPossible(f"there are cohorts by {', '.join(LATER)}, not by {milestone!r}")
    names = [milestone, *(f"{milestone}>{b}{mark}" for b in LATER[milestone] for mark in ("", "?"))]
    by: dict[date, dict[str, int]] = defaultdict(dict)
    for indicator, day, n in scores.daily(db, ALL, ALL, span.since, span.until, names):
        of = by[period(day, per)[0]]
        of[indicator] = of.get(indicator, 0) + n
    found = []
    for first, of in sorted(by.items()):
        pairs = {b: (of.get(f"{milestone}>{b}", 0), of.get(f"{milestone}>{b}?", 0)) for b in LATER[milestone]}
        size = of.get(milestone, 0)
        found.append(Cohort(first, size, {b: Rate(hits, size, open_) for b, (hits, open_) in pairs.items()}))
    return found


LATER: Final[Mapping[str, tuple[str, ...]]] = {
    "lead": ("mql", "sal", "sql", "opportunity", "won"),
    "mql": ("sal", "sql", "opportunity", "won"),
    "sal": ("sql", "opportunity", "won"),
    "sql": ("opportunity", "won"),
    "opportunity": ("won",),
}


@dataclass(frozen=True, slots=True)
class Speed:
    """How soon sales tried to reach leads that were handed over within a span; hours of the clock."""

    handed: int
    tried: int
    median: float | None
    p90: float | None
    within: Mapping[str, Rate]  # 5 minutes, 1 hour, 24 hours: of those that were tried


def speed(db: Db, span: Span) -> Speed:
    """How soon sales tried."""
    r = t.lead_round.c
    minutes = ((r.tried_at - r.mql_at) // 60_000).label("minutes")
    where = (r.mql_at >= span.since * DAY_MS, r.mql_at < span.until * DAY_MS)
    handed = db.execute(select(func.count()).select_from(t.lead_round).where(*where)).scalar_one()
    query = select(minutes, func.count()).where(*where, r.tried_at.is_not(None)).group_by("minutes")
    lengths = [(int(m), int(n)) for m, n in db.execute(query)]
    tried = sum(n for _, n in lengths)
    median, p90 = quantile(lengths, 0.5), quantile(lengths, 0.9)
    within = {
        name: Rate(sum(n for m, n in lengths if m < most), tried)
        for name, most in {"5 minutes": 5, "1 hour": 60, "24 hours": 1440}.items()
    }
    return Speed(
        handed, tried, median / 60 if median is not None else None, p90 / 60 if p90 is not None else None, within
    )


def known(dimension: str) -> None:
    """Raises NotPossible for a dimension that there is not."""
    if dimension != ALL and dimension not in DIMENSIONS:
        raise NotPossible(f"there is no dimension {dimension!r}; there are: {', '.join(DIMENSIONS)}")


def period(day: int, per: Per) -> tuple[date, date]:
    """The first day of the period that a day lies in, and of the next one."""
    on = date(1970, 1, 1) + timedelta(days=day)
    if per == "day":
        return on, on + timedelta(days=1)
    if per == "week":
        first = on - timedelta(days=on.weekday())
        return first, first + timedelta(days=7)
    months = 1 if per == "month" else 3
    index = (on.month - 1) // months
    return (
        date(on.year, index * months + 1, 1),
        date(on.year + (index + 1) * months // 12, (index + 1) * months % 12 + 1, 1),
    )


def number(on: date) -> int:
    """A date as days since 1970."""
    return (on - date(1970, 1, 1)).days


def _currencies(db: Db, span: Span) -> set[str]:
    """In which deals were won within the span."""
    head = "deal:won:"
    return {name.removeprefix(head) for name in scores.beginning(db, head, span.since, span.until)}


def _of(db: Db, dimension: str, value: str, span: Span, only: Collection[str] | None = None) -> dict[str, int]:
    return scores.of_value(db, dimension, value, span.since, span.until, only)


def _money(sums: Mapping[str, int], win: Rate, cycle: float | None) -> list[Money]:
    heads = ("opened", "won", "lost", "sourced", "influenced")
    currencies = {i.partition(":")[2] for i in sums if ":" in i and i.partition(":")[0] in heads}
    found = []
    for currency in sorted(currencies):
        of = {head: sums.get(f"{head}:{currency}", 0) / PARTS for head in heads}
        deals = sums.get(f"deal:won:{currency}", 0)
        mean = of["won"] / deals if deals else None
        velocity = None
        if mean is not None and win.rate is not None and cycle:
            velocity = sums.get("deal:opened", 0) * win.rate * mean / cycle
        found.append(Money(currency, mean_amount=mean, velocity=velocity, **of))
    return found


def _aims(db: Db, agreement: Agreement, last: int) -> tuple[Aim, ...]:
    found = []
    for name, target in agreement.spec.targets.items():
        first, after = (number(d) for d in period(last, target.per))
        stage = agreement.stage(target.stage)
        counter = f"stage:{stage.name if stage is not None else target.stage}"
        so_far = _of(db, ALL, ALL, Span(first, last + 1), {counter}).get(counter, 0)
        passed = (last + 1 - first) / (after - first)
        found.append(Aim(name, target.means, target.stage, target.per, target.at_least, so_far, passed))
    return tuple(found)


def _goal(db: Db, agreement: Agreement, since: int, until: int) -> Goal | None:
    goal = agreement.spec.goal
    if goal is None:
        return None
    begin = from_ms(since).date()
    by = date.fromisoformat(goal.by)
    span = (number(begin), min(until, number(by) + 1))
    unit = goal.unit.strip()
    counter, parts = None, 1
    if len(unit) == 3 and unit.isupper():
        counter, parts = f"won:{unit}", PARTS
    elif unit.lower() in {"deals", "clients", "customers"}:
        counter = "deal:won" if unit.lower() == "deals" else "won"
    so_far: float | None = None
    if counter is not None:
        sums = _of(db, ALL, ALL, Span(*span), {counter}) if span[1] > span[0] else {}
        so_far = sums.get(counter, 0) / parts
    return Goal(goal.means, float(goal.target), goal.unit, goal.by, begin, so_far)
