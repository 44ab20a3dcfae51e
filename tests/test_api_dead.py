"""Dead letters: what was given up is tried again, and the letter goes; what cannot be tried stays, with why."""

from __future__ import annotations

from typing import Any

import pytest

from app.core import tables as t
from app.core.db import Database
from app.ops import deadletters
from app.push import work
from connectors.contract import Side
from tests.apihelp import Api, add_events, add_letters, now, rows_of
from tests.world import World


def dirty(database: Database) -> list[tuple[str, int]]:
    return sorted((row["connection"], row["contact_id"]) for row in rows_of(database, t.work))


def test_a_letter_says_what_why_and_what_would_help(database: Database) -> None:
    """All that the station wrote down."""
    (number,) = add_letters(database, {"station": "sync", "event": 5, "contact_id": None, "field": "mail", "at": 1_500})
    shown = Api(database).get(f"/ops/dead/{number}")
    assert shown == {
        "id": number,
        "station": "sync",
        "connection": "hub",
        "code": "refused",
        "reason": "no",
        "next_step": "correct it",
        "field": "mail",
        "contact_id": None,
        "event": 5,
        "attempts": 1,
        "at": "1970-01-01T00:00:01.500Z",
    }
    assert Api(database).get("/ops/dead")["items"] == [shown]


def test_a_write_is_tried_again(database: Database) -> None:
    """The link is dirty and due, fresh from now on, and the letter is gone."""
    api = Api(database)
    numbers = add_letters(database, {"contact_id": 7}, {"contact_id": 8})
    moment = now(database)
    assert api.post(f"/ops/dead/{numbers[0]}/retry") == {"retried": 1, "kept": 0, "next": None}
    (row,) = rows_of(database, t.work)
    assert (row["connection"], row["contact_id"]) == ("hub", 7)
    assert moment <= row["since"] <= now(database)
    with database.write() as db:
        assert [leased.contact_id for leased in work.lease(db, "hub", "me", 5, 1_000)[1]] == [7]
    assert [row["id"] for row in rows_of(database, t.dead)] == numbers[1:]
    assert api.woken == 1
    api.get(f"/ops/dead/{numbers[0]}", 404)


@pytest.mark.parametrize("status", ["dead", "done", "pending"])
def test_a_record_that_came_in_is_tried_again(database: Database, status: str) -> None:
    """Its event is replayed; one that is on its way already is left alone."""
    api = Api(database)
    (event,) = add_events(database, {"status": status, "attempts": 2})
    (number,) = add_letters(database, {"station": "sync", "event": event})
    api.post(f"/ops/dead/{number}/retry")
    (row,) = rows_of(database, t.inbox)
    assert (row["status"], row["attempts"]) == ("pending", 2 if status == "pending" else 0)
    assert rows_of(database, t.dead) == []


@pytest.mark.parametrize(
    ("letter", "event", "says"),
    [
        pytest.param({"connection": "gone"}, {}, "not configured", id="no connection"),
        pytest.param({"contact_id": None}, {}, "no contact", id="no contact"),
        pytest.param({"station": "sync", "event": 999}, {}, "no longer kept", id="no event"),
        pytest.param({"station": "sync", "event": None}, {}, "no longer kept", id="no event named"),
        pytest.param(
            {"station": "sync", "event": 1, "connection": "deaf"}, {"connection": "deaf"}, "cannot read", id="deaf"
        ),
    ],
)
def test_a_letter_that_cannot_be_tried_again_stays(
    database: Database, letter: dict[str, Any], event: dict[str, Any], says: str
) -> None:
    """409 says why; in a retry of many it is counted as kept and holds nobody."""
    api = Api(database)
    add_events(database, {"status": "dead", **event})
    stuck, good = add_letters(database, letter, {"contact_id": 7})
    assert says in api.post(f"/ops/dead/{stuck}/retry", None, 409)["detail"]
    assert api.woken == 0
    assert api.post("/ops/dead/retry", {}) == {"retried": 1, "kept": 1, "next": None}
    assert [row["id"] for row in rows_of(database, t.dead)] == [stuck]
    assert dirty(database) == [("hub", 7)]
    assert [row["status"] for row in rows_of(database, t.inbox)] == ["dead"]
    assert good


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        pytest.param({}, {1, 2, 3, 4}, id="all"),
        pytest.param({"connection": "hub"}, {1, 3}, id="one connection"),
        pytest.param({"code": "gone"}, {3, 4}, id="one code"),
        pytest.param({"connection": "chimp", "code": "gone"}, {4}, id="both"),
        pytest.param({"code": "unheard of"}, set(), id="none"),
    ],
)
def test_many_are_tried_again(database: Database, asked: dict[str, str], expected: set[int]) -> None:
    """Those that were asked for, of both stations."""
    api = Api(database)
    add_letters(
        database,
        {"contact_id": 1},
        {"contact_id": 2, "connection": "chimp"},
        {"contact_id": 3, "code": "gone"},
        {"contact_id": 4, "code": "gone", "connection": "chimp"},
    )
    assert api.post("/ops/dead/retry", asked)["retried"] == len(expected)
    assert {contact for _, contact in dirty(database)} == expected
    assert {row["contact_id"] for row in rows_of(database, t.dead)} == {1, 2, 3, 4} - expected


def test_a_retry_of_many_is_bounded_and_goes_on(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """One request takes so many; what fails meanwhile again is not tried again by the next."""
    monkeypatch.setattr(deadletters, "BATCH", 2)
    monkeypatch.setattr(deadletters, "ROUNDS", 2)
    api = Api(database)
    add_letters(database, *({"contact_id": k, "code": "gone" if k % 5 else "other"} for k in range(1, 11)))
    first = api.post("/ops/dead/retry", {"code": "gone"})
    assert (first["retried"], first["next"] is not None) == (4, True)
    add_letters(database, {"contact_id": 1, "code": "gone"})
    done, following = 4, first["next"]
    while following is not None:
        page = api.post("/ops/dead/retry", {"code": "gone"}, after=following)
        done, following = done + page["retried"], page["next"]
    assert done == 8
    assert [row["contact_id"] for row in rows_of(database, t.dead)] == [5, 10, 1]


def test_a_letter_of_the_real_stations_is_mended(database: Database) -> None:
    """A vendor refuses, a person corrects the value, and a retry brings the sides together."""
    world = World(database, {"hub": Side.CRM, "chimp": Side.MARKETING})
    api = Api(database, world.connections)
    number = world.vendors["hub"].put(None, {"mail": "ann@example.org", "last": "REFUSE"})
    world.settle()
    (letter,) = api.get("/ops/dead")["items"]
    assert (letter["station"], letter["connection"], letter["code"]) == ("push", "chimp", "invalid")
    world.vendors["hub"].put(number, {"last": "Lee"})
    world.vendors["hub"].events.clear()  # nobody tells us
    api.post(f"/ops/dead/{letter['id']}/retry")
    world.settle()
    assert api.get("/ops/dead")["items"][0]["code"] == "invalid"  # still the old value: a retry reads nothing new
    event = rows_of(database, t.inbox)[0]["id"]
    api.post(f"/ops/events/{event}/replay")
    world.settle()
    assert world.people("chimp") == world.people("hub")
    assert api.get("/ops/dead")["items"] == []
