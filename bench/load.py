"""A load generator for one server on this machine: prepared requests over kept connections, bounded in count and time.

Raw asyncio protocols on uvloop: an HTTP client library would measure itself.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import uvloop


@dataclass
class Load:
    """What came back."""

    requests: int = 0
    ok: int = 0
    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list, repr=False)
    accepted: list[int] = field(default_factory=list, repr=False)  # indices of requests answered 2xx

    @property
    def rate(self) -> float:
        return self.ok / self.seconds if self.seconds else 0.0

    def percentile(self, p: float) -> float:
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(p * len(ordered)))] if ordered else 0.0


class _Client(asyncio.Protocol):
    def __init__(self, shared: _Shared) -> None:
        self.shared = shared
        self.buffer = b""
        self.current = -1
        self.began = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.send()

    def send(self) -> None:
        shared = self.shared
        if shared.next >= len(shared.requests) or time.monotonic() > shared.deadline:
            self.transport.close()
            return
        self.current = shared.next
        shared.next += 1
        self.began = time.perf_counter()
        self.transport.write(shared.requests[self.current])  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, separator, rest = self.buffer.partition(b"\r\n\r\n")
        if not separator:
            return
        length = 0
        for line in head.split(b"\r\n")[1:]:
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        if len(rest) < length:
            return
        self.buffer = b""
        load = self.shared.load
        load.requests += 1
        load.latencies.append(time.perf_counter() - self.began)
        if head[9:10] == b"2":
            load.ok += 1
            load.accepted.append(self.current)
        self.send()

    def connection_lost(self, error: Exception | None) -> None:
        self.shared.open -= 1
        if self.shared.open == 0 and not self.shared.done.done():
            self.shared.done.set_result(None)


class _Shared:
    def __init__(self, requests: Sequence[bytes], connections: int, seconds: float) -> None:
        self.requests = requests
        self.next = 0
        self.open = connections
        self.deadline = time.monotonic() + seconds
        self.load = Load()
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()


def run(port: int, requests: Sequence[bytes], *, connections: int = 64, seconds: float = 10) -> Load:
    """Send each request once over ``connections`` connections, for at most ``seconds``."""

    async def main() -> Load:
        shared = _Shared(requests, connections, seconds)
        loop = asyncio.get_running_loop()
        began = time.perf_counter()
        for _ in range(connections):
            await loop.create_connection(lambda: _Client(shared), "127.0.0.1", port)
        await asyncio.wait_for(shared.done, seconds + 30)
        shared.load.seconds = time.perf_counter() - began
        return shared.load

    return uvloop.run(main())


def request(method: str, path: str, body: bytes, headers: dict[str, str]) -> bytes:
    """One prepared HTTP/1.1 request."""
    lines = [f"{method} {path} HTTP/1.1", "host: 127.0.0.1", f"content-length: {len(body)}"]
    lines += [f"{k}: {v}" for k, v in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body
