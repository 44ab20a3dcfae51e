"""Whom a connection is about: filters in and out, and what becomes of those who leave them.  Never a deletion."""

from __future__ import annotations

import dataclasses

import pytest

from app.accounts import MAPPINGS, only_of
from app.core import tables as t
from app.core.db import Database, clock_of
from app.core.errors import ConfigError
from app.core.settings import ConnectionConfig
from app.core.words import Deletes, Only
from app.push import refilter
from app.repair import comparing
from app.sync import mapping
from app.sync.connection import Connections
from connectors.contract import Side
from tests.test_consent_travels import CONSENT
from tests.world import MAPPING, World

TWO = {"hub": Side.CRM, "chimp": Side.MARKETING}
ULM = Only((("city", frozenset({"Ulm", "Bonn"})),))


def filtered(w: World, name: str, **only: Only) -> None:
    """Another filter, as after a restart."""
    changed = dataclasses.replace(w.connections[name], **only)  # type: ignore[arg-type]
    w.connections = Connections({**w.connections, name: changed}, likeness=w.likeness)
    w.start()


@pytest.fixture
def world(database: Database) -> World:
    """chimp is about people of Ulm and Bonn."""
    made = World(database, TWO, mapping_text=MAPPING + CONSENT)
    filtered(made, "chimp", only_out=ULM)
    return made


def outward(w: World) -> None:
    """The promise: who fits is written; who leaves stays as they were, but an objection still goes; who comes is."""
    hub, chimp = w.vendors["hub"], w.vendors["chimp"]
    hub.put(None, {"mail": "ann@x.org", "first": "Ann", "town": "Ulm"})
    hub.put(None, {"mail": "ben@x.org", "first": "Ben", "town": "Kiel"})
    w.settle()
    assert list(w.people("chimp")) == ["ann@x.org"]
    hub.put("hub1", {"town": "Kiel", "job": "Cook"})
    w.settle()
    assert w.people("chimp")["ann@x.org"]["town"] == "Ulm", "who left is told nothing more"
    assert w.people("chimp")["ann@x.org"]["job"] is None
    hub.put("hub1", {"mailing": "no"})
    w.settle()
    record = chimp.holder("ann@x.org")
    assert record is not None
    assert record.fields["mailing"] == "no", "an objection is told to whoever has the record"
    assert record.fields["town"] == "Ulm"
    hub.put("hub1", {"town": "Bonn"})
    hub.put("hub2", {"town": "Bonn"})
    w.settle()
    assert {m: p["town"] for m, p in w.people("chimp").items()} == {"ann@x.org": "Bonn", "ben@x.org": "Bonn"}
    assert w.people("chimp")["ann@x.org"]["job"] == "Cook"


def test_outward(world: World) -> None:
    """See ``outward``."""
    outward(world)


def test_a_filter_that_lets_everybody_pass_is_found(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Saboteur: where nobody asks the filter, somebody is written who should not be."""
    monkeypatch.setattr(Only, "fits", lambda *_: True)
    with pytest.raises(AssertionError):
        outward(world)


def test_who_left_is_not_archived_either(world: World) -> None:
    """Not even where the person is deleted elsewhere: the connection is not about them."""
    world.deletes(hub=("archive", "ignore"), chimp=("ignore", "archive"))
    filtered(world, "chimp", only_out=ULM, deletes_out=Deletes.ARCHIVE)
    hub = world.vendors["hub"]
    hub.put(None, {"mail": "ann@x.org", "first": "Ann", "town": "Ulm"})
    world.settle()
    hub.put("hub1", {"town": "Kiel"})
    world.settle()
    hub.remove("hub1")
    world.settle()
    assert list(world.people("chimp")) == ["ann@x.org"]


def test_a_wider_filter_is_caught_up_with(world: World) -> None:
    """After a change of the configuration everybody is looked at again, and only then."""
    hub = world.vendors["hub"]
    hub.put(None, {"mail": "ben@x.org", "first": "Ben", "town": "Kiel"})
    world.settle()
    assert world.database.transact(lambda db: refilter.refilter(db, world.connections)) == 0
    filtered(world, "chimp", only_out=Only((("city", frozenset({"Kiel"})),)))
    assert world.database.transact(lambda db: refilter.refilter(db, world.connections)) == 1
    assert world.database.transact(lambda db: refilter.refilter(db, world.connections)) == 0
    world.settle()
    assert list(world.people("chimp")) == ["ben@x.org"]


def test_inward(database: Database) -> None:
    """A record that does not fit is not taken in; one that leaves says no more than an objection; back, it does."""
    world = World(database, TWO, mapping_text=MAPPING + CONSENT)
    filtered(world, "hub", only_in=ULM)
    hub = world.vendors["hub"]
    hub.put(None, {"mail": "ann@x.org", "first": "Ann", "town": "Ulm"})
    hub.put(None, {"mail": "ben@x.org", "first": "Ben", "town": "Kiel"})
    world.settle()
    assert list(world.people("chimp")) == ["ann@x.org"]
    assert {e.error for e in world.rows(t.inbox)} == {None, "outside of what the connection is about (only: in)"}
    hub.put("hub1", {"town": "Kiel", "job": "Cook", "mailing": "no"})
    world.settle()
    assert world.people("chimp")["ann@x.org"]["town"] == "Ulm"
    record = world.vendors["chimp"].holder("ann@x.org")
    assert record is not None
    assert record.fields["mailing"] == "no"
    assert len(world.rows(t.contact)) == 1
    assert world.rows(t.tombstone) == []
    hub.put("hub1", {"town": "Bonn"})
    world.settle()
    assert world.people("chimp")["ann@x.org"] | {"town": "Bonn", "job": "Cook"} == world.people("chimp")["ann@x.org"]


def test_who_is_left_out_is_no_drift(database: Database) -> None:
    """A compare neither reports nor repairs what the filter keeps out; what it lets in, it does."""
    world = World(database, TWO, mapping_text=MAPPING + CONSENT)
    filtered(world, "hub", only_in=ULM)
    hub = world.vendors["hub"]
    for mail, town in (("ann@x.org", "Ulm"), ("ben@x.org", "Kiel"), ("cem@x.org", "Bonn")):
        hub.put(None, {"mail": mail, "first": mail[:3], "town": town})
    world.settle()
    hub.put("hub1", {"town": "Kiel"})
    hub.put("hub3", {"first": "Cemal"})
    hub.events.clear()
    with database.read() as db:
        now = clock_of(db)
        found = comparing.page(
            db, world.connections["hub"], world.connections, list(hub.records.values()), now + 10**9, 0
        )
    assert {f.remote_id: sorted(f.fields) for f in found.found if f.fields} == {"hub3": ["given_name"]}
    assert found.blocked == 1


@pytest.mark.parametrize(
    ("values", "fits"),
    [
        ({"city": "Ulm"}, True),
        ({"city": ["x", "Bonn"]}, True),
        ({"city": "Kiel"}, False),
        ({"city": []}, False),
        ({"city": None}, False),
        ({}, False),
    ],
)
def test_who_fits(values: dict[str, object], fits: bool) -> None:
    """A list by any of its elements."""
    assert ULM.fits(values) is fits
    assert Only().fits(values)
    assert Only((("city", frozenset({""})),)).fits(values) is (values.get("city") in (None, []))


def test_the_configuration_says_it() -> None:
    """One value or several, a truth value, none; a field that says nothing there is refused by name."""
    said = {"in": {"country": ["DE", "AT"]}, "out": {"custom.vip": True, "owner_email": None, "lead_score": 5}}
    config = ConnectionConfig(name="hub", connector="hubspot", only=said)  # type: ignore[arg-type]
    assert dict(config.only.value("in").where) == {"country": frozenset({"DE", "AT"})}
    assert dict(config.only.value("out").where) == {
        "custom.vip": frozenset({"true"}),
        "lead_score": frozenset({"5"}),
        "owner_email": frozenset({""}),
    }
    map_ = mapping.load(MAPPINGS / "hubspot.yaml")
    assert only_of(config, map_, "in").fields == {"country"}
    with pytest.raises(ConfigError, match=r"hub: only.out: no canonical field: custom.vip; valid: .*country"):
        only_of(config, map_, "out")
    narrow = ConnectionConfig(name="hub", connector="hubspot", only={"in": {"tags": "x"}})  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="its mapping does not read tags"):
        only_of(narrow, map_, "in")
