"""What HubSpot's public API specification says of communication preferences (v4) and of merging, as far as we call it.

The specification itself is not licensed for copies: these are its facts in our own words, in the form that
``tests.speccheck`` reads.  Source: HubSpot/HubSpot-public-api-spec-collection, "Subscriptions" v4 and "Contacts" v3.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx

from tests.sandboxed import CONTACTS
from tests.speccheck import SpecCheck

_STATES = ["NOT_SPECIFIED", "SUBSCRIBED", "UNSUBSCRIBED"]
_BASES = [
    *("CONSENT_WITH_NOTICE", "LEGITIMATE_INTEREST_CLIENT", "LEGITIMATE_INTEREST_OTHER", "LEGITIMATE_INTEREST_PQL"),
    *("NON_GDPR", "PERFORMANCE_OF_CONTRACT", "PROCESS_AND_STORE"),
]
_TEXT = {"type": "string"}
_TIME = {"type": "string", "format": "date-time"}
_EMAIL = {"type": "string", "enum": ["EMAIL"]}


def _object(required: dict[str, Any], **optional: Any) -> dict[str, Any]:
    return {"type": "object", "required": list(required), "properties": {**required, **optional}}


_STATUS = _object(
    {
        "channel": _EMAIL,
        "source": _TEXT,
        "status": {"type": "string", "enum": _STATES},
        "subscriberIdString": _TEXT,
        "subscriptionId": {"type": "integer"},
        "timestamp": _TIME,
    },
    legalBasis={"type": "string", "enum": _BASES},
    legalBasisExplanation=_TEXT,
    setStatusSuccessReason={
        "type": "string",
        "enum": [
            *("NO_STATUS_CHANGE", "REQUESTED_CHANGE_OCCURRED"),
            *("RESUBSCRIBE_OCCURRED", "UNSUBSCRIBE_FROM_ALL_OCCURRED"),
        ],
    },
    subscriptionName=_TEXT,
)
_WIDE = _object(
    {
        "channel": _EMAIL,
        "status": {"type": "string", "enum": _STATES},
        "subscriberIdString": _TEXT,
        "timestamp": _TIME,
        "wideStatusType": {"type": "string", "enum": ["BUSINESS_UNIT_WIDE", "PORTAL_WIDE"]},
    }
)
_CHANGE = _object(
    {
        "channel": _EMAIL,
        "statusState": {"type": "string", "enum": _STATES},
        "subscriptionId": {"type": "integer", "format": "int64"},
    },
    legalBasis={"type": "string", "enum": _BASES},
    legalBasisExplanation=_TEXT,
)
_MERGE = _object({"objectIdToMerge": _TEXT, "primaryObjectId": _TEXT})
_CONTACT = _object(
    {
        "archived": {"type": "boolean"},
        "createdAt": _TIME,
        "id": _TEXT,
        "properties": {"type": "object", "additionalProperties": {"type": "string", "nullable": True}},
        "updatedAt": _TIME,
    }
)
_ERROR = _object({"category": _TEXT, "correlationId": _TEXT, "message": _TEXT})


def _results(row: dict[str, Any]) -> dict[str, Any]:
    states = {"type": "string", "enum": ["CANCELED", "COMPLETE", "PENDING", "PROCESSING"]}
    return _object(
        {"completedAt": _TIME, "results": {"type": "array", "items": row}, "startedAt": _TIME, "status": states}
    )


def _call(answer: dict[str, Any], *, body: dict[str, Any] | None = None, channel: bool = False) -> dict[str, Any]:
    def content(schema: dict[str, Any]) -> dict[str, Any]:
        return {"description": "", "content": {"application/json": {"schema": schema}}}

    query = [{"name": "channel", "in": "query", "required": True, "schema": _EMAIL}] if channel else []
    made: dict[str, Any] = {"parameters": query, "responses": {"200": content(answer), "default": content(_ERROR)}}
    if body is not None:
        made["requestBody"] = {**content(body), "required": True}
    return made


_STATUSES = "/communication-preferences/v4/statuses/{subscriberIdString}"
_WHOM = [{"name": "subscriberIdString", "in": "path", "required": True, "schema": _TEXT}]

CONTRACT: dict[str, Any] = {
    "openapi": "3.0.3",
    "info": {"title": "HubSpot, in part", "version": "v4"},
    "servers": [{"url": "https://api.hubapi.com"}],
    "paths": {
        _STATUSES: {
            "parameters": _WHOM,
            "get": _call(_results(_STATUS), channel=True),
            "post": _call(_results(_STATUS), body=_CHANGE),
        },
        f"{_STATUSES}/unsubscribe-all": {
            "parameters": _WHOM,
            "get": _call(_results(_WIDE), channel=True),
            "post": _call(_results(_STATUS), channel=True),
        },
        "/crm/v3/objects/contacts/merge": {"post": _call(_CONTACT, body=_MERGE)},
    },
}


class Line(httpx.BaseTransport):
    """To a simulator, by way of the specification.  ``script``: answers or raises in its place; None lets it."""

    def __init__(self, inner: httpx.BaseTransport, url: str, specification: dict[str, Any] = CONTRACT) -> None:
        self.calls: list[tuple[str, str, Any]] = []
        self.script: Callable[[httpx.Request], httpx.Response | None] = lambda _: None
        self.inner = inner
        self.checked = SpecCheck({**specification, "servers": [{"url": url}]}, inner)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        request.read()
        self.calls.append((request.method, request.url.path, json.loads(request.content or b"null")))
        scripted = self.script(request)
        if scripted is not None:
            return scripted
        told = request.url.path.startswith("/communication-preferences") or request.url.path.endswith("/merge")
        return (self.checked if told else self.inner).handle_request(request)

    def said(self) -> list[str]:
        """The writing calls, short."""
        short = [
            f"{m} {p.removeprefix(CONTACTS).removeprefix('/communication-preferences/v4')}" for m, p, _ in self.calls
        ]
        return [s for s in short if not s.startswith("GET") and not s.endswith(("/read", "/search"))]
