"""Pipedrive by example: the simulator's endpoints without sockets, and what the suite needs to judge by it."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from connectors._http import Http
from connectors.contract import Act, Action, Delivery, Doing, Ending, Event, Kind, Limits, Ref
from connectors.pipedrive import Pipedrive
from sandbox.pipedrive_api import Api
from sandbox.pipedrive_objects import Objects
from sandbox.pipedrive_store import LEVEL, NICK, SCORE, STAMP, People, PipedriveError
from tests.stage import COLLEAGUE, COMPANY, Around, Example, Seed

TOKEN = "0a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d"
PASSWORD = "0123456789abcdef0123456789abcdef"
BASE = "https://example.pipedrive.com"
SETTINGS = {
    "base_url": BASE,
    "api_token": TOKEN,
    "webhook_password": PASSWORD,
    "fields": f"marketing_status,org_name,custom_fields.{NICK},custom_fields.{LEVEL}",
}
TEXT = f"custom_fields.{NICK}"
NOW = datetime(2026, 8, 13, 10, 15, tzinfo=UTC)
PAGE = 60  # rows of a page, so that a walk has several


def refused(status: int, text: str = "", code: str | None = None) -> httpx.Response:
    """An error as Pipedrive words it."""
    body = {"success": False, "error": text, "error_info": "Please check", "data": None, "additional_data": None}
    return httpx.Response(status, json=body if code is None else {**body, "code": code})


class FakePipedrive:
    """The persons of one company, before which nothing stands but the token."""

    def __init__(self, seeds: Sequence[Seed] = (), *, lag: float = 0.0, most: int = PAGE) -> None:
        self.now = NOW
        self.people = People(lambda: self.now.timestamp(), lambda _: None)
        self.objects = Objects(self.people, lambda: self.now.timestamp())
        self.api = Api(self.people, lambda: self.now.timestamp(), objects=self.objects, lag=lag, most=most)
        self.calls: list[tuple[str, str, Any]] = []
        self.queries: list[dict[str, str]] = []
        self.trouble: Callable[[httpx.Request], httpx.Response | None] = lambda _request: None
        self.dates = True
        self.lock = threading.RLock()
        self.ids = [self.add(s.email, at=s.modified, name=s.other, custom_fields={NICK: s.text}) for s in seeds]

    def emails(self) -> Sequence[str]:
        return [row["emails"][0]["value"] for row in self.people.there() if row["emails"]]

    def touch(self, id: str, at: datetime) -> None:  # noqa: A002 - as the suite's protocol names it
        self.people.rows[int(id)]["update_time"] = at.strftime(STAMP)

    def add(self, *emails: str, at: datetime | None = None, **fields: Any) -> str:
        """A person with these addresses, the first of them primary."""
        body = {
            "name": "Ada Byron",
            **fields,
            "emails": [{"value": e, "primary": n == 0} for n, e in enumerate(emails)],
        }
        return str(self.people.create(body, "user", at=(self.now if at is None else at).timestamp())["id"])

    def row(self, id_: str) -> dict[str, Any]:
        return self.people.rows[int(id_)]

    def __call__(self, request: httpx.Request) -> httpx.Response:
        with self.lock:
            path = request.url.path.removeprefix("/api")
            body = json.loads(request.content or b"{}")
            self.calls.append((request.method, path, body))
            self.queries.append(dict(request.url.params))
            troubled = self.trouble(request)
            response = self.answer(request, path, body) if troubled is None else troubled
            stamps = [datetime.strptime(r["update_time"], STAMP).replace(tzinfo=UTC) for r in self.people.rows.values()]
            clock = max([*stamps, *([self.now] if any(self.objects.rows.values()) else [])], default=self.now)
            if self.dates:
                response.headers["date"] = (clock + timedelta(seconds=1)).strftime("%a, %d %b %Y %H:%M:%S GMT")
            return response

    def answer(self, request: httpx.Request, path: str, body: Any) -> httpx.Response:
        if request.headers.get("x-api-token") != TOKEN:
            return refused(401, "unauthorized access")
        try:
            status, answer = self.api.answer(request.method, path, request.url.params, body)
        except PipedriveError as error:
            return refused(error.status, error.error, error.code)
        return httpx.Response(status, json=answer)


def connect(vendor: Callable[[httpx.Request], httpx.Response], **settings: str) -> Pipedrive:
    """A connector before this vendor; nothing waits."""
    return over(httpx.MockTransport(vendor), **settings)


def over(transport: httpx.BaseTransport, **settings: str) -> Pipedrive:
    """A connector over this transport."""
    own = {**SETTINGS, **settings}
    http = Http(
        base_url=Pipedrive.base_url(own),
        hosts=Pipedrive.hosts,
        limits=Limits(concurrency=4),
        headers=Pipedrive.headers(own),
        transport=transport,
        breaker_failures=1000,
        sleep=lambda _: None,
    )
    return Pipedrive(own, http)


def around(vendor: FakePipedrive) -> Around:
    """An organization, a deal, a user, and what was done."""
    objects, (one, two) = vendor.objects, [int(i) for i in vendor.ids[:2]]
    company = objects.put("organizations", name=COMPANY)
    for person in (one, two):
        vendor.people.rows[person]["org_id"] = company
    objects.put("organizations", name="Other")
    deal = objects.put("deals", title="Big", person_id=one, org_id=company)
    kim = objects.user("Kim", COLLEAGUE)
    done = {"owner_id": kim, "done": True, "marked_as_done_time": "2026-02-03T04:05:06Z"}
    call = objects.put("activities", subject="Hello", person_id=one, deal_id=deal, **done)
    both = [{"person_id": one, "primary": True}, {"person_id": two, "primary": False}]
    due = {"due_date": "2026-02-03", "due_time": "04:05:06"}
    meeting = objects.put("activities", type="meeting", person_id=one, participants=both, owner_id=kim, **due)
    task = objects.put("activities", type="deadline", person_id=two, **done)
    note = objects.put("notes", content="<p>Nice</p>", person_id=one, user_id=kim, add_time="2026-02-03 04:05:06")
    objects.put("notes", content="about a deal", deal_id=deal)
    objects.mails[two] = {"last_incoming_mail_time": "2026-02-03T04:05:06Z"}
    at, by, who = datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC), Ref(str(kim)), str(one)
    acts = (
        Act(
            f"activities:{call}:{one}",
            *(Ref(who), Doing.CALL, at, True, by, None, None, "phone", Ending.HELD, str(deal), {"title": "Hello"}),
        ),
        *(
            Act(
                f"activities:{meeting}:{p}",
                *(Ref(str(p)), Doing.MEETING, at, True, by, None, None),
                "meeting",
                Ending.PLANNED,
            )
            for p in (one, two)
        ),
        Act(f"activities:{task}:{two}", Ref(str(two)), Doing.TASK, at, by=by, outcome=Ending.DONE),
        Act(f"notes:{note}:{one}", Ref(who), Doing.NOTE, at, by=by),
        Act(
            f"mails:{two}:in:20260203040506",
            *(Ref(str(two)), Doing.REPLY, at, True),
            channel="email",
            outcome=Ending.RECEIVED,
        ),
    )
    return Around(
        company=str(company),
        deal=str(deal),
        colleague=str(kim),
        acts=acts,
        later=lambda: f"activities:{objects.put('activities', person_id=two, **done)}:{two}",
    )


def notes(vendor: FakePipedrive, id_: str) -> list[str]:
    """The notes of a person."""
    return [row["content"] for row in vendor.objects.rows["notes"].values() if row["person_id"] == int(id_)]


# --- deliveries -------------------------------------------------------------------------------------------------------

URL = "https://tandem.example/webhooks/pipedrive"


def sign(body: bytes, at: datetime, secret: str) -> Delivery:
    """A delivery as Pipedrive sends it: not signed, with user and password."""
    proof = base64.b64encode(f"tandem:{secret}".encode()).decode()
    return Delivery("POST", URL, {"content-type": "application/json", "authorization": f"Basic {proof}"}, body, at)


# The vendor's own sample of a changed person.
SAMPLE: dict[str, Any] = {
    "data": {
        "add_time": "2022-11-24T13:18:55Z",
        "custom_fields": {},
        "emails": [],
        "first_name": "Sample Person",
        "id": 8,
        "label": None,
        "last_name": None,
        "name": "Sample Person",
        "org_id": 1,
        "owner_id": 12415231,
        "phones": [],
        "update_time": "2022-11-24T15:18:35Z",
        "visible_to": "3",
    },
    "previous": {"first_name": "Sample", "name": "Sample"},
    "meta": {
        "action": "change",
        "company_id": "8087566",
        "correlation_id": "43cb94f3-bbbd-406c-ae19-ddeec349d896",
        "entity_id": "8",
        "entity": "person",
        "id": "7c812ffd-8f50-45ea-a597-b8fcba2da9c0",
        "is_bulk_edit": False,
        "timestamp": "2022-11-24T15:18:35.616Z",
        "type": "general",
        "user_id": "12415231",
        "version": "2.0",
        "webhook_id": "4710827",
        "webhook_owner_id": "12094821",
        "change_source": "app",
        "attempt": 1,
        "host": "pd-us.pipedrive.com",
    },
}


def told(meta: dict[str, Any] | None = None, **parts: Any) -> bytes:
    """The sample with these changes."""
    return json.dumps({**SAMPLE, **parts, "meta": {**SAMPLE["meta"], **(meta if meta is not None else {})}}).encode()


_KEY = "change:7c812ffd-8f50-45ea-a597-b8fcba2da9c0"

PIPEDRIVE = Example(
    settings={
        **{name: value for name, value in SETTINGS.items() if name != "fields"},
        "company_fields": "name",
        "deal_fields": "title,stage.name",
    },
    vendor=FakePipedrive,
    email_field="emails.primary",
    text_field=TEXT,
    other_field="name",
    secret="webhook_password",
    sign=sign,
    body=told(),
    events=(
        Event(Kind.CONTACT, Action.CHANGED, Ref("8"), _KEY, datetime(2022, 11, 24, 15, 18, 35, 616000, tzinfo=UTC)),
    ),
    unknown=told({"entity": "product"}),
    other=told({"id": "00000000-8f50-45ea-a597-b8fcba2da9c0", "timestamp": "2022-11-24T15:19:35.616Z"}),
    retried=told({"attempt": 2}),
    proof=("authorization",),
    body_is_signed=False,
    secrets_apart=",",
    missing="999999",
    bad={"visible_to": "nonsense"},
    falsy={f"custom_fields.{SCORE}": 0},
    error=lambda status, text: refused(status, text),
    wire=lambda id_: [("PATCH", f"/api/v2/persons/{id_}", {"custom_fields": {NICK: "Changed"}})],
    options={f"custom_fields.{LEVEL}": ("21", "22", "23")},
    around=around,
    company_name="name",
    notes=notes,
)
