"""The words of the design as values: what passes from station to station.  Frozen; nothing here reads or writes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, TypeAlias

Value: TypeAlias = Any
"""A canonical value in its normal form (see ``app.core.fields``): JSON-able; None means "there is none"."""

Claim: TypeAlias = Mapping[str, Value]
"""A record in canonical words.  Absent = not said, None = cleared."""

Shadow: TypeAlias = Mapping[str, Value]
"""What we know one vendor's record to hold, in canonical words as that vendor says them (``Map.project``)."""


class Station(StrEnum):
    """What the workers step, each in threads of its own; who makes work for one rings for it (``app.core.db.ring``)."""

    FETCH = "fetch"
    PUSH = "push"
    WITHDRAWALS = "withdrawals"  # of consent: pushed before all else, by a thread that has nothing else to do
    POLL = "poll"
    ROUNDS = "rounds"
    TIMELINE = "timeline"
    SUMMARISE = "summarise"
    REFILTER = "refilter"
    REPLAY = "replay"
    RECONCILE = "reconcile"
    LEADS = "leads"
    WATCH = "watch"
    ALARMS = "alarms"
    UNDO = "undo"
    ERASE = "erase"
    PRUNE = "prune"


class Mode(StrEnum):
    """How far a connection is trusted."""

    OBSERVE = "observe"  # read, match, merge; write nothing
    CANARY = "canary"  # write to the first few contacts and what a person approved; withdrawals of consent to all
    LIVE = "live"


class Waits(StrEnum):
    """Why a write waits that no brake stops."""

    MODE = "mode"  # the connection is a canary, and the contact is none of those that are written to
    READ = "read"  # nobody is created before every connection was read once: the person may be there already


@dataclass(frozen=True, slots=True)
class Only:
    """Whom a connection is about, in one direction: canonical field, the values that it may have; all have to hold.

    A list fits by any of its elements; ``""`` stands for no value.  Without conditions it is about everybody.
    """

    where: tuple[tuple[str, frozenset[str]], ...] = ()

    @property
    def fields(self) -> frozenset[str]:
        """The fields that decide."""
        return frozenset(name for name, _ in self.where)

    def fits(self, values: Mapping[str, Value]) -> bool:
        """Whether somebody with these values is one of them."""
        return all(not wanted.isdisjoint(_as_texts(values.get(name))) for name, wanted in self.where)


def _as_texts(value: Value) -> tuple[str, ...]:
    if value is None or value == []:
        return ("",)
    if isinstance(value, bool):
        return ("true" if value else "false",)
    return tuple(map(str, value)) if isinstance(value, list) else (str(value),)


EVERYBODY: Final = Only()


@dataclass(frozen=True, slots=True)
class Canary:
    """To whom a connection in mode canary writes: the first ``records`` contacts that fit."""

    records: int
    where: tuple[tuple[str, str], ...] = ()  # canonical field, its value: all of them have to hold
    sample: float = 1.0  # such a share of all contacts, the same ones each time


class Deletes(StrEnum):
    """What a record's deletion at one vendor leads to.  Said per connection, for each direction.

    ``delete`` asks for the strongest removal that the vendor can undo, which is archiving at HubSpot and at Mailchimp:
    what cannot be undone is done by an erasure only, never by a sync.
    """

    IGNORE = "ignore"
    ARCHIVE = "archive"
    DELETE = "delete"


class Duplicates(StrEnum):
    """What becomes of a record that is one too many here, since another vendor merged two people into one."""

    REPORT = "leave_and_report"
    ARCHIVE = "archive_loser"
    MERGE = "merge_if_supported"  # where the vendor cannot, as ``leave_and_report``


class Likeness(StrEnum):
    """What is made of a record that has no address in common with anybody, and looks like somebody known."""

    OFF = "off"  # only addresses say who somebody is
    PROPOSE = "propose"  # never linked without asking
    LINK = "link"  # linked on strong evidence without contradiction; otherwise proposed


class Writes(StrEnum):
    """The kinds of write that a brake counts, each of its own."""

    CREATES = "creates"
    OVERWRITES = "overwrites"  # a value that stood at the vendor is replaced or cleared
    OPT_INS = "opt_ins"
    DELETES = "deletes"


@dataclass(frozen=True, slots=True)
class Limit:
    """More than both stops: so many writes within the window, and such a share of the records known there."""

    count: int
    share: float

    def exceeded(self, seen: int, known: int) -> bool:
        """Whether ``seen`` writes are too many where ``known`` records are."""
        return seen > self.count and seen > self.share * known


LANES: Final = (0, 1)
"""Of work and of events: what is in the first travels first.  Queries name each, so that they go by an index: one that
leaves the lane open reads all that is not due yet, too."""


@dataclass(frozen=True, slots=True)
class Brake:
    """When mass changes stop.  A kind without a limit is never stopped; withdrawals have no kind and never are."""

    window_ms: int
    limits: Mapping[Writes, Limit]


@dataclass(frozen=True, slots=True)
class Watch:
    """How a connection is looked after.  Times in ms; None = never."""

    reconcile_every_ms: int | None = 24 * 3_600_000
    describe_every_ms: int | None = 3_600_000
    poll_least_ms: int = 60_000  # between polls while they find what no webhook told
    freshness_ms: int | None = None  # the promise: 95 of 100 changes have landed here within this time


WATCH: Final = Watch()


class Winner(StrEnum):
    """Who wins a true double edit of one field."""

    CRM = "crm"
    MARKETING = "marketing"
    NEWEST = "newest"
    FILL = "fill"  # the value that was there first stays
    MAX = "max"
    UNION = "union"
    ASK = "ask"  # both are kept for a person to choose


class Outcome(StrEnum):
    """What merging decided for one field of a claim."""

    TAKEN = "taken"
    KEPT = "kept"
    AGREED = "agreed"
    ASKED = "asked"


@dataclass(frozen=True, slots=True)
class Fact:
    """One canonical field's value, with who said it, when, and why it was let in."""

    value: Value = dataclasses.field(repr=False)
    source: str  # connection
    at: int  # ms since 1970, by the source's clock, never later than when we read it
    rule: str
    event: int | None = None  # inbox event that brought it
    actor: str | None = dataclasses.field(default=None, repr=False)  # the operator who said it
    run: int | None = None  # the operator's run that it was part of

    def to_json(self) -> dict[str, Any]:
        """The compact form at rest."""
        data = {"v": self.value, "s": self.source, "t": self.at, "r": self.rule, "e": self.event}
        if self.actor is not None:  # seldom, so the others are kept without
            data |= {"a": self.actor, "n": self.run}
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Fact:
        """The fact of a compact form."""
        return cls(data["v"], data["s"], data["t"], data["r"], data.get("e"), data.get("a"), data.get("n"))


@dataclass(frozen=True, slots=True)
class Decision:
    """What was decided for one field, and why."""

    field: str
    outcome: Outcome
    rule: str
    old: Value = dataclasses.field(repr=False)
    new: Value = dataclasses.field(repr=False)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What merging decided for a claim, field by field."""

    decisions: tuple[Decision, ...]
    facts: Mapping[str, Fact] = dataclasses.field(repr=False)  # all facts of the contact afterwards
    shadow: Shadow = dataclasses.field(repr=False)  # the link's shadow afterwards

    @property
    def changed(self) -> frozenset[str]:
        """The canonical fields whose value is another one now."""
        return frozenset(d.field for d in self.decisions if d.outcome is Outcome.TAKEN)

    @property
    def asked(self) -> tuple[Decision, ...]:
        """True double edits that a person has to decide."""
        return tuple(d for d in self.decisions if d.outcome is Outcome.ASKED)


EVERYTHING: Final = ""
"""The purpose of an entry that speaks about all purposes of its channel."""


OPERATOR: Final = "operator"
"""The source of what a named person decided here."""


class Channel(StrEnum):
    """How somebody is reached."""

    EMAIL = "email"
    PHONE = "phone"
    SMS = "sms"
    POST = "post"


class Status(StrEnum):
    """What an entry says.  From the least to the most restrictive."""

    GRANTED = "granted"
    PENDING = "pending"  # asked, not confirmed yet
    NONE = "none"  # never agreed, never objected
    WITHDRAWN = "withdrawn"
    SUPPRESSED = "suppressed"  # must not be written to, whatever the person says: bounced, complained, erased


class Reason(StrEnum):
    """Why."""

    FORM = "form"
    DOUBLE_OPT_IN = "double_opt_in"
    MANUAL = "manual"  # a named operator
    SYNC = "sync"  # a field at a vendor says so
    IMPORT = "import"
    MERGE = "merge"
    CARRIED = "carried"  # the person has another address now, and had objected under the old one
    UNSUBSCRIBE = "unsubscribe"
    HARD_BOUNCE = "hard_bounce"
    COMPLAINT = "complaint"
    COMPLIANCE = "compliance"  # the vendor refuses to mail this address
    ERASURE = "erasure"


STOPPING: Final = frozenset({Status.WITHDRAWN, Status.SUPPRESSED})
"""What forbids to write to somebody."""

STRICTNESS: Final[Mapping[Status, int]] = {status: rank for rank, status in enumerate(Status)}


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the ledger."""

    address: str = dataclasses.field(repr=False)
    channel: Channel
    purpose: str
    status: Status
    reason: Reason
    source: str  # connection, or "operator"
    at: int  # ms since 1970, by the source's clock
    basis: str | None = None  # lawful basis, as the source names it
    evidence: Mapping[str, Any] = dataclasses.field(default_factory=dict, repr=False)
    actor: str | None = dataclasses.field(default=None, repr=False)

    @property
    def stops(self) -> bool:
        """Whether it forbids to write."""
        return self.status in STOPPING

    @property
    def rank(self) -> tuple[Any, ...]:
        """Order among entries that say as much; total, so that no two orders of arrival differ."""
        evidence = sorted((k, str(v)) for k, v in self.evidence.items())
        return (self.at, STRICTNESS[self.status], self.reason, self.source, str(self.actor), str(self.basis), evidence)


class _Missing:
    """Stands for "not said" where a value, None included, could stand."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "MISSING"

    def __bool__(self) -> bool:
        raise TypeError("MISSING is neither true nor false: compare it with `is`")


MISSING: Final = _Missing()
