"""What both simulators have in common, and the control endpoints under ``/_sandbox`` (no credentials needed).

| call | does |
|---|---|
| ``GET/POST/DELETE /_sandbox/faults`` | list, add (see ``faults``; answers the id), clear all or ``?id=`` |
| ``GET /_sandbox/calls?since=N``, ``DELETE`` | every call received after number N, oldest first; forget them |
| ``GET /_sandbox/webhooks?last=N`` | how many events are pending, delivered, failed; the last N deliveries |
| ``POST /_sandbox/webhooks`` | set the target: ``{"url", "secret"}``, for Mailchimp also ``"signing_secret"`` |
| ``GET /_sandbox/records?after=&limit=`` | all records as the vendor would show them, in a stable order |
| ``POST /_sandbox/edit`` | an edit by a person, see ``HubSpotSim.edit`` and ``MailchimpSim.edit`` |
| ``POST /_sandbox/reset`` | forget records, faults, calls and deliveries; settings and target stay |
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ExceptionHandler, Scope

from sandbox.faults import BadFault, Faults
from sandbox.front import CONTROL, Calls, Front, Json
from sandbox.oauth import Server
from sandbox.webhooks import Encode, Policy, Target, Webhooks

Clock = Callable[[], float]
"""Seconds since 1970."""

SPAN = 60.0  # seconds into which a vendor's whole schedule of webhook retries is compressed by default; ours
_TARGET = "sandbox"  # id of the target that the control endpoint sets
_PAGE = 1000


class BadEdit(ValueError):
    """An edit that makes no sense; the message says why."""


class Simulator(ABC):
    """One vendor."""

    app: Starlette
    oauth: Server | None = None  # its authorization server, where it has one

    def __init__(self, policy: Policy, encode: Encode, *, seed: int, span: float, clock: Clock | None) -> None:
        """``span``: seconds for the whole schedule of webhook retries.  ``clock``: for tests."""
        self.clock: Clock = time.time if clock is None else clock
        self.calls = Calls()
        self.faults = Faults(seed)
        self.released = asyncio.Event()
        self.webhooks = Webhooks(policy, encode, self.faults, span=span, seed=seed)

    def build(self) -> Starlette:
        """The app; called once the vendor's own parts are there."""
        app = Starlette(
            routes=[*self._control(), *(self.oauth.routes() if self.oauth is not None else []), *self.routes()],
            middleware=[Middleware(Front, sim=self)],
            exception_handlers={**self.errors(), BadEdit: _refused, BadFault: _refused},
            lifespan=self._lifespan,
        )
        app.router.redirect_slashes = False
        return app

    @abstractmethod
    def routes(self) -> list[BaseRoute]:
        """The vendor's endpoints."""

    @abstractmethod
    def errors(self) -> dict[Any, ExceptionHandler]:
        """Exceptions and statuses as the vendor answers them."""

    @abstractmethod
    def rewrite(self, path: str, /) -> str:
        """See ``front.Gated``."""

    @abstractmethod
    def is_read(self, method: str, path: str, /) -> bool:
        """See ``front.Gated``."""

    @abstractmethod
    def gate(self, scope: Scope, path: str, in_flight: int, /) -> Response | None:
        """See ``front.Gated``."""

    def lets_in(self, path: str, token: str) -> bool:
        """Whether its authorization server answers here, or gave this token."""
        return self.oauth is not None and (self.oauth.serves(path) or self.oauth.opens(token))

    @abstractmethod
    def trouble(self, status: int, retry_after: float | None, /) -> Response:
        """See ``front.Gated``."""

    def more_headers(self, _path: str, /) -> list[tuple[bytes, bytes]]:
        """See ``front.Gated``."""
        return []

    @abstractmethod
    def records(self, after: int, limit: int) -> tuple[list[dict[str, Any]], int | None]:
        """Up to ``limit`` records after the given place, and the place to go on from."""

    @abstractmethod
    def edit(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """What a person does in the vendor's product; the record afterwards.  Raises BadEdit or the vendor's error."""

    @abstractmethod
    def clear(self) -> None:
        """Forget all records."""

    @abstractmethod
    def target(self, url: str, given: Mapping[str, str]) -> Target:
        """The webhook target for this URL.  ``given``: ``secret`` and what else the vendor knows."""

    def deliver_to(self, url: str | None, **secrets: str) -> None:
        """Send webhooks to this URL from now on; None = to nobody."""
        self.webhooks.targets.pop(_TARGET, None)
        if url is not None:
            target = self.target(url, secrets)
            target.id = _TARGET
            self.webhooks.targets[_TARGET] = target

    def reset(self) -> None:
        """Forget records, faults, calls and deliveries."""
        self.clear()
        self.faults.clear()
        self.calls.clear()
        self.webhooks.forget()

    async def close(self) -> None:
        """Stop delivering webhooks; let go of connections that are held."""
        self.released.set()
        await self.webhooks.close()

    @contextlib.asynccontextmanager
    async def _lifespan(self, _app: Starlette) -> AsyncIterator[None]:
        yield
        await self.close()

    def _control(self) -> list[BaseRoute]:
        return [
            Route(f"{CONTROL}/{name}", endpoint, methods=["GET", "POST", "DELETE"])
            for name, endpoint in (
                ("faults", self._faults),
                ("calls", self._calls),
                ("webhooks", self._webhooks),
                ("records", self._records),
                ("edit", self._edit),
                ("reset", self._reset),
            )
        ]

    async def _faults(self, request: Request) -> Response:
        match request.method:
            case "POST":
                return Json(self.faults.add(await _object(request)).public(), status_code=201)
            case "DELETE":
                given = request.query_params.get("id")
                self.faults.clear(None if given is None else int(given))
                return Response(status_code=204)
        return Json({"faults": self.faults.listing()})

    async def _calls(self, request: Request) -> Response:
        if request.method == "DELETE":
            self.calls.clear()
            return Response(status_code=204)
        return Json({"calls": self.calls.since(int(request.query_params.get("since", "0")))})

    async def _webhooks(self, request: Request) -> Response:
        if request.method == "POST":
            given = await _object(request)
            url = given.pop("url", None)
            self.deliver_to(url, **given)
        return Json(self.webhooks.state(int(request.query_params.get("last", "100"))))

    async def _records(self, request: Request) -> Response:
        query = request.query_params
        found, after = self.records(int(query.get("after", "0")), int(query.get("limit", str(_PAGE))))
        return Json({"records": found, "after": after})

    async def _edit(self, request: Request) -> Response:
        return Json(self.edit(await _object(request)))

    async def _reset(self, _request: Request) -> Response:
        self.reset()
        return Response(status_code=204)


async def _refused(_request: Request, error: Exception) -> Response:
    return Json({"error": str(error)}, status_code=400)


async def _object(request: Request) -> dict[str, Any]:
    try:
        found = orjson.loads(await request.body())
    except orjson.JSONDecodeError:
        found = None
    if not isinstance(found, dict):
        raise BadEdit("the body must be a JSON object")
    return found
