"""A wrong edit is put back on all sides, exactly; never what was changed since, never anybody's consent."""

from __future__ import annotations

import copy
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import update

from app.core import tables as t
from app.core.db import Database, clock_of
from app.core.errors import NotFound, NotPossible
from app.core.words import Brake, Limit, Writes
from app.main import Tandem
from app.ops.provenance import why
from app.ops.replay import Replay
from app.push import settling
from app.repair import undoing
from app.repair.past import Which
from app.repair.undoing import Change, Undo
from app.sync import saying
from connectors.contract import Limits, Side
from tests import sandboxed, test_erasure_sandbox
from tests.apihelp import Api, rows_of
from tests.test_cli import Shell, shell, store
from tests.test_convergence import act as do
from tests.test_convergence import acts, lowered, world
from tests.test_explain import CONSENT
from tests.test_people_commands import ann
from tests.test_rehearsal import changed
from tests.world import MAPPING, World

__all__ = ["shell", "store"]

running, sandbox, hs, mc, members, tandem = (
    sandboxed.running,
    sandboxed.sandbox,
    sandboxed.hs,
    sandboxed.mc,
    sandboxed.members,
    test_erasure_sandbox.tandem,
)
TWO = {"hub": Side.CRM, "chimp": Side.MARKETING}


def now(database: Database) -> int:
    with database.read() as db:
        return clock_of(db)


def crowd(database: Database, people: int = 3, text: str = MAPPING) -> World:
    """People known at both; then time moves on, so that ``since=2`` means what comes after."""
    w = World(database, TWO, mapping_text=text)
    for n in range(people):
        person = {"mail": f"p{n}@x.org", "first": f"First{n}", "last": f"Last{n}", "town": f"Town{n}"}
        w.vendors["hub" if n % 2 == 0 else "chimp"].put(None, person)
    w.settle()
    with database.write() as db:
        db.execute(update(t.history).values(stored_at=1))
        db.execute(update(t.consent).values(received_at=1))
    return w


AFTER = Which(since=2)


def undo(w: World, which: Which = AFTER, by: str = "Kim") -> int:
    """Undo, and let it travel; the run."""
    station = Undo(w.database, w.connections)
    number = station.start(which, by)
    while station.step():
        pass
    w.settle()
    return number


def everybody(w: World) -> dict[str, dict[str, dict[str, Any]]]:
    return {name: w.people(name) for name in w.vendors}


def wrong_edit(w: World, name: str = "hub") -> None:
    """Somebody sets the town and the family name of everybody there."""
    for record in sorted(w.vendors[name].records):
        w.vendors[name].put(record, {"town": "Wrong", "last": None})
    w.settle()


def bulk(database: Database, people: int) -> None:
    w = World(database, TWO)
    for vendor in w.vendors.values():
        vendor.limits = Limits(read_batch=500, find_batch=500, write_batch=500)  # type: ignore[misc]
    for n in range(people):
        person = {"mail": f"p{n}@x.org", "first": f"First{n}", "last": f"Last{n}", "town": f"Town{n}"}
        w.vendors["hub" if n % 2 == 0 else "chimp"].put(None, person)
    w.settle(steps=20 * people + 400)
    before = copy.deepcopy(everybody(w))
    moment = now(database) + 1
    with database.write() as db:
        db.execute(update(t.history).values(stored_at=moment - 1_000))
    moment -= 500
    w.brake(hub=Brake(600_000, {Writes.OVERWRITES: Limit(people * 2, 0.01)}), chimp=Brake(600_000, {}))
    for record in sorted(w.vendors["hub"].records):
        w.vendors["hub"].put(record, {"town": "Wrong", "last": "Wrong"})
    w.settle(steps=20 * people + 400)
    assert {p["town"] for name in TWO for p in w.people(name).values()} == {"Wrong"}
    w.brake(
        hub=Brake(600_000, {Writes.OVERWRITES: Limit(1, 0.0)}), chimp=Brake(600_000, {Writes.OVERWRITES: Limit(1, 0.0)})
    )
    which = Which(since=moment, connection="hub")
    plan = Undo(database, w.connections).plan(which)
    assert (plan.fields, plan.not_possible) == ({"city": people, "family_name": people}, {})
    station = Undo(database, w.connections)
    number = station.start(which, "Kim", plan.total)
    did = []
    while step := station.step():
        did.append(step)
    assert max(did) <= undoing.BATCH
    (run,) = rows_of(database, t.run)
    assert (run["id"], run["status"], run["done"], run["total"]) == (number, "done", 2 * people, 2 * people)
    w.settle(steps=20 * people + 400)
    assert everybody(w) == before


def test_a_bulk_edit_is_put_back_on_all_sides(database: Database) -> None:
    """200 records, two fields each; in small batches; no brake goes on, however tight it is."""
    bulk(database, 200)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_ten_thousand_are_put_back(database: Database) -> None:
    """The same with 10,000."""
    bulk(database, 10_000)


def test_the_vendors_say_so_themselves(tandem: Tandem, hs: httpx.Client, mc: httpx.Client, members: str) -> None:
    """HubSpot's and Mailchimp's own answers, from their simulators, before and after."""
    settle = test_erasure_sandbox.settle
    names = ("firstname", "lastname", "city", "phone")
    people = (("Ann", "Lee", "Berlin"), ("Boris", "Roth", "Köln"), ("Chiara", "Weiss", "Ulm"))
    mails = [f"{given.lower()}@example.org" for given, _, _ in people]
    ids = [
        sandboxed.create(hs, email=mail, firstname=given, lastname=family, city=city)
        for mail, (given, family, city) in zip(mails, people, strict=True)
    ]
    settle(tandem)
    addresses = [sandboxed.md5(mail) for mail in mails]

    def told() -> list[Any]:
        fields = [mc.get(f"{members}/{a}").json()["merge_fields"] for a in addresses]
        return [[sandboxed.values(hs, id_, *names) for id_ in ids], fields]

    before = told()
    with tandem.database.write() as db:
        db.execute(update(t.history).values(stored_at=1))
    for id_ in ids:
        wrong = {"properties": {"firstname": "Wrong", "city": "Nowhere"}}
        assert hs.patch(f"{sandboxed.CONTACTS}/{id_}", json=wrong).status_code == 200
    settle(tandem)
    assert {fields["FNAME"] for fields in told()[1]} == {"Wrong"}
    number = tandem.undo.start(Which(since=2, connection="hubspot"), "Kim")
    while tandem.undo.step():
        pass
    settle(tandem)
    assert told() == before
    tandem.undo.start(Which(run=number), "Kim")
    while tandem.undo.step():
        pass
    settle(tandem)
    assert {fields["FNAME"] for fields in told()[1]} == {"Wrong"}


SELECTIONS: dict[str, tuple[dict[str, Any], dict[str, set[str]]]] = {
    "all since": ({"since": 2}, {"town": {"p0", "p1", "p2"}, "last": {"p0", "p1", "p2"}}),
    "one contact": ({"contact": 2}, {"town": {"p1"}, "last": {"p1"}}),
    "one field": ({"field": "city", "since": 2}, {"town": {"p0", "p1", "p2"}, "last": set()}),
    "from elsewhere": ({"since": 2, "connection": "chimp"}, {"town": set(), "last": set()}),
}


@pytest.mark.parametrize("selection", sorted(SELECTIONS))
def test_only_what_was_meant_goes_back(database: Database, selection: str) -> None:
    """By contact, field, time, connection; a plan says the same and writes nothing."""
    which, expected = SELECTIONS[selection]
    w = crowd(database)
    before = copy.deepcopy(everybody(w))
    wrong_edit(w)
    wrong = copy.deepcopy(everybody(w))
    tables = (t.contact, t.history, t.work, t.run)
    rows = {table.name: rows_of(database, table) for table in tables}
    numbers = {row.id: row.facts["email"]["v"][:2] for row in w.rows(t.contact)}
    if "contact" in which:
        which = {"contact": next(i for i, p in numbers.items() if p == "p1")}
    plan = Undo(database, w.connections).plan(Which(**which))
    assert {table.name: rows_of(database, table) for table in tables} == rows
    assert plan.fields == {n: len(p) for n, p in (("city", expected["town"]), ("family_name", expected["last"])) if p}
    undo(w, Which(**which))
    for name in TWO:
        for mail, person in w.people(name).items():
            for theirs, who in expected.items():
                source = before if mail[:2] in who else wrong
                assert person[theirs] == source[name][mail][theirs], (name, mail, theirs)


def test_it_is_marked_and_explained(database: Database) -> None:
    """History and explanation name the rule, the run and the person."""
    w = crowd(database, 1)
    wrong_edit(w)
    number = undo(w)
    last = w.rows(t.history)[-1]
    assert (last.source, last.rule, last.actor, last.run) == ("operator", "undo", "Kim", number)
    with database.read() as db:
        (city,) = why(db, w.connections, 1, "city").fields
    assert city.cause is not None
    assert (city.decision, city.cause.actor, city.cause.run) == ("undo", "Kim", number)
    assert {s.state for s in city.sides} == {"landed"}


def test_an_undo_is_undone(database: Database) -> None:
    """By its run; and that one again."""
    w = crowd(database)
    before = copy.deepcopy(everybody(w))
    wrong_edit(w)
    wrong = copy.deepcopy(everybody(w))
    first = undo(w)
    assert everybody(w) == before
    second = undo(w, Which(run=first))
    assert everybody(w) == wrong
    undo(w, Which(run=second))
    assert everybody(w) == before


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(acts, min_size=4, max_size=25), st.sampled_from([None, "hub", "chimp"]))
def test_whatever_was_undone_is_restored(plan: list[tuple[Any, ...]], source: str | None) -> None:
    """Edits on three sides in any order; an undo, and the undo of the undo: as before; all sides stay equal."""
    with world() as w:
        for one in plan:
            do(w, *one)
        for vendor in w.vendors.values():
            vendor.fail_next.clear()
        w.settle()
        w.walk()
        w.settle()
        before = {name: lowered(w.people(name)) for name in w.vendors}
        first = undo(w, Which(since=0, connection=source))
        between = [lowered(w.people(name)) for name in w.vendors]
        assert all(one == between[0] for one in between)
        undo(w, Which(run=first))
        assert {name: lowered(w.people(name)) for name in w.vendors} == before


def test_an_interrupted_run_goes_on(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Batch by batch, each in a transaction; another process takes it up, and nothing is put back twice."""
    monkeypatch.setattr(undoing, "BATCH", 2)
    w = crowd(database)
    before = copy.deepcopy(everybody(w))
    wrong_edit(w)
    Undo(database, w.connections).start(AFTER, "Kim")
    Undo(database, w.connections).step()
    assert [row.status for row in w.rows(t.run)] == ["running"]
    station = Undo(database, w.connections)
    while station.step():
        pass
    w.settle()
    assert everybody(w) == before
    assert [row.done for row in w.rows(t.run)] == [6]
    assert len([row for row in w.rows(t.history) if row.rule == "undo"]) == 6


def changed_since(w: World) -> None:
    w.vendors["chimp"].put(next(iter(w.vendors["chimp"].records)), {"town": "Ulm", "last": "Roth"})
    w.settle()
    with w.database.write() as db:
        db.execute(update(t.history).where(t.history.c.source == "chimp").values(stored_at=1))


def merged(w: World) -> None:
    with w.database.write() as db:
        db.execute(update(t.contact).where(t.contact.c.id == 1).values(merged_into=2))


def new_here(w: World) -> None:
    w.vendors["hub"].put(None, {"mail": "new@x.org"})
    w.settle()


def taken(w: World) -> None:
    (mine,) = [r for r in w.vendors["hub"].records.values() if r.fields["mail"] == "p0@x.org"]
    w.vendors["hub"].put(mine.id, {"mail": "q0@x.org"})
    w.settle()
    w.vendors["hub"].put(None, {"mail": "p0@x.org"})
    w.settle()


def emptied(w: World) -> None:
    w.vendors["hub"].put(next(iter(w.vendors["hub"].records)), {"firm": "ACME"})
    w.settle()


def asked(w: World) -> None:
    wrong = [row.contact_id for row in w.rows(t.history) if row.field == "city" and row.new == "Wrong"]
    row = {"contact_id": wrong[0], "field": "city", "connection": "chimp", "ours": "Wrong", "theirs": "Ulm", "at": 1}
    with w.database.write() as db:
        db.execute(t.conflict.insert().values(**row))


STUCK = {
    "asked": asked,
    "changed_since": changed_since,
    "merged": merged,
    "made_then": new_here,
    "address_taken": taken,
    "cannot_be_emptied": emptied,
}


@pytest.mark.parametrize("code", sorted(STUCK))
def test_what_cannot_be_put_back_is_told(database: Database, code: str) -> None:
    """And is not touched by it."""
    w = crowd(database)
    wrong_edit(w)
    STUCK[code](w)
    plan = Undo(database, w.connections).plan(AFTER)
    stuck = [change for change in plan.stuck if change.why_not == code]
    assert len(stuck) == plan.not_possible[code] > 0
    held = {(c.contact, c.field): c.now for c in stuck}
    undo(w)
    facts = {row.id: row.facts for row in w.rows(t.contact)}
    assert {key: facts[key[0]][key[1]]["v"] for key in held} == held


def withdrawn_meanwhile(database: Database) -> World:
    """The address of somebody is changed by mistake; under the new one they object; then the address goes back."""
    w = crowd(database, 1, MAPPING + CONSENT)
    w.vendors["chimp"].put("chimp1", {"mailing": "yes"})
    w.settle()
    w.vendors["hub"].put("hub1", {"mail": "wrong@x.org"})
    w.settle()
    w.vendors["chimp"].put("chimp1", {"mailing": "no"})
    w.settle()
    undo(w)
    return w


def check_nothing_is_raised(w: World) -> None:
    assert w.people("chimp").keys() == w.people("hub").keys() == {"p0@x.org"}
    with w.database.read() as db:
        (holds,) = why(db, w.connections, 1).consent
    assert holds.status == "withdrawn"
    assert {w.vendors[n].records[f"{n}1"].fields.get("mailing") for n in TWO} == {"no"}


def test_consent_is_never_raised(database: Database) -> None:
    """An objection follows the person to the address that comes back; undoing a withdrawal is refused and told."""
    w = withdrawn_meanwhile(database)
    check_nothing_is_raised(w)
    lines = rows_of(database, t.consent)
    plan = Undo(database, w.connections).plan(AFTER)
    assert plan.not_possible["consent"] > 0
    undo(w)
    assert rows_of(database, t.consent) == lines
    check_nothing_is_raised(w)
    for name in ("consent", "consent:email"):
        with pytest.raises(NotPossible, match="never raises"):
            Undo(database, w.connections).plan(Which(field=name))


def test_raised_consent_is_found(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Saboteur: an undo that lets the objection stay with the address that goes."""
    monkeypatch.setattr(saying, "_addresses", lambda *_: None)
    monkeypatch.setattr(settling, "_without_former", lambda _connection, shadow, _held: dict(shadow))  # the second net
    w = withdrawn_meanwhile(database)
    with pytest.raises(AssertionError):
        check_nothing_is_raised(w)


def test_an_overwritten_change_is_found(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Saboteur: an undo that does not ask whether somebody changed the value since."""

    def blindly(_self: Undo, _which: Which, contact: Any, name: str, _of: Any, matching: Any) -> Change:
        return Change(contact.id, name, contact.value(name), matching[-1]["old"])

    monkeypatch.setattr(Undo, "_one", blindly)
    with pytest.raises(AssertionError):
        test_what_cannot_be_put_back_is_told(database, "changed_since")


@pytest.mark.parametrize(
    ("which", "error", "said"),
    [
        (Which(), NotPossible, "say which changes"),
        (Which(connection="hub"), NotPossible, "say which changes"),
        (Which(contact=9), NotFound, "no contact 9"),
        (Which(field="town"), NotFound, "no field 'town'"),
        (Which(run=9), NotFound, "no run 9"),
        (Which(since=0, connection="mars"), NotFound, "no connection 'mars'"),
    ],
)
def test_a_wrong_question_is_refused(database: Database, which: Which, error: type[Exception], said: str) -> None:
    """With what is wrong; nothing is begun."""
    w = crowd(database, 1)
    with pytest.raises(error, match=said):
        Undo(database, w.connections).start(which, "Kim")
    assert w.rows(t.run) == []


def test_a_run_that_is_not_through_is_not_undone(database: Database) -> None:
    """Half of it would stay."""
    w = crowd(database, 1)
    wrong_edit(w)
    number = Undo(database, w.connections).start(AFTER, "Kim")
    with pytest.raises(NotPossible, match="not through yet"):
        Undo(database, w.connections).plan(Which(run=number))


def test_the_api_shows_first_and_then_does(database: Database) -> None:
    """A dry run by default; what is expected has to be what there is; the run says who and how far."""
    w = crowd(database)
    wrong_edit(w)
    api = Api(database, w.connections)
    body = {"by": "Kim", "since": "1970-01-01T00:00:00.002Z", "connection": "hub"}
    seen = api.post("/undo", body, 200)
    assert (seen["run"], seen["total"], seen["fields"]) == (None, 6, {"city": 3, "family_name": 3})
    towns = {c["then"]: c["now"] for c in seen["samples"] if c["field"] == "city"}
    assert towns == {f"Town{n}": "Wrong" for n in range(3)}
    assert api.woken == 0
    real = {**body, "dry_run": False}
    assert "6 values would go back, not 5" in api.post("/undo", {**real, "expect": 5}, 409)["detail"]
    done = api.post("/undo", {**real, "expect": 6}, 200)
    assert api.woken == 1
    run = api.get(f"/ops/runs/{done['run']}")
    assert (run["kind"], run["by"], run["status"], run["total"]) == ("undo", "Kim", "running", 6)
    station = Undo(database, w.connections)
    while station.step():
        pass
    assert api.get(f"/ops/runs/{done['run']}")["done"] == 6
    assert "changed again since" in api.post("/undo", real, 409)["detail"]
    assert "say which changes" in str(api.post("/undo", {"by": "Kim"}, 422))
    assert "no connection" in api.post("/undo", {**body, "connection": "mars"}, 404)["detail"]


def test_the_command_shows_asks_and_does(shell: Shell, store: Database) -> None:
    """A table of what goes back; JSON; nothing without a name or a yes."""
    number = ann(store)
    row = {"contact_id": number, "version": 2, "field": "city", "old": "Ulm", "new": "Bonn", "source": "hubspot"}
    with store.write() as db:
        db.execute(t.history.insert().values(**row, rule="changed", at=1_000, stored_at=1_000))
    words = ["undo", "--contact", str(number), "--by", "Kim"]
    shell("undo", "--contact", str(number), code=2)
    text = shell(*words, "--dry-run")
    for word in ("city", "Bonn", "Ulm"):
        assert word in text
    assert rows_of(store, t.run) == []
    shell(*words, code=1)  # nobody said yes
    assert rows_of(store, t.run) == []
    done = shell.json(*words, "--yes")
    assert (done["done"], done["fields"]) == (1, {"city": 1})
    (contact,) = rows_of(store, t.contact)
    assert (contact["facts"]["city"]["v"], contact["facts"]["city"]["a"]) == ("Ulm", "Kim")
    shell(*words, "--yes", "--field", "phone", code=1)
    assert "nothing can be put back" in shell.told


def test_what_a_replay_changed_is_undone(database: Database) -> None:
    """A wrong mapping, a replay by it; the old mapping again, and the run undone: as before on all sides."""
    w = crowd(database)
    for vendor in w.vendors.values():
        for record in vendor.records:
            vendor.put(record, {"place": "Wrong"})
    w.settle()
    before = copy.deepcopy(everybody(w))
    right = w.connections
    w.connections = changed(w, MAPPING.replace("theirs: town", "theirs: place"))
    w.start()
    replay = Replay(w.database, w.connections)
    number = replay.start(connection="hub")
    while replay.step():
        pass
    w.settle()
    assert {p["town"] for p in w.people("chimp").values()} == {"Wrong"}
    w.connections = right
    w.start()
    plan = Undo(database, w.connections).plan(Which(run=number))
    assert (plan.fields, plan.not_possible) == ({"city": 3}, {})
    undo(w, Which(run=number))
    assert everybody(w) == before


def test_a_brake_that_is_on_still_holds(database: Database) -> None:
    """Undoing one field lets nothing through of another that a brake stopped; a person ends the brake."""
    w = crowd(database)
    w.brake(chimp=Brake(600_000, {Writes.OVERWRITES: Limit(0, 0.0)}))
    wrong_edit(w)
    told = copy.deepcopy(w.people("chimp"))
    assert {p["town"] for p in told.values()} == {"Town0", "Town1", "Town2"}
    undo(w, Which(field="city", since=2))
    assert w.people("chimp") == told
    assert {p["town"] for p in w.people("hub").values()} == {"Town0", "Town1", "Town2"}
