"""Events, their deliveries, and replay: what was closed is read once more, and nothing else is touched."""

from __future__ import annotations

import base64
import itertools
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import select, update

from app.core import tables as t
from app.core.db import Database
from app.entry import inbox
from app.ops import replay
from app.records import state
from connectors.contract import Action, Delivery, Event, Kind, Ref, Side
from tests.apihelp import EVENT, Api, add, add_events, add_letters, now, rows_of
from tests.world import World

BODY = b'{"secret": "\xff"}'


def statuses(database: Database) -> list[str]:
    return [row["status"] for row in rows_of(database, t.inbox)]


def run_all(api: Api) -> int:
    """Step until no run has anything to do; how many steps did something."""
    for n in range(1_000):
        if not api.replay.step():
            return n
    raise AssertionError("it does not end")


def test_an_event_is_shown_with_its_delivery(database: Database) -> None:
    """As the door stored it; the bytes only to whom asks for them."""
    api = Api(database)
    headers = {"content-type": "application/json", "x-signature": "s3cret"}
    delivery = Delivery(
        "POST", "https://x.org/webhooks/hub?key=s3cret", headers, BODY, datetime(2026, 1, 2, tzinfo=UTC)
    )
    moment = datetime(2026, 1, 1, 12, 30, tzinfo=UTC)
    event = Event(Kind.CONTACT, Action.MERGED, Ref("7"), "d", moment, losers=("8", "9"))
    with database.write() as db:
        inbox.accept(db, [inbox.Arrived("hub", delivery, (event,))])
    number = rows_of(database, t.inbox)[0]["id"]
    shown = api.get(f"/ops/events/{number}")
    assert shown["ref"] == {"key": "id", "value": "7"}
    assert shown["losers"] == ["8", "9"]
    assert shown["occurred_at"] == "2026-01-01T12:30:00.000Z"
    assert (shown["status"], shown["done_at"], shown["error"]) == ("pending", None, None)
    kept = shown["delivery"]
    assert {k: kept[k] for k in ("method", "path", "content_type", "size", "body", "received_at")} == {
        "method": "POST",
        "path": "/webhooks/hub",
        "content_type": "application/json",
        "size": len(BODY),
        "body": None,
        "received_at": "2026-01-02T00:00:00.000Z",
    }
    raw = api.get(f"/ops/events/{number}", raw=True)["delivery"]["body"]
    assert base64.b64decode(raw) == BODY


@pytest.mark.parametrize("delivery", [None, 4711], ids=["of a poll", "pruned"])
def test_an_event_without_a_delivery(database: Database, delivery: int | None) -> None:
    """One of a poll has none, and retention prunes the others."""
    (number,) = add_events(database, {"delivery": delivery})
    assert Api(database).get(f"/ops/events/{number}", raw=True)["delivery"] is None


def test_a_list_shows_no_record(database: Database) -> None:
    """What an event carries is the processing's business."""
    add_events(database, {"record": {"id": "r1", "fields": {"mail": "ann@example.org"}}})
    assert "ann@example.org" not in Api(database)("GET", "/ops/events").text


@pytest.mark.parametrize("status", ["done", "ignored", "dead", "parked"])
def test_a_replayed_event_is_as_new(database: Database, status: str) -> None:
    """Pending, due now, with all its tries; its dead letter is moot, and the workers are woken."""
    api = Api(database)
    (number,) = add_events(
        database, {"status": status, "attempts": 3, "first_failed_at": 5, "error": "no", "due_at": 9}
    )
    add_letters(database, {"station": "sync", "event": number}, {"station": "sync", "event": number + 1})
    moment = now(database)
    answer = api.post(f"/ops/events/{number}/replay")
    row = rows_of(database, t.inbox)[0]
    assert (row["status"], row["attempts"], row["first_failed_at"], row["error"], row["done_at"]) == (
        "pending",
        0,
        None,
        None,
        None,
    )
    assert moment <= row["due_at"] <= now(database)
    assert [letter["event"] for letter in rows_of(database, t.dead)] == [number + 1]
    assert (answer["id"], answer["status"], api.woken) == (number, "pending", 1)
    with database.read() as db:
        assert [e["id"] for e in inbox.pending(db, "hub", 10)] == [number]


@pytest.mark.parametrize(
    ("event", "says"),
    [
        pytest.param({"status": "pending"}, "waits", id="pending"),
        pytest.param(
            {"status": "parked", "ref_key": "", "ref_value": "", "kind": "", "action": "unreadable"},
            "too old",
            id="unreadable",
        ),
        pytest.param({"connection": "gone"}, "not configured", id="no connection"),
        pytest.param({"connection": "deaf"}, "cannot read", id="a connector that cannot read"),
    ],
)
def test_an_event_that_cannot_be_replayed_says_why(database: Database, event: dict[str, Any], says: str) -> None:
    """409, and nothing moves."""
    api = Api(database)
    (number,) = add_events(database, event)
    before = rows_of(database, t.inbox)
    assert says in api.post(f"/ops/events/{number}/replay", None, 409)["detail"]
    assert rows_of(database, t.inbox) == before
    assert api.woken == 0


def test_a_replay_of_what_did_not_change_is_an_echo(database: Database) -> None:
    """Through the real stations: read again, found equal, nothing written."""
    world = World(database, {"hub": Side.CRM, "chimp": Side.MARKETING})
    api = Api(database, world.connections)
    world.vendors["hub"].put(None, {"mail": "ann@example.org", "first": "Ann"})
    world.settle()
    people = {name: world.people(name) for name in world.vendors}
    api.post("/ops/replay", {})
    assert run_all(api) > 0
    assert "pending" in statuses(database)
    assert world.settle() == 0
    assert set(statuses(database)) <= {"done", "ignored"}
    assert {name: world.people(name) for name in world.vendors} == people


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        pytest.param({}, {1, 2, 3, 4, 5, 6}, id="all"),
        pytest.param({"connection": "hub"}, {1, 2, 4, 5}, id="one connection"),
        pytest.param({"status": ["dead", "parked"]}, {4, 5}, id="some statuses"),
        pytest.param({"status": ["done", "done"]}, {1, 2, 6}, id="one status, said twice"),
        pytest.param({"since": "1970-01-01T00:00:02Z"}, {2, 3, 4, 5, 6}, id="since"),
        pytest.param({"until": "1970-01-01T00:00:04Z"}, {1, 2, 3}, id="until"),
        pytest.param(
            {"connection": "hub", "since": "1970-01-01T00:00:02Z", "until": "1970-01-01T01:00:05+01:00"},
            {2, 4},
            id="a span of one connection, another time zone",
        ),
        pytest.param({"connection": "deaf"}, set(), id="a connector that cannot read"),
    ],
)
def test_a_run_replays_what_was_asked_for(database: Database, asked: dict[str, Any], expected: set[int]) -> None:
    """Only closed events that name a record which can be read back; the run counts them."""
    api = Api(database)
    ids = add_events(
        database,
        {"received_at": 1_000},
        {"received_at": 2_000},
        {"received_at": 3_000, "status": "ignored", "connection": "chimp", "ref_key": "email"},
        {"received_at": 4_000, "status": "dead"},
        {"received_at": 5_000, "status": "parked", "done_at": None},
        {"received_at": 6_000, "connection": "chimp"},
        {"received_at": 6_000, "status": "parked", "ref_key": "", "ref_value": "", "done_at": None},
        {"received_at": 6_000, "connection": "deaf"},
        {"received_at": 6_000, "connection": "gone"},
        {"received_at": 6_000, "status": "pending", "due_at": 2**50},
    )
    answer = api("POST", "/ops/replay", json=asked)
    number = answer.json()["run"]
    assert (answer.status_code, answer.headers["location"]) == (202, f"/ops/runs/{number}")
    assert api.woken == 1
    begun = api.get(f"/ops/runs/{number}")
    assert (begun["status"], begun["total"], begun["exact"], begun["done"]) == ("running", len(expected), True, 0)
    run_all(api)
    due = [row["id"] for row in rows_of(database, t.inbox) if row["status"] == "pending" and row["due_at"] < 2**50]
    assert {ids.index(i) + 1 for i in due} == expected
    ended = api.get(f"/ops/runs/{number}")
    assert (ended["status"], ended["total"], ended["done"]) == ("done", len(expected), len(expected))
    assert ended["ended_at"] is not None
    assert ended["connection"] == asked.get("connection")
    assert api.get("/ops/runs")["items"] == [ended]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches of three, for which five events are looked at."""
    monkeypatch.setattr(replay, "BATCH", 3)
    monkeypatch.setattr(replay, "LOOK", 5)
    monkeypatch.setattr(replay, "BACKLOG", 1_000)


@pytest.mark.usefixtures("small")
def test_a_run_goes_in_batches_and_on_after_a_crash(database: Database) -> None:
    """Each step moves at most a batch, and a new process goes on where the old one was."""
    api = Api(database)
    add_events(database, *({"received_at": 1_000 + k % 3} for k in range(10)))
    add_events(database, *({"status": "dead"} for _ in range(4)))
    number = api.post("/ops/replay", {})["run"]
    seen = [0]
    while True:
        api = Api(database)  # as after a crash
        if not api.replay.step():
            break
        run = api.get(f"/ops/runs/{number}")
        assert run["done"] == statuses(database).count("pending")
        seen.append(run["done"])
    assert seen[-1] == 14
    assert max(b - a for a, b in itertools.pairwise(seen)) == 3


@pytest.mark.usefixtures("small")
def test_a_step_looks_at_few_rows_where_little_fits(database: Database) -> None:
    """The events of a silent connection are found among many others, some at a time."""
    api = Api(database)
    add_events(database, *({"connection": "chimp"} for _ in range(12)), {"connection": "hub"})
    api.post("/ops/replay", {"connection": "hub"})
    assert [api.replay.step() for _ in range(3)] == [1, 1, 1]
    assert statuses(database).count("pending") == 1
    run_all(api)
    assert statuses(database).count("pending") == 1


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("ending", ["done", "ignored", "dead"])
def test_an_event_is_replayed_once_in_a_run(database: Database, ending: str) -> None:
    """Although it is closed again, with another status, while the run goes on."""
    api = Api(database)
    add_events(database, *({} for _ in range(7)), *({"status": "ignored"} for _ in range(7)))
    number = api.post("/ops/replay", {})["run"]
    with database.write() as db:  # the clock has moved on since the run was asked for
        params = {**db.execute(select(t.run.c.params)).scalar_one(), "asked_at": now(database) - 5}
        db.execute(update(t.run).values(params=params))
    while api.replay.step():
        with database.write() as db:
            waiting = db.execute(select(t.inbox.c.id).where(t.inbox.c.status == "pending")).scalars().all()
            inbox.finish(db, waiting, ending)
    assert api.get(f"/ops/runs/{number}")["done"] == 14


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(("paused", "waits"), [(False, True), (True, False)])
def test_a_run_waits_while_live_events_wait(
    database: Database, monkeypatch: pytest.MonkeyPatch, paused: bool, waits: bool
) -> None:
    """Live changes come first; those of a connection that rests hold nobody."""
    monkeypatch.setattr(replay, "BACKLOG", 2)
    api = Api(database)
    if paused:
        with database.write() as db:
            state.pause(db, "hub", "later", "operator")
    add_events(database, *({"status": "pending"} for _ in range(3)), {"status": "dead"})
    api.post("/ops/replay", {"connection": "hub"})
    assert (api.replay.step() == 0) is waits
    with database.write() as db:
        waiting = db.execute(select(t.inbox.c.id).where(t.inbox.c.status == "pending")).scalars().all()
        inbox.finish(db, waiting, "done")
    run_all(api)
    assert api.get("/ops/runs")["items"][0]["status"] == "done"


@pytest.mark.usefixtures("small")
def test_a_run_that_waits_does_not_hold_the_next(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run of a flooded connection is passed over."""
    monkeypatch.setattr(replay, "BACKLOG", 2)
    api = Api(database)
    add_events(database, *({"status": "pending"} for _ in range(3)), {"status": "dead"})
    add_events(database, {"connection": "chimp", "status": "dead"})
    first, second = (api.post("/ops/replay", {"connection": name})["run"] for name in ("hub", "chimp"))
    run_all(api)
    assert api.get(f"/ops/runs/{first}")["status"] == "running"
    assert api.get(f"/ops/runs/{second}")["status"] == "done"


def test_a_total_is_counted_up_to_a_bound(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run starts at once however much there is, says so, and knows the figure in the end."""
    monkeypatch.setattr(replay, "COUNT", 4)
    api = Api(database)
    add_events(database, *({} for _ in range(9)))
    number = api.post("/ops/replay", {})["run"]
    begun = api.get(f"/ops/runs/{number}")
    assert (begun["total"], begun["exact"]) == (4, False)
    run_all(api)
    ended = api.get(f"/ops/runs/{number}")
    assert (ended["total"], ended["exact"], ended["done"]) == (9, True, 9)


@pytest.mark.parametrize(
    "params",
    [
        pytest.param({}, id="nothing"),
        pytest.param({"status": ["done"], "colour": 1}, id="strange keys"),
        pytest.param(
            {"connection": None, "since": None, "until": None, "status": [], "asked_at": 0, "first": 0, "last": 9},
            id="empty",
        ),
    ],
)
def test_a_run_that_makes_no_sense_fails_alone(database: Database, params: dict[str, Any]) -> None:
    """One that another version wrote ends as failed; the next one goes on."""
    api = Api(database)
    add_events(database, {})
    add(database, t.run, {"kind": "replay", "params": params, "status": "running", "started_at": 0})
    api.post("/ops/replay", {})
    run_all(api)
    second, first = api.get("/ops/runs")["items"]
    assert (first["status"], second["status"], second["done"]) == ("failed", "done", 1)
    assert first["error"]


def test_a_run_of_another_kind_is_none_of_its_business(database: Database) -> None:
    """Shown in the list, not touched by the station."""
    api = Api(database)
    add(database, t.run, {"kind": "backfill", "params": {}, "status": "running", "started_at": 0})
    assert api.replay.step() == 0
    assert api.get("/ops/runs")["items"][0]["kind"] == "backfill"


def test_dead_letters_of_replayed_events_go(database: Database) -> None:
    """Those of the station that the events went through, and no others."""
    api = Api(database)
    ids = add_events(database, {"status": "dead"}, {"status": "dead", "connection": "chimp"}, {})
    add_letters(
        database,
        {"station": "sync", "event": ids[0]},
        {"station": "sync", "event": ids[1], "connection": "chimp"},
        {"station": "push", "event": ids[0], "contact_id": 1},
        {"station": "sync", "event": 999},
    )
    api.post("/ops/replay", {"status": ["dead"]})
    run_all(api)
    assert [(row["station"], row["event"]) for row in rows_of(database, t.dead)] == [("push", ids[0]), ("sync", 999)]


@pytest.mark.parametrize(
    ("asked", "error", "says"),
    [
        ({"connection": "x"}, "NotFound", "hub, chimp, deaf"),
        ({"status": ["pending"]}, "ValueError", "pending"),
        ({"status": []}, "ValueError", "missing"),
    ],
)
def test_what_cannot_be_asked_of_a_run(database: Database, asked: dict[str, Any], error: str, says: str) -> None:
    """The station itself refuses it too, for callers that are no HTTP."""
    with pytest.raises(Exception, match=says) as caught:
        Api(database).replay.start(**asked)
    assert type(caught.value).__name__ == error
    assert rows_of(database, t.run) == []


def test_what_is_pending_meanwhile_is_left_alone(database: Database) -> None:
    """Between looking and moving, another replay may have come first: its event keeps its wait and its letter."""
    pending, closed = add_events(database, {"status": "pending", "attempts": 2, "due_at": 2**50}, {})
    add_letters(database, {"station": "sync", "event": pending}, {"station": "sync", "event": closed})
    with database.write() as db:
        assert replay.requeue(db, [pending, closed]) == 1
    left = rows_of(database, t.inbox)[0]
    assert (left["due_at"], left["attempts"]) == (2**50, 2)
    assert [letter["event"] for letter in rows_of(database, t.dead)] == [pending]


def test_the_table_of_this_test_is_what_the_door_stores() -> None:
    """Guards the guard: an event here has the columns of an event there."""
    row = inbox.event_row("hub", Event(Kind.CONTACT, Action.CHANGED, Ref("r1"), "d", None), 1_000, None)
    assert set(EVENT) - {"done_at"} <= set(row)
