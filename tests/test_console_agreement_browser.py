"""The pages of the agreement in a real browser, on invented leads of two years."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import uvicorn

from app import serving
from app.core.db import Database
from app.core.settings import Config, Settings
from app.main import Tandem
from tests.agreed import SHIPPED
from tests.agreedpages import DAYS, PEOPLE
from tests.browser import HEAVIEST, Browser, _Server, browser
from tests.scoring import Store, invented

__all__ = ["browser"]

PATHS = (
    f"scorecard?{DAYS}&per=month",
    f"scorecard?{DAYS}&by=did&value=&all=true",
    f"supply-chain?{DAYS}&segment=channel",
    "sla",
    "sla/1",
    "leads",
    "leads/1",
    "agreement",
    "agreement/versions/1",
    "agreement/draft",
    "agreement/compare",
    "agreement/simulate?most=100",
    "programmes",
    "programmes/warm_up?ever=true",
    "brief?since=2026-01-01&until=2026-11-01",
)
SHOTS = {0: "scorecard", 2: "supply-chain", 3: "sla-board", 6: "lead", 7: "agreement", 10: "compare", 14: "brief"}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where the console of a store with leads is served; the draft says two things differently."""
    folder = tmp_path_factory.mktemp("agreed")
    at = f"sqlite:///{folder / 'tandem.db'}"
    database = Database(at)
    Store(database).enter(list(invented(PEOPLE)))
    database.close()
    draft = folder / "agreement.yaml"
    text = SHIPPED.read_text(encoding="utf-8").replace("rest: 14d", "rest: 15d").replace(">= 50", ">= 40")
    draft.write_text(text, encoding="utf-8")
    listening = serving.bind("127.0.0.1", 0)
    found = serving.url_of(listening)
    settings = Settings(_env_file=None, config=folder / "tandem.yml", database=at, public_url=found)
    tandem = Tandem(settings, Config(agreement=draft), {})
    server = _Server(uvicorn.Config(tandem.app(workers=False), log_config=None, access_log=False, lifespan="on"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, name="agreed", daemon=True)
    thread.start()
    try:
        httpx.get(f"{found}/health/live", timeout=30).raise_for_status()
        yield found
    finally:
        server.should_exit = True
        thread.join()


@pytest.mark.parametrize("look", ["light", "dark, on a phone"])
def test_each_page_is_accessible_and_quiet(url: str, browser: Browser, look: str) -> None:
    """No error on the browser's console, no serious violation, nothing that stands out at the side."""
    narrow = look != "light"
    with browser.visit(url, width=390 if narrow else 1200, dark=narrow) as visit:
        for i, path in enumerate(PATHS):
            visit.go(f"/console/{path}")
            visit.check()
            wide = visit.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
            assert wide <= 0, f"{path}: {wide} px stand out at the side"
            if i in SHOTS and not narrow:
                visit.shoot(SHOTS[i])


def test_the_heaviest_page_is_light(url: str, browser: Browser) -> None:
    """The scorecard with all that it loads."""
    loaded: list[Any] = []
    with browser.visit(url) as visit:
        visit.page.on("response", lambda one: loaded.append(one))
        visit.go(f"/console/scorecard?{DAYS}&per=month")
        visit.page.wait_for_load_state("networkidle")
        sizes = [len(one.body()) for one in loaded]  # not before: the page has to go on meanwhile
    assert 40_000 < sum(sizes) <= HEAVIEST


def test_an_agreement_is_signed_without_a_script(url: str, browser: Browser) -> None:
    """From the overview of versions to both signatures, each by a named person; the name is typed once."""
    with browser.visit(url, script=False) as visit:
        page = visit.go("/console/agreement")
        assert page.get_by_text("things differently").is_visible()
        page.get_by_role("link", name="Read and sign").click()
        page.locator("#by-sales").fill("Kim")
        page.get_by_role("button", name="Sign for sales").click()
        assert page.get_by_role("status").inner_text() == ("Signed. It holds once the other team has signed it, too.")
        assert page.locator("#by-marketing").input_value() == "Kim"
        page.locator("#by-marketing").fill("Lou")
        page.get_by_role("button", name="Sign for marketing").click()
        assert "Signed by both" in page.get_by_role("status").inner_text()
        assert page.get_by_role("button", name="Sign for").count() == 0


def test_by_keyboard_alone(url: str, browser: Browser) -> None:
    """Past the menu, to what a figure means, and to another model of credit."""
    with browser.visit(url) as visit:
        page = visit.go(f"/console/scorecard?{DAYS}")
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.id") == "main"
        term = page.locator("#rate-acceptance summary")
        term.focus()
        page.keyboard.press("Enter")
        assert page.get_by_text("leads that sales accepted / leads handed over", exact=False).first.is_visible()
        page.locator("#model").focus()
        page.keyboard.press("f")
        with page.expect_navigation():
            page.keyboard.press("Tab")
            page.keyboard.press("Tab")
            page.keyboard.press("Enter")
        assert page.get_by_text("all to the first touch").first.is_visible()
        assert visit.complaints == []


def test_the_brief_prints_without_menu_and_forms(url: str, browser: Browser) -> None:
    """On paper there are only the sections."""
    with browser.visit(url) as visit:
        page = visit.go("/console/brief?since=2026-01-01&until=2026-11-01")
        page.emulate_media(media="print")
        assert [page.locator(one).first.is_visible() for one in ("nav.menu", ".off-paper", "header.bar")] == [False] * 3
        assert page.get_by_role("heading", name="What sales owed").is_visible()
