"""What sales did about a lead: acts in, attempts, contact and what is still missing out.  Pure: no database, no clock.

Rules, which docs/sla.md explains:

- an attempt is a call, mail, message or meeting of ours that took place, whatever came of it; what was planned, called
  off or could not be made is none, nor is a note, a task, or a campaign's mail;
- who acted is counted apart: a person, a machine (a sequence), or nobody says.  What is owed is a person's act;
- acts of the same colleague on the same channel less than a minute after one that counts are that one (a call that was
  dialled twice, or that two systems hold);
- contact is made when both sides spoke: a call that connected or came in, a meeting that was held.  What the lead wrote
  is contact once a person of ours has acted, so that an answer to a campaign does not excuse sales.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from app.agreement.hours import MINUTE
from app.agreement.terms import ATTEMPTS, CONTACT, DISPOSITION, FIRST_TOUCH, Clock, Need

SAME_ACT: Final = MINUTE


@dataclass(frozen=True, slots=True)
class Touch:
    """One stored engagement, as far as attempts go.  Words as in the contract of connectors."""

    id: str  # unique among those of a lead
    at: int  # ms
    kind: str
    human: bool | None = None  # True a person did it, False a machine, None not said
    by: str | None = None  # the colleague
    channel: str | None = None  # None: the usual one of its kind
    outcome: str | None = None


class Meaning(StrEnum):
    """What an act is to the agreement."""

    ATTEMPT = "attempt"
    SPOKEN = "spoken"  # an attempt, and contact
    CALLED_US = "called_us"  # contact by the lead's own call: no attempt of ours, but they spoke
    WROTE_US = "wrote_us"  # contact where a person of ours has acted before
    NOTHING = "nothing"


# What cannot be answered by the outcome alone; of other kinds nothing counts.
_CHANNELS: Final[Mapping[str, str]] = {"call": "phone", "mail": "email", "message": "message", "meeting": "meeting"}
_OUTCOMES: Final[Mapping[str, Meaning]] = {
    "connected": Meaning.SPOKEN,
    "held": Meaning.ATTEMPT,  # of a call: that it took place; whether somebody answered is not said
    "no_answer": Meaning.ATTEMPT,
    "busy": Meaning.ATTEMPT,
    "left_message": Meaning.ATTEMPT,
    "wrong_number": Meaning.ATTEMPT,
    "no_show": Meaning.ATTEMPT,
    "sent": Meaning.ATTEMPT,
    "done": Meaning.ATTEMPT,
    "planned": Meaning.NOTHING,
    "cancelled": Meaning.NOTHING,
    "failed": Meaning.NOTHING,
}
_SPECIAL: Final[Mapping[tuple[str, str], Meaning]] = {
    ("meeting", "held"): Meaning.SPOKEN,
    ("call", "received"): Meaning.CALLED_US,
    ("mail", "received"): Meaning.WROTE_US,
    ("message", "received"): Meaning.WROTE_US,
    ("meeting", "received"): Meaning.WROTE_US,  # asked for one
}


def meaning(kind: str, outcome: str | None) -> Meaning:
    """What an act is.  An outcome that is not said, or not known, is that of an attempt: somebody recorded an act."""
    if kind == "reply":
        return Meaning.WROTE_US
    if kind not in _CHANNELS:
        return Meaning.NOTHING
    if outcome is None:
        return Meaning.ATTEMPT
    return _SPECIAL.get((kind, outcome), _OUTCOMES.get(outcome, Meaning.ATTEMPT))


@dataclass(frozen=True, slots=True)
class Tally:
    """Attempts of one kind of actor."""

    number: int = 0
    channels: tuple[str, ...] = ()  # different ones, sorted
    first_at: int | None = None
    last_at: int | None = None


@dataclass(frozen=True, slots=True)
class Worked:
    """How a lead was worked on.  Moments in ms; None: not yet."""

    person: Tally
    machine: Tally
    unknown: Tally
    first_touch_at: int | None  # a person's first attempt, or the lead's call that a person took
    contact_at: int | None
    until_contact: int  # a person's attempts up to contact, the one that made it included
    fulfilled_at: int | None  # contact, or as many attempts on as many channels as are needed
    missing_attempts: int  # until fulfilled; 0 once it is
    missing_channels: int
    doubles: int  # acts that were taken as the same one

    def missing(self) -> str:
        """What is still missing, in words; ``""`` for nothing."""
        parts = [(self.missing_attempts, "attempt"), (self.missing_channels, "channel")]
        return ", ".join(f"{n} more {word}{'s' if n > 1 else ''}" for n, word in parts if n)


def worked(touches: Iterable[Touch], since: int, until: int, need: Need | None = None) -> Worked:
    """What was done from ``since`` (the handover) up to and with ``until``, in whatever order the acts are given.

    An act that is there twice by its id counts once: as it was told last in the order of what is told, so that it does
    not depend on the order in which it was read.
    """
    unique: dict[str, Touch] = {}
    for touch in sorted(touches, key=_key):
        unique[touch.id] = touch
    working = Working(need)
    for touch in sorted((t for t in unique.values() if since <= t.at <= until), key=_key):
        working.take(touch)
    return working.result()


class Working:
    """The one counting of attempts: acts in, in their order, each once; what they came to, at any time.

    The first values are for going on where an earlier counting ended (of acts that are not kept any more).
    """

    def __init__(
        self,
        need: Need | None = None,
        *,
        attempts: int = 0,
        channels: Iterable[str] = (),
        machine: int = 0,
        contact_at: int | None = None,
    ) -> None:
        self._need = Need(1) if need is None else need
        self._kept: dict[bool | None, list[Touch]] = {True: [], False: [], None: []}
        self._last: dict[tuple[bool | None, str | None, str], int] = {}
        self._channels = set(channels)
        self._first: int | None = None
        self._enough: int | None = None
        self._before_contact = 0
        self._doubles = 0
        self.attempts = attempts  # that count: a person's, and unknown ones where the need takes them
        self.machine = machine
        self.contact_at = contact_at

    @property
    def channels(self) -> tuple[str, ...]:
        """Those of the attempts that count, sorted."""
        return tuple(sorted(self._channels))

    def take(self, touch: Touch) -> None:
        """One more act, not earlier than the last."""
        means = meaning(touch.kind, touch.outcome)
        counts = touch.human is True or (touch.human is None and self._need.unknown)
        if means in {Meaning.ATTEMPT, Meaning.SPOKEN}:
            self._attempt(touch, counts=counts)
        if counts and self._first is None and means in {Meaning.ATTEMPT, Meaning.SPOKEN, Meaning.CALLED_US}:
            self._first = touch.at
        spoken = counts and means in {Meaning.SPOKEN, Meaning.CALLED_US}
        acted = self._first is not None or self.attempts > 0
        if self.contact_at is None and (spoken or (means is Meaning.WROTE_US and acted)):
            self.contact_at = touch.at

    def _attempt(self, touch: Touch, *, counts: bool) -> None:
        channel = channel_of(touch)
        key = (touch.human, touch.by, channel)
        if key in self._last and touch.at - self._last[key] < SAME_ACT:
            self._doubles += 1
            return
        self._last[key] = touch.at
        self._kept[touch.human].append(touch)
        self.machine += touch.human is False
        if counts:
            self.attempts += 1
            self._channels.add(channel)
            self._before_contact += self.contact_at is None or touch.at <= self.contact_at
            if self._enough is None and (
                self.attempts >= self._need.attempts and len(self._channels) >= self._need.channels
            ):
                self._enough = touch.at

    def result(self) -> Worked:
        """What the acts came to so far."""
        fulfilled = min((at for at in (self._enough, self.contact_at) if at is not None), default=None)
        return Worked(
            person=_tally(self._kept[True]),
            machine=_tally(self._kept[False]),
            unknown=_tally(self._kept[None]),
            first_touch_at=self._first,
            contact_at=self.contact_at,
            until_contact=self._before_contact,
            fulfilled_at=fulfilled,
            missing_attempts=0 if fulfilled is not None else max(0, self._need.attempts - self.attempts),
            missing_channels=0 if fulfilled is not None else max(0, self._need.channels - len(self._channels)),
            doubles=self._doubles,
        )


def ended_at(clock: Clock, done: Worked, disposition_at: int | None) -> int | None:
    """When a clock of sales was satisfied by what was done; None: not yet, or it ends by a stage.

    ``disposition_at``: of the first disposition that the agreement takes as one.
    """
    return {
        FIRST_TOUCH: done.first_touch_at,
        CONTACT: done.contact_at,
        ATTEMPTS: done.fulfilled_at,
        DISPOSITION: disposition_at,
    }.get(clock.ends)


def channel_of(touch: Touch) -> str:
    """The channel of an act, in lower case."""
    return _CHANNELS.get(touch.kind, touch.kind) if touch.channel is None else touch.channel.strip().lower()


def _tally(kept: list[Touch]) -> Tally:
    if not kept:
        return Tally()
    return Tally(len(kept), tuple(sorted({channel_of(t) for t in kept})), kept[0].at, kept[-1].at)


def _key(touch: Touch) -> tuple[int, str, str]:
    return touch.at, touch.id, repr(touch)
