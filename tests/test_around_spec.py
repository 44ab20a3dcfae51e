"""What connectors ask about companies, deals and acts is in the vendors' own documents: path, method, parameters."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import httpx

from connectors.contract import Connector, Kind
from connectors.espocrm import EspoCrm
from connectors.mailchimp import Mailchimp
from tests.examples.espocrm import ESPOCRM
from tests.examples.mailchimp import MAILCHIMP
from tests.speccheck import load
from tests.stage import Example, Stage, seeds

_CONDITION = re.compile(r"whereGroup\[\d+\]\[\w+\](\[\])?")


def unknown(document: Mapping[str, Any], requests: Sequence[httpx.Request], prefix: str) -> list[str]:
    """What the requests say that the document does not know."""
    return [word for request in requests for word in _unknown(document, request, prefix)]


def _unknown(document: Mapping[str, Any], request: httpx.Request, prefix: str) -> Iterator[str]:
    path = request.url.path.removeprefix(prefix)
    found = [p for p in document["paths"] if re.fullmatch(re.sub(r"\{[^}]*\}", "[^/]+", p), path)]
    exact = sorted(found, key=lambda p: p.count("{"))[:1]
    if not exact or request.method.lower() not in document["paths"][exact[0]]:
        yield f"{request.method} {path}"
        return
    item = document["paths"][exact[0]]
    given = [*item.get("parameters", []), *item[request.method.lower()].get("parameters", [])]
    names = {_parameter(document, p)["name"] for p in given}
    for name in request.url.params:
        if name not in names and not _CONDITION.fullmatch(name):
            yield f"{path}: {name}"


def _parameter(document: Mapping[str, Any], parameter: Mapping[str, Any]) -> Mapping[str, Any]:
    if "$ref" not in parameter:
        return parameter
    found: Any = document
    for part in parameter["$ref"].removeprefix("#/").split("/"):
        found = found[part]
    return dict(found)


def asked(kind: type[Connector], example: Example, *kinds: Kind) -> list[httpx.Request]:
    """All that a connector asks when it reads what stands around contacts."""
    stage = Stage(kind, example, seeds(3))
    assert example.around is not None
    around = example.around(stage.vendor)
    for one in kinds:
        stage.it.changed(one, None)
        if one is not Kind.COLLEAGUE:
            stage.it.read(one, [around.company if one is Kind.COMPANY else around.deal])
    cursor: str | None = None
    more = True
    while more:
        page = stage.it.acts(cursor)
        cursor, more = page.cursor, page.more
    return stage.calls


def espo() -> tuple[Mapping[str, Any], list[httpx.Request]]:
    """EspoCRM's document and requests."""
    document = load("espocrm", "espocrm-openapi.json.gz")
    return document, asked(EspoCrm, ESPOCRM, Kind.COMPANY, Kind.DEAL, Kind.COLLEAGUE)


def chimp() -> tuple[Mapping[str, Any], list[httpx.Request]]:
    """Mailchimp's document and requests."""
    document = load("mailchimp", "mailchimp-reports-api-openapi.yml.gz")
    return document, [r for r in asked(Mailchimp, MAILCHIMP) if not r.url.path.endswith("/ping")]


def test_espocrm_is_asked_what_it_knows() -> None:
    """Lists, related lists, and their parameters."""
    document, requests = espo()
    assert {r.url.path.split("/")[3] for r in requests} == {"Account", "Opportunity", "User", "Call", "Meeting", "Task"}
    assert unknown(document, requests, "/api/v1") == []


def test_mailchimp_is_asked_what_it_knows() -> None:
    """Reports, activity, opt-outs, A/B groups."""
    document, requests = chimp()
    assert len({r.url.path.rsplit("/", 1)[-1] for r in requests}) >= 4
    assert unknown(document, requests, "/3.0") == []


def test_a_wrong_question_is_found() -> None:
    """Saboteurs: a misspelt parameter, and a misspelt entity."""
    document, requests = chimp()
    bad = [httpx.Request("GET", str(r.url).replace("since_send_time", "sent_since")) for r in requests]
    assert any("sent_since" in word for word in unknown(document, bad, "/3.0"))
    document, requests = espo()
    bad = [httpx.Request("GET", str(r.url).replace("/Opportunity", "/Deal")) for r in requests]
    assert any(word.startswith("GET /Deal") for word in unknown(document, bad, "/api/v1"))
