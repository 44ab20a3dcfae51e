"""What HubSpot's endpoints share: the body, the asked-for properties, the author of a change, an error as an answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from sandbox.front import Json, header
from sandbox.hubspot_rules import HubSpotError, bad

Endpoint = Callable[[Request], Awaitable[Response]]
Routes = list[tuple[str, str, Endpoint]]
"""(method, path, endpoint)."""

_SOURCE = b"x-sandbox-source"  # request header: who is to be seen as the author of the change


async def body(request: Request) -> dict[str, Any]:
    """The JSON object that was sent.  Raises 415 for another content type, 400 for what is no object."""
    if not request.headers.get("content-type", "").startswith("application/json"):
        raise HubSpotError(415, "BAD_REQUEST", "The content type must be application/json")
    try:
        found = orjson.loads(await request.body())
    except orjson.JSONDecodeError as error:
        raise bad(f"Invalid input JSON on line {error.lineno}, column {error.colno}") from None
    if not isinstance(found, dict):
        raise bad("Invalid input JSON: an object was expected")
    return found


def required(given: Mapping[str, Any], key: str) -> Any:
    """The value of a key that must be there.  Raises 400."""
    if key not in given:
        raise bad(f"Some required fields were not set: [{key}]")
    return given[key]


def flag(request: Request, name: str) -> bool:
    """A boolean in the query; HubSpot's own Python client writes ``True``."""
    return request.query_params.get(name, "").lower() == "true"


def source(request: Request) -> str:
    """Who is to be seen as the author: the API, unless the sandbox's own header says otherwise."""
    named = header(request.scope, _SOURCE)
    return named if named else "INTEGRATION"


def names(request: Request) -> tuple[list[str] | None, list[str]]:
    """(properties, propertiesWithHistory) as asked for: once with commas, or repeated; None = not asked."""
    query = request.query_params
    asked = [n for text in query.getlist("properties") for n in text.split(",") if n]
    histories = [n for text in query.getlist("propertiesWithHistory") for n in text.split(",") if n]
    return asked if asked else None, histories


def answer(error: HubSpotError) -> Response:
    """The error as an answer."""
    said = error.body()
    return Json(said, status_code=error.status, headers={"x-hubspot-correlation-id": said["correlationId"]})
