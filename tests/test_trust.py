"""How far a connection is trusted: observe writes nothing, canary to a few; creating waits for the first reading."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import update

from app.core import tables as t
from app.core.db import Database
from app.core.settings import ConnectionConfig
from app.core.words import Canary, Mode, Waits
from app.push import plan as planning
from app.push import trust
from connectors.contract import Limits, Side, Verb
from tests.test_consent_travels import CONSENT
from tests.world import MAPPING, World

TWO = {"hub": Side.CRM, "chimp": Side.MARKETING}


def world(database: Database, **modes: Mode | Canary) -> World:
    w = World(database, TWO, mapping_text=MAPPING + CONSENT)
    w.grant("chimp")
    w.trusted(**modes)
    return w


def people(w: World, n: int, **fields: Any) -> None:
    """The same people at hub only, settled."""
    for i in range(n):
        w.vendors["hub"].put(None, {"mail": f"p{i}@x.org", "first": "Ann", "town": "Ulm", **fields})
    w.settle()


def both(w: World, n: int) -> None:
    """People who are at both vendors already, and in step."""
    for vendor in w.vendors.values():
        for i in range(n):
            vendor.put(None, {"mail": f"p{i}@x.org", "first": "Ann", "town": "Ulm"})
    w.settle()


def towns(w: World) -> list[Any]:
    return [p["town"] for p in w.people("chimp").values()]


def test_an_entry_without_mode_observes() -> None:
    """Nothing is written to a vendor before somebody says so."""
    assert ConnectionConfig(name="a", connector="b").mode is Mode.OBSERVE


def observes(w: World) -> None:
    """The promise: nothing is written while observing, not even a withdrawal; going live writes all of it."""
    both(w, 2)
    w.vendors["hub"].put("hub1", {"job": "Cook", "mailing": "no"})
    w.vendors["hub"].put(None, {"mail": "new@x.org", "town": "Kiel"})
    w.settle()
    assert w.vendors["chimp"].calls == []
    w.trusted(chimp=Mode.LIVE)
    w.settle()
    first = w.vendors["chimp"].holder("p0@x.org")
    assert first is not None
    assert (first.fields["job"], first.fields["mailing"]) == ("Cook", "no")
    assert sorted(w.people("chimp")) == ["new@x.org", "p0@x.org", "p1@x.org"]


def canary_lets_withdrawals_through(w: World) -> None:
    """The promise: of those who are no canaries, objections go and nothing else does."""
    both(w, 4)
    w.trusted(chimp=Canary(1))
    for record in list(w.vendors["hub"].records):
        w.vendors["hub"].put(record, {"town": "Bonn"})
    w.settle()
    w.vendors["hub"].put("hub4", {"mailing": "no"})
    w.settle()
    assert towns(w) == ["Bonn", "Ulm", "Ulm", "Ulm"]
    held = w.vendors["chimp"].holder("p3@x.org")
    assert held is not None
    assert held.fields.get("mailing") == "no"
    w.trusted(chimp=Mode.LIVE)
    w.settle()
    assert towns(w) == ["Bonn"] * 4


def read_before_creating(w: World) -> None:
    """The promise: those who are on both sides are paired before anybody is created, though webhooks come meanwhile."""
    hub, chimp = w.vendors["hub"], w.vendors["chimp"]
    for vendor in (hub, chimp):  # in their own sizes it would take long
        vendor.page, vendor.limits = 200, Limits(200, 200, 200)  # type: ignore[misc]
    for i in range(1_000):
        hub.put(None, {"mail": f"p{i}@x.org", "first": "Ann"})
        chimp.put(None, {"mail": f"p{i}@x.org", "town": "Ulm"})
    told = hub.events[::7]
    hub.events.clear()
    chimp.events.clear()
    w.deliver("hub", told)
    w.settle(steps=3_000)
    w.walk()
    w.settle(steps=5_000)
    orders = [o for v in w.vendors.values() for call in v.calls for o in call]
    assert [o for o in orders if o.verb is Verb.CREATE] == []
    assert len(w.rows(t.contact)) == 1_000
    assert all(p["first"] == "Ann" and p["town"] == "Ulm" for p in w.people("chimp").values())


def _observing(database: Database) -> World:
    return world(database, chimp=Mode.OBSERVE)


def _unread(database: Database) -> World:
    return World(database, TWO, first_read=False)


PROMISES: dict[str, tuple[Callable[[Database], World], Callable[[World], None]]] = {
    "observe": (_observing, observes),
    "canary": (world, canary_lets_withdrawals_through),
    "first read": (_unread, read_before_creating),
}


def writes_always(monkeypatch: pytest.MonkeyPatch, w: World) -> None:
    """Observe that writes."""
    w.trusted(chimp=Mode.LIVE)


def holds_all(monkeypatch: pytest.MonkeyPatch, w: World) -> None:
    """A canary that holds objections like anything else."""
    real = planning._untrusted

    def held(connection: Any, row: Any, free: Any, known: Any) -> Any:
        return planning.Held(row, Waits.MODE, {}) if free is not None else real(connection, row, free, known)

    monkeypatch.setattr(planning, "_untrusted", held)


def holds_nothing(monkeypatch: pytest.MonkeyPatch, w: World) -> None:
    """A canary that trusts everybody."""
    monkeypatch.setattr(planning, "_untrusted", lambda _connection, _row, free, _known: free)


def forgets(monkeypatch: pytest.MonkeyPatch, w: World) -> None:
    """Going live does not look again at what waited."""
    monkeypatch.setattr(trust, "awake", lambda *_: 0)


def creates_at_once(monkeypatch: pytest.MonkeyPatch, w: World) -> None:
    """Does not wait for the first reading."""
    with w.database.write() as db:
        db.execute(update(t.connection_state).values(first_read_at=1))


@pytest.mark.parametrize("name", PROMISES)
def test_promise(name: str, database: Database) -> None:
    """Each promise holds."""
    made, promise = PROMISES[name]
    promise(made(database))


@pytest.mark.parametrize(
    ("name", "saboteur"),
    [
        ("observe", writes_always),
        ("canary", holds_all),
        ("canary", holds_nothing),
        ("canary", forgets),
        ("first read", creates_at_once),
    ],
)
def test_a_broken_one_is_found(name: str, saboteur: Any, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each promise fails where it is broken."""
    made, promise = PROMISES[name]
    w = made(database)
    saboteur(monkeypatch, w)
    with pytest.raises(AssertionError):
        promise(w)


def test_the_canaries_are_the_first_that_fit(database: Database) -> None:
    """By a field's value: so many and no more, creates included; they stay canaries afterwards."""
    w = world(database, chimp=Canary(2, where=(("city", "Bonn"),)))
    people(w, 3)
    for i in range(4):
        w.vendors["hub"].put(None, {"mail": f"b{i}@x.org", "town": "Bonn"})
    w.settle()
    assert sorted(w.people("chimp")) == ["b0@x.org", "b1@x.org"]
    w.vendors["hub"].put(w.vendors["hub"].holder("b0@x.org").id, {"town": "Kiel"})  # type: ignore[union-attr]
    w.settle()
    assert w.people("chimp")["b0@x.org"]["town"] == "Kiel"


def test_a_sample_is_the_same_each_time(database: Database) -> None:
    """It goes by the contact's number alone, and is about as large as was asked for."""
    w = world(database, chimp=Canary(1_000, sample=0.5))
    people(w, 60)
    chosen = sorted(w.people("chimp"))
    assert 15 <= len(chosen) <= 45
    w.trusted(chimp=Canary(1_000, sample=0.5))
    w.settle()
    assert sorted(w.people("chimp")) == chosen


def test_canaries_are_chosen_after_the_first_reading(database: Database) -> None:
    """Who came before it was through takes a place as soon as it is."""
    w = World(database, TWO, first_read=False)
    w.trusted(chimp=Canary(2))
    for i in range(3):
        w.vendors["hub"].put(None, {"mail": f"p{i}@x.org"})
    w.settle()
    assert w.vendors["chimp"].calls == []
    w.walk()
    w.settle()
    assert len(w.people("chimp")) == 2


def test_more_canaries_take_what_waits(database: Database) -> None:
    """Raising the number writes to more, without a change of the contacts."""
    w = world(database, chimp=Canary(1))
    people(w, 3)
    assert len(w.people("chimp")) == 1
    w.trusted(chimp=Canary(2))
    w.settle()
    assert len(w.people("chimp")) == 2


def test_a_connection_that_is_added_gets_those_who_were_known(database: Database) -> None:
    """Contacts from before it was there are created once it was read, and those it has are paired."""
    w = World(database, TWO, first_read=False)
    hub, chimp = w.vendors["hub"], w.vendors["chimp"]
    for i in range(7):
        hub.put(None, {"mail": f"p{i}@x.org", "first": "Ann"})
    w.settle()
    with database.write() as db:  # as a store that did not know chimp yet
        db.execute(t.work.delete())
    chimp.put(None, {"mail": "p3@x.org"})
    chimp.events.clear()
    w.walk()
    w.settle()
    assert len(w.people("chimp")) == len(chimp.records) == 7
