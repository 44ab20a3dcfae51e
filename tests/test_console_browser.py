"""The console in a real browser, on the journey of made-up people between two simulated vendors."""

from __future__ import annotations

import pytest

from tests.browser import HEAVIEST, Browser, Served, browser, console

__all__ = ["browser", "console"]


@pytest.mark.parametrize("path", ["/console"])
@pytest.mark.parametrize("look", ["light", "dark", "phone"])
def test_every_page_is_accessible_and_quiet(console: Served, browser: Browser, path: str, look: str) -> None:
    """No error on the browser's console and no serious violation, light, dark and on a phone."""
    with browser.visit(console.url, width=390 if look == "phone" else 1200, dark=look == "dark") as visit:
        visit.go(path)
        visit.check()
        wide = visit.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide <= 0, f"{wide} px stand out at the side"


def test_the_first_page_is_light(console: Served, browser: Browser) -> None:
    """With everything that it loads."""
    sizes = []
    with browser.visit(console.url) as visit:
        visit.page.on("response", lambda r: sizes.append(len(r.body())))
        visit.go("/console")
        visit.page.wait_for_load_state("networkidle")
        visit.shoot("overview")
    assert 20_000 < sum(sizes) <= HEAVIEST
