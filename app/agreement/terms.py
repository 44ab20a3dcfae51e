"""What the agreement promises, as values: one class for each part of ``sla:``, with the names that stand in the file.

Durations are milliseconds of business time.  ``app.agreement.promises`` reads them from YAML.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from app.agreement.hours import Calendar

FIRST_TOUCH, CONTACT, ATTEMPTS, DISPOSITION = "first_touch", "contact", "attempts", "disposition"


@dataclass(frozen=True, slots=True)
class Span:
    """A length of business time: milliseconds, or whole working days until one of them closes."""

    ms: int = 0
    working_days: int = 0

    def __post_init__(self) -> None:
        """One of both, and none backwards."""
        if min(self.ms, self.working_days) < 0 or (self.ms and self.working_days):
            raise ValueError("a span is a number of hours, or a number of working days")

    def of(self, calendar: Calendar, start: int) -> int:
        """The business time of it from a moment on.  Working days end at the closing of the last of them."""
        if not self.working_days:
            return self.ms
        return calendar.elapsed(start, calendar.closing(start, self.working_days))


@dataclass(frozen=True, slots=True)
class Escalation:
    """Who hears of a breach: ``after`` so much business time beyond it."""

    to: str
    after: int = 0  # ms
    reassign: bool = False  # and the lead is to go to somebody else


@dataclass(frozen=True, slots=True)
class Need:
    """How many attempts make a lead worked on, and on how many channels."""

    attempts: int
    channels: int = 1
    unknown: bool = False  # whether acts count of which nobody says whether a person did them


@dataclass(frozen=True, slots=True)
class Clock:
    """One entry of ``sla: clocks:``.  What starts and ends it is said in words that the lifecycle knows."""

    name: str
    begins: str  # a stage
    ends: str  # first_touch, contact, attempts, disposition, or a stage
    within: Span
    need: Need | None = None  # of a clock that ends by attempts
    hours: Literal["business", "always"] = "business"
    when: str | None = None  # a condition: the leads that have this clock
    at_risk: int | None = 80  # percent of the time that is given
    remind: tuple[int, ...] = ()  # ms of business time before it is due
    escalate: tuple[Escalation, ...] = ()
    pause_for: tuple[str, ...] = ()  # the reasons for which it may be paused
    on_reassign: Literal["continue", "restart"] = "continue"
    on_new_version: Literal["keep", "adopt"] = "keep"  # of the agreement, for clocks that run


@dataclass(frozen=True, slots=True)
class Terms:
    """One version of the agreement, as far as clocks need it."""

    clocks: Mapping[str, Clock]
    calendars: Mapping[str, Calendar]


@dataclass(frozen=True, slots=True)
class Quota:
    """One entry of ``sla: marketing:``: so many leads, or such a share of accepted ones, in each period."""

    name: str
    counts: str  # the stage that a lead has to reach in the period
    per: Literal["week", "month", "quarter"]
    at_least: int  # leads; percent where ``accepted`` is said
    accepted: str | None = None  # the stage by which sales accepts it


@dataclass(frozen=True, slots=True)
class Sla:
    """The section ``sla:``.  ``calendar`` is that of teams which ``teams`` does not name; both name calendars."""

    calendar: str
    teams: Mapping[str, str] = field(default_factory=dict)
    clocks: Mapping[str, Clock] = field(default_factory=dict)
    marketing: Mapping[str, Quota] = field(default_factory=dict)

    def calendar_of(self, team: str | None) -> str:
        """The name of a team's calendar."""
        return self.calendar if team is None else self.teams.get(team, self.calendar)
