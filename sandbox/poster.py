"""Sending small HTTP/1.1 requests over kept connections.  In: a URL, a body.  Out: the status, or None for no answer.

A client library takes some 3 ms of processor time for a request here, this some 0.15 ms; with one webhook per change
(Mailchimp) that is the difference between measuring the receiver and measuring the sandbox.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from urllib.parse import urlsplit

_Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]
_NO_ANSWER = (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError, ValueError)


class Poster:
    """Connections to the receivers of webhooks."""

    def __init__(self, timeout: float) -> None:
        """``timeout``: seconds for one request, from connecting to the last byte of the answer."""
        self._timeout = timeout
        self._idle: dict[tuple[str, int, bool], list[_Connection]] = {}

    async def send(self, method: str, url: str, body: bytes, headers: Mapping[str, str]) -> int | None:
        """The status of the answer; None where there was none in time."""
        with suppress(*_NO_ANSWER):
            async with asyncio.timeout(self._timeout):
                return await self._send(method, url, body, headers)
        return None

    async def close(self) -> None:
        """Close the kept connections."""
        kept = [writer for connections in self._idle.values() for _, writer in connections]
        self._idle.clear()
        for writer in kept:
            writer.close()
        for writer in kept:
            with suppress(OSError):
                await writer.wait_closed()

    async def _send(self, method: str, url: str, body: bytes, headers: Mapping[str, str]) -> int:
        parts = urlsplit(url)
        secure = parts.scheme == "https"
        host = parts.hostname if parts.hostname is not None else ""
        port = parts.port if parts.port is not None else (443 if secure else 80)
        path = parts.path if parts.path else "/"
        lines = [
            f"{method} {path}{'?' + parts.query if parts.query else ''} HTTP/1.1",
            f"host: {parts.netloc}",
            f"content-length: {len(body)}",
            *(f"{name}: {value}" for name, value in headers.items()),
        ]
        request = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + body
        kept = self._idle.setdefault((host, port, secure), [])
        if kept:
            # The receiver may have closed it meanwhile; then once more over a new one, as HTTP allows.
            with suppress(OSError, asyncio.IncompleteReadError):
                return await self._exchange(kept.pop(), kept, request)
        return await self._exchange(await asyncio.open_connection(host, port, ssl=secure), kept, request)

    async def _exchange(self, connection: _Connection, kept: list[_Connection], request: bytes) -> int:
        reader, writer = connection
        keep = False
        try:
            writer.write(request)
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower().split("\r\n")
            status = int(head[0].split(" ")[1])
            answer = {name: value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
            length = answer.get("content-length", "0" if status == 204 else "")
            if length:  # without a length the body ends with the connection, which is then not kept
                await reader.readexactly(int(length))
                keep = answer.get("connection", "") != "close"
        finally:
            if keep:
                kept.append(connection)
            else:
                writer.close()
        return status
