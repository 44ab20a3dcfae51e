"""EspoCRM's API as it behaves on the wire: contacts and leads, their lists, webhooks, metadata, erasure, merges.

Answers below ``/api/v1``.  Sources: github.com/espocrm/documentation, ``docs/api/spec.json``, ``docs/development/api*``
and ``docs/administration/webhooks.md``; what else each module ``espocrm_*`` names.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import UTC, datetime
from hmac import compare_digest
from typing import Any
from urllib.parse import urlencode

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ExceptionHandler, Scope

from sandbox import espocrm_subscriptions as subscriptions
from sandbox.control import SPAN, BadEdit, Clock, Simulator
from sandbox.espocrm_events import KINDS, POLICY, encode
from sandbox.espocrm_objects import NAMES, Objects
from sandbox.espocrm_store import FIELDS, STAMP, EspoError, People
from sandbox.front import Json, header
from sandbox.people import Person
from sandbox.webhooks import Target

KEY = "0123456789abcdef0123456789abcdef"  # opens nothing but this simulator
SECRET = "fedcba9876543210fedcba9876543210"  # noqa: S105 - signs nothing but its webhooks
WEBHOOK = "Webhook"
MOST = 200  # rows of a list: recordListMaxSizeLimit

_SOURCE = b"x-sandbox-source"  # request header: who is to be seen as the author of the change
_WHERE = re.compile(r"where(?:Group)?\[(\d+)\]\[(type|attribute|value)\](\[\])?")


class EspoSim(Simulator):
    """One installation of EspoCRM."""

    def __init__(
        self,
        *,
        key: str = KEY,
        secret: str = SECRET,
        webhook: str | None = None,
        retry_span: float = SPAN,
        seed: int = 0,
        clock: Clock | None = None,
    ) -> None:
        """Without people.

        ``webhook``: where events of contacts go, with ``?event=Contact.update`` and the like, signed with ``secret``.
        ``retry_span``: seconds for all retries of a webhook.
        """
        super().__init__(POLICY, encode, seed=seed, span=retry_span, clock=clock)
        self.key = key
        self.secret = secret
        self.people = People(self.clock, self.webhooks.emit)
        self.objects = Objects(lambda: datetime.fromtimestamp(self.clock(), UTC).strftime(STAMP), self._somebody)
        self._hooks = 0
        self._off: set[str] = set()  # webhooks that somebody switched off
        self.app = self.build()
        self.deliver_to(webhook)

    # --- what the product does with every call ------------------------------------------------------------------------

    def rewrite(self, path: str) -> str:
        """The path below ``/api/v1``."""
        return path.removeprefix("/api/v1")

    def is_read(self, _method: str, _path: str, /) -> bool:
        """No writing method only reads."""
        return False

    def gate(self, scope: Scope, _path: str, _in_flight: int, /) -> Response | None:
        """The key."""
        given = header(scope, b"x-api-key")
        return None if compare_digest(given.encode(), self.key.encode()) else _answer(EspoError(401))

    def trouble(self, status: int, retry_after: float | None) -> Response:
        """An error without a body, as most are."""
        answer = _answer(EspoError(status, "Server error"))
        if retry_after is not None:
            answer.headers["retry-after"] = str(int(retry_after))
        return answer

    def errors(self) -> dict[Any, ExceptionHandler]:
        """A reason in the header, mostly without a body."""

        async def ours(_request: Request, error: Exception) -> Response:
            assert isinstance(error, EspoError)  # noqa: S101 - registered for this class
            return _answer(error)

        async def theirs(_request: Request, error: Exception) -> Response:
            return _answer(EspoError(error.status_code if isinstance(error, HTTPException) else 404))

        return {EspoError: ours, HTTPException: theirs}

    # --- endpoints ----------------------------------------------------------------------------------------------------

    def routes(self) -> list[BaseRoute]:
        """See the module."""
        found: list[tuple[str, str, Callable[[Request], Awaitable[Response]]]] = [
            ("GET", "/App/user", self._user),
            ("GET", "/Metadata", self._metadata),
            ("GET", "/Webhook", self._list),
            ("POST", "/Webhook", self._hook),
            ("PUT", "/Webhook/{id}", self._rehook),
            ("DELETE", "/Webhook/{id}", self._unhook),
            ("POST", "/DataPrivacy/action/erase", self._erase),
            ("POST", "/Action", self._act),
        ]
        found += [("POST", "/Note", self._note)]
        for name in NAMES:
            found += [("GET", f"/{name}", self._list), ("GET", f"/{name}/{{id}}/{{link}}", self._related)]
        for entity in FIELDS:
            found += [
                ("GET", f"/{entity}/{{id}}/stream", self._stream),
            ]
            found += [
                ("GET", f"/{entity}", self._list),
                ("POST", f"/{entity}", self._create),
                ("GET", f"/{entity}/{{id}}", self._read),
                ("PATCH", f"/{entity}/{{id}}", self._update),
                ("PUT", f"/{entity}/{{id}}", self._update),
                ("DELETE", f"/{entity}/{{id}}", self._remove),
            ]
        return [Route(path, endpoint, methods=[method]) for method, path, endpoint in found]

    async def _user(self, _request: Request) -> Response:
        return Json({"user": {"id": "sandboxapiuser001", "userName": "tandem", "type": "api"}, "token": None})

    async def _metadata(self, request: Request) -> Response:
        area, _, entity = request.query_params.get("key", "").partition(".")
        if area != "entityDefs" or entity not in FIELDS:
            return Json(None)
        return Json({"fields": FIELDS[entity], "links": {}})

    async def _list(self, request: Request) -> Response:
        query, entity = request.query_params, _entity(request)
        try:
            size, offset = int(query.get("maxSize", str(MOST))), int(query.get("offset", "0"))
        except ValueError:
            raise EspoError(400, "maxSize must be integer.") from None
        if size > MOST:
            raise EspoError(403, f"Max size should not exceed {MOST}. Use offset and limit.")
        order = query.get("orderBy", "createdAt")
        found: Iterable[dict[str, Any]] = self._all(entity)
        for one in _conditions(query.multi_items()):
            found = [row for row in found if _fits(row, one)]
        rows = sorted(found, key=lambda r: (str(r.get(order, "")), r["id"]), reverse=query.get("order") == "desc")
        asked = query.get("attributeSelect", query.get("select", ""))
        names = {"id", *asked.split(",")}
        shown = [{k: v for k, v in r.items() if not asked or k in names} for r in rows[offset : offset + size]]
        counted = header(request.scope, b"x-no-total") != "true"
        return Json({"total": len(rows) if counted else -1, "list": shown})

    def _all(self, entity: str) -> Iterable[dict[str, Any]]:
        if entity == WEBHOOK:
            return self._listed_hooks()
        return self.objects.all(entity) if entity in NAMES else self.people.all(entity)

    async def _related(self, request: Request) -> Response:
        path = request.path_params
        found = self.objects.related(_entity(request), path["id"], path["link"])
        size, offset = int(request.query_params.get("maxSize", "20")), int(request.query_params.get("offset", "0"))
        return Json({"total": len(found), "list": found[offset : offset + size]})

    async def _stream(self, request: Request) -> Response:
        found = self.objects.posts(request.path_params["id"])
        return Json({"total": len(found), "list": found[: int(request.query_params.get("maxSize", "20"))]})

    async def _note(self, request: Request) -> Response:
        return Json(self.objects.post(await _body(request)))

    def _somebody(self, id_: str) -> dict[str, Any] | None:
        for entity in FIELDS:
            if id_ in self.people.rows[entity]:
                return self.people.show(entity, self.people.rows[entity][id_])
        return None

    async def _read(self, request: Request) -> Response:
        entity = _entity(request)
        return Json(self.people.show(entity, self.people.find(entity, request.path_params["id"])))

    async def _create(self, request: Request) -> Response:
        skip = header(request.scope, b"x-skip-duplicate-check") == "true"
        return Json(self.people.create(_entity(request), await _body(request), _source(request), skip=skip))

    async def _update(self, request: Request) -> Response:
        given = await _body(request)
        return Json(self.people.update(_entity(request), request.path_params["id"], given, _source(request)))

    async def _remove(self, request: Request) -> Response:
        self.people.remove(_entity(request), request.path_params["id"], _source(request))
        return Json(True)

    async def _erase(self, request: Request) -> Response:
        given = await _body(request)
        if given.get("entityType") not in FIELDS or not given.get("fieldList"):
            raise EspoError(400)
        self.people.erase(given["entityType"], str(given.get("id")), given["fieldList"], _source(request))
        return Json(True)

    async def _act(self, request: Request) -> Response:
        given = await _body(request)
        if given.get("action") != "merge" or given.get("entityType") not in FIELDS:
            raise EspoError(400)
        data = given.get("data", {})
        entity, target, losers = given["entityType"], str(given.get("id")), data.get("sourceIdList", [])
        self.people.merge(entity, target, losers, data.get("attributes", {}), _source(request))
        return Json(self.people.show(entity, self.people.find(entity, target)))

    # --- webhooks -----------------------------------------------------------------------------------------------------

    async def _hook(self, request: Request) -> Response:
        self._hooks += 1
        id_ = hashlib.sha1(f"hook:{self._hooks}".encode()).hexdigest()[:17]
        secret = hashlib.md5(f"{self.secret}:{id_}".encode()).hexdigest()
        made = subscriptions.made(id_, secret, await _body(request), len(self._listed_hooks()))
        self.webhooks.targets[id_] = made
        return Json(subscriptions.row(made), status_code=201)

    async def _rehook(self, request: Request) -> Response:
        target = self._hooked(request)
        subscriptions.change(target, await _body(request))
        (self._off.discard if target.enabled else self._off.add)(target.id)
        return Json(subscriptions.row(target))

    async def _unhook(self, request: Request) -> Response:
        del self.webhooks.targets[self._hooked(request).id]
        return Json(True)

    def _hooked(self, request: Request) -> Target:
        id_ = request.path_params["id"]
        if all(row["id"] != id_ for row in self._listed_hooks()):
            raise EspoError(404)
        return self.webhooks.targets[id_]

    def _listed_hooks(self) -> list[dict[str, Any]]:
        return subscriptions.shown(self.webhooks.targets, self._off)

    def target(self, url: str, given: Mapping[str, str]) -> Target:
        """One webhook for updates of contacts."""
        return self._target(url, "Contact.update", given.get("secret", self.secret))

    def deliver_to(self, url: str | None, **secrets: str) -> None:
        """One webhook for each event of contacts, or none."""
        for kind in KINDS:
            event = f"Contact.{kind}"
            self.webhooks.targets.pop(_name(event), None)
            if url is not None:
                target = self._target(url, event, secrets.get("secret", self.secret))
                self.webhooks.targets[target.id] = target

    def _target(self, url: str, event: str, secret: str) -> Target:
        url += ("&" if "?" in url else "?") + urlencode({"event": event})
        return Target(_name(event), url, secret, events={event: True})

    # --- the sandbox's own --------------------------------------------------------------------------------------------

    def clear(self) -> None:
        """Forget all people."""
        self.people.clear()
        self.objects.clear()

    def records(self, after: int, limit: int) -> tuple[list[dict[str, Any]], int | None]:
        """Contacts, then leads, in the order of their creation."""
        every = [row for entity in FIELDS for row in self.people.all(entity)]
        end = after + limit
        return every[after:end], end if len(every) > end else None

    def edit(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """What a person does in EspoCRM.

        ``action``: ``update`` (default), ``create``, ``remove``, ``merge`` (``losers``).  ``entity``: ``Contact``
        (default) or ``Lead``.  ``id``: whom.  ``fields``: as in a PATCH.
        """
        entity, action, fields = str(given.get("entity", "Contact")), given.get("action", "update"), given.get("fields")
        id_, body = str(given.get("id", "")), fields if isinstance(fields, Mapping) else {}
        if entity not in FIELDS:
            raise BadEdit(f"entity must be one of {', '.join(FIELDS)}")
        try:
            match action:
                case "create":
                    return self.people.create(entity, body, "user", skip=True)
                case "update":
                    return self.people.update(entity, id_, body, "user")
                case "remove":
                    shown = self.people.show(entity, self.people.find(entity, id_))
                    self.people.remove(entity, id_, "user")
                    return shown
                case "merge":
                    self.people.merge(entity, id_, list(given.get("losers", [])), body, "user")
                    return self.people.show(entity, self.people.find(entity, id_))
        except EspoError as error:
            raise BadEdit(f"{error.status}: {error.reason}") from None
        raise BadEdit("action must be one of create, update, remove, merge")


def fill(sim: EspoSim, crowd: Iterable[Person]) -> None:
    """People as contacts, as if they had come over the years.  No webhook is sent."""
    for person in crowd:
        fields = {
            "emailAddress": person.email,
            "firstName": person.given,
            "lastName": person.family if person.family is not None else person.email.partition("@")[0],
            "phoneNumber": person.phone,
            "title": person.job,
            "addressCity": person.town,
            "addressCountry": person.country,
        }
        known = {name: value for name, value in fields.items() if value is not None}
        sim.people.create("Contact", known, "user", skip=True, at=person.changed.timestamp())


def _answer(error: EspoError) -> Response:
    headers = {"x-status-reason": error.reason} if error.reason else {}
    if error.body is None:
        return Response(status_code=error.status, headers=headers)
    return Json(error.body, status_code=error.status, headers=headers)


def _entity(request: Request) -> str:
    return str(request.url.path).strip("/").partition("/")[0]


def _source(request: Request) -> str:
    return "user" if header(request.scope, _SOURCE) == "user" else "api"


async def _body(request: Request) -> dict[str, Any]:
    if not request.headers.get("content-type", "").startswith("application/json"):
        raise EspoError(415)
    try:
        found = orjson.loads(await request.body())
    except orjson.JSONDecodeError:
        found = None
    if not isinstance(found, dict):
        raise EspoError(400, "Bad request body.")
    return found


def _name(event: str) -> str:
    """The id of the sandbox's own webhook for this event."""
    return hashlib.sha1(event.encode()).hexdigest()[:17]


def _conditions(items: Iterable[tuple[str, str]]) -> list[dict[str, Any]]:
    """``whereGroup`` as PHP reads it."""
    found: dict[int, dict[str, Any]] = {}
    for name, value in items:
        if (part := _WHERE.fullmatch(name)) is not None:
            one = found.setdefault(int(part[1]), {})
            if part[3]:
                one.setdefault(part[2], []).append(value)
            else:
                one[part[2]] = value
    return [one for _, one in sorted(found.items())]


def _fits(row: Mapping[str, Any], one: Mapping[str, Any]) -> bool:
    attribute, wanted = str(one.get("attribute")), one.get("value")
    values = [str(v) for v in wanted] if isinstance(wanted, list) else [str(wanted)]
    if attribute == "emailAddress":  # any address of the record; kept in lower case, what is asked is not lowered
        return bool({d["lower"] for d in row["emailAddressData"]} & set(values))
    own = row.get(attribute)
    match one.get("type"):
        case "equals" | "in":
            return str(own) in values
        case "isNull":
            return own is None
        case "isNotNull":
            return own is not None
        case "greaterThan":
            return own is not None and str(own) > values[0]
        case "greaterThanOrEquals":
            return own is not None and str(own) >= values[0]
        case "lessThan":
            return own is not None and str(own) < values[0]
        case "lessThanOrEquals":
            return own is not None and str(own) <= values[0]
    raise EspoError(400, "Bad where item.")
