"""HubSpot's connector against HubSpot's published signatures, a small fake of its contact API, and its error shapes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
import respx

from connectors import _hubspot_hooks as hooks
from connectors import _hubspot_walk as walk
from connectors._http import Http
from connectors.contract import (
    Action,
    Delivery,
    Done,
    Exists,
    Failed,
    Gone,
    Kind,
    Limits,
    NeedsHuman,
    Order,
    Receipt,
    Record,
    Ref,
    Refused,
    TryLater,
    Unreadable,
    Untrusted,
    Verb,
)
from connectors.hubspot import HubSpot

BASE = "https://api.hubapi.com"
TOKEN = "pat-na1-0a1b2c3d-secret"
SECRET = "yyyyyyyy-yyyy-yyyy-yyyy-yyyyyyyyyyyy"  # HubSpot's own, in the published examples
SETTINGS = {"access_token": TOKEN, "client_secret": SECRET, "properties": "firstname, lastname,jobtitle"}
URL = "https://www.example.com/webhook_uri"
NOW = datetime(2026, 3, 2, 12, 0, 0, tzinfo=UTC)
DATE = "Mon, 02 Mar 2026 12:00:00 GMT"
OBJECTS = "/crm/v3/objects/contacts"


def ms(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


def iso(stamp: int) -> str:
    moment = datetime.fromtimestamp(stamp // 1000, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S") + f".{stamp % 1000:03}Z"


class FakeHubSpot:
    """The contact endpoints over a dict: caps, page sizes and merged ids as documented, no validation beyond need."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[str, Any]] = {}
        self.merged: dict[str, str] = {}  # old id -> id it lives on in
        self.calls: list[tuple[str, str, Any]] = []
        self.trouble: dict[str, Callable[[Any], httpx.Response | None]] = {}  # path ending -> answer instead
        self.after_search: Callable[[], None] = lambda: None
        self.now = NOW

    def add(self, id_: int, stamp: int = 0, *, archived: bool = False, **properties: str | None) -> None:
        stamp = stamp if stamp else ms(NOW) - 86_400_000
        known = {"hs_object_id": str(id_), "lastmodifieddate": iso(stamp), "createdate": iso(stamp), **properties}
        self.rows[str(id_)] = {"stamp": stamp, "archived": archived, "properties": known}

    def touch(self, id_: int, stamp: int, **properties: str | None) -> None:
        row = self.rows[str(id_)]
        row["stamp"] = stamp
        row["properties"] |= {"lastmodifieddate": iso(stamp), **properties}

    def out(self, id_: str, names: list[str]) -> dict[str, Any]:
        row = self.rows[id_]
        always = ("hs_object_id", "lastmodifieddate", "createdate")
        wanted = {n: row["properties"].get(n) for n in [*names, *always]}
        return {"id": id_, "properties": wanted, "updatedAt": iso(row["stamp"]), "archived": row["archived"]}

    def __call__(self, request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content) if request.content else dict(request.url.params)
        path = request.url.path
        self.calls.append((request.method, path, body))
        for ending, answer in self.trouble.items():
            if path.endswith(ending) and (response := answer(body)) is not None:
                return response
        tail = path.removeprefix(OBJECTS)
        handler = {"": self.list, "/search": self.search, "/batch/read": self.batch_read}.get(tail)
        if handler is None and tail.startswith("/batch/"):
            handler = {"create": self.create, "update": self.update, "archive": self.archive}[tail.rpartition("/")[2]]
        response = handler(body) if handler else self.single(request.method, tail[1:], body)
        response.headers["date"] = self.now.strftime("%a, %d %b %Y %H:%M:%S GMT")
        return response

    def living(self) -> list[str]:
        return [i for i, row in self.rows.items() if not row["archived"]]

    def list(self, body: Any) -> httpx.Response:
        limit = int(body["limit"])
        ids = sorted((i for i in self.living() if int(i) >= int(body.get("after", 0))), key=int)
        names = body["properties"].split(",")
        answer: dict[str, Any] = {"results": [self.out(i, names) for i in ids[:limit]]}
        if ids[limit:]:
            answer["paging"] = {"next": {"after": ids[limit]}}
        return httpx.Response(200, json=answer)

    def search(self, body: Any) -> httpx.Response:
        assert set(body) == {"filterGroups", "sorts", "properties", "limit", "after"}
        assert len(json.dumps(body)) <= 3000
        assert body["limit"] <= 200
        offset = int(body["after"])
        if offset + body["limit"] > 10_000:
            return httpx.Response(400, json={"status": "error", "category": "VALIDATION_ERROR", "message": "10000"})
        groups = body["filterGroups"]
        found = [i for i in self.living() if not groups or any(self.fits(i, g["filters"]) for g in groups)]
        for sort in body["sorts"]:
            found.sort(key=lambda i: self.key(i, sort["propertyName"]), reverse=sort["direction"] == "DESCENDING")
        page = found[offset : offset + body["limit"]]
        answer: dict[str, Any] = {"total": len(found), "results": [self.out(i, body["properties"]) for i in page]}
        if len(found) > offset + body["limit"]:
            answer["paging"] = {"next": {"after": str(offset + body["limit"])}}
        self.after_search()
        return httpx.Response(200, json=answer)

    def key(self, id_: str, name: str) -> Any:
        row = self.rows[id_]
        if name == "lastmodifieddate":
            return row["stamp"]
        value = row["properties"].get(name)
        return int(id_) if name == "hs_object_id" else value if value else ""

    def fits(self, id_: str, filters: list[dict[str, Any]]) -> bool:
        return all(self.fit(self.key(id_, rule["propertyName"]), rule) for rule in filters)

    def fit(self, value: Any, rule: dict[str, Any]) -> bool:
        match rule["operator"]:
            case "GTE":
                return bool(value >= int(rule["value"]))
            case "LTE":
                return bool(value <= int(rule["value"]))
            case "GT":
                return bool(value > int(rule["value"]))
            case "EQ":
                return str(value).lower() == rule["value"].lower()
            case "IN":  # an enumeration: case counts
                return bool(set(value.split(";")) & set(rule["values"]))
        raise AssertionError(rule)

    def batch_read(self, body: Any) -> httpx.Response:
        asked = [i["id"] for i in body["inputs"]]
        assert len(asked) <= 100
        assert len(asked) == len(set(asked))
        if (key := body.get("idProperty")) is None:
            ids = [i for i in asked if i in self.rows and not self.rows[i]["archived"]]
        else:
            ids = [i for i in self.living() if (self.rows[i]["properties"].get(key) or "").lower() in asked]
        results = [self.out(i, body["properties"]) for i in ids]
        missing = {"status": "error", "category": "OBJECT_NOT_FOUND", "message": "Could not get some", "context": {}}
        whole = len(ids) == len(asked)
        return httpx.Response(200 if whole else 207, json={"results": results, "errors": [] if whole else [missing]})

    def single(self, method: str, id_: str, body: Any) -> httpx.Response:
        id_ = self.merged.get(id_, id_)
        if id_ not in self.rows or self.rows[id_]["archived"]:
            return httpx.Response(404, json={"status": "error", "category": "OBJECT_NOT_FOUND", "message": "not found"})
        if method == "PATCH":
            self.rows[id_]["properties"] |= body["properties"]
            return httpx.Response(200, json=self.out(id_, list(body["properties"])))
        return httpx.Response(200, json=self.out(id_, body["properties"].split(",")))

    def create(self, body: Any) -> httpx.Response:
        results: list[dict[str, Any]] = []
        errors = []
        for entry in body["inputs"]:
            mine = entry["properties"].get("email", "").lower()
            twin = [i for i in self.living() if mine and (self.rows[i]["properties"].get("email") or "") == mine]
            if twin:
                said = {"message": f"Contact already exists. Existing ID: {twin[0]}", "category": "CONFLICT"}
                errors.append(
                    {**said, "status": "error", "context": {"objectWriteTraceId": [entry["objectWriteTraceId"]]}}
                )
                continue
            new = 9000 + len(self.rows)
            self.add(new, ms(self.now), **{**entry["properties"], **({"email": mine} if mine else {})})
            results.insert(0, self.out(str(new), list(entry["properties"])))  # not in the order of the inputs
        return httpx.Response(207 if errors else 201, json={"results": results, "errors": errors})

    def update(self, body: Any) -> httpx.Response:
        asked = [i["id"] for i in body["inputs"]]
        assert len(asked) == len(set(asked)), "Duplicate IDs found in batch input"
        results, errors = [], []
        for entry in body["inputs"]:
            if entry["id"] in self.rows and not self.rows[entry["id"]]["archived"]:
                self.touch(int(entry["id"]), ms(self.now), **entry["properties"])
                results.append(self.out(entry["id"], list(entry["properties"])))
            elif entry["id"] not in self.merged:  # merged ones are left out in silence
                context = {"objectWriteTraceId": [entry["objectWriteTraceId"]], "ids": [entry["id"]]}
                errors.append(
                    {"status": "error", "category": "OBJECT_NOT_FOUND", "message": "gone", "context": context}
                )
        return httpx.Response(207 if errors else 200, json={"results": results, "errors": errors})

    def archive(self, body: Any) -> httpx.Response:
        for entry in body["inputs"]:
            if entry["id"] in self.rows:
                self.rows[entry["id"]]["archived"] = True
        return httpx.Response(204)

    def paths(self) -> list[str]:
        return [f"{method} {path.removeprefix(OBJECTS)}" for method, path, _ in self.calls]


def connect(**settings: str) -> HubSpot:
    """Without rates: nothing waits."""
    limits = Limits(read_batch=100, find_batch=100, write_batch=100)
    own = {**SETTINGS, **settings}
    http = Http(base_url=HubSpot.base_url(own), hosts=HubSpot.hosts, limits=limits, headers=HubSpot.headers(own))
    return HubSpot(own, http)


@pytest.fixture
def api() -> Iterator[FakeHubSpot]:
    fake = FakeHubSpot()
    with respx.mock(assert_all_called=False) as router:
        router.route(host="api.hubapi.com").mock(side_effect=fake)
        yield fake


@pytest.fixture
def hubspot(api: FakeHubSpot) -> HubSpot:
    return connect()


# --- deliveries -------------------------------------------------------------------------------------------------------

BODY = b"{'example_field':'example_value'}"
EVENT = (
    b'[{"eventId":1,"subscriptionId":12345,"portalId":62515,"occurredAt":1564113600000,"subscriptionType":'
    b'"contact.creation","attemptNumber":0,"objectId":123,"changeSource":"CRM","changeFlag":"NEW","appId":54321}]'
)


@pytest.mark.parametrize(
    ("version", "method", "body", "stamp", "expected"),
    [  # github.com/HubSpot/hubspot-api-python and hubspot-api-php, tests of the signature class
        ("v1", "POST", BODY, "", "69fc6631a867edd4f9e9e627fc5c1148e3fbdd8b21837b6d2b8901c1fa57f750"),
        ("v2", "POST", BODY, "", "4fe4e3a7d3cf09db53be39d0a58130e2aaba074ec123a9e355b876a689a1c383"),
        ("v2", "GET", b"", "", "eee2dddcc73c94d699f5e395f4b9d454a069a6855fbfa152e91e88823087200e"),
        ("v3", "POST", BODY, "1693657560000", "K36dawei4A+QBNolUOqo7s91KQDWQ5MXZ/QufNYuk/Y="),
        (
            "v2",
            "POST",
            b'{"example_field":"example_value"}',
            "",
            "9569219f8ba981ffa6f6f16aa0f48637d35d728c7e4d93d0d52efaa512af7900",
        ),
        ("v1", "POST", EVENT, "", "232db2615f3d666fe21a8ec971ac7b5402d33b9a925784df3ca654d05f4817de"),
    ],
)
def test_published_signatures_hold(version: str, method: str, body: bytes, stamp: str, expected: str) -> None:
    """Every signature that HubSpot publishes is made, and accepted, here."""
    assert hooks.sign(version, SECRET, method, URL, body, stamp) == expected
    received = datetime.fromtimestamp(int(stamp) / 1000, UTC) if stamp else NOW
    headers = (
        {"x-hubspot-signature-v3": expected, "x-hubspot-request-timestamp": stamp}
        if version == "v3"
        else {"x-hubspot-signature": expected, "x-hubspot-signature-version": version}
    )
    hooks.verify(Delivery(method, URL, headers, body, received), [SECRET])
    for spoiled in (Delivery(method, URL, headers, body + b" ", received),):
        with pytest.raises(Untrusted):
            hooks.verify(spoiled, [SECRET])


def delivery(
    body: bytes | list[Any] | dict[str, Any],
    *,
    secret: str = SECRET,
    version: str = "v3",
    url: str = URL,
    signed_url: str | None = None,
    age: timedelta = timedelta(0),
    **headers: str | None,
) -> Delivery:
    """A delivery signed as HubSpot would; headers override (None takes one away), underscores for dashes."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    stamp = str(ms(NOW - age))
    signature = hooks.sign(version, secret, "POST", signed_url if signed_url is not None else url, raw, stamp)
    own: dict[str, str | None] = (
        {"x-hubspot-signature-v3": signature, "x-hubspot-request-timestamp": stamp}
        if version == "v3"
        else {"x-hubspot-signature": signature, "x-hubspot-signature-version": version}
    )
    own |= {name.replace("_", "-"): value for name, value in headers.items()}
    return Delivery("POST", url, {k: v for k, v in own.items() if v is not None}, raw, NOW)


@pytest.mark.parametrize(
    "good",
    [
        pytest.param(delivery(EVENT), id="v3"),
        pytest.param(delivery(EVENT, version="v1"), id="v1 alone"),
        pytest.param(delivery(EVENT, version="v2"), id="v2 alone"),
        pytest.param(delivery(EVENT, age=timedelta(seconds=300)), id="five minutes old"),
        pytest.param(delivery(EVENT, age=timedelta(seconds=-300)), id="five minutes ahead"),
        pytest.param(delivery(EVENT, version="v1", age=timedelta(days=9)), id="v1 carries no time"),
        pytest.param(delivery(EVENT, secret="old"), id="the old secret while rotating"),
        pytest.param(
            delivery(EVENT, url=URL + "?to=a%40b%2Fc&x=1%2c2%20", signed_url=URL + "?to=a@b/c&x=1,2%20"),
            id="signed over the decoded URL",
        ),
        pytest.param(delivery(EVENT, url=URL + "?to=a%40b"), id="signed over the URL as called"),
    ],
)
def test_what_hubspot_signed_is_accepted(good: Delivery) -> None:
    """A good signature of any version, with any of the secrets, lets the event in."""
    received = connect(client_secret=f"{SECRET}, old").receive(good)
    assert [e.ref for e in received.events] == [Ref("123")]
    assert 200 <= received.answer.status < 300


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(delivery(EVENT, secret="wrong"), id="another secret"),
        pytest.param(delivery(EVENT, secret=f"{SECRET}, old"), id="the setting taken as one secret"),
        pytest.param(delivery(EVENT, age=timedelta(seconds=301)), id="too old"),
        pytest.param(delivery(EVENT, age=timedelta(seconds=-301)), id="from the future"),
        pytest.param(delivery(EVENT, x_hubspot_request_timestamp=None), id="no timestamp"),
        pytest.param(delivery(EVENT, x_hubspot_request_timestamp="now"), id="timestamp of words"),
        pytest.param(delivery(EVENT, x_hubspot_request_timestamp="9" * 40), id="timestamp of another age"),
        pytest.param(delivery(EVENT, x_hubspot_request_timestamp=str(ms(NOW) + 1)), id="timestamp not the signed one"),
        pytest.param(delivery(EVENT, x_hubspot_signature_v3=None), id="no signature"),
        pytest.param(delivery(EVENT, x_hubspot_signature_v3=""), id="empty signature"),
        pytest.param(delivery(EVENT, x_hubspot_signature_v3="ü\udce4"), id="signature outside ASCII"),
        pytest.param(delivery(EVENT, url=URL + "2", signed_url=URL), id="another URL"),
        pytest.param(delivery(EVENT, version="v2", url=URL + "2", signed_url=URL), id="another URL, v2"),
        pytest.param(delivery(EVENT, version="v1", x_hubspot_signature_version="v9"), id="unknown version"),
        pytest.param(delivery(EVENT, version="v1", x_hubspot_signature_version=None), id="no version"),
        pytest.param(delivery(EVENT, version="v1", x_hubspot_signature_version="v2"), id="v1 called v2"),
        pytest.param(
            delivery(EVENT, version="v1", x_hubspot_signature_v3="x", x_hubspot_request_timestamp=str(ms(NOW))),
            id="v3 decides alone where it is present",
        ),
    ],
)
def test_what_hubspot_did_not_sign_is_untrusted(bad: Delivery) -> None:
    """Anything spoiled or missing is Untrusted, never another error, and says no secret."""
    with pytest.raises(Untrusted) as caught:
        connect(client_secret=f"{SECRET}, old").receive(bad)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("body", [b"\xff\xfe", b"", b"{", b"7", b'"x"', b"[1]", b'[{"a":1}]', b"{}", b"[" * 99_999])
def test_signed_nonsense_is_unreadable(body: bytes) -> None:
    """What is trusted but makes no sense is Unreadable."""
    with pytest.raises(Unreadable):
        connect().receive(delivery(body))


def event(type_: str, **more: Any) -> dict[str, Any]:
    common = {"eventId": 7, "subscriptionId": 25, "portalId": 33, "appId": 11, "occurredAt": 1735689600123}
    return {**common, "subscriptionType": type_, "attemptNumber": 0, "changeSource": "CRM_UI", **more}


@pytest.mark.parametrize(
    ("row", "action", "id_", "losers"),
    [
        (event("contact.creation", objectId=1), Action.CHANGED, "1", ()),
        (event("contact.propertyChange", objectId="2", propertyName="a", propertyValue="b"), Action.CHANGED, "2", ()),
        (event("contact.deletion", objectId=3), Action.DELETED, "3", ()),
        (event("contact.restore", objectId=4), Action.RESTORED, "4", ()),
        (event("contact.privacyDeletion", objectId=5), Action.ERASED, "5", ()),
        (
            event("contact.merge", primaryObjectId=6, mergedObjectIds=[7, 8], newObjectId=6),
            Action.MERGED,
            "6",
            ("7", "8"),
        ),
        (event("contact.merge", primaryObjectId=6, mergedObjectIds=[7], newObjectId=9), Action.MERGED, "9", ("7", "6")),
        (event("contact.merge", primaryObjectId=6, mergedObjectIds=[7]), Action.MERGED, "6", ("7",)),
        (
            event("contact.associationChange", associationType="CONTACT_TO_COMPANY", fromObjectId=10, toObjectId=20),
            Action.CHANGED,
            "10",
            (),
        ),
        (
            event("company.associationChange", associationType="COMPANY_TO_CONTACT", fromObjectId=20, toObjectId=10),
            None,
            "",
            (),
        ),
        (
            event("contact.associationChange", associationType="COMPANY_TO_CONTACT", fromObjectId=20, toObjectId=10),
            Action.CHANGED,
            "10",
            (),
        ),
        (event("object.creation", objectTypeId="0-1", objectId=11), Action.CHANGED, "11", ()),
        (event("object.deletion", objectTypeId="0-2", objectId=11), None, "", ()),
        (
            event(
                "object.associationChange", fromObjectTypeId="0-2", toObjectTypeId="0-1", fromObjectId=1, toObjectId=2
            ),
            Action.CHANGED,
            "2",
            (),
        ),
        (
            event(
                "object.associationChange", fromObjectTypeId="0-2", toObjectTypeId="0-3", fromObjectId=1, toObjectId=2
            ),
            None,
            "",
            (),
        ),
        (
            {**event("x", objectId=12), "subscriptionType": None, "eventType": "contact.creation"},
            Action.CHANGED,
            "12",
            (),
        ),
        (event("company.creation", objectId=13), None, "", ()),
        (event("contact.somethingNew", objectId=13), None, "", ()),
        (event("conversation.newMessage", objectId=13), None, "", ()),
    ],
    ids=lambda v: v.get("subscriptionType") if isinstance(v, dict) else None,
)
def test_events(row: dict[str, Any], action: Action | None, id_: str, losers: tuple[str, ...]) -> None:
    """Each event type says what happened to which contact; what is not about contacts says nothing."""
    for body in ([row], row):
        found = connect().receive(delivery(body)).events
        assert [(e.action, e.ref, e.losers) for e in found] == ([(action, Ref(id_), losers)] if action else [])
        assert all(
            e.occurred_at == datetime(2025, 1, 1, 0, 0, 0, 123_000, UTC) and e.kind is Kind.CONTACT for e in found
        )


def test_a_malformed_entry_does_not_hold_the_others() -> None:
    """Of a hundred entries, the readable ones come through."""
    rows = [event("contact.creation", objectId=i) for i in range(97)]
    rows += [event("contact.creation", objectId=True), event("contact.creation"), "junk"]
    assert len(connect().receive(delivery(rows)).events) == 97


def test_copies_share_a_dedupe_key() -> None:
    """Retries and renumbered copies are the same happening; another value, time, property or record is another."""
    base = event("contact.propertyChange", objectId=1, propertyName="email", propertyValue="a@example.com")
    keys = [
        connect().receive(delivery([{**base, **change}])).events[0].dedupe
        for change in (
            {},
            {"attemptNumber": 3},
            {"eventId": 8},
            {"propertyValue": "b@example.com"},
            {"occurredAt": 1},
            {"propertyName": "phone"},
            {"objectId": 2},
            {"subscriptionId": 26},
            {"subscriptionType": "contact.creation"},
        )
    ]
    assert keys[0] == keys[1] == keys[2]
    assert len(set(keys[2:])) == 7
    assert "example.com" not in "".join(keys)


# --- reading ----------------------------------------------------------------------------------------------------------


def test_read_gives_records_in_hubspots_words(api: FakeHubSpot, hubspot: HubSpot) -> None:
    """Text stays text, a property without a value is None, times are aware, the archived and unknown are left out."""
    api.add(1, 1735689600123, email="a@example.com", firstname="", lastname=None, hs_merged_object_ids="77;78")
    api.add(2, archived=True)
    (found,) = hubspot.read(Kind.CONTACT, ["1", "2", "3", "1", "not-an-id"])
    assert found.id == "1"
    assert found.fields["email"] == "a@example.com"
    assert found.fields["firstname"] is None
    assert found.fields["lastname"] is None
    assert found.modified == datetime(2025, 1, 1, 0, 0, 0, 123_000, UTC)
    assert found.former_ids == ("77", "78")
    asked = api.calls[0][2]["properties"]
    assert set(asked) >= {"email", "hs_additional_emails", "lastmodifieddate", "hs_merged_object_ids", "jobtitle"}


def test_read_follows_merged_ids(api: FakeHubSpot, hubspot: HubSpot) -> None:
    """An id that was merged away is answered by its winner, which then lists it, whether or not HubSpot lists it."""
    api.add(1, email="a@example.com")
    api.add(5, email="e@example.com", hs_merged_object_ids="4")
    api.merged |= {"2": "1", "3": "1", "4": "5"}
    found = {r.id: r for r in hubspot.read(Kind.CONTACT, ["2", "3", "5", "4", "99"])}
    assert set(found) == {"1", "5"}
    assert set(found["1"].former_ids) == {"2", "3"}
    assert found["1"].fields["email"] == "a@example.com"
    assert found["5"].former_ids == ("4",)
    assert "GET /4" not in api.paths()  # known from the list already


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (["A@Example.com"], {"1"}),
        (["second@example.com"], {"1"}),
        (["SECOND@example.com", "a@example.com", "b@example.com", " "], {"1", "2"}),
        (["nobody@example.com"], set()),
        (["archived@example.com"], set()),
    ],
)
def test_find_by_any_address(api: FakeHubSpot, hubspot: HubSpot, asked: list[str], expected: set[str]) -> None:
    """Primary and secondary addresses find their contact, in any case, once."""
    api.add(1, email="a@example.com", hs_additional_emails="third@example.com;second@example.com")
    api.add(2, email="b@example.com")
    api.add(3, email="archived@example.com", archived=True)
    assert sorted(r.id for r in hubspot.find(Kind.CONTACT, "email", asked)) == sorted(expected)


def test_find_keeps_searches_short(api: FakeHubSpot, hubspot: HubSpot) -> None:
    """A hundred unknown addresses are searched in bodies below 3,000 characters."""
    hubspot.find(Kind.CONTACT, "email", [f"somebody.with.a.long.name.{i}@subdomain.example.com" for i in range(100)])
    searches = [body for _, path, body in api.calls if path.endswith("/search")]
    assert 2 <= len(searches) <= 4
    assert sum(len(s["filterGroups"][0]["filters"][0]["values"]) for s in searches) == 100


def pages(hubspot: HubSpot, cursor: str | None, limit: int = 500) -> tuple[list[Record], str]:
    """All records up to the end of this poll, and its cursor."""
    found: list[Record] = []
    for _ in range(limit):
        page = hubspot.changed(Kind.CONTACT, cursor)
        found += page.records
        cursor = page.cursor
        if not page.more:
            return found, cursor
    raise AssertionError("the walk does not end")


def test_the_first_walk_lists_everything(api: FakeHubSpot, hubspot: HubSpot) -> None:
    """Without a cursor all contacts come once, with the total, without paging a search."""
    for i in range(1, 251):
        api.add(i, ms(NOW) - 1_000_000 + i)
    api.add(900, archived=True)
    first = hubspot.changed(Kind.CONTACT, None)
    assert first.total == 250
    rest, _ = pages(hubspot, first.cursor)
    assert [r.id for r in (*first.records, *rest)] == [str(i) for i in range(1, 251)]
    assert sum(path.endswith("/search") for _, path, _ in api.calls) == 1


def test_what_changes_during_the_first_walk_comes_afterwards(api: FakeHubSpot, hubspot: HubSpot) -> None:
    """A contact changed behind the walk, and one created, are in the next poll; old ones are not."""
    for i in range(1, 251):
        api.add(i, ms(NOW) - 10_000_000 + i * 10_000)
    first = hubspot.changed(Kind.CONTACT, None)
    api.touch(1, ms(NOW))
    api.add(999, ms(NOW) + 1)
    _, cursor = pages(hubspot, first.cursor)
    found, _ = pages(hubspot, cursor)
    overlap = {str(i) for i in range(220, 251)}  # five minutes before the newest change at the start
    assert {r.id for r in found} == {"1", "999"} | overlap
    api.add(1000, ms(NOW) + 600_000)
    found, _ = pages(hubspot, pages(hubspot, cursor)[1])
    assert [r.id for r in found] == ["1000"]


def big(api: FakeHubSpot, *, same: int, before: int, after: int) -> tuple[str, set[str]]:
    """Contacts of which ``same`` share one time; a cursor that lies before them all."""
    start = ms(NOW) - 3_600_000
    n = before + same + after
    for i in range(1, n + 1):
        api.add(i, start + (i if i <= before else before + 1 if i <= before + same else i - same + 1))
    return walk.dump(walk.Poll(since=start)), {str(i) for i in range(1, n + 1)}


@pytest.mark.parametrize(
    ("before", "same", "after"),
    [(10_150, 0, 0), (30, 10_150, 30), (0, 450, 0), (0, 200, 1), (10, 199, 0), (190, 10, 5), (0, 400, 0), (0, 0, 0)],
)
def test_polling_reads_past_every_cap(api: FakeHubSpot, before: int, same: int, after: int) -> None:
    """More than 10,000 changes, also with one and the same time, all come, each once; the next poll ends at once."""
    cursor, expected = big(api, same=same, before=before, after=after)
    found, cursor = pages(connect(), cursor)
    assert sorted(int(r.id) for r in found) == sorted(map(int, expected))
    api.calls.clear()
    api.add(99_999, ms(NOW) + 1)
    found, _ = pages(connect(), cursor)
    assert "99999" in {r.id for r in found}


def test_a_record_that_changes_during_a_poll_pushes_no_other_out(api: FakeHubSpot) -> None:
    """Each page meanwhile sends the oldest records to the end of the order; still nobody is missed."""
    cursor, expected = big(api, same=0, before=1_000, after=0)
    clock = iter(range(ms(NOW), ms(NOW) + 1_000))
    oldest = iter(range(1, 60))

    def meddle() -> None:
        for _ in range(5):
            if (id_ := next(oldest, None)) is not None:
                api.touch(id_, next(clock))

    api.after_search = meddle
    found, _ = pages(connect(), cursor)
    assert {r.id for r in found} == expected


def test_late_visibility_is_covered(api: FakeHubSpot) -> None:
    """A change that shows up four minutes late, behind the cursor, is still found, and once the index had its time
    the overlap is read no more."""
    api.add(1, ms(NOW))
    cursor = walk.dump(walk.Poll(since=ms(NOW) - 1_000))
    _, cursor = pages(connect(), cursor)
    api.now += timedelta(minutes=1)
    _, cursor = pages(connect(), cursor)
    api.now += timedelta(minutes=3)
    api.add(2, ms(NOW) - 240_000)
    found, cursor = pages(connect(), cursor)
    assert {r.id for r in found} == {"1", "2"}
    api.now += timedelta(minutes=2)
    _, cursor = pages(connect(), cursor)
    found, cursor = pages(connect(), cursor)
    assert {r.id for r in found} == {"1"}  # the newest time itself is asked for again
    api.add(3, ms(NOW) + 1)
    assert {r.id for r in pages(connect(), cursor)[0]} == {"1", "3"}


def test_many_properties_are_read_back_in_batches(api: FakeHubSpot) -> None:
    """A property list too long for a search body or a URL is not cut: the records are read back."""
    names = [f"a_rather_long_property_name_{i}" for i in range(100)]
    api.add(1, ms(NOW), **dict.fromkeys(names, "x"))
    wide = connect(properties=",".join(names))
    for cursor in (None, walk.dump(walk.Poll(since=ms(NOW)))):
        (found,) = wide.changed(Kind.CONTACT, cursor).records
        assert {found.fields[n] for n in names} == {"x"}
    assert max(len(str(body)) for method, _, body in api.calls if method == "GET") < 500


@pytest.mark.parametrize("cursor", ["", "7", "null", "{}", '{"poll":{"x":1}}', "[]"])
def test_a_foreign_cursor_is_refused(hubspot: HubSpot, cursor: str) -> None:
    """A cursor of somebody else is refused, not taken for the beginning."""
    with pytest.raises(Refused):
        hubspot.changed(Kind.CONTACT, cursor)


def test_describe(api: FakeHubSpot, hubspot: HubSpot) -> None:
    """Fields, types, options and what is read-only, in HubSpot's words."""
    rows = [
        {"name": "email", "label": "Email", "type": "string", "options": []},
        {"name": "score", "type": "number", "calculated": True},
        {"name": "createdate", "type": "datetime", "modificationMetadata": {"readOnlyValue": True}},
        {"name": "stage", "type": "enumeration", "options": [{"label": "Lead", "value": "lead"}, {"value": "x"}]},
    ]
    api.trouble["/properties/contacts"] = lambda _: httpx.Response(200, json={"results": rows})
    found = hubspot.describe(Kind.CONTACT).properties
    assert [(p.name, p.type, p.read_only, p.options) for p in found.values()] == [
        ("email", "string", False, None),
        ("score", "number", True, None),
        ("createdate", "datetime", True, None),
        ("stage", "enumeration", False, ("lead", "x")),
    ]


@pytest.mark.parametrize(("status", "line"), [(200, "4711"), (403, "unknown")])
def test_check_says_who_we_are(api: FakeHubSpot, hubspot: HubSpot, status: int, line: str) -> None:
    """One line, also where the token may not ask for the account."""
    api.trouble["/details"] = lambda _: httpx.Response(status, json={"portalId": 4711, "timeZone": "US/Eastern"})
    assert line in hubspot.check()
    assert "\n" not in hubspot.check()


@pytest.mark.parametrize(
    ("version", "expected"),
    [("v3", "/crm/v3/objects/contacts/batch/read"), ("2026-03", "/crm/objects/2026-03/contacts/batch/read")],
)
def test_the_version_is_a_setting(api: FakeHubSpot, version: str, expected: str) -> None:
    """Dated versions have their own order of the path."""
    api.trouble["/batch/read"] = lambda _: httpx.Response(200, json={"results": [{"id": "1", "properties": {}}]})
    connect(version=version).read(Kind.CONTACT, ["1"])
    assert api.calls[0][1] == expected


@pytest.mark.parametrize(
    "settings", [{"version": "3"}, {"tier": "gold"}, {"client_secret": " , "}, {"access_token": ""}]
)
def test_wrong_settings_are_named_at_the_start(settings: dict[str, str]) -> None:
    """A wrong setting is an error before the first call, without the secrets."""
    with pytest.raises(ValueError, match="hubspot") as caught:
        connect(**settings)
    assert TOKEN not in str(caught.value)


def test_tiers() -> None:
    """The rate follows the tier, searches have their own."""
    assert HubSpot.limits_for({"tier": "professional"}).rates[0].calls == 190
    assert HubSpot.limits_for({}) == HubSpot.limits
    assert HubSpot.limits.keys["search"][0].calls == 5


# --- writing ----------------------------------------------------------------------------------------------------------


def create(key: str, *, again: bool = False, **fields: Any) -> Order:
    return Order(key, Kind.CONTACT, Verb.CREATE, fields, again=again)


def update(key: str, id_: str, **fields: Any) -> Order:
    return Order(key, Kind.CONTACT, Verb.UPDATE, fields, id=id_)


def archive(key: str, id_: str) -> Order:
    return Order(key, Kind.CONTACT, Verb.ARCHIVE, {}, id=id_)


def brief(receipt: Receipt) -> Any:
    """What matters of a receipt."""
    match receipt:
        case Done():
            return receipt.id
        case Exists():
            return receipt.ref
        case Gone():
            return "gone"
        case Failed(problem=Refused() as refused):
            return (refused.code, refused.field)
        case Failed():
            return type(receipt.problem).__name__
    raise AssertionError(receipt)


def test_values_on_the_wire(api: FakeHubSpot, hubspot: HubSpot) -> None:
    """None clears with the empty text, what is absent is not sent, numbers and truth become text."""
    api.add(1, email="a@example.com", firstname="Ann")
    fields = {"lastname": None, "jobtitle": "", "n": 3, "x": 2.5, "y": 2.0, "yes": True, "no": False}
    (receipt,) = hubspot.write([update("k", "1", **fields)])
    sent = api.calls[-1][2]["properties"]
    assert sent == {"lastname": "", "jobtitle": "", "n": "3", "x": "2.5", "y": "2", "yes": "true", "no": "false"}
    assert isinstance(receipt, Done)
    assert receipt.record is not None
    assert receipt.record.fields["lastname"] is None
    assert receipt.modified == receipt.record.modified is not None
    assert "firstname" not in receipt.record.fields  # not answered, so not said
    (receipt,) = hubspot.write([update("k", "1", jobtitle=["a"])])
    assert brief(receipt) == ("type", "jobtitle")


def test_one_batch_call_per_verb_and_receipts_in_order(api: FakeHubSpot, hubspot: HubSpot) -> None:
    """Mixed orders become one call per verb; receipts come in the order of the orders, whatever the answer's order."""
    for i in range(1, 5):
        api.add(i, email=f"{i}@example.com")
    orders = [
        archive("k0", "4"),
        create("k1", email="New1@example.com", firstname="A", lastname=None),
        update("k2", "1", firstname="X"),
        create("k3", email="new2@example.com"),
        update("k4", "2", firstname="Y"),
        create("k5", firstname="No", lastname="Address"),
    ]
    receipts = hubspot.write(orders)
    assert [r.key for r in receipts] == [o.key for o in orders]
    assert api.paths() == ["POST /batch/update", "POST /batch/create", "POST /batch/archive"]
    emails = [api.rows[r.id]["properties"].get("email") for r in receipts if isinstance(r, Done)]
    assert emails == ["4@example.com", "new1@example.com", "1@example.com", "new2@example.com", "2@example.com", None]
    inputs = api.calls[1][2]["inputs"]
    assert [i["objectWriteTraceId"] for i in inputs] == ["k1", "k3", "k5"]
    assert inputs[0]["properties"] == {"email": "New1@example.com", "firstname": "A"}
    assert api.rows["4"]["archived"]


def test_partial_failure_is_per_record(api: FakeHubSpot, hubspot: HubSpot) -> None:
    """In a 207 each order has its own outcome: made, already there, refused, gone."""
    api.add(1, email="there@example.com")
    bad = {
        "status": "error",
        "category": "VALIDATION_ERROR",
        "message": 'Property values were not valid: [{"isValid":false,"message":"Email address bad@x is invalid",'
        '"error":"INVALID_EMAIL","name":"email","localizedErrorMessage":"Email address bad@x is invalid"}]',
        "context": {"objectWriteTraceId": ["k2"]},
    }
    real = api.create

    def answer(body: Any) -> httpx.Response:
        whole = real({"inputs": [i for i in body["inputs"] if i["objectWriteTraceId"] != "k2"]}).json()
        return httpx.Response(207, json={**whole, "errors": [*whole["errors"], bad]})

    api.trouble["/batch/create"] = answer
    receipts = hubspot.write(
        [create("k1", email="there@example.com"), create("k2", email="bad@x"), create("k3", email="ok@example.com")]
    )
    assert [brief(r) for r in receipts] == [Ref("1"), ("INVALID_EMAIL", "email"), "9001"]
    problem = receipts[1]
    assert isinstance(problem, Failed)
    assert "bad@x" not in str(problem.problem)
    assert "invalid" in str(problem.problem)
    assert api.rows["1"]["properties"]["email"] == "there@example.com"


def test_updates_of_missing_and_merged_records(api: FakeHubSpot, hubspot: HubSpot) -> None:
    """Missing is Gone; merged away (left out of the answer in silence) is written to the record it lives on in."""
    api.add(1, email="a@example.com")
    api.add(2, email="b@example.com")
    api.merged["3"] = "2"
    receipts = hubspot.write([update(f"k{i}", i, firstname=i) for i in ("1", "3", "4", "x/../1")])
    assert [brief(r) for r in receipts] == ["1", "2", "gone", "gone"]
    merged = receipts[1]
    assert isinstance(merged, Done)
    assert merged.record is not None
    assert merged.record.former_ids == ("3",)
    assert api.rows["2"]["properties"]["firstname"] == "3"
    assert brief(hubspot.write([update("k", "4", firstname="x")])[0]) == "gone"


def error(status: int, message: str = "", **more: Any) -> httpx.Response:
    return httpx.Response(status, json={"status": "error", "message": message, "correlationId": "c", **more})


def no(*codes: tuple[str, str], value: str = "") -> httpx.Response:
    """A whole batch refused for its values, in the shape of ``errors``."""
    errors = [
        {"message": f'{value} was wrong for "{name}"', "code": code, "context": {"propertyName": [name]}}
        for code, name in codes
    ]
    return error(400, "Invalid input JSON", category="VALIDATION_ERROR", errors=errors)


@pytest.mark.parametrize("verb", ["create", "update"])
@pytest.mark.parametrize("bad", [{7}, {0, 99}, {3, 4, 50}])
def test_one_bad_record_fails_alone(api: FakeHubSpot, hubspot: HubSpot, verb: str, bad: set[int]) -> None:
    """A batch refused as a whole is cut until the bad records stand alone; all others are written, once."""

    def refuse(body: Any) -> httpx.Response | None:
        entries = body.get("inputs", [body])
        if any(e["properties"].get("zip") == "bad" for e in entries):
            return no(("INVALID_OPTION", "zip"), value="bad")
        return None

    api.trouble |= {f"/batch/{verb}": refuse, **{f"/{i + 1}": refuse for i in range(100)}}
    for i in range(100):
        api.add(i + 1, email=f"{i}@example.com")
    fields = [{"zip": "bad" if i in bad else "ok", "lastname": f"L{i}"} for i in range(100)]
    if verb == "create":
        receipts = hubspot.write([create(f"k{i}", email=f"new{i}@example.com", **fields[i]) for i in range(100)])
    else:
        receipts = hubspot.write([update(f"k{i}", str(i + 1), **fields[i]) for i in range(100)])
    assert {i for i, r in enumerate(receipts) if isinstance(r, Failed)} == bad
    assert {brief(receipts[i]) for i in bad} == {("INVALID_OPTION", "zip")}
    assert len(api.calls) <= 1 + 2 * 7 * len(bad)
    if verb == "create":
        assert len(api.rows) == 200 - len(bad)


def test_a_property_nobody_has_is_found_without_cutting(api: FakeHubSpot, hubspot: HubSpot) -> None:
    """A property that does not exist fails all orders that send it at once; the others go through in one more call."""
    for i in range(1, 101):
        api.add(i, email=f"{i}@example.com")

    def refuse(body: Any) -> httpx.Response | None:
        found = any("nope" in e["properties"] for e in body["inputs"])
        return no(("PROPERTY_DOESNT_EXIST", "nope")) if found else None

    api.trouble["/batch/update"] = refuse
    receipts = hubspot.write([update(f"k{i}", str(i), **{"nope" if i % 2 else "city": "x"}) for i in range(1, 101)])
    assert [brief(r) for r in receipts[:2]] == [("PROPERTY_DOESNT_EXIST", "nope"), "2"]
    assert sum(isinstance(r, Failed) for r in receipts) == 50
    assert len(api.calls) == 2


def test_isolating_is_bounded(api: FakeHubSpot, hubspot: HubSpot) -> None:
    """A hundred bad values do not take calls without end; what is not reached comes later, with nothing landed."""
    api.trouble["/batch/create"] = lambda _: no(("INVALID_OPTION", "zip"))
    receipts = hubspot.write([create(f"k{i}", email=f"{i}@example.com", zip="x") for i in range(100)])
    assert len(api.calls) <= 101
    assert {brief(r) for r in receipts} == {("INVALID_OPTION", "zip"), "TryLater"}
    assert not any(isinstance(r, Failed) and getattr(r.problem, "landed", False) for r in receipts)


def test_equal_addresses_and_ids_never_share_a_call(api: FakeHubSpot, hubspot: HubSpot) -> None:
    """Two creates of one address make one contact and an Exists; two updates of one record keep their order."""
    api.add(1, email="a@example.com")
    api.add(2, email="b@example.com")
    receipts = hubspot.write(
        [
            create("k1", email="new@example.com"),
            create("k2", email="NEW@example.com"),
            update("k3", "1", firstname="first"),
            update("k4", "2", firstname="other"),
            update("k5", "1", firstname="second"),
            archive("k6", "2"),
            archive("k7", "2"),
        ]
    )
    made = receipts[0]
    assert isinstance(made, Done)
    assert [brief(r) for r in receipts[1:]] == [Ref(made.id), "1", "2", "1", "2", "2"]
    assert api.rows["1"]["properties"]["firstname"] == "second"


@pytest.mark.parametrize(
    ("response", "outcome"),
    [
        (error(409, "Contact already exists. Existing ID: 321", category="CONFLICT"), Ref("321")),
        (error(409, "Contact already exists", category="CONFLICT", context={"existingId": ["321"]}), Ref("321")),
        (error(409, "Contact already exists", category="CONFLICT"), Ref("a@example.com", "email")),
        (no(("INVALID_EMAIL", "email"), value="a@example.com"), ("INVALID_EMAIL", "email")),
        (no(("INVALID_OPTION", "firstname"), value="Ann"), ("INVALID_OPTION", "firstname")),
        (error(400, "odd", category="VALIDATION_ERROR"), ("VALIDATION_ERROR", None)),
        (error(400), ("http_400", None)),
        (httpx.Response(400, text="<html>"), ("http_400", None)),
        (error(401, "expired", category="EXPIRED_AUTHENTICATION"), "NeedsHuman"),
        (error(403, "scope", category="MISSING_SCOPES"), "NeedsHuman"),
        (error(500), "TryLater"),
        (error(502), "TryLater"),
        (error(521), "TryLater"),
        (httpx.Response(201, json={"results": [], "errors": []}), "TryLater"),
        (httpx.Response(201, text="<html>"), "TryLater"),
    ],
)
def test_what_a_refused_create_leads_to(
    api: FakeHubSpot, hubspot: HubSpot, response: httpx.Response, outcome: Any
) -> None:
    """Each answer of HubSpot's leads to one next step, without the person's data or our token in its words."""
    api.trouble["/batch/create"] = lambda _: response
    (receipt,) = hubspot.write([create("k", email="a@example.com", firstname="Ann")])
    assert brief(receipt) == outcome
    if isinstance(receipt, Failed):
        assert not re.search(rf"a@example.com|\bAnn\b|{TOKEN}", str(receipt.problem) + repr(receipt))


@pytest.mark.parametrize(
    ("fields", "response", "outcome"),
    [
        ({"email": "b@example.com"}, error(409, "Contact already exists. Existing ID: 2"), ("conflict", "email")),
        ({"code": "7"}, error(409, "taken", category="CONFLICT"), ("conflict", None)),
        ({"city": "x"}, error(404, "not found", category="OBJECT_NOT_FOUND"), "gone"),
        ({"city": "x"}, no(("READ_ONLY_VALUE", "city")), ("READ_ONLY_VALUE", "city")),
        ({"city": "x"}, httpx.Response(200, text="<html>"), "TryLater"),
    ],
)
def test_what_a_refused_update_leads_to(
    api: FakeHubSpot, hubspot: HubSpot, fields: dict[str, str], response: httpx.Response, outcome: Any
) -> None:
    """An address that another contact has refuses this update only."""
    api.trouble["/1"] = lambda _: response
    assert brief(hubspot.write([update("k", "1", **fields)])[0]) == outcome


@pytest.mark.parametrize(
    ("response", "after"),
    [
        (error(423, "locked"), timedelta(seconds=2)),
        (httpx.Response(477, headers={"retry-after": "7200"}), timedelta(hours=2)),
        (httpx.Response(477, headers={"retry-after": "9999999"}), timedelta(days=1)),
        (error(429, "daily", policyName="DAILY", errorType="RATE_LIMIT"), timedelta(hours=1)),
        (
            httpx.Response(429, json={"policyName": "DAILY"}, headers={"date": "Mon, 02 Mar 2026 21:30:00 GMT"}),
            timedelta(hours=2, minutes=30),
        ),
        (error(429, "burst", policyName="TEN_SECONDLY_ROLLING"), timedelta(seconds=10)),
        (error(429, "burst", policyName="SECONDLY"), timedelta(seconds=1)),
        (httpx.Response(429, headers={"retry-after": "7"}), timedelta(seconds=7)),
        (
            httpx.Response(429, text="x", headers={"x-hubspot-ratelimit-interval-milliseconds": "4000"}),
            timedelta(seconds=4),
        ),
    ],
)
def test_waits_are_hubspots(api: FakeHubSpot, response: httpx.Response, after: timedelta) -> None:
    """Locks, data-centre moves and the several rate limits say how long to wait; a write then stops calling."""
    api.trouble["/batch/read"] = lambda _: response
    with pytest.raises(TryLater) as caught:
        connect().read(Kind.CONTACT, ["1"])
    assert caught.value.after == after
    api.trouble = {"/batch/update": lambda _: response}
    api.calls.clear()
    orders = [update("k1", "1", city="x"), update("k2", "2", city="x"), create("k3", email="a@example.com")]
    receipts = connect().write(orders)
    assert [brief(r) for r in receipts] == ["TryLater"] * 3
    assert all(isinstance(r, Failed) and isinstance(r.problem, TryLater) and r.problem.after == after for r in receipts)
    assert len(api.calls) == 1


def test_an_ambiguous_create_is_looked_up_first(api: FakeHubSpot, hubspot: HubSpot) -> None:
    """A time-out after the contact was made says `landed`; the next try finds it and makes no second one."""
    real = api.create

    def lost(body: Any) -> httpx.Response:
        real(body)
        raise httpx.ReadTimeout("no answer")

    api.trouble["/batch/create"] = lost
    orders = [
        create("k1", email="new@example.com", firstname="Ann"),
        create("k2", firstname="No", lastname="Address"),
    ]
    receipts = hubspot.write(orders)
    assert [isinstance(r, Failed) and isinstance(r.problem, TryLater) and r.problem.landed for r in receipts] == [
        True
    ] * 2
    assert len(api.rows) == 2
    api.trouble.clear()
    again = [create(o.key, again=True, **o.fields) for o in orders]
    api.now += timedelta(hours=5)
    assert sorted(map(brief, hubspot.write(again))) == sorted(api.rows)
    assert len(api.rows) == 2
    api.now += timedelta(hours=2)  # too old for a namesake without address to pass for ours
    assert brief(hubspot.write(again)[1]) not in {Ref("9001"), "9001"}
    assert len(api.rows) == 3


@pytest.mark.parametrize(
    ("there", "fields", "outcome"),
    [
        ({"email": "a@example.com", "firstname": "Ann"}, {"email": "A@example.com", "firstname": "Ann"}, "1"),
        ({"email": "a@example.com", "firstname": "Bob"}, {"email": "a@example.com", "firstname": "Ann"}, Ref("1")),
        ({"email": "a@example.com"}, {"email": "a@example.com", "unread": "x"}, Ref("1")),
        (
            {"email": "z@example.com", "hs_additional_emails": "a@example.com"},
            {"email": "a@example.com"},
            Ref("1"),
        ),
        ({"firstname": "Ann", "city": "Rome"}, {"firstname": "Ann", "city": "Oslo"}, "9001"),
        ({}, {"email": "a@example.com"}, "9001"),
    ],
)
def test_trying_again_takes_only_what_is_evidently_ours(
    api: FakeHubSpot, hubspot: HubSpot, there: dict[str, str], fields: dict[str, str], outcome: Any
) -> None:
    """Equal in all that was sent: ours.  Same address, other values: somebody was there.  Otherwise it is made."""
    api.add(1, ms(NOW), **there)
    assert brief(hubspot.write([create("k", again=True, **fields)])[0]) == outcome


def test_two_equal_creates_without_address_do_not_share_a_record(api: FakeHubSpot, hubspot: HubSpot) -> None:
    """One twin serves one order only."""
    api.add(1, ms(NOW), firstname="Ann")
    orders = [create("k1", again=True, firstname="Ann"), create("k2", again=True, firstname="Ann")]
    assert [brief(r) for r in hubspot.write(orders)] == ["1", "9001"]


def test_a_look_that_fails_forgets_nothing(api: FakeHubSpot, hubspot: HubSpot) -> None:
    """While the first try cannot be looked up, the order still may have landed, and nothing is made."""
    api.trouble["/batch/read"] = lambda _: error(503)
    receipts = hubspot.write([create("k1", again=True, email="a@example.com"), create("k2", email="b@example.com")])
    flags = [isinstance(r, Failed) and isinstance(r.problem, TryLater) and r.problem.landed for r in receipts]
    assert flags == [True, False]
    assert not any("create" in path for path in api.paths())


def test_a_revoked_key_stops_the_connection(api: FakeHubSpot, hubspot: HubSpot) -> None:
    """401 on a read is for a person, and neither the error nor the connector shows the token."""
    api.trouble["/batch/read"] = lambda _: error(401, f"token {TOKEN} expired", category="EXPIRED_AUTHENTICATION")
    with pytest.raises(NeedsHuman) as caught:
        hubspot.read(Kind.CONTACT, ["1"])
    assert TOKEN not in f"{caught.value!s}{hubspot!r}{caught.value!r}"
    assert SECRET not in repr(hubspot)


def test_bodies_have_the_shape_of_the_official_client(api: FakeHubSpot, hubspot: HubSpot) -> None:
    """What we send are the models of HubSpot's own client, no unknown key, no missing one; it can read our answers."""
    from hubspot.crm.contacts import models

    def keys(model: Any) -> set[str]:
        return set(model.attribute_map.values())

    api.add(1, email="a@example.com")
    hubspot.write([create("k", email="n@example.com"), update("k1", "1", city="x"), update("k2", "2", city="y")])
    hubspot.find(Kind.CONTACT, "email", ["q@example.com"])
    hubspot.changed(Kind.CONTACT, walk.dump(walk.Poll(since=0)))
    seen = set()
    shapes: Mapping[str, tuple[Any, Any]] = {
        "/batch/create": (
            models.BatchInputSimplePublicObjectBatchInputForCreate,
            models.SimplePublicObjectBatchInputForCreate,
        ),
        "/batch/update": (models.BatchInputSimplePublicObjectBatchInput, models.SimplePublicObjectBatchInput),
        "/batch/read": (models.BatchReadInputSimplePublicObjectId, models.SimplePublicObjectId),
        "/search": (models.PublicObjectSearchRequest, models.FilterGroup),
    }
    for _, path, body in api.calls:
        for ending, (whole, part) in shapes.items():
            if path.endswith(ending):
                seen.add(ending)
                assert set(body) <= keys(whole)
                for entry in body.get("inputs", body.get("filterGroups")):
                    assert set(entry) <= keys(part)
                    for rule in entry.get("filters", ()):
                        assert set(rule) <= keys(models.Filter)
    assert seen == set(shapes)
