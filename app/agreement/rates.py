"""Rates with their intervals, medians of waits of which some go on, and what each figure of the scorecard means.  Pure.

The definitions stand here once; the page, the API and the documents show these sentences.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from app.agreement.quotas import SMALL, wilson

FORMULAS: Final[Mapping[str, tuple[str, str]]] = {
    "acceptance": ("mql>sal", "leads that sales accepted / leads handed over, by the day of the handover"),
    "rejection": ("mql>given_back", "leads given back, to come again or for good / leads handed over"),
    "attempted": ("mql>tried", "leads that a person in sales tried to reach / leads handed over"),
    "attempts_kept": ("mql>kept", "leads tried as often and on as many channels as agreed / leads handed over"),
    "lead_to_mql": ("lead>mql", "leads that were handed over / leads, by the day they became one"),
    "mql_to_sql": ("mql>sql", "leads in which sales found a need / leads handed over, by the day of the handover"),
    "sal_to_sql": ("sal>sql", "leads in which sales found a need / leads accepted, by the day they were accepted"),
    "sql_to_opportunity": ("sql>opportunity", "leads with a deal / leads in which sales found a need"),
    "mql_to_won": ("mql>won", "leads with a won deal / leads handed over, by the day of the handover"),
    "sql_to_won": ("sql>won", "leads with a won deal / leads in which sales found a need"),
    "opportunity_to_won": ("opportunity>won", "leads with a won deal / leads with a deal, by the day it was opened"),
}
"""Rates over cohorts: name → the counter, and what it means.  The cohort is what stands before the sign."""

OTHERS: Final[Mapping[str, str]] = {
    "win_rate": "deals won / (deals won + deals lost), by the day on which they were decided",
    "recycle_rate": "leads given back to come again / leads given back, by the day on which they were given back",
    "requalified": "leads given back that were handed over again within 180 days / leads given back to come again",
    "recycled_won": "leads given back to come again that won a deal later / leads given back to come again",
    "attempts_per_lead": "attempts of people in sales / leads handed over, each until it was decided",
    "speed_to_lead": "first attempt of a person in sales - handover, in hours of the clock: median, 9 of 10, and "
    "shares within 5 minutes, 1 hour and 24 hours of all that were handed over and tried",
    "cycle_days": "mean days from opening a deal to winning it",
    "mean_amount": "money won / deals won that have an amount, by currency",
    "velocity": "money a day: deals opened x win rate x mean amount / cycle days",
    "sourced": "money of won deals whose first touch was marketing's",
    "influenced": "money of won deals with any touch of marketing before they were opened; holds what is sourced, so "
    "the two are never added",
    "owed_by_sales": "clocks kept / clocks that were due within the span, of all leads",
    "owed_by_marketing": "each promise of marketing in the period that holds the last day",
    "freshness": "seconds from a change at one side until it landed at the other, 95 of 100, last seven days",
    "drift": "mapped values on which two sides disagree / values compared, at the last complete compare",
    "opt_out_lag": "seconds from a withdrawal of consent until it landed everywhere, 99 of 100, last seven days",
    "median_wait": "half of those who came here had gone on or ended by then; who still waits counts as longer "
    "(Kaplan-Meier)",
    "median_passed": "the middle wait of those who went on to the next step",
}

BANDS: Final[Mapping[str, tuple[float, float]]] = {
    "lead_to_mql": (0.10, 0.25),
    "acceptance": (0.40, 0.60),
    "sal_to_sql": (0.50, 0.70),
    "sql_to_won": (0.20, 0.30),
}
"""Rates that others report (https://mv3marketing.com/glossary/demand-waterfall/): something to look at, no target."""


@dataclass(frozen=True, slots=True)
class Rate:
    """A share of a cohort.  ``low``, ``high``: Wilson's interval, 95 %, of those that are decided."""

    hits: int
    of: int
    undecided: int = 0  # that may still come to it

    @property
    def rate(self) -> float | None:
        """Hits / cohort; None without a cohort."""
        return self.hits / self.of if self.of else None

    @property
    def decided(self) -> int:
        """How many of the cohort cannot change any more."""
        return self.of - self.undecided

    @property
    def of_decided(self) -> float | None:
        """Hits / those decided; None where none is."""
        return self.hits / self.decided if self.decided > 0 else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """The interval of the rate among the decided."""
        return wilson(self.hits, self.decided) if self.decided > 0 else None

    @property
    def small(self) -> bool:
        """Whether too few are decided to say much."""
        return self.decided < SMALL


def median_with_waiting(waits: Iterable[tuple[int, bool, int]]) -> int | None:
    """The median of waits of which some go on: (length, whether it is over, how many); None: half are not over yet.

    Kaplan and Meier 1958 (https://doi.org/10.1080/01621459.1958.10501452): the first length at which the estimated
    share of those that still wait is a half or less.  Who still waits at a length counts as waiting until then.
    """
    over: dict[int, int] = {}
    left: dict[int, int] = {}
    for length, ended, n in waits:
        left[length] = left.get(length, 0) + n
        if ended:
            over[length] = over.get(length, 0) + n
    at_risk = sum(left.values())
    surviving = 1.0
    for length in sorted(left):
        done = over.get(length, 0)
        if done:
            surviving *= 1 - done / at_risk
            if surviving <= 0.5 + 1e-12:
                return length
        at_risk -= left[length]
    return None


def quantile(lengths: Iterable[tuple[int, int]], q: float) -> int | None:
    """The least length that ``q`` of them do not exceed: (length, how many); None of none."""
    counted = sorted(lengths)
    total = sum(n for _, n in counted)
    passed = 0
    for length, n in counted:
        passed += n
        if passed >= q * total:
            return length
    return None
