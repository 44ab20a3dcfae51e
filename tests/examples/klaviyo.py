"""Klaviyo by example: the simulator's account without sockets, and what the conformance suite needs to judge by it.

The account is written from Klaviyo's own document, not from the connector; here its jobs are done at once.
"""

from __future__ import annotations

import hashlib
import hmac
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import httpx
import orjson

from connectors._http import Http
from connectors.contract import Act, Action, Delivery, Doing, Ending, Event, Kind, Limits, Ref
from connectors.klaviyo import Klaviyo
from sandbox.klaviyo_account import KEY, SINGLE, Account
from sandbox.klaviyo_store import KlaviyoError
from tests.stage import START, Around, Example, Seed

SECRET = "0123456789abcdef-secret"
SETTINGS = {"api_key": KEY, "webhook_secret": SECRET}
NOW = datetime(2026, 8, 13, 10, 15, tzinfo=UTC)


class FakeKlaviyo:
    """One account in memory.  ``held``: jobs that were taken on, where they are not done at once."""

    def __init__(self, seeds: Sequence[Seed] = ()) -> None:
        self.now = NOW
        self.calls: list[tuple[str, str, Any]] = []
        self.held: list[Callable[[], None]] | None = None
        self.trouble: Callable[[httpx.Request], httpx.Response | None] = lambda _request: None
        self.dates = True
        self.lock = threading.RLock()
        self.account = Account(now=lambda: self.now.timestamp(), emit=lambda _told: None, later=self.later, targets={})
        self.people = self.account.people
        self.ids = [self.add(s.modified, email=s.email, first_name=s.text, last_name=s.other) for s in seeds]

    def later(self, run: Callable[[], None]) -> None:
        if self.held is None:
            run()
        else:
            self.held.append(run)

    def emails(self) -> Sequence[str]:
        return [p.about["email"] for p in self.people.profiles.values() if p.about.get("email")]

    def touch(self, id: str, at: datetime) -> None:  # noqa: A002 - as the suite's protocol names it
        self.people.profiles[id].updated = at.timestamp()

    def add(self, at: datetime | None = None, **about: Any) -> str:
        return self.people.create(about, at=(self.now if at is None else at).timestamp()).id

    def __call__(self, request: httpx.Request) -> httpx.Response:
        with self.lock:
            body = orjson.loads(request.content) if request.content else None
            self.calls.append((request.method, request.url.path, body))
            troubled = self.trouble(request)
            response = self.answer(request) if troubled is None else troubled
            latest = max((p.updated for p in self.people.profiles.values()), default=self.now.timestamp())
            clock = datetime.fromtimestamp(latest, UTC) + timedelta(seconds=1)
            if self.dates:
                response.headers["date"] = format_datetime(clock, usegmt=True)
            return response

    def answer(self, request: httpx.Request) -> httpx.Response:
        try:
            status, said = self.account.answer(
                request.method, request.url.path, request.url.params, request.headers, request.content
            )
        except KlaviyoError as error:
            status, said = error.status, self.account.trouble(error)
        return httpx.Response(status) if said is None else httpx.Response(status, json=said)


def refused(status: int, text: str = "", code: str = "invalid", pointer: str | None = None) -> httpx.Response:
    """An error document."""
    source = {} if pointer is None else {"pointer": pointer}
    one = {"id": "e1", "status": status, "code": code, "title": "No.", "detail": text, "source": source}
    return httpx.Response(status, json={"errors": [one]})


def connect(vendor: Callable[[httpx.Request], httpx.Response], **settings: str) -> Klaviyo:
    """A connector before this vendor; nothing waits."""
    return over(httpx.MockTransport(vendor), **settings)


def over(transport: httpx.BaseTransport, **settings: str) -> Klaviyo:
    """A connector over this transport."""
    own = {**SETTINGS, **settings}
    http = Http(
        base_url=Klaviyo.base_url(own),
        hosts=Klaviyo.hosts,
        limits=Limits(concurrency=4),
        headers=Klaviyo.headers(own),
        transport=transport,
        breaker_failures=1000,
        sleep=lambda _: None,
    )
    return Klaviyo(own, http)


# --- deliveries -------------------------------------------------------------------------------------------------------

URL = "https://tandem.example/webhooks/klaviyo"
HOOK = "01HTESTWEBHOOKID0000000000"
ADA, BEA = "01GDDKASAP8TKDDA2GRZDSVP4H", "6char1"


def row(topic: str, profile: str, event: str, at: str = "2026-03-02T09:29:57+00:00") -> dict[str, Any]:
    """One event as it stands in a delivery."""
    data = {
        "type": "event",
        "id": event,
        "attributes": {"timestamp": 1, "datetime": at, "event_properties": {"email_address": "ada@people.example"}},
        "relationships": {"profile": {"data": {"type": "profile", "id": profile}}},
    }
    return {"external_id": event, "topic": f"event:klaviyo.{topic}", "payload": {"data": data}}


def delivery(*rows: dict[str, Any]) -> bytes:
    """The body with these events."""
    return orjson.dumps({"data": rows, "meta": {"klaviyo_webhook_id": HOOK, "version": "2024-06-28"}})


def sign(body: bytes, at: datetime, secret: str) -> Delivery:
    """A delivery as Klaviyo signs it: the body, then the time as it stands in the header."""
    stamp = format_datetime(at, usegmt=True)
    proof = hmac.new(secret.encode(), body + stamp.encode(), hashlib.sha256).hexdigest()
    headers = {
        "content-type": "application/json",
        "klaviyo-webhook-id": HOOK,
        "klaviyo-timestamp": stamp,
        "klaviyo-signature": proof,
    }
    return Delivery("POST", URL, headers, body, at)


BODY = delivery(
    row("unsubscribed_from_email_marketing", ADA, "4kEvT3stAbc"),
    row("opened_email", ADA, "4kEvT3stAbd"),
    row("subscribed_to_sms_marketing", BEA, "4kEvT3stAbe"),
)


def _key(topic: str, event: str) -> str:
    return hashlib.sha256(f"{topic}\n{event}".encode()).hexdigest()


_AT = datetime(2026, 3, 2, 9, 29, 57, tzinfo=UTC)
EVENTS = (
    Event(
        Kind.CONTACT,
        Action.CHANGED,
        Ref(ADA),
        _key("unsubscribed_from_email_marketing", "4kEvT3stAbc"),
        _AT,
        urgent=True,
    ),
    Event(Kind.CONTACT, Action.CHANGED, Ref(BEA), _key("subscribed_to_sms_marketing", "4kEvT3stAbe"), _AT),
)


# --- what people do ---------------------------------------------------------------------------------------------------


def around(vendor: FakeKlaviyo) -> Around:
    """A campaign, a flow with a test, a form and a page; an order, which is no act."""
    feed, (one, two) = vendor.account.feed, vendor.ids[:2]
    at = START - timedelta(hours=3)
    link = "https://shop.example/p?x=1"
    spring = {"Campaign Name": "Spring", "$message": "M1", "Subject": "It is spring"}
    welcome = {"$message": "M2", "$flow": "F1", "$variation": "V2"}

    def act(metric: str, who: str, kind: Doing, said: dict[str, Any], channel: str = "email", **more: Any) -> Act:
        by = more.pop("by", {})
        return Act(feed.did(metric, who, at.timestamp(), said, **by), Ref(who), kind, at, channel=channel, **more)

    feed.did("Placed Order", one, at.timestamp(), {"$value": 3})
    mail = {"campaign": "Spring", "detail": {"message": "M1"}}
    flow = {"campaign": "F1", "variant": "V2", "by": {"flow": "F1", "flow_message": "M2"}}
    about = {"message": "M2", "flow": "F1"}
    test = {"campaign": "C9", "flow": "F2", "flow_message_variation": "V7"}
    page = {"form_id": "7uSP7t", "page_url": link}
    acts = (
        act("Received Email", one, Doing.SEND, spring, **mail),
        act("Opened Email", one, Doing.OPEN, {**spring, "machine_open": False}, human=True, **mail),
        act("Opened Email", two, Doing.OPEN, {**spring, "Apple Privacy Open": True}, human=False, **mail),
        act("Clicked Email", one, Doing.CLICK, {**welcome, "URL": link}, detail={**about, "url": link}, **flow),
        act("Clicked Email", two, Doing.CLICK, {**welcome, "Bot Click": True}, human=False, detail=about, **flow),
        act("Bounced Email", two, Doing.BOUNCE, {**spring, "Bounce Type": "Hard"}, outcome=Ending.HARD, **mail),
        act("Unsubscribed from Email Marketing", two, Doing.UNSUBSCRIBE, {}),
        act("Sent SMS", two, Doing.REPLY, {}, "sms"),
        act("Clicked SMS", two, Doing.CLICK, {}, "sms", campaign="C9", variant="V7", detail={"flow": "F2"}, by=test),
        act("Active on Site", one, Doing.PAGE_VISIT, {"url": link}, "web", detail={"url": link}),
        act("Form submitted by profile", one, Doing.FORM, page, "web", detail={"form": "7uSP7t", "url": link}),
    )
    feed.did("Form completed by profile", one, at.timestamp(), page)  # the same happening
    return Around(acts=acts, later=lambda: feed.did("Clicked Email", two, vendor.now.timestamp(), {}))


def notes(vendor: FakeKlaviyo, id_: str) -> list[str]:
    """The texts of our entries in the activity of a profile."""
    feed = vendor.account.feed
    mine = [e for e in feed.events.values() if (e.profile, e.metric) == (id_, feed.metrics.get("Tandem note"))]
    return [str(e.said["Note"]) for e in mine]


KLAVIYO = Example(
    settings={**SETTINGS, "list_id": SINGLE},
    vendor=FakeKlaviyo,
    email_field="email",
    text_field="first_name",
    other_field="last_name",
    secret="webhook_secret",
    sign=sign,
    body=BODY,
    events=EVENTS,
    unknown=delivery(row("opened_email", ADA, "4kEvT3stAbd")),
    other=delivery(row("unsubscribed_from_email_marketing", ADA, "4kEvT3stAbf")),
    proof=("klaviyo-signature", "klaviyo-timestamp"),
    tolerance=timedelta(hours=2),
    secrets_apart=",",
    missing="01GDDKASAP8TKDDA2GRZDSVXXX",
    bad={"phone_number": "nonsense"},
    falsy={"properties.score": 0, "properties.vip": False},
    error=lambda status, text: refused(status, text),
    wire=lambda id_: [
        (
            "PATCH",
            f"/api/profiles/{id_}",
            {"data": {"type": "profile", "id": id_, "attributes": {"first_name": "Changed"}}},
        )
    ],
    around=around,
    notes=notes,
)
