"""What a programme brought about: those who got it beside those left without it.  Pure.

Everybody counts with the group that chance put them in, however long they stayed: who leaves early is not like who
stays, so leaving them out would compare different people.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from app.agreement.quotas import SMALL, wilson


class Verdict(StrEnum):
    """What the figures allow to say."""

    MORE = "more"  # came to the stage than without it
    LESS = "less"
    OPEN = "open"  # the difference may be chance
    FEW = "few"  # too few people in one of the groups to say anything
    NOTHING = "nothing"  # nobody is left out, or nothing is measured: there is nothing to compare with


@dataclass(frozen=True, slots=True)
class Effect:
    """The difference between two shares, from -1 to 1, and the 95 % interval in which it lies."""

    difference: float | None
    low: float | None
    high: float | None
    verdict: Verdict


def difference(a: int, m: int, b: int, n: int) -> tuple[float, float, float]:
    """``a`` of ``m`` less ``b`` of ``n``: the difference of the shares, and the ends of its 95 % interval.

    R. G. Newcombe, Interval estimation for the difference between independent proportions: comparison of eleven
    methods, Statistics in Medicine 17 (1998) 873-890, method 10: from Wilson's interval of each share.  Raises
    ValueError where one of the groups is empty.
    """
    (low_a, high_a), (low_b, high_b) = wilson(a, m), wilson(b, n)
    p, q = a / m, b / n
    middle = p - q
    return middle, middle - math.hypot(p - low_a, high_b - q), middle + math.hypot(high_a - p, q - low_b)


def effect(a: int, m: int, b: int, n: int) -> Effect:
    """``a`` of ``m`` who got it came to the stage, and ``b`` of ``n`` who did not get it."""
    if m == 0 or n == 0:
        return Effect(None, None, None, Verdict.NOTHING if n == 0 else Verdict.FEW)
    found, low, high = difference(a, m, b, n)
    if min(m, n) < SMALL:
        return Effect(found, low, high, Verdict.FEW)
    verdict = Verdict.MORE if low > 0 else Verdict.LESS if high < 0 else Verdict.OPEN
    return Effect(found, low, high, verdict)
