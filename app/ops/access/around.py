"""ASGI middleware around the API: reads a form's token, masks answers, enters how acts ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl

import orjson
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException

from app.ops import problems
from app.ops.access import masking
from app.ops.access.auditing import HOLDER, Auditing
from app.ops.access.principal import CALLER, Principal, sees_masked

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

FORM: Final = "tandem.form_token"
FIELD: Final = "csrf"  # the name of the form's hidden field
_FORM_TYPE: Final = "application/x-www-form-urlencoded"
_STAY: Final = "max-age=31536000"  # a year; RFC 6797
_KEPT: Final = 64 * 1024  # bytes of an answer that are looked through for the ids of what was made


class Around:
    """Stands between the shield and the routes."""

    def __init__(self, app: ASGIApp, auditing: Auditing | None = None, *, secure: bool = False) -> None:
        """``secure``: browsers reach us by https, and are told to come by nothing else."""
        self._app = app
        self._auditing = auditing
        self._secure = secure

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        holder: dict[str, Any] = {}
        scope[HOLDER] = holder
        try:
            receive = await _form(scope, receive, holder)
        except HTTPException as refused:
            await problems.answer(refused.status_code, str(refused.detail))(scope, receive, send)
            return
        answer = _Answer(holder, send, secure=self._secure)
        token = CALLER.set(None)
        try:
            await self._app(scope, receive, answer)
            await answer.finish()
        except Exception:
            await self._end(holder, "failed", b"")
            raise
        finally:
            CALLER.reset(token)
        await self._end(holder, str(answer.status), bytes(answer.kept))

    async def _end(self, holder: dict[str, Any], outcome: str, answer: bytes) -> None:
        number = holder.pop("act", None)
        if number is not None and self._auditing is not None:
            await run_in_threadpool(self._auditing.end, number, outcome, answer)


async def _form(scope: Scope, receive: Receive, holder: dict[str, Any]) -> Receive:
    """Read a posted form for its token, and hand it on as if nobody had."""
    kind = Headers(scope=scope).get("content-type", "").partition(";")[0].strip().lower()
    if scope["method"] != "POST" or kind != _FORM_TYPE:
        return receive
    body = b""
    while True:
        message = await receive()
        if message["type"] != "http.request":
            break
        body += message.get("body", b"")
        if not message.get("more_body", False):
            break
    try:
        fields = dict(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=500))
    except ValueError:
        fields = {}
    scope[FORM] = fields.get(FIELD, "")
    holder["form"] = fields
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


class _Answer:
    """Passes an answer on; holds back one that has to be masked until it is whole."""

    def __init__(self, holder: dict[str, Any], send: Send, *, secure: bool) -> None:
        self._holder = holder
        self._secure = secure
        self._send = send
        self._start: Message | None = None
        self._body = bytearray()
        self._json = False
        self.status = 0
        self.kept = bytearray()

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            if self._secure:
                MutableHeaders(scope=message).setdefault("Strict-Transport-Security", _STAY)
            kind = Headers(raw=message["headers"]).get("content-type", "").partition(";")[0]
            self._json = kind == "application/json"
            caller: Principal | None = self._holder.get("caller")
            if caller is not None and sees_masked(caller) and (self._json or kind == "text/html"):
                self._start = message
                return
        elif message["type"] == "http.response.body":
            if self._start is not None:
                self._body += message.get("body", b"")
                return
            if "act" in self._holder and self._json and len(self.kept) < _KEPT:
                self.kept += message.get("body", b"")
        await self._send(message)

    async def finish(self) -> None:
        """Send what was held back."""
        if self._start is None:
            return
        if self._json and self._body:
            self._body[:] = orjson.dumps(masking.document(orjson.loads(bytes(self._body))))
        else:
            self._body[:] = masking.text(self._body.decode()).encode()
        if "act" in self._holder and self._json:
            self.kept += self._body
        MutableHeaders(scope=self._start)["content-length"] = str(len(self._body))
        await self._send(self._start)
        await self._send({"type": "http.response.body", "body": bytes(self._body), "more_body": False})
