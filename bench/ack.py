"""Durable acknowledgements per second at 64 connections, beside a bare Starlette route in the same run.

Each delivery is a signed HubSpot webhook (v3) with one event.  Afterwards the store is searched for every delivery that
was acknowledged.  ``python -m bench.ack [--rounds 3] [--requests 12000] [--databases sqlite,postgresql]``
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import hashlib
import hmac
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psycopg
from sqlalchemy import select

from app.core import tables as t
from app.core.db import Database
from bench import load
from bench.profile import looked_at
from tests import postgres

BARS = {"sqlite": 0.6, "postgresql": 0.5}  # of the rate of the bare route
P99 = 3
SECRET = "bench-secret"
HERE = "http://127.0.0.1"


async def bare(scope: Any, receive: Any, send: Any) -> None:
    """The baseline: a bare Starlette route that reads no body."""
    await _BARE(scope, receive, send)


def _bare() -> Any:
    from starlette.applications import Starlette
    from starlette.responses import Response
    from starlette.routing import Route

    async def hook(_: Any) -> Response:
        return Response(b"", 200)

    return Starlette(routes=[Route("/webhooks/hubspot", hook, methods=["POST"])])


_BARE = _bare()


def door() -> Any:
    """The whole app, without workers."""
    from app.main import build

    return build().app(workers=False)


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def deliveries(n: int, port: int, round_: int) -> list[bytes]:
    """Signed deliveries of one event each, all different."""
    url = f"{HERE}:{port}/webhooks/hubspot"
    found = []
    for i in range(n):
        stamp = str(int(time.time() * 1000))
        event = {
            "objectId": round_ * 1_000_000 + i,
            "propertyName": "firstname",
            "propertyValue": f"Name {i}",
            "changeSource": "CRM_UI",
            "eventId": i,
            "subscriptionId": 25,
            "portalId": 33,
            "appId": 1160452,
            "occurredAt": 1_700_000_000_000 + round_ * 1_000_000 + i,
            "subscriptionType": "contact.propertyChange",
            "attemptNumber": 0,
        }
        body = json.dumps([event]).encode()
        mac = hmac.new(SECRET.encode(), b"POST" + url.encode() + body + stamp.encode(), hashlib.sha256)
        headers = {
            "host": f"127.0.0.1:{port}",
            "content-type": "application/json",
            "x-hubspot-signature-v3": base64.b64encode(mac.digest()).decode(),
            "x-hubspot-request-timestamp": stamp,
        }
        lines = ["POST /webhooks/hubspot HTTP/1.1", f"content-length: {len(body)}"]
        lines += [f"{k}: {v}" for k, v in headers.items()]
        found.append("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
    return found


class Server:
    """One uvicorn process."""

    def __init__(self, target: str, port: int, env: dict[str, str]) -> None:
        command = [sys.executable, "-m", "uvicorn", "--factory", target, "--port", str(port), "--no-access-log"]
        if target.endswith(":bare"):
            command.remove("--factory")
        self.process = subprocess.Popen(
            [*command, "--log-level", "warning"], env={**os.environ, **env}, stderr=subprocess.DEVNULL
        )
        for _ in range(200):
            try:
                httpx.get(f"{HERE}:{port}/", timeout=1)
            except httpx.TransportError:
                time.sleep(0.05)
            else:
                return
        raise RuntimeError(f"{target} did not start")

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(20)


def measure(rounds: int, n: int, url: str) -> dict[str, Any]:
    """Interleaved rounds: bare, door, bare, door …  ``url``: of an empty database."""
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "tandem.yml"
        config.write_text("connections:\n  - {name: hubspot, connector: hubspot, mode: observe}\n")
        env = {
            "TANDEM_CONFIG": str(config),
            "TANDEM_DATABASE": url,
            "TANDEM_HUBSPOT_ACCESS_TOKEN": "none",
            "TANDEM_HUBSPOT_CLIENT_SECRET": SECRET,
            "TANDEM_LOG_LEVEL": "WARNING",
        }
        ports = free_port(), free_port()
        servers = [Server("bench.ack:bare", ports[0], env), Server("bench.ack:door", ports[1], env)]
        results: dict[str, list[load.Load]] = {"bare": [], "door": []}
        acknowledged = 0
        try:
            for round_ in range(rounds + 1):  # the first one warms up
                for name, port in zip(("bare", "door"), ports, strict=True):
                    one = load.run(port, deliveries(n if round_ else 500, port, round_))
                    acknowledged += one.ok if name == "door" else 0
                    if round_:
                        results[name].append(one)
            with looked_at(servers[1].process.pid) as looking:  # a round of its own: looking costs a little
                acknowledged += load.run(ports[1], deliveries(n, ports[1], rounds + 1)).ok
        finally:
            for server in servers:
                server.stop()
        store = Database(url)
        with store.read() as db:
            stored = len(db.execute(select(t.inbox.c.id)).all())
        store.close()
        rate = {name: statistics.median(one.rate for one in found) for name, found in results.items()}
        ratios = [d.rate / b.rate for b, d in zip(results["bare"], results["door"], strict=True)]
        share, kind = statistics.median(ratios), url.split(":", maxsplit=1)[0].partition("+")[0]
        p99 = {name: statistics.median(o.percentile(0.99) for o in found) for name, found in results.items()}
        return {
            "what": "durable acknowledgements per second, 64 connections",
            "database": url.split(":", maxsplit=1)[0],
            "bare_per_second": round(rate["bare"]),
            "door_per_second": round(rate["door"]),
            "ratio": round(statistics.median(ratios), 3),
            "ratios": [round(r, 3) for r in ratios],
            "door_p50_ms": round(1000 * statistics.median(o.percentile(0.5) for o in results["door"]), 2),
            "door_p99_ms": round(1000 * statistics.median(o.percentile(0.99) for o in results["door"]), 2),
            "bare_p99_ms": round(1000 * statistics.median(o.percentile(0.99) for o in results["bare"]), 2),
            "acknowledged": acknowledged,
            "stored": stored,
            "lost": max(0, acknowledged - stored),
            "bars": {
                f"at least {BARS[kind]:.0%} of bare": share >= BARS[kind],
                f"p99 at most {P99} times that of bare": p99["door"] <= P99 * p99["bare"],
                "nothing lost": acknowledged <= stored,
            },
            "profile": looking.shares,
        }


@contextlib.contextmanager
def durable(kind: str) -> Iterator[str]:
    """An empty database that waits for the disk."""
    with contextlib.ExitStack() as stack:
        if kind == "sqlite":
            yield f"sqlite:///{stack.enter_context(tempfile.TemporaryDirectory())}/bench.db"
            return
        server = stack.enter_context(postgres.server(durable=True))
        with psycopg.connect(f"{server}/postgres", autocommit=True) as db:
            db.execute("CREATE DATABASE bench")
        yield f"{server}/bench"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--requests", type=int, default=12_000)
    parser.add_argument("--databases", default="sqlite,postgresql")
    arguments = parser.parse_args()
    found: dict[str, Any] = {"bench": "ack"}
    for kind in arguments.databases.split(","):
        with durable(kind) as url:
            found[kind] = measure(arguments.rounds, arguments.requests, url)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
