"""Klaviyo's connector and simulator against Klaviyo's own OpenAPI document, and the simulator before its own client.

The document is that of the revision that the connector pins.  Requests are closed here: a misspelt key is found.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from connectors._klaviyo_calls import REVISION
from connectors.contract import Doing, Done, Exists, Failed, Gone, Kind, Note, Order, Receipt, TryLater, Verb
from connectors.klaviyo import Klaviyo
from sandbox.klaviyo import SECRET, KlaviyoSim
from sandbox.klaviyo_account import SINGLE
from sandbox.serve import Sandbox
from tests.examples.klaviyo import over
from tests.sandboxed import PLAIN
from tests.speccheck import SpecCheck, load

C = Kind.CONTACT
PATHS = (
    *("/api/accounts", "/api/profiles", "/api/profiles/{id}", "/api/lists/{id}", "/api/webhooks", "/api/webhooks/{id}"),
    *("/api/webhook-topics", "/api/data-privacy-deletion-jobs", "/api/profile-subscription-bulk-create-jobs"),
    *("/api/profile-subscription-bulk-delete-jobs", "/api/profile-suppression-bulk-create-jobs"),
    *("/api/events", "/api/metrics"),
)


def document() -> dict[str, Any]:
    """The part of the document that is used."""
    return copy.deepcopy(_document())


@functools.cache
def _document() -> dict[str, Any]:
    made = load("klaviyo", "klaviyo-openapi-stable-2026-07-15.json.gz")
    made["paths"] = {path: made["paths"][path] for path in PATHS}  # the rest takes long
    for name in ("next", "prev"):  # "null at the end", says the API overview; the document forgot it
        made["components"]["schemas"]["CollectionLinks"]["properties"][name]["nullable"] = True
    _inlined(made)
    return made


def _inlined(made: dict[str, Any]) -> None:
    """Request bodies without references, so that they can be closed; empty objects stay open."""
    schemas = made["components"]["schemas"]

    def whole(node: Any) -> Any:
        if isinstance(node, dict):
            if "$ref" in node:
                found = whole(schemas[node["$ref"].rpartition("/")[2]])
                return {**found, "nullable": True} if node.get("nullable") else found
            return {key: whole(value) for key, value in node.items()}
        return [whole(part) for part in node] if isinstance(node, list) else node

    for item in made["paths"].values():
        for operation in (o for o in item.values() if isinstance(o, dict)):
            for content in operation.get("requestBody", {}).get("content", {}).values():
                content["schema"] = whole(content["schema"])


def checked(inner: httpx.BaseTransport) -> SpecCheck:
    """The checker; openapi-core passes over header parameters that are missing, so the revision is looked at here."""

    class Pinned(SpecCheck):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            assert request.headers.get("revision") == REVISION, f"{request.url.path}: no revision header, or another"
            if request.content:
                kind = request.headers.get("content-type")
                assert kind == "application/vnd.api+json", f"{request.url.path}: content type {kind}"
            return super().handle_request(request)

    return Pinned(document(), inner)


@pytest.fixture
def sim() -> Iterator[tuple[KlaviyoSim, Sandbox]]:
    klaviyo = KlaviyoSim(lag=0.0)
    with Sandbox(klaviyo=klaviyo) as sandbox:
        yield klaviyo, sandbox


def landed(it: Klaviyo, orders: list[Order]) -> list[Receipt]:
    """The receipts once no order waits for a job any more."""
    for _ in range(200):
        receipts = list(it.write(orders))
        if not any(isinstance(r, Failed) and isinstance(r.problem, TryLater) for r in receipts):
            return receipts
    raise AssertionError("a job is never done")


def test_every_request_and_answer_is_as_the_document_says(sim: tuple[KlaviyoSim, Sandbox]) -> None:
    """The connector goes through a life at the simulator, and both speak as Klaviyo's document has it."""
    klaviyo, sandbox = sim
    with httpx.HTTPTransport(verify=PLAIN) as line:
        check = checked(line)
        it = over(check, base_url=sandbox.url("klaviyo"), api_key=klaviyo.key, list_id=SINGLE, properties="tier")
        assert "SaNdBx" in it.check()
        assert "properties.tier" in it.describe(C).properties
        new = [
            Order(f"k{n}", C, Verb.CREATE, {"email": f"p{n}@one.example", "location.city": "Bonn"}) for n in range(5)
        ]
        made = it.write([*new, Order("x", C, Verb.CREATE, {"email": "P1@one.example", "properties.tier": "gold"})])
        assert [type(r) for r in made] == [Done] * 5 + [Exists]
        ids = [r.id for r in made if isinstance(r, Done)]
        walked, cursor = [], None
        for _ in range(6):
            page = it.changed(C, cursor)
            walked += [r.id for r in page.records]
            cursor = page.cursor
        assert set(walked) == set(ids)
        assert [r.id for r in it.find(C, "email", ["P2@one.example"])] == [ids[2]]
        orders = [
            Order("a", C, Verb.UPDATE, {"consent.email": "unsubscribed", "title": None}, id=ids[0]),
            Order("b", C, Verb.UPDATE, {"email": "new@one.example", "phone_number": "+4915112345678"}, id=ids[1]),
            Order("c", C, Verb.UPDATE, {"properties.tier": None, "properties.score": 1}, id=ids[2]),
            Order("d", C, Verb.UPDATE, {"consent.email": "subscribed"}, id=ids[3]),
            Order("e", C, Verb.UPDATE, {"last_name": "Lee"}, id="01GDDKASAP8TKDDA2GRZDSVXXX"),
            Order("f", C, Verb.UPDATE, {"consent.email": "suppressed"}, id=ids[4]),
        ]
        assert [type(r) for r in landed(it, orders)] == [Done, Done, Done, Done, Gone, Done]
        sms = Order("g", C, Verb.UPDATE, {"consent.sms": "unsubscribed"}, id=ids[1])
        assert [type(r) for r in landed(it, [sms])] == [Done]
        assert isinstance(landed(it, [Order("h", C, Verb.ERASE, {}, id=ids[2])])[0], Done | Gone)
        assert {r.id for r in it.read(C, ids)} == {*ids} - {ids[2]}
        clicked = {"Campaign Name": "Spring", "$variation": "V1"}
        sandbox.call(lambda: klaviyo.account.feed.did("Clicked Email", ids[0], klaviyo.clock(), clicked, flow="F1"))
        note = Note("n", ids[0], datetime(2026, 3, 1, 8, tzinfo=UTC), "Called")
        assert [type(r) for r in it.note([note, note])] == [Done, Done]
        told, where, more = [], None, True
        while more:
            acts = it.acts(where)
            told += [(a.kind, a.campaign, a.variant) for a in acts.acts]
            where, more = acts.cursor, acts.more
        assert (Doing.CLICK, "Spring", "V1") in told
        assert (Doing.UNSUBSCRIBE, None, None) in told
        assert [e.said for e in klaviyo.account.feed.events.values() if "Note" in e.said] == [{"Note": "Called"}]
        (hook,) = it.hook("https://tandem.example/webhooks/klaviyo").hooks
        it.hook("https://tandem.example/webhooks/klaviyo")
        it.unhook(hook.id)
        methods = {name.rpartition(" ")[2] for name in check.seen}
        assert methods == set(PATHS), set(PATHS) - methods


@pytest.mark.parametrize(
    ("method", "path", "body", "complaint"),
    [
        ("GET", "/api/profiles?page[size]=101", None, "page"),
        ("GET", "/api/profiles?page[size]=x", None, "page"),
        ("GET", "/api/profiles?sort=modified", None, "modified"),
        ("GET", "/api/profiles?filters=x", None, "not listed"),
        ("GET", "/api/profiles?additional-fields[profile]=subscription", None, "subscription"),
        ("GET", "/api/events?include=campaign", None, "campaign"),
        ("GET", "/api/people", None, "not in the specification"),
        ("PUT", "/api/profiles", {}, "not in the specification"),
        ("POST", "/api/profiles", {"data": {"type": "profile", "attributes": {"frst_name": "A"}}}, "frst_name"),
        ("POST", "/api/profiles", {"data": {"type": "profile", "attributes": {"first_name": 1}}}, "first_name"),
        ("POST", "/api/profiles", {"data": {"type": "profiles", "attributes": {}}}, "profiles"),
        ("POST", "/api/profiles", {"type": "profile"}, "data"),
        ("PATCH", "/api/profiles/P1", {"data": {"type": "profile", "attributes": {}}}, "id"),
        (
            "POST",
            "/api/profile-subscription-bulk-delete-jobs",
            {
                "data": {
                    "type": "profile-subscription-bulk-delete-job",
                    "attributes": {
                        "profiles": {
                            "data": [
                                {
                                    "type": "profile",
                                    "attributes": {
                                        "email": "a@b.example",
                                        "subscriptions": {"email": {"marketing": {"consent": "SUBSCRIBED"}}},
                                    },
                                }
                            ]
                        }
                    },
                }
            },
            "SUBSCRIBED",
        ),
    ],
)
def test_the_checker_finds_what_is_wrong(method: str, path: str, body: Any, complaint: str) -> None:
    """The saboteurs: a checker that lets everything pass is worse than none."""
    check = checked(httpx.MockTransport(lambda _: httpx.Response(200, json={"data": []})))
    headers = {"authorization": "k", "revision": REVISION, "content-type": "application/vnd.api+json"}
    content = {} if body is None else {"json": body}
    request = httpx.Request(method, f"https://a.klaviyo.com{path}", headers=headers, **content)
    with pytest.raises(AssertionError, match=complaint):
        check.handle_request(request)


@pytest.mark.parametrize("missing", ["authorization", "revision", "content-type"])
def test_the_checker_misses_no_header(missing: str) -> None:
    """A request without key, revision or content type."""
    check = checked(httpx.MockTransport(lambda _: httpx.Response(202)))
    headers = {"authorization": "k", "revision": REVISION, "content-type": "application/vnd.api+json"}
    del headers[missing]
    profile = {"data": {"type": "profile", "id": "P1", "attributes": {}}}
    body = {"data": {"type": "data-privacy-deletion-job", "attributes": {"profile": profile}}}
    url = "https://a.klaviyo.com/api/data-privacy-deletion-jobs"
    with pytest.raises(AssertionError, match=missing.replace("-", " ?")):
        check.handle_request(httpx.Request("POST", url, headers=headers, json=body))


def test_the_checker_judges_answers() -> None:
    """A number where a text belongs."""
    wrong = {"data": [{"type": "profile", "id": 7, "attributes": {}, "links": {"self": "x"}}]}
    check = checked(httpx.MockTransport(lambda _: httpx.Response(200, json=wrong)))
    with pytest.raises(AssertionError, match="answer to"):
        over(check).find(C, "email", ["a@b.example"])


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_klaviyos_own_client_understands_the_simulator(sim: tuple[KlaviyoSim, Sandbox]) -> None:
    """Create, read, list by filter and cursor, change, subscribe, suppress, import, merge; errors are raised."""
    klaviyo_api = pytest.importorskip("klaviyo_api")
    from openapi_client.api_arg_options import USE_DICTIONARY_FOR_RESPONSE_DATA as PLAINLY
    from openapi_client.exceptions import ApiException

    klaviyo, sandbox = sim
    client = klaviyo_api.KlaviyoAPI(
        klaviyo.key, max_retries=0, test_host=sandbox.url("klaviyo"), options={PLAINLY: True}
    )
    profiles = client.Profiles
    try:
        ids = []
        for n in range(3):
            about = {"email": f"p{n}@one.example", "first_name": f"P{n}"}
            made = profiles.create_profile({"data": {"type": "profile", "attributes": about}})
            ids.append(made["data"]["id"])
        found = profiles.get_profile(ids[0], additional_fields_profile=["subscriptions"])
        assert found["data"]["attributes"]["subscriptions"]["email"]["marketing"]["consent"] == "NEVER_SUBSCRIBED"
        page = profiles.get_profiles(filter='any(email,["p0@one.example","P1@one.example"])', page_size=1, sort="email")
        assert [row["id"] for row in page["data"]] == ids[:1]
        following = profiles.get_profiles(
            filter='any(email,["p0@one.example","P1@one.example"])',
            page_size=1,
            sort="email",
            page_cursor=page["links"]["next"],
        )
        assert [row["id"] for row in following["data"]] == ids[1:2]
        change = {"data": {"type": "profile", "id": ids[0], "attributes": {"first_name": None}}}
        assert profiles.update_profile(ids[0], change)["data"]["attributes"]["first_name"] is None
        with pytest.raises(ApiException) as taken:
            profiles.create_profile({"data": {"type": "profile", "attributes": {"email": "P0@one.example"}}})
        assert taken.value.status == 409
        assert ids[0] in str(taken.value.body)
        one = {
            "type": "profile",
            "attributes": {
                "email": "p0@one.example",
                "subscriptions": {"email": {"marketing": {"consent": "SUBSCRIBED"}}},
            },
        }
        profiles.bulk_subscribe_profiles(
            {
                "data": {
                    "type": "profile-subscription-bulk-create-job",
                    "attributes": {"profiles": {"data": [one]}},
                    "relationships": {"list": {"data": {"type": "list", "id": SINGLE}}},
                }
            }
        )
        job = profiles.bulk_suppress_profiles(
            {
                "data": {
                    "type": "profile-suppression-bulk-create-job",
                    "attributes": {
                        "profiles": {"data": [{"type": "profile", "attributes": {"email": "p1@one.example"}}]}
                    },
                }
            }
        )
        told = profiles.get_bulk_suppress_profiles_job(job["data"]["id"])
        assert told["data"]["attributes"]["total_count"] == 1
        new = {"type": "profile", "attributes": {"email": "p9@one.example"}}
        profiles.bulk_import_profiles(
            {"data": {"type": "profile-bulk-import-job", "attributes": {"profiles": {"data": [new]}}}}
        )
        profiles.merge_profiles(
            {
                "data": {
                    "type": "profile-merge",
                    "id": ids[0],
                    "relationships": {"profiles": {"data": [{"type": "profile", "id": ids[2]}]}},
                }
            }
        )
        lists = client.Lists.get_lists()
        assert SINGLE in {row["id"] for row in lists["data"]}
        sandbox.call(lambda: None)  # the jobs that were due have run
        consents = [p.email_consent for p in klaviyo.account.people.profiles.values()]
        assert consents[0] == "SUBSCRIBED"
        assert len(consents) == 3, "three made, one imported, one merged away"
    finally:
        client.api_client.rest_client.pool_manager.clear()  # the library leaves its connections open


def test_deliveries_of_the_simulator_are_trusted(sim: tuple[KlaviyoSim, Sandbox]) -> None:
    """What the simulator signs, the connector reads."""
    from connectors.contract import Delivery
    from sandbox.klaviyo_events import encode, happening
    from sandbox.webhooks import Target

    klaviyo, _ = sim
    target = Target("01HHOOK", "https://x.example", SECRET)
    told = [happening("unsubscribed_from_email_marketing", "P1", "a@b.example", klaviyo.clock())]
    body, headers = encode(target, told, 0)
    it = over(httpx.MockTransport(lambda _: httpx.Response(500)), webhook_secret=SECRET)
    events = it.receive(Delivery("POST", "https://x.example", headers, body, datetime.now(UTC))).events
    assert [(e.ref.value, e.urgent) for e in events] == [("P1", True)]
