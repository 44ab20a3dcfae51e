"""Contacts: found by address and time, and explained: each value with its origin."""

from __future__ import annotations

from typing import Any

import pytest

from app.core import tables as t
from app.core.db import Database
from app.ops import contacts
from app.push import work
from connectors.contract import Side
from tests.apihelp import Api, add, add_contacts, rows_of
from tests.world import World

ANN = {"email": "ann@example.org", "given_name": "Ann", "city": None}


def add_key(database: Database, value: str, contact: int, *, strong: bool = True, key: str = "email") -> None:
    add(database, t.contact_key, {"key": key, "value": value, "contact_id": contact, "strong": int(strong)})


def test_a_contact_is_listed_with_its_values(database: Database) -> None:
    """Cleared and absent stay apart."""
    (number,) = add_contacts(database, {"values": ANN, "version": 3, "created_at": 1_000, "updated_at": 2_000})
    assert Api(database).get("/contacts")["items"] == [
        {
            "id": number,
            "version": 3,
            "values": ANN,
            "created_at": "1970-01-01T00:00:01.000Z",
            "updated_at": "1970-01-01T00:00:02.000Z",
            "merged_into": None,
        }
    ]


@pytest.mark.parametrize(
    ("email", "expected"),
    [
        pytest.param("ann@example.org", {1}, id="as it is kept"),
        pytest.param(" Ann@EXAMPLE.org ", {1}, id="in another spelling"),
        pytest.param("shared@example.org", {1, 2}, id="a further address that two share"),
        pytest.param("b.ob+news@gmail.com", {2}, id="as one mapping folds it"),
        pytest.param("nobody@example.org", set(), id="unknown"),
        pytest.param("no address", {3}, id="no address, kept as text"),
        pytest.param("+49 30 901820", set(), id="a phone"),
    ],
)
def test_a_person_is_found_by_address(database: Database, email: str, expected: set[int]) -> None:
    """Each once, by any key that the mappings would make of what was typed."""
    ids = add_contacts(database, {"values": ANN}, {}, {}, {})
    add_key(database, "ann@example.org", ids[0])
    add_key(database, "shared@example.org", ids[0], strong=False)
    add_key(database, "shared@example.org", ids[1], strong=False)
    add_key(database, "bob@gmail.com", ids[1])
    add_key(database, "b.ob+news@gmail.com", ids[1], strong=False)
    add_key(database, "no address", ids[2])
    add_key(database, "+49 30 901820", ids[3], strong=False, key="phone")
    api = Api(database)
    assert {ids.index(c["id"]) + 1 for c in api.get("/contacts", email=email)["items"]} == expected
    pages = api.walk("/contacts", 1, email=email)
    assert [[ids.index(c["id"]) + 1 for c in page] for page in pages] == ([[n] for n in sorted(expected)] or [[]])


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"updated_since": "1970-01-01T00:00:02Z"}, {2, 3}),
        ({"updated_since": "1970-01-01T01:00:03+01:00"}, {3}),
        ({"updated_since": "1970-01-01T00:00:03.001Z"}, set()),
        ({"updated_since": "1970-01-01T00:00:02Z", "email": "x@example.org"}, {2}),
    ],
)
def test_contacts_updated_since(database: Database, params: dict[str, str], expected: set[int]) -> None:
    """From that moment on, in whatever zone it is said; together with an address both have to hold."""
    ids = add_contacts(database, *({"updated_at": 1_000 * k} for k in (1, 2, 3)))
    add_key(database, "x@example.org", ids[0], strong=False)
    add_key(database, "x@example.org", ids[1], strong=False)
    assert {ids.index(c["id"]) + 1 for c in Api(database).get("/contacts", **params)["items"]} == expected


def test_a_contact_is_explained(database: Database) -> None:
    """Each value's origin, the records, what waits and what changed; nothing of other people."""
    api = Api(database)
    fact = {"v": "Ann", "s": "chimp", "t": 1_500, "r": "only they changed it", "e": 9}
    number, other = add_contacts(database, {"facts": {"given_name": fact}}, {"values": {"city": "Elsewhere"}})
    usual = {"kind": "contact", "shadow": {}, "rev": 1, "written_at": 0, "created_at": 1_000}
    add(
        database,
        t.link,
        {
            **usual,
            "connection": "hub",
            "remote_id": "r1",
            "contact_id": number,
            "shadow": {"given_name": "An"},
            "modified": 2_000,
            "written_at": 3_000,
            "altered": {"given_name": "Ann"},
            "warnings": [{"field": "phone", "code": "not_phone", "message": "not a phone number"}],
        },
        {**usual, "connection": "chimp", "remote_id": "r2", "contact_id": number, "gone_at": 4_000},
        {**usual, "connection": "chimp", "remote_id": "r3", "contact_id": other},
    )
    with database.write() as db:
        work.mark(db, "hub", {number: 5_000, other: 1})
        work.lease(db, "hub", "me", 2, 60_000)
        work.mark(db, "chimp", {other: 1})
    shown = api.get(f"/contacts/{number}")
    assert shown["values"] == {"given_name": "Ann"}
    assert shown["facts"] == {
        "given_name": {
            "value": "Ann",
            "source": "chimp",
            "at": "1970-01-01T00:00:01.500Z",
            "rule": "only they changed it",
            "event": 9,
        }
    }
    gone, there = shown["links"]
    assert (gone["connection"], gone["remote_id"], gone["gone_at"]) == ("chimp", "r2", "1970-01-01T00:00:04.000Z")
    assert (gone["altered"], gone["warnings"], gone["written_at"]) == ({}, [], None)
    assert (there["shadow"], there["altered"]) == ({"given_name": "An"}, {"given_name": "Ann"})
    assert (there["modified_at"], there["written_at"]) == ("1970-01-01T00:00:02.000Z", "1970-01-01T00:00:03.000Z")
    assert there["warnings"][0]["code"] == "not_phone"
    assert set(shown["pending"]) == {"hub"}
    waits = shown["pending"]["hub"]
    assert (waits["since"], waits["in_hand"], waits["attempts"]) == ("1970-01-01T00:00:05.000Z", True, 1)
    assert (shown["history"], shown["history_next"]) == ([], None)


def test_the_history_goes_on_where_the_contact_stops(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """The newest changes come with the contact, the others by the path that it names."""
    monkeypatch.setattr(contacts, "HISTORY", 3)
    api = Api(database)
    (number,) = add_contacts(database, {})
    usual = {"contact_id": number, "field": "city", "source": "hub", "rule": "new", "at": 0, "stored_at": 0}
    add(database, t.history, *({**usual, "version": k, "old": None, "new": f"v{k}"} for k in range(1, 8)))
    shown = api.get(f"/contacts/{number}")
    rest = api.get(shown["history_next"])
    assert [change["new"] for change in shown["history"]] == ["v7", "v6", "v5"]
    assert [change["new"] for change in rest["items"]] == ["v4", "v3", "v2", "v1"]
    assert rest["next"] is None


def test_what_the_real_stations_store_is_shown(database: Database) -> None:
    """From a record at a vendor to the contact, its links and its history."""
    world = World(database, {"hub": Side.CRM, "chimp": Side.MARKETING})
    api = Api(database, world.connections)
    record = world.vendors["hub"].put(None, {"mail": "Ann@Example.org", "first": "Ann", "town": "Bonn"})
    world.settle()
    world.vendors["hub"].put(record, {"town": "Köln"})
    world.settle()
    (summary,) = api.get("/contacts", email="ANN@example.org")["items"]
    shown = api.get(f"/contacts/{summary['id']}")
    assert shown["values"]["city"] == "Köln"
    assert {link["connection"] for link in shown["links"]} == {"hub", "chimp"}
    assert all(link["shadow"]["city"] == "Köln" for link in shown["links"])
    newest: dict[str, Any] = shown["history"][0]
    assert (newest["field"], newest["old"], newest["new"], newest["source"]) == ("city", "Bonn", "Köln", "hub")
    assert api.get(f"/ops/events/{newest['event']}")["connection"] == "hub"
    assert shown["pending"] == {}


def test_a_double_edit_waits_for_a_person(database: Database) -> None:
    """Both values, of any type, null included."""
    usual = {"contact_id": 1, "connection": "hub", "at": 1_000}
    add(
        database,
        t.conflict,
        {**usual, "field": "tags", "ours": ["a"], "theirs": None, "event": 5},
        {**usual, "field": "city", "ours": None, "theirs": "Bonn"},
    )
    found = Api(database).get("/conflicts")["items"]
    assert [(c["field"], c["ours"], c["theirs"], c["event"]) for c in found] == [
        ("city", None, "Bonn", None),
        ("tags", ["a"], None, 5),
    ]


def test_nothing_is_changed_by_looking(database: Database) -> None:
    """These routes read only; there is none that writes to a contact."""
    api = Api(database)
    (number,) = add_contacts(database, {"values": ANN})
    before = rows_of(database, t.contact)
    for path in ("/contacts", f"/contacts/{number}", f"/contacts/{number}/history", "/conflicts"):
        api.get(path)
        for method in ("POST", "PUT", "PATCH", "DELETE"):
            assert api(method, path).status_code == 405
    assert rows_of(database, t.contact) == before
