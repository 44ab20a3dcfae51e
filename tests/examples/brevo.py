"""Brevo by example: its account in memory, and what the conformance suite needs to judge by it.

The account is the sandbox's, called without a server between.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import orjson

from connectors._http import Http
from connectors.brevo import Brevo
from connectors.contract import Act, Action, Delivery, Doing, Ending, Event, Kind, Limits, Ref
from sandbox.brevo_account import Account
from sandbox.brevo_crm import OWNER_ID, STAGES
from sandbox.brevo_rules import BrevoError
from tests.stage import COMPANY, START, Around, Example, Seed

KEY = "xkeysib-a1b2c3d4e5f60718293a4b5c6d7e8f90-AbCdEfGhIjKlMnOp"
SECRET = "brevo-hook-token-0001"
SETTINGS = {"api_key": KEY, "webhook_secrets": SECRET, "page_size": "50"}
NOW = datetime(2026, 8, 13, 10, 15, tzinfo=UTC)


class FakeBrevo:
    """One account, called without a server.  ``trouble``: may answer in its place."""

    def __init__(self, seeds: Sequence[Seed] = ()) -> None:
        self.now = NOW
        self.told: list[Any] = []
        self.account = Account(lambda: self.now.timestamp(), self.told.extend)
        self.calls: list[tuple[str, str, Any]] = []
        self.trouble: Callable[[httpx.Request], httpx.Response | None] = lambda _request: None
        self.dates = True
        self.lock = threading.RLock()
        self.ids = [self.add(s.email, at=s.modified, FIRSTNAME=s.text, LASTNAME=s.other) for s in seeds]

    # --- what the suite asks ---

    def emails(self) -> Sequence[str]:
        return [str(row.email) for row in self.account.rows.values()]

    def touch(self, id: str, at: datetime) -> None:  # noqa: A002 - as the suite's protocol names it
        self.account.rows[int(id)].modified = at.timestamp()

    # --- the store ---

    def add(self, email: str | None, at: datetime | None = None, **attributes: Any) -> str:
        said = {"attributes": attributes} if email is None else {"email": email, "attributes": attributes}
        _, made = self.account.answer("POST", "/contacts", [], said, "user")
        row = self.account.rows[made["id"]]
        row.created = row.modified = (self.now if at is None else at).timestamp()
        return str(row.id)

    def writes(self) -> list[str]:
        return [f"{method} {path}" for method, path, _ in self.calls if method != "GET"]

    # --- the wire ---

    def __call__(self, request: httpx.Request) -> httpx.Response:
        with self.lock:
            path, body = request.url.path.removeprefix("/v3"), json.loads(request.content or b"null")
            self.calls.append((request.method, path, body))
            troubled = self.trouble(request)
            response = self.answer(request, body) if troubled is None else troubled
            latest = max((row.modified for row in self.account.rows.values()), default=self.now.timestamp())
            clock = datetime.fromtimestamp(latest, UTC) + timedelta(seconds=1)
            if self.dates:
                response.headers["date"] = clock.strftime("%a, %d %b %Y %H:%M:%S GMT")
            return response

    def answer(self, request: httpx.Request, body: Any) -> httpx.Response:
        if request.headers.get("api-key") != KEY:
            return refused(401, "Key not found", "unauthorized")
        path, query = request.url.raw_path.decode().partition("?")[0], request.url.params.multi_items()
        try:
            status, said = self.account.answer(request.method, path.removeprefix("/v3"), query, body, "api")
        except BrevoError as error:
            return httpx.Response(error.status, json=error.body)
        return httpx.Response(status) if said is None else httpx.Response(status, json=said)


def refused(status: int, message: str = "it did not work", code: str = "invalid_parameter") -> httpx.Response:
    """An error in Brevo's words."""
    return httpx.Response(status, json={"code": code, "message": message})


def connect(vendor: Callable[[httpx.Request], httpx.Response], **settings: str) -> Brevo:
    """A connector before this vendor; nothing waits."""
    return over(httpx.MockTransport(vendor), **settings)


def over(transport: httpx.BaseTransport, **settings: str) -> Brevo:
    """A connector over this transport."""
    own = {**SETTINGS, **settings}
    http = Http(
        base_url=Brevo.base_url(own),
        hosts=Brevo.hosts,
        limits=Limits(concurrency=4),
        headers=Brevo.headers(own),
        transport=transport,
        breaker_failures=1000,
        sleep=lambda _: None,
    )
    return Brevo(own, http)


# --- deliveries -------------------------------------------------------------------------------------------------------

URL = "https://tandem.example/webhooks/brevo"
UPDATED: dict[str, Any] = {
    "id": 10,
    "event": "contact_updated",
    "date": "2026-03-02T09:29:58.555Z",
    "ts": 1604937111,
    "content": [
        {"email": "Ada@people.example", "list": {}, "attributes": {"LASTNAME": "King", "SMS": "4930901820"}},
    ],
}
LEFT: dict[str, Any] = {
    "id": 10,
    "camp_id": 42,
    "email": "bea@people.example",
    "campaign name": "Spring news",
    "date_sent": "2026-03-02 10:20:00",
    "date_event": "2026-03-02 10:29:00",
    "event": "unsubscribe",
    "tag": "",
    "ts_sent": 1772443200,
    "ts_event": 1772443740,
    "ts": 1772443740,
}


def sign(body: bytes, at: datetime, secret: str) -> Delivery:
    """A delivery as Brevo proves it: by the token that it was told."""
    return Delivery("POST", URL, {"content-type": "application/json", "authorization": f"Bearer {secret}"}, body, at)


def dedupe(name: str, item: dict[str, Any], address: str) -> str:
    """The key of an event that says its time."""
    said = {key: value for key, value in item.items() if key != "id"}
    return hashlib.sha256(orjson.dumps([name, said, address, None], option=orjson.OPT_SORT_KEYS)).hexdigest()


# --- companies, deals, what contacts did ------------------------------------------------------------------------------


def around(vendor: FakeBrevo) -> Around:
    """A company, a deal, and two campaigns with what the first two contacts did."""
    crm, (one, two) = vendor.account.crm, vendor.ids[:2]
    company = crm.put("companies", {"name": COMPANY, "owner": OWNER_ID}, [int(one), int(two)])
    crm.put("companies", {"name": "Other"}, [])
    deal = crm.put("deals", {"deal_name": "Big", "deal_stage": STAGES["Won"], "amount": 5}, [int(one)], [company])
    at, link = START - timedelta(hours=3), "https://shop.example/p?x=1"
    crm.campaign(7, "Spring")
    crm.campaign(8, "Draft", "draft")
    for name in ("messagesSent", "delivered", "opened"):
        crm.did(int(one), name, 7, at.timestamp())
    crm.did(int(one), "clicked", 7, at.timestamp(), url=link)
    crm.did(int(two), "hardBounces", 7, at.timestamp())
    crm.did(int(two), "complaints", 4, at.timestamp())
    crm.did(int(one), "userUnsubscription", 7, at.timestamp())
    click = hashlib.sha256(link.encode()).hexdigest()[:16]

    def act(id_: str, who: str, kind: Doing, campaign: str = "Spring", **more: Any) -> Act:
        return Act(id_, Ref(who), kind, at, campaign=campaign, channel="email", **more)

    acts = (
        act(f"7:{one}:send", one, Doing.SEND),
        act(f"7:{one}:open", one, Doing.OPEN, detail={"count": 1}),
        act(f"7:{one}:click:{click}", one, Doing.CLICK, detail={"url": link, "count": 1}),
        act(f"7:{two}:hard", two, Doing.BOUNCE, outcome=Ending.HARD),
        act(f"4:{two}:complaint", two, Doing.COMPLAINT, "4"),  # a campaign that is not among the newest
        act(f"7:{one}:unsubscribe", one, Doing.UNSUBSCRIBE),
    )

    def later() -> str:
        crm.did(int(two), "opened", 7, vendor.now.timestamp())
        return f"7:{two}:open"

    return Around(company=company, deal=deal, acts=acts, later=later)


def notes(vendor: FakeBrevo, id_: str) -> list[str]:
    """The texts of the notes on a contact."""
    return [note["text"] for note in vendor.account.crm.notes if int(id_) in note["contactIds"]]


BREVO = Example(
    settings=SETTINGS,
    vendor=FakeBrevo,
    email_field="email",
    text_field="attributes.FIRSTNAME",
    other_field="attributes.LASTNAME",
    secret="webhook_secrets",
    sign=sign,
    body=orjson.dumps([UPDATED, LEFT]),
    events=(
        Event(
            Kind.CONTACT,
            Action.CHANGED,
            Ref("ada@people.example", key="email"),
            dedupe("contactupdated", UPDATED, "ada@people.example"),
            None,
        ),
        Event(
            Kind.CONTACT,
            Action.CHANGED,
            Ref("bea@people.example", key="email"),
            dedupe("unsubscribe", LEFT, "bea@people.example"),
            datetime(2026, 3, 2, 9, 29, tzinfo=UTC),
            urgent=True,
        ),
    ),
    unknown=orjson.dumps({**LEFT, "event": "opened"}),
    other=orjson.dumps({**UPDATED, "date": "2026-03-02T09:31:00.000Z"}),
    proof=("authorization",),
    body_is_signed=False,
    secrets_apart=",",
    missing="999999",
    bad={"attributes.SMS": "not a number"},
    falsy={"attributes.AGE": 0, "attributes.VIP": False},
    error=refused,
    wire=lambda id_: [("PUT", f"/v3/contacts/{id_}", {"attributes": {"FIRSTNAME": "Changed"}})],
    options={"attributes.TOPICS": ("Fairs", "News", "Offers"), "attributes.TIER": ("Gold", "Iron")},
    around=around,
    company_name="attributes.name",
    notes=notes,
)
