"""A backlog of one connection holds up no other, at either station."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

from app.core import tables as t
from app.core.db import Database
from app.entry import inbox
from app.push import work
from app.sync import fetch
from connectors.contract import Action, Event, Kind, Order, Ref, Side, TryLater
from tests.world import START, World

THREE = {"a": Side.CRM, "b": Side.MARKETING, "c": Side.MARKETING}
MANY = 40


def told(world: World, name: str, count: int) -> None:
    """So many events about records of this vendor, new to us."""
    for n in range(count):
        world.vendors[name].put(None, {"mail": f"{name}{n}@x.org", "first": "Ann"})
    world.vendors[name].events.clear()
    ids = sorted(world.vendors[name].records)[:count]
    world.deliver(name, [Event(Kind.CONTACT, Action.CHANGED, Ref(i), f"{name}:{i}", START) for i in ids])


def pending(world: World, name: str) -> int:
    return sum(row.connection == name and row.status == "pending" for row in world.rows(t.inbox))


def fetched(world: World) -> list[int]:
    """What each connection still waits for, after as many batches as there are connections."""
    for _ in THREE:
        assert world.fetch.step()
    return [pending(world, name) for name in THREE]


def test_events_of_all_are_taken_in_turn(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """One connection has many events waiting, two have one: those are through after a batch of each."""
    monkeypatch.setattr(fetch, "BATCH", 5)
    world = World(database, THREE)
    told(world, "a", MANY)
    told(world, "b", 1)
    told(world, "c", 1)
    assert fetched(world) == [MANY - 5, 0, 0]


def test_a_fixed_order_starves(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Saboteur: taken in the order of their names, the first one's backlog holds up the others."""
    monkeypatch.setattr(fetch, "BATCH", 5)
    real = inbox.waiting
    monkeypatch.setattr(inbox, "waiting", lambda db, names: sorted(real(db, names)))
    world = World(database, THREE)
    told(world, "a", MANY)
    told(world, "b", 1)
    told(world, "c", 1)
    assert fetched(world) == [MANY - 15, 1, 1]


def urgent(world: World, name: str) -> None:
    """Of the events that wait there, the newest is a withdrawal."""
    last = max(row.id for row in world.rows(t.inbox) if row.connection == name)
    with world.database.write() as db:
        db.execute(update(t.inbox).where(t.inbox.c.id == last).values(lane=0))


@pytest.mark.parametrize("name", THREE)
def test_a_withdrawal_is_taken_before_all_turns(database: Database, name: str) -> None:
    """Whoever's turn it is, and whatever waits at its own connection: it is taken first, and alone."""
    world = World(database, THREE)
    for one in THREE:
        told(world, one, MANY)
    urgent(world, name)
    assert world.fetch.step() == 1
    assert [pending(world, one) for one in THREE] == [MANY - (one == name) for one in THREE]


def test_a_withdrawal_that_waits_for_its_turn_is_noticed(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Saboteur: turns that know nothing of withdrawals."""
    monkeypatch.setattr(inbox, "waiting", lambda _db, names: list(names))
    with pytest.raises(AssertionError):
        test_a_withdrawal_is_taken_before_all_turns(database, "c")


def dirty(world: World) -> None:
    """Contacts of which none is at b or c: many are marked at b, one at c."""
    told(world, "a", MANY)
    while world.fetch.step():
        pass
    with world.database.write() as db:
        db.execute(t.work.delete())
        ids = list(db.execute(select(t.contact.c.id).order_by(t.contact.c.id)).scalars())
        work.mark(db, "b", dict.fromkeys(ids, 1))
        work.mark(db, "c", {ids[0]: 1})
        for n, name in enumerate(THREE):
            db.execute(update(t.connection_state).where(t.connection_state.c.name == name).values(next_at=n))


def test_links_of_all_are_written_in_turn(database: Database) -> None:
    """One connection has many links waiting, another one: that one is written after a batch of each."""
    world = World(database, THREE)
    dirty(world)
    assert world.push.step() == 4
    assert world.push.step() == 1
    assert len(world.vendors["c"].records) == 1


def test_a_pick_that_forgets_starves(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Saboteur: where a served connection keeps its place, its backlog goes first to the end."""
    monkeypatch.setattr(work, "pace", lambda *_: None)
    world = World(database, THREE)
    dirty(world)
    assert [world.push.step() for _ in range(MANY // 4)] == [4] * (MANY // 4)
    assert world.vendors["c"].records == {}


def test_a_vendor_that_asks_to_wait_is_left_alone(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is asked once, not for each of its batches; the others go on."""
    world = World(database, THREE)
    dirty(world)
    asked: list[Any] = []

    def later(orders: list[Order]) -> None:
        asked.append(orders)
        raise TryLater("too many requests", after=timedelta(seconds=30))

    monkeypatch.setattr(world.vendors["b"], "write", later)
    assert [world.push.step() for _ in range(3)] == [4, 1, 0]
    assert len(asked) == 1
