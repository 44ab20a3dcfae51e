"""Calling a method of a model of Odoo, over JSON-2 or JSON-RPC.  In: model, method, named arguments.  Out: its result.

Both have one table from the name of Odoo's exception to what happens next.  ``debug`` (a traceback, which may hold
data) is never looked at, and the message is told only for a write, without what was written.

Sources: github.com/odoo/documentation, ``developer/reference/external_api.rst`` (JSON-2, from 19.0) and
``external_rpc_api.rst`` (JSON-RPC, until it is removed).
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

import httpx
import orjson

from connectors._http import Http, Step, retry_after, step
from connectors._wording import masked
from connectors.contract import NeedsHuman, Refused, TryLater

_ERRORS: Final = frozenset(range(400, 600))
_GATEWAY: Final = frozenset({502, 503, 504})  # a second try of what is safe is the shared client's
_NAMED: Final = frozenset({200, 400, 401, 403, 404, 409, 422, 500})  # where the name says more than the status

# The last part of the exception's name -> code of the refusal.
_REFUSALS: Final[Mapping[str, str]] = {
    "MissingError": "missing",
    "ValidationError": "validation",
    "NotNullViolation": "validation",
    "CheckViolation": "validation",
    "UniqueViolation": "conflict",
    "ForeignKeyViolation": "linked",
    "RestrictViolation": "linked",
    "UserError": "refused",
    "RedirectWarning": "refused",
    "ValueError": "refused",
    "TypeError": "refused",
}
_PEOPLE: Final = frozenset({"AccessError", "AccessDenied", "Unauthorized", "Forbidden", "NotFound"})


@dataclass(frozen=True, slots=True)
class Reply:
    """``result``: what the method returned.  ``at``: the server's clock."""

    result: Any
    at: datetime | None


class Rpc:
    """One database of one server, as one user.  Safe for threads."""

    def __init__(self, http: Http, *, key: str, database: str = "", login: str = "", json2: bool = True) -> None:
        """``login``: needed for JSON-RPC only, where the number of the user is asked for once."""
        self._http = http
        self._key, self._database, self._login = key, database, login
        self._json2 = json2
        self._uid: int | None = None
        self._lock = threading.Lock()

    def call(
        self,
        model: str,
        method: str,
        named: Mapping[str, Any],
        *,
        ids: Sequence[int] | None = None,
        safe: bool = True,
        unsaid: Collection[str] | None = None,
    ) -> Reply:
        """The method of these records, or of the model.

        ``safe``: may be sent twice.  ``unsaid``: what Odoo's own words may not repeat; None: they are not told at all.
        Refused has one of the codes of the table above.
        """
        if self._json2:
            body = dict(named) if ids is None else {"ids": list(ids), **named}
            response = self._send(f"/json/2/{model}/{method}", body, safe=safe)
        else:
            response = self._send("/jsonrpc", self._execute(model, method, named, ids), safe=safe)
        return Reply(self._result(response, f"{model}.{method}", safe=safe, unsaid=unsaid), clock(response))

    def _send(self, path: str, body: Mapping[str, Any], *, safe: bool) -> httpx.Response:
        take = _ERRORS - _GATEWAY if safe else _ERRORS
        return self._http.send("POST", path, json=body, take=take, safe=safe)

    def _execute(self, model: str, method: str, named: Mapping[str, Any], ids: Sequence[int] | None) -> dict[str, Any]:
        args: list[Any] = [] if ids is None else [list(ids)]
        named = dict(named)
        if method == "create":  # the only one whose first argument has to be told by its place
            args = [named.pop("vals_list")]
        return _envelope("object", "execute_kw", [self._database, self._user(), self._key, model, method, args, named])

    def _user(self) -> int:
        with self._lock:
            if self._uid is None:
                body = _envelope("common", "authenticate", [self._database, self._login, self._key, {}])
                found = self._result(self._send("/jsonrpc", body, safe=True), "common.authenticate", safe=True)
                if not isinstance(found, int) or isinstance(found, bool):
                    raise NeedsHuman("odoo: database, login or api_key is wrong, or the key has run out")
                self._uid = found
            return self._uid

    def _result(self, response: httpx.Response, what: str, *, safe: bool, unsaid: Collection[str] | None = None) -> Any:
        if response.status_code < 400:
            body = self._http.json(response)
            if self._json2:
                return body
            if isinstance(body, Mapping) and "error" not in body and "result" in body:
                return body["result"]
            error = body.get("error") if isinstance(body, Mapping) else None
            data = error.get("data") if isinstance(error, Mapping) else None
            raise self._problem(response, data, what, safe=safe, unsaid=unsaid)
        try:
            data = orjson.loads(response.content)
        except orjson.JSONDecodeError:
            data = None
        raise self._problem(response, data, what, safe=safe, unsaid=unsaid)

    def _problem(
        self, response: httpx.Response, data: Any, what: str, *, safe: bool, unsaid: Collection[str] | None
    ) -> Refused | TryLater | NeedsHuman:
        status = response.status_code
        name = data.get("name") if isinstance(data, Mapping) else None
        kind = name.rpartition(".")[2] if isinstance(name, str) and status in _NAMED else ""
        text = f"odoo: {what}: {status}" + (f" {kind}" if kind.isidentifier() else "")
        said = data.get("message") if isinstance(data, Mapping) else None
        if unsaid is not None and isinstance(said, str) and said.strip():
            text += f": {masked(' '.join(said.split()), {*unsaid, self._key})}"
        if kind in _REFUSALS:
            return Refused(text, code=_REFUSALS[kind])
        if kind in _PEOPLE or status == 404:
            return NeedsHuman(text + _advice(kind if kind else str(status), what))
        by = Step.TRY_LATER if status == 200 else step(status)
        if by is Step.REFUSED:
            return Refused(text, code=f"http_{status}")
        if by is Step.NEEDS_HUMAN:
            return NeedsHuman(text + _advice("", what))
        return TryLater(text, after=retry_after(response), landed=not safe and (status == 200 or status >= 500))


def clock(response: httpx.Response) -> datetime | None:
    """When the server answered, by its own clock."""
    try:
        at = parsedate_to_datetime(response.headers.get("date", ""))
    except ValueError:
        return None
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


def _envelope(service: str, method: str, args: Sequence[Any]) -> dict[str, Any]:
    params = {"service": service, "method": method, "args": list(args)}
    return {"jsonrpc": "2.0", "method": "call", "id": 1, "params": params}


def _advice(kind: str, what: str) -> str:
    model = what.rpartition(".")[0]
    if kind in {"NotFound", "404"}:
        return f"; no such endpoint: before Odoo 19 set api to jsonrpc, or the app of {model} is not installed"
    if kind in {"AccessError", "Forbidden"}:
        return f"; the user of the API key may not do this with {model} (docs/vendors/odoo.md)"
    return "; the API key is wrong, revoked or has run out (it lives three months at most)"
