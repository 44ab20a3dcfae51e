"""ActiveCampaign by example: the simulator's account without sockets, and what the suite needs to judge by it.

The account is written from the vendor's pages, not from the connector.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any
from urllib.parse import quote, urlencode

import httpx
import orjson

from connectors._http import Http
from connectors.activecampaign import ActiveCampaign
from connectors.contract import Action, Delivery, Event, Kind, Limits, Ref
from sandbox.activecampaign_account import KEY, Account
from sandbox.activecampaign_store import CampaignError
from tests.examples.activecampaign_around import around, notes
from tests.stage import Example, Seed

SECRET = "0123456789abcdef-secret"
SETTINGS = {
    "base_url": "https://tandem.api-us1.com",
    "api_key": KEY,
    "list_id": "1",
    "webhook_secret": SECRET,
}
NOW = datetime(2026, 8, 13, 10, 15, tzinfo=UTC)


class FakeActiveCampaign:
    """One account in memory."""

    def __init__(self, seeds: Sequence[Seed] = ()) -> None:
        self.now = NOW
        self.calls: list[tuple[str, str, Any]] = []
        self.asked: list[httpx.URL] = []
        self.trouble: Callable[[httpx.Request], httpx.Response | None] = lambda _request: None
        self.lock = threading.RLock()
        self.account = Account(now=lambda: self.now.timestamp(), emit=lambda _told: None, targets={})
        self.people = self.account.people
        self.ids = [self.add(s.modified, email=s.email, firstName=s.text, lastName=s.other) for s in seeds]

    def emails(self) -> Sequence[str]:
        return [c.about["email"] for c in self.people.contacts.values()]

    def touch(self, id: str, at: datetime) -> None:  # noqa: A002 - as the suite's protocol names it
        self.people.find(id).updated = at.timestamp()

    def add(self, at: datetime | None = None, lists: dict[str, str] | None = None, **about: Any) -> str:
        made = self.people.create(about, at=(self.now if at is None else at).timestamp())
        made.lists |= lists if lists is not None else {}
        return str(made.id)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        with self.lock:
            body = orjson.loads(request.content) if request.content else None
            self.calls.append((request.method, request.url.path.removeprefix("/api/3"), body))
            self.asked.append(request.url)
            troubled = self.trouble(request)
            response = self.answer(request) if troubled is None else troubled
            latest = max((c.updated for c in self.people.contacts.values()), default=self.now.timestamp())
            clock = datetime.fromtimestamp(latest, UTC) + timedelta(seconds=1)
            response.headers.setdefault("date", format_datetime(clock, usegmt=True))
            return response

    def answer(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path.removeprefix("/api/3")
        try:
            status, said = self.account.answer(
                request.method, path, request.url.params, request.headers, request.content
            )
        except CampaignError as error:
            status, said = error.status, error.body
        return httpx.Response(status, json=said)


def connect(vendor: Callable[[httpx.Request], httpx.Response], **settings: str) -> ActiveCampaign:
    """A connector before this vendor; nothing waits."""
    own = {**SETTINGS, **settings}
    http = Http(
        base_url=ActiveCampaign.base_url(own),
        hosts=ActiveCampaign.hosts,
        limits=Limits(concurrency=4),
        headers=ActiveCampaign.headers(own),
        transport=httpx.MockTransport(vendor),
        breaker_failures=1000,
        sleep=lambda _: None,
    )
    return ActiveCampaign(own, http)


# --- deliveries -------------------------------------------------------------------------------------------------------

URL = "https://tandem.example/webhooks/activecampaign"


def form(kind: str, at: str = "2026-03-02T04:29:57-05:00", **more: str) -> bytes:
    """A delivery as the vendor's page shows it."""
    said = {
        "type": kind,
        "date_time": at,
        "initiated_from": "public",
        "initiated_by": "contact",
        "list": "3",
        "contact[id]": "42",
        "contact[email]": "ada@people.example",
        "contact[first_name]": "Ada",
        "contact[tags]": "vip, beta",
        "contact[fields][favourite_colour]": "red",
        "list[0][id]": "3",
    }
    return urlencode({**said, **more}).encode()


def sign(body: bytes, at: datetime, secret: str) -> Delivery:
    """A delivery to the URL that the vendor was told; nothing is signed."""
    headers = {"content-type": "application/x-www-form-urlencoded"}
    return Delivery("POST", f"{URL}?secret={quote(secret, safe='')}", headers, body, at)


BODY = form("unsubscribe", **{"unsubscribe[reason]": "too many"})

ACTIVECAMPAIGN = Example(
    settings=SETTINGS,
    vendor=FakeActiveCampaign,
    email_field="email",
    text_field="firstName",
    other_field="lastName",
    secret="webhook_secret",
    sign=sign,
    body=BODY,
    events=(
        Event(
            Kind.CONTACT,
            Action.CHANGED,
            Ref("42"),
            hashlib.sha256(BODY).hexdigest(),
            datetime(2026, 3, 2, 9, 29, 57, tzinfo=UTC),
            urgent=True,
        ),
    ),
    unknown=form("open"),
    other=form("unsubscribe", "2026-03-02T04:29:58-05:00"),
    proof=("?secret",),
    body_is_signed=False,
    secrets_apart=",",
    missing="99999",
    bad={"email": "nonsense"},
    falsy={"fields.SCORE": "0"},
    error=lambda status, text: httpx.Response(status, json={"message": text}),
    wire=lambda id_: [("PUT", f"/api/3/contacts/{id_}", {"contact": {"firstName": "Changed"}})],
    around=around,
    company_name="name",
    notes=notes,
)
