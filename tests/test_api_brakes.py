"""Mass changes that wait for a person: seen, explained and ended through the API; and where else they are told."""

from __future__ import annotations

import re
from typing import Any

import pytest

from app.core import tables as t
from app.core.db import Database
from app.core.words import Brake, Writes
from app.push import brake
from app.push.work import FAR
from tests.apihelp import Api, add, token
from tests.test_brake import HOUR, people, towns, world
from tests.world import World

NAMES = ("hub", "chimp")


def stopped(database: Database, count: int = 8) -> World:
    """A town that changed for everybody at hub, of which chimp was told twice at most."""
    w = world(database, overwrites=(2, 0.1))
    people(w, count)
    for record_id in list(w.vendors["hub"].records):
        w.vendors["hub"].put(record_id, {"town": "Bonn"})
    w.settle()
    return w


def test_a_brake_is_listed_with_why_and_its_limits(database: Database) -> None:
    """What was seen, of how many, what waits, and the limits of the configuration."""
    w = stopped(database)
    (on,) = Api(database, w.connections).get("/ops/brakes")["items"]
    assert (on["connection"], on["kind"], on["known"], on["waiting"]) == ("chimp", "overwrites", 8, 8)
    assert on["why"].endswith("overwrites within 60 min are more than 2 and more than 10% of the 8 records known there")
    assert on["limits"] == {"count": 2, "share": 0.1, "window_minutes": 60.0}
    assert on["since"].endswith("Z")
    assert (on["ended_at"], on["ended_by"], on["ending"]) == (None, None, None)


def test_limits_that_are_off_or_gone_are_null(database: Database) -> None:
    """A brake outlives the configuration that put it on."""
    w = stopped(database)
    w.brake(chimp=Brake(HOUR, {}))
    assert [on["limits"] for on in Api(database, w.connections).get("/ops/brakes")["items"]] == [None]
    assert [on["limits"] for on in Api(database).get("/ops/brakes")["items"]] == [None]


def test_brakes_are_listed_page_by_page(database: Database) -> None:
    """The newest first, each once; those that ended only when asked for."""
    api = Api(database)
    with database.write() as db:
        for kind in Writes:
            brake.put_on(db, "hub", [brake.Stop(kind, 9, 9, "too many")])
            brake.end(db, "hub", kind, "Kim", "released")
        brake.put_on(db, "chimp", [brake.Stop(Writes.DELETES, 9, 9, "too many")])
    assert [on["connection"] for on in api.get("/ops/brakes")["items"]] == ["chimp"]
    pages = api.walk("/ops/brakes", 2, ended=True)
    assert [len(page) for page in pages] == [2, 2, 1]
    numbers = [on["id"] for page in pages for on in page]
    assert numbers == sorted(numbers, reverse=True)
    assert {(on["ended_by"], on["ending"]) for page in pages for on in page} == {("Kim", "released"), (None, None)}


def test_what_waits_is_said_field_by_field(database: Database) -> None:
    """Old and new, page by page; a blank that was filled meanwhile is not among it."""
    w = stopped(database, 5)
    for record_id in list(w.vendors["hub"].records):
        w.vendors["hub"].put(record_id, {"job": "Cook", "first": "Eva"})
    w.settle()
    pages = Api(database, w.connections).walk("/ops/brakes/chimp/overwrites/waiting", 2)
    assert [len(page) for page in pages] == [2, 2, 1]
    waiting = [one for page in pages for one in page]
    assert [one["contact_id"] for one in waiting] == [1, 2, 3, 4, 5]
    for one in waiting:
        assert one["action"] == "update"
        assert [(f["field"], f["old"], f["new"]) for f in one["fields"]] == [
            ("city", "Ulm", "Bonn"),
            ("given_name", "Ann", "Eva"),
        ]


def test_what_goes_anyway_does_not_wait(database: Database) -> None:
    """A blank that is about to be filled on the same record is not the brake's."""
    w = stopped(database, 4)
    w.vendors["hub"].put("hub1", {"job": "Cook"})
    w.deliver("hub")
    while w.fetch.step():
        w.due()
    first, *_ = Api(database, w.connections).get("/ops/brakes/chimp/overwrites/waiting")["items"]
    assert [f["field"] for f in first["fields"]] == ["city"]


def test_people_who_wait_to_be_created(database: Database) -> None:
    """With all that the new record would hold."""
    w = world(database, creates=(0, 0.0))
    people(w, 1, mailing="no")
    (one,) = Api(database, w.connections).get("/ops/brakes/chimp/creates/waiting")["items"]
    assert one["action"] == "create"
    fields = {f["field"]: (f["old"], f["new"]) for f in one["fields"]}
    assert fields["email"] == (None, "p0@x.org")
    assert fields["consent:email"] == (None, "withdrawn")


def test_records_that_wait_to_go(database: Database) -> None:
    """A deletion elsewhere names no field."""
    w = world(database, deletes=(0, 0.0))
    people(w, 1)
    w.vendors["hub"].remove("hub1")
    w.settle()
    (one,) = Api(database, w.connections).get("/ops/brakes/chimp/deletes/waiting")["items"]
    assert (one["action"], one["fields"]) == ("archive", [])


def test_opt_ins_that_wait(database: Database) -> None:
    """The consent is named as in the mapping."""
    w = world(database, opt_ins=(0, 0.0))
    w.grant("hub")
    people(w, 1)
    when = "2026-01-01T10:00:00+00:00"
    w.vendors["hub"].put("hub1", {"mailing": "yes", "signed_up_from": "192.0.2.1", "signed_up_at": when})
    w.settle()
    (one,) = Api(database, w.connections).get("/ops/brakes/chimp/opt_ins/waiting")["items"]
    assert [(f["field"], f["old"], f["new"]) for f in one["fields"]] == [("consent:email", None, "granted")]


def test_what_has_nothing_left_to_write_says_so(database: Database) -> None:
    """The row is still there, what it was for is not."""
    w = world(database)
    people(w, 1)
    row = {"connection": "chimp", "contact_id": 1, "gen": 1, "due_at": FAR, "since": 0, "held": "deletes"}
    add(database, t.work, row)
    (one,) = Api(database, w.connections).get("/ops/brakes/chimp/deletes/waiting")["items"]
    assert (one["contact_id"], one["action"], one["fields"]) == (1, None, [])


@pytest.mark.parametrize("how", ["release", "discard"])
def test_a_person_ends_it(database: Database, how: str) -> None:
    """By name; the answer counts; the workers are woken; a second time there is none."""
    w = stopped(database)
    before = towns(w)
    api = Api(database, w.connections)
    path = f"/ops/brakes/chimp/overwrites/{how}"
    answer = api.post(path, {"by": " Kim "}, 200)
    assert answer == {
        "connection": "chimp",
        "kind": "overwrites",
        "ending": f"{how}d" if how == "release" else f"{how}ed",
        "links": 8,
    }
    assert api.woken == 1
    (ended,) = api.get("/ops/brakes", ended=True)["items"]
    assert (ended["ended_by"], ended["ending"], ended["waiting"]) == ("Kim", answer["ending"], 0)
    w.settle()
    assert towns(w) == (["Bonn"] * 8 if how == "release" else before)
    assert "no brake is on for overwrites at chimp" in api.post(path, {"by": "Kim"}, 404)["detail"]


@pytest.mark.parametrize("how", ["release", "discard"])
@pytest.mark.parametrize(
    ("path", "body", "status", "said"),
    [
        ("chimp/overwrites", {}, 422, "Field required"),
        ("chimp/overwrites", {"by": " "}, 422, "at least 1 character"),
        ("chimp/overwrites", {"by": "Kim", "yes": True}, 422, "Extra inputs"),
        ("chimp/everything", {"by": "Kim"}, 422, "'creates', 'overwrites', 'opt_ins' or 'deletes'"),
        ("chimp/creates", {"by": "Kim"}, 404, "no brake is on for creates at chimp"),
        ("nobody/creates", {"by": "Kim"}, 404, "no brake is on for creates at nobody"),
    ],
)
def test_what_cannot_be_ended_is_said(
    database: Database, how: str, path: str, body: dict[str, Any], status: int, said: str
) -> None:
    """And nothing is."""
    w = stopped(database, 4)
    api = Api(database, w.connections)
    answer = api("POST", f"/ops/brakes/{path}/{how}", json=body)
    assert (answer.status_code, said in answer.text) == (status, True), answer.text
    assert len(api.get("/ops/brakes")["items"]) == 1
    assert api.woken == 0


@pytest.mark.parametrize(
    ("path", "status"),
    [("chimp/everything/waiting", 422), ("nobody/creates/waiting", 404), ("chimp/creates/waiting", 200)],
)
def test_what_waits_nowhere(database: Database, path: str, status: int) -> None:
    """A misspelt kind or connection is said; where no brake is on nothing waits."""
    found = Api(database, world(database).connections).get(f"/ops/brakes/{path}", status)
    assert found == {"items": [], "next": None} if status == 200 else "items" not in found


def test_what_waits_is_for_those_with_the_token(database: Database) -> None:
    """These are people's data."""
    w = stopped(database, 4)
    api = Api(database, w.connections, token=token("a-token-of-some-length"))
    for path in ("/ops/brakes", "/ops/brakes/chimp/overwrites/waiting"):
        answer = api("GET", path)
        assert (answer.status_code, "Bonn" in answer.text) == (401, False)


# --- where else it is told --------------------------------------------------------------------------------------------


def test_readiness_names_the_brake_and_the_way_out(database: Database) -> None:
    """Degraded, not down: all else goes on; and well again once a person has decided."""
    w = stopped(database)
    api = Api(database, w.connections)
    found = api.get("/health/ready")
    assert found["status"] == "degraded"
    (problem,) = found["problems"]
    assert problem.startswith("chimp: a brake is on for overwrites, 8 wait: ")
    assert "more than 2 and more than 10%" in problem
    assert "`tandem brake release chimp overwrites --by NAME`" in problem
    hub, chimp = found["connections"]
    assert (hub["brakes"], [on["kind"] for on in chimp["brakes"]]) == ([], ["overwrites"])
    api.post("/ops/brakes/chimp/overwrites/release", {"by": "Kim"}, 200)
    assert api.get("/health/ready")["status"] == "ok"


def test_the_connection_names_the_brake(database: Database) -> None:
    """What waits for a person is not among what the workers have to do."""
    w = stopped(database)
    hub, chimp = Api(database, w.connections).get("/ops/connections")["items"]
    assert (hub["brakes"], hub["links"]["count"]) == ([], 0)
    assert [(on["kind"], on["waiting"]) for on in chimp["brakes"]] == [("overwrites", 8)]
    assert (chimp["state"], chimp["links"]["count"]) == ("ok", 0)


def test_figures_of_brakes(database: Database) -> None:
    """For each connection and kind, 0 where none is on, so that an alarm has something to compare."""
    w = stopped(database)
    text = Api(database, w.connections)("GET", "/metrics").text
    on = dict(re.findall(r'^tandem_brake_on\{connection="(\w+",kind="\w+)"\} (\S+)$', text, re.MULTILINE))
    held = dict(re.findall(r'^tandem_brake_links\{connection="(\w+",kind="\w+)"\} (\S+)$', text, re.MULTILINE))
    assert set(on) == set(held) == {f'{name}",kind="{kind}' for name in NAMES for kind in Writes}
    assert {k: v for k, v in on.items() if float(v)} == {'chimp",kind="overwrites': "1.0"}
    assert {k: v for k, v in held.items() if float(v)} == {'chimp",kind="overwrites': "8.0"}


def test_a_contact_says_that_it_waits_for_a_brake(database: Database) -> None:
    """Not due at any time; once it is let through it is on its way again."""
    w = stopped(database)
    api = Api(database, w.connections)
    waits = api.get("/contacts/1")["pending"]["chimp"]
    assert (waits["brake"], waits["due_at"], waits["in_hand"]) == ("overwrites", None, False)
    api.post("/ops/brakes/chimp/overwrites/release", {"by": "Kim"}, 200)
    goes = api.get("/contacts/1")["pending"]["chimp"]
    assert (goes["brake"], goes["due_at"] is not None) == (None, True)
