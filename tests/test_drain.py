"""SIGTERM under load: what is in hand is finished, what was acknowledged is kept, what was leased is given back.

Real processes, real sockets.  What is waited for are facts; the bounds are for a test that fails.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import func, select

from app.core import leases
from app.core import tables as t
from app.core.db import Database
from app.core.words import Station
from app.push import work
from app.worker import Wake, Workers
from bench.ack import SECRET, deliveries
from sandbox.serve import Sandbox
from tests.test_journey import Journey, until

ROOT = Path(__file__).resolve().parents[1]
GRACE = 60  # seconds that docs/operate.md, compose.yaml and deploy/kubernetes give a process
CLIENTS, EACH = 6, 2_000
PEOPLE = [("Ann", "Lee"), ("Bo", "Krüger"), ("Cleo", "Okafor"), ("Dmitri", "Volkov"), ("Esra", "Yilmaz"), ("Fay", "Wu")]
NOBODY = "http://127.0.0.1:9"

pytestmark = pytest.mark.timeout(240)


@contextlib.contextmanager
def tandem(*words: str, env: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """A process of ours, which has started."""
    command = [sys.executable, "-m", "app.cli", *words]
    env = {**env, "PYTHONPATH": str(ROOT), "TANDEM_LOG_JSON": "true"}
    process = subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    for line in process.stderr:
        if "tandem.started" in line:
            break
    said: list[str] = []
    reader = threading.Thread(target=lambda: said.extend(process.stderr or ()))
    reader.start()
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        reader.join()
        process.stderr.close()


def ended(process: subprocess.Popen[str]) -> int:
    """Its exit code, once it was told to stop."""
    return process.wait(GRACE)


class Client(threading.Thread):
    """Sends delivery after delivery over one connection until nobody takes them any more."""

    def __init__(self, port: int, requests: list[bytes]) -> None:
        super().__init__(daemon=True)
        self.port, self.requests = port, requests
        self.answers: list[int] = []  # one for each delivery that was answered, from the first on

    def run(self) -> None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port)) as at:
            for request in self.requests:
                at.sendall(request)
                status = answered(at)
                if status is None:
                    return
                self.answers.append(status)


def answered(at: socket.socket) -> int | None:
    """The status of the answer; None where the connection ended without one."""
    head = b""
    while b"\r\n\r\n" not in head:
        part = at.recv(4096)
        if not part:
            return None
        head += part
    return int(head.split()[1])


@pytest.fixture
def door(database: Database, tmp_path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """A port, and the environment of a service with a connection to HubSpot that cannot call it."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    config = tmp_path / "tandem.yml"
    config.write_text(
        f"connections:\n  - name: hubspot\n    connector: hubspot\n    settings: {{base_url: '{NOBODY}'}}\n"
    )
    return (
        port,
        {
            **os.environ,
            "TANDEM_CONFIG": str(config),
            "TANDEM_DATABASE": database.url.render_as_string(hide_password=False),
            "TANDEM_HUBSPOT_ACCESS_TOKEN": "pat-na1-0000",
            "TANDEM_HUBSPOT_CLIENT_SECRET": SECRET,
        },
    )


def stored(database: Database) -> set[str]:
    with database.read() as db:
        return set(db.execute(select(t.inbox.c.ref_value)).scalars())


@pytest.mark.parametrize("role", [("--no-workers",), ()], ids=["door", "door and workers"])
def test_a_door_under_load_is_drained(database: Database, door: tuple[int, dict[str, str]], role: tuple[str]) -> None:
    """No delivery is answered with an error, each that was acknowledged is stored, and the exit code is 0."""
    port, env = door
    with tandem("serve", "--port", str(port), *role, env=env) as process:
        clients = [Client(port, deliveries(EACH, port, n + 1)) for n in range(CLIENTS)]
        for client in clients:
            client.start()
        until(lambda: all(len(c.answers) > 20 for c in clients))
        process.send_signal(signal.SIGTERM)
        assert ended(process) == 0
    for client in clients:
        client.join()
    assert {status for client in clients for status in client.answers} <= {200, 204}
    assert any(len(c.answers) < EACH for c in clients), "it was stopped while they were sending"
    kept = stored(database)
    for n, client in enumerate(clients):
        missing = {str((n + 1) * 1_000_000 + i) for i in range(len(client.answers))} - kept
        assert missing == set()


def test_a_request_in_hand_is_answered(database: Database, door: tuple[int, dict[str, str]]) -> None:
    """Half sent when the signal came, the rest after nobody new is let in: taken, stored, acknowledged."""
    port, env = door
    (request,) = deliveries(1, port, 7)
    with tandem("serve", "--port", str(port), "--no-workers", env=env) as process:
        with socket.create_connection(("127.0.0.1", port)) as at:
            at.sendall(request[:-10])
            until(lambda: httpx.get(f"http://127.0.0.1:{port}/health/live").status_code == 200)
            process.send_signal(signal.SIGTERM)
            until(lambda: refused(port))
            at.sendall(request[-10:])
            assert answered(at) in {200, 204}
        assert ended(process) == 0
    assert stored(database) == {"7000000"}


def refused(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except ConnectionRefusedError:
        return True
    return False


RESTING = frozenset({"prune", "watch", "refilter", "summarise"})  # duties: their rights rest in nobody's name


def left(database: Database) -> dict[str, Any]:
    """What a worker leaves in the store."""
    with database.read() as db:
        return {
            "leased": db.execute(select(func.count()).where(t.work.c.lease.is_not(None))).scalar_one(),
            "rights": sorted(n for n in db.execute(select(t.lease.c.name)).scalars() if n not in RESTING),
            "workers": db.execute(select(func.count()).select_from(t.worker)).scalar_one(),
        }


@pytest.mark.heavy
def test_a_worker_finishes_its_call_and_gives_back_the_rest(database: Database, tmp_path: Path) -> None:
    """Told to stop while a vendor is writing, it notes the answer, leaves no lease, and another one goes on."""
    with Sandbox() as sandbox:
        journey = Journey(sandbox, database, tmp_path)
        try:
            for first, last in PEOPLE:
                person = {"email": f"{first}@example.org".lower(), "firstname": first, "lastname": last}
                journey.hubspot.post("/crm/v3/objects/contacts", json={"properties": person}).raise_for_status()
            slow = {"kind": "slow", "match": "/members|/lists/[^/]+$|batches", "rate": 1, "delay": 1.5}
            control = sandbox.mailchimp_url.removesuffix("/3.0")
            httpx.post(f"{control}/_sandbox/faults", json=slow).raise_for_status()
            with tandem("work", env=journey.env) as process:
                until(lambda: left(database)["leased"] > 0)
                process.send_signal(signal.SIGTERM)
                assert ended(process) == 0
            assert left(database) == {"leased": 0, "rights": [], "workers": 0}
            httpx.delete(f"{control}/_sandbox/faults").raise_for_status()
            with tandem("work", env=journey.env) as process:
                until(lambda: len(journey.members()) == len(PEOPLE))
                until(lambda: not _dirty(database))
                process.send_signal(signal.SIGTERM)
                assert ended(process) == 0
            assert len({m["email_address"] for m in journey.members()}) == len(journey.members()) == len(PEOPLE)
        finally:
            journey.close()


def _dirty(database: Database) -> int:
    with database.read() as db:
        return int(db.execute(select(func.count()).select_from(t.work)).scalar_one())


@pytest.mark.parametrize("gives_back", [True, False], ids=["ours", "saboteur"])
def test_a_vendor_that_never_answers_holds_nothing(
    database: Database, monkeypatch: pytest.MonkeyPatch, gives_back: bool
) -> None:
    """Work whose call does not end in time is due for others at once; the saboteur, which only leaves, keeps it."""
    if not gives_back:
        monkeypatch.setattr(work, "release", lambda *_: 0)
    me, held, never = leases.new_worker_id(), threading.Event(), threading.Event()
    with database.write() as db:
        work.mark(db, "hub", {1: 0, 2: 0})

    def step() -> int:
        with database.write() as db:
            work.lease(db, "hub", me, 100, 600_000)
        held.set()
        never.wait()
        return 0

    workers = Workers(database, me, {Station.PUSH: (step, 1)}, Wake(), lease_ms=600_000)
    workers.start()
    assert held.wait(60)
    workers.stop(seconds=0)
    with database.write() as db:
        _, rows = work.lease(db, "hub", "another", 100, 600_000)
    never.set()
    assert (len(rows) == 2) is gives_back
