"""The whole API under a few requests that nobody would think of; `make fuzz` makes ten thousand (docs/hardening.md)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from app.ops import paging
from tests.fuzz.api import Fuzz, Tally
from tests.fuzz.stocked import Shelf

EACH = 2  # requests to an operation


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    return Shelf(tmp_path_factory.mktemp("fuzz"))


@pytest.fixture(scope="module")
def fuzz(shelf: Shelf) -> Iterator[Fuzz]:
    return Fuzz(shelf, 1)


def only(fuzz: Fuzz, name: str, cases: int) -> Tally:
    """The tally of one operation; empty searches must not pass."""
    fuzz.operations = [one for one in fuzz.operations if one.label == name]
    assert len(fuzz.operations) == 1
    return fuzz.mixed(cases)


def test_no_request_breaks_it(fuzz: Fuzz) -> None:
    """No server error, no answer that the description does not have; each operation was asked."""
    tally = fuzz.mixed(EACH * len(fuzz.operations))
    assert not tally.failures, "\n".join(tally.lines())
    assert set(tally.cases) == {one.label for one in fuzz.operations}
    assert tally.total >= 1.5 * len(tally.cases)
    good = {name for name, status in tally.statuses if status < 300}
    assert len(good) > len(fuzz.operations) / 2, "what is asked for is hardly ever there"


@pytest.mark.slow
def test_no_request_breaks_it_on_postgresql(tmp_path: Path, postgres_url: str) -> None:
    """PostgreSQL takes less than SQLite does."""
    fuzz = Fuzz(Shelf(tmp_path, postgres_url), 2)
    tally = fuzz.mixed(5 * len(fuzz.operations))
    assert not tally.failures, "\n".join(tally.lines())


def test_a_server_error_is_found(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """A saboteur: a cursor that is believed."""

    def trusting(_of: str, cursor: str | None, numbers: int) -> Any:
        return None if cursor is None else tuple(orjson.loads(cursor))[-numbers:]

    broken = Fuzz(shelf, 1)
    monkeypatch.setattr(paging, "decode", trusting)
    found = only(broken, "GET /ops/runs", 30).failures
    assert any("Server error" in title for _, title in found), found


@pytest.mark.parametrize(
    ("name", "spoil", "title"),
    [
        ("GET /contacts/{contact_id}", lambda o: o["responses"].pop("404"), "Undocumented HTTP status code"),
        (
            "GET /health/live",
            lambda o: o["responses"]["200"]["content"]["application/json"].update(schema={"type": "array"}),
            "Response violates schema",
        ),
    ],
)
def test_an_answer_that_is_not_described_is_found(shelf: Shelf, name: str, spoil: Any, title: str) -> None:
    """Saboteurs: descriptions that say something else than what is answered."""

    def prepare(api: Any) -> None:
        method, path = name.split(" ")
        if api.app.openapi_schema is None:
            spoil(api.app.openapi()["paths"][path][method.lower()])

    found = only(Fuzz(shelf, 1, prepare=prepare), name, 20).failures
    assert any(title in said for _, said in found), found
