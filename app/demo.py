"""The demo: two simulated vendors as a child process, and Tandem between them in this one, on SQLite.

It is put together as ``tandem serve`` does it, with a configuration of its own: nothing of the user's ``tandem.yml`` or
``.env`` is read.  Both connections are live.  The simulators end with this process however it ends: they watch the pipe
that it holds.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

import httpx
import uvicorn
from pydantic import SecretStr
from rich.console import Console
from rich.panel import Panel
from sqlalchemy import func, select

from app import logs, serving
from app.accounts import MAPPINGS
from app.agreement import acting
from app.agreement.load import load
from app.agreement.words import Team
from app.core import clock
from app.core import tables as t
from app.core.db import Database
from app.core.errors import ConfigError
from app.core.settings import BrakeConfig, Config, ConnectionConfig, Settings, variable_of
from app.core.words import Mode
from app.main import Tandem

HOST: Final = "127.0.0.1"
DATABASE: Final = "demo.db"
POLL_SECONDS: Final = 15.0
LOOK_SECONDS: Final = 0.1  # between looks whether everything is ready
READY_SECONDS: Final = 120.0  # for the start, and as long again per thousand people
STOP_SECONDS: Final = 10.0  # for the simulators' end, before they are killed
# What the simulators hand out that is no secret, by its name in the connector's settings.
PLAIN: Final = frozenset({"list_id", "base_url"})


@dataclass(frozen=True, slots=True)
class Vendor:
    """One simulated vendor, as the simulators say it."""

    name: str
    side: str
    base_url: str
    credentials: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the first walk is."""

    healthy: bool
    walked: int  # connections that have been read completely
    contacts: int
    events: int  # not processed yet
    links: int  # not written yet

    @property
    def ready(self) -> bool:
        """Whether nothing is left to do."""
        return self.healthy and self.walked == 2 and self.events == 0 and self.links == 0


def run(*, port: int, data_dir: Path | None, people: int, as_json: bool) -> None:
    """Run until the process is told to stop.  Raises ConfigError where it cannot start or a simulator dies."""
    logs.set_up("WARNING")
    token, hook = secrets.token_urlsafe(24), secrets.token_urlsafe(24)
    with contextlib.ExitStack() as ends:
        directory = ends.enter_context(_directory(data_dir))
        # Listening before the simulators start: what they send meanwhile waits in the backlog.
        listening = ends.enter_context(serving.bind(HOST, port))
        url = serving.url_of(listening)
        process, vendors = ends.enter_context(_simulators(url, hook, people))
        tandem = _tandem(directory, url, token, vendors)
        tandem.prepare()
        _agree(tandem)
        server = serving.server(tandem.app())
        watch = _Watch(url, tandem.database, process, server, people)
        tell = _Json(url, token, vendors) if as_json else _Person(url, token, vendors)
        ends.enter_context(watch.telling(tell))
        server.run(sockets=[listening])
        if watch.problem is not None:
            raise ConfigError(watch.problem)
        if not server.started:
            raise ConfigError("the demo did not start; the lines above say why")


def _agree(tandem: Tandem) -> None:
    """Both teams sign the shipped agreement."""
    agreement = load(MAPPINGS / "agreement.yaml")
    with tandem.database.write() as db:
        for team in Team:
            acting.sign(db, agreement, {}, team, f"the demo's {team}")


@contextlib.contextmanager
def _directory(given: Path | None) -> Iterator[Path]:
    if given is not None:
        given.mkdir(parents=True, exist_ok=True)
        if (given / DATABASE).exists():
            raise ConfigError(
                f"{given / DATABASE}: from an earlier demo, whose simulated vendors are gone; choose another directory"
            )
        yield given.resolve()
        return
    made = Path(tempfile.mkdtemp(prefix="tandem-demo-"))
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


@contextlib.contextmanager
def _simulators(url: str, hook: str, people: int) -> Iterator[tuple[subprocess.Popen[bytes], list[Vendor]]]:
    """The child process; it ends with the block, or by itself once the pipe to it breaks."""
    command = [
        *(sys.executable, "-m", "sandbox", "--watch-parent", "--agreed"),
        *(("--people", str(people)) if people else ("--empty",)),
        *("--hubspot-webhook", f"{url}/webhooks/hubspot"),
        *("--mailchimp-webhook", f"{url}/webhooks/mailchimp"),
        f"--mailchimp-webhook-secret={hook}",
    ]
    # A session of its own: Ctrl-C in the terminal is for this process, which then ends the child.
    process = subprocess.Popen(  # noqa: S603 - every word of it is ours or a number
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    )
    try:
        yield process, _vendors(process)
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()


def _vendors(process: subprocess.Popen[bytes]) -> list[Vendor]:
    line = process.stdout.readline() if process.stdout is not None else b""
    if not line:
        raise ConfigError("the simulated vendors did not start; the lines above may say why")
    said: dict[str, Any] = json.loads(line)
    return [Vendor(name, v["side"], v["base_url"], v["credentials"]) for name, v in said.items()]


def _tandem(directory: Path, url: str, token: str, vendors: Sequence[Vendor]) -> Tandem:
    """Tandem between the simulators; every setting that matters is said here, so that no ``.env`` can change it."""
    env: dict[str, str] = {}
    connections = []
    for vendor in vendors:
        secret = {name: value for name, value in vendor.credentials.items() if name not in PLAIN}
        env.update({variable_of(vendor.name, name): value for name, value in secret.items()})
        plain = {name: value for name, value in vendor.credentials.items() if name in PLAIN}
        connections.append(
            ConnectionConfig(
                name=vendor.name,
                connector=vendor.name,
                side=vendor.side,
                mode=Mode.LIVE,
                mapping=MAPPINGS / "agreed" / f"{vendor.name}.yaml",
                settings={**plain, "base_url": vendor.base_url},
                poll_seconds=POLL_SECONDS,
                brake=BrakeConfig(creates=None, overwrites=None),  # the first walk is a mass change that is meant
            )
        )
    settings = Settings(
        _env_file=None,
        config=directory / "tandem.yml",
        database=f"sqlite:///{directory / DATABASE}",
        public_url=url,
        token=SecretStr(token),
        demo=True,
    )
    return Tandem(settings, Config(connections=tuple(connections)), env)


class _Watch:
    """Looks how far everything is, and whether the simulators live; its thread ends with the block that it serves."""

    def __init__(
        self, url: str, database: Database, process: subprocess.Popen[bytes], server: uvicorn.Server, people: int
    ) -> None:
        self._url = url
        self._database = database
        self._process = process
        self._server = server
        self._people = people
        self._stop = threading.Event()
        self.problem: str | None = None

    @contextlib.contextmanager
    def telling(self, tell: _Tell) -> Iterator[None]:
        """Tell somebody about the progress while the block runs."""
        thread = threading.Thread(target=self._run, args=(tell,), name="demo-watch", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join()

    def _run(self, tell: _Tell) -> None:
        with tell:
            until = clock.monotonic() + READY_SECONDS * (1 + self._people / 1000)
            progress = self._look()
            while not progress.ready:
                tell.progress(progress)
                if clock.monotonic() > until:
                    self._give_up(f"the first walk did not end in time: {progress}")
                if self._dead() or self._stop.wait(LOOK_SECONDS):
                    return
                progress = self._look()
            tell.progress(progress)
            tell.ready()
        while not self._dead() and not self._stop.wait(1):
            pass

    def _dead(self) -> bool:
        if self._process.poll() is not None and not self._stop.is_set():
            self._give_up("the simulated vendors ended unexpectedly; the lines above may say why")
        return self.problem is not None

    def _give_up(self, problem: str) -> None:
        self.problem = problem
        self._server.should_exit = True

    def _look(self) -> Progress:
        s, i = t.connection_state.c, t.inbox.c
        try:
            healthy = httpx.get(f"{self._url}/health/ready", timeout=5).status_code == 200
        except httpx.HTTPError:
            healthy = False
        with self._database.read() as db:  # one state of the store: nothing can slip from one figure to the next
            return Progress(
                healthy=healthy,
                walked=db.execute(select(func.count()).where(s.walked_at.is_not(None))).scalar_one(),
                contacts=db.execute(select(func.count()).select_from(t.contact)).scalar_one(),
                events=db.execute(select(func.count()).where(i.status == "pending")).scalar_one(),
                links=db.execute(select(func.count()).select_from(t.work)).scalar_one(),
            )


class _Tell(Protocol):
    """Who is told."""

    def __enter__(self) -> Any: ...
    def __exit__(self, *_: object) -> None: ...
    def progress(self, progress: Progress) -> None: ...
    def ready(self) -> None: ...


class _Json:
    """A program: one line on stdout, once everything is ready."""

    def __init__(self, url: str, token: str, vendors: Sequence[Vendor]) -> None:
        self._line = {
            "api": url,
            "token": token,
            "connections": [
                {
                    "name": v.name,
                    "connector": v.name,
                    "side": v.side,
                    "base_url": v.base_url,
                    "credentials": {name: text for name, text in v.credentials.items() if name != "webhook_secret"},
                }
                for v in vendors
            ],
        }

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        pass

    def progress(self, progress: Progress) -> None:
        """Says nothing yet."""

    def ready(self) -> None:
        """Print the line."""
        sys.stdout.write(json.dumps(self._line) + "\n")
        sys.stdout.flush()


class _Person:
    """A person: the progress of the first walk, then what to try."""

    def __init__(self, url: str, token: str, vendors: Sequence[Vendor]) -> None:
        self._url = url
        self._token = token
        self._vendors = vendors
        self._console = Console(soft_wrap=True)
        self._status = self._console.status("Starting")

    def __enter__(self) -> None:
        self._status.start()

    def __exit__(self, *_: object) -> None:
        self._status.stop()

    def progress(self, progress: Progress) -> None:
        """Show it on one line."""
        self._status.update(
            f"First walk: {progress.walked} of {len(self._vendors)} sides read, {progress.contacts} contacts, "
            f"{progress.events} events and {progress.links} links to go"
        )

    def ready(self) -> None:
        """Show what to try."""
        self._status.stop()
        lines = [
            f"Both sides are in step.  Open [bold]{self._url}[/bold]",
            "",
            "Try this:",
            "  - change a name at one side and watch the other",
            "  - change two different fields of one person, one on each side",
            "  - look who said what, and when",
            "",
            *(f"{v.name} answers at {v.base_url}" for v in self._vendors),
            "The operations API, with this run's token:",
            f"  curl -H 'Authorization: Bearer {self._token}' {self._url}/ops/connections",
            "",
            "Ctrl-C ends everything.",
        ]
        self._console.print(Panel("\n".join(lines), title="Tandem demo", expand=False))
