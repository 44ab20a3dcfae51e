"""Connections: how they stand, and letting them rest and go on."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import update

from app.core import tables as t
from app.core.db import Database
from app.ops import connections, shapes
from app.push import work
from app.records import state
from tests.apihelp import Api, add_events, add_letters

S = t.connection_state.c


def of(api: Api, name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(c for c in api.get("/ops/connections")["items"] if c["name"] == name)
    return found


def test_a_connection_says_what_it_is(database: Database) -> None:
    """Side, connector, mode, claims, and what the vendor allows."""
    api = Api(database)
    hub, deaf = of(api, "hub"), of(api, "deaf")
    assert (hub["connector"], hub["side"], hub["mode"], hub["state"]) == ("reader", "crm", "live", "ok")
    assert hub["can"] == ["find", "read", "write"]
    assert hub["limits"] == {
        "read_batch": 100,
        "find_batch": 1,
        "write_batch": 50,
        "concurrency": 4,
        "rates": [{"calls": 10, "seconds": 1.0}],
        "families": {"search": [{"calls": 4, "seconds": 1.0}]},
    }
    assert (deaf["side"], deaf["mode"], deaf["can"]) == ("marketing", "observe", [])


def test_a_connection_says_what_waits(database: Database) -> None:
    """Events, links and letters of its own, since when, and when it was last heard of."""
    api = Api(database)
    add_events(
        database,
        {"status": "pending", "received_at": 5_000},
        {"status": "pending", "received_at": 4_000, "due_at": 9_000},
        {"status": "done", "received_at": 1},
        {"status": "pending", "received_at": 1, "connection": "chimp"},
    )
    add_letters(database, {}, {"connection": "chimp"}, {"connection": "chimp"})
    with database.write() as db:
        work.mark(db, "hub", {1: 7_000, 2: 6_000})
        db.execute(update(t.connection_state).where(S.name == "hub").values(polled_at=8_000, last_push_at=9_000))
    hub = of(api, "hub")
    assert hub["events"] == {"count": 2, "at_least": False, "oldest": "1970-01-01T00:00:04.000Z"}
    assert hub["links"] == {"count": 2, "at_least": False, "oldest": "1970-01-01T00:00:06.000Z"}
    assert hub["dead"] == {"count": 1, "at_least": False}
    assert (hub["polled_at"], hub["last_push_at"]) == ("1970-01-01T00:00:08.000Z", "1970-01-01T00:00:09.000Z")
    assert (hub["walked_at"], hub["last_event_at"]) == (None, None)


def test_counts_end_at_a_bound(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """However much waits, the answer comes at once and says that there may be more."""
    monkeypatch.setattr(shapes, "COUNTED", 3)
    monkeypatch.setattr(connections, "COUNTED", 3)
    api = Api(database)
    add_events(database, *({"status": "pending"} for _ in range(5)))
    add_letters(database, *({} for _ in range(3)))
    with database.write() as db:
        work.mark(db, "hub", dict.fromkeys(range(1, 5), 0))
    hub = of(api, "hub")
    assert [(hub[what]["count"], hub[what]["at_least"]) for what in ("events", "links", "dead")] == [
        (3, True),
        (3, True),
        (3, False),
    ]


@pytest.mark.parametrize(
    ("body", "why"),
    [
        pytest.param(None, "paused by an operator", id="no body"),
        pytest.param({}, "paused by an operator", id="empty body"),
        pytest.param({"reason": "moving house"}, "moving house", id="reason"),
    ],
)
def test_a_connection_rests_and_goes_on(database: Database, body: Any, why: str) -> None:
    """Said in the store, for every replica; twice is as once."""
    api = Api(database)
    for _ in range(2):
        shown = api.post("/ops/connections/hub/pause", body, 200)
        assert (shown["state"], shown["why"], shown["paused_by"]) == ("paused", why, "operator")
    with database.write() as db:
        assert state.paused(db) == {"hub"}
        work.mark(db, "hub", {1: 0})
        assert work.pick(db, ["hub"]) is None
    for _ in range(2):
        shown = api.post("/ops/connections/hub/resume", None, 200)
        assert (shown["state"], shown["why"], shown["since"], shown["paused_by"]) == ("ok", None, None, None)
    with database.write() as db:
        assert work.pick(db, ["hub"]) == "hub"
    assert api.woken == 4


@pytest.mark.parametrize(("reason", "why"), [(None, "key revoked"), ("new key on Monday", "new key on Monday")])
def test_an_operators_pause_outlives_a_restart(database: Database, reason: str | None, why: str) -> None:
    """Tandem lifts its own pauses at a start; one that an operator confirmed it leaves."""
    api = Api(database)
    with database.write() as db:
        state.pause(db, "hub", "key revoked")
        state.pause(db, "chimp", "key revoked")
    api.post("/ops/connections/hub/pause", {"reason": reason} if reason is not None else None, 200)
    with database.write() as db:
        state.ensure(db, api.connections)  # what a start does
    assert (of(api, "hub")["state"], of(api, "hub")["why"]) == ("paused", why)
    assert of(api, "chimp")["state"] == "ok"


def test_a_failing_connection_says_why(database: Database) -> None:
    """And a pause hides that until it is lifted."""
    api = Api(database)
    with database.write() as db:
        state.failing(db, "hub", "502 Bad Gateway")
    hub = of(api, "hub")
    assert (hub["state"], hub["why"], hub["paused_by"]) == ("failing", "502 Bad Gateway", None)
    assert hub["since"].endswith("Z")
    assert api.post("/ops/connections/hub/pause", None, 200)["state"] == "paused"
    assert api.post("/ops/connections/hub/resume", None, 200)["why"] == "502 Bad Gateway"
