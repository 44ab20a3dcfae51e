"""The plan shows what would be written, by the push's own decision; applying it writes that and nothing else."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.core.db import Database
from app.core.errors import NotPossible
from app.core.words import Brake, Canary, Limit, Mode, Writes
from app.push import approving, ending, survey, trust
from app.push.approving import Approved, Header
from app.push.survey import Line, Tally
from app.records import conflicts, dead
from connectors.contract import Rate, Verb
from tests.test_trust import both, people, world
from tests.world import World

NOBODY = Canary(0)


def surveyed(w: World) -> tuple[Tally, list[Line]]:
    """The plan of chimp."""
    lines: list[Line] = []
    tally = survey.survey(w.database, w.connections, ["chimp"], lines.append)["chimp"]
    return tally, lines


def made(w: World, path: Path) -> Tally:
    """The plan of chimp in a file."""
    tally, lines = surveyed(w)
    header = Header("2026-01-01T00:00:00+00:00", tally.total, {"chimp": w.connections["chimp"].map.digest})
    with path.open("wb") as file:
        approving.write(file, header, [line for line in lines if line.fingerprint is not None])
    return tally


def approved(w: World, path: Path) -> Approved:
    return approving.approve(w.database, w.connections, path, "Kim")


def far(w: World, plan: str) -> approving.Standing:
    with w.database.read() as db:
        return approving.standing(db, plan)


def written(w: World) -> Counter[str]:
    """Orders that reached chimp, by verb."""
    return Counter(str(order.verb) for call in w.vendors["chimp"].calls for order in call)


def mixed(w: World) -> None:
    """Three to create, two to update, an objection, somebody without an address, at an observing chimp."""
    w.trusted(chimp=Mode.LIVE)
    both(w, 5)
    w.vendors["chimp"].calls.clear()
    w.trusted(chimp=Mode.OBSERVE)
    hub = w.vendors["hub"]
    for i in range(3):
        hub.put(None, {"mail": f"new{i}@x.org", "first": "Eva"})
    hub.put("hub1", {"job": "Cook", "first": "Eve"})
    hub.put("hub2", {"last": "Lee", "mailing": "no"})
    hub.put(None, {"first": "Nobody"})
    w.settle()
    assert w.vendors["chimp"].calls == []


def test_the_plan_says_what_would_be_written(database: Database) -> None:
    """Creates, updates with old and new, withdrawals, and why somebody is not created."""
    w = world(database)
    mixed(w)
    tally, lines = surveyed(w)
    assert dict(tally.orders) == {"create": 3, "update": 2}
    assert tally.consent == {"withdrawals": 1}
    assert tally.rejects == {"incomplete": 1}
    assert "email" in tally.reasons["incomplete"]
    (update,) = [line for line in lines if {c.name for c in line.changes} == {"given_name", "job_title"}]
    assert {(c.name, c.old, c.new) for c in update.changes} == {
        ("given_name", "Ann", "Eve"),
        ("job_title", None, "Cook"),
    }
    assert tally.fields["given_name"] == 1
    assert (tally.contacts, tally.known, tally.unread) == (9, 5, ())


def test_conflicts_are_in_the_plan(database: Database) -> None:
    """A field that waits for a person is no update."""
    w = world(database)
    mixed(w)
    number = next(line.contact for line in surveyed(w)[1] if any(c.name == "job_title" for c in line.changes))
    from app.core.words import Decision, Outcome

    with database.write() as db:
        asked = Decision("job_title", Outcome.ASKED, "ask", None, "Cook")
        conflicts.ask(db, "chimp", [(number, asked, None)], 1)
    tally, lines = surveyed(w)
    assert tally.conflicts == 1
    assert "job_title" not in tally.fields
    assert [c.name for line in lines if line.what == "conflict" for c in line.changes] == ["job_title"]


def test_brakes_calls_and_time_are_foreseen(database: Database) -> None:
    """Kinds beyond their limits; batches of each verb; time within our part of the rate."""
    w = world(database, chimp=Mode.OBSERVE)
    w.brake(chimp=Brake(3_600_000, {Writes.CREATES: Limit(3, 0.1), Writes.OVERWRITES: Limit(3, 0.1)}))
    people(w, 9)
    tally, _ = surveyed(w)
    chimp = w.connections["chimp"]
    assert list(tally.brakes(chimp)) == [Writes.CREATES]
    assert tally.calls(chimp) == 3  # of 9, four in a batch
    assert tally.seconds(chimp) is None
    from dataclasses import replace

    vendor = w.vendors["chimp"]
    vendor.limits = replace(vendor.limits, rates=(Rate(2, 10.0), Rate(100, 10.0)))  # type: ignore[misc]
    assert tally.seconds(replace(chimp, call_share=0.5)) == 30.0


def applies_what_it_showed(w: World, path: Path) -> None:
    """The promise: the vendor gets as many orders of each kind as the plan showed, and those only."""
    mixed(w)
    tally = made(w, path)
    hub = w.vendors["hub"]
    w.trusted(chimp=NOBODY)
    done = approved(w, path)
    hub.put(None, {"mail": "late@x.org", "first": "Late"})  # not in the plan
    w.settle()
    assert written(w) == tally.orders
    assert (done.approved, done.moved) == (tally.total, [])
    assert far(w, done.plan) == approving.Standing(0, 0, tally.total, 0, 0)
    assert "late@x.org" not in w.people("chimp")
    assert len(w.people("chimp")) == 8


def refuses_what_moved(w: World, path: Path) -> None:
    """The promise: who changed after the plan, or between the approval and the write, is not written and is listed."""
    mixed(w)
    tally = made(w, path)
    hub = w.vendors["hub"]
    hub.put(hub.holder("new0@x.org").id, {"first": "Moved"})  # type: ignore[union-attr]
    w.settle()
    w.trusted(chimp=NOBODY)
    done = approved(w, path)
    assert [name for name, _ in done.moved] == ["chimp"]
    hub.put(hub.holder("new1@x.org").id, {"first": "Moved"})  # type: ignore[union-attr]
    w.deliver("hub")
    while w.fetch.step():
        pass
    w.settle()
    people_there = w.people("chimp")
    assert "new2@x.org" in people_there
    assert not {"new0@x.org", "new1@x.org"} & set(people_there)
    now = far(w, done.plan)
    assert (now.written, now.moved, now.waiting) == (tally.total - 2, 1, 0)
    with w.database.read() as db:
        assert [why for _, _, why in approving.moved(db, done.plan, 10)] == ["moved"]


PROMISES: dict[str, Callable[[World, Path], None]] = {"counts": applies_what_it_showed, "moved": refuses_what_moved}


def trusts_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Writes to everybody, approved or not."""
    monkeypatch.setattr(trust.Trust, "waits", lambda self, _contact: self.every)


def approves_half(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loses orders on the way."""
    real = trust.approve

    def half(db: Any, connection: str, plan: str, prints: Any, by: str) -> None:
        real(db, connection, plan, dict(list(prints.items())[::2]), by)

    monkeypatch.setattr(trust, "approve", half)


def sees_nothing_move(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fingerprint that says nothing."""
    monkeypatch.setattr(trust, "fingerprint", lambda *_: "x")


@pytest.mark.parametrize("name", PROMISES)
def test_promise(name: str, database: Database, tmp_path: Path) -> None:
    """Each promise holds."""
    PROMISES[name](world(database), tmp_path / "plan")


@pytest.mark.parametrize(
    ("name", "saboteur"), [("counts", trusts_all), ("counts", approves_half), ("moved", sees_nothing_move)]
)
def test_a_broken_one_is_found(
    name: str, saboteur: Any, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each promise fails where it is broken."""
    saboteur(monkeypatch)
    with pytest.raises(AssertionError):
        PROMISES[name](world(database), tmp_path / "plan")


def test_an_apply_that_was_cut_off_goes_on(database: Database, tmp_path: Path) -> None:
    """What was written is not written again; after a call whose answer was lost nobody is there twice."""
    w = world(database)
    mixed(w)
    tally = made(w, tmp_path / "plan")
    w.trusted(chimp=NOBODY)
    approved(w, tmp_path / "plan")
    w.vendors["chimp"].fail_next = ["ok", "after"]
    w.due()
    w.push.step()
    w.due()
    w.push.step()
    w.start()
    again = approved(w, tmp_path / "plan")
    assert again.written + again.approved == tally.total
    assert again.written > 0
    w.settle()
    assert far(w, again.plan).waiting == 0
    assert len(w.people("chimp")) == len(w.vendors["chimp"].records) == 8
    assert approved(w, tmp_path / "plan").approved == 0


def test_a_refusal_is_a_dead_letter_as_ever(database: Database, tmp_path: Path) -> None:
    """The others are written; the plan says how many failed."""
    w = world(database)
    mixed(w)
    w.vendors["hub"].put(None, {"mail": "bad@x.org", "last": "REFUSE"})
    w.settle()
    tally = made(w, tmp_path / "plan")
    w.trusted(chimp=NOBODY)
    done = approved(w, tmp_path / "plan")
    w.settle()
    assert far(w, done.plan) == approving.Standing(0, 0, tally.total - 1, 0, 1)
    with database.read() as db:
        assert dead.counts(db)["chimp"] == 1


def test_a_brake_stops_an_apply(database: Database, tmp_path: Path) -> None:
    """What a person lets through then is written."""
    w = world(database, chimp=Mode.OBSERVE)
    w.brake(chimp=Brake(3_600_000, {Writes.CREATES: Limit(4, 0.0)}))
    people(w, 10)
    made(w, tmp_path / "plan")
    w.trusted(chimp=NOBODY)
    done = approved(w, tmp_path / "plan")
    w.settle()
    now = far(w, done.plan)
    assert (now.written, now.stuck, now.waiting) == (4, 6, 6)
    with database.write() as db:
        ending.release(db, "chimp", Writes.CREATES, "Kim")
    w.settle()
    assert far(w, done.plan).written == len(w.people("chimp")) == 10


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda text: b"", "empty"),
        (lambda text: b"not a plan\n", "not a plan"),
        (lambda text: text.replace(b'"tandem_plan":1', b'"tandem_plan":9'), "version 9"),
        (lambda text: text[: text.rindex(b"\n", 0, -1) + 1], "cut off"),
    ],
)
def test_a_file_that_is_no_whole_plan_is_refused(database: Database, tmp_path: Path, spoil: Any, says: str) -> None:
    """With what to do."""
    w = world(database)
    mixed(w)
    path = tmp_path / "plan"
    made(w, path)
    w.trusted(chimp=NOBODY)
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(NotPossible, match=says):
        approved(w, path)


@pytest.mark.parametrize("mode", [Mode.OBSERVE, Mode.LIVE])
def test_only_a_canary_applies(database: Database, tmp_path: Path, mode: Mode) -> None:
    """What observes writes nothing, what is live writes anyway."""
    w = world(database)
    mixed(w)
    made(w, tmp_path / "plan")
    w.trusted(chimp=mode)
    with pytest.raises(NotPossible, match="mode: canary"):
        approved(w, tmp_path / "plan")


def test_another_mapping_needs_another_plan(database: Database, tmp_path: Path) -> None:
    """The same file may mean something else."""
    w = world(database)
    mixed(w)
    path = tmp_path / "plan"
    made(w, path)
    w.trusted(chimp=NOBODY)
    path.write_bytes(path.read_bytes().replace(w.connections["chimp"].map.digest.encode(), b"other"))
    with pytest.raises(NotPossible, match="mapping has changed"):
        approved(w, path)


def test_a_line_reads_back(database: Database) -> None:
    """The file keeps all that applying needs."""
    w = world(database)
    mixed(w)
    for line in surveyed(w)[1]:
        back = approving.of_json(json.loads(approving.to_json(line)))
        assert (back.contact, back.what, back.fingerprint, back.code) == (
            line.contact,
            line.what,
            line.fingerprint,
            line.code,
        )
        assert [(c.name, c.new) for c in back.changes] == [(c.name, c.new) for c in line.changes]
    assert Verb.CREATE in {line.what for line in surveyed(w)[1]}
