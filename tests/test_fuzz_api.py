"""The whole API under a few requests that nobody would think of; `make fuzz` makes ten thousand (docs/hardening.md)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from app.ops import paging
from tests.fuzz.api import HEADERS, Fuzz, Tally
from tests.fuzz.stocked import Shelf

EACH = 2  # requests to an operation


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    return Shelf(tmp_path_factory.mktemp("fuzz"))


@pytest.fixture(scope="module")
def fuzz(shelf: Shelf) -> Iterator[Fuzz]:
    return Fuzz(shelf, 1)


def only(fuzz: Fuzz, names: set[str], each: int) -> Tally:
    """The tally of some operations; empty searches must not pass."""
    everything, fuzz.tally = fuzz.operations, Tally()
    fuzz.operations = [one for one in everything if one.label in names]
    assert len(fuzz.operations) == len(names)
    try:
        return fuzz.mixed(each * len(names))
    finally:
        fuzz.operations = everything


def test_no_request_breaks_it(fuzz: Fuzz) -> None:
    """No server error, no answer that the description does not have; each operation was asked."""
    tally = fuzz.mixed(EACH * len(fuzz.operations))
    assert not tally.failures, "\n".join(tally.lines())
    assert set(tally.cases) == {one.label for one in fuzz.operations}
    assert tally.total >= 1.5 * len(tally.cases)
    good = {name for name, status in tally.statuses if status < 300}
    assert len(good) > len(fuzz.operations) / 3, "what is asked for is hardly ever there"


@pytest.mark.slow
def test_no_request_breaks_it_on_postgresql(tmp_path: Path, postgres_url: str) -> None:
    """PostgreSQL takes less than SQLite does."""
    fuzz = Fuzz(Shelf(tmp_path, postgres_url), 2)
    tally = fuzz.mixed(5 * len(fuzz.operations))
    assert not tally.failures, "\n".join(tally.lines())


def test_a_server_error_is_found(fuzz: Fuzz, monkeypatch: pytest.MonkeyPatch) -> None:
    """A saboteur: a cursor that is believed."""

    def trusting(_of: str, cursor: str | None, numbers: int) -> Any:
        return None if cursor is None else tuple(orjson.loads(cursor))[-numbers:]

    monkeypatch.setattr(paging, "decode", trusting)
    found = only(fuzz, {"GET /ops/runs"}, 30).failures
    assert any("Server error" in title for _, title in found), found


def test_an_answer_that_is_not_described_is_found(shelf: Shelf) -> None:
    """Saboteurs: descriptions that say something else than what is answered."""

    def prepare(api: Any) -> None:
        if api.app.openapi_schema is None:
            paths = api.app.openapi()["paths"]
            del paths["/contacts/{contact_id}"]["get"]["responses"]["404"]
            paths["/health/live"]["get"]["responses"]["200"]["content"] = {"application/xml": {}}
            content = paths["/ops/replicas"]["get"]["responses"]["200"]["content"]
            content["application/json"]["schema"] = {"type": "string"}

    names = {"GET /contacts/{contact_id}", "GET /health/live", "GET /ops/replicas"}
    found = set(only(Fuzz(shelf, 1, prepare=prepare), names, 15).failures)
    assert found == {
        ("GET /contacts/{contact_id}", "Undocumented status code (404)"),
        ("GET /health/live", "Undocumented Content-Type (200)"),
        ("GET /ops/replicas", "Response violates schema (200)"),
    }


def _texts(document: dict[str, Any], schema: dict[str, Any], name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The texts that a schema takes, with where they stand."""
    if "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    for one in [*schema.get("anyOf", ()), *schema.get("allOf", ())]:
        yield from _texts(document, one, name)
    for key, one in schema.get("properties", {}).items():
        yield from _texts(document, one, f"{name}.{key}")
    if "items" in schema:
        yield from _texts(document, schema["items"], f"{name}[]")
    if schema.get("type") == "string":
        yield name, schema


def test_every_text_says_what_it_may_be(fuzz: Fuzz) -> None:
    """PostgreSQL stores no NUL: a text has a pattern, a list of its values, or a format; a cursor is decoded first."""
    seen, loose = 0, []
    for path, operations in fuzz.document["paths"].items():
        for method, operation in operations.items():
            schemas = [(one["name"], one["schema"]) for one in operation.get("parameters", ())]
            for content in operation.get("requestBody", {}).get("content", {}).values():
                schemas.append(("body", content["schema"]))
            for name, schema in schemas:
                for where, text in _texts(fuzz.document, schema, name):
                    seen += 1
                    if where != "after" and not {"pattern", "enum", "const", "format"} & set(text):
                        loose.append(f"{method} {path}: {where}")
    assert seen > 100
    assert loose == []


def test_no_time_leaves_the_calendar(shelf: Shelf, fuzz: Fuzz) -> None:
    """A day less, or an hour east of it, and there would be no such date: refused wherever a time is asked for."""
    asked = 0
    with shelf.take() as api:
        for path, operations in fuzz.document["paths"].items():
            parameters = operations.get("get", {}).get("parameters", ())
            wanted = {one["name"]: str(one["schema"]) for one in parameters if "'format': 'date" in str(one["schema"])}
            for name, schema in wanted.items():
                tail = "T00:00:00+23:59" if "date-time" in schema else ""
                for day in ("0001-01-02", "9999-12-31"):
                    answer = api("GET", path.replace("{name}", "hub"), params={name: day + tail}, headers=HEADERS)
                    assert answer.status_code == 422, (path, name, day)
                    asked += 1
        for path in ("/brief", "/ops/replay", "/undo"):
            body = {"by": "Kim", "since": "0001-01-02T00:00:00+23:59"}
            assert api("POST", path, json=body, headers=HEADERS).status_code == 422
    assert asked > 10
