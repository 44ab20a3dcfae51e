"""Second records: a vendor holds two records of one person, and the contact is paired with one of them."""

from __future__ import annotations

import pytest

from app.core import tables as t
from app.core.db import Database
from app.repair import erasing
from connectors.contract import Side
from tests.test_consent_travels import CONSENT
from tests.world import MAPPING, World

TWO = {"hub": Side.CRM, "chimp": Side.MARKETING}
ANN = {"mail": "ann@x.org", "first": "Ann", "last": "Lee"}


@pytest.mark.parametrize("first", [True, False], ids=["found, then objected", "objected, then found"])
def test_a_second_record_is_told_objections_and_nothing_else(database: Database, first: bool) -> None:
    """The vendor may write to it, whichever of the two the contact is paired with."""
    _objects(database, first=first)


def _objects(database: Database, *, first: bool) -> None:
    world = World(database, TWO, mapping_text=MAPPING + CONSENT)
    hub = world.vendors["hub"]
    world.vendors["chimp"].put(None, {**ANN, "mailing": "yes"})
    hub.put(None, ANN)
    world.settle()
    other = hub.put(None, {**ANN, "first": "Anna"}) if first else None
    world.settle()
    world.vendors["chimp"].put("chimp1", {"mailing": "no", "town": "Ulm"})
    world.settle()
    if other is None:
        other = hub.put(None, {**ANN, "first": "Anna"})
        world.settle()
    records = hub.records
    assert [records[i].fields.get("mailing") for i in ("hub1", other)] == ["no", "no"]
    assert [records[i].fields.get("town") for i in ("hub1", other)] == ["Ulm", ANN.get("town")]
    assert records[other].fields["first"] == "Anna"
    assert {d.code for d in world.rows(t.dead)} == {"second_record"}


def test_a_second_record_that_gets_an_address_of_its_own_is_somebody(database: Database) -> None:
    """From then on it is one contact among others, on every side."""
    world = World(database, TWO)
    hub = world.vendors["hub"]
    hub.put(None, ANN)
    other = hub.put(None, {**ANN, "first": "Anna"})
    world.settle()
    hub.put(other, {"mail": "anna@x.org"})
    world.settle()
    assert world.people("chimp") == world.people("hub")
    assert sorted(r.fields["mail"] for r in world.vendors["chimp"].records.values()) == ["ann@x.org", "anna@x.org"]


@pytest.mark.parametrize("which", ["hub1", "hub2"])
def test_two_records_that_are_merged_are_one_pair(database: Database, which: str) -> None:
    """Whichever lives on at the vendor is the contact's, and is kept equal."""
    world = World(database, TWO)
    hub = world.vendors["hub"]
    hub.put(None, ANN)
    hub.put(None, {**ANN, "first": "Anna"})
    world.settle()
    hub.merge(which, "hub1" if which == "hub2" else "hub2")
    world.settle()
    hub.put(which, {"town": "Ulm"})
    world.settle()
    assert world.people("chimp") == world.people("hub")
    assert [r.fields["town"] for r in world.vendors["chimp"].records.values()] == ["Ulm"]


def test_a_second_record_that_is_deleted_deletes_nobody(database: Database) -> None:
    """Of two records of one person, the one that was too many went."""
    world = World(database, TWO)
    world.deletes(**dict.fromkeys(TWO, ("archive", "archive")))
    hub = world.vendors["hub"]
    hub.put(None, ANN)
    other = hub.put(None, {**ANN, "first": "Anna"})
    world.settle()
    hub.remove(other)
    world.settle()
    assert list(hub.records) == ["hub1"]
    assert len(world.vendors["chimp"].records) == 1


def test_without_the_link_the_second_record_would_hear_nothing(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Saboteur: a second record that is only reported stays mailable; the first test is there to see it."""
    monkeypatch.setattr("app.sync.chain._second", lambda *_: None)
    with pytest.raises(AssertionError):
        _objects(database, first=True)


def test_an_erasure_takes_the_second_record_along(database: Database) -> None:
    """At the vendor and here."""
    world = World(database, TWO)
    hub = world.vendors["hub"]
    hub.put(None, ANN)
    hub.put(None, {**ANN, "first": "Anna"})
    world.settle()
    with database.write() as db:
        erasing.start(db, world.connections, ANN["mail"], "Kim")
    for _ in range(20):
        world.due()
        world.erase.step()
    assert (hub.records, world.vendors["chimp"].records) == ({}, {})
    assert world.rows(t.link) == []
    assert world.rows(t.contact) == []
