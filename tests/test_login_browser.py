"""Signing in with a real browser, which sends and keeps what browsers do: origins, cookies, no inline scripts."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import uvicorn

from app import serving
from app.ops.access import passwords
from tests.browser import Browser, _Server, browser
from tests.signin import CHEAP, PASSWORD, House

__all__ = ["browser"]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A service where Ann and Vic may sign in."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(passwords, "_HASHER", CHEAP)
        house = House(tmp_path_factory.mktemp("login"))
        house.account("ann")
        house.account("vic", "viewer")
        listening = serving.bind("127.0.0.1", 0)
        server = _Server(uvicorn.Config(house.app, log_config=None, access_log=False, lifespan="off"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        yield serving.url_of(listening)
        server.should_exit = True
        thread.join()
        house.close()


@pytest.mark.parametrize("script", [True, False], ids=["with scripts", "without"])
def test_in_and_out(browser: Browser, url: str, script: bool) -> None:
    """To the page that was asked for, under one's own name, and out again; nothing to complain of on the way."""
    with browser.visit(url, script=script) as visit:
        page = visit.go("/console?from=here")
        assert page.url.startswith(f"{url}/login?next=")
        if script:
            visit.check()
        page.get_by_label("Name").fill("ann")
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_url("**/console?from=here")
        assert page.locator(".who").inner_text().endswith("ann")
        if script:
            visit.check()
        (cookie,) = page.context.cookies()
        assert (cookie["name"], cookie["httpOnly"], cookie["sameSite"]) == ("tandem", True, "Lax")
        page.get_by_role("button", name="Sign out").click()
        page.wait_for_url("**/login")
        assert "tandem" not in {one["name"] for one in page.context.cookies()}
        assert visit.go("/console").url.startswith(f"{url}/login")


def test_a_viewer_finds_the_pages_that_are_hers(browser: Browser, url: str) -> None:
    """The menu shows no others, and one that is asked for all the same says why not, with the way back."""
    with browser.visit(url) as visit:
        page = visit.go("/login")
        page.get_by_label("Name").fill("vic")
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_url(f"{url}/console")
        found = page.locator("nav.menu a").all_inner_texts()
        assert "Connections" in found
        assert "Contacts" not in found
        answer = page.goto(f"{url}/console/contacts")
        assert answer.status == 403
        assert "people.plain" in page.locator("main").inner_text()
        assert page.get_by_role("link", name="overview", exact=True).is_visible()
        assert page.locator("nav.menu a").all_inner_texts() == found
