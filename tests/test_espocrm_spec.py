"""EspoCRM's connector and simulator against EspoCRM's own OpenAPI document.

The document describes records; what it leaves out (who we are, metadata, erasure, webhooks) is described in prose only
and is listed here by name.  Its conditions (``whereGroup``) are lists of objects in a query, which the checker cannot
read: they are put together here as PHP does, and judged by the document's own schema.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from typing import Any

import httpx
import jsonschema
import pytest

from connectors.contract import Done, Exists, Failed, Gone, Kind, Order, Refused, Verb
from sandbox.espocrm import EspoSim
from sandbox.serve import Sandbox
from tests.examples.espocrm import conditions, over
from tests.sandboxed import PLAIN
from tests.speccheck import SpecCheck, load, strict

C = Kind.CONTACT
WEBHOOKS = {"GET /Webhook", "POST /Webhook", "PUT /Webhook/{id}", "DELETE /Webhook/{id}"}
PROSE = {"GET /App/user", "GET /Metadata", "POST /DataPrivacy/action/erase", *WEBHOOKS}
_ONE = re.compile(r"/Webhook/[0-9a-f]{17}")
_CONDITION = re.compile(r"whereGroup\[\d+\]\[\w+\](\[\])?")


def document() -> dict[str, Any]:
    """The document, its requests closed, with the 404 that it forgot."""
    made = load("espocrm", "espocrm-openapi.json.gz")
    schemas = made["components"]["schemas"]
    for about in schemas["Contact"]["properties"].values():
        if "enum" in about and "null" in about["type"]:
            about["enum"] = [*about["enum"], None]  # the type says that it may be null, the enum forgot it
    schemas["Contact_closed"] = strict(copy.deepcopy(schemas["Contact"]))
    made["paths"] = {
        path: made["paths"][path] for path in ("/Contact", "/Contact/{id}", "/Lead")
    }  # the rest takes long
    for path in ("/Contact", "/Contact/{id}"):
        for method, operation in made["paths"][path].items():
            if method == "parameters":
                continue
            operation["responses"].setdefault("404", {"description": "not there"})
            if "requestBody" in operation:
                required = {"required": ["lastName"]} if method == "post" else {}
                closed = {"$ref": "#/components/schemas/Contact_closed"}
                operation["requestBody"]["content"]["application/json"]["schema"] = {"allOf": [closed], **required}
            operation["parameters"] = [p for p in operation.get("parameters", []) if p.get("style") != "deepObject"]
    return made


class Checked(httpx.BaseTransport):
    """The checker with what it cannot read taken out and judged by itself."""

    def __init__(self, inner: httpx.BaseTransport) -> None:
        made = document()
        names = [f"whereGroup[{n}][{part}]" for n in range(4) for part in ("type", "attribute", "value", "value][")]
        self._check = SpecCheck(made, inner, credential="x-api-key", unlisted=names)
        self._inner = inner
        reference = {"$ref": "#/components/schemas/whereItem", "components": made["components"]}
        self._condition = jsonschema.Draft202012Validator(reference)
        self.prose: list[str] = []

    @property
    def seen(self) -> set[str]:
        return {*self._check.seen, *self.prose}

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        name = f"{request.method} {_ONE.sub('/Webhook/{id}', request.url.path.removeprefix('/api/v1'))}"
        if name in PROSE:
            assert request.headers.get("x-api-key"), f"{name}: no x-api-key header"
            self.prose.append(name)
            return self._inner.handle_request(request)
        for name in request.url.params:
            assert not name.startswith("where") or _CONDITION.fullmatch(name), f"{name} is no condition"
        for type_, attribute, value in conditions(request.url.params.multi_items()):
            self._condition.validate({"type": type_, "attribute": attribute, "value": value})
        return self._check.handle_request(request)


@pytest.fixture
def sim() -> Iterator[tuple[EspoSim, Sandbox]]:
    espo = EspoSim()
    with Sandbox(espocrm=espo) as sandbox:
        yield espo, sandbox


def test_every_request_and_answer_is_as_the_document_says(sim: tuple[EspoSim, Sandbox]) -> None:
    """The connector goes through a life at the simulator, and both speak as EspoCRM's document has it."""
    espo, sandbox = sim
    with httpx.HTTPTransport(verify=PLAIN) as line:
        checked = Checked(line)
        attributes = "firstName,lastName,title,phoneNumber,doNotCall,emailAddressIsOptedOut,addressCity,accountName"
        it = over(checked, base_url=sandbox.url("espocrm"), api_key=espo.key, attributes=attributes, page_size="3")
        assert "'tandem'" in it.check()
        assert it.describe(C).properties["emailAddressIsOptedOut"].type == "bool"
        new = [
            Order(f"k{n}", C, Verb.CREATE, {"lastName": "Lee", "emailAddress": f"p{n}@one.example"}) for n in range(5)
        ]
        made = it.write([*new, Order("x", C, Verb.CREATE, {"lastName": "L", "emailAddress": "P1@one.example"})])
        assert [type(r) for r in made] == [Done] * 5 + [Exists]
        ids = [r.id for r in made if isinstance(r, Done)]
        walked, cursor = [], None
        for _ in range(9):
            page = it.changed(C, cursor)
            walked += [r.id for r in page.records]
            cursor = page.cursor
        assert set(walked) == set(ids)
        assert {r.id for r in it.read(C, ids)} == set(ids)
        assert [r.id for r in it.find(C, "email", ["P2@one.example"])] == [ids[2]]
        orders = [
            Order("a", C, Verb.UPDATE, {"emailAddressIsOptedOut": "true", "title": None}, id=ids[0]),
            Order("b", C, Verb.UPDATE, {"emailAddress": "new@one.example", "addressCity": "Bonn"}, id=ids[1]),
            Order("c", C, Verb.UPDATE, {"lastName": "L" * 90}, id="65f0c1d2e3a4b5fff"),
            Order("d", C, Verb.ARCHIVE, {}, id=ids[2]),
            Order("e", C, Verb.ERASE, {}, id=ids[3]),
        ]
        receipts = it.write(orders)
        assert [type(r) for r in receipts] == [Done, Done, Gone, Done, Done]
        (record,) = it.read(C, [ids[0]])
        assert record.fields["emailAddressIsOptedOut"] is True
        url = "https://tandem.example/webhooks/espocrm"
        hooked = it.hook(url)
        assert {hook.about for hook in hooked.hooks} == {"Contact.create", "Contact.update", "Contact.delete"}
        assert {hook.id for hook in it.hook(url).hooks} == {hook.id for hook in hooked.hooks}
        for hook in hooked.hooks:
            it.unhook(hook.id)
        assert not it.hooks()
        assert checked.seen >= {"GET /Contact", "POST /Contact", "PATCH /Contact/{id}", "DELETE /Contact/{id}", *PROSE}


def test_the_checker_and_the_simulator_refuse_alike(sim: tuple[EspoSim, Sandbox]) -> None:
    """A record without a last name: the document forbids the request, the simulator refuses it."""
    espo, sandbox = sim
    order = Order("k", C, Verb.CREATE, {"firstName": "A", "emailAddress": "a@one.example"})
    it = over(httpx.HTTPTransport(verify=PLAIN), base_url=sandbox.url("espocrm"), api_key=espo.key)
    (receipt,) = it.write([order])
    assert isinstance(receipt, Failed)
    assert isinstance(receipt.problem, Refused)
    assert receipt.problem.field == "lastName"
    it._http.close()
    with pytest.raises(AssertionError, match="lastName"):
        over(Checked(httpx.MockTransport(lambda _: listing([])))).write([order])


def listing(rows: list[dict[str, Any]]) -> httpx.Response:
    return httpx.Response(200, json={"total": len(rows), "list": rows})


@pytest.mark.parametrize(
    ("method", "path", "body", "complaint"),
    [
        ("GET", "/Contact?whereGroup[0][type]=equal&whereGroup[0][attribute]=id&whereGroup[0][value]=1", None, "equal"),
        ("GET", "/Contact?where[0][type]=equals", None, "no condition"),
        ("GET", "/Contact?select=id", None, "select"),
        ("GET", "/Contact?attributeSelect=frstName", None, "frstName"),
        ("GET", "/Contact?maxSize=500", None, "maxSize"),
        ("GET", "/Contact?order=ASC", None, "order"),
        ("POST", "/Contact", {"firstName": "Ada"}, "lastName"),
        ("POST", "/Contact", {"lastName": "Byron", "frstName": "Ada"}, "frstName"),
        ("PATCH", "/Contact/a1", {"doNotCall": "true"}, "doNotCall"),
        ("PATCH", "/Contact/a1", {"lastName": None}, "lastName"),
        ("PUT", "/Contact/a1", {}, "not in the specification"),
        ("GET", "/EmailAddress", None, "not in the specification"),
    ],
)
def test_the_checker_finds_what_is_wrong(method: str, path: str, body: Any, complaint: str) -> None:
    """The saboteurs: a checker that lets everything pass is worse than none."""
    checked = Checked(httpx.MockTransport(lambda _: listing([])))
    request = httpx.Request(
        method,
        f"https://crm.example.com/api/v1{path}",
        headers={"x-api-key": "k"},
        **({} if body is None else {"json": body}),
    )
    with pytest.raises((AssertionError, jsonschema.ValidationError), match=complaint):
        checked.handle_request(request)


def test_the_checker_misses_no_key_and_judges_answers() -> None:
    """A request without a key; a wrong type in an answer."""
    wrong = Checked(httpx.MockTransport(lambda _: listing([{"id": "a1", "doNotCall": "no"}])))
    url = "https://crm.example.com/api/v1/Contact"
    with pytest.raises(AssertionError, match="x-api-key"):
        wrong.handle_request(httpx.Request("GET", url))
    with pytest.raises(AssertionError, match="answer to"):
        wrong.handle_request(httpx.Request("GET", url, headers={"x-api-key": "k"}))
