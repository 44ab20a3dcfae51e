"""Odoo by example: the simulator within this process, and what the conformance suite needs to judge by it."""

from __future__ import annotations

import asyncio
import hashlib
import json
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import httpx

from connectors._http import Http
from connectors.contract import Act, Action, Delivery, Doing, Ending, Event, Kind, Limits, Ref
from connectors.odoo import Odoo
from sandbox.odoo import DATABASE, LOGIN, OdooSim
from sandbox.odoo_rules import LANGUAGES
from sandbox.odoo_store import BLACKLIST, EVENT, LEAD, MESSAGE, PARTNER, PERSON, USERS, Row
from tests.stage import COLLEAGUE, COMPANY, Around, Example, Seed

BASE = "https://odoo.example.com"
KEY = "0123456789abcdef0123456789abcdef01234567"
SECRET = "an-invented-secret-1"
SETTINGS = {"base_url": BASE, "api_key": KEY, "webhook_secrets": SECRET}
JSONRPC = {"api": "jsonrpc", "database": DATABASE, "login": LOGIN}
NOW = datetime(2026, 8, 13, 10, 15, tzinfo=UTC)


class FakeOdoo:
    """The simulator, called without a socket.  Its clock stands a second after the latest change."""

    def __init__(self, seeds: Sequence[Seed] = ()) -> None:
        self.now = NOW
        self.dates = True
        self.calls: list[tuple[str, Any]] = []
        self.trouble: Callable[[httpx.Request], httpx.Response | None] = lambda _request: None
        self.lock = threading.RLock()
        self.sim = OdooSim(key=KEY, secret=SECRET, clock=lambda: self.now.timestamp())
        self.store = self.sim.store
        self.ids = [self.add(s.modified, name="Somebody", email=s.email, function=s.text, city=s.other) for s in seeds]

    @property
    def rows(self) -> dict[int, Row]:
        return self.store.tables[PARTNER]

    # --- what the suite asks ---

    def emails(self) -> Sequence[str]:
        return [row["email"] for row in self.rows.values() if row["email"] and row["active"]]

    def touch(self, id: str, at: datetime) -> None:  # noqa: A002 - as the suite's protocol names it
        self.rows[int(id)]["write_date"] = at.timestamp()

    # --- the store ---

    def add(self, at: datetime | None = None, **fields: Any) -> str:
        with self.lock:
            when = (self.now if at is None else at).timestamp()
            return str(self.store.create(PARTNER, {"name": "Somebody", **fields}, PERSON, at=when))

    def blacklist(self, mail: str, *, active: bool = True) -> None:
        with self.lock:
            id_ = self.store.create(BLACKLIST, {"email": mail, "active": active}, PERSON)
            self.store.write(BLACKLIST, [id_], {"active": active}, PERSON)

    def blacklisted(self) -> list[str]:
        return [row["email"] for row in self.store.tables[BLACKLIST].values() if row["active"]]

    def clock(self) -> datetime:
        every = [row["write_date"] for table in self.store.tables.values() for row in table.values()]
        return datetime.fromtimestamp(max(every, default=self.now.timestamp()), UTC) + timedelta(seconds=1)

    def put(self, model: str, /, **fields: Any) -> int:
        """One new row of any model."""
        with self.lock:
            by = fields.pop("by", PERSON)
            return self.store.create(model, fields, by)

    # --- the wire ---

    def __call__(self, request: httpx.Request) -> httpx.Response:
        with self.lock:
            self.calls.append((request.url.path, json.loads(request.content)))
            troubled = self.trouble(request)
            response = asyncio.run(self.answer(request)) if troubled is None else troubled
            if self.dates:
                response.headers["date"] = self.clock().strftime("%a, %d %b %Y %H:%M:%S GMT")
            return response

    async def answer(self, request: httpx.Request) -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(self.sim.app)) as line:
            found = await line.send(
                httpx.Request(request.method, request.url, headers=request.headers, content=request.content)
            )
        return httpx.Response(found.status_code, headers=found.headers, content=found.content)

    def writes(self) -> list[str]:
        return [path.removeprefix("/json/2/") for path, _ in self.calls if not self.sim.is_read("POST", path)]


def refused(status: int, message: str = "", name: str = "werkzeug.exceptions.HTTPException") -> httpx.Response:
    """An error in the words of JSON-2."""
    about = {"name": name, "message": message, "arguments": [message], "context": {}, "debug": f"Traceback {message}"}
    return httpx.Response(status, json=about)


def connect(vendor: Callable[[httpx.Request], httpx.Response], **settings: str) -> Odoo:
    """A connector before this vendor; nothing waits."""
    own = {**SETTINGS, **Odoo.from_mapping(FIELDS), **settings}
    http = Http(
        base_url=Odoo.base_url(own),
        hosts=Odoo.hosts,
        limits=Limits(concurrency=4),
        headers=Odoo.headers(own),
        transport=httpx.MockTransport(vendor),
        breaker_failures=1000,
        sleep=lambda _: None,
    )
    return Odoo(own, http)


FIELDS = (
    *("name.given", "name.family", "email", "email.others", "is_blacklisted", "function", "city", "lang", "employee"),
    *("country_id.code", "state_id.name", "parent_id.name"),
)


def around(vendor: FakeOdoo) -> Around:
    """A company, an opportunity, a user, and what was done."""
    one, two = (int(i) for i in vendor.ids[:2])
    company = vendor.put(PARTNER, name=COMPANY, is_company=True)
    for person in (one, two):
        vendor.rows[person]["parent_id"] = company
    vendor.put(PARTNER, name="Other", is_company=True)
    deal = vendor.put(LEAD, name="Big", partner_id=one)
    kim = vendor.put(USERS, name="Kim", login="kim", email=COLLEAGUE)
    vendor.put(USERS, name="A portal user", login="x@one.example", share=True)
    own = vendor.put(PARTNER, name="Kim", partner_share=False)
    at = "2026-02-03 04:05:06"
    on = {"model": PARTNER, "res_id": one, "date": at, "author_id": own, "by": kim}
    call = vendor.put(
        MESSAGE, **{**on, "model": LEAD, "res_id": deal}, mail_activity_type_id=2, subtype_id=3, subject="Hi"
    )
    note = vendor.put(MESSAGE, **on, subtype_id=2, body="<p>Nice</p>")
    back = vendor.put(MESSAGE, **{**on, "author_id": two, "res_id": two}, message_type="email")
    vendor.put(MESSAGE, **on, message_type="notification")
    vendor.put(MESSAGE, **{**on, "model": "sale.order"}, message_type="email")
    hours = {"start": at, "stop": "2026-02-03 05:05:06"}
    meeting = vendor.put(EVENT, name="Demo", partner_ids=[own, one, two], user_id=kim, opportunity_id=deal, **hours)
    vendor.put(EVENT, name="Among us", partner_ids=[own], user_id=kim, **hours)
    when, by = datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC), Ref(str(kim))
    acts = (
        Act(
            f"messages:{call}",
            *(Ref(str(one)), Doing.CALL, when, True, by, None, None),
            *("phone", Ending.HELD, str(deal), {"title": "Hi"}),
        ),
        Act(f"messages:{note}", Ref(str(one)), Doing.NOTE, when, by=by),
        Act(f"messages:{back}", Ref(str(two)), Doing.REPLY, when, True, channel="email", outcome=Ending.RECEIVED),
        *(
            Act(
                f"meetings:{meeting}:{p}",
                *(Ref(str(p)), Doing.MEETING, when, True, by, None, None),
                *("meeting", Ending.HELD, str(deal), {"title": "Demo"}),
            )
            for p in (one, two)
        ),
    )

    def later() -> str:
        return f"messages:{vendor.put(MESSAGE, **on, message_type='email_outgoing')}"

    return Around(company=str(company), deal=str(deal), colleague=str(kim), acts=acts, later=later)


def notes(vendor: FakeOdoo, id_: str) -> list[str]:
    """The messages on a contact."""
    rows = vendor.store.tables[MESSAGE].values()
    return [row["body"] for row in rows if row["model"] == PARTNER and row["res_id"] == int(id_)]


# --- deliveries -------------------------------------------------------------------------------------------------------

AT = "2026-03-02 09:29:58.678901"


def sign(body: bytes, at: datetime, secret: str) -> Delivery:
    """A delivery of a rule whose URL holds this secret."""
    url = f"https://tandem.example/webhooks/odoo?secret={quote(secret, safe='')}"
    return Delivery("POST", url, {"content-type": "application/json"}, body, at)


def said(model: str, id_: int, **fields: Any) -> bytes:
    """A body as Odoo writes it."""
    body = {"_model": model, "_id": id_, "_action": "Tandem(#412)", "id": id_, **fields}
    return json.dumps(body, sort_keys=True).encode()


BODY = said(PARTNER, 42, email="ada@people.example", name="Ada Lovelace", parent_id=7, write_date=AT)


def _event(body: bytes) -> Event:
    same = json.dumps(["changed", json.loads(body), None], sort_keys=True, separators=(",", ":"))
    at = datetime.fromisoformat(AT[:19]).replace(tzinfo=UTC)
    return Event(Kind.CONTACT, Action.CHANGED, Ref("42"), hashlib.sha256(same.encode()).hexdigest(), occurred_at=at)


def _writes(request: httpx.Request) -> bool:
    return request.url.path.rpartition("/")[2] in {"load", "create", "write", "unlink", "message_post"}


ODOO = Example(
    settings={**SETTINGS, "company_fields": "name", "deal_fields": "name,stage_id.name"},
    vendor=FakeOdoo,
    email_field="email",
    text_field="function",
    other_field="city",
    secret="webhook_secrets",
    sign=sign,
    body=BODY,
    events=(_event(BODY),),
    unknown=said("sale.order", 5, name="S00005"),
    other=said(
        PARTNER, 42, email="ada@people.example", name="Ada Lovelace", parent_id=7, write_date="2026-03-02 09:31:00"
    ),
    proof=("?secret",),
    body_is_signed=False,
    secrets_apart=",",
    missing="9999999",
    create_also={"name.given": "Ada", "name.family": "Lovelace"},
    bad={"lang": "xx_XX"},
    falsy={"color": 0, "employee": False},
    writes=_writes,
    error=lambda status, text: refused(status, text),
    wire=lambda id_: [("POST", "/json/2/res.partner/write", {"ids": [int(id_)], "vals": {"function": "Changed"}})],
    options={"lang": tuple(key for key, _ in LANGUAGES)},
    around=around,
    company_name="name",
    notes=notes,
)
