"""A vendor's authorization server in this process, and what asks it: no sockets, a clock that the test moves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

import httpx
from joserfc.jwk import RSAKey
from starlette.applications import Starlette

from app.core.db import Database
from app.core.sealing import Keys, new_key
from app.records.access import Access
from app.repair.connecting import Connecting
from connectors._oauth import Authority
from connectors._oauth_facts import Client, Grant, OAuth
from sandbox.oauth import CLIENT, CLIENT_SECRET, Server

PUBLIC = "https://tandem.test"
BACK = f"{PUBLIC}/connections/acme/callback"
FACTS = OAuth(
    authorize_url="https://login.acme.test/oauth/authorize",
    token_url="https://api.acme.test/oauth/token",
    revoke_url="https://api.acme.test/oauth/revoke",
    scopes=("people", "offline"),
    lives=1800,
    account="hub_id",
)


class Clock:
    """Seconds since 1970 that pass only when told."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


class Wire(httpx.BaseTransport):
    """Requests go to a server in this process.  ``before``: is asked first; ``after``: what it answers is not sent."""

    def __init__(self, server: Server) -> None:
        self.sent: list[httpx.Request] = []
        self.before: Callable[[httpx.Request], httpx.Response | None] = lambda _: None
        self.after: Callable[[httpx.Response], httpx.Response] = lambda response: response
        self._inner = httpx.ASGITransport(Starlette(routes=server.routes()))

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.sent.append(request)
        early = self.before(request)
        if early is not None:
            return early

        async def ask() -> httpx.Response:
            body = request.read()
            copy = httpx.Request(request.method, request.url, headers=request.headers, content=body)
            answer = await self._inner.handle_async_request(copy)
            return httpx.Response(answer.status_code, headers=answer.headers, content=await answer.aread())

        return self.after(asyncio.run(ask()))

    def form(self, number: int = -1) -> dict[str, str]:
        return dict(parse_qsl(self.sent[number].content.decode()))


@cache
def rsa() -> tuple[str, str]:
    """A private and a public key as PEM; made once, since making one takes a moment."""
    key = RSAKey.generate_key(2048)
    return key.as_pem(private=True).decode(), key.as_pem(private=False).decode()


def consented(server: Server, url: str, *, allow: bool = True) -> dict[str, str]:
    """What comes back when a person opens the URL and chooses: the query of the callback."""
    query = dict(parse_qsl(urlsplit(url).query))
    back = server.answer(query, allow=allow)
    return {key: values[-1] for key, values in parse_qs(urlsplit(back).query).items()}


@dataclass
class Acme:
    """A vendor, its server, and one connection to it."""

    database: Database
    facts: OAuth = FACTS
    grant: Grant = Grant.CODE
    server: Server = field(default_factory=lambda: Server("Acme", clock=Clock(), extra={"hub_id": 7}))
    keys: Keys = field(default_factory=lambda: Keys([new_key()]))
    client: Client = field(default_factory=lambda: Client(CLIENT, CLIENT_SECRET))

    def __post_init__(self) -> None:
        self.wire = Wire(self.server)
        self.slept: list[float] = []
        self.access = self.process()
        self.connecting = Connecting(self.database, {"acme": self.access}, public_url=PUBLIC)

    def authority(self) -> Authority:
        return Authority(self.facts, self.grant, self.client, now=self.server.clock, transport=self.wire)

    def process(self, **how: Any) -> Access:
        """Access as another process has it."""
        options: dict[str, Any] = {"sleep": self.slept.append, **how}
        return Access(self.database, "acme", self.authority(), self.keys, "worker", **options)

    def connect(self, by: str = "Kim") -> None:
        """A person connects."""
        begun = self.connecting.begin("acme", by)
        self.connecting.finish("acme", consented(self.server, begun.url))
