"""Pipedrive's API as it behaves on the wire: persons, their lists and search, fields, webhooks, merges, and what stands
around persons.

Answers below ``/api``.  What there is to know about single endpoints: ``pipedrive_api``; about persons:
``pipedrive_store``; about organizations, deals, activities and notes: ``pipedrive_objects``; about webhooks:
``pipedrive_events``.  Sources: the vendor's OpenAPI documents of API v2 and v1;
its pages "Responses" and "Rate limiting".
"""

from __future__ import annotations

import html
from collections import deque
from collections.abc import Iterable, Mapping
from hmac import compare_digest
from typing import Any

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ExceptionHandler, Scope

from sandbox import oauth
from sandbox.control import SPAN, BadEdit, Clock, Simulator
from sandbox.front import Json, header
from sandbox.people import Person
from sandbox.pipedrive_api import Api, cost
from sandbox.pipedrive_events import ACTIONS, POLICY, encode
from sandbox.pipedrive_objects import Objects
from sandbox.pipedrive_store import People, PipedriveError
from sandbox.webhooks import Target

TOKEN = "0123456789abcdef0123456789abcdef01234567"  # noqa: S105 - opens nothing but this simulator
PASSWORD = "fedcba9876543210fedcba9876543210"  # noqa: S105 - proves nothing but its webhooks
USER = "tandem"  # the user of its webhooks

_SOURCE = b"x-sandbox-source"  # request header: who is to be seen as the author of the change
_WINDOW = 2.0  # seconds of the burst limit
_PATIENCE = 10  # calls after the day's budget until the block page


class PipedriveSim(Simulator):
    """One company at Pipedrive."""

    def __init__(
        self,
        *,
        token: str = TOKEN,
        password: str = PASSWORD,
        webhook: str | None = None,
        campaigns: bool = True,
        contact_sync: bool = False,
        rate: int | None = None,
        budget: int | None = None,
        lag: float = 1.0,
        retry_span: float = SPAN,
        seed: int = 0,
        clock: Clock | None = None,
    ) -> None:
        """Without persons.

        ``webhook``: where events of persons go, with user ``tandem`` and ``password``.  ``rate``: calls in two seconds.
        ``budget``: tokens for all calls.  ``lag``: seconds until the search shows a change.  ``retry_span``: seconds
        for all retries of a webhook.
        """
        super().__init__(POLICY, encode, seed=seed, span=retry_span, clock=clock)
        self.token = token
        self.password = password
        self.oauth = oauth.pipedrive(self.clock)
        self.people = People(self.clock, self.webhooks.emit, campaigns=campaigns, contact_sync=contact_sync)
        self.objects = Objects(self.people, self.clock, self.webhooks.emit)
        self.api = Api(self.people, self.clock, objects=self.objects, lag=lag)
        self.api.targets = self.webhooks.targets
        self._rate = rate
        self._times: deque[float] = deque()
        self.left = budget
        self._beyond = 0
        self.app = self.build()
        self.deliver_to(webhook)

    # --- what the product does with every call ------------------------------------------------------------------------

    def rewrite(self, path: str) -> str:
        """The path below ``/api``."""
        return path.removeprefix("/api")

    def is_read(self, _method: str, path: str, /) -> bool:
        """No writing method only reads, but for that of tokens."""
        return path.startswith("/oauth/")

    def gate(self, scope: Scope, path: str, _in_flight: int, /) -> Response | None:
        """The token, the burst, the day's budget."""
        scheme, _, given = header(scope, b"authorization").partition(" ")
        ours = compare_digest(header(scope, b"x-api-token").encode(), self.token.encode())
        if not ours and not self.lets_in(path, given.strip() if scheme.lower() == "bearer" else ""):
            return Json({"success": False, "error": "unauthorized access", "errorCode": 401}, status_code=401)
        now = self.clock()
        while self._times and self._times[0] <= now - _WINDOW:
            self._times.popleft()
        if self._rate is not None and len(self._times) >= self._rate:
            return _limited({"x-ratelimit-limit": str(self._rate), "x-ratelimit-remaining": "0"}, reset=2)
        self._times.append(now)
        if self.left is not None:
            price = cost(scope["method"], path)
            if price > self.left:
                self._beyond += 1
                if self._beyond > _PATIENCE:
                    return HTMLResponse(f"<title>{html.escape('Access denied')}</title>", status_code=403)
                return _limited({"x-daily-ratelimit-token-remaining": "0"}, reset=2)
            self.left -= price
        return None

    def trouble(self, status: int, retry_after: float | None) -> Response:
        """An error as all are worded."""
        answer = _answer(PipedriveError(status, "Requested service is not available"))
        if retry_after is not None:
            answer.headers["retry-after"] = str(int(retry_after))
        return answer

    def errors(self) -> dict[Any, ExceptionHandler]:
        """``success``, ``error``, ``error_info``, ``data`` and ``additional_data``."""

        async def ours(_request: Request, error: Exception) -> Response:
            assert isinstance(error, PipedriveError)  # noqa: S101 - registered for this class
            return _answer(error)

        async def theirs(_request: Request, error: Exception) -> Response:
            status = error.status_code if isinstance(error, HTTPException) else 404
            return _answer(PipedriveError(status, "Unknown method ."))

        return {PipedriveError: ours, HTTPException: theirs}

    def routes(self) -> list[BaseRoute]:
        """All of the API, by ``pipedrive_api``."""
        return [Route("/{path:path}", self._call, methods=["GET", "POST", "PATCH", "PUT", "DELETE"])]

    async def _call(self, request: Request) -> Response:
        body = await request.body()
        given: Any = {}
        if body:
            if not request.headers.get("content-type", "").startswith("application/json"):
                raise PipedriveError(415, "Unsupported media type")
            try:
                given = orjson.loads(body)
            except orjson.JSONDecodeError:
                given = None
        if not isinstance(given, dict):
            raise PipedriveError(400, "Bad request")
        source = "user" if header(request.scope, _SOURCE) == "user" else "api"
        path = request.path_params["path"]
        status, answer = self.api.answer(request.method, path, request.query_params, given, source)
        return Json(answer, status_code=status)

    # --- the sandbox's own --------------------------------------------------------------------------------------------

    def target(self, url: str, given: Mapping[str, str]) -> Target:
        """One webhook for all that happens to persons."""
        secret = f"{USER}:{given.get('secret', self.password)}"
        return Target("1000000", url, secret, events={f"person.{a}": True for a in ACTIONS})

    def clear(self) -> None:
        """Forget everything but the webhooks."""
        self.people.clear()
        self.objects.clear()

    def records(self, after: int, limit: int) -> tuple[list[dict[str, Any]], int | None]:
        """Persons in the order of their creation."""
        every = list(self.people.there())
        end = after + limit
        return every[after:end], end if len(every) > end else None

    def edit(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """What a person does in Pipedrive.

        ``action``: ``update`` (default), ``create``, ``remove``, ``merge`` (``loser``).  ``id``: whom.  ``fields``: as
        in a PATCH.  Or ``put`` in ``list`` (organizations, deals, activities, notes): a new record, or with ``id`` a
        change of one.
        """
        id_, fields = given.get("id"), given.get("fields")
        body = fields if isinstance(fields, Mapping) else {}
        try:
            match given.get("action", "update"):
                case "create":
                    return self.people.create(body, "user")
                case "update":
                    return self.people.update(id_, body, "user")
                case "remove":
                    return self.people.remove(id_, "user")
                case "merge":
                    return self.people.merge(given.get("loser"), id_, "user")
                case "put" if given.get("list") in self.objects.rows:
                    name = str(given["list"])
                    which = int(id_) if id_ is not None else None
                    return self.objects.rows[name][self.objects.put(name, which, **body)]
        except (TypeError, ValueError):
            raise BadEdit("id must be a number") from None
        except PipedriveError as error:
            raise BadEdit(f"{error.status}: {error.error}") from None
        raise BadEdit("action must be one of create, update, remove, merge, put (with list)")


def fill(sim: PipedriveSim, crowd: Iterable[Person]) -> None:
    """People as persons, as if they had come over the years.  No webhook is sent."""
    for person in crowd:
        name = " ".join(part for part in (person.given, person.family) if part)
        fields = {
            "name": name if name else person.email,
            "emails": [{"value": person.email, "primary": True, "label": "work"}],
            "phones": [{"value": person.phone, "primary": True, "label": "work"}] if person.phone else [],
        }
        sim.people.create(fields, "user", at=person.changed.timestamp())


def _answer(error: PipedriveError) -> Response:
    body = {
        "success": False,
        "error": error.error,
        "error_info": "Please check developers.pipedrive.com for more information about Pipedrive API.",
        "data": None,
        "additional_data": None,
    }
    return Json({**body, "code": error.code} if error.code is not None else body, status_code=error.status)


def _limited(headers: Mapping[str, str], *, reset: int) -> Response:
    answer = Json({"success": False, "error": "request over limit", "errorCode": 429}, status_code=429)
    answer.headers.update({**headers, "x-ratelimit-reset": str(reset)})
    return answer
