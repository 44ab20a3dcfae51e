"""What stands before a simulator's endpoints.  In: every request.  Out: the log of calls, trouble, the vendor's gate.

The order: the control endpoints are let through at once; then a fault may strike; then the vendor's own gate (key,
rate limit, simultaneous connections); then the endpoint.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections import deque
from collections.abc import Callable, MutableMapping
from email.utils import formatdate
from typing import Any, Protocol
from urllib.parse import parse_qsl, urlencode

import orjson
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sandbox import mutilate
from sandbox.faults import Fault, Faults

CONTROL = "/_sandbox"
TRANSPORT = "sandbox.transport"  # ASGI extension by which ``serve`` hands over the connection
_CALL = "sandbox.call"

_WRITES = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_SECRET = re.compile(r"key|secret|token|password", re.IGNORECASE)  # query parameters that are not kept
_KEPT = 100_000  # calls that are remembered


class Json(Response):
    """A JSON answer."""

    media_type = "application/json;charset=utf-8"

    def render(self, content: Any) -> bytes:
        """As bytes."""
        return orjson.dumps(content)


class Calls:
    """Every call received, oldest first."""

    def __init__(self) -> None:
        """None yet."""
        self._calls: deque[dict[str, Any]] = deque(maxlen=_KEPT)
        self._next = 1

    def add(self, scope: Scope, *, path: str, write: bool) -> dict[str, Any]:
        """A call has begun; the entry is completed when it is answered."""
        query = scope["query_string"].decode("latin-1")
        if query and _SECRET.search(query):
            query = urlencode([(k, v) for k, v in parse_qsl(query, keep_blank_values=True) if not _SECRET.search(k)])
        call: dict[str, Any] = {
            "n": self._next,
            "time": time.time(),
            "method": scope["method"],
            "path": path,
            "query": query,
            "status": None,
            "write": write,
            "operations": 1,
            "user_agent": header(scope, b"user-agent"),
            "fault": None,
        }
        self._next += 1
        self._calls.append(call)
        return call

    def since(self, n: int) -> list[dict[str, Any]]:
        """Calls with a number greater than ``n``."""
        # A copy first: another thread may ask.
        return [call for call in list(self._calls) if call["n"] > n]

    def clear(self) -> None:
        """Forget all; numbers go on."""
        self._calls.clear()


class Gated(Protocol):
    """What ``Front`` needs of a simulator."""

    calls: Calls
    clock: Callable[[], float]  # seconds since 1970; answers are dated by it
    faults: Faults
    released: asyncio.Event

    def rewrite(self, path: str, /) -> str:
        """The path by which the endpoint is found: without version prefix, without trailing slash."""

    def is_read(self, method: str, path: str, /) -> bool:
        """Whether this call by a writing method only reads."""

    def gate(self, scope: Scope, path: str, in_flight: int, /) -> Response | None:
        """The answer with which the vendor turns this call away; None lets it in."""

    def trouble(self, status: int, retry_after: float | None, /) -> Response:
        """An error of this status as the vendor words it.  ``retry_after``: seconds, for the header."""

    def more_headers(self, path: str, /) -> list[tuple[bytes, bytes]]:
        """Headers that the vendor adds to every answer."""


class Front:
    """ASGI middleware; see the module."""

    def __init__(self, app: ASGIApp, sim: Gated) -> None:
        """``sim``: whose front this is."""
        self._app = app
        self._sim = sim
        self._in_flight = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, or the lifespan."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        called: str = scope["path"]
        if called.removeprefix("/3.0").startswith(CONTROL):
            scope["path"] = called.removeprefix("/3.0")
            await self._app(scope, receive, send)
            return
        sim = self._sim
        method: str = scope["method"]
        path = scope["path"] = sim.rewrite(called)
        write = method in _WRITES and not sim.is_read(method, path)
        call = scope[_CALL] = sim.calls.add(scope, path=called, write=write)
        self._in_flight += 1
        try:
            fault = sim.faults.of_call(method, called, call["user_agent"])
            if fault is None:
                await self._enter(scope, receive, self._seen(send, call, path))
            else:
                call["fault"] = fault.kind
                await self._strike(fault, scope, receive, self._seen(send, call, path))
        except ClientDisconnect:
            pass  # who called was gone before all of the request had come: nobody is to be answered
        finally:
            self._in_flight -= 1

    def _seen(self, send: Send, call: MutableMapping[str, Any], path: str) -> Send:
        more = self._sim.more_headers

        async def seen(message: Message) -> None:
            if message["type"] == "http.response.start":
                call["status"] = message["status"]
                now = formatdate(self._sim.clock(), usegmt=True).encode()
                message["headers"] = [*message["headers"], (b"date", now), *more(path)]
            await send(message)

        return seen

    async def _enter(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = self._sim.gate(scope, scope["path"], self._in_flight)
        await (self._app if refusal is None else refusal)(scope, receive, send)

    async def _strike(self, fault: Fault, scope: Scope, receive: Receive, send: Send) -> None:
        match fault.kind:
            case "status":
                await self._sim.trouble(fault.status, fault.retry_after)(scope, receive, send)
            case "html":
                page = "<!doctype html><title>Bad gateway</title><h1>Please try again later</h1>"
                await HTMLResponse(page, status_code=fault.status)(scope, receive, send)
            case "slow":
                await self._pause(fault.delay)
                await self._enter(scope, receive, send)
            case "cut_list" | "hide_field":
                await self._rewritten(fault, scope, receive, send)
            case "timeout_before":
                await self._hang(fault.delay, scope, receive)
            case "timeout_after":
                await self._enter(scope, receive, self._sink(scope))
                await self._hang(fault.delay, scope, receive)
            case "reset":
                if fault.after:
                    await self._enter(scope, receive, self._sink(scope))
                await _cut(scope, receive)

    async def _rewritten(self, fault: Fault, scope: Scope, receive: Receive, send: Send) -> None:
        """The answer, which is not whole."""
        start: dict[str, Any] = {}
        body = bytearray()

        async def keep(message: Message) -> None:
            if message["type"] == "http.response.start":
                start.update(message)
            else:
                body.extend(message.get("body", b""))

        await self._enter(scope, receive, keep)
        said = bytes(body)
        said = mutilate.cut(said) if fault.kind == "cut_list" else mutilate.hide(said, fault.field)
        rest = [(name, value) for name, value in start["headers"] if name.lower() != b"content-length"]
        await send({**start, "headers": [*rest, (b"content-length", str(len(said)).encode())]})
        await send({"type": "http.response.body", "body": said})

    def _sink(self, scope: Scope) -> Send:
        """Where an answer goes that nobody gets; its status is kept in the log."""

        async def sink(message: Message) -> None:
            if message["type"] == "http.response.start":
                scope[_CALL]["status"] = message["status"]

        return sink

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._sim.released.wait(), seconds)

    async def _hang(self, seconds: float, scope: Scope, receive: Receive) -> None:
        """Hold the connection until the client gives up, the time is over or the sandbox stops; then cut it."""
        gone = asyncio.ensure_future(_disconnected(receive))
        pause = asyncio.ensure_future(self._pause(seconds))
        await asyncio.wait({gone, pause}, return_when=asyncio.FIRST_COMPLETED)
        pause.cancel()
        if gone.done():
            return
        gone.cancel()
        await asyncio.wait({gone})
        await _cut(scope, receive)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _cut(scope: Scope, receive: Receive) -> None:
    connection = scope.get("extensions", {}).get(TRANSPORT)
    if connection is None:  # inside the client's own process there is no connection
        raise ConnectionResetError("the sandbox closed the connection")
    connection["transport"].abort()
    # Until the server has noticed: it would otherwise answer 500 for an app that ends without an answer.
    await _disconnected(receive)


def header(scope: Scope, name: bytes) -> str:
    """A request header, empty where there is none."""
    return next((value.decode("latin-1") for key, value in scope["headers"] if key == name), "")


def operations(request: Request, count: int) -> None:
    """Say in the log how many records this call is about."""
    if (call := request.scope.get(_CALL)) is not None:
        call["operations"] = count
