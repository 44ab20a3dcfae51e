"""Schema drift: what a vendor says of its fields changes, and nothing is read, written or cleared by mistake."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from sqlalchemy import update

from app.core import tables as t
from app.core.db import Database
from app.core.errors import NotFound
from app.records import alarms, suspended
from app.repair import schema
from app.repair.schema import Describe, changes, kept
from connectors.contract import Can, Kind, Property, Schema
from tests.test_drift import world
from tests.world import MAPPED, World

TOWN = Property("town", "string", "Town")
WATCHED = {"town": frozenset[str](), "level": frozenset({"a", "b"})}


def described(*properties: Property) -> Schema:
    return Schema(Kind.CONTACT, {p.name: p for p in properties})


@pytest.mark.parametrize(
    ("after", "found"),
    [
        ((TOWN,), []),
        ((), [("town", "gone")]),
        ((Property("city", "string", "Town"),), [("town", "renamed")]),
        ((Property("city", "string", "City"),), [("town", "gone")]),
        ((Property("city", "number", "Town"),), [("town", "gone")]),
        ((Property("t1", "string", "Town"), Property("t2", "string", "Town")), [("town", "gone")]),
        ((Property("town", "number", "Town"),), [("town", "type")]),
        ((Property("town", "string", "The town"),), []),
    ],
)
def test_what_is_a_change(after: tuple[Property, ...], found: list[tuple[str, str]]) -> None:
    """Gone, renamed (one new field of the same type and label), another type; a new label is none."""
    before = kept(described(TOWN))
    assert [(c.field, c.why) for c in changes(before, described(*after), WATCHED)] == found


@pytest.mark.parametrize(
    ("options", "found"),
    [
        (("a", "b", "c"), []),
        (("a", "b", "d"), []),  # c is none of the mapping's words, d is new
        (("a", "c"), ["options"]),
        (None, ["options"]),
    ],
)
def test_options(options: tuple[str, ...] | None, found: list[str]) -> None:
    """Only the loss of an option that the mapping uses matters."""
    before = kept(described(Property("level", "enumeration", "Level", options=("a", "b", "c"))))
    now = described(Property("level", "enumeration", "Level", options=options))
    assert [c.why for c in changes(before, now, WATCHED)] == found


def test_what_was_never_there_is_no_change() -> None:
    """That is the doctor's business."""
    assert changes({}, described(TOWN), WATCHED) == []


class Fields:
    """Lets a world's CRM describe itself."""

    def __init__(self, made: World) -> None:
        self.made = made
        self.now = {name: Property(name, "string", name.title()) for name in MAPPED}
        vendor = made.vendors["crm"]
        vendor.can = vendor.can | {Can.DESCRIBE}  # type: ignore[misc]
        vendor.describe = lambda kind: described(*self.now.values())  # type: ignore[method-assign]
        self.describe = Describe(made.database, made.connections)

    def look(self) -> None:
        with self.made.database.write() as db:
            db.execute(update(t.described).values(due_at=0))
        assert self.describe.step() == 1
        assert self.describe.step() == 0  # not due again

    def standing(self) -> tuple[list[str], set[tuple[str, str]]]:
        with self.made.database.read() as db:
            fields = sorted(suspended.fields(db).get("crm", ()))
            return fields, {(r["kind"], r["subject"]) for r in alarms.listed(db)}


def test_a_field_that_is_gone_is_suspended_until_it_is_back(database: Database) -> None:
    """Neither read nor written, nothing cleared; back by itself, and then what was missed is written."""
    made = world(database, 3)
    fields = Fields(made)
    fields.look()
    assert fields.standing() == ([], set())
    town = fields.now.pop("town")
    for record in list(made.vendors["crm"].records.values()):  # the vendor answers null for what it does not have
        made.vendors["crm"].records[record.id] = dataclasses.replace(record, fields={**record.fields, "town": None})
    fields.look()
    fields.look()
    assert fields.standing() == (["town"], {("field", "town")})
    made.vendors["mail"].put(sorted(made.vendors["mail"].records)[0], {"town": "Chur", "first": "Ann"})
    made.vendors["crm"].put(sorted(made.vendors["crm"].records)[1], {"last": "Ray"})
    made.settle()
    assert [p["town"] for p in made.people("crm").values()] == [None, None, None]
    assert sorted(p["town"] for p in made.people("mail").values()) == ["Bern", "Bern", "Chur"]
    fields.now["town"] = town
    fields.look()
    assert fields.standing() == ([], set())
    made.vendors["mail"].put(sorted(made.vendors["mail"].records)[1], {"town": "Basel"})
    made.settle()
    assert "Basel" in [p["town"] for p in made.people("crm").values()]
    assert "Chur" not in [p["town"] for p in made.people("crm").values()]
    # The three were really emptied there: Chur was written meanwhile, and goes again by the compare that is begun.
    assert [(r.kind, r.params["repair"]) for r in made.rows(t.run)] == [("reconcile", True)]


def test_a_person_takes_a_field_as_it_is(database: Database) -> None:
    """By name; then the new description is what later ones are compared with."""
    made = world(database, 1)
    fields = Fields(made)
    fields.look()
    fields.now["town"] = Property("town", "number", "Town")
    fields.look()
    assert fields.standing() == (["town"], {("field", "town")})
    with made.database.write() as db:
        with pytest.raises(NotFound, match="is not suspended"):
            schema.resume(db, made.connections, "crm", "job", "Kim")
        schema.resume(db, made.connections, "crm", "town", "Kim")
    assert "city" in made.connections["crm"].map.out_fields
    fields.look()
    assert fields.standing() == ([], set())
    fields.now["town"] = TOWN
    fields.look()
    assert fields.standing() == (["town"], {("field", "town")})


def test_without_the_key_the_connection_rests(database: Database) -> None:
    """The field by which people are known."""
    made = world(database, 1)
    fields = Fields(made)
    fields.look()
    del fields.now["mail"]
    fields.look()
    assert fields.standing() == ([], {("field", "mail")})
    assert {r.name: r.paused for r in made.rows(t.connection_state)} == {"crm": 1, "mail": 0}


def test_a_watch_that_only_warns_is_caught(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Saboteur: an alarm without the suspension lets the vendor's null clear the other side."""
    monkeypatch.setattr(suspended, "suspend", lambda *_: [])
    monkeypatch.setattr("app.sync.hiding.Guard.look", lambda *_: [])
    with pytest.raises(AssertionError):
        test_a_field_that_is_gone_is_suspended_until_it_is_back(database)


def test_another_process_hears_of_it(database: Database) -> None:
    """What one process suspended another leaves out, once it has looked."""
    made: Any = world(database, 1)
    with made.database.write() as db:
        suspended.suspend(db, "crm", {"town": "gone"})
        made.connections.suspend(suspended.fields(db))
    assert "city" not in made.connections["crm"].map.read({"town": "Bern"}).claim
    assert "city" not in made.connections["crm"].map.write({"city": "Bern"}).fields
    assert "city" in made.connections["mail"].map.read({"town": "Bern"}).claim
