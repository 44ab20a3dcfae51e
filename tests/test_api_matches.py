"""Contacts that may be one person: listed side by side, decided, proposed by hand through the API."""

from __future__ import annotations

from typing import Any

import pytest

from app.core import tables as t
from app.core.db import Database
from app.ops import paging
from app.records import proposals
from tests.apihelp import Api, add, add_contacts, rows_of
from tests.test_identity import UNSURE, meet, world
from tests.world import World

REASONS = [
    {"field": "last", "level": "exact", "weight": 11.5, "words": "family name: the same (11.5 for)"},
    {"field": "city", "level": "exact", "weight": 6.0, "words": "town: the same, and common (6.0 for)"},
    {"field": "household", "level": "counted once", "weight": -3.0, "words": "household (3.0 against)"},
]
USUAL: dict[str, Any] = {"score": 1.0, "reasons": REASONS, "source": "record", "status": "open", "at": 1_000}


def proposed(database: Database, *pairs: tuple[int, int], **other: Any) -> list[Any]:
    return add(database, t.proposal, *({**USUAL, **other, "older": a, "newer": b} for a, b in pairs))


def asked(database: Database) -> World:
    """Ann at hub, and at chimp somebody who may be her."""
    w = world(database)
    meet(w, **UNSURE, town="Malmö")
    return w


def test_the_two_stand_side_by_side(database: Database) -> None:
    """Each field with both values and what it says; score as odds and as a probability; reasons in words."""
    first, second = add_contacts(
        database,
        {"values": {"given_name": "Ann", "family_name": "Ek", "city": "Lund"}},
        {"values": {"family_name": "Ek", "city": "Lund", "job_title": "Cook"}},
    )
    row = {"connection": "hub", "kind": "contact", "shadow": {}, "rev": 1, "written_at": 0, "created_at": 0}
    add(database, t.link, {**row, "remote_id": "r1", "contact_id": first})
    (number,) = proposed(database, (first, second), contradiction="two middle names")
    api = Api(database)
    found = api.get(f"/matches/{number}")
    assert api.get("/matches")["items"] == [found]
    assert found["score"] == {"log_odds": 1.0, "probability": 0.666667}
    assert (found["contradiction"], found["status"], found["source"]) == ("two middle names", "open", "record")
    assert found["reasons"] == REASONS
    assert found["fields"] == [
        {"field": "given_name", "older": "Ann", "newer": None, "evidence": []},
        {"field": "family_name", "older": "Ek", "newer": "Ek", "evidence": ["family name: the same (11.5 for)"]},
        {"field": "job_title", "older": None, "newer": "Cook", "evidence": []},
        {"field": "city", "older": "Lund", "newer": "Lund", "evidence": ["town: the same, and common (6.0 for)"]},
    ]
    assert found["records"] == [{"contact_id": first, "connection": "hub", "remote_id": "r1"}]


def test_matches_are_listed_page_by_page(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that wait, the newest first, each once; others by what became of them; of one contact."""
    statuses = ["open", "same", "later", "different", "open", "different"]
    numbers = [proposed(database, (n, n + 1), status=s)[0] for n, s in enumerate(statuses, 1)]
    api = Api(database)
    assert [[m["id"] for m in page] for page in api.walk("/matches", 2)] == [[numbers[4], numbers[2]], [numbers[0]]]
    by = {s: [m["id"] for m in api.get("/matches", status=s)["items"]] for s in ("open", "later", "same", "different")}
    assert by == {
        "open": [numbers[4], numbers[0]],
        "later": [numbers[2]],
        "same": [numbers[1]],
        "different": [numbers[5], numbers[3]],
    }
    assert [m["id"] for m in api.get("/matches", contact=5)["items"]] == [numbers[4]]
    assert [m["id"] for m in api.get("/matches", contact=5, status="different")["items"]] == [numbers[3]]
    monkeypatch.setattr(paging, "MOST", 2)
    pages = [[m["id"] for m in page] for page in api.walk("/matches", 1, status="different")]
    assert [n for page in pages for n in page] == [numbers[5], numbers[3]]


def test_same_makes_them_one(database: Database) -> None:
    """With a field chosen; the workers are woken; who decided is kept; the merge can be found."""
    w = asked(database)
    api = Api(database, w.connections)
    (before,) = api.get("/matches")["items"]
    body = {"by": "Kim", "decision": "same", "choices": {"city": "newer"}}
    answer = api.post(f"/matches/{before['id']}/decide", body, 200)
    (merge,) = api.get("/merges")["items"]
    assert answer == {"decision": "same", "contact": before["older"], "merge": merge["id"]}
    assert api.woken == 1
    after = api.get(f"/matches/{before['id']}")
    assert (after["status"], after["decided_by"], after["decided_at"] is not None) == ("same", "Kim", True)
    assert api.get(f"/contacts/{before['older']}")["values"]["city"] == "Malmö"
    assert "was decided before" in api.post(f"/matches/{before['id']}/decide", body, 409)["detail"]


@pytest.mark.parametrize("decision", ["later", "different"])
def test_other_decisions_merge_nobody(database: Database, decision: str) -> None:
    """Later stays in the list, different leaves it for good."""
    w = asked(database)
    api = Api(database, w.connections)
    (one,) = api.get("/matches")["items"]
    answer = api.post(f"/matches/{one['id']}/decide", {"by": "Kim", "decision": decision}, 200)
    assert answer == {"decision": decision, "contact": None, "merge": None}
    assert [m["status"] for m in api.get("/matches")["items"]] == (["later"] if decision == "later" else [])
    assert rows_of(database, t.merge) == []


@pytest.mark.parametrize(
    ("number", "body", "status", "said"),
    [
        (1, {"decision": "same"}, 422, "Field required"),
        (1, {"by": " ", "decision": "same"}, 422, "at least 1 character"),
        (1, {"by": "Kim", "decision": "maybe"}, 422, "'same', 'different' or 'later'"),
        (1, {"by": "Kim", "decision": "same", "choices": {"city": "mine"}}, 422, "'older' or 'newer'"),
        (1, {"by": "Kim", "decision": "different", "choices": {"city": "newer"}}, 422, "choices go with"),
        (1, {"by": "Kim", "decision": "same", "choices": {"shoe_size": "newer"}}, 422, "neither of the two has"),
        (1, {"by": "Kim", "decision": "same", "because": "x"}, 422, "Extra inputs"),
        (9, {"by": "Kim", "decision": "same"}, 404, "there is no proposal 9"),
    ],
)
def test_what_cannot_be_decided_is_said(
    database: Database, number: int, body: dict[str, Any], status: int, said: str
) -> None:
    """And nothing is changed; what was sent is not repeated."""
    w = asked(database)
    api = Api(database, w.connections)
    before = rows_of(database, t.contact), rows_of(database, t.proposal)
    answer = api("POST", f"/matches/{number}/decide", json=body)
    assert (answer.status_code, said in answer.text) == (status, True), answer.text
    assert "shoe_size" not in answer.text
    assert (rows_of(database, t.contact), rows_of(database, t.proposal)) == before
    assert api.woken == 0


def test_two_are_proposed_by_hand(database: Database) -> None:
    """With score, reasons and the name of whoever did; a second time is a conflict; in either order."""
    api = Api(database)
    first, second = add_contacts(database, {"values": {"family_name": "Ek"}}, {"values": {"family_name": "Ek"}})
    made = api.post("/matches", {"by": "Kim", "older": second, "newer": first}, 201)
    assert (made["older"], made["newer"], made["source"], made["status"]) == (first, second, "operator", "open")
    assert [r["words"] for r in made["reasons"]][-1] == "proposed by Kim"
    assert any(r["field"] == "last" for r in made["reasons"])
    body = {"by": "Kim", "older": first, "newer": second}
    assert f"proposal {made['id']} is about these two: open" in api.post("/matches", body, 409)["detail"]


@pytest.mark.parametrize(
    ("older", "newer", "status", "said"),
    [
        (1, 1, 422, "give two contacts"),
        (0, 1, 422, "greater than or equal to 1"),
        (1, 99, 404, "there is no contact 99"),
        (1, 3, 409, "contact 3 was merged: contact 2 stands for it now"),
        (1, 2, 409, "is about these two: different"),
    ],
)
def test_what_cannot_be_proposed_is_said(database: Database, older: int, newer: int, status: int, said: str) -> None:
    """What is missing, merged or decided before."""
    add_contacts(database, {}, {}, {"merged_into": 2})
    proposed(database, (1, 2), status="different")
    answer = Api(database)("POST", "/matches", json={"by": "Kim", "older": older, "newer": newer})
    assert (answer.status_code, said in answer.text) == (status, True), answer.text


def test_a_contact_says_that_it_waits(database: Database) -> None:
    """By the numbers of its proposals; and the figures say how many there are."""
    numbers = proposed(database, (1, 2), (2, 3)) + proposed(database, (2, 4), status="later")
    proposed(database, (2, 5), status="different")
    add_contacts(database, {"id": 2}, {"id": 9})
    api = Api(database)
    assert api.get("/contacts/2")["undecided"] == numbers
    assert api.get("/contacts/9")["undecided"] == []
    figures = api("GET", "/metrics").text
    assert 'tandem_matches_waiting{status="open"} 2.0' in figures
    assert 'tandem_matches_waiting{status="later"} 1.0' in figures


def test_waiting_ones_are_found_by_their_index(database: Database) -> None:
    """However many were decided: the list of those that wait does not read them."""
    if database.dialect != "sqlite":
        pytest.skip("the planner of PostgreSQL decides by the size of the table")
    query = t.proposal.select().where(proposals.STILL_WAITS).order_by(t.proposal.c.id.desc())
    with database.read() as db:
        plan = db.exec_driver_sql(f"EXPLAIN QUERY PLAN {query}").all()
    assert "ix_proposal_waiting" in str(plan)
