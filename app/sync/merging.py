"""Decide which value survives.  In: what we believe, what one record now says.  Out: a Verdict with reasons.

Three-way, per field: shadow (what we know their record held), theirs (the claim), ours (the contact).  Only what *they*
changed counts.  Who wins a true double edit is a total order over (policy, time, source, value): it cannot be undecided
and does not depend on which claim came first.  Pure: never reads the store or the clock.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, Final

import orjson

from app.core.words import MISSING, Claim, Decision, Fact, Outcome, Shadow, Value, Verdict, Winner

OURS: Final = "ours"
THEIRS: Final = "theirs"
NO_RULINGS: Final[Mapping[str, str]] = {}

Project = Callable[[str, Value], Any]
"""What this vendor would say back of our value, or MISSING where it cannot hold it."""


def judge(
    facts: Mapping[str, Fact],
    shadow: Shadow,
    claim: Claim,
    *,
    source: str,
    at: int,
    event: int | None,
    policy: Callable[[str], tuple[Winner, bool]],
    side: Callable[[str], str],
    project: Project,
    rulings: Mapping[str, str] = NO_RULINGS,
) -> Verdict:
    """The verdict on a claim of the connection ``source``, changed at ``at`` (ms since 1970, never in the future).

    ``policy``: field → (winner, may it be cleared).  ``side``: connection → its side.  ``rulings``: field → what a
    person said of every double edit that would be asked about, ``ours`` or ``theirs``.
    """
    after = dict(facts)
    moved = dict(shadow)
    decisions: list[Decision] = []
    for name in sorted(claim):
        theirs = claim[name]
        before = shadow.get(name, MISSING)
        moved[name] = theirs
        if before is not MISSING and before == theirs:
            continue
        ours = facts.get(name)
        winner, clearable = policy(name)
        fact = Fact(theirs, source, at, "", event)
        taken, rule = _decide(ours, before, fact, winner, clearable, name, side, project, rulings.get(name))
        old = ours.value if ours is not None else None
        if taken is None:
            outcome = Outcome.AGREED if rule == "agreed" else Outcome.ASKED if rule == "ask" else Outcome.KEPT
            decisions.append(Decision(name, outcome, rule, old, theirs))
            continue
        after[name] = Fact(taken.value, taken.source, taken.at, rule, taken.event)
        decisions.append(Decision(name, Outcome.TAKEN, rule, old, taken.value))
    return Verdict(tuple(decisions), after, moved)


def _decide(
    ours: Fact | None,
    before: Any,
    theirs: Fact,
    winner: Winner,
    clearable: bool,
    name: str,
    side: Callable[[str], str],
    project: Project,
    ruling: str | None = None,
) -> tuple[Fact | None, str]:
    """The fact to take (None: ours stays) and the name of the rule."""
    held = project(name, ours.value) if ours is not None else None
    if held is not MISSING and held == theirs.value:
        return None, "agreed"
    if theirs.value is None:
        if before is MISSING:
            return None, "blank"  # a record seen for the first time states nothing by an empty field
        if not clearable:
            return None, "clearing not allowed"
    if ours is None:
        return theirs, "first"
    if before is not MISSING and held is not MISSING and held == before:
        return theirs, "changed"
    if ours.value is None and before is MISSING and not clearable:
        return theirs, "first"
    if winner is Winner.ASK:
        return (None, "ask") if ruling is None else (theirs if ruling == THEIRS else None, f"always {ruling}")
    if winner is Winner.UNION:
        return _union(ours, theirs)
    best = stronger(winner, ours, theirs, side)
    when = "first" if before is MISSING else "double edit"
    return (theirs if best is theirs else None), f"{when}: {winner}"


def stronger(winner: Winner, a: Fact, b: Fact, side: Callable[[str], str]) -> Fact:
    """The fact that survives a double edit; the same for (a, b) and (b, a) unless they are equal in all respects."""

    def newest(fact: Fact) -> tuple[Any, ...]:
        return (fact.at, fact.source, _text(fact.value))

    if winner in {Winner.CRM, Winner.MARKETING}:
        return max(a, b, key=lambda f: (side(f.source) == winner, *newest(f)))
    if winner is Winner.MAX:
        return max(a, b, key=lambda f: (f.value is not None, _size(f.value), *newest(f)))
    if winner is Winner.FILL:  # a value before none, then the older
        return min(a, b, key=lambda f: (f.value is None, *newest(f)))
    return max(a, b, key=newest)


def _union(ours: Fact, theirs: Fact) -> tuple[Fact | None, str]:
    rule = "double edit: union"
    left = ours.value if isinstance(ours.value, list) else [] if ours.value is None else [ours.value]
    right = theirs.value if isinstance(theirs.value, list) else [] if theirs.value is None else [theirs.value]
    both = sorted({_text(v): v for v in [*left, *right]}.items())
    value = [v for _, v in both]
    if value == ours.value:
        return None, rule
    newer = max(ours, theirs, key=lambda f: (f.at, f.source, _text(f.value)))
    return Fact(value, newer.source, newer.at, "", theirs.event), rule


def _size(value: Value) -> tuple[int, Any]:
    """Numbers by size before texts by spelling, so that any two values compare."""
    if isinstance(value, bool):
        return (0, Decimal(int(value)))
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        return (1, _text(value))
    return (0, number) if number.is_finite() else (1, _text(value))


def _text(value: Value) -> str:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
