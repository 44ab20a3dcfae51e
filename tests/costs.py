"""The kinds of batches whose cost is kept, each carried out with few and with many records, counted.

``tests/costs.json`` holds what was counted; ``python -m tests.costs`` writes it anew.  Who changes what a change costs
does so on purpose, and the difference of that file says what it was.  With names of worlds: those alone.
"""

from __future__ import annotations

import asyncio
import hashlib
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import orjson
import psycopg
from sqlalchemy import insert, update

from app.core import tables as t
from app.core.clock import now
from app.core.db import Database
from app.core.words import Brake, Likeness, Limit, Writes
from app.entry.commit import GroupCommit
from app.entry.inbox import Arrived
from app.records import leads, surveys, tombstones
from app.records.migrate import upgrade
from app.sync import summarising
from connectors.contract import Action, Delivery, Doing, Event, Kind, Limits, Ref, Side, TryLater
from tests import postgres
from tests.around import AROUND, Around
from tests.counting import Cost, Growth, counting
from tests.test_agreement_leads import GOVERNED, sign
from tests.test_consent_travels import CONSENT
from tests.world import MAPPING, World

KEPT: Final = Path(__file__).with_name("costs.json")
SIDES: Final = {"hub": Side.CRM, "chimp": Side.MARKETING}
FEW, MANY = range(10), range(10, 30)  # the numbers of the records of the two batches of each kind
MOMENT: Final = now()
ROOMY: Final = Limits(read_batch=100, find_batch=100, write_batch=100)


def word(number: int) -> str:
    """Nine letters that no other number has, so that nobody is taken for somebody else."""
    return "".join(chr(97 + int(digit, 16)) for digit in hashlib.md5(str(number).encode()).hexdigest()[:9])


class Batches:
    """A world whose steps are counted; ``found``: kind → the costs of few and of many."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.found: dict[str, list[Cost]] = {}
        for vendor in world.vendors.values():
            vendor.limits, vendor.page = ROOMY, 100  # type: ignore[misc]
        for step in (world.fetch.step, world.leads.step, world.push.step):  # what a process does once
            step()

    def steps(self, step: Callable[[], int], *, once: bool = False) -> Cost:
        """Carry out a station's steps until nothing is left, with the look that finds nothing; or one alone."""
        cost = Cost()
        for _ in range(9):
            self.world.due()
            with counting(self.world.database) as some:
                number = step()
            cost += some
            if once or not number:
                return cost
        raise AssertionError("it does not come to rest")

    def keep(self, **costs: Cost) -> None:
        """Keep what was counted under the names of kinds."""
        for kind, cost in costs.items():
            self.found.setdefault(kind.replace("__", ": ").replace("_", " "), []).append(cost)

    def fetched(self) -> Cost:
        """Take in what happened at the one vendor, then at the other."""
        cost = Cost()
        for name, vendor in self.world.vendors.items():
            if vendor.events:
                self.world.deliver(name)
                cost += self.steps(self.world.fetch.step)
        return cost

    def put(self, name: str, number: int, fields: Mapping[str, Any]) -> None:
        """Change somebody's record, or make it."""
        vendor = self.world.vendors[name]
        known = f"{name}{number + 1}"
        vendor.put(known if known in vendor.records else None, fields)

    def growth(self) -> dict[str, Growth]:
        """What was found, each kind as one sum."""
        assert {len(costs) for costs in self.found.values()} == {2}
        return {kind: Growth(few, many, (len(FEW), len(MANY))) for kind, (few, many) in self.found.items()}


def person(number: int, **more: Any) -> dict[str, Any]:
    """Somebody new."""
    names = {"first": word(number), "last": word(number + 7_000)}
    return {"mail": f"{word(number + 1_000)}@example.org", **names, "town": "Bonn", "mailing": "yes", **more}


def changes(database: Database) -> dict[str, Growth]:
    """Contacts come, change, object, are refused and go: read from one side, written to the other."""
    world = World(database, SIDES, mapping_text=MAPPING + CONSENT, likeness=Likeness.LINK)
    world.grant("chimp")
    world.deletes(hub=("archive", "archive"), chimp=("archive", "archive"))
    world.brake(chimp=Brake(3_600_000, {kind: Limit(10_000, 0.9) for kind in (Writes.OVERWRITES, Writes.CREATES)}))
    with database.write() as db:  # some tombstone stands, as in every store that is in use
        key_hash = tombstones.digest(tombstones.secret(db, None), "gone@example.org")
        tombstones.bury(db, reason=tombstones.DELETED, actor="hub", now=1, key_hash=key_hash)
    it = Batches(world)
    hub, chimp = world.vendors["hub"], world.vendors["chimp"]

    def batch(kind: str, numbers: Iterable[int], change: Callable[[int], object], *, echo: str | None = None) -> None:
        for number in numbers:
            change(number)
        it.keep(**{f"{kind}__read": it.fetched(), f"{kind}__written": it.steps(world.push.step)})
        cost = it.fetched()
        if echo is not None:
            it.keep(**{f"{echo}__read": cost, f"{echo}__written": it.steps(world.push.step)})

    def twice(number: int) -> None:
        it.put("hub", number, {"town": word(number + 5_000)})
        it.put("chimp", number, {"town": word(number + 6_000)})

    for numbers in (FEW, MANY):
        batch("first_meeting", numbers, lambda n: it.put("hub", n, person(n)))
        batch("one_field", numbers, lambda n: it.put("hub", n, {"town": word(n)}), echo="echo")
        batch("another_address", numbers, lambda n: it.put("hub", n, {"mail": f"{word(n + 1_000)}@example.com"}))
        batch("edited_on_both_sides", numbers, twice)
        batch("withdrawal", numbers, lambda n: it.put("hub", n, {"mailing": "no"}))
        _unanswered(it, numbers)
        for n in numbers:
            it.put("hub", n, {"last": "REFUSE"})
        it.fetched()
        it.keep(refused__written=it.steps(world.push.step))
        world.poll.step()
        it.keep(idle__poll=it.steps(world.poll.step, once=True))
        for n in numbers:
            hub.remove(f"hub{n + 1}")
        it.keep(deleted__read=it.fetched(), deleted__written=it.steps(world.push.step))
        it.fetched()
        told = (Event(Kind.CONTACT, Action.CHANGED, Ref(f"unseen{n}"), f"unseen{n}", MOMENT) for n in numbers)
        world.deliver("hub", list(told))
        it.keep(never_shown__read=it.steps(world.fetch.step))
        it.keep(idle__read=it.steps(world.fetch.step), idle__written=it.steps(world.push.step))
    assert not chimp.records
    return it.growth()


def _unanswered(it: Batches, numbers: Iterable[int]) -> None:
    """Once each side does not answer."""
    hub, chimp = it.world.vendors["hub"], it.world.vendors["chimp"]

    def silent(*_: Any) -> Any:
        raise TryLater("no answer")

    before = {n: hub.records[f"hub{n + 1}"].fields["town"] for n in numbers}
    for n in numbers:
        it.put("hub", n, {"town": word(n + 9_000)})
    it.world.deliver("hub")
    hub.read, real = silent, hub.read  # type: ignore[method-assign]
    it.keep(no_answer__read=it.steps(it.world.fetch.step, once=True))
    hub.read = real  # type: ignore[method-assign]
    it.steps(it.world.fetch.step)
    chimp.fail_next = ["after"]
    it.keep(no_answer__written=it.steps(it.world.push.step, once=True))
    for n in numbers:  # it says again what it said before: nobody knows whether the other word has arrived
        it.put("hub", n, {"town": before[n]})
    it.world.deliver("hub")
    it.steps(it.world.fetch.step, once=True)
    it.keep(in_doubt__asked=it.steps(it.world.push.step, once=True))
    it.keep(in_doubt__waits=it.steps(it.world.push.step, once=True))
    it.fetched()
    it.steps(it.world.push.step)
    it.fetched()


def met(database: Database) -> dict[str, Growth]:
    """Both sides are read, and have the same people: under the same address, and under another one."""
    phones = "  phone: {{theirs: phone, winner: newest, clear: ignored, read: [e164]}}\n"
    it = Batches(World(database, SIDES, mapping_text=MAPPING.rstrip() + "\n" + phones, likeness=Likeness.LINK))
    hub, chimp = it.world.vendors["hub"], it.world.vendors["chimp"]
    for numbers in (FEW, MANY):
        people = [person(n, phone=f"+4930901820{n:02}", firm="Acme") for n in numbers]
        others = [person(n + 100, phone=f"+4930901821{n:02}", firm="Acme") for n in numbers]
        for one in (*people, *others):
            hub.put(None, one)
        it.fetched()
        for one in people:
            chimp.put(None, one)
        it.keep(known_by_its_address__read=it.fetched())
        for one in others:
            chimp.put(None, {**one, "mail": f"{one['first']}.{one['last']}@example.com"})
        it.keep(known_by_likeness__read=it.fetched())
    return it.growth()


def judged(database: Database) -> dict[str, Growth]:
    """An agreement is in force: leads are worked out, and what it says is told both sides."""
    world = World(database, SIDES, mapping_text=MAPPING.rstrip() + GOVERNED)
    sign(world)
    it = Batches(world)
    for numbers in (FEW, MANY):
        for n in numbers:
            it.put("chimp", n, person(n, score=72))
        it.keep(new_lead__read=it.fetched(), new_lead__judged=it.steps(world.leads.step))
        it.keep(new_lead__written=it.steps(world.push.step))
        it.fetched()
        it.steps(world.leads.step)
        it.steps(world.push.step)
        for n in numbers:
            it.put("chimp", n, {"score": 12})
        it.keep(another_score__read=it.fetched(), another_score__judged=it.steps(world.leads.step))
        it.steps(world.push.step)
        it.fetched()
        _called(database, [row.contact_id for row in world.rows(t.lead)][-len(numbers) :])
        it.keep(a_call__judged=it.steps(world.leads.step))
        it.steps(world.push.step)
        it.fetched()
    return it.growth()


def _called(database: Database, people: Sequence[int]) -> None:
    """Somebody called each of these leads."""
    act = {"connection": "hub", "who_key": "id", "kind": "call", "human": 1, "at": 1, "received_at": 1}
    with database.write() as db:
        db.execute(
            insert(t.engagement),
            [{**act, "remote_id": f"call{n}", "who": f"of {n}", "contact_id": n} for n in people],
        )
        leads.mark(db, people)


def acts(database: Database) -> dict[str, Growth]:
    """What people did: stored, summed up, sent to the other side and entered in its timeline."""
    world = Around(database, mapping_text=AROUND)
    it = Batches(world)
    chimp = world.vendors["chimp"]
    for numbers in (FEW, MANY):
        for n in numbers:
            it.put("chimp", n, person(n))
        world.rest()
        for n in numbers:
            chimp.did(f"click{n}", Doing.CLICK, f"chimp{n + 1}", MOMENT)
        mine = (t.survey.c.connection == "chimp", t.survey.c.kind == surveys.ACTS)
        with database.write() as db:
            db.execute(update(t.survey).values(due_at=2**60))
            db.execute(update(t.survey).where(*mine).values(due_at=0))
        with counting(database) as cost:
            world.rounds.step()
        it.keep(engagement__read=cost)
        it.keep(engagement__summed_up=it.steps(lambda: _summarised(world)))
        it.keep(engagement__written=it.steps(world.push.step))
        it.keep(engagement__told=it.steps(world.timeline.step))
    return it.growth()


def _summarised(world: Around) -> int:
    return world.database.transact(lambda db: summarising.summarise(db, world.connections))


def acknowledged(database: Database) -> dict[str, Growth]:
    """Deliveries at the door that wait together, and copies of them: one commit."""
    it = Batches(World(database, SIDES))
    for numbers in (FEW, MANY):
        for kind in ("delivery", "delivered_again"):
            with counting(database) as cost:
                asyncio.run(_arrive(database, numbers))
            it.keep(**{kind: cost})
    return it.growth()


async def _arrive(database: Database, numbers: Iterable[int]) -> None:
    door = GroupCommit(database)
    waiting = []
    for n in numbers:
        event = Event(Kind.CONTACT, Action.CHANGED, Ref(f"r{n}"), f"e{n}", MOMENT)
        delivery = Delivery("POST", "https://x.example/", {}, b"{}", MOMENT)
        waiting.append(asyncio.create_task(door.store(Arrived("hub", delivery, (event,)))))
    await asyncio.sleep(0)  # all of them wait before the writer begins
    door.start()
    await asyncio.gather(*waiting)
    door.stop()


WORLDS: Final[Mapping[str, Callable[[Database], dict[str, Growth]]]] = {
    one.__name__: one for one in (changes, met, judged, acts, acknowledged)
}


Parts = Mapping[str, str]


def kept(world: str, dialect: str) -> dict[str, dict[str, str]]:
    """What was counted when the table was written: kind → part → a sum over the number n of records."""
    table: dict[str, dict[str, dict[str, str]]] = orjson.loads(KEPT.read_bytes())[world]
    return {kind: {**parts["both"], **parts.get(dialect, {})} for kind, parts in table.items()}


def _together(sqlite: Parts, postgresql: Parts) -> dict[str, Parts]:
    """What holds for both databases once."""
    both = {part: value for part, value in sqlite.items() if postgresql.get(part) == value}
    own = {"sqlite": sqlite, "postgresql": postgresql}
    return {"both": both} | {d: rest for d, p in own.items() if (rest := {n: v for n, v in p.items() if n not in both})}


def main() -> None:
    """Count the worlds that are named, or all, on both databases, and write that part of the table anew."""
    names = sys.argv[1:] if sys.argv[1:] else list(WORLDS)
    table = orjson.loads(KEPT.read_bytes()) if KEPT.exists() else {}
    with tempfile.TemporaryDirectory() as folder, postgres.server() as url:
        for name in names:
            world = WORLDS[name]
            with psycopg.connect(f"{url}/postgres", autocommit=True) as db:
                db.execute(f"CREATE DATABASE {name}")
            found = []
            for where in (f"sqlite:///{folder}/{name}.db", f"{url}/{name}"):
                database = Database(where)
                upgrade(database)
                found.append({kind: growth.parts() for kind, growth in world(database).items()})
                database.close()
            table[name] = {kind: _together(found[0][kind], found[1][kind]) for kind in found[0]}
    KEPT.write_bytes(orjson.dumps({name: table[name] for name in WORLDS}, option=orjson.OPT_INDENT_2) + b"\n")
    sys.stdout.write(f"{KEPT.name}: {sum(map(len, table.values()))} kinds of batches\n")


if __name__ == "__main__":
    main()
