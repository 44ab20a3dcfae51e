"""Mautic's API as it behaves on the wire: contacts and their batches, do-not-contact, statistics, fields, webhooks.

Answers below ``/api``, tokens at ``/oauth/v2/token``.  Sources: github.com/mautic/developer-documentation-new,
``docs/rest_api`` and ``docs/webhooks``; github.com/mautic/mautic, ``ApiBundle/Controller/CommonApiController.php``;
what else each module ``mautic_*`` names.  What stands around contacts is in ``mautic_around``.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Awaitable, Callable, Iterable, Mapping
from hmac import compare_digest
from typing import Any

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ExceptionHandler, Scope

from sandbox import mautic_query as query
from sandbox.control import SPAN, BadEdit, Clock, Simulator
from sandbox.front import Json, header, operations
from sandbox.mautic_around import Around
from sandbox.mautic_events import KINDS, POLICY, encode
from sandbox.mautic_rules import FIELDS, MauticError
from sandbox.mautic_store import STATES, Contact, Contacts
from sandbox.people import Person
from sandbox.webhooks import Target

USER, PASSWORD = "tandem", "sandbox-password-1"
CLIENT, CLIENT_SECRET = "1_sandboxclient", "sandbox-client-secret-1"
SECRET = "sandbox-webhook-secret-1"  # noqa: S105 - signs nothing but its webhooks
MOST = 200  # contacts in a batch: api_batch_max_limit
PAGE = 30  # rows of a list where nothing is asked for

_ACTIONS = ("update", "create", "visit", "delete", "merge", "object", "points", "company", "happen", "name")
_SOURCE = b"x-sandbox-source"  # request header: who is to be seen as the author of the change


class MauticSim(Simulator):
    """One installation of Mautic."""

    def __init__(
        self,
        *,
        user: str = USER,
        password: str = PASSWORD,
        secret: str = SECRET,
        webhook: str | None = None,
        retry_span: float = SPAN,
        seed: int = 0,
        clock: Clock | None = None,
    ) -> None:
        """Without contacts.

        ``webhook``: where all events go, signed with ``secret``.  ``retry_span``: seconds for all retries of a webhook.
        """
        super().__init__(POLICY, encode, seed=seed, span=retry_span, clock=clock)
        self.user, self.password, self.secret = user, password, secret
        self.client, self.client_secret = CLIENT, CLIENT_SECRET
        self.contacts = Contacts(self.clock, self.webhooks.emit)
        self.around = Around(lambda: str(self.contacts.stamp(self.clock())), self._lives)
        self.tokens: set[str] = set()
        self.hidden: set[str] = set()  # tables of statistics that the user may not see
        self.hooks: dict[int, dict[str, Any]] = {}
        self.app = self.build()
        self.deliver_to(webhook)

    # --- what the product does with every call ------------------------------------------------------------------------

    def rewrite(self, path: str) -> str:
        """The path below ``/api``."""
        return path.removeprefix("/api")

    def is_read(self, _method: str, path: str, /) -> bool:
        """Fetching a token changes nothing."""
        return path == "/oauth/v2/token"

    def gate(self, scope: Scope, path: str, _in_flight: int, /) -> Response | None:
        """User and password, or a token."""
        if path == "/oauth/v2/token":
            return None
        basic = "Basic " + base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
        given = header(scope, b"authorization")
        if compare_digest(given.encode(), basic.encode()) or given.removeprefix("Bearer ") in self.tokens:
            return None
        return _answer(MauticError(401, "API authorization denied."))

    def trouble(self, status: int, retry_after: float | None) -> Response:
        """An error in Mautic's words."""
        answer = _answer(MauticError(status, "Looks like I encountered an error."))
        if retry_after is not None:
            answer.headers["retry-after"] = str(int(retry_after))
        return answer

    def errors(self) -> dict[Any, ExceptionHandler]:
        """A list of errors."""

        async def ours(_request: Request, error: Exception) -> Response:
            assert isinstance(error, MauticError)  # noqa: S101 - registered for this class
            return _answer(error)

        async def theirs(_request: Request, error: Exception) -> Response:
            status = error.status_code if isinstance(error, HTTPException) else 404
            return _answer(MauticError(status, "Item was not found."))

        return {MauticError: ours, HTTPException: theirs}

    def more_headers(self, _path: str) -> list[tuple[bytes, bytes]]:
        """The version."""
        return [(b"mautic-version", b"5.2.0")]

    # --- endpoints ----------------------------------------------------------------------------------------------------

    def routes(self) -> list[BaseRoute]:
        """See the module."""
        found: list[tuple[str, str, Callable[[Request], Awaitable[Response]]]] = [
            ("POST", "/oauth/v2/token", self._token),
            ("GET", "/users/self", self._self),
            ("GET", "/contacts", self._list),
            ("POST", "/contacts/new", self._new),
            ("POST", "/contacts/batch/new", self._batch_new),
            ("PATCH", "/contacts/batch/edit", self._batch_edit),
            ("GET", "/contacts/{id:int}", self._read),
            ("PATCH", "/contacts/{id:int}/edit", self._edit),
            ("PUT", "/contacts/{id:int}/edit", self._edit),
            ("DELETE", "/contacts/{id:int}/delete", self._delete),
            ("POST", "/contacts/{id:int}/dnc/{channel}/add", self._object),
            ("POST", "/contacts/{id:int}/dnc/{channel}/remove", self._unobject),
            ("POST", "/contacts/{id:int}/points/{way}/{delta:int}", self._points),
            ("GET", "/fields/contact", self._fields),
            ("GET", "/stats/{table}", self._stats),
            ("GET", "/hooks", self._hooks),
            ("POST", "/hooks/new", self._hook),
            ("PATCH", "/hooks/{id:int}/edit", self._rehook),
            ("DELETE", "/hooks/{id:int}/delete", self._unhook),
            *self.around.routes(),
        ]
        return [Route(path, endpoint, methods=[method]) for method, path, endpoint in found]

    async def _token(self, request: Request) -> Response:
        given = await _body(request)
        if (given.get("client_id"), given.get("client_secret")) != (self.client, self.client_secret):
            return Json({"error": "invalid_client", "error_description": "The client is invalid"}, status_code=400)
        token = secrets.token_hex(32)
        self.tokens.add(token)
        return Json({"access_token": token, "expires_in": 3600, "token_type": "bearer", "scope": ""})

    async def _self(self, _request: Request) -> Response:
        return Json({"id": 2, "username": self.user, "firstName": "Api", "lastName": "User"})

    async def _list(self, request: Request) -> Response:
        asked = query.nested(request.query_params.multi_items())
        every = self.contacts.table()
        match str(asked.get("search", "")):
            case "":
                rows = list(every)
            case "!is:anonymous":
                rows = [row for row in every if row["date_identified"] is not None]
            case "is:anonymous":
                rows = [row for row in every if row["date_identified"] is None]
            case _:
                raise MauticError(400, "The sandbox does not know this search.")
        rows = query.listed(rows, asked.get("where"))
        rows = query.ordered(rows, str(asked.get("orderBy", "id")), str(asked.get("orderByDir", "asc")))
        page = query.paged(rows, asked, PAGE)
        shown = {str(row["id"]): self.contacts.show(self.contacts.rows[row["id"]]) for row in page}
        return Json({"total": str(len(rows)), "contacts": shown if shown else []})

    async def _read(self, request: Request) -> Response:
        return self._one(self._entity(request))

    async def _new(self, request: Request) -> Response:
        one, fresh = self.contacts.new(await _body(request), _source(request))
        return self._one(one, status=201 if fresh else 200)

    async def _edit(self, request: Request) -> Response:
        given, put = await _body(request), request.method == "PUT"
        one = self.contacts.entity(request.path_params["id"])
        if one is None and put:
            one, _ = self.contacts.new(given, _source(request))
            return self._one(one, status=201)
        if one is None:
            raise MauticError(404, "Item was not found.")
        return self._one(self.contacts.edit(one, given, _source(request), replace=put))

    async def _delete(self, request: Request) -> Response:
        one = self._entity(request)
        shown = {**self.contacts.show(one), "id": None}
        self.contacts.delete(one, _source(request))
        return Json({"contact": shown})

    async def _batch_new(self, request: Request) -> Response:
        def new(given: Mapping[str, Any]) -> tuple[Contact, int]:
            one, fresh = self.contacts.new(given, _source(request))
            return one, 201 if fresh else 200

        return Json(await self._batch(request, new), status_code=201)

    async def _batch_edit(self, request: Request) -> Response:
        def edit(given: Mapping[str, Any]) -> tuple[Contact, int]:
            one = self.contacts.rows.get(int(given.get("id", 0)))  # merged ids are not followed here
            if one is None:
                raise MauticError(404, "Item was not found.")
            return self.contacts.edit(one, given, _source(request)), 200

        return Json(await self._batch(request, edit))

    async def _batch(self, request: Request, act: Callable[[Mapping[str, Any]], tuple[Contact, int]]) -> dict[str, Any]:
        given = await _bodies(request)
        operations(request, len(given))
        contacts: dict[int, Any] = {}
        codes: dict[int, int] = {}
        errors: dict[int, Any] = {}
        for place, one in enumerate(given):
            try:
                found, codes[place] = act(one)
                contacts[place] = self.contacts.show(found)
            except MauticError as error:
                codes[place] = error.status
                errors[place] = {"message": error.message, "code": error.status, "details": _details(error)}
        answer = {"contacts": query.php(contacts), "statusCodes": query.php(codes)}
        return {**answer, "errors": query.php(errors)} if errors else answer

    async def _object(self, request: Request) -> Response:
        given, one = await _body(request), self._entity(request)
        reason = int(given.get("reason", 3))
        if not 0 < reason < len(STATES):
            raise MauticError(400, "Invalid reason code given")
        comments = str(given.get("comments", ""))
        self.contacts.object(one, request.path_params["channel"], reason, comments, _source(request))
        return self._one(one)

    async def _unobject(self, request: Request) -> Response:
        one = self._entity(request)
        found = self.contacts.object(one, request.path_params["channel"], 0, "", _source(request))
        return Json({"recordFound": found, "contact": self.contacts.show(one)})

    async def _points(self, request: Request) -> Response:
        delta = request.path_params["delta"] * (-1 if request.path_params["way"] == "minus" else 1)
        self.contacts.add_points(self._entity(request), delta, _source(request))
        return Json({"success": True})

    async def _fields(self, request: Request) -> Response:
        asked = query.nested(request.query_params.multi_items())
        page = query.paged(list(FIELDS.values()), asked, PAGE)
        return Json({"total": len(FIELDS), "fields": {str(f["id"]): f for f in page} if page else []})

    async def _stats(self, request: Request) -> Response:
        tables = {
            "audit_log": lambda: self.contacts.audit,
            "lead_donotcontact": self.contacts.objections,
            **self.around.tables(),
        }
        table = request.path_params["table"]
        if table not in tables or table in self.hidden:
            seen = sorted(tables.keys() - self.hidden)
            return Json({"availableTables": seen, "tableColumns": []})
        asked = query.nested(request.query_params.multi_items())
        rows = query.listed(tables[table](), asked.get("where"))
        order = asked.get("order", {}).get("0", {})
        rows = query.ordered(rows, str(order.get("col", "id")), str(order.get("dir", "asc")))
        page = query.paged(rows, asked, 100)
        # Numbers are texts, as the database's driver gives them.
        shown = [{name: str(v) if isinstance(v, int) else v for name, v in row.items()} for row in page]
        return Json({"total": len(rows), "stats": shown})

    # --- webhooks -----------------------------------------------------------------------------------------------------

    async def _hooks(self, request: Request) -> Response:
        asked = query.nested(request.query_params.multi_items())
        page = query.paged([self._shown(n) for n in self.hooks], asked, PAGE)
        return Json({"total": len(self.hooks), "hooks": {str(h["id"]): h for h in page} if page else []})

    async def _hook(self, request: Request) -> Response:
        given = await _body(request)
        if not given.get("name") or not str(given.get("webhookUrl", "")).startswith(("http://", "https://")):
            raise MauticError(400, "webhookUrl: This value is not a valid URL.", {"webhookUrl": ["not valid"]})
        number = max(self.hooks, default=0) + 1
        self.hooks[number] = {"secret": secrets.token_hex(16), "triggers": [], "isPublished": True}
        return Json({"hook": self._hooked(number, given)}, status_code=201)

    async def _rehook(self, request: Request) -> Response:
        if request.path_params["id"] not in self.hooks:
            raise MauticError(404, "Item was not found.")
        return Json({"hook": self._hooked(request.path_params["id"], await _body(request))})

    async def _unhook(self, request: Request) -> Response:
        if self.hooks.pop(request.path_params["id"], None) is None:
            raise MauticError(404, "Item was not found.")
        self.webhooks.targets.pop(str(request.path_params["id"]), None)
        return Json({"hook": {"id": None}})

    def _hooked(self, number: int, given: Mapping[str, Any]) -> dict[str, Any]:
        known = ("name", "webhookUrl", "secret", "triggers", "isPublished", "eventsOrderbyDir")
        hook = self.hooks[number]
        hook |= {name: given[name] for name in known if name in given}
        wanted = dict.fromkeys(hook["triggers"], True)
        target = Target(str(number), hook["webhookUrl"], hook["secret"], events=wanted)
        target.enabled = bool(hook["isPublished"])
        self.webhooks.targets[target.id] = target
        return self._shown(number)

    def _shown(self, number: int) -> dict[str, Any]:
        target = self.webhooks.targets.get(str(number))
        on = target.enabled if target is not None else False
        return {"id": number, "description": None, **self.hooks[number], "isPublished": on}

    def target(self, url: str, given: Mapping[str, str]) -> Target:
        """A webhook for everything."""
        return Target("sandbox", url, given.get("secret", self.secret), events=dict.fromkeys(KINDS, True))

    # --- the sandbox's own --------------------------------------------------------------------------------------------

    def clear(self) -> None:
        """Forget all contacts, and what stands around them."""
        self.contacts.clear()
        self.around.clear()

    def records(self, after: int, limit: int) -> tuple[list[dict[str, Any]], int | None]:
        """Contacts in the order of their ids."""
        every = [self.contacts.show(one) for one in self.contacts.rows.values()]
        end = after + limit
        return every[after:end], end if len(every) > end else None

    def edit(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """What a person does in Mautic, or what Mautic does by itself.

        ``action``: ``update`` (default) or ``create`` (``fields``), ``visit`` (somebody unknown comes by), ``delete``,
        ``merge`` (``loser``), ``object`` (``channel``, ``reason`` 0 to 3), ``points`` (``delta``).  ``id``: whom.
        Around them: ``company`` (``fields``, ``id`` of one that is there, ``contacts``: whose main one it becomes),
        ``happen`` (``table`` of statistics, ``fields``: its columns), ``name`` (``kind``, ``id``, ``name``).
        """
        action, fields = given.get("action", "update"), given.get("fields", {})
        try:
            if action in {"company", "happen", "name"}:
                return self._edit_around(action, given)
            if action in {"create", "visit"}:
                return self.contacts.show(self.contacts.new(fields if action == "create" else {}, "user")[0])
            one = self.contacts.rows.get(int(given.get("id", 0)))
            if one is None:
                raise BadEdit("no contact of this id")
            match action:
                case "update":
                    self.contacts.edit(one, fields, "user")
                case "delete":
                    self.contacts.delete(one, "user")
                case "merge":
                    self.contacts.merge(one, self.contacts.rows[int(given["loser"])], "user")
                case "object":
                    channel, reason = str(given.get("channel", "email")), int(given.get("reason", 1))
                    self.contacts.object(one, channel, reason, "", "user")
                case "points":
                    self.contacts.add_points(one, int(given.get("delta", 1)), "user")
                case _:
                    raise BadEdit(f"action must be one of {', '.join(_ACTIONS)}")
        except MauticError as error:
            raise BadEdit(f"{error.status}: {error.message}") from None
        except KeyError as error:
            raise BadEdit(f"no {error}") from None
        return self.contacts.show(one)

    def _edit_around(self, action: str, given: Mapping[str, Any]) -> dict[str, Any]:
        fields = given.get("fields", {})
        if action == "happen":
            return {"id": self.around.happens(str(given["table"]), **fields)}
        if action == "name":
            self.around.name(str(given["kind"]), int(given["id"]), str(given["name"]))
            return {"id": given["id"]}
        id_ = self.around.company(given.get("id"), **fields)
        for contact in given.get("contacts", []):
            self.around.joins(id_, int(contact), main=True)
        return {"id": id_}

    def _lives(self, id_: int) -> int | None:
        one = self.contacts.entity(id_)
        return None if one is None else one.id

    def _entity(self, request: Request) -> Contact:
        one = self.contacts.entity(request.path_params["id"])
        if one is None:
            raise MauticError(404, "Item was not found.")
        return one

    def _one(self, one: Contact, status: int = 200) -> Response:
        return Json({"contact": self.contacts.show(one)}, status_code=status)


def fill(sim: MauticSim, crowd: Iterable[Person]) -> None:
    """People as contacts, as if they had come over the years.  No webhook is sent."""
    for person in crowd:
        fields = {
            "email": person.email,
            "firstname": person.given,
            "lastname": person.family,
            "phone": person.phone,
            "position": person.job,
            "city": person.town,
        }
        known = {name: value for name, value in fields.items() if value is not None}
        sim.contacts.new(known, "user", at=person.changed.timestamp())


def _answer(error: MauticError) -> Response:
    about = {"code": error.status, "message": error.message, "details": _details(error), "type": None}
    return Json({"errors": [about]}, status_code=error.status)


def _details(error: MauticError) -> Any:
    return error.details if error.details else []


def _source(request: Request) -> str:
    return "user" if header(request.scope, _SOURCE) == "user" else "api"


async def _body(request: Request) -> dict[str, Any]:
    body = await request.body()
    try:
        found = orjson.loads(body) if body else {}
    except orjson.JSONDecodeError:
        found = None
    if not isinstance(found, dict):
        raise MauticError(400, "Invalid request body.")
    return found


async def _bodies(request: Request) -> list[dict[str, Any]]:
    try:
        found = orjson.loads(await request.body())
    except orjson.JSONDecodeError:
        found = None
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise MauticError(400, "Invalid request body.")
    if len(found) > MOST:
        raise MauticError(500, f"Max entities in a batch is {MOST}.")
    return found
