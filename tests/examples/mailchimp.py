"""Mailchimp by example: a small fake of one audience, and what the conformance suite needs to judge by it."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from connectors import _mailchimp_hooks as hooks
from connectors.contract import Act, Action, Delivery, Doing, Ending, Event, Kind, Ref
from sandbox.mailchimp_reports import Reports
from sandbox.mailchimp_rules import Problem
from tests.stage import START, Around, Example, Seed, seeds

LIST = "a6b5da1054"
SECRET = "mc_test_signing_secret"
NOW = datetime(2026, 8, 13, 10, 15, 0, tzinfo=UTC)

COMPLIANCE = "is in a compliance state due to unsubscribe, bounce, or compliance review and cannot be subscribed."
NOT_VALIDATED = "The resource submitted could not be validated. For field-specific details, see the 'errors' array."

MERGE_FIELDS = [
    {"tag": "LNAME", "name": "Last name", "type": "text", "required": False, "options": {"size": 25}},
    {"tag": "ADDRESS", "name": "Address", "type": "address", "required": False, "options": {"default_country": 164}},
    {"tag": "AGE", "name": "Age", "type": "number", "required": False, "options": {}},
    {"tag": "FNAME", "name": "First name", "type": "text", "required": True, "options": {"size": 25}},
    {"tag": "TIER", "name": "Tier", "type": "dropdown", "required": False, "options": {"choices": ["Gold", "Iron"]}},
]


def md5_of(email: str) -> str:
    return hashlib.md5(email.lower().encode()).hexdigest()


def invalid(merge: Mapping[str, Any]) -> str | None:
    """The tag of a postal address that lacks a part."""
    parts = {"addr1", "city", "state", "zip"}
    return next((t for t, v in merge.items() if isinstance(v, dict) and not parts <= v.keys()), None)


def problem(status: int, title: str, detail: str, **more: Any) -> httpx.Response:
    body = {"type": "https://mailchimp.com/developer/marketing/docs/errors/", "title": title, "status": status}
    headers = {"content-type": "application/problem+json; charset=utf-8"}
    return httpx.Response(status, json={**body, "detail": detail, "instance": "i-1", **more}, headers=headers)


def iso(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S+00:00")


class FakeAudience:
    """The endpoints over a dict: update in place, partial failure, slots by contact id or hash, no status, no birth."""

    def __init__(self) -> None:
        self.members: dict[str, dict[str, Any]] = {}  # by contact id
        self.tags: dict[str, list[str]] = {}
        self.calls: list[tuple[str, str, Any]] = []
        self.errors: dict[str, dict[str, Any]] = {}  # address -> error of a batch
        self.trouble: Callable[[httpx.Request], httpx.Response | None] = lambda _request: None
        self.after: Callable[[httpx.Request], None] = lambda _request: None
        self.resurrects = False  # whether a batch makes a member without a status
        self.tells_contact_id = True  # in batch answers: new since 3.0.91
        self.date: str | None = "Thu, 13 Aug 2026 10:15:00 GMT"
        self.page_size = 1000
        self.lock = threading.RLock()
        other = {"id": "w0", "url": "https://elsewhere.example/hook?x=1", "events": {}, "sources": {}, "list_id": LIST}
        self.webhooks: dict[str, dict[str, Any]] = {"w0": other}
        self.reports = Reports()

    def add(self, email: str, status: str = "subscribed", *, changed: datetime = NOW, **merge: Any) -> str:
        contact = f"c{len(self.members) + 1:04}"
        self.members[contact] = {
            "id": md5_of(email),
            "contact_id": contact,
            "unique_email_id": f"u-{contact}",
            "web_id": 7,
            "email_address": email,
            "full_name": "",
            "email_type": "html",
            "status": status,
            "merge_fields": {"FNAME": "", "LNAME": "", "ADDRESS": "", **merge},
            "interests": {"9143cf3bd1": False},
            "stats": {"avg_open_rate": 0.5, "avg_click_rate": 0},
            "ip_signup": "",
            "language": "",
            "vip": False,
            "last_changed": iso(changed),
            "list_id": LIST,
        }
        self.tags[contact] = []
        return contact

    def out(self, contact: str, fields: str = "") -> dict[str, Any]:
        tags = [{"id": n, "name": name} for n, name in enumerate(self.tags[contact])]
        whole = {**self.members[contact], "tags_count": len(tags), "tags": tags[:50]}
        asked = fields.split(",") if fields else list(whole)
        return {k: v for k, v in whole.items() if k in asked}

    def by(self, slot: str) -> str | None:
        return next((c for c, m in self.members.items() if slot in (c, m["id"])), None)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        with self.lock:
            self.calls.append((request.method, request.url.path, json.loads(request.content or b"null")))
        response = self.trouble(request)
        if response is None:
            with self.lock:
                response = self.answer(request)
        self.after(request)
        if self.date is not None:
            response.headers["date"] = self.date
        return response

    def answer(self, request: httpx.Request) -> httpx.Response:
        query, body = request.url.params, json.loads(request.content or b"null")
        parts = request.url.path.removeprefix("/3.0").strip("/").split("/")
        match [request.method, *parts]:
            case ["GET", ""]:
                return httpx.Response(200, json={"account_name": "Ada Ltd", "role": "owner"})
            case ["GET", "lists", list_id] if list_id == LIST:
                about = {"id": LIST, "name": "Customers", "double_optin": True, "stats": {"member_count": 3}}
                return httpx.Response(200, json=about)
            case ["POST", "lists", list_id] if list_id == LIST:
                return self.batch(body)
            case ["GET", "lists", list_id, "members"] if list_id == LIST:
                return self.page(query)
            case ["GET", "lists", _, "merge-fields"]:
                return httpx.Response(200, json={"merge_fields": MERGE_FIELDS, "total_items": len(MERGE_FIELDS)})
            case ["GET", "lists", _, "interest-categories"]:
                return httpx.Response(200, json={"categories": [{"id": "g1", "title": "Topics"}]})
            case ["GET", "lists", _, "interest-categories", "g1", "interests"]:
                return httpx.Response(200, json={"interests": [{"id": "9143cf3bd1", "name": "Cats"}]})
            case ["GET", "ping"]:
                return httpx.Response(200, json={"health_status": "Everything's Chimpy!"})
            case ["GET", "reports", *_]:
                try:
                    return httpx.Response(200, json=self.reports.look(request.url.path.removeprefix("/3.0"), query))
                except Problem as error:
                    return problem(error.status, error.title, error.detail)
            case [method, "lists", list_id, "webhooks", *slot] if list_id == LIST:
                return self.hooked(method, slot, body)
            case [_, "lists", list_id, "members", slot, *rest] if list_id == LIST:
                contact = self.by(slot)
                if contact is not None:
                    return self.single(request.method, contact, rest, query, body)
        return problem(404, "Resource Not Found", "The requested resource could not be found.")

    def hooked(self, method: str, slot: list[str], body: Any) -> httpx.Response:
        if not slot and method == "GET":
            return httpx.Response(200, json={"webhooks": [*self.webhooks.values()], "total_items": len(self.webhooks)})
        if not slot:
            id_ = f"w{len(self.webhooks) + 1}"
            self.webhooks[id_] = {"id": id_, "list_id": LIST, "signing_enabled": True, **body}
            return httpx.Response(200, json={**self.webhooks[id_], "signing_secret": "told-once-4711"})
        if slot[0] not in self.webhooks:
            return problem(404, "Resource Not Found", "The requested resource could not be found.")
        if method == "DELETE":
            del self.webhooks[slot[0]]
            return httpx.Response(204)
        self.webhooks[slot[0]].update(body)
        return httpx.Response(200, json=self.webhooks[slot[0]])

    def single(self, method: str, contact: str, rest: list[str], query: Mapping[str, str], body: Any) -> httpx.Response:
        if rest == ["tags"] and method == "GET":
            return httpx.Response(200, json={"tags": [{"name": n} for n in self.tags[contact]]})
        if rest == ["tags"]:
            assert body["is_syncing"] is True
            for tag in body["tags"]:
                had = [n for n in self.tags[contact] if n != tag["name"]]
                self.tags[contact] = [*had, tag["name"]] if tag["status"] == "active" else had
            return httpx.Response(204)
        if method == "GET":
            return httpx.Response(200, json=self.out(contact, query.get("fields", "")))
        if method == "PATCH":
            return self.patch(contact, body)
        if rest == ["actions", "delete-permanent"]:
            del self.members[contact]
            return httpx.Response(204)
        if self.members[contact]["status"] == "archived":
            return problem(405, "Method Not Allowed", "This list member cannot be removed. Please contact support.")
        self.members[contact]["status"] = "archived"
        return httpx.Response(204)

    def patch(self, contact: str, body: dict[str, Any]) -> httpx.Response:
        member = self.members[contact]
        email = body.get("email_address", member["email_address"])
        other = self.by(md5_of(email))
        if other not in (None, contact):
            told = f'"{email}" is already in this list with a status of "Subscribed".'
            errors = [{"field": "email address", "message": told}]
            return problem(400, "Invalid Resource", NOT_VALIDATED, errors=errors)
        if body.get("status") == "subscribed" and member["status"] in {"unsubscribed", "cleaned"}:
            return problem(400, "Member In Compliance State", f"{email} {COMPLIANCE}")
        if (field := invalid(body.get("merge_fields", {}))) is not None:
            errors = [{"field": field, "message": "Please enter a complete address"}]
            return problem(400, "Invalid Resource", "Your merge fields were invalid.", errors=errors)
        self.set(contact, body)
        return httpx.Response(200, json=self.out(contact))

    def set(self, contact: str, body: Mapping[str, Any]) -> None:
        member = self.members[contact]
        for name, value in body.items():
            member[name] = {**member[name], **value} if name in {"merge_fields", "interests"} else value
        member["id"] = md5_of(member["email_address"])
        member["last_changed"] = iso(NOW)

    def batch(self, body: dict[str, Any]) -> httpx.Response:
        addresses = [m["email_address"].lower() for m in body["members"]]
        if len(set(addresses)) < len(addresses):
            return problem(400, "Invalid Resource", "Duplicate items found.")
        answer: dict[str, Any] = {"new_members": [], "updated_members": [], "errors": []}
        for member in body["members"]:
            email = member["email_address"]
            contact = self.by(md5_of(email))
            if email.lower() in self.errors:
                answer["errors"].append({"email_address": email, **self.errors[email.lower()]})
            elif (field := invalid(member.get("merge_fields", {}))) is not None:
                told = {"error": "Your merge fields were invalid.", "error_code": "ERROR_GENERIC", "field": field}
                answer["errors"].append({"email_address": email, **told})
            elif contact is not None and not body["update_existing"]:
                told = {"error": f"{email} is already a list member", "error_code": "ERROR_CONTACT_EXISTS"}
                answer["errors"].append({"email_address": email, **told})
            elif contact is None and "status" not in member and not self.resurrects:
                told = {"error": NOT_VALIDATED, "error_code": "ERROR_GENERIC"}
                answer["errors"].append({"email_address": email, **told})
            else:
                where = "new_members" if contact is None else "updated_members"
                contact = self.add(email) if contact is None else contact
                self.set(contact, member)
                shown = self.out(contact)
                if not self.tells_contact_id:
                    del shown["contact_id"]
                answer[where].append(shown)
        answer |= {"total_created": len(answer["new_members"]), "total_updated": len(answer["updated_members"])}
        return httpx.Response(200, json={**answer, "error_count": len(answer["errors"])})

    def page(self, query: Mapping[str, str]) -> httpx.Response:
        assert (query["sort_field"], query["sort_dir"]) == ("last_changed", "ASC")
        since, before = query.get("since_last_changed", ""), query.get("before_last_changed", "~")
        found = [
            c for c, m in self.members.items() if since <= m["last_changed"] < before and m["status"] != "archived"
        ]
        found.sort(key=lambda c: (self.members[c]["last_changed"], c))
        offset, count = int(query["offset"]), int(query["count"])
        fields = ",".join(f.removeprefix("members.") for f in query["fields"].split(","))
        rows = [self.out(c, fields) for c in found[offset : offset + min(count, self.page_size)]]
        return httpx.Response(200, json={"members": rows, "total_items": len(found)})

    def said(self) -> list[str]:
        return [f"{method} {path.removeprefix('/3.0')}" for method, path, _ in self.calls]


# --- the example ------------------------------------------------------------------------------------------------------


class Audience(FakeAudience):
    """The fake as the suite wants it: seeded, in pages of a hundred, its clock a second after the latest change."""

    def __init__(self, seeds: Sequence[Seed]) -> None:
        super().__init__()
        self.page_size = 100
        self.ids = [self.add(s.email, changed=s.modified, FNAME=s.text, LNAME=s.other) for s in seeds]

    def __call__(self, request: httpx.Request) -> httpx.Response:
        response = super().__call__(request)
        times = [datetime.fromisoformat(m["last_changed"]) for m in self.members.values()]
        clock = max(times, default=NOW) + timedelta(seconds=1)
        response.headers["date"] = clock.strftime("%a, %d %b %Y %H:%M:%S GMT")
        return response

    def emails(self) -> Sequence[str]:
        return [m["email_address"] for m in self.members.values() if m["status"] != "archived"]

    def touch(self, id: str, at: datetime) -> None:  # noqa: A002 - as the suite's protocol names it
        self.members[id]["last_changed"] = iso(at)


def sign(body: bytes, at: datetime, secret: str) -> Delivery:
    stamp = str(int(at.timestamp()))
    header = {"x-mailchimp-signature": f"t={stamp},v1={hooks.sign(secret, stamp, body)}"}
    return Delivery("POST", "https://sync.example.com/webhooks/mailchimp", header, body, at)


BODY = (
    b"type=profile&fired_at=2026-03-02+09%3A29%3A58&data%5Bid%5D=8a25ff1d98&data%5Blist_id%5D=a6b5da1054"
    b"&data%5Bemail%5D=Ada%40people.example&data%5Bemail_type%5D=html&data%5Bmerges%5D%5BFNAME%5D=Ada"
)


def _address(id_: str) -> str:
    """That of the suite's seed, which the batch goes by."""
    return seeds(int(id_.removeprefix("c")))[-1].email


def around(vendor: Audience) -> Around:
    """Two campaigns, one of them an A/B test, and what the first two members did."""
    reports, (one, two) = vendor.reports, [m["email_address"] for m in vendor.members.values()][:2]
    at = START - timedelta(hours=3)
    reports.sent("k1", "Spring", LIST, START - timedelta(days=2))
    reports.sent("k2", "Test", LIST, START - timedelta(days=1), "variate").groups[two] = "b"
    reports.sent("k3", "Elsewhere", "another", START - timedelta(days=1))
    reports.did("k1", one, "open", at)
    reports.did("k1", one, "click", at, url="https://shop.example/p?x=1")
    reports.did("k1", two, "bounce", at, type="hard")
    reports.did("k2", two, "open", at)
    reports.did("k3", one, "open", at)
    reports.unsubscribed("k1", one, at, "No longer interested")
    whose = {one: Ref(one, "email"), two: Ref(two, "email")}

    def act(campaign: str, who: str, kind: Doing, at: datetime = at, url: str | None = None, **said: Any) -> Act:
        same = json.dumps([campaign, md5_of(who), kind, at.isoformat(), url])
        id_ = f"{campaign}:{hashlib.sha256(same.encode()).hexdigest()[:32]}"
        title = "Spring" if campaign == "k1" else "Test"
        return Act(id_, whose[who], kind, at, campaign=title, channel="email", **said)

    def later() -> str:
        reports.did("k2", two, "click", START, url="https://shop.example/q")
        return act("k2", two, Doing.CLICK, START, "https://shop.example/q").id

    link = "https://shop.example/p?x=1"
    acts = (
        act("k1", one, Doing.OPEN),
        act("k1", one, Doing.CLICK, url=link, detail={"url": link}),
        act("k1", two, Doing.BOUNCE, outcome=Ending.HARD),
        act("k2", two, Doing.OPEN, variant="b"),
        act("k1", one, Doing.UNSUBSCRIBE, detail={"reason": "No longer interested"}),
    )
    return Around(acts=acts, later=later)


MAILCHIMP = Example(
    settings={"api_key": "0123456789abcdef0123456789abcdef-us21", "list_id": LIST, "signing_secret": SECRET},
    vendor=Audience,
    email_field="email_address",
    text_field="merge_fields.FNAME",
    other_field="merge_fields.LNAME",
    secret="signing_secret",
    sign=sign,
    body=BODY,
    events=(
        Event(
            kind=Kind.CONTACT,
            action=Action.CHANGED,
            ref=Ref("ada@people.example", "email"),
            dedupe="ec661952c04f039c32d610281b3198544670304d173752637238aa82bec99764",
            occurred_at=datetime(2026, 3, 2, 9, 29, 58, tzinfo=UTC),
        ),
    ),
    unknown=BODY.replace(b"type=profile", b"type=campaign"),
    other=BODY.replace(b"09%3A29%3A58", b"09%3A29%3A59"),
    proof=("x-mailchimp-signature",),
    tolerance=timedelta(seconds=300),
    secrets_apart=",",
    missing="c9999",
    bad={"merge_fields.ADDRESS": {"addr1": "1 High St"}},
    falsy={"merge_fields.AGE": 0},
    error=lambda status, text: problem(status, "Something", text),
    wire=lambda id_: [
        (
            "POST",
            f"/3.0/lists/{LIST}",
            {
                "members": [{"email_address": _address(id_), "merge_fields": {"FNAME": "Changed"}}],
                "update_existing": True,
            },
        )
    ],
    options={"merge_fields.TIER": ("Gold", "Iron")},
    around=around,
)
