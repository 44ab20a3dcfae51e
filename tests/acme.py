"""Acme, a vendor that does not exist: its connector, its API in memory and its Example.  It proves the suite.

Acme's API, v1: people with id, email (unique, case does not count), first_name, last_name, stage, score, updated_at.
GET /people?ids= | ?emails= | ?since=&after= (by updated_at, then id), POST /people (Idempotency-Key), PATCH and DELETE
/people/{id}, POST /people/{id}/merge {"loser": id} (the loser's id then leads to the winner, whose "merged" lists it),
GET /fields, GET /me.  Webhooks: {"events": [...]}, signed ``acme-signature: t=<seconds>,v1=<hex>``.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

import httpx

from connectors import _signing as signing
from connectors._http import Http
from connectors.contract import (
    Action,
    Answer,
    Can,
    Connector,
    Delivery,
    Done,
    Event,
    Exists,
    Failed,
    Gone,
    Hook,
    Hooked,
    Kind,
    Limits,
    NeedsHuman,
    Order,
    Page,
    Property,
    Rate,
    Receipt,
    Received,
    Record,
    Ref,
    Refused,
    Schema,
    Setting,
    Side,
    TryLater,
    Unreadable,
    Verb,
)
from tests.conformance import Example, Seed

TOLERANCE = timedelta(minutes=5)
HEADER = "acme-signature"
SAFE_VERBS = frozenset({Verb.UPDATE, Verb.ARCHIVE, Verb.ERASE})  # set to, not add to: twice is as good as once

ACTIONS = {
    "person.created": Action.CHANGED,
    "person.updated": Action.CHANGED,
    "person.deleted": Action.DELETED,
    "person.merged": Action.MERGED,
}


class Acme(Connector):
    """Acme's people."""

    name = "acme"
    side = Side.CRM
    can: ClassVar[frozenset[Can]] = frozenset(Can)
    limits = Limits(read_batch=50, find_batch=50, write_batch=10, rates=(Rate(100, 60),), concurrency=2)
    hosts: ClassVar[frozenset[str]] = frozenset({"api.acme.test"})
    settings = (
        Setting("api_key", "API key: Settings > API", secret=True),
        Setting("webhook_secret", "Signs webhooks; while rotating: new,old", secret=True),
    )

    def __init__(self, settings: Mapping[str, str], http: Http) -> None:
        super().__init__(settings, http)
        self._secrets = signing.secrets(settings["webhook_secret"])

    @classmethod
    def base_url(cls, settings: Mapping[str, str]) -> str:
        return "https://api.acme.test/v1"

    @classmethod
    def headers(cls, settings: Mapping[str, str]) -> Mapping[str, str]:
        return {"Authorization": f"Bearer {settings['api_key']}"}

    # --- deliveries ---------------------------------------------------------------------------------------------------

    def receive(self, delivery: Delivery) -> Received:
        self.verify(delivery)
        try:
            rows = json.loads(delivery.body.decode("utf-8"))["events"]
            events = tuple(self.event(row) for row in rows if row["type"] in ACTIONS)
        except (ValueError, TypeError, KeyError, RecursionError):
            raise Unreadable("acme: this is no list of events") from None
        return Received(events, Answer(202, b"thanks"))

    def verify(self, delivery: Delivery) -> None:
        parts = signing.named(delivery.headers.get(HEADER))
        stamp = parts.get("t", [""])[0]
        wanted = [signing.hmac_sha256_hex(secret, stamp, ".", delivery.body) for secret in self._secrets]
        signing.require(parts.get("v1", ()), wanted)
        self.fresh(delivery, stamp)

    def fresh(self, delivery: Delivery, stamp: str) -> None:
        signing.within(TOLERANCE, delivery.received_at, stamp)

    def event(self, row: Mapping[str, Any]) -> Event:
        losers = tuple(map(str, row.get("merged", ())))
        at = self.time(row["at"])
        return Event(Kind.CONTACT, ACTIONS[row["type"]], Ref(str(row["person"])), self.dedupe(row), at, losers)

    def dedupe(self, row: Mapping[str, Any]) -> str:
        return str(row["id"])

    def time(self, text: str) -> datetime:
        return datetime.fromisoformat(text).astimezone(UTC)

    # --- reading ------------------------------------------------------------------------------------------------------

    def check(self) -> str:
        me = self._http.json(self._http.send("GET", "/me"))
        return f"Acme account {me['account']}"

    def read(self, kind: Kind, ids: Sequence[str]) -> Sequence[Record]:
        if len(ids) > self.limits.read_batch:
            raise ValueError(f"acme: {len(ids)} ids at once; at most {self.limits.read_batch}")
        return self.people({"ids": ",".join(ids)}) if ids else []

    def find(self, kind: Kind, key: str, values: Sequence[str]) -> Sequence[Record]:
        if key != "email":
            raise Refused(f"acme: cannot find by {key!r}; can by email", code="key")
        return self.people({"emails": ",".join(values)}) if values else []

    def changed(self, kind: Kind, cursor: str | None) -> Page:
        since, after = ("", "") if cursor is None else json.loads(cursor)
        answer = self.ask({"since": since, "after": after})
        records = tuple(map(self.record, answer["people"]))
        if answer["people"]:
            since, after = answer["people"][-1]["updated_at"], answer["people"][-1]["id"]
        return Page(records, json.dumps([since, after]), more=answer["more"])

    def describe(self, kind: Kind) -> Schema:
        rows = self._http.json(self._http.send("GET", "/fields"))["fields"]
        found = [
            Property(r["name"], r["type"], r["label"], options=tuple(r["options"]) if "options" in r else None)
            for r in rows
        ]
        return Schema(Kind.CONTACT, {p.name: p for p in found})

    def ask(self, params: Mapping[str, str]) -> Any:
        return self._http.json(self._http.send("GET", "/people", params=params))

    def people(self, params: Mapping[str, str]) -> list[Record]:
        return [self.record(row) for row in self.ask(params)["people"]]

    def record(self, row: Mapping[str, Any]) -> Record:
        fields = {k: v for k, v in row.items() if k not in {"id", "updated_at", "merged"}}
        return Record(Kind.CONTACT, row["id"], fields, self.time(row["updated_at"]), former_ids=tuple(row["merged"]))

    # --- subscriptions ------------------------------------------------------------------------------------------------

    def hooks(self) -> Sequence[Hook]:
        return [self.shown(row) for row in self._http.json(self._http.send("GET", "/hooks"))["hooks"]]

    def shown(self, row: Mapping[str, Any]) -> Hook:
        return Hook(row["id"], row["url"], on=row["on"])

    def hook(self, url: str) -> Hooked:
        if all(one.url != url for one in self.hooks()):
            self._http.send("POST", "/hooks", json={"url": url})
        for one in self.hooks():
            if one.url == url and not one.on:
                self._http.send("PATCH", f"/hooks/{one.id}", json={"on": True}, safe=True)
        return Hooked(tuple(one for one in self.hooks() if one.url == url))

    def unhook(self, id: str) -> None:  # noqa: A002
        self._http.send("DELETE", f"/hooks/{id}", take={404}, safe=True)

    # --- writing ------------------------------------------------------------------------------------------------------

    def write(self, orders: Sequence[Order]) -> Sequence[Receipt]:
        receipts: list[Receipt] = []
        stop: TryLater | NeedsHuman | None = None
        for order in orders:
            try:
                receipts.append(Failed(order.key, stop) if stop is not None else self.one(order))
            except Refused as refused:
                receipts.append(Failed(order.key, refused))
            except (TryLater, NeedsHuman) as problem:
                receipts.append(Failed(order.key, problem))
                # Nothing more is sent, so nothing more can have landed.
                stop = TryLater(str(problem), after=problem.after) if isinstance(problem, TryLater) else problem
        return receipts

    def one(self, order: Order) -> Receipt:
        if order.verb is Verb.CREATE:
            return self.create(order)
        if order.verb is Verb.MERGE:
            return self.merge(order)
        verb = "PATCH" if order.verb is Verb.UPDATE else "DELETE"
        body = self.body(order.fields) if order.verb is Verb.UPDATE else None
        response = self._http.send(verb, f"/people/{order.id}", json=body, take={404}, safe=order.verb in SAFE_VERBS)
        if response.status_code == 404:
            return Gone(order.key, "acme: nobody has this id")
        if response.status_code != 204:
            self.record(self._http.json(response))
        return Done(order.key, str(order.id))

    def create(self, order: Order) -> Receipt:
        response = self._http.send(
            "POST", "/people", json=self.body(order.fields), take={409}, headers={"Idempotency-Key": self.key(order)}
        )
        row = self._http.json(response)
        if response.status_code == 409:
            return Exists(order.key, Ref(str(row["id"])))
        made = self.record(row)
        return Done(order.key, made.id, made)

    def merge(self, order: Order) -> Receipt:
        if order.again:  # an earlier try may have landed
            both = self.people({"ids": f"{order.id},{order.loser}"})
            if len(both) == 1 and {order.id, order.loser} <= {both[0].id, *both[0].former_ids}:
                return Done(order.key, both[0].id, both[0])
        response = self._http.send("POST", f"/people/{order.id}/merge", json={"loser": order.loser}, take={404})
        if response.status_code == 404:
            return Gone(order.key, "acme: nobody has one of these ids")
        survivor = self.record(self._http.json(response))
        return Done(order.key, survivor.id, survivor)

    def key(self, order: Order) -> str:
        return order.key

    def body(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        return dict(fields)


class AcmeApi:
    """Acme in memory."""

    page = 20

    def __init__(self, seeds: Sequence[Seed]) -> None:
        self.rows: dict[str, dict[str, Any]] = {}
        self.done: dict[str, str] = {}  # idempotency key -> id
        self.moved: dict[str, str] = {}  # id of a loser -> id of its winner
        self.hooks: dict[str, dict[str, Any]] = {"h1": {"id": "h1", "url": "https://elsewhere.example/", "on": True}}
        self.count = 0
        self.now = max((s.modified for s in seeds), default=datetime(2026, 1, 1, tzinfo=UTC))
        self.ids = [
            self.put({"email": s.email, "first_name": s.text, "last_name": s.other}, s.modified)["id"] for s in seeds
        ]

    def put(self, fields: Mapping[str, Any], at: datetime | None = None) -> dict[str, Any]:
        self.now = max(self.now + timedelta(seconds=1), at if at is not None else self.now)
        blank = {"email": None, "first_name": None, "last_name": None, "stage": "lead", "score": None}
        self.count += 1
        id_ = f"p{self.count:05}"
        stamp = (at if at is not None else self.now).isoformat()
        self.rows[id_] = {**blank, **fields, "id": id_, "updated_at": stamp, "merged": []}
        return self.rows[id_]

    def emails(self) -> Sequence[str]:
        return [row["email"] for row in self.rows.values()]

    def touch(self, id: str, at: datetime) -> None:  # noqa: A002
        self.rows[id]["updated_at"] = at.isoformat()
        self.now = max(self.now, at + timedelta(seconds=1))

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.headers.get("authorization") != "Bearer acme-key-1f9c8a7b":
            return error(401, "who are you?")
        path, params = request.url.path.removeprefix("/v1"), request.url.params
        body = json.loads(request.content) if request.content else {}
        match request.method, path:
            case "GET", "/me":
                return httpx.Response(200, json={"account": "Example Ltd"})
            case "GET", "/fields":
                return httpx.Response(200, json={"fields": FIELDS})
            case "GET", "/people":
                return self.list(params)
            case "POST", "/people":
                return self.post(body, request.headers.get("idempotency-key", ""))
        if path.startswith("/hooks"):
            return self.hooked(request.method, path.removeprefix("/hooks").strip("/"), body)
        if path.endswith("/merge"):
            return self.merge(path.split("/")[2], body["loser"])
        return self.change(request.method, path.removeprefix("/people/"), body)

    def hooked(self, method: str, id_: str, body: Mapping[str, Any]) -> httpx.Response:
        if method == "GET":
            return httpx.Response(200, json={"hooks": [*self.hooks.values()]})
        if method == "POST":
            id_ = f"h{len(self.hooks) + 1}"
            self.hooks[id_] = {"id": id_, "url": body["url"], "on": True}
        elif id_ not in self.hooks:
            return error(404, "no such hook")
        elif method == "DELETE":
            del self.hooks[id_]
            return httpx.Response(204)
        else:
            self.hooks[id_].update(body)
        return httpx.Response(200, json=self.hooks[id_])

    def list(self, params: httpx.QueryParams) -> httpx.Response:
        rows, more = [*self.rows.values()], False
        if "ids" in params:
            ids = {self.moved.get(id_, id_) for id_ in params["ids"].split(",")}
            rows = [row for row in rows if row["id"] in ids]
        elif "emails" in params:
            rows = [row for row in rows if row["email"].lower() in params["emails"].lower().split(",")]
        else:
            rows = sorted(rows, key=lambda row: (row["updated_at"], row["id"]))
            rows = [row for row in rows if (row["updated_at"], row["id"]) > (params["since"], params["after"])]
            rows, more = rows[: self.page], len(rows) > self.page
        return httpx.Response(200, json={"people": rows, "more": more})

    def post(self, body: Mapping[str, Any], key: str) -> httpx.Response:
        if key and key in self.done:
            return httpx.Response(200, json=self.rows[self.done[key]])
        if "@" not in str(body.get("email")):
            return error(422, "email is invalid")
        for row in self.rows.values():
            if row["email"].lower() == body["email"].lower():
                return httpx.Response(409, json={"message": "exists", "id": row["id"]})
        row = self.put(body)
        self.done[key] = row["id"]
        return httpx.Response(201, json=row)

    def merge(self, winner: str, loser: str) -> httpx.Response:
        if winner not in self.rows or loser not in self.rows:
            return error(404, "no such person")
        self.rows[winner]["merged"] += [loser, *self.rows.pop(loser)["merged"]]
        self.moved |= dict.fromkeys(self.rows[winner]["merged"], winner)
        self.touch(winner, self.now + timedelta(seconds=1))
        return httpx.Response(200, json=self.rows[winner])

    def change(self, method: str, id_: str, body: Mapping[str, Any]) -> httpx.Response:
        if id_ not in self.rows:
            return error(404, "no such person")
        if method == "DELETE":
            del self.rows[id_]
            return httpx.Response(204)
        self.rows[id_].update(body)
        self.touch(id_, self.now + timedelta(seconds=1))
        return httpx.Response(200, json=self.rows[id_])


FIELDS = [
    {"name": "email", "type": "email", "label": "Address"},
    {"name": "first_name", "type": "text", "label": "First name"},
    {"name": "last_name", "type": "text", "label": "Last name"},
    {"name": "stage", "type": "choice", "label": "Stage", "options": ["lead", "customer"]},
    {"name": "score", "type": "number", "label": "Score"},
]


def error(status: int, text: str) -> httpx.Response:
    """Acme's errors."""
    return httpx.Response(status, json={"message": text})


def sign(body: bytes, at: datetime, secret: str) -> Delivery:
    """A delivery as Acme sends it; with an empty secret as a forger would."""
    stamp = str(int(at.timestamp()))
    digest = hmac.new(secret.encode(), f"{stamp}.".encode() + body, hashlib.sha256).hexdigest()
    headers = {HEADER: f"t={stamp},v1={digest}", "content-type": "application/json"}
    return Delivery("POST", "https://tandem.example/webhooks/acme", headers, body, at)


def delivery(*events: tuple[str, str, str, int]) -> bytes:
    """A body with these events: (id, type, person, try)."""
    rows = [{"id": i, "type": t, "person": p, "at": "2026-03-02T10:15:00+02:00", "try": n} for i, t, p, n in events]
    return json.dumps({"events": rows}).encode()


AT = datetime(2026, 3, 2, 8, 15, tzinfo=UTC)

ACME = Example(
    settings={"api_key": "acme-key-1f9c8a7b", "webhook_secret": "acme-webhook-77d0"},
    vendor=AcmeApi,
    email_field="email",
    text_field="first_name",
    other_field="last_name",
    secret="webhook_secret",
    sign=sign,
    body=delivery(("e1", "person.updated", "p00001", 1), ("e2", "person.deleted", "p00002", 1)),
    events=(
        Event(Kind.CONTACT, Action.CHANGED, Ref("p00001"), "e1", AT),
        Event(Kind.CONTACT, Action.DELETED, Ref("p00002"), "e2", AT),
    ),
    unknown=delivery(("e3", "invoice.paid", "p00001", 1)),
    other=delivery(("e4", "person.updated", "p00001", 1)),
    retried=delivery(("e1", "person.updated", "p00001", 2), ("e2", "person.deleted", "p00002", 2)),
    answer=Answer(202, b"thanks"),
    proof=(HEADER,),
    tolerance=TOLERANCE,
    secrets_apart=",",
    missing="p99999",
    bad={"email": "not an address"},
    falsy={"score": 0},
    error=error,
    wire=lambda id_: [("PATCH", f"/v1/people/{id_}", {"first_name": "Changed"})],
    many=90,
    tied=35,
    options={"stage": ("lead", "customer")},
)
