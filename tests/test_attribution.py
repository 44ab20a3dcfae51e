"""Attribution, rates and medians, against small tables worked out by hand and against other ways to compute them."""

from __future__ import annotations

import math
import random
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.agreement.attribution import ABOUT, DAY_MS, MODELS, Touch, parts, weights
from app.agreement.rates import FORMULAS, OTHERS, Rate, median_with_waiting, quantile
from app.agreement.words import Team

M, S = Team.MARKETING, Team.SALES


def touches(*days: float) -> tuple[Touch, ...]:
    return tuple(Touch(int(day * DAY_MS), M, f"c{n}") for n, day in enumerate(days))


@pytest.mark.parametrize(
    ("model", "days", "lead", "expected"),
    [
        ("first", (0, 1, 2), None, (1, 0, 0)),
        ("last", (0, 1, 2), None, (0, 0, 1)),
        ("linear", (0, 1, 2, 3), None, (0.25, 0.25, 0.25, 0.25)),
        ("u", (0, 1, 2, 3), None, (0.4, 0.1, 0.1, 0.4)),
        ("u", (0, 1), None, (0.5, 0.5)),
        ("u", (0,), None, (1,)),
        ("w", (0, 1, 2, 3, 4), 2, (0.3, 0.05, 0.3, 0.05, 0.3)),
        ("w", (0, 1, 2), 1, (1 / 3, 1 / 3, 1 / 3)),  # nothing between: the tenth goes to the three
        ("w", (0, 1, 2), 0, (0.6, 0.1, 0.3)),  # the first touch made the lead
        ("w", (0, 1, 2), None, (0.6, 0.1, 0.3)),
        ("w", (0, 1, 2), 9, (0.3, 0.1, 0.6)),
        ("w", (3,), 0, (1,)),
        ("decay", (0, 7), None, (1 / 3, 2 / 3)),  # seven days are half
        ("decay", (0, 7, 14), None, (1 / 7, 2 / 7, 4 / 7)),
    ],
)
def test_each_model_by_hand(
    model: str, days: tuple[float, ...], lead: float | None, expected: tuple[float, ...]
) -> None:
    """Shares as they come out on paper; missing roles leave theirs to the others."""
    of = touches(*days)
    found = weights(model, of, of[-1].at, int(lead * DAY_MS) if lead is not None else None)
    assert found == pytest.approx(expected)


@given(
    st.sampled_from(sorted(MODELS)),
    st.lists(st.integers(0, 900), min_size=1, max_size=20),
    st.none() | st.integers(0, 900),
    st.integers(0, 10**13),
)
def test_shares_are_whole(model: str, days: list[int], lead: int | None, amount: int) -> None:
    """Whatever the touches, shares add up to one and no part of the money is lost or made."""
    of = touches(*sorted(days))
    shares = weights(model, of, 900 * DAY_MS, lead * DAY_MS if lead is not None else None)
    assert math.fsum(shares) == pytest.approx(1)
    assert min(shares) >= 0
    divided = parts(amount, shares)
    assert sum(divided) == amount
    assert all(abs(p - amount * s) <= 1 + amount * 1e-12 for p, s in zip(divided, shares, strict=True))


def test_without_touches_nothing_is_shared() -> None:
    """A deal that nobody touched is credited to nobody."""
    assert weights("linear", (), 0, None) == []


def slow_median(waits: list[tuple[int, bool]]) -> int | None:
    """Kaplan and Meier by their definition: one factor per moment, exact fractions, nothing grouped."""
    left = Fraction(1)
    for moment in sorted({length for length, over in waits if over}):
        at_risk = sum(1 for length, _ in waits if length >= moment)
        done = sum(1 for length, over in waits if over and length == moment)
        left *= 1 - Fraction(done, at_risk)
        if left <= Fraction(1, 2):
            return moment
    return None


@pytest.mark.parametrize(
    ("waits", "expected"),
    [
        ([(1, True), (2, True), (3, True)], 2),
        ([(1, True), (2, True), (3, True), (4, True)], 2),
        ([(1, True), (2, False), (3, False), (4, False)], None),  # three of four wait
        ([(6, True)] * 3 + [(6, False), (7, True), (9, False), (10, True), (10, False), (13, True), (16, True)], 10),
        ([], None),
    ],
)
def test_median_with_waiting_by_hand(waits: list[tuple[int, bool]], expected: int | None) -> None:
    """Small tables; who waits still is at risk until then."""
    assert median_with_waiting((length, over, 1) for length, over in waits) == expected
    assert slow_median(waits) == expected


@given(st.lists(st.tuples(st.integers(0, 30), st.booleans()), max_size=60))
def test_median_with_waiting_is_the_definition(waits: list[tuple[int, bool]]) -> None:
    """The same as the definition in exact fractions, in any order."""
    shuffled = random.Random(1).sample(waits, len(waits))
    assert median_with_waiting((length, over, 1) for length, over in shuffled) == slow_median(waits)


def test_a_median_that_drops_those_who_wait_is_found() -> None:
    """Guards the guard: leaving out who waits makes every queue look fast."""
    waits = [(1, True), (2, True), (50, False), (50, False), (50, False)]
    dropped = median_with_waiting((length, over, 1) for length, over in waits if over)
    assert dropped == 1
    assert slow_median(waits) is None


@pytest.mark.parametrize(
    ("lengths", "q", "expected"),
    [([], 0.5, None), ([(5, 1)], 0.9, 5), ([(1, 5), (2, 5)], 0.5, 1), ([(1, 5), (2, 4), (9, 1)], 0.9, 2)],
)
def test_quantiles(lengths: list[tuple[int, int]], q: float, expected: int | None) -> None:
    """The least length that so many do not exceed."""
    assert quantile(lengths, q) == expected


def test_a_rate_says_what_it_is_made_of() -> None:
    """Undecided ones are in the cohort, not in the interval; few say so; none is no rate."""
    rate = Rate(3, 10, undecided=4)
    assert (rate.rate, rate.of_decided, rate.decided, rate.small) == (0.3, 0.5, 6, True)
    assert rate.interval == pytest.approx((0.1876, 0.8124), abs=1e-4)  # Wilson, 3 of 6
    assert (Rate(0, 0).rate, Rate(0, 0).of_decided, Rate(0, 0).interval) == (None, None, None)
    assert not Rate(20, 40).small


PAGE = (Path(__file__).parents[1] / "docs/scorecard.md").read_text(encoding="utf-8")
CELLS = [[c.strip() for c in line.strip("|").split("|")] for line in PAGE.splitlines() if line.startswith("|")]


def test_the_page_has_every_figure_with_its_meaning() -> None:
    """docs/scorecard.md says of each figure and model what the API says."""
    said = {row[0].strip("`"): row[1] for row in CELLS if row[0].startswith("`")}
    meant = {name: means for name, (_, means) in FORMULAS.items()} | dict(OTHERS) | dict(ABOUT)
    assert {name: said.get(name) for name in meant} == meant


def test_the_pages_example_of_attribution_is_right() -> None:
    """The worked example, by its own days."""
    start = next(i for i, row in enumerate(CELLS) if row[0] == "touch" and row[1] == "day")
    models, rows = CELLS[start][2:], CELLS[start + 2 : start + 7]
    assert models == list(MODELS)
    of = touches(*(float(row[1]) for row in rows))
    for n, model in enumerate(models, 2):
        shares = weights(model, of, 31 * DAY_MS, 17 * DAY_MS)
        assert [row[n] for row in rows] == [f"{share * 100:.1f} %" for share in shares]


def test_the_pages_example_of_a_median_is_right() -> None:
    """Three went on, two wait."""
    waits = [(5, True), (9, True), (20, True), (12, False), (30, False)]
    assert "waited 5, 9 and\n20 hours" in PAGE
    assert "waiting for 12 and 30 hours" in PAGE
    assert median_with_waiting((length, over, 1) for length, over in waits) == slow_median(waits) == 20
    assert "with them it is 20" in PAGE
