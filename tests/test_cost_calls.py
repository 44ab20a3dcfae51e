"""How many calls a vendor gets: the least that the size of its batches allows, whatever happens on the other side."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from app.core.db import Database
from app.push import push, work
from app.sync import merging
from connectors.contract import Kind, Limits, Order, Page, Receipt, Record, Side
from tests.costs import person
from tests.world import Vendor, World

SIDES = {"hub": Side.CRM, "chimp": Side.MARKETING}
BATCH = 10  # records that a vendor takes or gives in one call
PEOPLE = 40


class Asked(Vendor):
    """A vendor that counts each of its calls, by what it is asked."""

    limits = Limits(read_batch=BATCH, find_batch=BATCH, write_batch=BATCH)
    page = BATCH

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.asked: Counter[str] = Counter()

    def read(self, kind: Kind, ids: Sequence[str]) -> Sequence[Record]:
        self.asked["read"] += 1
        return super().read(kind, ids)

    def find(self, kind: Kind, key: str, values: Sequence[str]) -> Sequence[Record]:
        self.asked["find"] += 1
        return super().find(kind, key, values)

    def changed(self, kind: Kind, cursor: str | None) -> Page:
        self.asked["changed"] += 1
        return super().changed(kind, cursor)

    def write(self, orders: Sequence[Order]) -> Sequence[Receipt]:
        self.asked["write"] += 1
        return super().write(orders)


def batches(records: int) -> int:
    """The least number of calls for so many records."""
    return math.ceil(records / BATCH)


class Told(World):
    """A world that says what its vendors were asked."""

    vendors: dict[str, Asked]  # type: ignore[assignment]

    def __init__(self, database: Database, people: int = PEOPLE) -> None:
        super().__init__(database, SIDES, vendor=Asked)
        for n in range(people):
            self.vendors["hub"].put(None, person(n))
        self.settle()
        self.counted()

    def counted(self) -> dict[str, int]:
        """What was asked since the last time: ``chimp write`` → calls."""
        found = {f"{name} {what}": n for name, v in self.vendors.items() for what, n in v.asked.items()}
        for vendor in self.vendors.values():
            vendor.asked.clear()
        return found

    def read_in(self, name: str) -> None:
        """Deliver what happened at one vendor and take it in; nothing is written yet."""
        self.deliver(name)
        self.due()
        while self.fetch.step():
            self.due()

    def edit(self, number: int, **fields: Any) -> None:
        """Somebody edits a record at the hub."""
        self.vendors["hub"].put(f"hub{number + 1}", fields)


def trickle(world: Told) -> None:
    """One change, which goes all the way."""
    world.edit(3, town="Ulm")
    world.settle()


def burst(world: Told) -> None:
    """Ten changes of each of 25 people while the other side takes nothing."""
    for round_ in range(10):
        for n in range(25):
            world.edit(n, town=f"Ulm {round_}")
        world.read_in("hub")
    world.settle()


def mass(world: Told) -> None:
    """One field of everybody."""
    for n in range(PEOPLE):
        world.edit(n, town="Ulm")
    world.settle()


def copies(world: Told) -> None:
    """Many events of one record, in one delivery."""
    for round_ in range(30):
        world.edit(7, town=f"Ulm {round_}")
    world.settle()


def echo(world: Told) -> None:
    """Records change in nothing that is mapped, as after our own write."""
    for n in range(PEOPLE):
        world.edit(n, seen=f"today {n}")
    world.settle()


def back_again(world: Told) -> None:
    """A change that is taken back before it was sent."""
    for n in range(PEOPLE):
        world.edit(n, town="Ulm")
    world.read_in("hub")
    for n in range(PEOPLE):
        world.edit(n, town="Bonn")
    world.settle()


def idle(world: Told) -> None:
    """A look at stations that have nothing to do."""
    world.settle()


def polled(world: Told) -> None:
    """A walk over everybody at both sides, which finds nothing new."""
    world.walk()
    world.settle()


def withdrawal(world: Told) -> None:
    """A refusal is one call for everybody in it; nobody is tried twice."""
    for n in range(BATCH):
        world.edit(n, last="REFUSE")
    world.settle()


LEAST: dict[Callable[[Told], None], dict[str, int]] = {
    trickle: {"hub read": 1, "chimp write": 1, "chimp read": 1},
    burst: {"hub read": 10 * batches(25), "chimp write": batches(25), "chimp read": batches(25)},
    mass: {"hub read": batches(PEOPLE), "chimp write": batches(PEOPLE), "chimp read": batches(PEOPLE)},
    copies: {"hub read": 1, "chimp write": 1, "chimp read": 1},
    echo: {"hub read": batches(PEOPLE)},
    back_again: {"hub read": 2 * batches(PEOPLE)},
    idle: {},
    polled: {"hub changed": batches(PEOPLE), "chimp changed": batches(PEOPLE)},
    withdrawal: {"hub read": 1, "chimp write": 1},
}


def calls(database: Database, scenario: Callable[[Told], None]) -> dict[str, int]:
    """What the vendors are asked in a scenario."""
    world = Told(database)
    scenario(world)
    return world.counted()


@pytest.mark.parametrize("scenario", LEAST, ids=lambda s: s.__name__)
def test_a_vendor_gets_the_least_calls(database: Database, scenario: Callable[[Told], None]) -> None:
    """Many changes of one record are one write, many records one batch, and nothing new is no write."""
    assert calls(database, scenario) == LEAST[scenario]


def test_two_sides_that_agree_are_joined_without_a_write(database: Database) -> None:
    """The first meeting of records that say the same: each is read once, and nothing is written."""
    world = Told(database, people=0)
    for n in range(PEOPLE):
        for vendor in world.vendors.values():
            vendor.put(None, person(n))
    world.settle()
    assert world.counted() == {"hub read": batches(PEOPLE), "chimp read": batches(PEOPLE)}
