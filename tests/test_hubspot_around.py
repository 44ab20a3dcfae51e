"""What the connector asks HubSpot about companies, deals and activities, against the public specification's facts.

The facts are in our own words, as in ``tests.examples.hubspot_contract``.  Source: HubSpot/HubSpot-public-api-spec-
collection, "Associations" v4, "Notes" v3, "CRM Owners" v3.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from connectors import _hubspot_acts as acts
from connectors.contract import Doing, Done, Ending, Kind, Note, Refused
from tests.examples.hubspot import FakeHubSpot, connect
from tests.examples.hubspot_around import around, notes
from tests.speccheck import SpecCheck
from tests.stage import START, seeds

_TEXT = {"type": "string"}
_ANY: dict[str, Any] = {"200": {"description": ""}, "201": {"description": ""}, "207": {"description": ""}}


def _object(required: dict[str, Any], **optional: Any) -> dict[str, Any]:
    properties = {**required, **optional}
    return {"type": "object", "required": list(required), "properties": properties, "additionalProperties": False}


def _list(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items}


def _body(schema: dict[str, Any]) -> dict[str, Any]:
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}, "responses": _ANY}


def _named(*names: str) -> list[dict[str, Any]]:
    return [{"name": n, "in": "path", "required": True, "schema": _TEXT} for n in names]


_TYPES = _object(
    {
        "associationCategory": {"type": "string", "enum": ["HUBSPOT_DEFINED", "INTEGRATOR_DEFINED", "USER_DEFINED"]},
        "associationTypeId": {"type": "integer"},
    }
)
_NOTE = _object(
    {
        "properties": {"type": "object", "additionalProperties": _TEXT},
        "associations": _list(_object({"to": _object({"id": _TEXT}), "types": _list(_TYPES)})),
    }
)
_TIES = _object({"inputs": _list(_object({"id": _TEXT}, after=_TEXT))})
_QUERY = [
    {"name": "email", "in": "query", "schema": _TEXT},
    {"name": "after", "in": "query", "schema": _TEXT},
    {"name": "limit", "in": "query", "schema": {"type": "integer", "maximum": 500}},
    {"name": "archived", "in": "query", "schema": {"type": "boolean"}},
]
CONTRACT: dict[str, Any] = {
    "openapi": "3.0.3",
    "info": {"title": "HubSpot, in part", "version": "v3"},
    "servers": [{"url": "https://api.hubapi.com"}],
    "paths": {
        "/crm/v4/associations/{fromObjectType}/{toObjectType}/batch/read": {
            "parameters": _named("fromObjectType", "toObjectType"),
            "post": _body(_TIES),
        },
        "/crm/v3/objects/notes": {"post": _body(_NOTE)},
        "/crm/v3/owners": {"get": {"parameters": _QUERY, "responses": _ANY}},
    },
}


class Line(httpx.BaseTransport):
    """To the fake, by way of the specification where it speaks of the call."""

    def __init__(self, fake: FakeHubSpot, spoil: Callable[[Any], Any] = lambda body: body) -> None:
        self.fake = httpx.MockTransport(fake)
        self.checked = SpecCheck(CONTRACT, self.fake)
        self.spoil = spoil

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        told = "/associations/" in path or path.endswith(("/objects/notes", "/owners"))
        if not told:
            return self.fake.handle_request(request)
        if request.content:
            body = json.dumps(self.spoil(json.loads(request.content))).encode()
            headers = {k: v for k, v in request.headers.items() if k != "content-length"}
            request = httpx.Request(request.method, request.url, headers=headers, content=body)
        return self.checked.handle_request(request)


def life(line: Line, fake: FakeHubSpot) -> None:
    """Everything that the connector asks about what stands around contacts."""
    it = connect(line)
    for kind in (Kind.COMPANY, Kind.DEAL, Kind.COLLEAGUE):
        it.changed(kind, None)
    cursor: str | None = None
    more = True
    while more:
        page = it.acts(cursor)
        cursor, more = page.cursor, page.more
    who = fake.ids[0]
    for again in (False, True):
        (receipt,) = it.note([Note("k", who, START, "Clicked", again=again)])
        assert isinstance(receipt, Done)
    assert len([n for n in notes(fake, who) if n.startswith("Clicked (Tandem ") and len(n) > 30]) >= 1


def played() -> FakeHubSpot:
    """A fake with a company, a deal, an owner, and acts."""
    fake = FakeHubSpot(seeds(3))
    around(fake)
    return fake


def test_every_request_is_as_the_specification_says() -> None:
    """Associations, notes, owners."""
    fake = played()
    line = Line(fake)
    life(line, fake)
    assert len(set(line.checked.seen)) == 3


@pytest.mark.parametrize(
    "spoil",
    [
        lambda b: {**b, "inputs": [{"objectId": i["id"]} for i in b["inputs"]]} if "inputs" in b else b,
        lambda b: {**b, "inputs": [{"id": int(i["id"])} for i in b["inputs"]]} if "inputs" in b else b,
        lambda b: {k: v for k, v in b.items() if k != "associations"},
        lambda b: {**b, "properties": {**b["properties"], "hs_timestamp": 5}} if "properties" in b else b,
    ],
    ids=["another name", "a number", "no association", "a number for a text"],
)
def test_a_wrong_request_is_found(spoil: Callable[[Any], Any]) -> None:
    """Saboteurs: each breaks one rule."""
    fake = played()
    with pytest.raises(AssertionError):
        life(Line(fake, spoil), fake)


@pytest.mark.parametrize(
    ("name", "fields", "kind", "outcome", "human"),
    [
        ("calls", {"hs_call_status": "COMPLETED"}, Doing.CALL, Ending.HELD, True),
        ("calls", {"hs_call_status": "RINGING"}, Doing.CALL, Ending.PLANNED, True),
        (
            "calls",
            {"hs_call_status": "COMPLETED", "hs_call_disposition": "f240bbac-87c9-4f6e-bf70-924b57d47db7"},
            Doing.CALL,
            Ending.CONNECTED,
            True,
        ),
        ("calls", {"hs_call_direction": "INBOUND"}, Doing.REPLY, None, True),
        ("meetings", {"hs_meeting_outcome": "NO_SHOW"}, Doing.MEETING, Ending.NO_SHOW, True),
        ("meetings", {}, Doing.MEETING, None, True),
        ("emails", {"hs_email_direction": "INCOMING_EMAIL"}, Doing.REPLY, Ending.RECEIVED, True),
        ("emails", {"hs_email_direction": "EMAIL", "hs_email_status": "BOUNCED"}, Doing.MAIL, Ending.FAILED, None),
        ("notes", {}, Doing.NOTE, None, None),
        ("tasks", {"hs_task_status": "COMPLETED"}, Doing.TASK, Ending.DONE, None),
        ("tasks", {}, Doing.TASK, Ending.OPEN, None),
    ],
)
def test_what_an_activity_was(
    name: str, fields: dict[str, str], kind: Doing, outcome: Ending | None, human: bool | None
) -> None:
    """By direction, disposition, status."""
    assert (acts._kind(name, fields)[0], *acts._kind(name, fields)[2:]) == (kind, outcome, human)


def test_an_association_list_of_many_is_read_whole() -> None:
    """A company with more people than a page of associations holds."""
    fake = FakeHubSpot(seeds(1))
    company = fake.objects.put("companies", {"name": "Large"})
    for n in range(1, 1_203):
        fake.objects.associate(("companies", company), ("contacts", n), main=n == 7)
    (record,) = connect(httpx.MockTransport(fake)).read(Kind.COMPANY, [str(company)])
    ties = {tie.id: tie for tie in record.ties[Kind.CONTACT]}
    assert len(ties) == 1_202
    assert [i for i, tie in ties.items() if tie.main] == ["7"]


def test_a_cursor_of_somebody_else_is_refused() -> None:
    """So that the rounds begin anew."""
    for cursor in ("{}", "[9,{}]", '[0,{"calls":{"x":1}}]', "junk"):
        with pytest.raises(Refused, match="cursor"):
            connect(httpx.MockTransport(played())).acts(cursor)
