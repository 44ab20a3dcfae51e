"""Pages: each row once, in order, whatever the page's size and whatever a filter has to look past."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest
from sqlalchemy import Engine, delete, event

from app.core import tables as t
from app.core.clock import from_ms, to_ms
from app.core.db import Database
from app.ops import arrival, paging
from tests.apihelp import Api, add, add_contacts, add_events, add_letters

N = 23


def some_events(database: Database) -> None:
    """Of two connections and all statuses, many at the same moment."""
    names, statuses = itertools.cycle(["hub", "chimp", "chimp"]), itertools.cycle(["done", "pending", "dead", "parked"])
    add_events(
        database,
        *(
            {"connection": next(names), "status": next(statuses), "received_at": 1_000 + k * 7 % 5, "due_at": 0}
            for k in range(N)
        ),
    )


def some_letters(database: Database) -> None:
    codes, stations = itertools.cycle(["refused", "gone", "invalid"]), itertools.cycle(["push", "sync"])
    names = itertools.cycle(["hub", "chimp"])
    add_letters(
        database,
        *({"code": next(codes), "station": next(stations), "connection": next(names)} for _ in range(N)),
    )


def some_contacts(database: Database) -> None:
    add_contacts(database, *({"updated_at": 1_000 * (1 + k % 4), "values": {"city": str(k)}} for k in range(N)))


def some_runs(database: Database) -> None:
    add(
        database,
        t.run,
        *({"kind": "replay", "params": {}, "status": "done", "total": k, "started_at": 0} for k in range(N)),
    )


def some_conflicts(database: Database) -> None:
    usual = {"field": "city", "connection": "hub", "ours": "a", "theirs": "b", "at": 0}
    add(database, t.conflict, *({**usual, "contact_id": k} for k in range(1, N + 1)))


def some_history(database: Database) -> None:
    add_contacts(database, {}, {})
    usual = {"field": "city", "old": None, "new": "x", "source": "hub", "rule": "new", "at": 0, "stored_at": 0}
    add(database, t.history, *({**usual, "contact_id": 1, "version": 1 + k // 3} for k in range(N)))
    add(database, t.history, {**usual, "contact_id": 2, "version": 9})


def by_id(item: dict[str, Any]) -> Any:
    return item["id"]


LISTS = [
    pytest.param("/ops/events", some_events, {}, by_id, True, N, id="events"),
    pytest.param("/ops/events", some_events, {"connection": "hub"}, by_id, True, 8, id="events of one connection"),
    pytest.param("/ops/events", some_events, {"status": "done"}, by_id, True, 6, id="events of one status"),
    pytest.param("/ops/events", some_events, {"status": "dead"}, by_id, True, 6, id="events of a rare status"),
    pytest.param(
        "/ops/events",
        some_events,
        {"since": "1970-01-01T00:00:01.001Z", "until": "1970-01-01T00:00:01.003Z"},
        by_id,
        True,
        9,
        id="events of a span",
    ),
    pytest.param(
        "/ops/events",
        some_events,
        {"connection": "chimp", "status": "dead", "until": "1970-01-01T00:00:01.004Z"},
        by_id,
        True,
        2,
        id="events by everything",
    ),
    pytest.param("/ops/dead", some_letters, {}, by_id, True, N, id="letters"),
    pytest.param("/ops/dead", some_letters, {"connection": "hub"}, by_id, True, 12, id="letters of one connection"),
    pytest.param("/ops/dead", some_letters, {"code": "gone"}, by_id, True, 8, id="letters of one code"),
    pytest.param(
        "/ops/dead",
        some_letters,
        {"code": "gone", "station": "sync", "connection": "chimp"},
        by_id,
        True,
        4,
        id="letters by everything",
    ),
    pytest.param("/contacts", some_contacts, {}, by_id, False, N, id="contacts"),
    pytest.param(
        "/contacts", some_contacts, {"updated_since": "1970-01-01T00:00:04Z"}, by_id, False, 5, id="contacts updated"
    ),
    pytest.param("/ops/runs", some_runs, {}, by_id, True, N, id="runs"),
    pytest.param("/conflicts", some_conflicts, {}, by_id, True, N, id="conflicts"),
    pytest.param(
        "/contacts/1/history", some_history, {}, lambda c: (c["version"], c["id"]), True, N, id="history of a contact"
    ),
]


@pytest.mark.parametrize(("path", "fill", "params", "key", "newest", "expected"), LISTS)
@pytest.mark.parametrize("most", [paging.MOST, 10], ids=["plenty", "looks at few"])
def test_every_row_comes_once_and_in_order(
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
    path: str,
    fill: Callable[[Database], None],
    params: dict[str, str],
    key: Callable[[dict[str, Any]], Any],
    newest: bool,
    expected: int,
    most: int,
) -> None:
    """Pages of every size put together are the whole list, also where a page ends at what it may look at."""
    monkeypatch.setattr(paging, "MOST", most)
    api = Api(database)
    fill(database)
    whole = api.walk(path, 200, **params)
    rows = [item for page in whole for item in page]
    assert len(rows) == expected
    assert rows == sorted(rows, key=key, reverse=newest)
    for limit in (1, 4, expected):
        pages = api.walk(path, limit, **params)
        assert all(len(page) <= limit for page in pages)
        assert [item for page in pages for item in page] == rows


@pytest.mark.parametrize("since_hours", range(0, 60, 7))
def test_a_span_of_time_is_found_without_an_index(database: Database, since_hours: int) -> None:
    """All that was received in it, though ids have gaps and do not quite follow time; little else is looked at."""
    dice = random.Random(since_hours)
    hour = 3_600_000
    moments = [k * hour // 2 + dice.randrange(-hour // 2, hour // 2) + 2 * hour for k in range(120)]
    ids = add_events(database, *({"received_at": moment} for moment in moments))
    gaps = set(dice.sample(ids, 30))
    with database.write() as db:
        db.execute(delete(t.inbox).where(t.inbox.c.id.in_(gaps)))
    since, until = (from_ms(h * hour) for h in (since_hours, since_hours + 9))
    wanted = {i for i, m in zip(ids, moments, strict=True) if i not in gaps and to_ms(since) <= m < to_ms(until)}
    api = Api(database)
    found = [e["id"] for page in api.walk("/ops/events", 7, since=iso(since), until=iso(until)) for e in page]
    assert found == sorted(wanted, reverse=True)
    with database.read() as db:
        first, last = arrival.span(db, since, until)
    assert last - first < len(wanted) + 30


def iso(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


def test_what_arrives_meanwhile_moves_no_page(database: Database) -> None:
    """A page begins behind the last row of the one before, not after so many rows."""
    api = Api(database)
    first = add_events(database, *({"received_at": 10 * k} for k in range(1, 5)))
    page = api.get("/ops/events", limit=2)
    add_events(database, {"received_at": 99}, {"received_at": 100})
    rest = api.get("/ops/events", limit=9, after=page["next"])
    assert [e["id"] for e in page["items"] + rest["items"]] == sorted(first, reverse=True)


@pytest.mark.parametrize(
    "cursor",
    [
        pytest.param("", id="empty"),
        pytest.param("!!!", id="not base64"),
        pytest.param("eHg", id="not JSON"),
        pytest.param(paging.encode("dead", (5,)), id="of another list"),
        pytest.param(paging.encode("events", ()), id="too short"),
        pytest.param(paging.encode("events", (5, 6)), id="too long"),
        pytest.param(paging.encode("events", (2**63,)), id="too large"),
        pytest.param(paging.encode("events", (True,)), id="not a number"),
        pytest.param(paging.encode("events", ("x",)), id="a text"),  # type: ignore[arg-type]
        pytest.param("x" * 201, id="too much"),
    ],
)
def test_a_cursor_of_elsewhere_is_refused(database: Database, cursor: str) -> None:
    """Rather than answered with a page that nobody asked for."""
    problem = Api(database)("GET", "/ops/events", params={"after": cursor}).json()
    assert (problem["status"], problem["errors"][0]["name"]) == (422, "after")


@pytest.mark.parametrize(("path", "fill", "params", "_key", "_order", "_expected"), LISTS)
def test_no_list_counts_skips_or_sorts(
    database: Database,
    path: str,
    fill: Callable[[Database], None],
    params: dict[str, str],
    _key: object,
    _order: object,
    _expected: object,
) -> None:
    """Every statement of a list ends at its bound in the order of an index; an empty search must not pass."""
    if database.dialect != "sqlite":
        pytest.skip("reads SQLite's query plans")
    api = Api(database)
    fill(database)
    said: list[tuple[str, Any]] = []

    def listen(_c: object, _cursor: object, statement: str, parameters: Any, *_: object) -> None:
        if statement.startswith("SELECT"):
            said.append((statement, parameters))

    event.listen(Engine, "before_cursor_execute", listen)
    try:
        api.get(path, limit=2, after=api.get(path, limit=2, **params)["next"], **params)
    finally:
        event.remove(Engine, "before_cursor_execute", listen)
    assert len(said) >= 2
    served = False
    for statement, parameters in said:
        if "OFFSET" in statement:  # SQLAlchemy always says it to SQLite
            assert parameters[-1] == 0
        assert "count(" not in statement
        with database.read() as db:
            plan = [row[3] for row in db.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)]
        assert plan
        served = served or any("ix_inbox_trouble" in step for step in plan)
        assert not [step for step in plan if "TEMP B-TREE" in step], statement
        assert "LIMIT" in statement or not [step for step in plan if step.startswith("SCAN")], statement
    assert served is (params.get("status") == "dead")
