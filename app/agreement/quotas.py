"""What marketing owes in a period: counts in, how the promise stands out.  Pure: no database, no clock.

Acceptance rate = leads that sales accepted / leads that were handed over, by the day of the handover (a cohort, not two
counts of one month).  Leads on which sales has not decided yet count as not accepted in that rate, and are shown, so
that nobody takes a rate for final; the judgement says ``open`` as long as they could still turn it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum
from statistics import NormalDist
from typing import Final, Literal

from app.agreement.hours import Calendar
from app.agreement.terms import Quota

SMALL: Final = 30  # decided leads below which a rate is mostly chance; the usual rule of thumb
CONFIDENCE: Final = 0.95


@dataclass(frozen=True, slots=True)
class Period:
    """A week (Monday to Sunday, ISO 8601), month or quarter of the calendar's zone; ``end`` belongs to the next one."""

    label: str  # 2026-W48, 2026-11, 2026-Q4
    start: int  # ms
    end: int


@dataclass(frozen=True, slots=True)
class Count:
    """What is known of a period's leads.  ``decided``: accepted, or properly rejected."""

    leads: int
    accepted: int = 0
    decided: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        if not 0 <= self.accepted <= self.decided <= self.leads:
            raise ValueError(f"accepted <= decided <= leads does not hold: {self}")


class Judgement(StrEnum):
    """How a promise for a period stands."""

    KEPT = "kept"
    MISSED = "missed"
    ON_PACE = "on_pace"
    BEHIND = "behind"
    OPEN = "open"  # the period is over, but leads that wait for sales can still turn it
    NOTHING = "nothing"  # no lead to judge by


@dataclass(frozen=True, slots=True)
class Standing:
    """One promise of marketing in one period.  Shares and rates from 0 to 1."""

    quota: str
    period: Period
    judgement: Judgement
    target: float  # leads, or a rate
    so_far: float | None  # leads, or a rate; None: no lead yet
    passed: float  # share of the period's working time that is over
    expected: float  # of the target by now: all of it for a rate
    projected: float | None  # leads at the end, if it goes on like this; for a rate: that of the decided ones
    count: Count
    low: float | None = None  # of the rate among decided leads: Wilson's interval, 95 %
    high: float | None = None
    small: bool = False  # too few decided leads to say much


def period(calendar: Calendar, per: Literal["week", "month", "quarter"], moment: int) -> Period:
    """The period that a moment lies in."""
    day = calendar.day_of(moment)
    if per == "week":
        first = day - timedelta(days=day.weekday())
        after = first + timedelta(days=7)
        iso = first.isocalendar()
        label = f"{iso.year}-W{iso.week:02}"
    else:
        months = 1 if per == "month" else 3
        index = (day.month - 1) // months
        first = date(day.year, index * months + 1, 1)
        after = date(day.year + (index + 1) * months // 12, (index + 1) * months % 12 + 1, 1)
        label = f"{day.year}-{day.month:02}" if per == "month" else f"{day.year}-Q{index + 1}"
    return Period(label, calendar.midnight(first), calendar.midnight(after))


def standing(quota: Quota, count: Count, calendar: Calendar, span: Period, now: int) -> Standing:
    """How a promise stands at a moment, by the leads of the period so far."""
    whole = calendar.elapsed(span.start, span.end)
    over = calendar.elapsed(span.start, min(max(now, span.start), span.end))
    passed = 1.0 if now >= span.end else over / whole if whole else 0.0
    if quota.accepted is None:
        return _volume(quota, count, span, passed)
    return _quality(quota, count, span, passed)


def _volume(quota: Quota, count: Count, span: Period, passed: float) -> Standing:
    if count.leads >= quota.at_least:
        judgement = Judgement.KEPT
    elif passed >= 1.0:
        judgement = Judgement.MISSED
    else:
        judgement = Judgement.ON_PACE if count.leads >= quota.at_least * passed else Judgement.BEHIND
    return Standing(
        quota=quota.name,
        period=span,
        judgement=judgement,
        target=quota.at_least,
        so_far=count.leads,
        passed=passed,
        expected=quota.at_least * passed,
        projected=count.leads / passed if passed else None,
        count=count,
    )


def _quality(quota: Quota, count: Count, span: Period, passed: float) -> Standing:
    target = quota.at_least / 100
    best = count.accepted + count.leads - count.decided
    decided = None if not count.decided else count.accepted / count.decided
    if not count.leads:
        judgement = Judgement.NOTHING
    elif passed >= 1.0 and count.accepted * 100 >= quota.at_least * count.leads:
        judgement = Judgement.KEPT
    elif passed >= 1.0:
        judgement = Judgement.MISSED if best * 100 < quota.at_least * count.leads else Judgement.OPEN
    elif not count.decided:
        judgement = Judgement.NOTHING
    else:
        on_pace = count.accepted * 100 >= quota.at_least * count.decided
        judgement = Judgement.ON_PACE if on_pace else Judgement.BEHIND
    low, high = wilson(count.accepted, count.decided) if count.decided else (None, None)
    return Standing(
        quota=quota.name,
        period=span,
        judgement=judgement,
        target=target,
        so_far=count.accepted / count.leads if count.leads else None,
        passed=passed,
        expected=target,
        projected=decided,
        count=count,
        low=low,
        high=high,
        small=count.leads > 0 and count.decided < SMALL,
    )


def wilson(successes: int, trials: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """The interval in which a rate lies (E. B. Wilson 1927, without continuity correction): sound for few trials.

    Raises ValueError without a trial.
    """
    if not 0 <= successes <= trials or trials < 1:
        raise ValueError(f"no rate: {successes} of {trials}")
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    rate, z2 = successes / trials, z * z / trials
    middle, half = rate + z2 / 2, z * math.sqrt(rate * (1 - rate) / trials + z2 / (4 * trials))
    # Exact at the ends, where rounding would leave the rate outside of its own interval.
    low = (middle - half) / (1 + z2) if successes else 0.0
    return low, (middle + half) / (1 + z2) if successes < trials else 1.0
