"""What a vendor's connector promises.  The one page a connector author reads.

In: deliveries, ids, cursors and orders, all in the vendor's words.  Out: events, records, pages and receipts, also
in the vendor's words.  A connector never sees a contact, a database session or the clock, and never imports ``app``.

Absent, empty and cleared are three things.  In ``Record.fields`` and ``Order.fields`` a missing key means "not said",
``None`` means "there is no value" / "clear it", and ``""`` or ``0`` are values like any other.
"""

# ruff: noqa: PLC0414 - what other modules hold is handed on from here

from __future__ import annotations

import functools
from abc import ABC
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeAlias

from connectors._acts import Act as Act
from connectors._acts import ActPage as ActPage
from connectors._acts import Doing as Doing
from connectors._acts import Ending as Ending
from connectors._acts import Note as Note
from connectors._acts import Ref as Ref
from connectors._acts import Tie as Tie
from connectors._hook import Hook as Hook
from connectors._hook import Hooked as Hooked
from connectors._oauth_facts import OAuth
from connectors._problems import NeedsHuman as NeedsHuman
from connectors._problems import Problem as Problem
from connectors._problems import Refused as Refused
from connectors._problems import TryLater as TryLater
from connectors._problems import Unreadable as Unreadable
from connectors._problems import Unsupported as Unsupported
from connectors._problems import Untrusted as Untrusted

if TYPE_CHECKING:
    from connectors._http import Http

Fields: TypeAlias = Mapping[str, Any]
"""A record's fields in the vendor's words: JSON-like values, ``None`` for "no value"."""


class Side(StrEnum):
    """Which of the two teams works in this vendor's product."""

    CRM = "crm"
    MARKETING = "marketing"


class Kind(StrEnum):
    """The kinds of object that Tandem keeps in step."""

    CONTACT = "contact"
    COMPANY = "company"
    DEAL = "deal"
    COLLEAGUE = "colleague"  # one of our own people: the vendor's user or owner directory


class Can(StrEnum):
    """A capability.  What a connector claims the conformance suite tests; what it does not claim raises Unsupported."""

    WEBHOOK = "webhook"  # receive()
    READ = "read"  # read()
    CHANGED = "changed"  # changed()
    FIND = "find"  # find()
    WRITE = "write"  # write() with Verb.CREATE and Verb.UPDATE
    ARCHIVE = "archive"  # write() with Verb.ARCHIVE
    ERASE = "erase"  # write() with Verb.ERASE
    MERGE = "merge"  # write() with Verb.MERGE
    DESCRIBE = "describe"  # describe()
    HOOKS = "hooks"  # hooks(), hook(), unhook()
    COMPANIES = "companies"  # read(), changed(), describe() of Kind.COMPANY
    DEALS = "deals"  # read(), changed(), describe() of Kind.DEAL
    COLLEAGUES = "colleagues"  # changed() of Kind.COLLEAGUE
    ENGAGEMENT = "engagement"  # acts()
    TIMELINE = "timeline"  # note()


KINDS: Final[Mapping[Kind, Can]] = {
    Kind.COMPANY: Can.COMPANIES,
    Kind.DEAL: Can.DEALS,
    Kind.COLLEAGUE: Can.COLLEAGUES,
}
"""What has to be claimed for each kind besides contacts."""


class Action(StrEnum):
    """What an event says happened to a record.  Only a hint to look."""

    CHANGED = "changed"  # created or changed, the vendor's difference is not to be relied on
    DELETED = "deleted"
    RESTORED = "restored"
    MERGED = "merged"  # ``Event.losers`` were merged into ``Event.ref``
    ERASED = "erased"  # privacy deletion at the vendor


class Verb(StrEnum):
    """What an order asks of the vendor."""

    CREATE = "create"  # create only: a record that is already there is answered with Exists, never overwritten
    UPDATE = "update"
    ARCHIVE = "archive"
    ERASE = "erase"  # privacy: for good, archived records too; nobody of that id is Gone, or Done
    MERGE = "merge"  # ``Order.loser`` into ``Order.id``; Done names the id under which the two live on


@dataclass(frozen=True, slots=True)
class Delivery:
    """One HTTP request at the door, as it came."""

    method: str
    url: str  # the public URL as the vendor called it: scheme, host, path, query
    headers: Mapping[str, str] = field(repr=False)  # names in lower case
    body: bytes = field(repr=False)
    received_at: datetime  # aware, UTC; stands in for the clock when a signature has a tolerance


@dataclass(frozen=True, slots=True)
class Record:
    """A vendor's object as read.

    Of a colleague ``fields`` are ``email``, ``name``, ``team`` and ``active`` (bool), whatever the vendor calls them.
    ``ties``: all records of a kind that it belongs with; a kind that is missing is not said, ``()`` is "with none".
    """

    kind: Kind
    id: str  # the id under which the vendor knows it for ever, as far as it has one
    fields: Fields = field(repr=False)
    modified: datetime | None = None  # aware, UTC
    archived: bool = False
    former_ids: tuple[str, ...] = ()  # ids that were merged into this one, where the vendor lists them
    ties: Mapping[Kind, tuple[Tie, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Event:
    """What a delivery says happened to one record."""

    kind: Kind
    action: Action
    ref: Ref
    dedupe: str  # equal for two copies of the same happening, different otherwise; stable across retries
    occurred_at: datetime | None  # aware, UTC, by the vendor's clock
    losers: tuple[str, ...] = ()  # ids merged into ``ref`` (Action.MERGED)
    record: Record | None = None  # only where the payload is the complete record
    urgent: bool = False  # may withdraw consent: looked at before all others


@dataclass(frozen=True, slots=True)
class Answer:
    """What the vendor expects to hear."""

    status: int = 200
    body: bytes = b""
    content_type: str = "text/plain"


@dataclass(frozen=True, slots=True)
class Received:
    """The outcome of ``receive``: events to store, then ``answer``.  A handshake has no events."""

    events: tuple[Event, ...] = ()
    answer: Answer = Answer()


@dataclass(frozen=True, slots=True)
class Page:
    """One page of ``changed``.

    ``cursor`` is where to go on after this page; opaque to all but the connector, JSON-able text.  ``more`` is False at
    the end; the cursor then resumes with what changes later (with an overlap, so the same record may come again).
    """

    records: tuple[Record, ...]
    cursor: str
    more: bool
    deleted: tuple[str, ...] = ()  # ids the vendor says are gone
    total: int | None = None  # how many there are in all, where the vendor says so


@dataclass(frozen=True, slots=True)
class Order:
    """One write to the vendor."""

    key: str  # same order, same key: the vendor's idempotency key or trace id
    kind: Kind
    verb: Verb
    fields: Fields = field(repr=False)  # absent = leave, None = clear; for CREATE all that is known
    id: str | None = None  # None for CREATE
    known: Fields = field(default_factory=dict, repr=False)  # what we believe the vendor holds now (UPDATE)
    again: bool = False  # an earlier try may have taken effect: look first, then create
    loser: str | None = None  # MERGE only: the id that is merged away


@dataclass(frozen=True, slots=True)
class Done:
    """The write took effect.  ``record`` is what the vendor answered, where it answers with the record."""

    key: str
    id: str
    record: Record | None = None
    modified: datetime | None = None  # the record's modified time after the write, where the vendor says it


@dataclass(frozen=True, slots=True)
class Exists:
    """CREATE met a record that is already there.  It was not changed.  ``ref`` says where to look."""

    key: str
    ref: Ref


@dataclass(frozen=True, slots=True)
class Gone:
    """UPDATE, ARCHIVE, ERASE or MERGE met no record of that id."""

    key: str
    reason: str


@dataclass(frozen=True, slots=True)
class Failed:
    """The write did not take effect (or, with TryLater, may not have).

    ``problem`` is Refused (this record: dead letter), TryLater (again later) or NeedsHuman (the connection pauses).
    """

    key: str
    problem: Refused | TryLater | NeedsHuman


Receipt: TypeAlias = Done | Exists | Gone | Failed


@dataclass(frozen=True, slots=True)
class Property:
    """One field as the vendor describes it."""

    name: str
    type: str  # the vendor's word
    label: str = ""
    read_only: bool = False
    required: bool = False
    options: tuple[str, ...] | None = None  # valid values of a picklist; None = free


@dataclass(frozen=True, slots=True)
class Schema:
    """The fields of one kind of object."""

    kind: Kind
    properties: Mapping[str, Property]


@dataclass(frozen=True, slots=True)
class Rate:
    """At most ``calls`` requests in any ``seconds``, as the vendor publishes it."""

    calls: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Limits:
    """What the vendor allows; each figure with its source beside it in the connector."""

    read_batch: int = 1
    find_batch: int = 1
    write_batch: int = 1
    rates: tuple[Rate, ...] = ()
    concurrency: int = 4
    keys: Mapping[str, tuple[Rate, ...]] = field(default_factory=dict)  # narrower rates by endpoint family ("search")


@dataclass(frozen=True, slots=True)
class Setting:
    """One value that a connection of this connector needs, for ``tandem init``, ``doctor`` and error messages."""

    name: str
    about: str
    secret: bool = False
    required: bool = True
    unless: str | None = None  # not needed where this other setting is given


def missing(settings: Sequence[Setting], values: Mapping[str, str]) -> list[Setting]:
    """Those of a connector's settings that are needed and not given."""

    def given(name: str | None) -> bool:
        return name is not None and bool(values.get(name, "").strip())

    return [s for s in settings if s.required and not given(s.name) and not given(s.unless)]


class Connector(ABC):
    """One vendor.  Subclass it in ``connectors/<vendor>.py``, claim in ``can`` what you do, override just that.

    Every method may raise TryLater, NeedsHuman or, where said, Refused; nothing else.  ``write`` raises none of them
    for a single record: it returns one receipt per order, in the order of the orders, whatever happened.
    """

    name: ClassVar[str]  # "hubspot": in URLs, file names, settings
    side: ClassVar[Side]  # the side it usually stands on; a connection may say otherwise
    can: ClassVar[frozenset[Can]]
    limits: ClassVar[Limits]
    timeout: ClassVar[float] = 30.0  # seconds for one call, where the vendor needs another time than usual
    busy: ClassVar[int] = 503  # what the door answers when it cannot store: a status that the vendor tries again after
    settings: ClassVar[tuple[Setting, ...]]
    oauth: ClassVar[OAuth | None] = None  # its authorization server, where it has one
    hosts: ClassVar[frozenset[str]]  # host names it may call, "*.example.com" allowed; a base_url setting adds its own

    def __init_subclass__(cls, **more: Any) -> None:
        """A kind of object that is not claimed is refused before the vendor's own code sees it."""
        super().__init_subclass__(**more)
        for name in ("read", "changed", "describe"):
            if name in vars(cls):
                setattr(cls, name, _claimed(vars(cls)[name]))

    @classmethod
    def base_url(cls, settings: Mapping[str, str]) -> str:
        """Where the API of this account is, without a trailing slash."""
        raise ValueError(f"{cls.name}: says no base URL")

    @classmethod
    def headers(cls, settings: Mapping[str, str]) -> Mapping[str, str]:
        """The headers of every request, credentials included."""
        return {}

    @classmethod
    def oauth_for(cls, settings: Mapping[str, str]) -> OAuth | None:
        """The authorization server of this account, where it depends on settings.  ``client_id`` given: it is used."""
        return cls.oauth

    @classmethod
    def limits_for(cls, settings: Mapping[str, str]) -> Limits:
        """What this account allows, where accounts differ.  ValueError for a setting that makes no sense."""
        return cls.limits

    @classmethod
    def from_mapping(cls, theirs: Collection[str]) -> Mapping[str, str]:
        """Settings that follow from the vendor fields that the mapping names, e.g. which properties to ask for."""
        return {}

    @classmethod
    def from_objects(cls, theirs: Mapping[Kind, Collection[str]]) -> Mapping[str, str]:
        """The same of the fields of companies and deals."""
        return {}

    def __init__(self, settings: Mapping[str, str], http: Http) -> None:
        """Keep settings (values by ``Setting.name``; optional ones may be missing) and the shared client.  No I/O."""
        lacking = [s.name for s in missing(self.settings, settings)]
        if lacking:
            raise ValueError(f"{self.name}: missing setting(s): {', '.join(lacking)}")
        self._settings = settings
        self._http = http

    def __repr__(self) -> str:
        return f"<connector {self.name}>"

    def receive(self, delivery: Delivery) -> Received:
        """Verify, then split into events.  No I/O.  Raises Untrusted, Unreadable."""
        raise self._unsupported(Can.WEBHOOK)

    def check(self) -> str:
        """Call the vendor's cheapest authenticated endpoint; say in one line who we are there.  For ``doctor``."""
        raise self._unsupported("check")

    def read(self, kind: Kind, ids: Sequence[str]) -> Sequence[Record]:
        """The records of these ids; those that do not exist are left out.  At most ``limits.read_batch`` ids.

        An id that was merged away may be answered by the record it was merged into (then ``former_ids`` holds it).
        """
        raise self._unsupported(Can.READ)

    def changed(self, kind: Kind, cursor: str | None) -> Page:
        """Records changed since ``cursor``; None means all there are.  Oldest first."""
        raise self._unsupported(Can.CHANGED)

    def find(self, kind: Kind, key: str, values: Sequence[str]) -> Sequence[Record]:
        """The records whose unique ``key`` (``"email"``) has one of these values; at most ``limits.find_batch``."""
        raise self._unsupported(Can.FIND)

    def write(self, orders: Sequence[Order]) -> Sequence[Receipt]:
        """Carry out at most ``limits.write_batch`` orders; one receipt per order, in their order."""
        raise self._unsupported(Can.WRITE)

    def describe(self, kind: Kind) -> Schema:
        """The fields that this account has."""
        raise self._unsupported(Can.DESCRIBE)

    def acts(self, cursor: str | None) -> ActPage:
        """What people did and what was done with them since ``cursor``, None: as far back as the vendor tells.

        An act that changes afterwards (a planned call is held) comes again under its id.
        """
        raise self._unsupported(Can.ENGAGEMENT)

    def note(self, notes: Sequence[Note]) -> Sequence[Receipt]:
        """Write at most ``limits.write_batch`` timeline entries; one receipt each, as ``write``.  Each key once."""
        raise self._unsupported(Can.TIMELINE)

    def hooks(self) -> Sequence[Hook]:
        """All subscriptions that the vendor has for this account, whoever made them."""
        raise self._unsupported(Can.HOOKS)

    def hook(self, url: str) -> Hooked:
        """Let the vendor tell ``url`` all that ``receive`` understands.

        What is there is switched on and completed, what is missing is made; nothing is made twice.  Refused where the
        vendor does not take the URL.
        """
        raise self._unsupported(Can.HOOKS)

    def unhook(self, id: str) -> None:  # noqa: A002
        """Remove a subscription; one that is not there is removed already."""
        raise self._unsupported(Can.HOOKS)

    def _unsupported(self, what: str) -> Unsupported:
        return Unsupported(f"{self.name}: does not claim {what!r}; it can: {', '.join(sorted(self.can))}")


def _claimed(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def ask(self: Connector, kind: Kind, *rest: Any, **named: Any) -> Any:
        if kind in KINDS and KINDS[kind] not in self.can:
            raise self._unsupported(KINDS[kind])
        return method(self, kind, *rest, **named)

    return ask
