"""A clock of the agreement, minute by minute: a second computation that shares no arithmetic with the app.

It walks over every minute, asks the wall clock whether anybody works, and looks at everything again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from app.agreement.clocks import Happening
from app.agreement.terms import Clock
from tests.wallclock import MINUTE, Wall

ORDER = ["started", "version", "calendar", "reassigned", "paused", "resumed", "satisfied", "cancelled"]


@dataclass
class Slow:
    """The outcome: what is compared with a reading."""

    state: str = "running"
    shown: int = 0
    target: int = 0
    owner: str | None = None
    breached: int | None = None
    ended: int | None = None
    alerts: list[tuple[int, str, int, str | None, int]] = field(default_factory=list)
    paused: int = 0
    round: int = 0


def slow(
    happenings: Iterable[Happening],
    clocks: Mapping[str, Clock],
    walls: Mapping[str, Wall],
    now: int,
    team: str,
) -> list[Slow]:
    """Every round up to now."""
    rows = sorted({h.id: h for h in happenings}.values(), key=lambda h: (h.at, ORDER.index(h.what), h.id))
    rounds: list[Slow] = []
    pauses: set[str] = set()
    it: Slow | None = None
    state: dict[str, Any] = {"owner": None, "wall": team}
    minute = min([h.at for h in rows], default=now)
    while minute <= now:
        for h in [h for h in rows if h.at == minute]:
            it = _take(h, it, rounds, pauses, state, clocks, walls)
        if it is not None and not pauses:
            _marks(it, state, minute)
        wall = walls[state["wall"]]
        if it is not None and wall.open(minute) and minute < now:
            if pauses:
                it.paused += MINUTE
            else:
                it.shown += MINUTE
        minute += MINUTE
    for done in rounds:
        if done.ended is None and pauses and done.state in {"running", "at_risk"}:
            done.state = "paused"
    return rounds


def _take(
    h: Happening,
    it: Slow | None,
    rounds: list[Slow],
    pauses: set[str],
    state: dict[str, Any],
    clocks: Mapping[str, Clock],
    walls: Mapping[str, Wall],
) -> Slow | None:
    what = str(h.what)
    if h.calendar is not None and not (what == "started" and it is not None):
        state["wall"] = h.calendar
    if what == "started" and it is None:
        it = Slow(round=len(rounds) + 1)
        state["owner"] = h.owner if h.owner is not None else state["owner"]
        state["clock"] = clocks[str(h.version)]
        pauses &= set(state["clock"].pause_for)
        state["leg"] = 0
        _leg(it, state, h.at, walls)
        rounds.append(it)
    elif what == "version" and it is not None and clocks[str(h.version)].on_new_version == "adopt":
        state["clock"] = clocks[str(h.version)]
        if it.state != "breached":
            state["leg"] += 1
            state["floor"] = it.shown
            it.state = "running"
            it.target = _target(state, walls)
    elif what == "reassigned":
        state["owner"] = h.owner
        if it is not None and state["clock"].on_reassign == "restart":
            _leg(it, state, h.at, walls)
    elif what == "paused" and (it is None or h.reason in state["clock"].pause_for):
        pauses.add(str(h.reason))
    elif what == "resumed":
        pauses -= pauses if h.reason is None else {h.reason}
    elif what in {"satisfied", "cancelled"} and it is not None:
        it.ended = h.at
        late = it.breached is not None
        it.state = "cancelled" if what == "cancelled" else "met_late" if late else "met"
        it = None
    if it is not None:
        it.owner = state["owner"]
    return it


def _leg(it: Slow, state: dict[str, Any], at: int, walls: Mapping[str, Wall]) -> None:
    state["leg"] += 1
    state["leg_at"] = at
    state["floor"] = 0
    it.shown, it.state, it.target = 0, "running", 0
    it.target = _target(state, walls)


def _target(state: dict[str, Any], walls: Mapping[str, Wall]) -> int:
    within, wall, start = state["clock"].within, walls[state["wall"]], state["leg_at"]
    if not within.working_days:
        return int(within.ms)
    first = wall.shown(start).date()
    worked = wall.worked(start, start + (within.working_days + 6) * 1440 * MINUTE)
    closing = worked[[d for d in sorted(worked) if d > first][within.working_days - 1]]
    return wall.elapsed(start, closing)


def _marks(it: Slow, state: dict[str, Any], minute: int) -> None:
    clock, target, leg = state["clock"], it.target, state["leg"]
    came = {(m, p, to) for _, m, p, to, n in it.alerts if n == leg}
    due: list[tuple[int, int, str, int, str | None]] = []
    if it.state != "breached" and ("breach", 0, None) not in came:
        due += [(target - r, 0, "reminder", r, None) for r in clock.remind if target - r > state["floor"]]
        if clock.at_risk is not None:
            due.append((-(-target * clock.at_risk // 100), 1, "at_risk", 0, None))
        due.append((target, 2, "breach", 0, None))
    due += [(target + e.after, 3, "escalation", e.after, e.to) for e in clock.escalate]
    for value, _, mark, planned, to in sorted(due, key=lambda d: (d[0], d[1], d[4] or "")):
        if it.shown >= value and (mark, planned, to) not in came:
            it.alerts.append((minute, mark, planned, to, leg))
            if mark == "at_risk":
                it.state = "at_risk"
            elif mark == "breach":
                it.state = "breached"
                it.breached = minute if it.breached is None else it.breached
