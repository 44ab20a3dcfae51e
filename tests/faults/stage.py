"""The processes: two vendors, one PostgreSQL, one web process, three workers; and a supervisor that restarts the dead.

Nothing here looks into the service or its database: it starts, stops, kills, and turns the knobs of the outside.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import mmap
import multiprocessing
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import psycopg

from tests import postgres
from tests.faults.process import run as process_run

WORKERS = 3
ROOT = Path(__file__).parents[2]
READY_SECONDS = 60.0
CONFIG = """
matching: {{likeness: "off"}}
connections:
  - name: hubspot
    connector: hubspot
    mode: live
    call_share: 1
    poll_seconds: {poll}
    settings: {{base_url: "{hubspot}", tier: addon}}
    deletes: {{in: archive, out: archive}}
    brake: {{creates: off, overwrites: off, opt_ins: off, deletes: off}}
  - name: mailchimp
    connector: mailchimp
    mode: live
    call_share: 1
    poll_seconds: {poll}
    settings: {{base_url: "{mailchimp}", list_id: "{list_id}"}}
    deletes: {{in: archive, out: archive}}
    brake: {{creates: off, overwrites: off, opt_ins: off, deletes: off}}
"""
POLL_SECONDS, NO_POLL = 1, 86_400
# Seconds into which a vendor's schedule of webhook retries is compressed: longer than a restart on a busy machine,
# since nobody promises what the vendor gave up.
RETRY_SPAN = 40.0


_ABOUT = (
    "SELECT 'contact', id, version, facts FROM contact WHERE id IN {contacts}",
    """SELECT 'link', connection, remote_id, rev, written_at, gone_at, shadow, altered FROM link
    WHERE contact_id IN {contacts}""",
    """SELECT 'history', contact_id, field, new, source, rule, at, stored_at FROM history
    WHERE contact_id IN {contacts} ORDER BY id""",
    """SELECT 'event', i.id, i.connection, i.action, i.ref_value, i.received_at, i.done_at, i.status, i.error
    FROM inbox i JOIN link k ON k.connection = i.connection AND k.remote_id = i.ref_value
    WHERE k.contact_id IN {contacts} ORDER BY i.id""",
    """SELECT 'tombstone', connection, remote_id, at, lifted_at FROM tombstone
    WHERE remote_id IN (SELECT remote_id FROM link WHERE contact_id IN {contacts})""",
)


class Knob:
    """The clock and the disk of some processes, see ``outside.c``; None of it where there is no compiler."""

    def __init__(self, folder: Path, library: Path | None, name: str) -> None:
        self.path, self._library = folder / name, library
        self.path.write_bytes(bytes(16))
        self.path.chmod(0o644)
        with self.path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), 16)

    @property
    def env(self) -> dict[str, str]:
        if self._library is None:
            return {}
        return {"LD_PRELOAD": str(self._library), "TANDEM_FAULTS_CONTROL": str(self.path)}

    def clock(self, seconds: float) -> None:
        """How much later the time of day is than it should be."""
        self._map[:8] = struct.pack("q", int(seconds * 1_000_000))

    def full(self, yes: bool) -> None:
        """Whether no file can grow."""
        self._map[8:] = struct.pack("q", int(yes))

    def close(self) -> None:
        self._map.close()


def compiled(folder: Path) -> Path | None:
    """The library of ``outside.c``, or None where there is no compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        return None
    library = folder / "outside.so"
    source = Path(__file__).with_name("outside.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-O2", "-o", library, source, "-ldl"], check=True)
    library.chmod(0o755)
    return library


class Stage:
    """Everything that runs.  ``saboteur``: see ``process.SABOTEURS``; ``log``: where the service's own lines go."""

    def __init__(self, *, sqlite: bool, saboteur: str | None, log: Path | None) -> None:
        self._ends = contextlib.ExitStack()
        self.folder = Path(tempfile.mkdtemp(prefix="tandem-faults-"))
        self.folder.chmod(0o755)  # PostgreSQL may run as somebody else, and reads its knob
        self._ends.callback(shutil.rmtree, self.folder, ignore_errors=True)
        library = compiled(self.folder)
        self.outside = library is not None
        self.knob = Knob(self.folder, library, "service")
        self.pg_knob = Knob(self.folder, library, "postgres")
        self.pg: postgres.Server | None = None
        if not sqlite:
            self.pg = postgres.Server(env=self.pg_knob.env, options={"checkpoint_timeout": "30s"})
            self._ends.callback(self.pg.close)
            self.pg.start()
        self._log = str(log) if log is not None else os.devnull
        # Processes are forked from one that has imported everything: a cold start would take most of a schedule.
        self._forks = multiprocessing.get_context("forkserver")
        self._forks.set_forkserver_preload(["tests.faults.process"])
        self._saboteur = saboteur
        self._env: dict[str, str] = {}
        self._commands: dict[str, list[str]] = {}
        self._processes: dict[str, Any] = {}
        self._stopped: set[str] = set()
        self._lock = threading.Lock()
        self._database_lock = threading.Lock()
        self._leaving = threading.Event()
        self._watch: threading.Thread | None = None
        self._blocks = 0
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.vendors = self._simulators()
        self.urls = {name: said["base_url"] for name, said in self.vendors.items()}
        self.list_id = self.vendors["mailchimp"]["credentials"]["list_id"]
        self.restarts = 0  # of processes that ended by themselves, or were killed

    def __enter__(self) -> Stage:
        return self

    def __exit__(self, *_: object) -> None:
        self.end_block()
        self._ends.close()
        self.knob.close()
        self.pg_knob.close()

    def _simulators(self) -> dict[str, Any]:
        command = [
            *(sys.executable, "-m", "sandbox", "--watch-parent", "--empty", "--retry-span", str(RETRY_SPAN)),
            *("--hubspot-webhook", f"{self.url}/webhooks/hubspot"),
            *("--mailchimp-webhook", f"{self.url}/webhooks/mailchimp", "--mailchimp-webhook-secret=hook-secret"),
        ]
        process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
        )
        self._ends.callback(_end, process)
        assert process.stdout is not None
        said: dict[str, Any] = json.loads(process.stdout.readline())
        return said

    # --- one block of schedules ---------------------------------------------------------------------------------------

    def begin_block(self, *, poll: bool) -> None:
        """An empty store, empty vendors, and fresh processes."""
        self.end_block()
        self._blocks += 1
        for url in self.urls.values():
            httpx.post(f"{url.removesuffix('/3.0')}/_sandbox/reset").raise_for_status()
        if self.pg is not None:
            name = f"block{self._blocks}"
            with psycopg.connect(f"{self.pg.url}/postgres", autocommit=True) as db:
                if self._blocks > 1:
                    db.execute(f"DROP DATABASE block{self._blocks - 1} WITH (FORCE)")
                db.execute(f"CREATE DATABASE {name}")
            database = f"{self.pg.url}/{name}"
        else:
            database = f"sqlite:///{self.folder}/block{self._blocks}.db"
        config = self.folder / "tandem.yml"
        config.write_text(
            CONFIG.format(**self.urls, list_id=self.list_id, poll=POLL_SECONDS if poll else NO_POLL), encoding="utf-8"
        )
        hubspot, mailchimp = (self.vendors[n]["credentials"] for n in ("hubspot", "mailchimp"))
        self._env = {
            **{n: v for n, v in os.environ.items() if not n.startswith("TANDEM_")},
            "PYTHONPATH": str(ROOT),
            "TANDEM_CONFIG": str(config),
            "TANDEM_DATABASE": database,
            "TANDEM_HUBSPOT_ACCESS_TOKEN": hubspot["access_token"],
            "TANDEM_HUBSPOT_CLIENT_SECRET": hubspot["client_secret"],
            "TANDEM_MAILCHIMP_API_KEY": mailchimp["api_key"],
            "TANDEM_MAILCHIMP_WEBHOOK_SECRET": "hook-secret",
            "TANDEM_RETRY_BASE_SECONDS": "0.2",
            "TANDEM_RETRY_CAP_SECONDS": "1",
            "TANDEM_HTTP_TIMEOUT": "0.8",
            "TANDEM_LOG_LEVEL": "WARNING",
            **self.knob.env,
            **({"SABOTEUR": self._saboteur} if self._saboteur is not None else {}),
        }
        self._commands = {"web": ["serve", "--no-workers", "--port", str(self.port)]}
        self._leaving.clear()
        self._start("web")
        self.until(self.listens, "the service does not answer")
        for n in range(WORKERS):
            self._commands[f"worker{n}"] = ["work"]
            self._start(f"worker{n}")
        self._watch = threading.Thread(target=self._supervise, name="supervisor", daemon=True)
        self._watch.start()

    def end_block(self) -> None:
        """Kill the service's processes."""
        self._leaving.set()
        if self._watch is not None:
            self._watch.join()
            self._watch = None
        with self._lock:
            for process in self._processes.values():
                process.kill()
                process.join()
            self._processes.clear()
            self._commands.clear()
            self._stopped.clear()

    def _start(self, name: str) -> None:
        process = self._forks.Process(target=process_run, args=(self._commands[name], self._env, self._log), name=name)
        with _environment(self.knob.env):  # of the process that forks, at its first start
            process.start()
        self._processes[name] = process

    def _supervise(self) -> None:
        """What an operating system's supervisor does."""
        while not self._leaving.wait(0.1):
            with self._lock:
                for name in self._commands:
                    if not self._processes[name].is_alive():
                        self.restarts += 1
                        self._start(name)

    @contextlib.contextmanager
    def exclusively(self, kind: str) -> Iterator[None]:
        """Two faults of the database at once are one after the other, since the second needs it to answer."""
        if kind.startswith("pg_") or kind == "disk_full":
            with self._database_lock:
                yield
        else:
            yield

    # --- what can be done to them -------------------------------------------------------------------------------------

    def kill(self, *names: str) -> None:
        """SIGKILL; the supervisor starts them again."""
        with self._lock:
            for name in names:
                self._processes[name].kill()

    def signal(self, number: int, *names: str) -> None:
        """SIGSTOP or SIGCONT."""
        with self._lock:
            for name in names:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self._processes[name].pid, number)

    @contextlib.contextmanager
    def pg_down(self, how: int) -> Iterator[None]:
        """The database is away for the block."""
        assert self.pg is not None
        self.pg.stop(how)
        try:
            yield
        finally:
            self.pg.start()

    def pg_backends(self) -> list[int]:
        """Process ids that serve the service."""
        assert self.pg is not None
        with psycopg.connect(f"{self.pg.url}/postgres", autocommit=True) as db:
            query = "SELECT pid FROM pg_stat_activity WHERE datname LIKE 'block%' ORDER BY pid"
            return [row[0] for row in db.execute(query)]

    def pg_cut(self) -> None:
        """Every connection of the service to the database is ended by the server."""
        assert self.pg is not None
        with psycopg.connect(f"{self.pg.url}/postgres", autocommit=True) as db:
            db.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname LIKE 'block%'")

    def whole(self) -> None:
        """Everything is let go on: no knob is turned, nobody is stopped, the database answers."""
        self.signal(signal.SIGCONT, *self._commands)
        for knob in (self.knob, self.pg_knob):
            knob.clock(0)
            knob.full(False)
        if self.pg is not None and (self.pg.process is None or self.pg.process.poll() is not None):
            self.pg.start()

    # --- what anybody can see -----------------------------------------------------------------------------------------

    def listens(self) -> bool:
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(f"{self.url}/health/live", timeout=2).status_code == 200
        return False

    def resume(self) -> None:
        """What an operator does once the token is valid again."""
        with contextlib.suppress(httpx.HTTPError):
            for name in self.urls:
                httpx.post(f"{self.url}/ops/connections/{name}/resume", timeout=2)

    def inside(self, names: Iterable[str] = ()) -> list[str]:
        """What the store says, for whoever looks for the cause of a finding; the checker never asks.

        ``names``: family names of people of whom something is wrong.
        """
        if self.pg is None:
            return []
        ms = "- extract(epoch FROM now()) * 1000"
        queries = (
            f"SELECT 'work', count(*), min(due_at) {ms}, max(attempts) FROM work",
            f"""SELECT 'inbox', status, connection, count(*), min(due_at) {ms}, max(error) FROM inbox
            WHERE status <> 'done' GROUP BY status, connection""",
            f"SELECT 'lease', name, until {ms} FROM lease",
            f"SELECT 'worker', pid, beat_at {ms} FROM worker",
            f"SELECT 'connection', name, paused, next_at {ms}, poll_due_at {ms}, failing_since FROM connection_state",
            """SELECT 'activity', pid, state, wait_event, now() - xact_start, pg_blocking_pids(pid)
            FROM pg_stat_activity WHERE datname LIKE 'block%' AND state <> 'idle'""",
            "SELECT 'dead', connection, code, contact_id, reason FROM dead",
            *(
                f"""SELECT 'event by address', id, connection, action, ref_key, ref_value, occurred_at, received_at,
                done_at, status, error FROM inbox WHERE ref_value IN ({", ".join(f"'{m}'" for m in _marks(name))})"""
                for name in names
            ),
            *(
                query.format(contacts=f"(SELECT id FROM contact WHERE facts::text LIKE '%{name}%')")
                for name in names
                for query in _ABOUT
            ),
        )
        found = []
        with psycopg.connect(f"{self.pg.url}/block{self._blocks}", autocommit=True) as db:
            for query in queries:
                try:
                    found += [" ".join(map(str, row)) for row in db.execute(query)]
                except psycopg.Error as error:
                    found.append(str(error))
        return found

    def noted(self, names: Iterable[str]) -> list[str]:
        """What the simulators noted: deliveries that were given up, and every call about these people."""
        found = []
        for side in self.urls:
            at = self.sandbox(side)
            said = httpx.get(f"{at}/webhooks", params={"last": 10_000}, timeout=60).json()
            found += [f"{side} gave up {d}" for d in said["deliveries"] if d["status"] == "failed"]
            calls = httpx.get(f"{at}/calls", params={"since": 0}, timeout=60).json()["calls"]
            for name in names:
                marks = _marks(name)
                about = [c for c in calls if any(mark in c["path"] or mark in (c.get("query") or "") for mark in marks)]
                found += [
                    " ".join(str(c.get(k)) for k in ("time", "method", "path", "status", "fault", "user_agent"))
                    for c in about[-60:]
                    if c["write"]
                ]
        return found

    def until(self, true: Callable[[], bool], what: str, seconds: float = READY_SECONDS) -> None:
        """Wait for a fact about another process; a bound, not a timing."""
        end = time.monotonic() + seconds
        while not true():
            if time.monotonic() > end:
                raise TimeoutError(what)
            time.sleep(0.05)

    def sandbox(self, side: str) -> str:
        """The address of a simulator's control endpoints."""
        return f"{self.urls[side].removesuffix('/3.0')}/_sandbox"

    def pending(self) -> dict[str, Mapping[str, Any]]:
        """How each simulator's deliveries stand."""
        return {s: httpx.get(f"{self.sandbox(s)}/webhooks", params={"last": 0}).json() for s in self.urls}


def _marks(name: str) -> list[str]:
    """How calls name somebody: an address, or what Mailchimp makes of it."""
    addresses = [f"{name.lower()}{moved}@example.org" for moved in ("", ".1", ".2", ".3")]
    return [*addresses, *(hashlib.md5(a.encode(), usedforsecurity=False).hexdigest() for a in addresses)]


@contextlib.contextmanager
def _environment(more: Mapping[str, str]) -> Iterator[None]:
    os.environ.update(more)
    try:
        yield
    finally:
        for name in more:
            del os.environ[name]


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
