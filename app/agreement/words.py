"""The words of the agreement as values.  Frozen; nothing here reads or writes.  Moments are ms since 1970 UTC."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

SOURCE: Final = "agreement"
"""The source of facts that the agreement decides."""


class Team(StrEnum):
    """The two that agreed."""

    SALES = "sales"
    MARKETING = "marketing"


SIDES: Final[Mapping[str, Team]] = {"crm": Team.SALES, "marketing": Team.MARKETING}
"""Side of a connection → the team whose word it carries."""


class Standing(StrEnum):
    """How a lead that was handed over stands, whatever its stage.  None before the first handover."""

    NEW = "new"  # handed over to sales, which has not answered
    ACCEPTED = "accepted"  # sales took it on
    QUALIFIED = "qualified"  # sales found a need
    RECYCLED = "recycled"  # given back to marketing, may come again
    REJECTED = "rejected"  # given back for good
    DONE = "done"  # decided: marketing looks after them again


OPEN: Final = frozenset({Standing.NEW, Standing.ACCEPTED, Standing.QUALIFIED})
"""With sales."""


class Word(StrEnum):
    """What a person, or a vendor's field, says about a lead."""

    REASON = "reason"  # why a lead is given back
    STAGE = "stage"  # it is at this stage
    STATUS = "status"  # a vendor's status field; becomes one of the others
    ACCEPT = "accept"
    REJECT = "reject"  # sales gives it back
    RECYCLE = "recycle"  # marketing takes it back


class Kind(StrEnum):
    """What happened.  In this order where several things happened at the same moment."""

    FACT = "fact"  # a field of the contact or of its company has another value
    CONSENT = "consent"
    ACT = "act"  # an engagement
    DEAL = "deal"
    SAID = "said"


RANK: Final[Mapping[Kind, int]] = {kind: rank for rank, kind in enumerate(Kind)}
_SAID_RANK: Final[Mapping[Word, int]] = {word: rank for rank, word in enumerate(Word)}


@dataclass(frozen=True, slots=True)
class Act:
    """One engagement, as far as the agreement reads it."""

    kind: str
    human: bool | None = None  # None: not said
    by: str | None = field(default=None, repr=False)  # the colleague who acted
    channel: str | None = None
    outcome: str | None = None
    campaign: str | None = None
    form: str | None = None


@dataclass(frozen=True, slots=True)
class Said:
    """What somebody said, and who."""

    word: Word
    value: str | None = None  # the stage, status or reason
    team: Team | None = None
    source: str = ""  # connection, or "operator"
    by: str | None = field(default=None, repr=False)
    reason: str | None = None
    number: int = 0  # of the disposition; no part of the order
    received: int = 0  # when it came here; no part of the order either


@dataclass(frozen=True, slots=True)
class Happening:
    """One dated thing that happened to or around a contact.

    ``key`` is made of what happened, never of the number of a row: rows are numbered in the order of their arrival,
    and the order of happenings must not depend on it.
    """

    at: int
    kind: Kind
    key: tuple[str, ...] = field(repr=False)
    values: Mapping[str, Any] = field(default_factory=dict, repr=False)  # path → value, of facts, consent and deals
    act: Act | None = None
    said: Said | None = None

    @property
    def order(self) -> tuple[int, int, int, tuple[str, ...]]:
        """The total order: time, kind, content."""
        word = _SAID_RANK[self.said.word] if self.said is not None else 0
        return (self.at, RANK[self.kind], word, self.key)


class What(StrEnum):
    """What a step changed."""

    STAGE = "stage"
    STATUS = "status"
    FLAG = "flag"


@dataclass(frozen=True, slots=True)
class Step:
    """One line of a lead's history."""

    at: int
    what: What
    before: str | None
    after: str | None
    why: str  # for people
    facts: Mapping[str, Any] = field(default_factory=dict, repr=False)  # that made it true
    by: str | None = field(default=None, repr=False)  # person or connection, where somebody said it
    version: str = ""  # digest of the version by which it was judged


@dataclass(frozen=True, slots=True)
class Entered:
    """A stage, or a standing, that the lead came to: what clocks begin and end by."""

    at: int
    what: What
    name: str  # of the stage or standing
    version: str  # digest of the version in force then
    owner: str | None = field(default=None, repr=False)
    clocks: tuple[str, ...] = ()  # of a stage: those that begin there for this lead


@dataclass(frozen=True, slots=True)
class Membership:
    """A time that somebody was enrolled in a programme, by the agreement."""

    programme: str
    round: int  # 1, and one more each time that the person came again
    version: str  # digest of the version in force when it began
    at: int
    why: str  # it began
    ended_at: int | None = None
    ended_why: str | None = None
    stage: str | None = None  # that it is to bring about
    until: int | None = None  # and by when
    reached_at: int | None = None  # when it did


class Finding(StrEnum):
    """What the agreement made of something that was said."""

    TAKEN = "taken"
    AGREED = "agreed"  # it was so already
    REFUSED = "refused"
    FLAGGED = "flagged"  # not as agreed: both teams have to look


@dataclass(frozen=True, slots=True)
class Judgement:
    """The finding about one thing that was said."""

    finding: Finding
    why: str


@dataclass(slots=True)
class Lead:
    """How a contact stands under the agreement, at one moment; and how it came there."""

    stage: str | None = None
    since: int | None = None
    reason: str | None = None  # why it came to this stage
    status: Standing | None = None
    status_since: int | None = None
    version: str = ""  # by which the last step was judged
    handed_at: int | None = None
    accepted_at: int | None = None
    given_reason: str | None = None  # why sales gave it back
    offered: str | None = None  # a reason that was said since the handover, before it was given back
    flag: str | None = None  # code of what is not as agreed
    flag_why: str | None = None
    recycled: int = 0
    requalified: int = 0
    recycled_at: int | None = None
    rest_until: int | None = None  # not handed over again before
    attempts: int = 0  # of sales, since the handover
    channels: tuple[str, ...] = ()
    by_machine: int = 0  # attempts that a machine made since the handover; they count for nothing
    reached_at: int | None = None  # when both sides spoke, since the handover
    turns_at: int | None = None  # when time alone may change something
    persona: str | None = None
    profile: str | None = None
    steps: list[Step] = field(default_factory=list, repr=False)
    judgements: dict[int, Judgement] = field(default_factory=dict, repr=False)
    entries: list[Entered] = field(default_factory=list, repr=False)  # what starts and ends its clocks
    overdue: str | None = None  # what sales owes and has not done in time, in words
    memberships: tuple[Membership, ...] = field(default=(), repr=False)  # in programmes, in the order of their start

    @property
    def team(self) -> Team:
        """Who has to act."""
        return Team.SALES if self.status in OPEN else Team.MARKETING

    def standing(self) -> dict[str, Any]:
        """All but the history, JSON-able; for comparing."""
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name not in _HISTORY}


_HISTORY: Final = frozenset({"steps", "judgements", "entries", "overdue", "memberships"})
