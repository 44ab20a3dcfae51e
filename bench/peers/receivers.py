"""What is compared: each started, killed, started again and ended, with its memory watched.

All of them get HubSpot's webhooks at ``url`` and bring what changed to Mailchimp.  Node-RED and n8n are taken from the
folder that ``bench/peers/install.sh`` filled; where one is missing, ``missing`` says what to do.  Nothing here talks to
anything but this machine: what the two would tell or ask their makers is switched off.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, Final

import httpx
import psutil
import yaml

from bench.peers.vendors import Vendors

HERE: Final = Path(__file__).parent
FOLDER: Final = Path(os.environ.get("TANDEM_BENCH_PEERS", "~/.cache/tandem-bench-peers")).expanduser()
START: Final = 300.0  # seconds until a receiver has to be there
LOOK: Final = 0.05


def free_port() -> int:
    """A port that nobody has."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


class Receiver(ABC):
    """One of them.  ``acknowledges``: when it answers a webhook, and what it has by then."""

    name: str
    acknowledges: str
    path: str

    def __init__(self, directory: Path, vendors: Vendors) -> None:
        """``directory``: for all that it keeps; it survives a kill."""
        self.directory = directory
        self.vendors = vendors
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}{self.path}"
        self.most = 0.0
        self._process: subprocess.Popen[bytes] | None = None

    @classmethod
    def missing(cls) -> str | None:
        """Why it cannot be measured; None = it can."""
        return None

    @abstractmethod
    def command(self) -> list[str]:
        """What starts it."""

    def environment(self) -> dict[str, str]:
        """What it is told beside that of the bench."""
        return {}

    def prepare(self) -> None:  # noqa: B027 - not all of them need it
        """Once, before the first start."""

    def start(self) -> None:
        """Start, and wait until webhooks are answered.  Raises TimeoutError."""
        with (self.directory / "out").open("ab") as out:
            self._process = subprocess.Popen(
                self.command(), env={**os.environ, **self.environment()}, stdout=out, stderr=out, cwd=self.directory
            )
        began = time.monotonic()
        while not self.there():
            if self._process.poll() is not None or time.monotonic() - began > START:
                tail = (self.directory / "out").read_text(errors="replace")[-2000:]
                raise TimeoutError(f"{self.name} did not start: {tail}")
            time.sleep(LOOK)

    def there(self) -> bool:
        """Whether it answers webhooks; an unsigned one may be refused."""
        try:
            status = httpx.post(self.url, json=[], timeout=5).status_code
        except httpx.HTTPError:
            return False
        return status < 500 and status != 404

    def busy(self) -> bool:
        """Whether it knows of work that is not done; only who keeps it on disk can say."""
        return False

    @property
    def pid(self) -> int:
        """Of the process that was started.  Raises LookupError where none runs."""
        if self._process is None:
            raise LookupError(f"{self.name} does not run")
        return self._process.pid

    def tree(self) -> list[psutil.Process]:
        """Its processes."""
        if self._process is None:
            return []
        with contextlib.suppress(psutil.Error):
            own = psutil.Process(self._process.pid)
            return [own, *own.children(recursive=True)]
        return []

    def weigh(self) -> None:
        """Look at the memory of the tree; ``most``: the most that was seen, in MB."""
        with contextlib.suppress(psutil.Error):
            self.most = max(self.most, sum(one.memory_info().rss for one in self.tree()) / 1e6)

    def kill(self) -> None:
        """SIGKILL to all of its processes."""
        for one in self.tree():
            with contextlib.suppress(psutil.Error):
                one.send_signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait()
            self._process = None

    def stop(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(20)
        self.kill()


class Tandem(Receiver):
    """``tandem serve`` on SQLite with the shipped mappings; both connections live, as they are set up for real."""

    name = "tandem"
    acknowledges = "before it writes, with the delivery on disk"
    path = "/webhooks/hubspot"
    _back = "bench-back"

    def prepare(self) -> None:
        """The configuration; Mailchimp tells its changes as well, the echoes of Tandem's own writes among them."""
        said = self.vendors.said
        off = dict.fromkeys(("creates", "overwrites", "opt_ins", "deletes"), "off")
        both = {"mode": "live", "brake": off}
        settings = {"base_url": said["mailchimp"]["url"], "list_id": said["mailchimp"]["list"]}
        data = {
            "database": f"sqlite:///{self.directory / 'tandem.db'}",
            "connections": [
                {"name": "hubspot", "connector": "hubspot", "settings": {"base_url": said["hubspot"]["url"]}, **both},
                {"name": "mailchimp", "connector": "mailchimp", "settings": settings, **both},
            ],
        }
        (self.directory / "tandem.yml").write_text(yaml.safe_dump(data))
        self.vendors.tell_back(f"http://127.0.0.1:{self.port}/webhooks/mailchimp", self._back)

    def command(self) -> list[str]:
        """One process for all."""
        return [sys.executable, "-m", "app.cli", "serve", "--port", str(self.port)]

    def environment(self) -> dict[str, str]:
        """The secrets."""
        said = self.vendors.said
        return {
            "PYTHONPATH": str(HERE.parents[1]),
            "TANDEM_CONFIG": str(self.directory / "tandem.yml"),
            "TANDEM_TOKEN": "t" * 40,
            "TANDEM_LOG_LEVEL": "WARNING",
            "TANDEM_HUBSPOT_ACCESS_TOKEN": said["hubspot"]["token"],
            "TANDEM_HUBSPOT_CLIENT_SECRET": said["hubspot"]["secret"],
            "TANDEM_MAILCHIMP_API_KEY": said["mailchimp"]["key"],
            "TANDEM_MAILCHIMP_WEBHOOK_SECRET": self._back,
        }

    def start(self) -> None:
        """The first time, wait until both sides have been read."""
        walked = self._count("connection_state WHERE walked_at IS NOT NULL") == 2
        super().start()
        began = time.monotonic()
        while not walked and (self._count("connection_state WHERE walked_at IS NOT NULL") < 2 or self.busy()):
            if time.monotonic() - began > START:
                raise TimeoutError("tandem: the first walk did not end")
            time.sleep(LOOK)

    def busy(self) -> bool:
        """Events that wait, and links that are to be written."""
        return self._count("inbox WHERE status = 'pending'") + self._count(f"work WHERE due_at < {2**62}") > 0

    def _count(self, what: str) -> int:
        # Read only: the bench must not take part in what it measures.
        file = f"file:{self.directory / 'tandem.db'}?mode=ro"
        try:
            with contextlib.closing(sqlite3.connect(file, uri=True, timeout=30)) as db:
                return int(db.execute(f"SELECT count(*) FROM {what}").fetchone()[0])
        except sqlite3.OperationalError:  # not there yet
            return 0


class Handler(Receiver):
    """The FastAPI handler of ``bench/peers/handler.py``, one uvicorn process."""

    name = "fastapi"
    acknowledges = "after it wrote"
    path = "/hubspot"

    def command(self) -> list[str]:
        """As it would be run."""
        quiet = ("--no-access-log", "--log-level", "critical")
        return [sys.executable, "-m", "uvicorn", "bench.peers.handler:app", "--port", str(self.port), *quiet]

    def environment(self) -> dict[str, str]:
        """Where the vendors are."""
        hub, chimp = self.vendors.said["hubspot"], self.vendors.said["mailchimp"]
        return {
            "PYTHONPATH": str(HERE.parents[1]),
            "PEER_HUBSPOT_URL": hub["url"],
            "PEER_HUBSPOT_TOKEN": hub["token"],
            "PEER_HUBSPOT_SECRET": hub["secret"],
            "PEER_MAILCHIMP_URL": chimp["url"],
            "PEER_MAILCHIMP_KEY": chimp["key"],
            "PEER_MAILCHIMP_LIST": chimp["list"],
        }


class _Installed(Receiver):
    """One that npm installed.  ``package``: its folder; ``program``: what node runs, in it."""

    package: str
    program: str
    flow: str

    @classmethod
    def program_path(cls) -> Path:
        """What node runs."""
        return FOLDER / cls.name / "node_modules" / cls.package / cls.program

    @classmethod
    def missing(cls) -> str | None:
        """Not installed, or no node."""
        if shutil.which("node") is None:
            return "no node on this machine"
        if not cls.program_path().exists():
            return f"{cls.package} is not in {FOLDER}: make bench-peers-install"
        return None

    @classmethod
    def version(cls) -> str:
        """As installed."""
        found: str = yaml.safe_load((cls.program_path().parents[cls.program.count("/")] / "package.json").read_text())[
            "version"
        ]
        return found

    def write_flow(self) -> Path:
        """The flow with this run's addresses and keys in place of its placeholders."""
        hub, chimp = self.vendors.said["hubspot"], self.vendors.said["mailchimp"]
        text = (HERE / self.flow).read_text()
        for name, value in {
            "@HUBSPOT_URL@": hub["url"],
            "@HUBSPOT_TOKEN@": hub["token"],
            "@MAILCHIMP_URL@": chimp["url"],
            "@MAILCHIMP_KEY@": chimp["key"],
            "@MAILCHIMP_LIST@": chimp["list"],
        }.items():
            text = text.replace(name, value)
        out = self.directory / "flow.json"
        out.write_text(text)
        return out


class NodeRed(_Installed):
    """Node-RED with the flow of ``nodered.json``."""

    name = "nodered"
    package, program, flow = "node-red", "red.js", "nodered.json"
    acknowledges = "before it writes, with the delivery in memory"
    path = "/hubspot"

    def prepare(self) -> None:
        """The flow and the settings."""
        self.write_flow()
        (self.directory / "settings.js").write_text((HERE / "nodered_settings.js").read_text())

    def command(self) -> list[str]:
        """Without the npm wrapper."""
        own = ("--userDir", str(self.directory), "--settings", str(self.directory / "settings.js"))
        return ["node", str(self.program_path()), *own, "--port", str(self.port), str(self.directory / "flow.json")]

    def environment(self) -> dict[str, str]:
        """Nothing is asked or told outside."""
        return {"NODE_RED_DISABLE_TELEMETRY": "1", "NO_UPDATE_NOTIFIER": "1"}


class N8n(_Installed):
    """n8n, one process on SQLite as it comes, with the workflow of ``n8n.json``."""

    name = "n8n"
    package, program, flow = "n8n", "bin/n8n", "n8n.json"
    acknowledges = "before it writes, with at most a record of the execution, which nothing resumes"
    path = "/webhook/hubspot"

    def prepare(self) -> None:
        """Import and publish the workflow."""
        flow = self.write_flow()
        self._once("import:workflow", f"--input={flow}")
        if int(self.version().partition(".")[0]) >= 2:
            self._once("publish:workflow", "--id=hubspotToMailchi")
        else:
            self._once("update:workflow", "--id=hubspotToMailchi", "--active=true")

    def command(self) -> list[str]:
        """The one process."""
        return ["node", str(self.program_path()), "start"]

    def environment(self) -> dict[str, str]:
        """Nothing is asked or told outside; deliveries one after the other, so that Mailchimp's limit is kept."""
        off = (
            "N8N_DIAGNOSTICS_ENABLED",
            "N8N_VERSION_NOTIFICATIONS_ENABLED",
            "N8N_TEMPLATES_ENABLED",
            "N8N_PERSONALIZATION_ENABLED",
            "N8N_HIRING_BANNER_ENABLED",
            "N8N_COMMUNITY_PACKAGES_ENABLED",
            "N8N_LICENSE_AUTO_RENEW_ENABLED",
            "N8N_DYNAMIC_BANNERS_ENABLED",
        )
        return {
            **dict.fromkeys(off, "false"),
            "EXTERNAL_FRONTEND_HOOKS_URLS": "",
            "N8N_DIAGNOSTICS_CONFIG_FRONTEND": "",
            "N8N_DIAGNOSTICS_CONFIG_BACKEND": "",
            "N8N_USER_FOLDER": str(self.directory),
            "N8N_ENCRYPTION_KEY": "bench" * 8,
            "N8N_LISTEN_ADDRESS": "127.0.0.1",
            "N8N_PORT": str(self.port),
            "N8N_RUNNERS_BROKER_PORT": str(self.broker),
            "N8N_SECURE_COOKIE": "false",
            "N8N_LOG_LEVEL": "warn",
            "N8N_CONCURRENCY_PRODUCTION_LIMIT": "1",
        }

    @property
    def broker(self) -> int:
        """A port that the task runners' broker takes."""
        if not hasattr(self, "_broker"):
            self._broker = free_port()
        return self._broker

    def _once(self, *words: str) -> None:
        done = subprocess.run(
            ["node", str(self.program_path()), *words],
            env={**os.environ, **self.environment()},
            capture_output=True,
            text=True,
            timeout=START,
            check=False,
            cwd=self.directory,
        )
        if done.returncode or "GOT ERROR" in done.stdout + done.stderr:  # n8n tells some errors and ends with 0
            raise RuntimeError(f"n8n {words[0]}: {done.stdout[-1000:]} {done.stderr[-1000:]}")


RECEIVERS: Final[tuple[type[Receiver], ...]] = (Tandem, Handler, NodeRed, N8n)


def about(kind: type[Receiver]) -> dict[str, Any]:
    """When it answers, and which version it is where npm installed it."""
    version = {"version": kind.version()} if issubclass(kind, _Installed) else {}
    return {"acknowledges": kind.acknowledges, **version}
