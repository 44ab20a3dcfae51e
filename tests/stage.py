"""What the promises of the conformance suite play on.  In: a connector class and its Example.  Out: the connector, the
vendor behind it, and everything that was said between them.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any, Protocol

import httpx
import pytest

from connectors._http import Http
from connectors.contract import Answer, Connector, Delivery, Event, Failed, Kind, Problem, Receipt

CONTACT = Kind.CONTACT
START = datetime(2026, 3, 1, 8, 0, tzinfo=UTC)  # when the first seed was last changed
SIGNED = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)  # when deliveries are signed
MARK = "Zuzanaq"  # part of every personal value of the suite, and of nothing else
WAIT = 17  # seconds that a 429 asks for


@dataclass(frozen=True, slots=True)
class Seed:
    """One person whom the vendor knows from the start."""

    email: str
    text: str  # the value of Example.text_field
    other: str  # the value of Example.other_field
    modified: datetime


class Vendor(Protocol):
    """A vendor's API in memory: minimal, but it behaves like the vendor; pages small enough that there are several.

    Its clock (Date header and the like) stands at least a second after the latest change.
    """

    @property
    def ids(self) -> Sequence[str]:
        """The ids of the seeds, in their order."""

    def __call__(self, request: httpx.Request) -> httpx.Response:
        """Answer one request."""

    def emails(self) -> Sequence[str]:
        """The addresses of all records there are now (archived ones left out), one entry per record."""

    def touch(self, id: str, at: datetime) -> None:  # noqa: A002
        """Somebody else changes this record, at this time."""


def _writes(request: httpx.Request) -> bool:
    return request.method not in {"GET", "HEAD"} and not request.url.path.endswith(("/search", "/batch/read"))


@dataclass(frozen=True, kw_only=True)
class Example:
    """One vendor, by example: what the suite needs to judge its connector.  A part not needed by a claim may be left.

    ``vendor`` makes a fresh API that holds the seeds.  Settings: invented, each secret at least 12 characters.
    """

    settings: Mapping[str, str]
    vendor: Callable[[Sequence[Seed]], Vendor]

    # fields, in the vendor's words
    email_field: str
    text_field: str  # plain text, may be cleared, such as a first name
    other_field: str  # another one, such as a last name
    find_key: str = "email"

    # Can.WEBHOOK
    secret: str = ""  # the setting with the secret that signs
    sign: Callable[[bytes, datetime, str], Delivery] | None = None  # (body, time, secret), received at that time
    body: bytes = b""  # one good delivery, with several events where the vendor sends several
    events: tuple[Event, ...] = ()  # exactly what is in it
    unknown: bytes = b""  # a good delivery of a type that concerns nobody
    other: bytes = b""  # like ``body``, but another happening to the same record
    retried: bytes | None = None  # ``body`` as it comes at the next try, where the vendor counts tries in it
    junk: bytes = b"{"  # signed, but no delivery
    answer: Answer = field(default_factory=Answer)  # to ``body``
    proof: tuple[str, ...] = ()  # the headers that prove it, in lower case
    proof_in_url: str = ""  # the query parameter that does, where no header can
    body_is_signed: bool = True
    tolerance: timedelta | None = None  # how old a signature may be, where it holds a time
    copies: timedelta = timedelta(hours=5)  # how long a copy is known as one, where no id or time names a happening
    secrets_apart: str | None = None  # what stands between two secrets in the setting, where it takes several

    # Can.READ, Can.WRITE, Can.ARCHIVE
    missing: str = ""  # a well-formed id that no record has
    create_also: Mapping[str, Any] = field(default_factory=dict)  # what a new record needs besides these three fields
    bad: Mapping[str, Any] = field(default_factory=dict)  # fields of a new record that the vendor refuses
    falsy: Mapping[str, Any] = field(default_factory=dict)  # such as {"score": 0}: written, it is read back so
    cleared: tuple[object, ...] = (None,)  # how a field without value is read
    writes: Callable[[httpx.Request], bool] = _writes  # whether a request changes something at the vendor
    error: Callable[[int, str], httpx.Response] | None = None  # (status, text): the vendor's error with this text
    wire: Callable[[str], Sequence[tuple[str, str, Any]]] | None = None
    """(method, path, JSON body) of each request that sets ``text_field`` of this id to "Changed": the vendor's page."""

    # Can.CHANGED
    many: int = 250  # seeds in walks: several pages; where a search is capped, more than the cap
    tied: int = 40  # how many of them share one modified time

    # Can.DESCRIBE
    options: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # picklists: field -> its values


def seeds(count: int, tied: int = 1) -> list[Seed]:
    """So many people; each ``tied`` of them were changed in the same moment."""
    return [
        Seed(
            f"{MARK.lower()}.{n}@people.example", f"{MARK} {n}", f"{MARK}ová-{n}", START + timedelta(minutes=n // tied)
        )
        for n in range(count)
    ]


class Stage:
    """A connector before its vendor.  ``script``: may answer or raise in the vendor's place; None lets the vendor."""

    def __init__(self, kind: type[Connector], example: Example, people: Sequence[Seed], **settings: str) -> None:
        self.kind = kind
        self.example = example
        self.people = list(people)
        self.calls: list[httpx.Request] = []
        self.script: Callable[[httpx.Request], httpx.Response | None] = lambda _: None
        self.vendor = example.vendor(self.people)
        wanted = kind.from_mapping({example.email_field, example.text_field, example.other_field, *example.falsy})
        self.settings = {**wanted, **example.settings, **settings}
        self._lock = threading.Lock()
        self.it = self.connector()

    def connector(self) -> Connector:
        """A fresh instance before the same vendor, as after a restart."""
        http = Http(
            base_url=self.kind.base_url(self.settings),
            hosts=self.kind.hosts,
            headers=self.kind.headers(self.settings),
            limits=replace(self.kind.limits, rates=(), keys=MappingProxyType({})),
            transport=httpx.MockTransport(self._handle),
            breaker_failures=1_000_000,
            sleep=lambda _: None,
            now=lambda: 0.0,
        )
        return self.kind(self.settings, http)

    def _handle(self, request: httpx.Request) -> httpx.Response:
        with self._lock:  # connectors may call from several threads
            self.calls.append(request)
            scripted = self.script(request)
            return self.vendor(request) if scripted is None else scripted

    def error(self, status: int, text: str = "it did not work") -> Callable[[httpx.Request], httpx.Response]:
        """A script: the vendor answers everything so."""

        def answer(_: httpx.Request) -> httpx.Response:
            if self.example.error is None:
                response = httpx.Response(status, json={"message": text})
            else:
                response = self.example.error(status, text)
            if status in {429, 503}:
                response.headers["retry-after"] = str(WAIT)
            return response

        return answer

    def lost(self, request: httpx.Request) -> httpx.Response | None:
        """A script: what changes something is carried out, but its answer never comes."""
        if not self.example.writes(request):
            return None
        self.vendor(request)
        raise httpx.ReadTimeout("", request=request)

    def secrets(self) -> list[str]:
        """The values that nobody may see; a blank is no secret."""
        values = [self.settings.get(s.name, "") for s in self.kind.settings if s.secret]
        return [value for value in values if len(value) >= 8]

    def shown(self) -> list[str]:
        """The secrets that the vendor's API gets to see, and may therefore repeat."""
        sent = " ".join(self.kind.headers(self.settings).values())
        return [secret for secret in self.secrets() if secret in sent]


def html(_: httpx.Request) -> httpx.Response:
    """A script: a login or error page is in the way."""
    return httpx.Response(200, html="<!doctype html><title>Sign in</title>")


def unreachable(request: httpx.Request) -> httpx.Response:
    """A script: nobody is there."""
    raise httpx.ConnectError("", request=request)


def reset(request: httpx.Request) -> httpx.Response:
    """A script: the line breaks after sending."""
    raise httpx.RemoteProtocolError("", request=request)


def timeout(request: httpx.Request) -> httpx.Response:
    """A script: no answer comes in time."""
    raise httpx.ReadTimeout("", request=request)


def texts(*things: object) -> str:
    """Everything that these would show in a log."""
    return "\n".join(f"{thing!r} {thing}" for thing in things)


def trace(error: BaseException | None) -> Iterator[BaseException]:
    """An error and what a traceback would show before it."""
    while error is not None:
        yield error
        error = error.__cause__ if error.__suppress_context__ or error.__cause__ is not None else error.__context__


def problems(receipts: Sequence[Receipt]) -> list[Problem]:
    """The problems in receipts."""
    return [r.problem for r in receipts if isinstance(r, Failed)]


@contextlib.contextmanager
def offline() -> Iterator[None]:
    """No socket may be opened."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the network was used past the shared client")

    with pytest.MonkeyPatch.context() as patch:  # what other guards have patched comes back as it was
        patch.setattr(socket, "getaddrinfo", refuse)
        for name in ("connect", "connect_ex", "sendto"):
            patch.setattr(socket.socket, name, refuse)
        yield


@contextlib.contextmanager
def overheard() -> Iterator[list[str]]:
    """All that is logged, down to DEBUG."""
    said: list[str] = []

    class Ear(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(self.format(record))

    ear, root = Ear(), logging.getLogger()
    level = root.level
    root.addHandler(ear)
    root.setLevel(logging.DEBUG)
    try:
        yield said
    finally:
        root.removeHandler(ear)
        root.setLevel(level)
