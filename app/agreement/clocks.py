"""Clocks of the agreement: what happened to a lead in, how its clock stands out.  Pure: no database, reads no time.

A clock is a function of the set of its happenings and of ``now``, whatever the order in which they came to be known:
they are taken by (moment, kind, id), and one that is there twice counts once.  Business time counts up while the clock
runs; all that it does (a reminder, at risk, a breach, an escalation) is a mark on that one axis, and comes at the first
moment at which so much business time has passed.  So the next moment at which anything changes is known.

What a person does at the very moment of a mark comes first: done when it is due is done in time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from app.agreement.hours import ALWAYS, Calendar
from app.agreement.terms import Clock, Span, Terms


class What(StrEnum):
    """What can happen to a clock, in the order in which it is taken at the same moment."""

    STARTED = "started"
    VERSION = "version"  # another version of the agreement came into force
    CALENDAR = "calendar"  # the lead's team works by another calendar, or the lead went to another team
    REASSIGNED = "reassigned"
    PAUSED = "paused"
    RESUMED = "resumed"  # for the reason that is said, or for all
    SATISFIED = "satisfied"
    CANCELLED = "cancelled"  # taken back without judgement: erased, merged, handed over by mistake


_RANK: Final = {what: rank for rank, what in enumerate(What)}


@dataclass(frozen=True, slots=True)
class Happening:
    """One dated thing.  Which other fields count, ``What`` says."""

    at: int
    what: What
    id: str  # unique among the happenings of a lead
    clock: str | None = None  # the name of the clock it is about; None: all of the lead
    version: str | None = None  # STARTED, VERSION: the agreement's; CALENDAR: the one that holds it (None: the same)
    calendar: str | None = None  # STARTED, CALENDAR, and REASSIGNED where the new owner's team has another
    owner: str | None = None  # STARTED, REASSIGNED
    reason: str | None = None  # PAUSED, RESUMED, CANCELLED


def in_order(happenings: Iterable[Happening]) -> list[Happening]:
    """The one order in which happenings are taken; doubles once."""
    return sorted(set(happenings), key=_key)


def _key(h: Happening) -> tuple[int, int, str, str]:
    return h.at, _RANK[h.what], h.id, repr(h)  # the last for an id that was given twice after all


class State(StrEnum):
    """How a clock stands."""

    RUNNING = "running"
    AT_RISK = "at_risk"
    PAUSED = "paused"
    BREACHED = "breached"  # and not done yet: keeps counting, even where it is paused after the breach
    MET = "met"
    MET_LATE = "met_late"
    CANCELLED = "cancelled"


class Mark(StrEnum):
    """What a clock does by itself, in the order at the same moment."""

    REMINDER = "reminder"
    AT_RISK = "at_risk"
    BREACH = "breach"
    ESCALATION = "escalation"


_MARKS: Final = {mark: rank for rank, mark in enumerate(Mark)}


@dataclass(frozen=True, slots=True)
class Alert:
    """A mark with its moment: one that came, or one that will come if nothing happens.

    ``elapsed``: the business time on the clock then.  ``leg`` counts restarts and new targets, so (round, leg,
    mark, planned, to) is the identity by which a scheduler sends each of them once.
    """

    at: int
    mark: Mark
    elapsed: int
    planned: int  # ms before it is due, for a reminder; ms after the breach, for an escalation; else 0
    leg: int
    owner: str | None = None
    to: str | None = None
    reassign: bool = False


@dataclass(frozen=True, slots=True)
class Pause:
    """A time in which the clock stood, and why.  ``business``: the working time that it took."""

    reason: str
    at: int
    until: int | None
    business: int


@dataclass(frozen=True, slots=True)
class Reading:
    """A clock as it stands.  Moments and durations in milliseconds; business time unless it says otherwise."""

    clock: str
    round: int  # 1, and one more each time that it started again after it had ended
    state: State
    version: str
    calendar: str
    owner: str | None
    started_at: int
    due_at: int | None  # None while it is paused before it was due: nobody knows then
    ended_at: int | None
    elapsed: int  # since it started or restarted, pauses taken out; counts on after a breach
    target: int
    raw: int  # by the wall clock, from the first start, pauses and nights and all
    breached_at: int | None  # the first breach; a restart does not undo it
    alerts: tuple[Alert, ...]  # that came, in order
    upcoming: tuple[Alert, ...]  # that come next, if nothing happens
    next_at: int | None  # the next moment at which anything of this changes by itself
    paused: int = 0  # working time that the pauses took together
    pauses: tuple[Pause, ...] = ()
    refused: tuple[str, ...] = ()  # ids of pauses for a reason that the agreement does not know

    @property
    def remaining(self) -> int:
        """Business time that is left; negative: over by so much."""
        return self.target - self.elapsed

    @property
    def kept(self) -> bool | None:
        """Whether the promise was kept.  None: not decided, or taken back before it was due."""
        if self.breached_at is not None:
            return False
        return True if self.state is State.MET else None


def compliance(readings: Iterable[Reading]) -> tuple[int, int]:
    """(kept, due) of clocks: what still runs in time, and what was taken back in time, is not due."""
    judged = [r.kept for r in readings if r.kept is not None]
    return sum(judged), len(judged)


def read(
    name: str, happenings: Iterable[Happening], versions: Mapping[str, Terms], now: int, *, team: str | None = None
) -> tuple[Reading, ...]:
    """How one clock of a lead stands at a moment: a reading for each round, the last one last; none before it started.

    ``happenings``: all of the lead; those of other clocks are passed over, those after ``now`` are plans (a pause that
    ends on a day) and count for ``next_at`` only.  ``team``: the calendar where no happening names one.  Raises
    LookupError for a version, a clock or a calendar that is not there.
    """
    fold = _Fold(name, versions, team)
    rounds: list[Reading] = []
    later: int | None = None
    for happening in in_order(h for h in happenings if h.clock is None or h.clock == name):
        if happening.at > now:
            later = happening.at
            break
        fold.take(happening)
        if fold.ended is not None and fold.running:
            rounds.append(fold.reading(happening.at, None))
            fold.close()
    if fold.running:
        fold.advance(now, inclusive=True)
        rounds.append(fold.reading(now, later))
    return tuple(rounds)


def read_all(
    names: Iterable[str],
    happenings: Sequence[Happening],
    versions: Mapping[str, Terms],
    now: int,
    *,
    team: str | None = None,
) -> dict[str, tuple[Reading, ...]]:
    """``read`` for several clocks of one lead; without those that never started."""
    found = {name: read(name, happenings, versions, now, team=team) for name in names}
    return {name: rounds for name, rounds in found.items() if rounds}


def next_change(readings: Iterable[Reading]) -> int | None:
    """The next moment at which any of the clocks changes by itself; when a scheduler has to look again."""
    return min((r.next_at for r in readings if r.next_at is not None), default=None)


_NONE: Final = Clock("", "", "", Span())


@dataclass(slots=True)
class _Fold:
    """The state between two happenings.  What a lead has (owner, calendar, pauses) outlives a round."""

    name: str
    versions: Mapping[str, Terms]
    calendar_name: str | None
    calendar_version: str | None = None
    owner: str | None = None
    open: dict[str, int] = field(default_factory=dict)  # reason → since
    running: bool = False
    round: int = 0
    # of the round
    version: str = ""
    clock: Clock = _NONE
    calendar: Calendar = ALWAYS
    started: int = 0
    ended: int | None = None
    state: State = State.RUNNING
    cursor: int = 0
    elapsed: int = 0
    target: int = 0
    due: int | None = None
    breached: int | None = None
    leg: int = 0
    leg_at: int = 0
    waiting: list[Alert] = field(default_factory=list)  # ``at`` is not known yet and 0, ``elapsed`` is where they stand
    alerts: list[Alert] = field(default_factory=list)
    paused: int = 0
    pauses: list[Pause] = field(default_factory=list)
    standing: dict[str, int] = field(default_factory=dict)  # business time of each open pause so far
    refused: list[str] = field(default_factory=list)

    # --- time ---------------------------------------------------------------------------------------------------------

    def advance(self, to: int, *, inclusive: bool) -> None:
        """Let time pass; marks at ``to`` itself come only where nobody did anything then."""
        if self.open:
            stood = self.calendar.elapsed(self.cursor, to)
            self.paused += stood
            for reason in self.open:
                self.standing[reason] = self.standing.get(reason, 0) + stood
            self.cursor = to
            return
        while self.waiting:
            mark = self.waiting[0]
            at = self._reached(mark.elapsed)
            if at > to or (at == to and not inclusive):
                break
            self.waiting.pop(0)
            self._come(mark, at)
        self.elapsed += self.calendar.elapsed(self.cursor, to)
        self.cursor = to

    def _reached(self, elapsed: int) -> int:
        """When the clock shows so much, if it runs on; now, where it shows it already."""
        left = elapsed - self.elapsed
        return self.cursor if left <= 0 else self.calendar.add(self.cursor, left)

    def _come(self, mark: Alert, at: int) -> None:
        self.alerts.append(
            Alert(at, mark.mark, mark.elapsed, mark.planned, mark.leg, self.owner, mark.to, mark.reassign)
        )
        if mark.mark is Mark.AT_RISK:
            self.state = State.AT_RISK
        elif mark.mark is Mark.BREACH:
            self.state, self.due = State.BREACHED, at
            if self.breached is None:
                self.breached = at

    # --- happenings ---------------------------------------------------------------------------------------------------

    def take(self, h: Happening) -> None:
        """One happening, at its moment."""
        if self.running:
            self.advance(h.at, inclusive=False)
        if h.what is What.STARTED and not self.running:
            self._start(h)
        elif h.what is What.VERSION:
            self._new_version(h)
        elif h.what is What.CALENDAR or h.what is What.REASSIGNED:
            self._given(h)
        elif h.what is What.PAUSED:
            self._pause(h)
        elif h.what is What.RESUMED:
            for reason in list(self.open) if h.reason is None else [h.reason]:
                self._resume(reason, h.at)
        elif self.running and h.what is What.SATISFIED:
            self.ended, self.state = h.at, State.MET if self.breached is None else State.MET_LATE
        elif self.running and h.what is What.CANCELLED:
            self.ended, self.state = h.at, State.CANCELLED

    def _start(self, h: Happening) -> None:
        if h.version is None:
            raise LookupError(f"clock {self.name!r} started under no version of the agreement ({h.id})")
        self.clock = self._clock(h.version)
        self.version, self.owner = h.version, self.owner if h.owner is None else h.owner
        if h.calendar is not None:
            self.calendar_name, self.calendar_version = h.calendar, None
        self.running, self.ended, self.breached, self.started = True, None, None, h.at
        self.round += 1
        self.leg = 0
        self.alerts, self.pauses, self.refused = [], [], []
        self.standing, self.paused = {}, 0
        self.open = {reason: h.at for reason in self.open if reason in self.clock.pause_for}
        self.calendar = self._calendar()
        self._leg(h.at)

    def _leg(self, at: int) -> None:
        """Time from the beginning."""
        self.leg += 1
        self.leg_at, self.cursor, self.elapsed, self.state, self.due = at, at, 0, State.RUNNING, None
        self.target = self.clock.within.of(self.calendar, at)
        self._plan()

    def _plan(self) -> None:
        """The marks that are still to come on this leg, by the terms that hold now."""
        clock, target, leg = self.clock, self.target, self.leg
        marks = [
            Alert(0, Mark.ESCALATION, target + e.after, e.after, leg, to=e.to, reassign=e.reassign)
            for e in clock.escalate
        ]
        if self.state is State.BREACHED:
            came = {(a.planned, a.to) for a in self.alerts if a.leg == leg and a.mark is Mark.ESCALATION}
            marks = [m for m in marks if (m.planned, m.to) not in came]
        else:
            # A reminder whose moment had passed before it was planned is none.
            marks += [Alert(0, Mark.REMINDER, target - r, r, leg) for r in clock.remind if target - r > self.elapsed]
            if clock.at_risk is not None:
                marks.append(Alert(0, Mark.AT_RISK, -(-target * clock.at_risk // 100), 0, leg))
            marks.append(Alert(0, Mark.BREACH, target, 0, leg))
        self.waiting = sorted(marks, key=lambda m: (m.elapsed, _MARKS[m.mark], "" if m.to is None else m.to))

    def _new_version(self, h: Happening) -> None:
        if not self.running or h.version is None or self.name not in self._terms(h.version).clocks:
            return
        clock = self._clock(h.version)
        if clock.on_new_version == "keep":
            return
        self.clock, self.version, self.calendar_version = clock, h.version, None
        self.calendar = self._calendar()
        if self.state is not State.BREACHED:  # which stays one, of the target that was missed
            self.leg += 1  # of alerts: what is on the clock stays on it
            self.state, self.target = State.RUNNING, clock.within.of(self.calendar, self.leg_at)
        self._plan()

    def _given(self, h: Happening) -> None:
        if h.what is What.REASSIGNED:
            self.owner = h.owner
        if h.calendar is not None:
            self.calendar_name, self.calendar_version = h.calendar, h.version
        if self.running:
            self.calendar = self._calendar()
            if h.what is What.REASSIGNED and self.clock.on_reassign == "restart":
                self._leg(h.at)

    def _pause(self, h: Happening) -> None:
        reason = "" if h.reason is None else h.reason
        if self.running and reason not in self.clock.pause_for:
            self.refused.append(h.id)
        elif reason not in self.open:
            self.open[reason] = h.at

    def _resume(self, reason: str, at: int) -> None:
        since = self.open.pop(reason, None)
        if since is not None and self.running:
            self.pauses.append(Pause(reason, since, at, self.standing.pop(reason, 0)))

    def close(self) -> None:
        """The round is over."""
        self.running = False

    # --- what the names mean ------------------------------------------------------------------------------------------

    def _terms(self, version: str) -> Terms:
        if version not in self.versions:
            raise LookupError(f"no version {version!r} of the agreement; there are {', '.join(self.versions)}")
        return self.versions[version]

    def _clock(self, version: str) -> Clock:
        clocks = self._terms(version).clocks
        if self.name not in clocks:
            raise LookupError(f"version {version!r} of the agreement has no clock {self.name!r}")
        return clocks[self.name]

    def _calendar(self) -> Calendar:
        if self.clock.hours == "always":
            return ALWAYS
        version = self.version if self.calendar_version is None else self.calendar_version
        calendars = self._terms(version).calendars
        if self.calendar_name is None or self.calendar_name not in calendars:
            raise LookupError(f"version {version!r} of the agreement has no calendar {self.calendar_name!r}")
        return calendars[self.calendar_name]

    # --- the outcome --------------------------------------------------------------------------------------------------

    def reading(self, now: int, later: int | None) -> Reading:
        """How it stands, all happenings up to ``now`` taken; ``later``: the next one that is planned."""
        state, due = self.state, self.due
        upcoming: list[Alert] = []
        if self.open and state in {State.RUNNING, State.AT_RISK}:
            state = State.PAUSED
        elif due is None and not self.open:
            due = self._reached(self.target)
        if self.ended is None and not self.open:
            upcoming = [
                Alert(self._reached(m.elapsed), m.mark, m.elapsed, m.planned, m.leg, self.owner, m.to, m.reassign)
                for m in self.waiting
            ]
        changes = [a.at for a in upcoming[:1]] + ([] if later is None or self.ended is not None else [later])
        going = [Pause(r, since, None, self.standing.get(r, 0)) for r, since in self.open.items()]
        return Reading(
            clock=self.name,
            round=self.round,
            state=state,
            version=self.version,
            calendar=self.calendar.name,
            owner=self.owner,
            started_at=self.started,
            due_at=due,
            ended_at=self.ended,
            elapsed=self.elapsed,
            target=self.target,
            raw=now - self.started,
            breached_at=self.breached,
            alerts=tuple(self.alerts),
            upcoming=tuple(upcoming),
            next_at=min(changes, default=None),
            paused=self.paused,
            pauses=tuple(sorted([*self.pauses, *going], key=lambda p: (p.at, p.reason))),
            refused=tuple(self.refused),
        )
