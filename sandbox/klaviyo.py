"""Klaviyo's API on the wire: profiles, consent in jobs, lists, webhooks, deletions, merges.

What is answered stands in ``klaviyo_account``; here are sockets, the clock and what a person does in the product.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ExceptionHandler, Scope

from sandbox.control import SPAN, BadEdit, Clock, Simulator
from sandbox.front import Json
from sandbox.klaviyo_account import KEY, Account
from sandbox.klaviyo_events import POLICY, encode
from sandbox.klaviyo_limits import Windows
from sandbox.klaviyo_store import KlaviyoError
from sandbox.people import Person
from sandbox.webhooks import Target

SECRET = "klaviyo-sandbox-secret"  # noqa: S105 - signs nothing but its webhooks
LAG = 0.2  # seconds until a job is done; at the real one seconds to minutes


class KlaviyoSim(Simulator):
    """One account of Klaviyo."""

    def __init__(
        self,
        *,
        key: str = KEY,
        secret: str = SECRET,
        webhook: str | None = None,
        lag: float = LAG,
        system_webhooks: bool = True,
        limits: bool = False,
        retry_span: float = SPAN,
        seed: int = 0,
        clock: Clock | None = None,
    ) -> None:
        """Without people.

        ``webhook``: where all events go, signed with ``secret``.  ``lag``: seconds until a job is done.  ``limits``:
        keep to the published rates.  ``retry_span``: seconds for all retries of a webhook.
        """
        super().__init__(POLICY, encode, seed=seed, span=retry_span, clock=clock)
        self.secret = secret
        self.lag = lag
        self._windows = Windows() if limits else None
        self.account = Account(
            now=self.clock,
            emit=self.webhooks.emit,
            later=self._later,
            targets=self.webhooks.targets,
            key=key,
            system_webhooks=system_webhooks,
        )
        self.app = self.build()
        self.deliver_to(webhook)

    @property
    def key(self) -> str:
        """What opens the account."""
        return self.account.key

    def _later(self, run: Callable[[], None]) -> None:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            run()
        else:
            loop.call_later(self.lag, run)

    # --- what the product does with every call ------------------------------------------------------------------------

    def rewrite(self, path: str) -> str:
        """The path without the slash at its end."""
        return path.rstrip("/")

    def is_read(self, _method: str, _path: str, /) -> bool:
        """No writing method only reads."""
        return False

    def gate(self, scope: Scope, path: str, _in_flight: int, /) -> Response | None:
        """The published rates, where they are kept to; the account looks at the key itself."""
        wait = self._windows.take(scope["method"], path, self.clock()) if self._windows is not None else 0
        return self.trouble(429, wait) if wait else None

    def trouble(self, status: int, retry_after: float | None) -> Response:
        """An error document."""
        code = "throttled" if status == 429 else "error"
        answer = self._refused(KlaviyoError(status, code, "Something went wrong."))
        if retry_after is not None:
            answer.headers["retry-after"] = str(int(retry_after))
        return answer

    def errors(self) -> dict[Any, ExceptionHandler]:
        """Everything is an error document."""

        async def ours(_request: Request, error: Exception) -> Response:
            assert isinstance(error, KlaviyoError)  # noqa: S101 - registered for this class
            return self._refused(error)

        async def theirs(_request: Request, error: Exception) -> Response:
            return self._refused(KlaviyoError(error.status_code if isinstance(error, HTTPException) else 404, "error"))

        return {KlaviyoError: ours, HTTPException: theirs}

    def routes(self) -> list[BaseRoute]:
        """All of the API."""
        return [Route("/api/{rest:path}", self._answer, methods=["GET", "POST", "PATCH", "DELETE"])]

    async def _answer(self, request: Request) -> Response:
        body = await request.body()
        status, said = self.account.answer(
            request.method, request.url.path, request.query_params, request.headers, body
        )
        if said is None:
            return Response(status_code=status)
        return Json(said, status_code=status, media_type="application/vnd.api+json")

    def _refused(self, error: KlaviyoError) -> Response:
        said = self.account.trouble(error)
        return Json(said, status_code=error.status, media_type="application/vnd.api+json")

    # --- the sandbox's own --------------------------------------------------------------------------------------------

    def target(self, url: str, given: Mapping[str, str]) -> Target:
        """A webhook for all topics."""
        return Target("sandbox", url, given.get("secret", self.secret))

    def clear(self) -> None:
        """Forget all people and what they did."""
        self.account.people.clear()
        self.account.feed.clear()

    def records(self, after: int, limit: int) -> tuple[list[dict[str, Any]], int | None]:
        """Profiles in the order of their creation."""
        people = self.account.people
        every = list(people.profiles.values())
        end = after + limit
        return [people.show(p) for p in every[after:end]], end if len(every) > end else None

    def edit(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """What a person does in Klaviyo.

        ``action``: ``update`` (default), ``create`` (``fields``), ``delete``, ``subscribe``, ``unsubscribe``,
        ``suppress``, ``unsuppress``, ``bounce``, ``complain``, ``event`` (``metric``, ``fields``), ``webhooks_off``.
        ``id``: whom.  ``channel``: ``email`` (default) or ``sms``.
        """
        people, action = self.account.people, given.get("action", "update")
        fields, channel = given.get("fields"), str(given.get("channel", "email"))
        body = fields if isinstance(fields, Mapping) else {}
        try:
            if action == "create":
                return people.show(people.create(body))
            if action == "webhooks_off":
                self.account.fail()
                return {}
            found = people.find(str(given.get("id", "")))
            match action:
                case "update":
                    people.update(found, body)
                case "delete":
                    people.delete("id", found.id)
                case "subscribe":
                    people.subscribe(found, channel, method="FORM")
                case "unsubscribe":
                    people.unsubscribe(found, channel)
                case "suppress":
                    people.suppress(found)
                case "unsuppress":
                    people.unsuppress(found)
                case "bounce":
                    people.suppress(found, "HARD_BOUNCE")
                case "event":
                    self.account.feed.did(str(given.get("metric", "Opened Email")), found.id, self.clock(), body)
                case "complain":
                    people.suppress(found, "SPAM_COMPLAINT")
                case _:
                    raise BadEdit("action must be one of those that the simulator's description names")
        except KlaviyoError as error:
            raise BadEdit(f"{error.status}: {error.detail}") from None
        return people.show(found)


def fill(sim: KlaviyoSim, crowd: Iterable[Person]) -> None:
    """People as profiles, as if they had come over the years; nobody is told.  Some are subscribed, some have left."""
    people = sim.account.people
    phones: set[str] = set()
    for n, person in enumerate(crowd):
        at = person.changed.timestamp()
        phone = person.phone if person.phone is not None and person.phone.startswith("+") else None
        phone = None if phone is None or phone in phones else phone
        given: dict[str, Any] = {
            "email": person.email,
            "first_name": person.given,
            "last_name": person.family,
            "title": person.job,
            "location": {"city": person.town, "country": person.country},
        }
        try:
            made = people.create({**given, "phone_number": phone}, at=at)
        except KlaviyoError:
            made = people.create(given, at=at)
        phones |= {phone} if phone is not None else set()
        if n % 2:
            made.email_consent, made.email_at, made.method = "SUBSCRIBED", at, "FORM"
        elif n % 10 == 0:
            made.email_consent, made.email_at, made.suppressed = "UNSUBSCRIBED", at, {"UNSUBSCRIBE": at}
