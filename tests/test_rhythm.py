"""The rhythm of webhooks, by a clock of our own: when silence is too long, and when a quiet weekend is none."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from sqlalchemy import insert

from app.core import tables as t
from app.core.clock import to_ms
from app.core.db import Database
from app.records import alarms
from app.repair.rhythm import HOUR, TIMES, Rhythm
from app.repair.watch import listen
from connectors.contract import Side
from tests.world import World

MONDAY = to_ms(datetime(2026, 1, 5, tzinfo=UTC))
DAY = 24 * HOUR
MINUTE = 60_000


def office(until: int, every: int = 10 * MINUTE, weekends: bool = False) -> list[int]:
    """Deliveries since ``MONDAY`` on weekdays from 8 to 18 o'clock, in threes, as vendors send them."""
    times = []
    for at in range(MONDAY, until, every):
        hour, day = at % DAY // HOUR, (at - MONDAY) // DAY % 7
        if 8 <= hour < 18 and (weekends or day < 5):
            times += [at, at + 200, at + 400]
    return times


def learned(until: int) -> Rhythm:
    rhythm = Rhythm()
    times = office(until)
    for day in range(MONDAY, until + 1, 15 * MINUTE):
        rhythm.feed([at for at in times if day - 15 * MINUTE <= at < day], day)
    return rhythm


@pytest.fixture(scope="module")
def three_weeks() -> Rhythm:
    return learned(MONDAY + 21 * DAY + 12 * HOUR)  # Monday noon


def usual_ms(rhythm: Rhythm, at: int) -> int:
    """How long the usual interval lasts from then on."""
    return next(span for span in range(MINUTE, DAY, MINUTE) if rhythm.expected(at, at + span) >= rhythm.usual)


def test_silence_is_heard_within_three_usual_intervals(three_weeks: Rhythm) -> None:
    """Not before, so that nobody learns to ignore it."""
    assert three_weeks.last is not None
    last, usual = three_weeks.last, usual_ms(three_weeks, three_weeks.last)
    assert usual < HOUR
    assert three_weeks.silent(last + usual) is None
    assert three_weeks.silent(last + 2 * usual) is None
    found = three_weeks.silent(last + TIMES * usual)
    assert found is not None
    assert found >= TIMES


def test_a_quiet_weekend_is_no_silence() -> None:
    """Nothing is expected in it; on Monday the clock runs on."""
    rhythm = learned(MONDAY + 18 * DAY + 18 * HOUR)  # Friday evening
    for hours in range(1, 62):
        assert rhythm.silent(MONDAY + 18 * DAY + (18 + hours) * HOUR) is None, hours
    assert rhythm.silent(MONDAY + 21 * DAY + 11 * HOUR) is not None


def test_nothing_is_said_before_enough_is_known() -> None:
    """Three days are not a week's rhythm; the first weekend is not known yet, so nothing is expected of it."""
    rhythm = learned(MONDAY + 3 * DAY)
    assert rhythm.silent(MONDAY + 4 * DAY) is None
    week = learned(MONDAY + 5 * DAY - HOUR)
    assert week.silent(MONDAY + 7 * DAY) is None


def test_a_service_that_was_away_heard_nothing_because_of_that(three_weeks: Rhythm) -> None:
    """Its own downtime is no silence of the vendor."""
    rhythm = Rhythm.from_json(three_weeks.to_json())
    back = MONDAY + 22 * DAY + 12 * HOUR
    rhythm.feed([], back)
    assert rhythm.silent(back) is None
    assert rhythm.silent(back + 5 * MINUTE) is None


def test_it_is_kept(three_weeks: Rhythm) -> None:
    """The form at rest says all of it."""
    assert Rhythm.from_json(three_weeks.to_json()).to_json() == three_weeks.to_json()


def test_a_connection_that_falls_silent_raises_an_alarm(database: Database) -> None:
    """Learned from what is kept of deliveries; one connection, while the other goes on; over with the next one."""
    made = World(database, {"crm": Side.CRM, "mail": Side.MARKETING})
    until = MONDAY + 14 * DAY + 10 * HOUR

    def arrive(name: str, times: list[int]) -> None:
        rows = [
            {
                "id": at << 20 | len(name),
                "connection": name,
                "received_at": at,
                "method": "POST",
                "path": "/",
                "content_type": "",
                "body": b"",
            }
            for at in times
        ]
        with made.database.write() as db:
            db.execute(insert(t.delivery), rows)

    def silent(now: int) -> list[str]:
        with made.database.write() as db:
            return [name for name in made.connections if listen(db, made.connections[name], now) is not None]

    for name in ("crm", "mail"):
        arrive(name, office(until))
    assert silent(until) == []
    arrive("crm", office(until + 2 * HOUR)[len(office(until)) :])
    for minute in range(15, 120, 15):
        silent(until + minute * MINUTE)
    assert silent(until + 2 * HOUR) == ["mail"]
    with made.database.read() as db:
        assert [(a["kind"], a["connection"]) for a in alarms.listed(db)] == [("silence", "mail")]
    arrive("mail", [until + 2 * HOUR + MINUTE])
    assert silent(until + 2 * HOUR + 2 * MINUTE) == []
    with made.database.read() as db:
        assert list(alarms.listed(db)) == []
