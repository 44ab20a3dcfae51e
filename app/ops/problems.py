"""Errors as RFC 9457 problem documents, and the shield around every answer of the API.

In: exceptions.  Out: ``application/problem+json`` that says what is wrong and what would be right, and never what a
caller sent: that may be a person's data.  An exception nobody expected is answered with an id alone, and logged under
that id with its type and place, not with its message.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from traceback import extract_tb
from typing import TYPE_CHECKING, Any, Final

import structlog
from fastapi import FastAPI, Request
from fastapi.dependencies.utils import get_flat_params
from fastapi.exceptions import RequestValidationError
from fastapi.params import ParamTypes
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from app.core.errors import NotFound, NotPossible

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

log = structlog.get_logger(__name__)

MEDIA_TYPE: Final = "application/problem+json"
BODY_LIMIT: Final = 128 * 1024  # bytes; what this API is asked fits into a fraction of it
RETRY_SECONDS: Final = "5"

# https://cheatsheetseries.owasp.org/cheatsheets/REST_Security_Cheat_Sheet.html#security-headers; a page that needs more
# says so itself.
HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Referrer-Policy": "same-origin",  # with no-referrer a browser calls our own forms' origin "null"
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class Invalid(BaseModel):
    """One thing in a request that cannot be used."""

    model_config = ConfigDict(frozen=True)

    where: str = Field(description="path, query, header or body", examples=["query"])
    name: str = Field(description="Which one; dots go into an object.", examples=["limit"])
    detail: str = Field(examples=["Input should be less than or equal to 200"])


class Problem(BaseModel):
    """What went wrong (RFC 9457).  ``type`` is always ``about:blank``: the status says it all."""

    model_config = ConfigDict(frozen=True)

    type: str = Field(default="about:blank", examples=["about:blank"])
    title: str = Field(description="The status in words.", examples=["Not Found"])
    status: int = Field(examples=[404])
    detail: str | None = Field(default=None, description="What to do about it.", examples=["there is no event 7"])
    instance: str | None = Field(default=None, description="Under which id the log has it.")
    errors: list[Invalid] | None = Field(default=None, description="What in the request cannot be used.")


def answer(
    status: int,
    detail: str | None = None,
    *,
    headers: Mapping[str, str] | None = None,
    instance: str | None = None,
    errors: Sequence[Invalid] | None = None,
) -> Response:
    """A problem as a response."""
    problem = Problem(
        title=HTTPStatus(status).phrase,
        status=status,
        detail=detail,
        instance=instance,
        errors=list(errors) if errors is not None else None,
    )
    return JSONResponse(problem.model_dump(exclude_none=True), status, dict(headers or {}), MEDIA_TYPE)


def invalid(where: str, name: str, detail: str) -> RequestValidationError:
    """To be raised for something in a request that only we can see is wrong."""
    return RequestValidationError([{"type": "value_error", "loc": (where, name), "msg": detail}])


async def known_query(request: Request) -> None:
    """Dependency: refuse a misspelt parameter, which would otherwise widen what was asked for to everything.

    What an operation knows is what its own dependencies declare.
    """
    if not request.query_params:
        return
    known = _query_names(request.scope["route"])
    for name in request.query_params:
        if name not in known:
            raise invalid("query", "?", f"an unknown parameter; known: {', '.join(known) if known else 'none'}")


def _query_names(route: APIRoute) -> tuple[str, ...]:
    """The names of the query parameters of an operation, in the order of the OpenAPI document."""
    fields = get_flat_params(route.dependant)
    return tuple(f.alias for f in fields if getattr(f.field_info, "in_", None) is ParamTypes.query)


def install(api: FastAPI) -> None:
    """Answer every error of ``api`` with a problem document, inside the shield."""
    api.add_exception_handler(HTTPException, _http)
    api.add_exception_handler(RequestValidationError, _validation)
    api.add_exception_handler(NotFound, _not_found)
    api.add_exception_handler(NotPossible, _not_possible)
    for away in (OperationalError, InterfaceError, PoolTimeout):
        api.add_exception_handler(away, _database)
    api.add_middleware(Shield)


async def _http(_: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    detail: str | None = str(error.detail)
    headers = error.headers if error.headers is not None else {}
    if detail == HTTPStatus(error.status_code).phrase:  # the framework's own words
        detail = None
        if error.status_code == HTTPStatus.NOT_FOUND:
            detail = "there is no such path; /openapi.json lists all of them"
        elif error.status_code == HTTPStatus.METHOD_NOT_ALLOWED and "Allow" in headers:
            detail = f"this path takes {headers['Allow']}"
    return answer(error.status_code, detail, headers=headers)


async def _validation(_: Request, error: Exception) -> Response:
    if not isinstance(error, RequestValidationError):
        raise error
    errors = [_invalid(one) for one in error.errors()]
    return answer(422, "something in the request cannot be used; see errors", errors=errors)


def _invalid(one: Mapping[str, Any]) -> Invalid:
    where, *parts = one["loc"]
    detail = str(one["msg"]).removeprefix("Value error, ")  # pydantic's prefix of what our own checks say
    return Invalid(where=str(where), name=".".join(str(part) for part in parts), detail=detail)


async def _not_found(_: Request, error: Exception) -> Response:
    return answer(404, str(error))


async def _not_possible(_: Request, error: Exception) -> Response:
    return answer(409, str(error))


async def _database(_: Request, error: Exception) -> Response:
    log.warning("api.database_away", error=type(error).__name__)
    detail = "the database does not answer as it should; try again, or ask /health/ready"
    return answer(503, detail, headers={"Retry-After": RETRY_SECONDS})


class Shield:
    """ASGI middleware: security headers on every answer, bounded bodies, no exception beyond it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False
        size = 0

        async def bounded() -> Message:
            nonlocal size
            message = await receive()
            if message["type"] == "http.request":
                size += len(message.get("body", b""))
                if size > BODY_LIMIT:
                    raise HTTPException(413, f"a request may have {BODY_LIMIT} bytes")
            return message

        async def secured(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            await self._app(scope, bounded, secured)
        except Exception as error:  # noqa: BLE001 - the framework would log its message, which may name a person
            number = str(uuid.uuid4())
            log.error("api.failed", id=number, method=scope["method"], error=type(error).__name__, at=_place(error))
            if started:  # half an answer went out: only a broken line can say that it is not whole
                raise RuntimeError(f"the answer was cut short; see {number}") from None
            detail = "this is a defect of Tandem; the log has it under this id"
            await answer(500, detail, instance=f"urn:uuid:{number}")(scope, receive, secured)


def _place(error: Exception) -> list[str]:
    """Where it happened: the innermost frames, without values."""
    return [f"{Path(frame.filename).name}:{frame.lineno}" for frame in extract_tb(error.__traceback__)[-4:]]
