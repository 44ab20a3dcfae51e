"""The door: ``/webhooks/{connection}``.  A bare ASGI app, since the framework around a route costs as much as the work.

404 no such connection; 405 other methods; 413 too large; 401 signature or secret does not hold (nothing is stored);
400 trusted but unreadable (kept, parked); 503 the store cannot take it now (the vendor tries again; another status
where its connector says so); else what the vendor expects to hear, after the events are durable.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import orjson
import structlog

from app.core.clock import Now, monotonic
from app.entry.commit import Full, GroupCommit
from app.entry.inbox import Arrived
from connectors.contract import Answer, Can, Connector, Delivery, Unreadable, Untrusted

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import Receive, Scope, Send

log = structlog.get_logger(__name__)

PREFIX: Final = "/webhooks/"
METHODS: Final = frozenset({"GET", "HEAD", "POST"})


class Door:
    """Takes deliveries in."""

    def __init__(
        self,
        connectors: Mapping[str, Connector],
        writer: GroupCommit,
        now: Now,
        *,
        public_url: str | None = None,
        body_limit: int = 2 * 1024 * 1024,
        count: Callable[[str, int], None] = lambda _connection, _status: None,
        took: Callable[[str, float], None] = lambda _connection, _seconds: None,
    ) -> None:
        """``public_url``: scheme and host as vendors call us, where a proxy changes them.  ``count``: for metrics.

        ``took``: seconds from the last byte of a delivery until it may be acknowledged; a slow sender is not our lag.
        """
        self._connectors = connectors
        self._writer = writer
        self._now = now
        self._public = public_url.rstrip("/") if public_url else None
        self._limit = body_limit
        self._count = count
        self._took = took

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        name = scope["path"][len(PREFIX) :].rstrip("/")
        connector = self._connectors.get(name)
        if connector is None or Can.WEBHOOK not in connector.can:
            await self._problem(send, "-", 404, "no such connection takes webhooks")
            return
        method = scope["method"]
        if method not in METHODS:
            await self._problem(send, name, 405, "only GET, HEAD and POST are taken here", allow="GET, HEAD, POST")
            return
        # ASGI servers give the names in lower case (https://asgi.readthedocs.io/en/latest/specs/www.html).
        headers = {k.decode("latin-1"): v.decode("latin-1") for k, v in scope["headers"]}
        body = await self._body(headers, receive)
        if body is None:
            await self._problem(send, name, 413, f"a delivery may have {self._limit} bytes")
            return
        began = monotonic()
        delivery = Delivery(method, self._url(scope, headers), headers, body, self._now())
        try:
            received = connector.receive(delivery)
        except Untrusted as error:
            log.warning("delivery.untrusted", connection=name, reason=str(error))
            await self._problem(send, name, 401, "the signature or secret does not hold")
            return
        except Unreadable as error:
            log.warning("delivery.unreadable", connection=name, reason=str(error))
            if await self._stored(send, connector.busy, Arrived(name, delivery, (), unreadable=str(error))):
                await self._problem(send, name, 400, f"kept, but not readable: {error}")
            return
        if received.events and not await self._stored(send, connector.busy, Arrived(name, delivery, received.events)):
            return
        self._count(name, received.answer.status)
        self._took(name, monotonic() - began)
        await _send(send, received.answer)

    async def _stored(self, send: Send, busy: int, arrived: Arrived) -> bool:
        name = arrived.connection
        try:
            await self._writer.store(arrived)
        except Full:
            await self._problem(send, name, busy, "too many deliveries are waiting", retry_after="5")
            return False
        except Exception as error:  # noqa: BLE001 - full disk, dead database: never acknowledge
            log.error("delivery.not_stored", connection=name, error=type(error).__name__)
            await self._problem(send, name, busy, "the store cannot take it now", retry_after="30")
            return False
        return True

    async def _body(self, headers: Mapping[str, str], receive: Receive) -> bytes | None:
        length = headers.get("content-length", "")
        if length.isascii() and length.isdigit() and int(length) > self._limit:
            return None
        parts: list[bytes] = []
        size = 0
        while True:
            message: Any = await receive()
            if message["type"] == "http.disconnect":
                return b"".join(parts)
            part = message.get("body", b"")
            size += len(part)
            if size > self._limit:
                return None
            parts.append(part)
            if not message.get("more_body", False):
                return b"".join(parts)

    def _url(self, scope: Scope, headers: Mapping[str, str]) -> str:
        path: bytes = scope.get("raw_path") or scope["path"].encode()
        query: bytes = scope.get("query_string", b"")
        base = self._public or f"{scope.get('scheme', 'http')}://{headers.get('host', '')}"
        return base + path.split(b"?")[0].decode("latin-1") + (f"?{query.decode('latin-1')}" if query else "")

    async def _problem(
        self,
        send: Send,
        name: str,
        status: int,
        detail: str,
        *,
        allow: str | None = None,
        retry_after: str | None = None,
    ) -> None:
        self._count(name, status)
        body = orjson.dumps({"type": "about:blank", "title": _TITLES[status], "status": status, "detail": detail})
        extra = {"allow": allow, "retry-after": retry_after}
        await _send(send, Answer(status, body, "application/problem+json"), {k: v for k, v in extra.items() if v})


_TITLES: Final = {
    400: "Unreadable",
    401: "Untrusted",
    404: "Not found",
    405: "Method not allowed",
    413: "Too large",
    429: "Try later",
    503: "Try later",
}


async def _send(send: Send, answer: Answer, extra: Mapping[str, str] | None = None) -> None:
    headers = {"content-type": answer.content_type, "content-length": str(len(answer.body)), **(extra or {})}
    await send(
        {
            "type": "http.response.start",
            "status": answer.status,
            "headers": [(k.encode("latin-1"), v.encode("latin-1")) for k, v in headers.items()],
        }
    )
    await send({"type": "http.response.body", "body": answer.body})
