"""How many calls a vendor gets: the least that the size of its batches allows, whatever happens on the other side."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pytest

from app.core.db import Database
from app.push import plan, work
from app.sync import fetch
from connectors.contract import Connector, Kind, Limits, Order, Page, Receipt, Record, Side, Verb
from connectors.hubspot import HubSpot
from tests import test_conformance
from tests.costs import person
from tests.counting import total
from tests.stage import CONTACT, Example, Stage, seeds
from tests.world import Vendor, World

SIDES = {"hub": Side.CRM, "chimp": Side.MARKETING}
BATCH = 5  # records that a vendor takes or gives in one call
PEOPLE = 20


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

    def __init__(self, database: Database) -> None:
        super().__init__(database, SIDES, vendor=Asked)
        for n in range(PEOPLE):
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
    """Ten changes of each of 12 people while the other side takes nothing."""
    for round_ in range(10):
        for n in range(12):
            world.edit(n, town=f"Ulm {round_}")
        world.read_in("hub")
    world.settle()


def mass_update(world: Told) -> None:
    """One field of everybody."""
    for n in range(PEOPLE):
        world.edit(n, town="Rome")
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


def taken_back(world: Told) -> None:
    """A change that is taken back before it was sent."""
    before = {n: world.vendors["hub"].records[f"hub{n + 1}"].fields["town"] for n in range(PEOPLE)}
    for n in range(PEOPLE):
        world.edit(n, town="Oslo")
    world.read_in("hub")
    for n, town in before.items():
        world.edit(n, town=town)
    world.settle()


def idle(world: Told) -> None:
    """A look at stations that have nothing to do."""
    world.settle()


def polled(world: Told) -> None:
    """A walk over everybody at both sides, which finds nothing new."""
    world.walk()
    world.settle()


def refused(world: Told) -> None:
    """What the other side refuses is one call for the whole batch, and nobody is tried twice."""
    for n in range(BATCH):
        world.edit(n, last="REFUSE")
    world.settle()


def agreed(world: Told) -> None:
    """Records that say the same at both sides meet for the first time."""
    for n in range(100, 100 + PEOPLE):
        for vendor in world.vendors.values():
            vendor.put(None, person(n))
    world.settle()


LEAST: dict[Callable[[Told], None], dict[str, int]] = {
    trickle: {"hub read": 1, "chimp write": 1, "chimp read": 1},
    burst: {"hub read": 10 * batches(12), "chimp write": batches(12), "chimp read": batches(12)},
    mass_update: {"hub read": batches(PEOPLE), "chimp write": batches(PEOPLE), "chimp read": batches(PEOPLE)},
    copies: {"hub read": 1, "chimp write": 1, "chimp read": 1},
    echo: {"hub read": batches(PEOPLE)},
    taken_back: {"hub read": 2 * batches(PEOPLE)},
    idle: {},
    polled: {"hub changed": batches(PEOPLE), "chimp changed": batches(PEOPLE)},
    refused: {"hub read": 1, "chimp write": 1},
    agreed: {"hub read": batches(PEOPLE), "chimp read": batches(PEOPLE)},
}


def dearer(database: Database, scenarios: Iterable[Callable[[Told], None]] = LEAST) -> dict[str, Any]:
    """The scenarios in which vendors are asked something else than the least: what, and the least."""
    world, found = Told(database), {}
    for scenario in scenarios:
        scenario(world)
        calls = world.counted()
        if calls != LEAST[scenario]:
            found[scenario.__name__] = calls, LEAST[scenario]
    return found


@pytest.mark.heavy
def test_a_vendor_gets_the_least_calls(database: Database) -> None:
    """Many changes of one record are one write, many records one batch, and nothing new is no write."""
    assert dearer(database) == {}


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_write_for_each_record_is_seen(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Saboteur: links are leased one by one."""
    real = work.lease
    monkeypatch.setattr(work, "lease", lambda db, name, holder, limit, *rest: real(db, name, holder, 1, *rest))
    assert dearer(database, [mass_update])["mass_update"][0]["chimp write"] == PEOPLE


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_read_for_each_record_is_seen(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Saboteur: records are read back one by one."""
    monkeypatch.setattr(fetch, "chunks", lambda values, _size: [[value] for value in values])
    assert dearer(database, [mass_update])["mass_update"][0]["hub read"] == PEOPLE


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_write_that_says_nothing_new_is_seen(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Saboteur: the push sends whatever is mapped, whether or not it differs from what stands there."""
    real = plan.differences

    def everything(map_: Any, values: Any, shadow: Any, *rest: Any, **more: Any) -> Any:
        return real(map_, values, {}, *rest, **more)

    monkeypatch.setattr(plan, "differences", everything)
    assert dearer(database, [taken_back])["taken_back"][0]["chimp write"] == batches(PEOPLE)


# --- on the wire ------------------------------------------------------------------------------------------------------

FEW, MANY = 5, 10  # records of one call to a connector
# Requests for n records, with those for tokens and names where a connector asks for such first.  Where one has n, the
# vendor knows no other way, or none that answers for each record: docs/vendors/ says it.
WIRE = {
    "acme": "read 1, find 1, update n, create n",
    "activecampaign": "read 2, find 1+n, update n, create n",
    "brevo": "read 1, find n, update 3, create 2+n",
    "espocrm": "read 1, find 1, update n, create 3n-1",
    "hubspot": "read 1, find 1, update 1, create 1",
    "klaviyo": "read 1, find 1, update n, create 1+n",
    "mailchimp": "read n, find n, update n, create 1",
    "mautic": "read 1, find 1, update 2, create 3",
    "odoo": "read 2, find 2, update 1+n, create 2+n",
    "pipedrive": "read 1, find 1+n, update 1+n, create 2+2n",
    "salesforce": "read 3, find 4, update 1, create 4",
}


def requests(kind: type[Connector], example: Example, number: int) -> dict[str, int]:
    """How many requests it takes to read, find, change and make so many people."""

    def asked(stage: Stage, call: Callable[[], object]) -> int:
        call()
        return len(stage.calls)

    e = example
    texts = {**e.create_also, e.text_field: "N", e.other_field: "O"}
    people = Stage(kind, e, seeds(number))
    found = {"read": asked(people, lambda: people.it.read(CONTACT, list(people.vendor.ids)))}
    people = Stage(kind, e, seeds(number))
    found["find"] = asked(people, lambda: people.it.find(CONTACT, e.find_key, [one.email for one in people.people]))
    people = Stage(kind, e, seeds(number))
    changes = [Order(i, CONTACT, Verb.UPDATE, {e.text_field: "Changed"}, id=i) for i in people.vendor.ids]
    found["update"] = asked(people, lambda: people.it.write(changes))
    nobody = Stage(kind, e, seeds(1))
    new = [
        Order(f"k{n}", CONTACT, Verb.CREATE, {**texts, e.email_field: f"new{n}@people.example"}) for n in range(number)
    ]
    found["create"] = asked(nobody, lambda: nobody.it.write(new))
    return found


SUITE = {
    one.kind.name: (one.kind, one.example)
    for name, one in vars(test_conformance).items()
    if name.startswith("Test") and isinstance(one, type)
}


@pytest.mark.parametrize("name", sorted(SUITE))
def test_a_batch_takes_these_requests(name: str) -> None:
    """Whatever the vendor can take together goes together."""
    few, many = (requests(*SUITE[name], number) for number in (FEW, MANY))
    assert ", ".join(f"{what} {total(few[what], many[what], (FEW, MANY))}" for what in few) == WIRE[name]


def test_requests_one_by_one_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Saboteur: a connector whose vendor takes batches writes each record by itself."""
    real = HubSpot.write
    monkeypatch.setattr(HubSpot, "write", lambda it, orders: [one for order in orders for one in real(it, [order])])
    few, many = (requests(*SUITE["hubspot"], number) for number in (FEW, MANY))
    assert total(few["update"], many["update"], (FEW, MANY)) == "n"
