"""Acme, a vendor that does not exist: its connector, its API in memory and its Example.  It proves the suite.

Acme's API, v1: people with id, email (unique, case does not count), first_name, last_name, stage, score, updated_at.
GET /people?ids= | ?emails= | ?since=&after= (by updated_at, then id), POST /people (Idempotency-Key), PATCH and DELETE
/people/{id}, POST /people/{id}/merge {"loser": id} (the loser's id then leads to the winner, whose "merged" lists it),
GET /fields, GET /me.  GET /companies, /deals, /users ?ids= | ?after= (by id), GET /acts?after=, POST
/people/{id}/notes {"key"} (each key once).  Webhooks: {"events": [...]}, signed
``acme-signature: t=<seconds>,v1=<hex>``.
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
    Act,
    Action,
    ActPage,
    Answer,
    Can,
    Connector,
    Delivery,
    Doing,
    Done,
    Ending,
    Event,
    Exists,
    Failed,
    Gone,
    Hook,
    Hooked,
    Kind,
    Limits,
    NeedsHuman,
    Note,
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
    Tie,
    TryLater,
    Unreadable,
    Verb,
)
from tests.conformance import Example, Seed
from tests.stage import COLLEAGUE, COMPANY, START, Around

TOLERANCE = timedelta(minutes=5)
HEADER = "acme-signature"
SAFE_VERBS = frozenset({Verb.UPDATE, Verb.ARCHIVE, Verb.ERASE})  # set to, not add to: twice is as good as once

PATHS = {Kind.COMPANY: "/companies", Kind.DEAL: "/deals", Kind.COLLEAGUE: "/users"}

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
        if kind in PATHS:
            rows = self.others(kind, {"ids": ",".join(ids)})["items"] if ids else []
            return [self.other(kind, row) for row in rows]
        if len(ids) > self.limits.read_batch:
            raise ValueError(f"acme: {len(ids)} ids at once; at most {self.limits.read_batch}")
        return self.people({"ids": ",".join(ids)}) if ids else []

    def find(self, kind: Kind, key: str, values: Sequence[str]) -> Sequence[Record]:
        if key != "email":
            raise Refused(f"acme: cannot find by {key!r}; can by email", code="key")
        return self.people({"emails": ",".join(values)}) if values else []

    def others(self, kind: Kind, params: Mapping[str, str]) -> Any:
        return self._http.json(self._http.send("GET", PATHS[kind], params=params))

    def other(self, kind: Kind, row: Mapping[str, Any]) -> Record:
        if kind is Kind.COLLEAGUE:
            return Record(kind, row["id"], {n: row[n] for n in ("email", "name", "team", "active")})
        ties = {Kind(k): tuple(map(self.tie, rows)) for k, rows in row["with"].items()}
        return Record(kind, row["id"], row["fields"], self.time(row["updated_at"]), ties=ties)

    def tie(self, row: Mapping[str, Any]) -> Tie:
        return Tie(row["id"], row["main"], row["role"])

    def acts(self, cursor: str | None) -> ActPage:
        answer = self._http.json(
            self._http.send("GET", "/acts", params={"after": cursor if cursor is not None else ""})
        )
        acts = tuple(map(self.act, answer["acts"]))
        after = answer["acts"][-1]["id"] if acts else cursor if cursor is not None else ""
        return ActPage(acts, after, more=answer["more"])

    def act(self, row: Mapping[str, Any]) -> Act:
        return Act(
            id=row["id"],
            who=Ref(row["person"]),
            kind=Doing(row["kind"]),
            at=self.time(row["at"]),
            human=row["human"],
            by=Ref(row["by"]) if row["by"] is not None else None,
            campaign=row["campaign"],
            outcome=Ending(row["outcome"]) if row["outcome"] is not None else None,
        )

    def note(self, notes: Sequence[Note]) -> Sequence[Receipt]:
        receipts: list[Receipt] = []
        for note in notes:
            body = {"text": note.text, "at": note.at.isoformat(), "key": self.note_key(note)}
            try:
                response = self._http.send("POST", f"/people/{note.id}/notes", json=body, take={404}, safe=True)
                if response.status_code == 404:
                    receipts.append(Gone(note.key, "acme: nobody has this id"))
                else:
                    receipts.append(Done(note.key, str(self._http.json(response)["id"])))
            except (Refused, TryLater, NeedsHuman) as problem:
                receipts.append(Failed(note.key, problem))
        return receipts

    def note_key(self, note: Note) -> str:
        return note.key

    def changed(self, kind: Kind, cursor: str | None) -> Page:
        if kind in PATHS:
            answer = self.others(kind, {"after": cursor if cursor is not None else ""})
            after = answer["items"][-1]["id"] if answer["items"] else cursor if cursor is not None else ""
            return Page(tuple(self.other(kind, row) for row in answer["items"]), after, more=answer["more"])
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
        self.others: dict[str, list[dict[str, Any]]] = {path: [] for path in PATHS.values()}
        self.acts: list[dict[str, Any]] = []
        self.notes: dict[str, dict[str, str]] = {}  # key -> its note
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
        if path in self.others:
            return self.list_others(self.others[path], params)
        if path == "/acts":
            return self.list_acts(params["after"])
        if path.endswith("/notes"):
            return self.put_note(path.split("/")[2], body)
        if path.startswith("/hooks"):
            return self.hooked(request.method, path.removeprefix("/hooks").strip("/"), body)
        if path.endswith("/merge"):
            return self.merge(path.split("/")[2], body["loser"])
        return self.change(request.method, path.removeprefix("/people/"), body)

    def list_others(self, rows: Sequence[dict[str, Any]], params: httpx.QueryParams) -> httpx.Response:
        if "ids" in params:
            return httpx.Response(200, json={"items": [r for r in rows if r["id"] in params["ids"].split(",")]})
        left = [row for row in rows if row["id"] > params["after"]]
        return httpx.Response(200, json={"items": left[:1], "more": len(left) > 1})

    def list_acts(self, after: str) -> httpx.Response:
        left = [row for row in self.acts if row["id"] > after]
        return httpx.Response(200, json={"acts": left[:2], "more": len(left) > 2})

    def put_note(self, id_: str, body: Mapping[str, Any]) -> httpx.Response:
        if id_ not in self.rows:
            return error(404, "no such person")
        self.notes.setdefault(body["key"], {"person": id_, "text": body["text"]})
        return httpx.Response(200, json={"id": f"n-{body['key']}"})

    def act(self, kind: str, **said: Any) -> str:
        blank = {"human": None, "by": None, "campaign": None, "outcome": None}
        id_ = f"a{len(self.acts):05}"
        at = (START + timedelta(hours=len(self.acts))).isoformat()
        self.acts.append({**blank, **said, "id": id_, "kind": kind, "person": self.ids[0], "at": at})
        return id_

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


def around(api: AcmeApi) -> Around:
    """A company, a deal, a colleague, and what was done."""
    people = [{"id": api.ids[n], "main": n == 0, "role": None} for n in range(2)]
    stamp = START.isoformat()
    company = {"id": "c1", "fields": {"name": COMPANY}, "updated_at": stamp, "with": {"contact": people}}
    others = [{**company, "id": f"c{n}", "fields": {"name": f"Other {n}"}, "with": {"contact": []}} for n in (0, 2)]
    tied = {"contact": people[:1], "company": [{"id": "c1", "main": True, "role": None}]}
    deal = {"id": "d1", "fields": {"title": "Big"}, "updated_at": stamp, "with": tied}
    api.others["/companies"] += sorted([company, *others], key=lambda row: str(row["id"]))
    api.others["/deals"].append(deal)
    api.others["/users"].append({"id": "u1", "email": COLLEAGUE, "name": "Kim", "team": None, "active": True})
    told = (
        {"kind": "call", "human": True, "by": "u1", "outcome": "no_answer"},
        {"kind": "click", "campaign": "Spring"},
        {"kind": "open", "human": False},
    )
    ids = [api.act(**row) for row in told]  # type: ignore[arg-type]
    at, who = [START + timedelta(hours=n) for n in range(3)], Ref(api.ids[0])
    acts = (
        Act(ids[0], who, Doing.CALL, at[0], human=True, by=Ref("u1"), outcome=Ending.NO_ANSWER),
        Act(ids[1], who, Doing.CLICK, at[1], campaign="Spring"),
        Act(ids[2], who, Doing.OPEN, at[2], human=False),
    )
    return Around(company="c1", deal="d1", colleague="u1", acts=acts, later=lambda: api.act("form"))


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
    around=around,
    company_name="name",
    notes=lambda api, id_: [n["text"] for n in api.notes.values() if n["person"] == id_],
)
