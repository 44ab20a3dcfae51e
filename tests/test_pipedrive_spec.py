"""Pipedrive's connector and simulator against Pipedrive's own OpenAPI documents, of API v2 and of what is left of v1.

Three things are mended here: the documents list the words of a comma-separated parameter as if only one were allowed,
some bodies are put together of parts that refuse each other's words, and what an error looks like they do not say.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from connectors.contract import Done, Exists, Failed, Gone, Kind, Note, Order, Refused, Verb
from connectors.pipedrive import Pipedrive
from sandbox.pipedrive import PipedriveSim
from sandbox.pipedrive_store import LEVEL, NICK, TOPICS
from sandbox.serve import Sandbox
from tests.examples.pipedrive import NOW, FakePipedrive, around, over
from tests.sandboxed import PLAIN
from tests.speccheck import SpecCheck, load
from tests.stage import seeds

C = Kind.CONTACT
USED = {
    "v2": (
        *("/persons", "/persons/{id}", "/persons/search", "/personFields", "/organizations", "/organizationFields"),
        *("/deals", "/deals/archived", "/dealFields", "/stages", "/pipelines", "/activities"),
    ),
    "v1": ("/users/me", "/webhooks", "/webhooks/{id}", "/users", "/notes", "/deals/{id}/participants"),
}


@functools.cache
def document() -> dict[str, Any]:
    """The paths that are used of both documents, below ``/api`` with their versions."""
    paths: dict[str, Any] = {}
    made: dict[str, Any] = {}
    for version, used in USED.items():
        made = load("pipedrive", f"pipedrive-openapi-{version}.yaml.gz")
        paths |= {f"/{version}{path}": copy.deepcopy(made["paths"][path]) for path in used}
    for item in paths.values():
        for operation in item.values():
            for parameter in operation.get("parameters", []):
                if "comma separated" in parameter.get("description", "").lower():
                    words = parameter["schema"].pop("enum", None)
                    if words:
                        one = f"({'|'.join(words)})"
                        parameter["schema"]["pattern"] = f"^{one}(,{one})*$"
            for content in operation.get("requestBody", {}).get("content", {}).values():
                content["schema"] = _joined(content["schema"])
            for status in ("400", "404"):
                operation["responses"].setdefault(status, {"description": "an error"})
            # What an answer may hold besides, and which of it may be null, the documents leave open.
            for answer in operation["responses"].values():
                for content in answer.get("content", {}).values():
                    _lenient(content.get("schema"))
    return {**made, "servers": [{"url": "https://example.pipedrive.com/api"}], "paths": paths}


def _joined(schema: dict[str, Any]) -> dict[str, Any]:
    """A body of several parts as one, else each part would refuse what the others name."""
    parts = schema.get("allOf", [])
    if not parts or not all("properties" in part for part in parts):
        return schema
    properties = {name: about for part in parts for name, about in part["properties"].items()}
    needed = [name for part in parts for name in part.get("required", [])]
    return {"type": "object", "properties": properties, **({"required": needed} if needed else {})}


def _lenient(schema: Any) -> None:
    if isinstance(schema, dict):
        if "type" in schema and isinstance(schema["type"], str):
            schema.setdefault("nullable", True)
        for part in schema.values():
            _lenient(part)
    elif isinstance(schema, list):
        for part in schema:
            _lenient(part)


def checked(inner: httpx.BaseTransport) -> SpecCheck:
    return SpecCheck(document(), inner, credential="x-api-token")


@pytest.fixture
def sim() -> Iterator[tuple[PipedriveSim, Sandbox]]:
    pipe = PipedriveSim(lag=0.0)
    with Sandbox(pipedrive=pipe) as sandbox:
        yield pipe, sandbox


def test_every_request_and_answer_is_as_the_documents_say(sim: tuple[PipedriveSim, Sandbox]) -> None:
    """The connector goes through a life at the simulator, and both speak as Pipedrive's documents have it."""
    pipe, sandbox = sim
    pipe.people.orgs[7] = "Example GmbH"
    with httpx.HTTPTransport(verify=PLAIN) as line:
        check = checked(line)
        custom = [f"custom_fields.{key}" for key in (NICK, LEVEL, TOPICS)]
        fields = ",".join(["marketing_status", "doi_status", "org_name", *custom])
        it = over(check, base_url=sandbox.url("pipedrive"), api_token=pipe.token, fields=fields)
        assert "persons readable" in it.check()
        assert it.describe(C).properties[f"custom_fields.{LEVEL}"].options == ("21", "22", "23")
        new = [
            Order(f"k{n}", C, Verb.CREATE, {"name": f"Lee {n}", "emails.primary": f"p{n}@one.example", "org_id": "7"})
            for n in range(5)
        ]
        made = it.write([*new, Order("x", C, Verb.CREATE, {"name": "L", "emails.primary": "P1@one.example"})])
        assert [type(r) for r in made] == [Done] * 5 + [Exists]
        ids = [r.id for r in made if isinstance(r, Done)]
        page = it.changed(C, None)
        assert {r.id for r in page.records} == set(ids) == {r.id for r in it.changed(C, page.cursor).records}
        assert {r.fields["org_name"] for r in it.read(C, ids)} == {"Example GmbH"}
        assert [r.id for r in it.find(C, "email", ["P2@one.example"])] == [ids[2]]
        said = {"marketing_status": "unsubscribed", f"custom_fields.{LEVEL}": "22", f"custom_fields.{TOPICS}": "31,32"}
        orders = [
            Order("a", C, Verb.UPDATE, {**said, "phones.primary": "+4930901820", "phones.mobile": "+4915"}, id=ids[0]),
            Order("b", C, Verb.UPDATE, {"emails.primary": "new@one.example", f"custom_fields.{NICK}": None}, id=ids[1]),
            Order("c", C, Verb.UPDATE, {"name": "L"}, id="99999"),
            Order("d", C, Verb.ARCHIVE, {}, id=ids[2]),
            Order("e", C, Verb.ERASE, {}, id=ids[3]),
        ]
        assert [type(r) for r in it.write(orders)] == [Done, Done, Gone, Done, Done]
        (found,) = it.read(C, [ids[0]])
        assert (found.fields["marketing_status"], found.fields[f"custom_fields.{LEVEL}"]) == ("unsubscribed", 22)
        assert (found.fields["phones.primary"], found.fields["phones.mobile"]) == ("+4930901820", "+4915")
        (hook,) = it.hook("https://tandem.example/webhooks/pipedrive").hooks
        it.unhook(hook.id)
        assert not it.hooks()
        used = {
            *("GET /v2/persons", "POST /v2/persons", "PATCH /v2/persons/{id}", "DELETE /v2/persons/{id}"),
            *("GET /v2/persons/search", "GET /v2/personFields", "GET /v2/organizations", "GET /v1/users/me"),
            *("GET /v1/webhooks", "POST /v1/webhooks", "DELETE /v1/webhooks/{id}"),
        }
        assert set(check.seen) == used


def test_what_stands_around_persons_is_asked_as_the_documents_say() -> None:
    """Organizations, deals, users, activities, notes, mails: requests and answers, a walk and a poll."""
    fake = FakePipedrive(seeds(3))
    stands = around(fake)
    fake.objects.take_part(int(stands.deal), *map(int, fake.ids))
    kinds = {Kind.COMPANY: ("name", "address.locality", "industry.label"), Kind.DEAL: ("stage.name", "pipeline.name")}
    check = checked(httpx.MockTransport(fake))
    it = over(check, fields="", **Pipedrive.from_objects({**kinds, Kind.DEAL: (*kinds[Kind.DEAL], "channel.label")}))
    fake.objects.put("organizations", int(stands.company), industry=11)
    fake.objects.put("deals", int(stands.deal), channel=61)
    cursors: dict[Kind, str] = {}
    for _ in range(2):  # the first poll after the walk asks for deleted deals, too
        for kind in (Kind.COMPANY, Kind.DEAL):
            page = it.changed(kind, cursors.get(kind))
            while page.more:
                page = it.changed(kind, page.cursor)
            cursors[kind] = page.cursor
    assert it.read(Kind.COMPANY, [stands.company])
    assert it.read(Kind.DEAL, [stands.deal, "5"])
    assert it.changed(Kind.COLLEAGUE, None).records
    acts = it.acts(None)
    while acts.more:
        acts = it.acts(acts.cursor)
    for again in (False, True):
        assert isinstance(it.note([Note("k", fake.ids[0], NOW, "Clicked", again=again)])[0], Done)
    assert {Kind.COMPANY, Kind.DEAL} == {it.describe(kind).kind for kind in (Kind.COMPANY, Kind.DEAL)}
    assert set(check.seen) == {
        *("GET /v2/organizations", "GET /v2/organizationFields", "GET /v2/deals", "GET /v2/deals/archived"),
        *("GET /v2/dealFields", "GET /v2/stages", "GET /v2/pipelines", "GET /v1/deals/{id}/participants"),
        *("GET /v1/users", "GET /v2/activities", "GET /v1/notes", "GET /v2/persons", "POST /v1/notes"),
    }


def test_the_checker_and_the_simulator_refuse_alike(sim: tuple[PipedriveSim, Sandbox]) -> None:
    """A visibility that is no number: the document forbids the request, the simulator refuses it."""
    pipe, sandbox = sim
    order = Order("k", C, Verb.CREATE, {"name": "A", "visible_to": "all"})
    it = over(httpx.HTTPTransport(verify=PLAIN), base_url=sandbox.url("pipedrive"), api_token=pipe.token)
    (receipt,) = it.write([order])
    assert isinstance(receipt, Failed)
    assert isinstance(receipt.problem, Refused)
    assert receipt.problem.field == "visible_to"
    it._http.close()
    with pytest.raises(AssertionError, match="visible_to"):
        over(checked(httpx.MockTransport(lambda _: httpx.Response(200, json={"success": True, "data": []})))).write(
            [order]
        )


@pytest.mark.parametrize(
    ("method", "path", "body", "complaint"),
    [
        ("GET", "/v2/persons?updatedSince=2026-01-01T00:00:00Z", None, "updatedSince"),
        ("GET", "/v2/persons?sort_by=name", None, "sort_by"),
        ("GET", "/v2/persons?include_fields=marketing_status,optin", None, "include_fields"),
        ("GET", "/v2/persons/search?fields=email", None, "term"),
        ("POST", "/v2/persons", {"name": "Ada", "first_name": "Ada"}, "first_name"),
        ("POST", "/v2/persons", {"name": "Ada", "emails": ["a@b.example"]}, "emails"),
        ("PATCH", "/v2/persons/1", {"marketing_status": "opted_out"}, "marketing_status"),
        ("PATCH", "/v2/persons/1", {"owner_id": "5"}, "owner_id"),
        (
            "POST",
            "/v1/webhooks",
            {"subscription_url": "https://a.example", "event_action": "*"},
            "event_object",
        ),
        ("PUT", "/v2/persons/1", {}, "not in the specification"),
        ("GET", "/v1/persons", None, "not in the specification"),
        ("GET", "/v2/deals?status=open,gone", None, "status"),
        ("GET", "/v2/deals?include_fields=participants", None, "include_fields"),
        ("GET", "/v1/notes?since=2026-01-01", None, "since"),
        ("POST", "/v1/notes", {"person_id": 1}, "content"),
        ("POST", "/v1/notes", {"content": "x", "person_id": "one"}, "person_id"),
    ],
)
def test_the_checker_finds_what_is_wrong(method: str, path: str, body: Any, complaint: str) -> None:
    """The saboteurs: a checker that lets everything pass is worse than none."""
    check = checked(httpx.MockTransport(lambda _: httpx.Response(200, json={"success": True, "data": []})))
    url, sent = f"https://example.pipedrive.com/api{path}", {} if body is None else {"json": body}
    with pytest.raises(AssertionError, match=complaint):
        check.handle_request(httpx.Request(method, url, headers={"x-api-token": "k"}, **sent))


def test_the_checker_misses_no_token_and_judges_answers() -> None:
    """A request without a token; a wrong type in an answer."""
    rows = [{"id": "one", "name": "Ada"}]
    wrong = checked(httpx.MockTransport(lambda _: httpx.Response(200, json={"success": True, "data": rows})))
    url = "https://example.pipedrive.com/api/v2/persons"
    with pytest.raises(AssertionError, match="x-api-token"):
        wrong.handle_request(httpx.Request("GET", url))
    with pytest.raises(AssertionError, match="answer to"):
        wrong.handle_request(httpx.Request("GET", url, headers={"x-api-token": "k"}))
