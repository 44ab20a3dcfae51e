"""EspoCRM by example: a small fake of its contacts, and what the conformance suite needs to judge by it."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from connectors import _espocrm_hooks as hooks
from connectors._http import Http
from connectors.contract import Act, Action, Delivery, Doing, Ending, Event, Kind, Limits, Ref
from connectors.espocrm import EspoCrm
from sandbox import espocrm_subscriptions as subscriptions
from sandbox.espocrm_objects import NAMES, Objects
from sandbox.espocrm_store import EspoError
from sandbox.webhooks import Target
from tests.stage import COLLEAGUE, COMPANY, Around, Example, Seed

KEY = "0a1b2c3d4e5f60718293a4b5c6d7e8f9"
SECRET = "0123456789abcdef0123456789abcdef"
HOOK = "65f0c1d2e3a4b5c6d"
BASE = "https://crm.example.com"
SETTINGS = {
    "base_url": BASE,
    "api_key": KEY,
    "webhook_secrets": SECRET,
    "attributes": "firstName,lastName,title,doNotCall,emailAddressIsOptedOut",
}
SALUTATIONS = ("Mr.", "Ms.", "Mrs.", "Dr.")
NOW = datetime(2026, 8, 13, 10, 15, tzinfo=UTC)
STAMP = "%Y-%m-%d %H:%M:%S"

FIELDS = {
    "salutationName": {"type": "enum", "options": list(SALUTATIONS)},
    "firstName": {"type": "varchar", "maxLength": 100, "isPersonalData": True},
    "lastName": {"type": "varchar", "maxLength": 100, "required": True},
    "title": {"type": "varchar"},
    "emailAddress": {"type": "email", "isPersonalData": True},
    "phoneNumber": {"type": "phone"},
    "doNotCall": {"type": "bool"},
    "account": {"type": "link"},
    "cHobby": {"type": "varchar", "isPersonalData": True},
    "createdAt": {"type": "datetime", "readOnly": True},
    "modifiedAt": {"type": "datetime", "readOnly": True},
}

_WHERE = re.compile(r"whereGroup\[(\d+)\]\[(type|attribute|value)\](\[\])?")


def refused(status: int, reason: str = "", body: Any = None) -> httpx.Response:
    """An error: the reason in a header, most bodies empty."""
    headers = {"x-status-reason": reason.encode("ascii", "replace").decode()} if reason else {}
    return httpx.Response(status, headers=headers, **({} if body is None else {"json": body}))


class FakeEspo:
    """Contacts under ``/api/v1``: addresses shared by records, soft deletion, a look for duplicates by name."""

    def __init__(self, seeds: Sequence[Seed] = (), limit: int = 200) -> None:
        self.rows: dict[str, dict[str, Any]] = {}
        self.opt_outs: dict[str, bool] = {}
        self.more: dict[str, list[str]] = {}  # addresses beside the primary one
        self.calls: list[tuple[str, str, Any]] = []
        self.erased: list[tuple[str, list[str]]] = []
        self.webhooks: dict[str, Target] = {}
        self.made_hooks = 0
        self.trouble: Callable[[httpx.Request], httpx.Response | None] = lambda _request: None
        self.limit = limit
        self.deaf = False  # ignores whereGroup, as before version 8
        self.dates = True
        self.now = NOW
        self.lock = threading.RLock()
        self.objects = Objects(
            lambda: self.now.strftime(STAMP), lambda i: {"accountId": None, **self.out(i)} if i in self.rows else None
        )
        self.ids = [self.add(emailAddress=s.email, firstName=s.text, lastName=s.other, at=s.modified) for s in seeds]

    # --- what the suite asks ---

    def emails(self) -> Sequence[str]:
        return [r["emailAddress"] for r in self.rows.values() if r["emailAddress"]]

    def touch(self, id: str, at: datetime) -> None:  # noqa: A002 - as the suite's protocol names it
        self.rows[id]["modifiedAt"] = at.strftime(STAMP)

    # --- the store ---

    def add(self, at: datetime | None = None, **fields: Any) -> str:
        with self.lock:
            # Ids sort by time in EspoCRM, but nothing says so: here they do not.
            id_ = hashlib.sha1(str(len(self.rows) + 7).encode()).hexdigest()[:17]
            stamp = (self.now if at is None else at).strftime(STAMP)
            blank = {"firstName": None, "lastName": None, "title": None, "emailAddress": None, "doNotCall": False}
            self.rows[id_] = {**blank, **fields, "id": id_, "createdAt": stamp, "modifiedAt": stamp}
            return id_

    def out(self, id_: str) -> dict[str, Any]:
        row = self.rows[id_]
        own = row["emailAddress"]
        listed = [(own, True)] * bool(own) + [(a, False) for a in self.more.get(id_, [])]
        data = [
            {
                "emailAddress": a,
                "lower": a.lower(),
                "primary": p,
                "optOut": self.opt_outs.get(a.lower(), False),
                "invalid": False,
            }
            for a, p in listed
        ]
        opted = bool(own) and self.opt_outs.get(own.lower(), False)
        return {**row, "emailAddressData": data, "emailAddressIsOptedOut": opted}

    def set(self, id_: str, body: Mapping[str, Any]) -> None:
        row = self.rows[id_]
        row |= {k: v for k, v in body.items() if k not in {"emailAddressIsOptedOut", "emailAddressData"}}
        if "emailAddressIsOptedOut" in body and row["emailAddress"]:
            self.opt_outs[row["emailAddress"].lower()] = body["emailAddressIsOptedOut"]
        row["modifiedAt"] = self.now.strftime(STAMP)

    # --- the wire ---

    def __call__(self, request: httpx.Request) -> httpx.Response:
        with self.lock:
            path = request.url.path.removeprefix("/api/v1")
            self.calls.append((request.method, path, json.loads(request.content or b"null")))
            troubled = self.trouble(request)
            response = self.answer(request, path) if troubled is None else troubled
            stamps = [datetime.strptime(r["modifiedAt"], STAMP).replace(tzinfo=UTC) for r in self.rows.values()]
            clock = max(stamps, default=self.now) + timedelta(seconds=1)
            if self.dates:
                response.headers["date"] = clock.strftime("%a, %d %b %Y %H:%M:%S GMT")
            return response

    def answer(self, request: httpx.Request, path: str) -> httpx.Response:
        if request.headers.get("x-api-key") != KEY:
            return refused(401)
        body = json.loads(request.content or b"null")
        match [request.method, *path.strip("/").split("/")]:
            case ["GET", name] if name in NAMES:
                return self.listed(request, self.objects.all(name))
            case ["GET", name, id_, "contacts"] if name in NAMES:
                try:
                    return self.listed(request, self.objects.related(name, id_, "contacts"), sized=False)
                except EspoError as error:
                    return refused(error.status)
            case ["GET", "Contact", id_, "stream"] if id_ in self.rows:
                return httpx.Response(200, json={"total": -1, "list": self.objects.posts(id_)})
            case ["POST", "Note"]:
                return httpx.Response(200, json=self.objects.post(body))
            case ["GET", "App", "user"]:
                return httpx.Response(200, json={"user": {"userName": "tandem", "type": "api"}, "token": None})
            case ["GET", "Metadata"] if request.url.params["key"] == "entityDefs.Contact":
                return httpx.Response(200, json={"fields": FIELDS, "links": {}})
            case ["GET", "Webhook"]:
                return self.listed(request, subscriptions.shown(self.webhooks, set(self.webhooks)), sized=False)
            case ["POST", "Webhook"]:
                return self.hooked(body)
            case ["PUT", "Webhook", id_] if id_ in self.webhooks:
                subscriptions.change(self.webhooks[id_], body)
                return httpx.Response(200, json=subscriptions.row(self.webhooks[id_]))
            case ["DELETE", "Webhook", id_] if id_ in self.webhooks:
                del self.webhooks[id_]
                return httpx.Response(200, json=True)
            case ["GET", "Contact"]:
                return self.listed(request)
            case ["POST", "Contact"]:
                return self.create(request, body)
            case ["POST", "DataPrivacy", "action", "erase"]:
                if body["id"] not in self.rows:
                    return refused(404)
                self.erased.append((body["id"], body["fieldList"]))
                self.set(body["id"], dict.fromkeys(body["fieldList"]))
                return httpx.Response(200, json=True)
            case ["PATCH", "Contact", id_] if id_ in self.rows:
                if (bad := self.invalid(body)) is not None:
                    return bad
                self.set(id_, body)
                return httpx.Response(200, json=self.out(id_))
            case ["DELETE", "Contact", id_] if id_ in self.rows:
                del self.rows[id_]
                return httpx.Response(200, json=True)
        return refused(404)

    def hooked(self, body: Mapping[str, Any]) -> httpx.Response:
        self.made_hooks += 1
        id_ = hashlib.sha1(f"hook:{self.made_hooks}".encode()).hexdigest()[:17]
        try:
            made = subscriptions.made(id_, f"key-of-{id_}", body, len(self.webhooks))
        except EspoError as error:
            return refused(error.status, error.reason)
        self.webhooks[id_] = made
        return httpx.Response(201, json=subscriptions.row(made))

    def invalid(self, body: Mapping[str, Any]) -> httpx.Response | None:
        wrong = [("lastName", "required")] if body.get("lastName", "x") in (None, "") else []
        wrong += [("salutationName", "valid")] if body.get("salutationName", "Dr.") not in {None, *SALUTATIONS} else []
        for field, type_ in wrong:
            told = {"label": "validationFailure", "scope": None, "data": {"field": field, "type": type_}}
            reason = f"Field validation failure; entityType: Contact, field: {field}, type: {type_}."
            return refused(400, reason, {"messageTranslation": told})
        return None

    def create(self, request: httpx.Request, body: Mapping[str, Any]) -> httpx.Response:
        if (bad := self.invalid({"lastName": None, **body})) is not None:
            return bad
        name = (body.get("firstName"), body["lastName"])
        email = str(body.get("emailAddress")).lower()
        alike = [
            self.out(i)
            for i, r in self.rows.items()
            if (r["firstName"], r["lastName"]) == name or str(r["emailAddress"]).lower() == email != "none"
        ]
        if alike and request.headers.get("x-skip-duplicate-check") != "true":
            return refused(409, "duplicate", alike)
        id_ = self.add()
        self.set(id_, body)
        return httpx.Response(200, json=self.out(id_))

    def listed(
        self, request: httpx.Request, found: list[dict[str, Any]] | None = None, *, sized: bool = True
    ) -> httpx.Response:
        query = request.url.params
        size = int(query["maxSize"])
        if size > self.limit:
            return refused(403, f"Max size should not exceed {self.limit}. Use offset and limit.")
        names = [*query["attributeSelect"].split(","), "id"]
        found = [self.out(i) for i in self.rows] if found is None else found
        for type_, attribute, value in [] if self.deaf else conditions(query.multi_items()):
            found = [row for row in found if fits(row, type_, attribute, value)]
        found.sort(key=lambda row: (row[query["orderBy"]], row["id"]), reverse=query["order"] == "desc")
        start = 0 if sized else int(query["offset"])
        rows = [{n: row[n] for n in names if n in row} for row in found[start : start + size]]
        total = -1 if request.headers.get("x-no-total") == "true" else len(found)
        return httpx.Response(200, json={"total": total, "list": rows})


def conditions(items: Sequence[tuple[str, str]]) -> list[tuple[str, str, Any]]:
    """whereGroup as PHP reads it."""
    found: dict[int, dict[str, Any]] = {}
    for name, value in items:
        if (part := _WHERE.fullmatch(name)) is not None:
            one = found.setdefault(int(part[1]), {})
            if part[3]:
                one.setdefault(part[2], []).append(value)
            else:
                one[part[2]] = value
    return [(one["type"], one["attribute"], one["value"]) for _, one in sorted(found.items())]


def fits(row: Mapping[str, Any], type_: str, attribute: str, value: Any) -> bool:
    if attribute == "emailAddress":  # any address of the record, kept in lower case; what is asked is not lowered
        return bool({d["lower"] for d in row["emailAddressData"]} & set([value] if type_ == "equals" else value))
    own = row[attribute]
    match type_:
        case "in":
            return own in value
        case "equals":
            return bool(own == value)
        case "greaterThan":
            return bool(own > value)
        case "greaterThanOrEquals":
            return bool(own >= value)
        case "lessThanOrEquals":
            return bool(own <= value)
    raise AssertionError(f"a condition that the fake does not know: {type_}")


def connect(vendor: Callable[[httpx.Request], httpx.Response], **settings: str) -> EspoCrm:
    """A connector before this vendor; nothing waits."""
    return over(httpx.MockTransport(vendor), **settings)


def over(transport: httpx.BaseTransport, **settings: str) -> EspoCrm:
    """A connector over this transport."""
    own = {**SETTINGS, **settings}
    http = Http(
        base_url=EspoCrm.base_url(own),
        hosts=EspoCrm.hosts,
        limits=Limits(concurrency=4),
        headers=EspoCrm.headers(own),
        transport=transport,
        breaker_failures=1000,
        sleep=lambda _: None,
    )
    return EspoCrm(own, http)


# --- deliveries -------------------------------------------------------------------------------------------------------

URL = "https://tandem.example/webhooks/espocrm?event="
UNKNOWN = b'[{"id":"65f0c1d2e3a4b5c6d","name":"Some company"}]'


def sign(body: bytes, at: datetime, secret: str) -> Delivery:
    """A delivery as EspoCRM signs it; each event has a webhook of its own, told apart by its URL."""
    event = "Case.update" if body == UNKNOWN else "Contact.update"
    digest = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    proof = base64.b64encode(f"{HOOK}:{digest}".encode()).decode()
    return Delivery("POST", URL + event, {"content-type": "application/json", "signature": proof}, body, at)


_ADA = b'{"id":"65f0c1d2e3a4b5c6d","title":"CTO"}'
_BEA = (
    b'{"id":"65f0c1d2e3a4b5c6e","emailAddress":"bea@people.example","emailAddressData":[{"emailAddress":'
    b'"bea@people.example","lower":"bea@people.example","primary":true,"optOut":true,"invalid":false}]}'
)
BODY = b"[" + _ADA + b"," + _BEA + b"]"


def _events() -> tuple[Event, ...]:
    made = hooks.events(sign(BODY, datetime(2026, 3, 2, 9, 30, tzinfo=UTC), SECRET), HOOK, {"Contact": Kind.CONTACT})
    return tuple(
        Event(Kind.CONTACT, Action.CHANGED, Ref(f"65f0c1d2e3a4b5c6{end}"), event.dedupe, None, urgent=end == "e")
        for end, event in zip("de", made, strict=True)
    )


def around(vendor: FakeEspo) -> Around:
    """An account, an opportunity, a user, and what was done."""
    objects, (one, two) = vendor.objects, vendor.ids[:2]
    account = objects.put("Account", name=COMPANY, people=[one, two])
    vendor.rows[one]["accountId"] = account
    objects.put("Account", name="Other")
    deal = objects.put("Opportunity", name="Big", accountId=account, people=[one])
    objects.put("User", name="The API", type="api", isActive=True)
    kim = objects.put("User", name="Kim", type="regular", isActive=True, emailAddress=COLLEAGUE)
    said = {"assignedUserId": kim, "dateStart": "2026-02-03 04:05:06"}
    call = objects.put("Call", name="Hello", status="Not Held", direction="Outbound", people=[one], **said)
    back = objects.put("Call", status="Held", direction="Inbound", parentType="Contact", parentId=one, **said)
    meeting = objects.put("Meeting", status="Planned", people=[one, two], **said)
    done = {"assignedUserId": kim, "dateCompleted": "2026-02-03 04:05:06"}
    task = objects.put("Task", status="Completed", contactId=one, **done)
    at, by = datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC), Ref(kim)
    hello = {"title": "Hello"}
    acts = (
        Act(
            f"Call:{call}:{one}", Ref(one), Doing.CALL, at, True, by, None, None, "phone", Ending.NO_ANSWER, None, hello
        ),
        Act(f"Call:{back}:{one}", Ref(one), Doing.REPLY, at, True, by, channel="phone", outcome=Ending.HELD),
        *(
            Act(
                f"Meeting:{meeting}:{p}", Ref(p), Doing.MEETING, at, True, by, channel="meeting", outcome=Ending.PLANNED
            )
            for p in (one, two)
        ),
        Act(f"Task:{task}:{one}", Ref(one), Doing.TASK, at, None, by, outcome=Ending.DONE),
    )
    return Around(
        company=account,
        deal=deal,
        colleague=kim,
        acts=acts,
        later=lambda: f"Call:{objects.put('Call', status='Held', people=[two], **said)}:{two}",
    )


ESPOCRM = Example(
    settings={
        **{name: value for name, value in SETTINGS.items() if name != "attributes"},
        "company_attributes": "name",
    },
    vendor=FakeEspo,
    email_field="emailAddress",
    text_field="firstName",
    other_field="lastName",
    secret="webhook_secrets",
    sign=sign,
    body=BODY,
    events=_events(),
    unknown=UNKNOWN,
    other=b'[{"id":"65f0c1d2e3a4b5c6d","title":"Director"}]',
    proof=("signature",),
    secrets_apart=",",
    copies=timedelta(minutes=9),
    missing="65f0c1d2e3a4b5fff",
    bad={"salutationName": "nonsense"},
    falsy={"doNotCall": False},
    error=lambda status, text: refused(status, text, {"message": text}),
    wire=lambda id_: [("PATCH", f"/api/v1/Contact/{id_}", {"firstName": "Changed"})],
    options={"salutationName": SALUTATIONS},
    around=around,
    company_name="name",
    notes=lambda vendor, id_: [p["post"] for p in vendor.objects.posts(id_)],
)
