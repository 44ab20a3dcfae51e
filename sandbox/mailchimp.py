"""Mailchimp's Marketing API 3.0 as it behaves on the wire: one audience, its members, fields, groups,
permissions, tags and webhooks.

Answers with and without ``/3.0`` before the path.  Sources: the API's contract 3.0.55 (``spec/marketing.json``) and
github.com/mailchimp/fern-marketing-api-docs; each module ``mailchimp_*`` names its pages.
"""

from __future__ import annotations

import binascii
from base64 import b64decode
from collections.abc import Callable, Mapping
from functools import partial
from hmac import compare_digest
from typing import Any
from urllib.parse import urlencode

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ExceptionHandler, Scope

from sandbox import oauth
from sandbox.control import SPAN, BadEdit, Clock, Simulator
from sandbox.front import header
from sandbox.mailchimp_audience import About
from sandbox.mailchimp_events import POLICY, SOURCES, encode
from sandbox.mailchimp_groups import Questions
from sandbox.mailchimp_http import Routes, answer, problem
from sandbox.mailchimp_members import Members
from sandbox.mailchimp_reports import Reports
from sandbox.mailchimp_rules import TRIGGERS, Problem, not_found, shape, utc
from sandbox.mailchimp_store import Audience, Member
from sandbox.webhooks import Target

KEY = "0123456789abcdef0123456789abcdef-us0"  # opens nothing but this simulator
LIST = "5an0b0x1st"
CONNECTIONS = 10  # simultaneous ones of a user, whatever the key: "Rate limits and timeouts"


class MailchimpSim(Simulator):
    """One Mailchimp account with one audience."""

    def __init__(
        self,
        *,
        key: str = KEY,
        list_id: str = LIST,
        webhook: str | None = None,
        webhook_secret: str = "",
        signing_secret: str = "",
        connections: int | None = CONNECTIONS,
        tags_touch: bool = False,
        gdpr: bool = True,
        lenient: bool = False,
        retry_span: float = SPAN,
        seed: int = 0,
        clock: Clock | None = None,
    ) -> None:
        """An empty audience.

        ``webhook``: where events go, with ``?secret=`` where ``webhook_secret`` is given, signed where
        ``signing_secret`` is.  ``connections``: calls at once, None = no limit.  ``retry_span``: seconds for all
        retries of a webhook.  ``gdpr``: the audience has GDPR fields.  ``lenient``: permissions that it does not have
        are passed over, not refused.
        """
        super().__init__(POLICY, encode, seed=seed, span=retry_span, clock=clock)
        self.key = key
        self.oauth = oauth.mailchimp(self.clock)
        self._connections = connections
        questions = Questions(list_id, gdpr=gdpr, lenient=lenient)
        self.audience = Audience(list_id, self.clock, self.webhooks.emit, questions=questions, tags_touch=tags_touch)
        self.reports = Reports()
        self._about = About(self.audience, self.webhooks, seed)
        self.app = self.build()
        self.deliver_to(webhook, secret=webhook_secret, signing_secret=signing_secret)

    # --- what the vendor does with every call -------------------------------------------------------------------------

    def rewrite(self, path: str) -> str:
        """The version and a trailing slash do not matter."""
        path = path.removeprefix("/3.0").rstrip("/")
        return path if path else "/"

    def is_read(self, _method: str, path: str, /) -> bool:
        """No writing method only reads, but that of the authorization server."""
        return path.startswith("/oauth2/")

    def gate(self, scope: Scope, path: str, in_flight: int, /) -> Response | None:
        """Simultaneous connections, then the key, then an error that was asked for."""
        if self._connections is not None and in_flight > self._connections:
            detail = f"You have exceeded the limit of {self._connections} simultaneous connections."
            return problem(Problem(429, "Too Many Requests", detail))
        given = _key(header(scope, b"authorization"))
        if self.lets_in(path, given if given is not None else ""):
            return None
        if given is None:
            return problem(Problem(401, "API Key Missing", "Your request did not include an API key."))
        if not compare_digest(given.encode(), self.key.encode()):
            detail = "Your API key may be invalid, or you've attempted to access the wrong datacenter."
            return problem(Problem(401, "API Key Invalid", detail))
        asked = header(scope, b"x-trigger-error")
        if asked in TRIGGERS:
            status, title = TRIGGERS[asked]
            return problem(Problem(status, title, "This error was asked for."))
        return None

    def trouble(self, status: int, retry_after: float | None) -> Response:
        """An error of Mailchimp's own."""
        title = next((t for s, t in TRIGGERS.values() if s == status), "Internal Server Error")
        return problem(Problem(status, title, "An unexpected error occurred."), retry_after)

    def errors(self) -> dict[Any, ExceptionHandler]:
        """Mailchimp's problem documents."""

        async def ours(_request: Request, error: Exception) -> Response:
            assert isinstance(error, Problem)  # noqa: S101 - registered for this class
            return problem(error)

        async def theirs(_request: Request, error: Exception) -> Response:
            if isinstance(error, HTTPException) and error.status_code == 405:
                detail = "The requested method and resource are not compatible. See the Allow header."
                return problem(Problem(405, "Method Not Allowed", detail))
            return problem(not_found())

        return {Problem: ours, HTTPException: theirs}

    # --- endpoints ----------------------------------------------------------------------------------------------------

    def routes(self) -> list[BaseRoute]:
        """See the class."""
        routes: Routes = [
            ("GET", "/", self._root),
            ("GET", "/ping", self._ping),
            *Members(self.audience).routes(),
            *self._about.routes(),
            *self.reports.routes(),
        ]
        return [Route(path, endpoint, methods=[method]) for method, path, endpoint in routes]

    async def _root(self, request: Request) -> Response:
        return answer(
            request,
            {
                "account_id": "8d3a3db4d97663a9074efcc16",
                "login_id": "b9d0f7d0c1",
                "account_name": "Sandbox",
                "email": "owner@sandbox.example.com",
                "first_name": "Freda",
                "last_name": "Owner",
                "username": "sandbox",
                "role": "owner",
                "member_since": "2024-01-15T09:00:00+00:00",
                "pricing_plan_type": "monthly",
                "account_timezone": "Europe/Berlin",
                "pro_enabled": False,
                "last_login": utc(self.clock()),
                "total_subscribers": sum(m.status == "subscribed" for m in self.audience.members.values()),
            },
        )

    async def _ping(self, request: Request) -> Response:
        return answer(request, {"health_status": "Everything's Chimpy!"})

    # --- the sandbox's own --------------------------------------------------------------------------------------------

    def clear(self) -> None:
        """Forget all members."""
        self.audience.clear()
        self.reports.clear()

    def records(self, after: int, limit: int) -> tuple[list[dict[str, Any]], int | None]:
        """Members in the order of their creation, archived ones too."""
        places = [i for i in self.audience.members if i > after]
        shown = [self.audience.show(self.audience.members[i]) for i in places[:limit]]
        return shown, places[limit - 1] if len(places) > limit else None

    def target(self, url: str, given: Mapping[str, str]) -> Target:
        """``secret`` goes into the URL, ``signing_secret`` signs."""
        if secret := given.get("secret", ""):
            url += ("&" if "?" in url else "?") + urlencode({"secret": secret})
        return Target("", url, given.get("signing_secret", ""))

    def edit(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """What the person, or somebody in Mailchimp, does.

        ``action``: ``update`` (default, ``member`` as in a PATCH), ``create``, ``subscribe`` (also: confirm),
        ``unsubscribe`` (``reason``), ``clean``, ``archive``, ``delete`` (for good), ``tag`` (``tags``: name -> bool),
        ``activity`` (``item``).  ``email`` or ``contact_id``: whom.  ``source``: ``user`` (default) or ``admin``.
        """
        action, source = given.get("action", "update"), str(given.get("source", "user"))
        if source not in SOURCES:
            raise BadEdit(f"source must be one of {', '.join(SOURCES)}")
        fields = given.get("member", {})
        if misfits := shape(fields):
            raise BadEdit(f"member does not fit: {misfits}")
        try:
            if action == "create":
                return self.audience.show(self.audience.create({"status": "subscribed", **fields}, source, lax=True))
            member = self.audience.find(str(given.get("email", given.get("contact_id", ""))))
            if member is None:
                raise BadEdit("no such member")
            shown = self.audience.show(member)
            actions: dict[str, Callable[[], None]] = {
                "update": partial(self.audience.update, member, fields, source, lax=True),
                "subscribe": partial(self.audience.update, member, {"status": "subscribed"}, source, lax=True),
                "unsubscribe": partial(self._leave, member, source, str(given.get("reason", ""))),
                "clean": partial(self.audience.update, member, {"status": "cleaned"}, source, lax=True),
                "archive": partial(self.audience.archive, member, source),
                "delete": partial(self.audience.delete, member, source),
                "tag": lambda: self.audience.tag(member, given["tags"].items()),
                "activity": lambda: member.activity.append(given["item"]),
            }
            if action not in actions:
                raise BadEdit(f"action must be create or one of {', '.join(actions)}")
            actions[action]()
        except Problem as error:
            raise BadEdit(f"{error.title}: {error.detail}") from None
        except KeyError as error:
            raise BadEdit(f"missing: {error}") from None
        return shown if action == "delete" else self.audience.show(member)

    def _leave(self, member: Member, source: str, reason: str) -> None:
        member.reason = reason
        self.audience.update(member, {"status": "unsubscribed"}, source, lax=True)


def _key(authorization: str) -> str | None:
    """The key in the header: of Basic any user's password, or a bearer token."""
    scheme, _, given = authorization.partition(" ")
    match scheme.lower():
        case "bearer":
            return given.strip()
        case "basic":
            try:
                return b64decode(given).decode().partition(":")[2]
            except (binascii.Error, UnicodeDecodeError):
                return ""
    return None
