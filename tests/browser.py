"""A browser and a Tandem for it to look at: one Chromium and one served store of made-up people for all tests.

Real: the service behind a socket, the simulated vendors, the journey between them.  The stations are stepped by hand,
so that nothing moves while a page is looked at.  Skipped, with the reason, where Chromium or playwright is missing.
"""

from __future__ import annotations

import gzip
import os
import re
import shutil
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from sqlalchemy import update

from app import serving
from app.core import tables as t
from app.core.settings import BrakeConfig, Config, ConnectionConfig, Settings, variable_of
from app.core.words import Mode
from app.main import Tandem
from sandbox.hubspot import HubSpotSim
from sandbox.mailchimp import MailchimpSim
from sandbox.people import populate
from sandbox.serve import Sandbox

ROOT = Path(__file__).resolve().parents[1]
AXE = ROOT / "tests" / "axe" / "axe.min.js.gz"
IMAGES = ROOT / "docs" / "images"
SHOTS = "TANDEM_TEST_SCREENSHOTS"  # set: the tests write the pictures of the documents
HEAVIEST = 150 * 1024  # bytes: of a first page with all that it loads, and of a picture
PEOPLE = 24
SEED = 3
ROUNDS = 200
LEVELS = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa")
PATIENCE_MS = 15_000  # until a wait for the page is given up
CHROMIUM = next((path for path in map(shutil.which, ("chromium", "chromium-browser", "google-chrome")) if path), None)


class _Server(uvicorn.Server):
    """Leaves signals to others."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@dataclass
class Served:
    """A running console: ``url``; ``tandem`` to step; the vendors' APIs as a person's client sees them."""

    url: str
    tandem: Tandem
    sandbox: Sandbox
    hubspot: httpx.Client
    mailchimp: httpx.Client

    def settle(self) -> None:
        """Step the stations until nothing is left to do; all that comes in first, so that both sides' edits meet."""
        one = self.tandem
        inward = (one.poll, one.fetch)
        onward = (one.rounds, one.summarise, one.refilter, one.push, one.timeline, one.leads, one.undo, one.replay)
        for _ in range(ROUNDS):
            if not any([station.step() for station in inward]) and not any([station.step() for station in onward]):  # noqa: C419
                return
        raise AssertionError("it does not settle")

    def poll(self) -> None:
        """Ask both vendors for what changed, and settle."""
        with self.tandem.database.write() as db:
            db.execute(update(t.connection_state).values(poll_due_at=0, next_at=0))
        self.settle()


def asking(folder: Path) -> dict[str, Path]:
    """The shipped mappings, but a person is asked where both sides changed somebody's city."""
    made = {}
    for name in ("hubspot", "mailchimp"):
        text = (ROOT / "mappings" / f"{name}.yaml").read_text(encoding="utf-8")
        changed = re.sub(r"(?m)^(  city: \{.*winner: )newest", r"\1ask", text)
        assert changed != text
        made[name] = folder / f"{name}.yaml"
        made[name].write_text(changed, encoding="utf-8")
    return made


@contextmanager
def served(folder: Path, *, people: int = PEOPLE, mappings: dict[str, Path] | None = None) -> Iterator[Served]:
    """A console behind a socket, over both simulators, with everybody in step.  ``mappings``: other files to use."""
    hub, chimp = HubSpotSim(), MailchimpSim()
    with Sandbox(hub, chimp) as sandbox:
        sandbox.call(lambda: populate(hub, chimp, people, SEED))
        listening = serving.bind("127.0.0.1", 0)
        url = serving.url_of(listening)
        tandem = Tandem(*_configured(folder, url, sandbox, mappings if mappings is not None else {}))
        server = _Server(uvicorn.Config(tandem.app(workers=False), log_config=None, access_log=False, lifespan="on"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, name="console", daemon=True)
        thread.start()
        clients = (
            httpx.Client(base_url=sandbox.hubspot_url, headers={"authorization": f"Bearer {hub.token}"}),
            httpx.Client(base_url=sandbox.mailchimp_url, headers={"authorization": f"Bearer {chimp.key}"}),
        )
        try:
            httpx.get(f"{url}/health/live", timeout=30).raise_for_status()
            one = Served(url, tandem, sandbox, *clients)
            one.settle()
            yield one
        finally:
            server.should_exit = True
            thread.join()
            for client in clients:
                client.close()


def _configured(
    folder: Path, url: str, sandbox: Sandbox, mappings: dict[str, Path]
) -> tuple[Settings, Config, dict[str, str]]:
    hub, chimp = sandbox.hubspot, sandbox.mailchimp
    off = BrakeConfig(creates=None, overwrites=None)
    about: dict[str, dict[str, str]] = {
        "hubspot": {"base_url": sandbox.hubspot_url},
        "mailchimp": {"base_url": sandbox.mailchimp_url, "list_id": chimp.audience.id},
    }
    connections = tuple(
        ConnectionConfig(
            name=name, connector=name, mode=Mode.LIVE, settings=settings, poll_seconds=3600, brake=off,
            mapping=mappings.get(name),
        )
        for name, settings in about.items()
    )  # fmt: skip
    env = {
        variable_of("hubspot", "access_token"): hub.token,
        variable_of("hubspot", "client_secret"): hub.secret,
        variable_of("mailchimp", "api_key"): chimp.key,
        variable_of("mailchimp", "webhook_secret"): "hook-secret",
    }
    settings = Settings(
        _env_file=None, config=folder / "tandem.yml", database=f"sqlite:///{folder / 'console.db'}", public_url=url
    )
    return settings, Config(connections=connections), env


@dataclass
class Visit:
    """One look at a page: the browser's page, and what it complained of."""

    page: Any
    base: str
    complaints: list[str] = field(default_factory=list)
    bytes: int = 0

    def go(self, path: str) -> Any:
        """Open a path; the browser's page."""
        answer = self.page.goto(self.base + path)
        assert answer is not None
        assert answer.status == 200, f"{path}: {answer.status}"
        return self.page

    def check(self, *rules: str) -> None:
        """Nothing on the browser's console, no serious violation of WCAG that axe finds; ``rules``: of these only."""
        broken = violations(self.page, rules)
        found = [*self.complaints, *broken]  # what was complained of meanwhile is among it
        assert not found, f"{self.page.url}: {found}"

    def shoot(self, name: str) -> None:
        """Write a picture for the documents, where the environment asks for it."""
        if not os.environ.get(SHOTS):
            return
        IMAGES.mkdir(parents=True, exist_ok=True)
        path = IMAGES / f"{name}.png"
        self.page.screenshot(path=path, clip={"x": 0, "y": 0, "width": self.page.viewport_size["width"], "height": 580})
        assert path.stat().st_size <= HEAVIEST, f"{path.name} has {path.stat().st_size} bytes"


def violations(page: Any, rules: Sequence[str] = ()) -> list[str]:
    """What axe finds that is serious or critical, with where."""
    # Evaluated by the debugger, to which the page's own policy does not apply.
    page.evaluate(gzip.decompress(AXE.read_bytes()).decode())
    found = page.evaluate(
        "async (rules) => (await axe.run(document, {runOnly: rules}))"
        ".violations.map(v => ({id: v.id, impact: v.impact, nodes: v.nodes.map(n => n.html.slice(0, 200))}))",
        list(rules if rules else LEVELS),
    )
    return [f"{v['id']}: {v['nodes'][:3]}" for v in found if v["impact"] in {"serious", "critical"}]


class Browser:
    """A running Chromium."""

    def __init__(self, chromium: Any) -> None:
        self._chromium = chromium

    @contextmanager
    def visit(
        self, base: str, *, width: int = 1200, height: int = 800, dark: bool = False, script: bool = True
    ) -> Iterator[Visit]:
        """A fresh browser window."""
        context = self._chromium.new_context(
            viewport={"width": width, "height": height},
            color_scheme="dark" if dark else "light",
            java_script_enabled=script,
            reduced_motion="reduce",
        )
        context.set_default_timeout(PATIENCE_MS)
        visit = Visit(context.new_page(), base)
        visit.page.on("console", lambda m: visit.complaints.append(m.text) if m.type in {"error", "warning"} else None)
        visit.page.on("pageerror", lambda e: visit.complaints.append(str(e)))
        try:
            yield visit
        finally:
            context.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One Chromium for a module's tests; while it runs, no test of another module can run a loop of its own."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        pytest.skip("playwright is not installed: `make dev` installs it")
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed: for instance `apt-get install chromium`")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield Browser(chromium)
        chromium.close()


@pytest.fixture(scope="session")
def console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One served console for all tests; what a test changes, it changes for those after it."""
    folder = tmp_path_factory.mktemp("console")
    with served(folder, mappings=asking(folder)) as one:
        yield one
