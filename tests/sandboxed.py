"""The stage of the sandbox's tests: both simulators in a thread, a client for each, a receiver of webhooks.

A test module names the fixtures that it takes: ``running, sandbox, hs = stage.running, stage.sandbox, stage.hs``.
"""

from __future__ import annotations

import hashlib
import json
import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

import anyio
import httpx
import pytest

from sandbox.hubspot import HubSpotSim
from sandbox.mailchimp import MailchimpSim
from sandbox.serve import Sandbox

CONTACTS = "/crm/v3/objects/contacts"
PATIENCE = 10  # seconds until a wait for another thread is given up
PLAIN = False  # nothing here is encrypted: loading certificates for each client would take most of the time


def md5(email: str) -> str:
    return hashlib.md5(email.lower().encode()).hexdigest()


@dataclass
class Received:
    method: str
    url: str
    headers: dict[str, str]
    body: bytes

    @property
    def events(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.body)
        return found

    @property
    def form(self) -> dict[str, str]:
        return {k: v[0] for k, v in parse_qs(self.body.decode(), keep_blank_values=True).items()}


class Receiver:
    """Takes webhooks; answers with ``answers`` first, then 204."""

    def __init__(self) -> None:
        self.inbox: queue.Queue[Received] = queue.Queue()
        self.answers: list[int] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _take(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", "0")))
                headers = {k.lower(): v for k, v in self.headers.items()}
                url = f"{receiver.url}{self.path}"
                status = receiver.answers.pop(0) if receiver.answers else 200
                self.send_response(status)
                self.send_header("content-length", "0")
                self.end_headers()
                receiver.inbox.put(Received(self.command, url, headers, body))

            do_GET = do_POST = _take  # noqa: N815

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def take(self) -> Received:
        return self.inbox.get(timeout=PATIENCE)

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture(scope="module")
def running() -> Iterator[Sandbox]:
    with Sandbox(HubSpotSim(retry_span=0.3), MailchimpSim(retry_span=0.3)) as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(running: Sandbox) -> Iterator[Sandbox]:
    """Empty, without webhooks; fields that the test adds are taken away again."""

    def fresh() -> None:
        for sim in (running.hubspot, running.mailchimp):
            sim.reset()
            sim.webhooks.targets.clear()

    running.call(fresh)
    schemas: list[dict[str, Any]] = [running.hubspot.portal.schema, running.mailchimp.audience.schema]
    before = [dict(schema) for schema in schemas]
    yield running
    for schema, kept in zip(schemas, before, strict=True):
        schema.clear()
        schema.update(kept)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.close()


@pytest.fixture
def hs(sandbox: Sandbox) -> Iterator[httpx.Client]:
    headers = {"authorization": f"Bearer {sandbox.hubspot.token}"}
    with httpx.Client(base_url=sandbox.hubspot_url, headers=headers, timeout=PATIENCE, verify=PLAIN) as client:
        yield client


@pytest.fixture
def mc(sandbox: Sandbox) -> Iterator[httpx.Client]:
    auth = ("anybody", sandbox.mailchimp.key)
    with httpx.Client(base_url=sandbox.mailchimp_url, auth=auth, timeout=PATIENCE, verify=PLAIN) as client:
        yield client


@pytest.fixture
def members(sandbox: Sandbox) -> str:
    return f"/lists/{sandbox.mailchimp.audience.id}/members"


def create(hs: httpx.Client, **properties: str) -> str:
    answer = hs.post(CONTACTS, json={"properties": properties})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def values(hs: httpx.Client, id_: str, *names: str) -> list[Any]:
    found = hs.get(f"{CONTACTS}/{id_}", params={"properties": ",".join(names)}).json()["properties"]
    return [found[n] for n in names]


def join(mc: httpx.Client, members: str, email: str, **fields: Any) -> dict[str, Any]:
    answer = mc.post(members, json={"email_address": email, "status": "subscribed", **fields})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def settled(client: httpx.Client) -> dict[str, Any]:
    """The state of the webhooks once nothing is pending."""
    for _ in range(5000):
        state: dict[str, Any] = client.get("/_sandbox/webhooks").json()
        if state["pending"] == 0:
            return state
    raise AssertionError("still pending")


def asked(sim: HubSpotSim | MailchimpSim, *requests: tuple[str, str], **headers: str) -> list[httpx.Response]:
    """Calls inside this process, with a clock of their own."""

    async def ask() -> list[httpx.Response]:
        transport = httpx.ASGITransport(sim.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://sim", headers=headers) as client:
            return [
                await client.request(method, path, json={} if method == "POST" else None) for method, path in requests
            ]

    return anyio.run(ask)
