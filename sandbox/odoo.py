"""Odoo's API as it behaves on the wire: JSON-2, JSON-RPC, and the webhooks of automation rules.

Sources: github.com/odoo/documentation, ``developer/reference/external_api.rst`` (JSON-2) and ``external_rpc_api.rst``;
github.com/odoo/odoo, ``odoo/addons/base/models/ir_actions.py`` (webhooks); what else each module ``odoo_*`` names.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from hmac import compare_digest
from typing import Any
from urllib.parse import quote

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ExceptionHandler, Scope

from sandbox.control import SPAN, BadEdit, Clock, Simulator
from sandbox.front import Json, header
from sandbox.odoo_rules import COUNTRIES, FIELDS, OdooError
from sandbox.odoo_store import BLACKLIST, BOT, PARTNER, PERSON, Store
from sandbox.people import Person
from sandbox.webhooks import Happening, Policy, Target

DATABASE, LOGIN = "sandbox", "tandem@sandbox.example"
KEY = "5a7b1c9de0f24a6c8b3d7e6f1a2b3c4d5e6f7a8b"  # opens nothing but this simulator
SECRET = "sandbox-odoo-webhook-1"  # noqa: S105 - stands in the URL of its webhooks and nowhere else

_SOURCE = b"x-sandbox-source"  # request header: who is to be seen as the author of the change
POLICY = Policy(batch=1, window=0.02, timeout=1.0, waits=())  # one second, one try
# The arguments of each method, by their places; the first four only read.
_METHODS: Mapping[str, tuple[str, ...]] = {
    "search_read": ("domain", "fields", "offset", "limit", "order"),
    "search": ("domain", "offset", "limit", "order"),
    "search_count": ("domain", "limit"),
    "read": ("ids", "fields", "load"),
    "fields_get": ("allfields", "attributes"),
    "create": ("vals_list",),
    "write": ("ids", "vals"),
    "unlink": ("ids",),
    "load": ("fields", "data"),
    "message_post": ("ids", "body", "subject", "message_type", "subtype_xmlid"),
    "context_get": (),
}
_READS = frozenset({"search_read", "search", "search_count", "read", "fields_get", "context_get"})


class OdooSim(Simulator):
    """One database of Odoo 19."""

    def __init__(
        self,
        *,
        key: str = KEY,
        secret: str = SECRET,
        webhook: str | None = None,
        seed: int = 0,
        clock: Clock | None = None,
    ) -> None:
        """Without partners.  ``webhook``: where the rules post to, with ``secret`` in the URL."""
        super().__init__(POLICY, encode, seed=seed, span=SPAN, clock=clock)
        self.key, self.secret = key, secret
        self.json2 = True  # False: an older version, which has JSON-RPC alone
        self.store = Store(self.clock, self.webhooks.emit)
        self.app = self.build()
        self.deliver_to(webhook)

    # --- what the product does with every call ------------------------------------------------------------------------

    def rewrite(self, path: str) -> str:
        """The path as it is."""
        return path

    def is_read(self, _method: str, path: str, /) -> bool:
        """By the method of the model; of JSON-RPC the path does not tell."""
        return path.rpartition("/")[2] in _READS

    def gate(self, scope: Scope, path: str, _in_flight: int, /) -> Response | None:
        """The key of JSON-2; that of JSON-RPC is in the body."""
        if not path.startswith("/json/2/"):
            return None
        if not self.json2:
            return Response("<!doctype html><title>404 Not Found</title>", 404, media_type="text/html")
        scheme, _, given = header(scope, b"authorization").partition(" ")
        if scheme.lower() != "bearer" or not compare_digest(given.encode(), self.key.encode()):
            return _answer(OdooError("werkzeug.exceptions.Unauthorized", 401, "Invalid apikey"))
        if header(scope, b"x-odoo-database") not in {"", DATABASE}:
            return _answer(OdooError("werkzeug.exceptions.NotFound", 404, "no such database"))
        return None

    def trouble(self, status: int, retry_after: float | None) -> Response:
        """An error in the words of JSON-2."""
        answer = _answer(OdooError("werkzeug.exceptions.HTTPException", status, "Server error"))
        if retry_after is not None:
            answer.headers["retry-after"] = str(int(retry_after))
        return answer

    def errors(self) -> dict[Any, ExceptionHandler]:
        """Name, message, arguments."""

        async def ours(_request: Request, error: Exception) -> Response:
            assert isinstance(error, OdooError)  # noqa: S101 - registered for this class
            return _answer(error)

        async def theirs(_request: Request, error: Exception) -> Response:
            status = error.status_code if isinstance(error, HTTPException) else 404
            return Response(f"<!doctype html><title>{status}</title>", status, media_type="text/html")

        return {OdooError: ours, HTTPException: theirs}

    # --- endpoints ----------------------------------------------------------------------------------------------------

    def routes(self) -> list[BaseRoute]:
        """See the module."""
        return [
            Route("/json/2/{model}/{method}", self._json2, methods=["POST"]),
            Route("/jsonrpc", self._jsonrpc, methods=["POST"]),
            Route("/web/webclient/version_info", self._version, methods=["POST"]),
        ]

    async def _json2(self, request: Request) -> Response:
        given = await _body(request)
        model, method = request.path_params["model"], request.path_params["method"]
        return Json(self.call(model, method, given, _who(request)))

    async def _version(self, request: Request) -> Response:
        about = {"server_version": "19.0", "server_version_info": [19, 0, 0, "final", 0, ""], "protocol_version": 1}
        return Json({"jsonrpc": "2.0", "id": (await _body(request)).get("id"), "result": about})

    async def _jsonrpc(self, request: Request) -> Response:
        given = await _body(request)
        envelope: dict[str, Any] = {"jsonrpc": "2.0", "id": given.get("id")}
        try:
            params = given.get("params", {})
            envelope["result"] = self._service(
                params.get("service"), params.get("method"), params.get("args", []), request
            )
        except OdooError as error:
            about = {"name": error.name, "message": error.message, "arguments": [error.message], "debug": "Traceback"}
            envelope["error"] = {"code": 200, "message": "Odoo Server Error", "data": about}
        return Json(envelope)

    def _service(self, service: Any, method: Any, args: Sequence[Any], request: Request) -> Any:
        if service == "common" and method in {"login", "authenticate"}:
            return BOT if list(args[:3]) == [DATABASE, LOGIN, self.key] else False
        if service != "object" or method not in {"execute", "execute_kw"}:
            raise OdooError("builtins.KeyError", 500, str(method))
        database, uid, key, model, name, *rest = args
        if (database, uid, key) != (DATABASE, BOT, self.key):
            raise OdooError("odoo.exceptions.AccessDenied", 403, "Access Denied")
        places = rest if method == "execute" else rest[0] if rest else []
        named = {} if method == "execute" or len(rest) < 2 else dict(rest[1])
        given = {**dict(zip(_METHODS.get(name, ()), places, strict=False)), **named}
        found = self.call(model, name, given, _who(request))
        return found[0] if name == "message_post" else found  # a number in the versions that have JSON-RPC alone

    def call(self, model: str, method: str, given: Mapping[str, Any], who: int) -> Any:
        """A method of a model; arguments by their names."""
        if model == "res.users" and method == "context_get":
            return {"lang": "en_US", "tz": "UTC"}
        if model not in FIELDS or method not in _METHODS:
            raise OdooError("werkzeug.exceptions.NotFound", 404, f"{model!r} has no method {method!r}")
        if odd := given.keys() - {*_METHODS[method], "context"}:
            raise OdooError("werkzeug.exceptions.UnprocessableEntity", 422, f"unexpected arguments {sorted(odd)}")
        context = given.get("context", {})
        match method:
            case "search_read" | "search" | "search_count":
                return self._search(model, method, given, context)
            case "read":
                ids = given["ids"] if isinstance(given["ids"], list) else [given["ids"]]
                rows = {row["id"]: row for row in self.store.rows(model)}
                load = given.get("load", "_classic_read")
                return [self.store.show(model, rows[i], given.get("fields"), load=load) for i in ids if i in rows]
            case "fields_get":
                asked = given.get("attributes")
                every = FIELDS[model].items()
                return {n: {k: v for k, v in about.items() if not asked or k in asked} for n, about in every}
            case "create":
                many = isinstance(given["vals_list"], list)
                values = given["vals_list"] if many else [given["vals_list"]]
                made = [self.store.create(model, one, who) for one in values]
                return made if many else made[0]
            case "write":
                self.store.write(model, _ids(given), given["vals"], who)
                return True
            case "load" if model == PARTNER:
                return self.store.load(given["fields"], given["data"], who)
            case "message_post":
                return [self.store.post(model, i, given, who) for i in _ids(given)]
            case "unlink":
                self.store.unlink(model, _ids(given), who)
                return True
        raise OdooError("builtins.AttributeError", 500, method)

    def _search(self, model: str, method: str, given: Mapping[str, Any], context: Mapping[str, Any]) -> Any:
        rows = self.store.select(model, given.get("domain", []), context)
        self.store.names(model, given.get("fields"))
        if method == "search_count":
            return len(rows)
        for part in reversed(str(given.get("order") or "id").split(",")):
            name, _, way = part.strip().partition(" ")
            rows.sort(key=lambda row, n=name: row[n], reverse=way == "desc")  # type: ignore[misc]
        start = int(given.get("offset") or 0)
        limit = given.get("limit")
        rows = rows[start : None if not limit else start + int(limit)]
        if method == "search":
            return [row["id"] for row in rows]
        return [self.store.show(model, row, given.get("fields")) for row in rows]

    # --- webhooks -----------------------------------------------------------------------------------------------------

    def target(self, url: str, given: Mapping[str, str]) -> Target:
        """A rule for changes of partners."""
        return self._rule("sandbox", url, f"{PARTNER}.write", given.get("secret", self.secret))

    def deliver_to(self, url: str | None, **secrets: str) -> None:
        """Three rules: partners changed, partners deleted, the blacklist changed; or none."""
        for about, more in (
            (f"{PARTNER}.write", ""),
            (f"{PARTNER}.unlink", "&event=deleted"),
            (f"{BLACKLIST}.write", ""),
        ):
            self.webhooks.targets.pop(about, None)
            if url is not None:
                rule = self._rule(about, url, about, secrets.get("secret", self.secret))
                rule.url += more
                self.webhooks.targets[about] = rule

    def _rule(self, name: str, url: str, about: str, secret: str) -> Target:
        url += ("&" if "?" in url else "?") + f"secret={quote(secret, safe='')}"
        return Target(name, url, events={about: True})

    # --- the sandbox's own --------------------------------------------------------------------------------------------

    def clear(self) -> None:
        """Forget all partners and the blacklist."""
        self.store.clear()

    def records(self, after: int, limit: int) -> tuple[list[dict[str, Any]], int | None]:
        """Partners in the order of their ids."""
        every = [self.store.show(PARTNER, row, None) for row in self.store.rows(PARTNER)]
        end = after + limit
        return every[after:end], end if len(every) > end else None

    def edit(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """What a person does in Odoo.

        ``action``: ``update`` (default) or ``create`` (``fields``), ``delete``, ``merge`` (``loser``), ``blacklist``
        and ``allow`` (``email``).  ``id``: whom.  The first three also of another ``model``, such as ``crm.lead``.
        """
        model = str(given.get("model", PARTNER))
        if model not in self.store.tables:
            raise BadEdit(f"model must be one of {', '.join(self.store.tables)}")
        action, fields, mail = given.get("action", "update"), given.get("fields", {}), str(given.get("email", ""))
        id_ = int(given.get("id", 0))
        try:
            match action:
                case "create":
                    id_ = self.store.create(model, fields, PERSON)
                case "update":
                    self.store.write(model, [id_], fields, PERSON)
                case "delete":
                    self.store.unlink(model, [id_], PERSON)
                    return {"id": id_}
                case "merge":
                    self.store.merge(id_, [int(given["loser"])], PERSON)
                case "blacklist" | "allow":
                    entry = self.store.create(BLACKLIST, {"email": mail, "active": True}, PERSON)
                    self.store.write(BLACKLIST, [entry], {"active": action == "blacklist"}, PERSON)
                    return {"id": entry, "email": mail}
                case _:
                    raise BadEdit("action must be one of update, create, delete, merge, blacklist, allow")
        except (OdooError, KeyError) as error:
            raise BadEdit(str(error)) from None
        return self.store.show(model, next(r for r in self.store.rows(model) if r["id"] == id_), None)


def encode(_target: Target, happenings: Sequence[Happening], _attempt: int) -> tuple[bytes, dict[str, str]]:
    """One record, keys sorted, unsigned."""
    (one,) = happenings
    body = {**one.data, "_id": one.data["id"], "_action": f"Tandem {one.type}(#412)"}
    return json.dumps(body, sort_keys=True).encode(), {"content-type": "application/json"}


def fill(sim: OdooSim, crowd: Iterable[Person]) -> None:
    """People as contacts, as if they had come over the years.  No webhook is sent."""
    numbers = {name: n for n, (_, name) in COUNTRIES.items()}
    for person in crowd:
        name = " ".join(part for part in (person.given, person.family) if part)
        fields = {
            "name": name if name else person.email,
            "email": person.email,
            "phone": person.phone,
            "function": person.job,
            "city": person.town,
            "country_id": numbers.get(person.country) if person.country is not None else None,
        }
        known = {name: value for name, value in fields.items() if value is not None}
        sim.store.create(PARTNER, known, PERSON, at=person.changed.timestamp())


def _answer(error: OdooError) -> Response:
    body = {
        "name": error.name,
        "message": error.message,
        "arguments": [error.message],
        "context": {},
        "debug": "Traceback",
    }
    return Json(body, status_code=error.status)


def _who(request: Request) -> int:
    return PERSON if header(request.scope, _SOURCE) == "user" else BOT


def _ids(given: Mapping[str, Any]) -> list[int]:
    ids = given.get("ids", [])
    return [ids] if isinstance(ids, int) else list(ids)


async def _body(request: Request) -> dict[str, Any]:
    if not request.headers.get("content-type", "").startswith("application/json"):
        raise OdooError("werkzeug.exceptions.UnsupportedMediaType", 415, "JSON is expected")
    try:
        found = orjson.loads(await request.body())
    except orjson.JSONDecodeError:
        found = None
    if not isinstance(found, dict):
        raise OdooError("werkzeug.exceptions.BadRequest", 400, "the body is no object")
    return found
