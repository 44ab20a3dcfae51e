"""How a won deal is credited to the touches before it: the models by name, and the shares they give.  Pure.

A touch is something that the person did (a click, a visit, a form, a survey, an event) or that a person in sales did
to reach them (a call, a meeting, a mail, a message), before the deal was opened.  An open is none: mail programs load
pictures by themselves.  The models and their weights are those in common use
(https://docs.snowplow.io/tutorials/attribution); where the touches that a model names are missing or one and the same,
what is left is scaled up to the whole.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from app.agreement.words import Team

HALF_LIFE_DAYS: Final = 7.0
DAY_MS: Final = 86_400_000
PARTS: Final = 10_000  # of one: money and shares are counted in ten thousandths, so that sums stay exact


@dataclass(frozen=True, slots=True, order=True)
class Touch:
    """One touch; the order is that of time, then of content."""

    at: int
    team: Team
    channel: str
    campaign: str = ""


Weigh = Callable[[Sequence[Touch], int, int | None], list[float]]


def _first(touches: Sequence[Touch], _opened: int, _lead: int | None) -> list[float]:
    return [1.0] + [0.0] * (len(touches) - 1)


def _last(touches: Sequence[Touch], _opened: int, _lead: int | None) -> list[float]:
    return [0.0] * (len(touches) - 1) + [1.0]


def _linear(touches: Sequence[Touch], _opened: int, _lead: int | None) -> list[float]:
    return [1.0] * len(touches)


def _u(touches: Sequence[Touch], _opened: int, _lead: int | None) -> list[float]:
    return _by_role(len(touches), {0: [40.0], len(touches) - 1: [40.0]}, 20.0)


def _w(touches: Sequence[Touch], _opened: int, lead: int | None) -> list[float]:
    roles: dict[int, list[float]] = {}
    for place in (0, _at_lead(touches, lead), len(touches) - 1):
        roles.setdefault(place, []).append(30.0)
    return _by_role(len(touches), roles, 10.0)


def _decay(touches: Sequence[Touch], opened: int, _lead: int | None) -> list[float]:
    return [2.0 ** (-(opened - one.at) / (HALF_LIFE_DAYS * DAY_MS)) for one in touches]


def _at_lead(touches: Sequence[Touch], lead: int | None) -> int:
    """The touch with which the person became a lead: the last one until then; the first where all came later."""
    if lead is None:
        return 0
    return max((i for i, one in enumerate(touches) if one.at <= lead), default=0)


def _by_role(count: int, roles: Mapping[int, Sequence[float]], rest: float) -> list[float]:
    others = count - len(roles)
    return [sum(roles[i]) if i in roles else rest / others for i in range(count)]


MODELS: Final[Mapping[str, Weigh]] = {
    "first": _first,
    "last": _last,
    "linear": _linear,
    "u": _u,
    "w": _w,
    "decay": _decay,
}
ABOUT: Final[Mapping[str, str]] = {
    "first": "all to the first touch",
    "last": "all to the last touch before the deal was opened",
    "linear": "the same to each touch",
    "u": "40 % to the first, 40 % to the last, 20 % to those between",
    "w": "30 % each to the first, to the one that made the lead and to the last, 10 % to the others",
    "decay": f"half as much for every {HALF_LIFE_DAYS:g} days before the deal was opened",
}


def weights(model: str, touches: Sequence[Touch], opened: int, lead: int | None) -> list[float]:
    """The share of each touch, in their order; together 1.  ``lead``: when the person became a lead.

    ``touches`` are in their order and none is after ``opened``.  Raises KeyError for an unknown model.
    """
    if not touches:
        return []
    found = MODELS[model](touches, opened, lead)
    total = sum(found)
    return [w / total for w in found] if total > 0 else _last(touches, opened, lead)


def parts(whole: int, shares: Sequence[float]) -> list[int]:
    """A whole number divided by shares, without rest: what rounding leaves goes to the largest remainders."""
    exact = [whole * share for share in shares]
    found = [int(value // 1) for value in exact]
    left = whole - sum(found)
    ranked = sorted(range(len(shares)), key=lambda i: (found[i] - exact[i], i))
    for i in range(left):
        found[ranked[i % len(ranked)]] += 1
    return found
