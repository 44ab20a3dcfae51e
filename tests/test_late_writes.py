"""A worker that slept through its lease: what it still sends must not become somebody's edit."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import update

from app.core import tables as t
from app.core.db import Database
from app.entry import inbox
from app.push import work
from app.push.push import Batch
from app.sync import unnoted
from connectors.contract import Side
from tests.test_consent_travels import CONSENT
from tests.world import MAPPING, World

SIDES = {"hub": Side.CRM, "chimp": Side.MARKETING}


def leased(world: World) -> Batch:
    """What a worker has in hand when it falls asleep, just before its call."""
    with world.database.write() as db:
        batch = world.push._lease(db, world.connections["chimp"])
        db.execute(update(t.work).values(due_at=0))  # so much time goes by
    assert batch.planned
    return batch


def woken(world: World, batch: Batch) -> None:
    """It wakes, sends, and notes what came of it."""
    receipts = world.push._send(batch)
    world.database.transact(lambda db: world.push._finish(db, batch, receipts))


def town(world: World) -> dict[str, Any]:
    return {name: [r.fields.get("town") for r in v.records.values()] for name, v in world.vendors.items()}


@pytest.fixture
def world(database: Database) -> World:
    made = World(database, SIDES)
    made.vendors["hub"].put(None, {"mail": "ann@x.org", "first": "Ann", "town": "Ulm"})
    made.deliver("hub")
    made.settle()
    return made


def asleep_and_overtaken(world: World) -> None:
    hub = world.vendors["hub"]
    (person,) = hub.records
    hub.put(person, {"town": "Bonn"})
    world.deliver("hub")
    world.fetch.step()
    batch = leased(world)
    hub.put(person, {"town": "Kiel"})
    world.deliver("hub")
    world.settle()  # another worker takes the row and brings the newer town
    assert town(world)["chimp"] == ["Kiel"]
    woken(world, batch)
    world.settle()


def test_a_late_write_is_no_edit(world: World) -> None:
    """It overwrites the vendor for a moment; the newest value is brought again, and all sides say it."""
    asleep_and_overtaken(world)
    assert town(world) == {"hub": ["Kiel"], "chimp": ["Kiel"]}


def test_saboteur_a_late_write_is_looked_at(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without knowing that its lease was lost, what it wrote comes back as the vendor's own edit, and wins."""
    monkeypatch.setattr(work, "still", lambda _db, _connection, _token, contacts: frozenset(contacts))
    asleep_and_overtaken(world)
    assert town(world) != {"hub": ["Kiel"], "chimp": ["Kiel"]}


@pytest.mark.parametrize("newer", ["Kiel", "Ulm", None])
@pytest.mark.parametrize("first", ["hub", "chimp"])
@pytest.mark.parametrize("how", ["after", "killed"])
def test_a_write_whose_answer_was_lost_is_no_edit(world: World, how: str, first: str, newer: str | None) -> None:
    """It landed, nobody noted it, and the value has changed since: coming back, it is our own old word.

    Also where the contact went back to what it had said before, and nothing but the record says another thing.
    """
    hub, chimp = world.vendors["hub"], world.vendors["chimp"]
    (person,) = hub.records
    hub.put(person, {"town": "Bonn"})
    world.deliver("hub")
    world.fetch.step()
    if how == "after":
        chimp.fail_next.append("after")
        world.push.step()
    else:
        batch = leased(world)
        world.push._send(batch)
    assert town(world)["chimp"] == ["Bonn"]
    # By the vendors' clocks the echo may be the newer of the two.
    hub.put(person, {"town": newer})
    for record in list(chimp.records):
        chimp.put(record, {})
    for name in (first, "chimp" if first == "hub" else "hub"):
        world.deliver(name)
        world.fetch.step()
    world.settle()
    assert town(world) == {"hub": [newer], "chimp": [newer]}


def landed_without_answer(world: World) -> str:
    """Bonn was brought to the other side, and nobody noted it; the id of the person's record here."""
    hub = world.vendors["hub"]
    (person,) = hub.records
    hub.put(person, {"town": "Bonn"})
    world.deliver("hub")
    world.fetch.step()
    world.vendors["chimp"].fail_next.append("after")
    world.push.step()
    return person


@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize("beside", [{}, {"first": "Anna"}])
def test_what_was_said_for_a_moment_is_taken_back(world: World, beside: dict[str, str], told: bool) -> None:
    """It landed, nobody noted it, and the contact went back: the record is looked at before it is written to again.

    ``beside``: what else has to be written.  ``told``: whether the vendor tells of what we wrote.
    """
    hub, chimp = world.vendors["hub"], world.vendors["chimp"]
    person = landed_without_answer(world)
    hub.put(person, {"town": "Ulm", **beside})
    world.deliver("hub")
    if told:
        chimp.put(next(iter(chimp.records)), {})
    else:
        chimp.events.clear()
    world.settle()
    assert town(world) == {"hub": ["Ulm"], "chimp": ["Ulm"]}
    assert [r.fields["first"] for r in chimp.records.values()] == [beside.get("first", "Ann")]


def went_back(world: World, **fields: Any) -> None:
    """Bonn has landed at the other side without a note, and the contact says these; nothing there tells of it."""
    hub = world.vendors["hub"]
    hub.put(landed_without_answer(world), fields)
    world.deliver("hub")
    world.fetch.step()
    world.vendors["chimp"].events.clear()


def slow_look(world: World) -> dict[str, Any]:
    """Rows are due, again and again, before the look is processed."""
    went_back(world, town="Ulm", first="Anna")
    for _ in range(4):
        again(world)
    world.settle()
    return town(world)


def test_a_write_waits_for_the_look_that_it_asked_for(world: World) -> None:
    """However often it comes to its turn before."""
    assert slow_look(world) == {"hub": ["Ulm"], "chimp": ["Ulm"]}


def again(world: World) -> None:
    """All that waits for a retry is tried now."""
    with world.database.write() as db:
        db.execute(update(t.work).values(due_at=0))
        db.execute(update(t.connection_state).values(next_at=0))
    world.push.step()


def test_a_look_is_waited_for_though_an_older_change_turns_up(world: World) -> None:
    """What a row waits for does not depend on when its oldest change happened."""
    went_back(world, town="Ulm")
    again(world)  # asks for a look
    with world.database.write() as db:
        db.execute(update(t.work).values(since=t.work.c.since - 1_000))
    again(world)
    world.settle()
    assert town(world) == {"hub": ["Ulm"], "chimp": ["Ulm"]}


def test_a_look_is_asked_for_though_who_was_to_ask_died(world: World) -> None:
    """The try after that asks for it."""
    went_back(world, town="Ulm")
    with world.database.write() as db:
        db.execute(update(t.work).values(due_at=0))
        assert world.push._lease(db, world.connections["chimp"]).doubts  # and nothing comes of it
    again(world)
    world.settle()
    assert town(world) == {"hub": ["Ulm"], "chimp": ["Ulm"]}


@pytest.mark.parametrize("soon", [True, False])
def test_what_a_reading_crossed_is_no_edit(world: World, soon: bool) -> None:
    """The write landed and was answered, but a reading had moved the shadow meanwhile, and the contact went back.

    ``soon``: the row has its turn again before the record was looked at.
    """
    hub, chimp = world.vendors["hub"], world.vendors["chimp"]
    (person,) = hub.records
    hub.put(person, {"town": "Bonn"})
    world.deliver("hub")
    world.fetch.step()
    with world.database.write() as db:
        batch = world.push._lease(db, world.connections["chimp"])
    chimp.put(next(iter(chimp.records)), {"job": "Head"})
    world.deliver("chimp")
    world.fetch.step()
    hub.put(person, {"town": "Ulm", "last": "Lee"})
    world.deliver("hub")
    world.fetch.step()
    woken(world, batch)
    chimp.events.clear()
    for _ in range(3 if soon else 0):
        again(world)
    world.settle()
    assert town(world) == {"hub": ["Ulm"], "chimp": ["Ulm"]}
    assert [(r.fields["job"], r.fields["last"]) for r in chimp.records.values()] == [("Head", "Lee")]


@pytest.mark.parametrize("at_first", ["Ulm", None])
def test_an_objection_ends_no_doubt(database: Database, at_first: str | None) -> None:
    """It is said at once; what an earlier write may have brought is looked for all the same."""
    world = World(database, SIDES, mapping_text=MAPPING + CONSENT)
    hub, chimp = world.vendors["hub"], world.vendors["chimp"]
    hub.put(None, {"mail": "ann@x.org", "first": "Ann", "town": at_first, "mailing": "yes"})
    world.deliver("hub")
    world.grant("chimp")
    world.settle()
    chimp.put(next(iter(chimp.records)), {"town": at_first})
    world.deliver("chimp")
    world.settle()
    went_back(world, town=at_first, mailing="no")
    again(world)
    assert [r.fields["mailing"] for r in chimp.records.values()] == ["no"]
    assert town(world)["chimp"] == ["Bonn"]
    world.settle()
    assert town(world) == {"hub": [at_first], "chimp": [at_first]}


def test_saboteur_a_look_is_not_waited_for(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The write that is noted in between makes our own word an edit of theirs."""
    real = inbox.statuses
    monkeypatch.setattr(inbox, "statuses", lambda *asked: dict.fromkeys(real(*asked), "done"))
    assert slow_look(world) == {"hub": ["Bonn"], "chimp": ["Bonn"]}


def test_saboteur_nobody_doubts(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next write ends what could be known of the one before, and its word stays there."""
    monkeypatch.setattr(unnoted, "doubts", lambda *_: frozenset())
    with pytest.raises(AssertionError):
        test_what_was_said_for_a_moment_is_taken_back(world, {"first": "Anna"}, False)


def test_saboteur_our_own_word_is_not_recognised(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it the old value, coming back, is a double edit that may win."""
    monkeypatch.setattr(unnoted, "echoes", lambda *_: {})
    with pytest.raises(AssertionError):
        test_a_write_whose_answer_was_lost_is_no_edit(world, "after", "hub", "Kiel")


@pytest.mark.parametrize("back", ["Ulm", "Bonn"])
def test_who_goes_back_to_an_earlier_value_is_heard(world: World, back: str) -> None:
    """What was noted as written and is then changed there is an edit, even if the contact once said the same."""
    hub, chimp = world.vendors["hub"], world.vendors["chimp"]
    for value in ("Bonn", "Kiel"):
        hub.put(next(iter(hub.records)), {"town": value})
        world.settle()
    chimp.put(next(iter(chimp.records)), {"town": back})
    world.settle()
    assert town(world) == {"hub": [back], "chimp": [back]}


def test_who_goes_back_while_something_else_is_written_is_heard(world: World) -> None:
    """All that the contact said of the town was noted as written; a write of the name is no reason to doubt an edit."""
    hub, chimp = world.vendors["hub"], world.vendors["chimp"]
    (person,) = hub.records
    for value in ("Bonn", "Ulm"):
        hub.put(person, {"town": value})
        world.settle()
    hub.put(person, {"first": "Anna"})
    world.deliver("hub")
    world.fetch.step()
    chimp.fail_next.append("after")
    world.push.step()
    chimp.put(next(iter(chimp.records)), {"town": "Bonn"})
    world.settle()
    assert town(world) == {"hub": ["Bonn"], "chimp": ["Bonn"]}


def test_a_record_that_nobody_wrote_to_is_no_echo(database: Database) -> None:
    """Somebody who was there already and says what the contact said earlier: the mapping's rule decides, as ever."""
    world = World(database, SIDES)
    hub, chimp = world.vendors["hub"], world.vendors["chimp"]
    person = hub.put(None, {"mail": "ann@x.org", "first": "Ann", "town": "Ulm"})
    world.deliver("hub")
    world.fetch.step()
    hub.put(person, {"town": "Kiel"})
    world.deliver("hub")
    world.fetch.step()
    chimp.put(None, {"mail": "ann@x.org", "town": "Ulm"})
    world.settle()
    assert town(world) == {"hub": ["Ulm"], "chimp": ["Ulm"]}, "marketing wins the town where both say something"


def test_an_edit_just_before_our_write_is_read_though_the_record_is_newer(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reading that began before our write ended shows an edit that nobody has seen: that is news."""
    hub, chimp = world.vendors["hub"], world.vendors["chimp"]
    (person,) = hub.records
    hub.put(person, {"first": "Anna"})
    world.deliver("hub")
    world.fetch.step()
    chimp.put(next(iter(chimp.records)), {"town": "Bonn"})
    world.deliver("chimp")
    read = chimp.read

    def slow(kind: Any, refs: Any) -> Any:
        found = read(kind, refs)
        world.push.step()  # what it answers is on its way while our write lands
        return found

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(chimp, "read", slow)
        world.fetch.step()
    chimp.events.clear()  # it tells nobody of what we wrote
    world.settle()
    assert town(world) == {"hub": ["Bonn"], "chimp": ["Bonn"]}
    assert [r.fields["first"] for r in chimp.records.values()] == ["Anna"]
