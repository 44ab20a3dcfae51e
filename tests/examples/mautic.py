"""Mautic by example: the simulator within this process, and what the conformance suite needs to judge by it."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from connectors._http import Http
from connectors.contract import Action, Delivery, Event, Kind, Limits, Ref
from connectors.mautic import Mautic
from sandbox.mautic import MauticSim
from sandbox.mautic_rules import TIERS
from tests.examples.mautic_around import around, notes
from tests.stage import Example, Seed

BASE = "https://mautic.example.com"
PASSWORD = "Correct-Horse-77"
SECRET = "an-invented-secret-1"
SETTINGS = {"base_url": BASE, "username": "tandem", "password": PASSWORD, "webhook_secrets": SECRET}
NOW = datetime(2026, 8, 13, 10, 15, tzinfo=UTC)


class FakeMautic:
    """The simulator, called without a socket.  Its clock stands a second after the latest change."""

    def __init__(self, seeds: Sequence[Seed] = ()) -> None:
        self.now = NOW
        self.dates = True
        self.calls: list[tuple[str, str, Any]] = []
        self.trouble: Callable[[httpx.Request], httpx.Response | None] = lambda _request: None
        self.lock = threading.RLock()
        self.sim = MauticSim(password=PASSWORD, secret=SECRET, clock=lambda: self.now.timestamp())
        self.rows = self.sim.contacts.rows
        self.ids = [self.add(s.modified, email=s.email, firstname=s.text, lastname=s.other) for s in seeds]

    # --- what the suite asks ---

    def emails(self) -> Sequence[str]:
        return [one.values["email"] for one in self.rows.values() if one.values.get("email")]

    def touch(self, id: str, at: datetime) -> None:  # noqa: A002 - as the suite's protocol names it
        self.rows[int(id)].modified = at.timestamp()

    # --- the store ---

    def add(self, at: datetime | None = None, **fields: Any) -> str:
        with self.lock:
            one, fresh = self.sim.contacts.new(fields, "user", at=(self.now if at is None else at).timestamp())
            assert fresh, "somebody has this address"
            return str(one.id)

    def clock(self) -> datetime:
        every = [at for one in self.rows.values() for at in (one.added, one.modified) if at is not None]
        return datetime.fromtimestamp(max(every, default=self.now.timestamp()), UTC) + timedelta(seconds=1)

    # --- the wire ---

    def __call__(self, request: httpx.Request) -> httpx.Response:
        with self.lock:
            self.calls.append((request.method, request.url.path, json.loads(request.content or b"null")))
            troubled = self.trouble(request)
            response = asyncio.run(self.answer(request)) if troubled is None else troubled
            if self.dates:
                response.headers["date"] = self.clock().strftime("%a, %d %b %Y %H:%M:%S GMT")
            return response

    async def answer(self, request: httpx.Request) -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(self.sim.app)) as line:
            found = await line.send(request_of(request))
        return httpx.Response(found.status_code, headers=found.headers, content=found.content)

    def writes(self) -> list[str]:
        return [f"{method} {path.removeprefix('/api')}" for method, path, _ in self.calls if method != "GET"]


def request_of(request: httpx.Request) -> httpx.Request:
    """The same request for another kind of client."""
    return httpx.Request(request.method, request.url, headers=request.headers, content=request.content)


def refused(status: int, message: str = "", **details: Any) -> httpx.Response:
    """An error in Mautic's words."""
    about = {"code": status, "message": message, "details": details if details else [], "type": None}
    return httpx.Response(status, json={"errors": [about]})


def connect(vendor: Callable[[httpx.Request], httpx.Response], **settings: str) -> Mautic:
    """A connector before this vendor; nothing waits.  A setting that is empty is left out."""
    return over(httpx.MockTransport(vendor), **settings)


def over(transport: httpx.BaseTransport, **settings: str) -> Mautic:
    """A connector over this transport."""
    own = {name: value for name, value in {**SETTINGS, **settings}.items() if value}
    http = Http(
        base_url=Mautic.base_url(own),
        hosts=Mautic.hosts,
        limits=Limits(concurrency=4),
        headers=Mautic.headers(own),
        transport=transport,
        breaker_failures=1000,
        sleep=lambda _: None,
    )
    return Mautic(own, http)


# --- deliveries -------------------------------------------------------------------------------------------------------

URL = "https://tandem.example/webhooks/mautic"
AT = "2026-03-02T09:29:58+00:00"


def sign(body: bytes, at: datetime, secret: str) -> Delivery:
    """A delivery as Mautic signs it."""
    proof = base64.b64encode(hmac.new(secret.encode(), body, hashlib.sha256).digest()).decode()
    headers = {"content-type": "application/json", "x-origin-base-url": BASE, "webhook-signature": proof}
    return Delivery("POST", URL, headers, body, at)


def php(value: Any) -> bytes:
    """JSON as PHP writes it."""
    return json.dumps(value, separators=(",", ":")).replace("/", "\\/").encode()


def contact(id_: int, email: str, **more: Any) -> dict[str, Any]:
    """A contact as webhooks show it; shortened from what version 5.2.0 sent."""
    about = {"id": 6, "group": "core", "label": "Email", "alias": "email", "type": "email", "properties": []}
    own = {**about, "value": email, "normalizedValue": email}
    return {
        "isPublished": True,
        "dateAdded": "2026-03-01T08:00:00+00:00",
        "dateModified": AT,
        "id": id_,
        "points": 0,
        "fields": {"core": {"email": own}, "social": [], "personal": [], "professional": []},
        "tags": [],
        "dateIdentified": "2026-03-01T08:00:00+00:00",
        "doNotContact": [],
        "frequencyRules": [],
        **more,
    }


_OUT = contact(47, "ada@people.example", doNotContact=[{"id": 9, "reason": 1, "channel": "email", "channelId": None}])
_CHANNEL = {"contact": _OUT, "channel": "email", "old_status": "contactable", "new_status": "unsubscribed"}
BODY = php(
    {
        "mautic.lead_channel_subscription_changed": [{**_CHANNEL, "timestamp": AT}],
        "mautic.lead_post_save_update": [{"contact": _OUT, "timestamp": AT}],
        "mautic.lead_post_delete": [{"id": 48, "contact": {"id": None}, "timestamp": AT}],
    }
)


def _event(kind: str, action: Action, id_: str, item: dict[str, Any], *, urgent: bool = False) -> Event:
    said = json.dumps([kind, item], sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    at = datetime.fromisoformat(AT).astimezone(UTC)
    return Event(
        Kind.CONTACT, action, Ref(id_), hashlib.sha256(said.encode()).hexdigest(), occurred_at=at, urgent=urgent
    )


def _events() -> tuple[Event, ...]:
    names = {"mautic.lead_channel_subscription_changed": True, "mautic.lead_post_save_update": False}
    items = json.loads(BODY)
    found = [_event(n, Action.CHANGED, "47", items[n][0], urgent=urgent) for n, urgent in names.items()]
    deleted = "mautic.lead_post_delete"
    return (*found, _event(deleted, Action.DELETED, "48", items[deleted][0]))


def _writes(request: httpx.Request) -> bool:
    return request.method != "GET" and request.url.path != "/oauth/v2/token"


MAUTIC = Example(
    settings=SETTINGS,
    vendor=FakeMautic,
    email_field="email",
    text_field="firstname",
    other_field="lastname",
    secret="webhook_secrets",
    sign=sign,
    body=BODY,
    events=_events(),
    unknown=php({"mautic.page_on_hit": [{"hit": {"id": 5}, "timestamp": AT}]}),
    other=php({"mautic.lead_post_save_update": [{"contact": _OUT, "timestamp": "2026-03-02T09:31:00+00:00"}]}),
    proof=("webhook-signature",),
    secrets_apart=",",
    missing="9999999",
    bad={"country": "Atlantis"},
    writes=_writes,
    error=lambda status, text: refused(status, text),
    wire=lambda id_: [("PATCH", "/api/contacts/batch/edit", [{"firstname": "Changed", "id": int(id_)}])],
    options={"tier": TIERS},
    around=around,
    company_name="companyname",
    notes=notes,
)
