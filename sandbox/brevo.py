"""Brevo's API as it behaves on the wire: contacts and their batches, attributes, lists, webhooks, the account.

Answers below ``/v3``.  Sources: developers.brevo.com/reference, docs/api-limits and docs/limit-headers; what else each
module ``brevo_*`` names.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from hmac import compare_digest
from math import ceil
from typing import Any

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ExceptionHandler, Scope

from sandbox.brevo_account import Account, Row
from sandbox.brevo_events import NAMES, POLICY, encode
from sandbox.brevo_rules import BrevoError
from sandbox.control import SPAN, BadEdit, Clock, Simulator
from sandbox.front import Json, header, operations
from sandbox.people import Person
from sandbox.webhooks import Target

KEY = "xkeysib-0123456789abcdef0123456789abcdef-sandbox"  # opens nothing but this simulator
SECRET = "sandbox-webhook-token-1"  # noqa: S105 - proves nothing but its webhooks

RATES = {"contacts": (10, 1.0)}  # calls in so many seconds, general accounts (docs/api-limits)
OTHERS = (100, 3600.0)  # all other endpoints together

_SOURCE = b"x-sandbox-source"  # request header: who is to be seen as the author of the change
_OWN = frozenset({"sandbox"})  # the target that the control endpoint sets


class BrevoSim(Simulator):
    """One account at Brevo."""

    def __init__(
        self,
        *,
        key: str = KEY,
        secret: str = SECRET,
        webhook: str | None = None,
        limits: bool = False,
        retry_span: float = SPAN,
        seed: int = 0,
        clock: Clock | None = None,
    ) -> None:
        """Without contacts.

        ``webhook``: where all events go, with ``secret`` as bearer token.  ``limits``: hold to the rates of a general
        account.  ``retry_span``: seconds for all retries of a webhook.
        """
        super().__init__(POLICY, encode, seed=seed, span=retry_span, clock=clock)
        self.key, self.secret, self.limits = key, secret, limits
        self._lately: dict[str, deque[float]] = {}
        self.account = Account(self.clock, self.webhooks.emit)
        self.account.hooks_changed = self._retarget
        self.app = self.build()
        self.deliver_to(webhook)

    # --- what the product does with every call ------------------------------------------------------------------------

    def rewrite(self, path: str) -> str:
        """The path below ``/v3``."""
        return path.removeprefix("/v3")

    def is_read(self, _method: str, _path: str, /) -> bool:
        """No writing method only reads."""
        return False

    def gate(self, scope: Scope, path: str, _in_flight: int, /) -> Response | None:
        """The key, then the rate."""
        if not compare_digest(header(scope, b"api-key").encode(), self.key.encode()):
            return _answer(BrevoError(401, "unauthorized", "Key not found"))
        family = path.strip("/").partition("/")[0]
        calls, seconds = RATES.get(family, OTHERS)
        lately, now = self._lately.setdefault(family if family in RATES else "", deque()), self.clock()
        while lately and lately[0] <= now - seconds:
            lately.popleft()
        if self.limits and len(lately) >= calls:
            return self.trouble(429, lately[0] + seconds - now)
        lately.append(now)
        return None

    def trouble(self, status: int, retry_after: float | None) -> Response:
        """An error in Brevo's words; how long to wait it says in a header of its own."""
        code = "too_many_requests" if status == 429 else "internal_error"
        answer = _answer(BrevoError(status, code, "Something went wrong"))
        if retry_after is not None:
            answer.headers["x-sib-ratelimit-reset"] = str(max(1, ceil(retry_after)))
        return answer

    def errors(self) -> dict[Any, ExceptionHandler]:
        """Code and message."""

        async def ours(_request: Request, error: Exception) -> Response:
            assert isinstance(error, BrevoError)  # noqa: S101 - registered for this class
            return _answer(error)

        async def theirs(_request: Request, error: Exception) -> Response:
            status = error.status_code if isinstance(error, HTTPException) else 404
            code = "method_not_allowed" if status == 405 else "document_not_found"
            return _answer(BrevoError(status, code, "Path or method not found"))

        return {BrevoError: ours, HTTPException: theirs}

    def more_headers(self, path: str) -> list[tuple[bytes, bytes]]:
        """The rate of this endpoint, and what is left of it."""
        family = path.strip("/").partition("/")[0]
        limit, _ = RATES.get(family, OTHERS)
        left = max(0, limit - len(self._lately.get(family if family in RATES else "", ())))
        return [(b"x-sib-ratelimit-limit", b"%d" % limit), (b"x-sib-ratelimit-remaining", b"%d" % left)]

    # --- endpoints ----------------------------------------------------------------------------------------------------

    def routes(self) -> list[BaseRoute]:
        """One for all: the account tells calls apart."""
        return [Route("/{path:path}", self._call, methods=["GET", "POST", "PUT", "DELETE"])]

    async def _call(self, request: Request) -> Response:
        raw = await request.body()
        try:
            body = orjson.loads(raw) if raw else None
        except orjson.JSONDecodeError:
            raise BrevoError(400, "bad_request", "Input must be a valid JSON object") from None
        if isinstance(body, dict) and isinstance(body.get("contacts"), list):
            operations(request, len(body["contacts"]))
        source = "user" if header(request.scope, _SOURCE) == "user" else "api"
        path = request.scope["path"]
        status, said = self.account.answer(request.method, path, request.query_params.multi_items(), body, source)
        return Response(status_code=status) if said is None else Json(said, status_code=status)

    # --- webhooks -----------------------------------------------------------------------------------------------------

    def target(self, url: str, given: Mapping[str, str]) -> Target:
        """A webhook for everything."""
        return Target("sandbox", url, given.get("secret", self.secret), events=dict.fromkeys(NAMES, True))

    def _retarget(self) -> None:
        """The webhooks of the account are where deliveries go."""
        for id_ in self.webhooks.targets.keys() - _OWN:
            del self.webhooks.targets[id_]
        for number, hook in self.account.hooks.items():
            auth = hook.get("auth")
            token = str(auth.get("token", "")) if isinstance(auth, Mapping) else ""
            wanted = dict.fromkeys(hook["events"], True)
            self.webhooks.targets[str(number)] = Target(str(number), hook["url"], token, events=wanted)

    # --- the sandbox's own --------------------------------------------------------------------------------------------

    def clear(self) -> None:
        """Forget all contacts."""
        self.account.clear()

    def records(self, after: int, limit: int) -> tuple[list[dict[str, Any]], int | None]:
        """Contacts in the order of their ids."""
        every = [self.account.show(row) for row in self.account.rows.values()]
        end = after + limit
        return every[after:end], end if len(every) > end else None

    def edit(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """What a person does at Brevo, or what Brevo does by itself.

        ``action``: ``update`` (default) or ``create`` (``fields`` as in a PUT or POST), ``delete``, ``unsubscribed``,
        ``spam``, ``hardBounce``, ``leave`` (``list``), ``opened``, ``clicked`` (``campaign``, ``url``).  ``id``: whom.
        """
        action, fields = given.get("action", "update"), given.get("fields", {})
        try:
            if action == "create":
                _, made = self.account.answer("POST", "/contacts", [], fields, "user")
                return self.account.show(self.account.rows[made["id"]])
            row = self.account.rows.get(int(given.get("id", 0)))
            if row is None:
                raise BadEdit("no contact of this id")
            self._acted(row, str(action), given)
        except BrevoError as error:
            raise BadEdit(f"{error.status}: {error}") from None
        return self.account.show(row)

    def _acted(self, row: Row, action: str, given: Mapping[str, Any]) -> None:
        match action:
            case "update":
                self.account.update(row, given.get("fields", {}), "user")
            case "delete":
                self.account.delete(row, "user")
            case "unsubscribed" | "spam" | "hardBounce":
                self.account.objects(row, action)
            case "leave":
                self.account.leave(row, int(given.get("list", 2)))
            case "opened" | "clicked":
                more = {"url": str(given.get("url", "https://shop.example/"))} if action == "clicked" else {}
                self.account.crm.did(row.id, action, int(given.get("campaign", 7)), self.clock(), **more)
            case _:
                raise BadEdit("action must be one of those that the simulator's description names")


def fill(sim: BrevoSim, crowd: Iterable[Person]) -> None:
    """People as contacts, as if they had come over the years.  No webhook is sent."""
    for person in crowd:
        fields = {
            "FIRSTNAME": person.given,
            "LASTNAME": person.family,
            "PHONE": person.phone,
            "JOB_TITLE": person.job,
            "CITY": person.town,
            "COUNTRY": person.country,
        }
        known = {name: value for name, value in fields.items() if value is not None}
        _, made = sim.account.answer("POST", "/contacts", [], {"email": person.email, "attributes": known}, "user")
        row = sim.account.rows[made["id"]]
        row.created = row.modified = person.changed.timestamp()


def _answer(error: BrevoError) -> Response:
    return Json(error.body, status_code=error.status)
