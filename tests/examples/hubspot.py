"""HubSpot by example: its contact API over a dict, one delivery, and what the conformance suite needs to know."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import respx

from connectors import _hubspot_hooks as hooks
from connectors._http import Http
from connectors.contract import Action, Delivery, Event, Kind, Limits, Ref
from connectors.hubspot import HubSpot
from sandbox.hubspot_objects import Objects
from tests.examples.hubspot_around import around, around_answer, notes
from tests.stage import Example, Seed

OBJECTS = "/crm/v3/objects/contacts"
NOW = datetime(2026, 3, 2, 12, 0, 0, tzinfo=UTC)
STAGES = ("subscriber", "lead", "customer")

_GONE = {"status": "error", "category": "OBJECT_NOT_FOUND", "message": "Could not get some CONTACT objects"}


def ms(moment: datetime) -> int:
    """Epoch milliseconds."""
    return int(moment.timestamp() * 1000)


def iso(stamp: int) -> str:
    """HubSpot's way to write a time."""
    moment = datetime.fromtimestamp(stamp // 1000, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S") + f".{stamp % 1000:03}Z"


def error(status: int, message: str = "", **more: Any) -> httpx.Response:
    """An error of HubSpot's."""
    body = {"status": "error", "message": message, "correlationId": "0f00-c0de", **more}
    return httpx.Response(status, json=body)


class FakeHubSpot:
    """The contact endpoints: caps, page sizes, merged ids and partial failures as documented, little validation.

    ``page`` and ``cap``: rows of one search and of all its pages; smaller than HubSpot's own for short walks.
    """

    def __init__(self, seeds: Sequence[Seed] = (), *, page: int = 200, cap: int = 10_000) -> None:
        self.rows: dict[str, dict[str, Any]] = {}
        self.merged: dict[str, str] = {}  # old id -> id it lives on in
        self.calls: list[tuple[str, str, Any]] = []
        self.trouble: dict[str, Callable[[Any], httpx.Response | None]] = {}  # path ending -> answer instead
        self.after_search: Callable[[], None] = lambda: None
        self.silent = True  # batch updates leave out merged ids without a word; else they call them missing
        self.page, self.cap = page, cap
        self.now = NOW
        self.transport: httpx.BaseTransport | None = None
        for n, seed in enumerate(seeds):
            id_ = 5000 - n  # ids do not follow the times
            self.add(id_, ms(seed.modified), email=seed.email, firstname=seed.text, lastname=seed.other)
            self.now = max(self.now, seed.modified + timedelta(seconds=1))
        self.ids: Sequence[str] = list(self.rows)
        self.objects = Objects(self.tick, lambda id_: str(id_) in self.living())
        self.owners: list[dict[str, Any]] = []

    # --- what happens at HubSpot --------------------------------------------------------------------------------------

    def add(self, id_: int, stamp: int = 0, *, archived: bool = False, **properties: str | None) -> None:
        """A contact appears."""
        stamp = stamp if stamp else ms(NOW) - 86_400_000
        known = {"hs_object_id": str(id_), "lastmodifieddate": iso(stamp), "createdate": iso(stamp), **properties}
        self.rows[str(id_)] = {"stamp": stamp, "archived": archived, "properties": known}

    def change(self, id_: str, stamp: int, **properties: str | None) -> None:
        """A contact changes."""
        row = self.rows[id_]
        row["stamp"] = stamp
        row["properties"] |= {"lastmodifieddate": iso(stamp), **properties}

    def touch(self, id: str, at: datetime) -> None:  # noqa: A002
        """See tests.stage.Vendor."""
        self.change(id, ms(at), jobtitle="touched")
        self.now = max(self.now, at + timedelta(seconds=1))

    def emails(self) -> Sequence[str]:
        """See tests.stage.Vendor."""
        return [self.rows[i]["properties"].get("email") or "" for i in self.living()]

    def living(self) -> list[str]:
        """Ids that are not archived."""
        return [i for i, row in self.rows.items() if not row["archived"]]

    def tick(self) -> int:
        """The time of a write; the clock moves on."""
        stamp = ms(self.now)
        self.now += timedelta(seconds=1)
        return stamp

    # --- the wire -----------------------------------------------------------------------------------------------------

    def __call__(self, request: httpx.Request) -> httpx.Response:
        """Answer one request."""
        body = json.loads(request.content) if request.content else dict(request.url.params)
        path = request.url.path
        self.calls.append((request.method, path, body))
        assert request.headers["authorization"].startswith("Bearer ")
        for ending, trouble in self.trouble.items():
            if path.endswith(ending) and (response := trouble(body)) is not None:
                return response
        response = self._answer(request.method, path, body)
        response.headers["date"] = self.now.strftime("%a, %d %b %Y %H:%M:%S GMT")
        return response

    def _answer(self, method: str, path: str, body: Any) -> httpx.Response:
        if path == "/account-info/v3/details":
            return httpx.Response(200, json={"portalId": 4711, "accountType": "STANDARD", "timeZone": "Europe/Berlin"})
        if path == "/crm/v3/properties/contacts":
            return httpx.Response(200, json={"results": PROPERTIES})
        if (found := around_answer(self.objects, self.owners, method, path, body)) is not None:
            return found
        tail = path.removeprefix(OBJECTS)
        known: dict[tuple[str, str], Callable[[Any], httpx.Response]] = {
            ("GET", ""): self.list,
            ("POST", "/search"): self.search,
            ("POST", "/batch/read"): self.batch_read,
            ("POST", "/batch/create"): self.create,
            ("POST", "/batch/update"): self.update,
            ("POST", "/batch/archive"): self.archive,
            ("POST", "/gdpr-delete"): self.erase,
            ("POST", "/merge"): self.merge,
        }
        if (handler := known.get((method, tail))) is not None:
            return handler(body)
        assert tail[1:].isdigit(), path
        return self.single(method, tail[1:], body)

    def out(self, id_: str, names: Sequence[str]) -> dict[str, Any]:
        """One contact in an answer: what was asked for, null where it has no value."""
        row = self.rows[id_]
        wanted = {n: row["properties"].get(n) for n in [*names, "hs_object_id", "lastmodifieddate", "createdate"]}
        return {"id": id_, "properties": wanted, "updatedAt": iso(row["stamp"]), "archived": row["archived"]}

    def list(self, body: Any) -> httpx.Response:
        """All living contacts, by id."""
        limit = min(int(body["limit"]), self.page, 100)
        ids = sorted((i for i in self.living() if int(i) >= int(body.get("after", 0))), key=int)
        answer: dict[str, Any] = {"results": [self.out(i, body["properties"].split(",")) for i in ids[:limit]]}
        if ids[limit:]:
            answer["paging"] = {"next": {"after": ids[limit]}}
        return httpx.Response(200, json=answer)

    def search(self, body: Any) -> httpx.Response:
        """Filters, one order, offset paging with a cap."""
        assert set(body) == {"filterGroups", "sorts", "properties", "limit", "after"}
        assert len(json.dumps(body)) <= 3000
        assert body["limit"] <= 200
        limit, offset = min(body["limit"], self.page), int(body["after"])
        if offset + limit > self.cap:
            return error(400, "a search gives 10,000 rows at most", category="VALIDATION_ERROR")
        groups = body["filterGroups"]
        found = [i for i in self.living() if not groups or any(self._fits(i, g["filters"]) for g in groups)]
        for sort in body["sorts"]:
            found.sort(key=lambda i: self._key(i, sort["propertyName"]), reverse=sort["direction"] == "DESCENDING")
        page = found[offset : offset + limit]
        answer: dict[str, Any] = {"total": len(found), "results": [self.out(i, body["properties"]) for i in page]}
        if len(found) > offset + limit:
            answer["paging"] = {"next": {"after": str(offset + limit)}}
        self.after_search()
        return httpx.Response(200, json=answer)

    def _key(self, id_: str, name: str) -> Any:
        row = self.rows[id_]
        if name == "lastmodifieddate":
            return row["stamp"]
        value = row["properties"].get(name)
        return int(id_) if name == "hs_object_id" else value if value else ""

    def _fits(self, id_: str, filters: Sequence[dict[str, Any]]) -> bool:
        return all(self._fit(self._key(id_, rule["propertyName"]), rule) for rule in filters)

    def _fit(self, value: Any, rule: dict[str, Any]) -> bool:
        match rule["operator"]:
            case "GTE":
                return bool(value >= int(rule["value"]))
            case "LTE":
                return bool(value <= int(rule["value"]))
            case "GT":
                return bool(value > int(rule["value"]))
            case "EQ":
                return str(value).lower() == rule["value"].lower()
            case "IN":  # on an enumeration case counts
                return bool(set(value.split(";")) & set(rule["values"]))
        raise AssertionError(rule)

    def batch_read(self, body: Any) -> httpx.Response:
        """By id or unique property; ids that were merged away are unknown here."""
        asked = [i["id"] for i in body["inputs"]]
        assert len(asked) <= 100
        assert len(asked) == len(set(asked))
        if (key := body.get("idProperty")) is None:
            ids = [i for i in asked if i in self.rows and not self.rows[i]["archived"]]
        else:
            ids = [i for i in self.living() if (self.rows[i]["properties"].get(key) or "").lower() in asked]
        results = [self.out(i, body["properties"]) for i in ids]
        whole = len(ids) == len(asked)
        answer = {"status": "COMPLETE", "results": results, "errors": [] if whole else [{**_GONE, "context": {}}]}
        return httpx.Response(200 if whole else 207, json=answer)

    def single(self, method: str, id_: str, body: Any) -> httpx.Response:
        """One contact; ids that were merged away lead to the one they live on in."""
        id_ = self.merged.get(id_, id_)
        if id_ not in self.rows or self.rows[id_]["archived"]:
            return error(404, "resource not found", category="OBJECT_NOT_FOUND")
        if method == "GET":
            return httpx.Response(200, json=self.out(id_, body["properties"].split(",")))
        assert method == "PATCH"
        if (refusal := self._refusal(body["properties"], own=id_)) is not None:
            return error(409 if refusal["category"] == "CONFLICT" else 400, **refusal)
        self.change(id_, self.tick(), **_kept(body["properties"]))
        return httpx.Response(200, json=self.out(id_, list(body["properties"])))

    def create(self, body: Any) -> httpx.Response:
        """Row by row where each has a trace id; the answer is not in the order of the inputs."""
        results: list[dict[str, Any]] = []
        errors: list[dict[str, Any]] = []
        for entry in body["inputs"]:
            trace = {"objectWriteTraceId": [entry["objectWriteTraceId"]]}
            if (refusal := self._refusal(entry["properties"])) is not None:
                errors.append({"status": "error", **refusal, "context": trace})
                continue
            new = 9000 + len(self.rows)
            self.add(new, self.tick(), **_kept(entry["properties"]))
            results.insert(0, self.out(str(new), list(entry["properties"])))
        return httpx.Response(207 if errors else 201, json={"results": results, "errors": errors})

    def update(self, body: Any) -> httpx.Response:
        """A bad value refuses all; a missing id is an error of its row; one that was merged away is left out."""
        asked = [i["id"] for i in body["inputs"]]
        assert len(asked) == len(set(asked)), "Duplicate IDs found in batch input"
        for entry in body["inputs"]:
            if (refusal := self._refusal(entry["properties"], own=entry["id"])) is not None:
                return error(409 if refusal["category"] == "CONFLICT" else 400, **refusal)
        results, errors = [], []
        for entry in body["inputs"]:
            if entry["id"] in self.rows and not self.rows[entry["id"]]["archived"]:
                self.change(entry["id"], self.tick(), **_kept(entry["properties"]))
                results.append(self.out(entry["id"], list(entry["properties"])))
            elif entry["id"] not in self.merged or not self.silent:
                context = {"objectWriteTraceId": [entry["objectWriteTraceId"]], "ids": [entry["id"]]}
                errors.append({**_GONE, "context": context})
        return httpx.Response(207 if errors else 200, json={"results": results, "errors": errors})

    def archive(self, body: Any) -> httpx.Response:
        """Says nothing about unknown ids."""
        for entry in body["inputs"]:
            if entry["id"] in self.rows:
                self.rows[entry["id"]]["archived"] = True
        return httpx.Response(204)

    def erase(self, body: Any) -> httpx.Response:
        """For good, from the archive too."""
        self.rows.pop(body["objectId"], None)
        return httpx.Response(204)

    def merge(self, body: Any) -> httpx.Response:
        """Into a record with an id of its own, to which both old ones lead from then on."""
        assert set(body) == {"primaryObjectId", "objectIdToMerge"}
        winner, loser = (self.merged.get(i, i) for i in (body["primaryObjectId"], body["objectIdToMerge"]))
        if not {winner, loser} <= set(self.living()):
            return error(404, "resource not found", category="OBJECT_NOT_FOUND")
        if winner == loser:
            return error(400, "Cannot merge a contact with itself", category="VALIDATION_ERROR")
        new = str(7000 + len(self.merged))
        kept, gone = self.rows.pop(winner)["properties"], self.rows.pop(loser)["properties"]
        former = [i for p in (kept, gone) for i in (p.get("hs_merged_object_ids") or "").split(";") if i]
        self.merged |= dict.fromkeys([winner, loser, *former], new)
        more = [a for p in (kept, gone) for a in (p.get("hs_additional_emails") or "").split(";") if a]
        found = {**gone, **kept, "hs_object_id": new, "hs_merged_object_ids": ";".join([winner, loser, *former])}
        self.add(int(new), self.tick(), **{**found, "hs_additional_emails": ";".join([*more, gone.get("email") or ""])})
        return httpx.Response(200, json=self.out(new, ["email", "firstname", "lastname"]))

    def _refusal(self, properties: dict[str, str], own: str = "") -> dict[str, Any] | None:
        email, stage = properties.get("email", "").lower(), properties.get("lifecyclestage", "")
        if email and "@" not in email:
            return _invalid("email", "INVALID_EMAIL", f"Email address {email} is invalid")
        if stage and stage not in STAGES:
            return _invalid("lifecyclestage", "INVALID_OPTION", f"{stage} was not one of the allowed options")
        for id_ in self.living():
            known = self.rows[id_]["properties"]
            theirs = {known.get("email") or "", *(known.get("hs_additional_emails") or "").split(";")}
            if email and id_ != own and email in theirs:
                return {"category": "CONFLICT", "message": f"Contact already exists. Existing ID: {id_}"}
        return None

    def paths(self) -> Sequence[str]:
        """The calls so far."""
        return [f"{method} {path.removeprefix(OBJECTS)}" for method, path, _ in self.calls]


def _invalid(name: str, code: str, message: str) -> dict[str, Any]:
    inner = [{"isValid": False, "message": message, "error": code, "name": name, "localizedErrorMessage": message}]
    return {"category": "VALIDATION_ERROR", "message": f"Property values were not valid: {json.dumps(inner)}"}


def _kept(properties: dict[str, str]) -> dict[str, str]:
    """HubSpot keeps addresses in lower case."""
    return {n: v.lower() if n == "email" else v for n, v in properties.items()}


PROPERTIES = [
    {"name": "email", "label": "Email", "type": "string", "options": []},
    {"name": "firstname", "label": "First name", "type": "string", "options": []},
    {"name": "lastname", "label": "Last name", "type": "string", "options": []},
    {"name": "jobtitle", "label": "Job title", "type": "string", "options": []},
    {"name": "num_employees", "label": "Employees", "type": "number", "options": []},
    {"name": "newsletter", "label": "Newsletter", "type": "bool", "options": [{"value": "true"}, {"value": "false"}]},
    {"name": "score", "label": "Score", "type": "number", "calculated": True},
    {"name": "createdate", "label": "Created", "type": "datetime", "modificationMetadata": {"readOnlyValue": True}},
    {
        "name": "lifecyclestage",
        "label": "Stage",
        "type": "enumeration",
        "options": [{"label": s.title(), "value": s} for s in STAGES],
    },
]


TOKEN = "pat-eu1-0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9"
SECRET = "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0"
SETTINGS = {"access_token": TOKEN, "client_secret": SECRET, "properties": "firstname, lastname,jobtitle"}


def mocked() -> FakeHubSpot:
    """A fake that can be called over its ``transport``."""
    fake = FakeHubSpot()
    router = respx.MockRouter(assert_all_called=False)
    router.route(host="api.hubapi.com").mock(side_effect=fake)
    fake.transport = httpx.MockTransport(router.handler)
    return fake


def connect(transport: httpx.BaseTransport | None = None, **settings: str) -> HubSpot:
    """Without rates: nothing waits.  Without a transport: nothing may be called."""
    own = {**SETTINGS, **settings}
    http = Http(
        base_url=HubSpot.base_url(own),
        hosts=HubSpot.hosts,
        limits=Limits(read_batch=100, find_batch=100, write_batch=100),
        headers=HubSpot.headers(own),
        transport=transport if transport is not None else httpx.MockTransport(respx.MockRouter().handler),
    )
    return HubSpot(own, http)


# --- deliveries -------------------------------------------------------------------------------------------------------

URL = "https://tandem.example/webhooks/hubspot?from=hub%2Fspot"


def sign(body: bytes, at: datetime, secret: str) -> Delivery:
    """A delivery as HubSpot signs it today."""
    stamp = str(ms(at))
    text = b"POST" + URL.replace("%2F", "/").encode() + body + stamp.encode()
    proof = base64.b64encode(hmac.new(secret.encode(), text, hashlib.sha256).digest()).decode()
    headers = {
        "content-type": "application/json",
        "x-hubspot-signature-v3": proof,
        "x-hubspot-request-timestamp": stamp,
    }
    return Delivery("POST", URL, headers, body, at)


def _body(*rows: dict[str, Any], attempt: int = 0, occurred: int = 1_772_440_200_500) -> bytes:
    common = {"eventId": 1, "subscriptionId": 25, "portalId": 33, "appId": 1160452, "changeSource": "CRM_UI"}
    return json.dumps([{**common, "occurredAt": occurred, "attemptNumber": attempt, **row} for row in rows]).encode()


_CHANGED = {
    "subscriptionType": "contact.propertyChange",
    "objectId": 501,
    "propertyName": "firstname",
    "propertyValue": "Zuzanaq",
}
_ROWS = (
    _CHANGED,
    {"subscriptionType": "contact.creation", "objectId": 502, "changeFlag": "NEW"},
    {"eventType": "contact.deletion", "objectId": 503},
    {
        "subscriptionType": "contact.merge",
        "primaryObjectId": 504,
        "mergedObjectIds": [505],
        "newObjectId": 504,
        "numberOfPropertiesMoved": 3,
    },
    {"subscriptionType": "contact.privacyDeletion", "objectId": 506},
)
_AT = datetime(2026, 3, 2, 8, 30, 0, 500_000, tzinfo=UTC)
_WHAT = (Action.CHANGED, Action.CHANGED, Action.DELETED, Action.MERGED, Action.ERASED)


def _events() -> tuple[Event, ...]:
    keys = [event.dedupe for event in hooks.events(_body(*_ROWS))]
    return tuple(
        Event(Kind.CONTACT, what, Ref(str(id_)), key, _AT, ("505",) if what is Action.MERGED else ())
        for what, id_, key in zip(_WHAT, (501, 502, 503, 504, 506), keys, strict=True)
    )


HUBSPOT = Example(
    settings={"access_token": TOKEN, "client_secret": SECRET, "company_properties": "name"},
    vendor=lambda seeds: FakeHubSpot(seeds, page=20, cap=100),
    email_field="email",
    text_field="firstname",
    other_field="lastname",
    secret="client_secret",
    sign=sign,
    body=_body(*_ROWS),
    events=_events(),
    unknown=_body({"subscriptionType": "ticket.creation", "objectId": 1}),
    around=around,
    company_name="name",
    notes=notes,
    other=_body(_CHANGED, occurred=1_772_440_200_501),
    retried=_body(*_ROWS, attempt=1),
    proof=("x-hubspot-signature-v3", "x-hubspot-request-timestamp"),
    tolerance=hooks.TOLERANCE,
    secrets_apart=",",
    missing="999999",
    bad={"lifecyclestage": "nonsense"},
    falsy={"num_employees": "0", "newsletter": "false"},
    error=lambda status, text: error(status, text, category="VALIDATION_ERROR"),
    wire=lambda id_: [("PATCH", f"{OBJECTS}/{id_}", {"properties": {"firstname": "Changed"}})],
    options={"lifecyclestage": STAGES},
)
