"""Contacts that became one: listed, followed by their ids, and taken apart through the API."""

from __future__ import annotations

from typing import Any

import pytest

from app.core import tables as t
from app.core.db import Database
from app.ops import merges
from tests.apihelp import Api, add, add_contacts, rows_of
from tests.test_merges import world, wrongly_paired
from tests.world import World


def merged(database: Database) -> World:
    """Two people whom hub made one."""
    w = world(database)
    w.vendors["hub"].merge("hub1", "hub2")
    w.settle()
    return w


def test_merges_are_listed_page_by_page(database: Database) -> None:
    """The newest first, each once; of one contact, whichever of the two it was."""
    usual = {"by": "hub", "before": {"city": {"v": "Bonn"}}, "links": [["hub", "contact", "r1"]], "at": 1_000}
    numbers = add(database, t.merge, *({**usual, "winner": n, "loser": n + 1} for n in (1, 2, 3, 4, 5)))
    api = Api(database)
    pages = api.walk("/merges", 2)
    assert [[m["id"] for m in page] for page in pages] == [numbers[:2:-1], numbers[2:0:-1], numbers[:1]]
    assert [(m["winner"], m["loser"]) for m in api.get("/merges", contact=3)["items"]] == [(3, 4), (2, 3)]
    assert api.get("/merges", contact=3)["items"][0] == {
        "id": numbers[2],
        "winner": 3,
        "loser": 4,
        "by": "hub",
        "at": "1970-01-01T00:00:01.000Z",
        "split_at": None,
        "split_by": None,
    }, "what it takes to split them stays here: it is people's data"


def test_a_merged_contact_leads_to_the_one_that_stands_for_it(database: Database) -> None:
    """Through a chain of merges, in the list and by its id; and back."""
    api = Api(database)
    first, second, third, alone = add_contacts(database, {}, {}, {}, {})
    with database.write() as db:
        for loser, winner in ((third, second), (second, first)):
            db.execute(t.contact.update().where(t.contact.c.id == loser).values(merged_into=winner))
    expected = {first: None, second: first, third: first, alone: None}
    assert {c["id"]: c["merged_into"] for c in api.get("/contacts")["items"]} == expected
    assert {n: api.get(f"/contacts/{n}")["merged_into"] for n in expected} == expected
    assert api.get(f"/contacts/{first}")["stands_for"] == [second, third]
    assert api.get(f"/contacts/{alone}")["stands_for"] == []


def test_a_merge_is_split(database: Database) -> None:
    """By its number; the workers are woken; the list says who did it; a second time is a conflict."""
    w = merged(database)
    api = Api(database, w.connections)
    (before,) = api.get("/merges")["items"]
    assert (before["winner"], before["loser"], before["by"], before["split_at"]) == (1, 2, "hub", None)
    body = {"by": "Kim", "merge": before["id"]}
    assert api.post("/contacts/2/split", body, 200) == {"stays": 1, "leaves": 2}
    assert api.woken == 1
    (after,) = api.get("/merges")["items"]
    assert (after["split_by"], after["split_at"] is not None) == ("Kim", True)
    assert api.get("/contacts/2")["merged_into"] is None
    assert "was split before, by Kim" in api.post("/contacts/1/split", body, 409)["detail"]
    w.settle()
    assert sorted(w.people("hub")) == ["ann@x.org", "anna@y.org"]


def test_a_wrong_pairing_is_split(database: Database) -> None:
    """By the connection; whoever leaves is a contact of their own, and the list knows it."""
    w = wrongly_paired(database)
    api = Api(database, w.connections)
    apart = api.post("/contacts/1/split", {"by": "Kim", "connection": "chimp"}, 200)
    assert api.get(f"/contacts/{apart['leaves']}")["values"]["given_name"] == "Bob"
    (entry,) = api.get("/merges", contact=apart["leaves"])["items"]
    assert (entry["winner"], entry["by"], entry["split_by"]) == (1, "chimp", "Kim")


@pytest.mark.parametrize(
    ("contact", "body", "status", "said"),
    [
        (1, {"by": "Kim"}, 422, "say either merge or connection"),
        (1, {"by": "Kim", "merge": 1, "connection": "chimp"}, 422, "say either merge or connection"),
        (1, {"merge": 1}, 422, "Field required"),
        (1, {"by": "Kim", "merges": 1}, 422, "Extra inputs"),
        (1, {"by": "Kim", "merge": 0}, 422, "greater than or equal to 1"),
        (1, {"by": "Kim", "merge": 9}, 404, "there is no merge 9"),
        (9, {"by": "Kim", "connection": "chimp"}, 404, "there is no contact 9"),
        (1, {"by": "Kim", "connection": "mars"}, 404, "has no record at mars; it has one at: chimp, desk, hub"),
        (1, {"by": "Kim", "connection": "hub"}, 409, "split off chimp instead"),
    ],
)
def test_what_cannot_be_split_is_said(
    database: Database, contact: int, body: dict[str, Any], status: int, said: str
) -> None:
    """What is missing, what there is none of, what is not possible; and nothing is changed."""
    w = wrongly_paired(database)
    api = Api(database, w.connections)
    before = rows_of(database, t.contact)
    answer = api("POST", f"/contacts/{contact}/split", json=body)
    assert (answer.status_code, said in answer.text) == (status, True), answer.text
    assert rows_of(database, t.contact) == before
    assert api.woken == 0


def test_a_merge_of_others_is_not_this_contacts(database: Database) -> None:
    """A slip in one of the two numbers takes nobody apart."""
    w = merged(database)
    add_contacts(database, {})
    (number,) = [m["id"] for m in rows_of(database, t.merge)]
    answer = Api(database, w.connections).post("/contacts/3/split", {"by": "Kim", "merge": number}, 404)
    assert f"merge {number} is not about contact 3 but about 1 and 2" in answer["detail"]
    assert [m["split_at"] for m in rows_of(database, t.merge)] == [None]


@pytest.mark.parametrize("what", ["merge", "pairing"])
def test_a_rehearsal_shows_what_comes_and_changes_nothing(database: Database, what: str) -> None:
    """What it says is what the split does."""
    w = merged(database) if what == "merge" else wrongly_paired(database)
    asked: dict[str, Any] = {"merge": 1} if what == "merge" else {"connection": "chimp"}
    tables = (t.contact, t.contact_key, t.link, t.merge, t.history, t.consent, t.work)
    before = {table.name: rows_of(database, table) for table in tables}
    facts = {c["id"]: {n: f["v"] for n, f in c["facts"].items()} for c in before["contact"]}
    seen = merges.rehearse(database, w.connections, 1, **asked)
    assert {table.name: rows_of(database, table) for table in tables} == before
    with database.write() as db:
        apart = merges.split(db, w.connections, 1, "Kim", **asked)
    after = {c["id"]: {n: f["v"] for n, f in c["facts"].items()} for c in rows_of(database, t.contact)}
    for side, number in ((seen.stays, apart.stays), (seen.leaves, apart.leaves)):
        assert side.id == (number if number in facts else None)
        was = facts.get(number, {})
        assert side.changes == {
            n: (was.get(n), after[number].get(n)) for n in {*was, *after[number]} if was.get(n) != after[number].get(n)
        }
        links = [(k["connection"], k["remote_id"]) for k in rows_of(database, t.link) if k["contact_id"] == number]
        assert sorted(side.records) == sorted(links)
    assert seen.stays.changes
