"""What marketing owes: periods in the calendar's zone, pace, judgement, and how much a rate can say."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.agreement.hours import DAY, HOUR, Calendar, Window
from app.agreement.quotas import Count, Judgement, period, standing, wilson
from app.agreement.terms import Quota
from tests.wallclock import at, shown

WEEK = ((Window(540, 1020),),) * 5 + ((), ())
BERLIN = Calendar("berlin", "Europe/Berlin", WEEK)
AUCKLAND = Calendar("auckland", "Pacific/Auckland", WEEK)
LEADS = Quota("leads", "mql", "month", 40)
QUALITY = Quota("quality", "mql", "month", 60, "sal")


@pytest.mark.parametrize(
    ("calendar", "per", "moment", "label", "start", "end"),
    [
        (BERLIN, "month", "2026-11-30 22:59", "2026-11", "2026-11-01 00:00", "2026-12-01 00:00"),
        (BERLIN, "month", "2026-11-30 23:00", "2026-12", "2026-12-01 00:00", "2027-01-01 00:00"),  # midnight in Berlin
        (BERLIN, "month", "2026-02-10 12:00", "2026-02", "2026-02-01 00:00", "2026-03-01 00:00"),
        (AUCKLAND, "month", "2026-11-30 11:00", "2026-12", "2026-12-01 00:00", "2027-01-01 00:00"),
        (BERLIN, "quarter", "2026-03-31 12:00", "2026-Q1", "2026-01-01 00:00", "2026-04-01 00:00"),
        (BERLIN, "quarter", "2026-12-31 12:00", "2026-Q4", "2026-10-01 00:00", "2027-01-01 00:00"),
        (BERLIN, "week", "2026-11-29 12:00", "2026-W48", "2026-11-23 00:00", "2026-11-30 00:00"),  # a Sunday
        (BERLIN, "week", "2027-01-01 12:00", "2026-W53", "2026-12-28 00:00", "2027-01-04 00:00"),
        (BERLIN, "week", "2026-03-29 12:00", "2026-W13", "2026-03-23 00:00", "2026-03-30 00:00"),  # 167 hours
    ],
)
def test_periods(calendar: Calendar, per: str, moment: str, label: str, start: str, end: str) -> None:
    """As the wall calendar of the zone shows them; ``moment`` in UTC."""
    found = period(calendar, per, at(moment))  # type: ignore[arg-type]
    assert (label, start, end) == (found.label, shown(found.start, calendar.zone), shown(found.end, calendar.zone))


@given(
    st.sampled_from([BERLIN, AUCKLAND]), st.sampled_from(["week", "month", "quarter"]), st.integers(10**12, 3 * 10**12)
)
def test_periods_tile_time(calendar: Calendar, per: str, moment: int) -> None:
    """Every moment lies in one, and the next begins where it ends."""
    found = period(calendar, per, moment)  # type: ignore[arg-type]
    assert found.start <= moment < found.end
    assert period(calendar, per, found.end).start == found.end  # type: ignore[arg-type]
    assert period(calendar, per, found.start) == found  # type: ignore[arg-type]


NOVEMBER = period(BERLIN, "month", at("2026-11-15 12:00"))  # 21 working days


@pytest.mark.parametrize(
    ("leads", "now", "judgement", "expected", "projected"),
    [
        (0, "2026-11-01 00:00", Judgement.ON_PACE, 0.0, None),  # nothing is owed yet
        (20, "2026-11-16 00:00", Judgement.ON_PACE, 40 * 10 / 21, 42.0),  # ten working days are over
        (19, "2026-11-16 00:00", Judgement.BEHIND, 40 * 10 / 21, 39.9),
        (19, "2026-11-15 00:00", Judgement.BEHIND, 40 * 10 / 21, 39.9),  # a Sunday brings nothing and costs nothing
        (40, "2026-11-16 00:00", Judgement.KEPT, 40 * 10 / 21, 84.0),
        (39, "2026-12-01 00:00", Judgement.MISSED, 40.0, 39.0),
        (40, "2026-12-24 00:00", Judgement.KEPT, 40.0, 40.0),
    ],
)
def test_volume(leads: int, now: str, judgement: Judgement, expected: float, projected: float | None) -> None:
    """Forty leads in November, by the share of working time that is over."""
    found = standing(LEADS, Count(leads), BERLIN, NOVEMBER, at(now, BERLIN.zone))
    assert (judgement, leads) == (found.judgement, found.so_far)
    assert math.isclose(expected, found.expected)
    assert found.projected is None if projected is None else math.isclose(projected, found.projected or 0)


@pytest.mark.parametrize(
    ("count", "over", "judgement", "so_far", "small"),
    [
        (Count(0), True, Judgement.NOTHING, None, False),
        (Count(10), False, Judgement.NOTHING, 0.0, True),  # nobody decided yet
        (Count(10, 3, 5), False, Judgement.ON_PACE, 0.3, True),
        (Count(10, 2, 4), False, Judgement.BEHIND, 0.2, True),
        (Count(100, 60, 100), True, Judgement.KEPT, 0.6, False),
        (Count(100, 59, 100), True, Judgement.MISSED, 0.59, False),
        (Count(100, 59, 99), True, Judgement.OPEN, 0.59, False),  # one is waiting and would do
        (Count(100, 50, 91), True, Judgement.MISSED, 0.5, False),  # nine would not
        (Count(100, 60, 61), True, Judgement.KEPT, 0.6, False),  # whatever becomes of the others
        (Count(29, 29, 29), True, Judgement.KEPT, 1.0, True),
        (Count(30, 30, 30), True, Judgement.KEPT, 1.0, False),
    ],
)
def test_quality(count: Count, over: bool, judgement: Judgement, so_far: float | None, small: bool) -> None:
    """Sixty of a hundred are to be accepted; those that wait for sales keep the question open."""
    now = at("2026-12-01 00:00" if over else "2026-11-16 00:00", BERLIN.zone)
    found = standing(QUALITY, count, BERLIN, NOVEMBER, now)
    assert (judgement, so_far, small) == (found.judgement, found.so_far, found.small)
    assert (found.low is None) == (count.decided == 0)


def test_a_year_is_not_needed() -> None:
    """A week of which a calendar works nothing is judged by its end."""
    closed = Calendar("c", "UTC", ((Window(0, 60),),) + ((),) * 6)
    week = period(closed, "week", at("2026-11-25 12:00"))
    assert standing(LEADS, Count(1), closed, week, week.end - DAY).passed == 1.0
    assert standing(LEADS, Count(1), closed, week, week.start - HOUR).passed == 0.0


@pytest.mark.parametrize("numbers", [(1, 2, 1), (5, 3, 6), (3, -1, 2), (3, 2, 1)])
def test_counts_that_cannot_be(numbers: tuple[int, int, int]) -> None:
    """Are refused before anybody divides."""
    with pytest.raises(ValueError, match="does not hold"):
        Count(*numbers)


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [
        # R. G. Newcombe, Statistics in Medicine 17 (1998), table I, method 3.
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_as_published(successes: int, trials: int, low: float, high: float) -> None:
    """The four cases of the paper that compares such intervals."""
    assert (low, high) == tuple(round(x, 4) for x in wilson(successes, trials))


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_turns_the_test_round(pair: tuple[int, int]) -> None:
    """Its ends are the rates that the score test just does not refuse: found here by halving."""
    successes, trials = pair
    low, high = wilson(successes, trials)
    rate = successes / trials

    def refused(p: float) -> bool:
        return abs(rate - p) > 1.959963984540054 * math.sqrt(p * (1 - p) / trials)

    def edge(inside: float, outside: float) -> float:
        for _ in range(60):
            middle = (inside + outside) / 2
            inside, outside = (inside, middle) if refused(middle) else (middle, outside)
        return inside

    assert low <= rate <= high
    assert math.isclose(low, edge(rate, 0.0), abs_tol=1e-9)
    assert math.isclose(high, edge(rate, 1.0), abs_tol=1e-9)


def test_no_rate_without_a_lead() -> None:
    """Nothing of nothing is no rate."""
    with pytest.raises(ValueError, match="0 of 0"):
        wilson(0, 0)
