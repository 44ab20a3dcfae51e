"""Brevo's simulator and connector before Brevo's own published client: a wire format judged by foreign software.

There is no specification of Brevo's in machine-readable form here, so the client is one: each request of the connector
has to be what the client makes of the same arguments, and each answer has to fit the client's models.
"""

from __future__ import annotations

import inspect
import json
import re
import threading
import typing
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import unquote

import brevo
import httpx
import pydantic
import pytest
from brevo.core.api_error import ApiError

from connectors.contract import Done, Exists, Failed, Gone, Kind, Note, Order, Refused, TryLater, Verb
from sandbox.brevo import BrevoSim, fill
from sandbox.people import people
from sandbox.serve import Sandbox
from tests.examples.brevo import FakeBrevo, over
from tests.sandboxed import PLAIN, Receiver

C = Kind.CONTACT
_WORDS = ("true", "false")
OPERATIONS = {  # method and path -> the client's own name for it
    "GET /account": "account.get_account",
    "GET /contacts": "contacts.get_contacts",
    "POST /contacts": "contacts.create_contact",
    "POST /contacts/batch": "contacts.update_batch_contacts",
    "GET /contacts/attributes": "contacts.get_attributes",
    "GET /contacts/lists": "contacts.get_lists",
    "GET /contacts/{identifier}": "contacts.get_contact_info",
    "PUT /contacts/{identifier}": "contacts.update_contact",
    "DELETE /contacts/{identifier}": "contacts.delete_contact",
    "GET /webhooks": "webhooks.get_webhooks",
    "POST /webhooks": "webhooks.create_webhook",
    "PUT /webhooks/{webhook_id}": "webhooks.update_webhook",
    "DELETE /webhooks/{webhook_id}": "webhooks.delete_webhook",
    "GET /companies": "companies.get_all_companies",
    "GET /companies/{id}": "companies.get_a_company",
    "GET /crm/attributes/companies": "companies.get_company_attributes",
    "GET /crm/deals": "deals.get_all_deals",
    "GET /crm/deals/{id}": "deals.get_a_deal",
    "GET /crm/attributes/deals": "deals.get_deal_attributes",
    "GET /crm/pipeline/details/all": "deals.get_all_pipelines",
    "GET /crm/notes": "notes.get_all_notes",
    "POST /crm/notes": "notes.create_a_note",
    "GET /emailCampaigns": "email_campaigns.get_email_campaigns",
    "GET /contacts/{identifier}/campaignStats": "contacts.get_contact_stats",
}


def client(transport: httpx.BaseTransport, base: str, key: str) -> brevo.Brevo:
    return brevo.Brevo(
        base_url=base, api_key=key, token=key, max_retries=0, httpx_client=httpx.Client(transport=transport)
    )


def snake(name: str) -> str:
    return re.sub(r"(?<=[a-z])([A-Z])", lambda m: f"_{m[1].lower()}", name)


def narrow(annotation: Any) -> Any:
    """The annotation without the "or anything" that the generator adds to every list of words."""
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Union:
        kept = [narrow(a) for a in args if a is not Any]
        return typing.Union[tuple(kept)]  # noqa: UP007 - made at run time
    if args and origin is not typing.Literal:
        return list[narrow(args[0])] if len(args) == 1 else dict[str, narrow(args[1])]  # type: ignore[misc]
    if inspect.isclass(annotation) and issubclass(annotation, pydantic.BaseModel):
        fields = {
            f.alias if f.alias is not None else name: (narrow(f.annotation), f.default)
            for name, f in annotation.model_fields.items()
        }
        closed = pydantic.ConfigDict(extra="forbid", strict=True)
        return pydantic.create_model(annotation.__name__, __config__=closed, **fields)  # type: ignore[call-overload]
    return annotation


class Checked(httpx.BaseTransport):
    """Judges each request and its answer by the client.  ``seen``: the operations met."""

    def __init__(self, inner: httpx.BaseTransport) -> None:
        self._inner = inner
        self._made: list[httpx.Request] = []
        self._lock = threading.Lock()  # the connector calls from several threads
        self.seen: set[str] = set()
        self._client = client(httpx.MockTransport(self._record), "https://api.brevo.com/v3", "k")

    def _record(self, request: httpx.Request) -> httpx.Response:
        self._made.append(request)
        return httpx.Response(200, json={})

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        request.read()
        assert request.headers.get("api-key"), "no api-key header"
        raw = request.url.raw_path.decode().partition("?")[0].removeprefix("/v3")
        called = f"{request.method} {raw}"
        named = [n for n in OPERATIONS if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", n), called)]
        named.sort(key=lambda n: n.count("{"))
        assert named, f"{called} is unknown to the client"
        parts = raw.strip("/").split("/")
        room, _, method = OPERATIONS[named[0]].partition(".")
        call = getattr(getattr(self._client, room), method)
        hints = typing.get_type_hints(call)
        arguments = self._arguments(request, hints)
        inside = re.search(r"\{(\w+)\}", named[0])
        if inside is not None:
            told = parts[named[0].partition(" ")[2].strip("/").split("/").index(f"{{{inside[1]}}}")]
            arguments[inside[1]] = int(told) if inside[1] == "webhook_id" else unquote(told)
        self._replay(call, arguments, request)
        self.seen.add(named[0])
        response = self._inner.handle_request(request)
        response.read()
        model = next(
            (a for a in (hints["return"], *typing.get_args(hints["return"])) if hasattr(a, "model_validate")), None
        )
        if response.status_code in {200, 201} and model is not None:
            said = response.json()
            for one in said if isinstance(said, list) else [said]:
                model.model_validate(one)
        return response

    def _arguments(self, request: httpx.Request, hints: Mapping[str, Any]) -> dict[str, Any]:
        asked = request.url.params
        found: dict[str, Any] = {}
        for name in asked:
            texts = name == "entityIds"  # numbers, and yet a text to the client
            told: list[Any] = [
                int(v) if v.isdigit() and not texts else v == "true" if v in _WORDS else v for v in asked.get_list(name)
            ]
            found[snake(name)] = told if name == "ids" else told[0]
        body = json.loads(request.content) if request.content else {}
        found |= {snake(name): value for name, value in body.items()}
        for name, value in found.items():
            assert name in hints, f"{name} is no argument of the client"
            try:
                pydantic.TypeAdapter(narrow(hints[name])).validate_python(value, strict=True)
            except pydantic.ValidationError as error:
                raise AssertionError(f"{name}: {error.errors()[0]['loc']} {error.errors()[0]['msg']}") from None
        return found

    def _replay(self, call: Any, arguments: dict[str, Any], request: httpx.Request) -> None:
        """The client makes the same request of these arguments."""
        with self._lock:
            call(**arguments)
            (made,) = self._made
            self._made.clear()
        assert (made.method, made.url.path) == (request.method, request.url.path)
        assert sorted(made.url.params.multi_items()) == sorted(request.url.params.multi_items())
        assert (json.loads(made.content) if made.content else {}) == (json.loads(request.content or b"{}"))


@pytest.fixture
def sim() -> BrevoSim:
    return BrevoSim(retry_span=0.3)


@pytest.fixture
def sandbox(sim: BrevoSim) -> Iterator[Sandbox]:
    with Sandbox(brevo=sim) as running:
        yield running


def base(sandbox: Sandbox) -> str:
    return f"{sandbox.url('brevo')}/v3"


@pytest.fixture
def line() -> Iterator[httpx.HTTPTransport]:
    with httpx.HTTPTransport(verify=PLAIN) as transport:
        yield transport


def test_the_client_goes_through_a_contact_s_life(sim: BrevoSim, sandbox: Sandbox, line: httpx.HTTPTransport) -> None:
    """Brevo's own client makes, reads, lists, changes and deletes, and reads the simulator's refusals."""
    own = client(line, base(sandbox), sim.key)
    assert own.account.get_account().company_name == "Sandbox Ltd"
    made = own.contacts.create_contact(
        email="Ada@one.example", attributes={"FIRSTNAME": "Ada", "NOPE": "x"}, list_ids=[2]
    )
    assert made is not None
    found = own.contacts.get_contact_info("ada@one.example", identifier_type="email_id")
    assert (found.id, found.attributes.model_dump(), found.list_ids) == (made.id, {"FIRSTNAME": "Ada"}, [2])
    with pytest.raises(ApiError) as twice:
        own.contacts.create_contact(email="ada@one.example")
    assert twice.value.status_code == 400
    assert own.contacts.create_contact(email="ada@one.example", update_enabled=True, sms_blacklisted=True) is None
    own.contacts.update_contact(str(made.id), identifier_type="contact_id", email_blacklisted=True)
    own.contacts.update_contact(str(made.id), attributes={"EMAIL": "new@one.example"})
    (listed,) = own.contacts.get_contacts(ids=[int(str(made.id))], limit=20).contacts
    assert (listed.email, listed.email_blacklisted, listed.sms_blacklisted) == ("new@one.example", False, True)
    assert {a.name for a in own.contacts.get_attributes().attributes} >= {"FIRSTNAME", "TIER"}
    own.contacts.delete_contact(str(made.id))
    with pytest.raises(ApiError) as gone:
        own.contacts.get_contact_info(str(made.id))
    assert gone.value.status_code == 404
    with pytest.raises(ApiError) as wrong:
        client(line, base(sandbox), "another").contacts.get_contacts()
    assert wrong.value.status_code == 401


def test_every_request_is_as_the_client_makes_it(sim: BrevoSim, sandbox: Sandbox, line: httpx.HTTPTransport) -> None:
    """The connector goes through a life at the simulator; client and models agree with every word of both."""
    checked = Checked(line)
    it = over(checked, base_url=base(sandbox), api_key=sim.key, page_size="10")
    assert "'Sandbox Ltd'" in it.check()
    assert it.describe(C).properties["listUnsubscribed.2"].read_only
    new = [
        Order(f"k{n}", C, Verb.CREATE, {"email": f"p{n}@one.example", "attributes.AGE": n, "attributes.VIP": False})
        for n in range(12)
    ]
    made = it.write([*new, Order("x", C, Verb.CREATE, {"email": "P1@one.example", "emailBlacklisted": "true"})])
    assert [type(r) for r in made] == [Done] * 12 + [Exists]
    ids = [r.id for r in made if isinstance(r, Done)]
    page = it.changed(C, None)
    rest = it.changed(C, page.cursor)
    assert {r.id for r in (*page.records, *rest.records)} == set(ids)
    assert {r.id for r in it.read(C, ids)} == set(ids)
    it.changed(C, rest.cursor)
    assert [r.id for r in it.find(C, "email", ["P2@one.example"])] == [ids[2]]
    orders = [
        Order("a", C, Verb.UPDATE, {"emailBlacklisted": "true", "attributes.TOPICS": ["News"]}, id=ids[0]),
        Order("b", C, Verb.UPDATE, {"email": "new@one.example", "attributes.SMS": "+491701234567"}, id=ids[1]),
        Order("c", C, Verb.UPDATE, {"attributes.CITY": "Bonn"}, id=ids[4]),
        Order("d", C, Verb.UPDATE, {"attributes.CITY": None, "attributes.BIRTHDAY": "1990-02-03"}, id=ids[5]),
        Order("e", C, Verb.UPDATE, {"attributes.CITY": "Ulm"}, id="4711"),
        Order("f", C, Verb.CREATE, {"email": "q@one.example", "attributes.SMS": "+49 170 1234567"}),
        Order("g", C, Verb.ERASE, {}, id=ids[3]),
    ]
    receipts = it.write(orders)
    assert [type(r) for r in receipts] == [Done, Done, Done, Done, Gone, Failed, Done]
    assert isinstance(receipts[5], Failed)
    assert isinstance(receipts[5].problem, Refused)
    url = "https://tandem.example/webhooks/brevo"
    crm, who = sim.account.crm, [int(ids[0])]
    company = sandbox.call(lambda: crm.put("companies", {"name": "Suite"}, who))
    deal = sandbox.call(lambda: crm.put("deals", {"deal_stage": "s-won"}, who, [company]))
    sandbox.call(
        lambda: (crm.campaign(7, "Spring"), crm.did(who[0], "clicked", 7, sim.clock(), url="https://x.example"))
    )
    for kind, id_ in ((Kind.COMPANY, company), (Kind.DEAL, deal)):
        walked = it.changed(kind, None)
        assert list(walked.records) == it.read(kind, [id_])
        assert it.changed(kind, walked.cursor).records == walked.records
        assert it.describe(kind).properties
    begun = it.acts(None).cursor
    assert [a.campaign for a in it.acts(begun).acts] == ["Spring"]
    note = Note("n", ids[0], datetime(2026, 3, 1, 8, tzinfo=UTC), "Called", again=True)
    assert [type(r) for r in it.note([note])] == [Done]
    (hook,) = it.hook(url).hooks
    assert it.hook(url).hooks == (hook,)
    it.unhook(hook.id)
    assert checked.seen == OPERATIONS.keys()


@pytest.mark.parametrize(
    ("method", "path", "body", "complaint"),
    [
        ("GET", "/contacts?modified_since=x&pageSize=5", None, "page_size"),
        ("GET", "/contacts?limit=many", None, "limit"),
        ("GET", "/contacts?sort=up", None, "sort"),
        ("GET", "/contacts/7?identifierType=id", None, "identifier_type"),
        ("POST", "/contacts", {"emailAddress": "a@b.example"}, "email_address"),
        ("POST", "/contacts", {"email": "a@b.example", "emailBlacklisted": "true"}, "email_blacklisted"),
        ("GET", "/companies?offset=5", None, "offset"),
        ("GET", "/crm/notes?entity=contact", None, "entity"),
        ("POST", "/crm/notes", {"text": "x", "contactIds": ["7"]}, "contact_ids"),
        ("PUT", "/contacts/7", {"attributes": {"CITY": None}}, "attributes"),
        ("PUT", "/contacts/7", {"emailBlacklist": True}, "email_blacklist"),
        ("PATCH", "/contacts/7", {}, "unknown to the client"),
        ("POST", "/contacts/batch", {"contacts": [{"id": "7"}]}, "contacts"),
        ("POST", "/contacts/batch", {"contacts": [{"id": 7, "emailBlacklist": True}]}, "contacts"),
        ("POST", "/webhooks", {"url": "https://x.example", "events": ["contact_updated"]}, "events"),
        ("POST", "/webhooks", {"url": "https://x.example", "auth": {"kind": "bearer"}}, "auth"),
    ],
)
def test_the_check_finds_what_is_wrong(method: str, path: str, body: Any, complaint: str) -> None:
    """The saboteurs: a check that lets everything pass is worse than none."""
    checked = Checked(httpx.MockTransport(FakeBrevo()))
    url, sent = f"https://api.brevo.com/v3{path}", {} if body is None else {"json": body}
    with pytest.raises(AssertionError, match=complaint):
        checked.handle_request(httpx.Request(method, url, headers={"api-key": "k"}, **sent))
    with pytest.raises(AssertionError, match="api-key"):
        checked.handle_request(httpx.Request(method, url, **sent))


def test_the_check_judges_answers() -> None:
    """A contact that lacks what the client's model needs."""
    wrong = Checked(httpx.MockTransport(lambda _: httpx.Response(200, json={"contacts": [{"id": "x"}], "count": 1})))
    with pytest.raises(pydantic.ValidationError):
        wrong.handle_request(httpx.Request("GET", "https://api.brevo.com/v3/contacts", headers={"api-key": "k"}))


def test_what_people_do_is_told(sim: BrevoSim, sandbox: Sandbox) -> None:
    """Each kind of change by its own event with the token; who is on no list comes unannounced."""
    receiver = Receiver()
    try:
        with httpx.Client(base_url=base(sandbox), headers={"api-key": sim.key}, verify=PLAIN) as api:
            events = ["contactUpdated", "contactDeleted", "listAddition", "unsubscribed"]
            auth = {"type": "bearer", "token": "t0ken"}
            hook = {"type": "marketing", "url": receiver.url, "events": events, "auth": auth}
            number = api.post("/webhooks", json=hook).json()["id"]
            id_ = api.post("/contacts", json={"email": "ada@one.example", "attributes": {"CITY": "Bonn"}}).json()["id"]
            edits: tuple[tuple[dict[str, Any], str, dict[str, Any]], ...] = (
                ({"fields": {"attributes": {"CITY": "Ulm"}}}, "contact_updated", {"attributes": {"CITY": "Ulm"}}),
                ({"fields": {"emailBlacklisted": True}}, "contact_updated", {"emailBlacklist": True}),
                ({"action": "unsubscribed"}, "unsubscribe", {"camp_id": 42}),
                ({"action": "delete"}, "contact_deleted", {"email": "ada@one.example"}),
            )
            for edit, name, part in edits:
                sandbox.call(lambda given={"id": id_, **edit}: sim.edit(given))  # type: ignore[misc]
                got = receiver.take()
                said = json.loads(got.body)
                content = said.get("content", [{}])[0]
                assert (said["event"], said["id"], got.headers["authorization"]) == (name, number, "Bearer t0ken")
                assert part.items() <= {**said, **content}.items()
            # Only 429 and silence are tried again; a 5xx loses the event.
            receiver.answers = [429, 200, 503]
            api.post("/contacts", json={"email": "bea@one.example", "listIds": [2]})
            assert [json.loads(receiver.take().body)["event"] for _ in range(2)] == ["list_addition"] * 2
            api.post("/contacts", json={"email": "cy@one.example", "listIds": [2]})
            receiver.take()
            assert receiver.inbox.empty()
    finally:
        receiver.close()


def test_rates_are_kept_on_request() -> None:
    """Ten calls a second to contacts, a hundred an hour to all else; the wait is told in Brevo's own header."""
    moment = [1_000.0]
    sim = BrevoSim(limits=True, clock=lambda: moment[0])
    with Sandbox(brevo=sim) as sandbox:
        with httpx.Client(base_url=base(sandbox), headers={"api-key": sim.key}, verify=PLAIN) as api:
            answers = [api.get("/contacts") for _ in range(12)]
            assert [a.status_code for a in answers] == [200] * 10 + [429] * 2
            assert answers[9].headers["x-sib-ratelimit-remaining"] == "0"
            assert answers[-1].headers["x-sib-ratelimit-reset"] == "1"
            assert [api.get("/account").status_code for _ in range(101)][-2:] == [200, 429]
            assert api.get("/webhooks").headers["x-sib-ratelimit-reset"] == "3600"
            moment[0] += 1
            assert api.get("/contacts").status_code == 200
        with httpx.HTTPTransport(verify=PLAIN) as line:
            it = over(line, base_url=base(sandbox), api_key=sim.key)
            for _ in range(9):
                it._contacts.page(size=1)
            with pytest.raises(TryLater) as caught:
                it._contacts.page(size=1)
            assert caught.value.after == timedelta(seconds=1)


def test_the_crowd_is_taken_in(sim: BrevoSim) -> None:
    """People of the demo, with the times of their last change, and what a person left shows."""
    fill(sim, [other for _, other in people(40, 3) if other is not None])
    shown, after = sim.records(0, 1000)
    assert after is None
    assert len(shown) > 20
    assert all(one["modifiedAt"].endswith("+02:00") for one in shown)
    sim.account.update(sim.account.rows[1], {"listIds": [2]}, "user")
    assert sim.edit({"id": 1, "action": "leave", "list": 2})["listUnsubscribed"] == [2]
