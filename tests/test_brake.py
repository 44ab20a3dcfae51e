"""The brake: a mass change stops, the rest goes on, and a person says what becomes of it."""

from __future__ import annotations

from typing import Any

import pytest

from app.core import tables as t
from app.core.db import Database
from app.core.errors import NotFound
from app.core.words import Brake, Limit, Writes
from app.push import brake, ending
from app.push.work import FAR
from app.repair import subject
from connectors.contract import Side, Verb
from tests.test_consent_travels import CONSENT
from tests.world import MAPPING, World

TWO = {"hub": Side.CRM, "chimp": Side.MARKETING}
HOUR = 3_600_000


def world(database: Database, **limits: tuple[int, float]) -> World:
    """Two vendors with policies for deletions; the brake of chimp as given: kind → (count, share)."""
    w = World(database, TWO, mapping_text=MAPPING + CONSENT)
    w.grant("chimp")
    w.deletes(hub=("archive", "ignore"), chimp=("ignore", "archive"))
    w.brake(chimp=Brake(HOUR, {Writes(kind): Limit(*limit) for kind, limit in limits.items()}))
    return w


def people(w: World, n: int, **fields: Any) -> None:
    for i in range(n):
        w.vendors["hub"].put(None, {"mail": f"p{i}@x.org", "first": "Ann", "last": "Lee", "town": "Ulm", **fields})
    w.settle()


def towns(w: World) -> list[Any]:
    return [person["town"] for person in w.people("chimp").values()]


def waiting(w: World, kind: str) -> list[int]:
    with w.database.read() as db:
        return [contact for contact, _ in brake.waiting(db, "chimp", Writes(kind), 100)]


def test_too_many_creates_stop(database: Database) -> None:
    """Up to the number people are created, beyond it nobody, and the reason says both figures."""
    w = world(database, creates=(5, 0.2))
    people(w, 12)
    assert len(w.people("chimp")) <= 5
    with database.read() as db:
        (on,) = brake.listed(db)
    assert (on["connection"], on["kind"]) == ("chimp", "creates")
    assert "creates within 60 min are more than 5 and more than 20%" in on["why"]
    assert on["waiting"] == 12 - len(w.people("chimp")) == len(waiting(w, "creates"))
    assert w.settle() == 0


def test_both_the_number_and_the_share_count(database: Database) -> None:
    """Many writes that are few of all known records stop nothing, and neither do few that are many of them."""
    w = world(database, overwrites=(3, 0.9))
    people(w, 10)
    for record_id in list(w.vendors["hub"].records)[:6]:
        w.vendors["hub"].put(record_id, {"town": "Bonn"})
    w.settle()
    assert towns(w).count("Bonn") == 6
    w.brake(chimp=Brake(HOUR, {Writes.OVERWRITES: Limit(100, 0.0)}))
    for record_id in list(w.vendors["hub"].records):
        w.vendors["hub"].put(record_id, {"town": "Kiel"})
    w.settle()
    assert towns(w).count("Kiel") == 10


def test_the_rest_goes_on(database: Database) -> None:
    """While overwriting is stopped: blanks are filled, people created, and objections travel, even on held records."""
    w = world(database, overwrites=(2, 0.1))
    people(w, 8)
    hub = w.vendors["hub"]
    for record_id in list(hub.records):
        hub.put(record_id, {"town": "Bonn", "job": "Cook"})
    w.settle()
    assert towns(w).count("Bonn") <= 2
    assert [p["job"] for p in w.people("chimp").values()] == ["Cook"] * 8, "filling a blank replaces nothing"
    hub.put("hub1", {"mailing": "no"})
    hub.put(None, {"mail": "new@x.org", "town": "Ulm"})
    w.settle()
    assert w.vendors["chimp"].holder("p0@x.org").fields["mailing"] == "no"  # type: ignore[union-attr]
    assert w.vendors["chimp"].holder("new@x.org") is not None
    assert len(waiting(w, "overwrites")) >= 6


@pytest.mark.parametrize("how", ["release", "discard"])
def test_a_person_decides(database: Database, how: str) -> None:
    """What waits is let through at once and without a new brake, or stays as the vendor has it, for good."""
    w = world(database, overwrites=(2, 0.1))
    people(w, 8)
    hub = w.vendors["hub"]
    for record_id in list(hub.records):
        hub.put(record_id, {"town": "Bonn"})
    w.settle()
    before = towns(w)
    number = len(waiting(w, "overwrites"))
    if how == "release":
        with database.write() as db:
            assert ending.release(db, "chimp", Writes.OVERWRITES, "Kim") == number
    else:
        assert ending.discard(database, w.connections, "chimp", Writes.OVERWRITES, "Kim") == number
    w.settle()
    assert towns(w) == (["Bonn"] * 8 if how == "release" else before)
    with database.read() as db:
        assert brake.listed(db) == []
        (ended,) = brake.listed(db, ended=True)
    assert (ended["ended_by"], ended["ending"]) == ("Kim", f"{how}{'d' if how == 'release' else 'ed'}")
    assert waiting(w, "overwrites") == []
    # A later change of another field does not bring the discarded value, a new value of the field travels.
    hub.put("hub1", {"job": "Pilot"})
    w.settle()
    assert (towns(w)[0] == "Bonn") == (before[0] == "Bonn" or how == "release")
    hub.put("hub1", {"town": "Kiel"})
    w.settle()
    assert towns(w)[0] == "Kiel"
    hub.put("hub1", {"town": "Bonn"})
    w.settle()
    assert towns(w)[0] == "Bonn", "what was discarded once is forgotten with the next value"


def test_discarded_people_are_not_created_by_a_later_change(database: Database) -> None:
    """Who was not to be created stays away."""
    w = world(database, creates=(2, 0.0))
    people(w, 6)
    missing = 6 - len(w.people("chimp"))
    assert missing >= 4
    assert ending.discard(database, w.connections, "chimp", Writes.CREATES, "Kim") == missing
    for record_id in list(w.vendors["hub"].records):
        w.vendors["hub"].put(record_id, {"job": "Cook"})
    w.settle()
    assert 6 - len(w.people("chimp")) == missing


def test_mass_deletion_stops(database: Database) -> None:
    """A side that loses its records takes few of the other's with it; discarding keeps the rest."""
    w = world(database, deletes=(2, 0.1))
    people(w, 10)
    for record_id in list(w.vendors["hub"].records):
        w.vendors["hub"].remove(record_id)
    w.settle()
    left = len(w.people("chimp"))
    assert left >= 8
    assert len(waiting(w, "deletes")) == left
    ending.discard(database, w.connections, "chimp", Writes.DELETES, "Kim")
    w.settle()
    assert len(w.people("chimp")) == left


def test_opt_ins_stop_and_objections_do_not(database: Database) -> None:
    """Many proven consents are held back at the other side; as many objections go through."""
    w = World(database, TWO, mapping_text=MAPPING + CONSENT)
    w.grant("hub")
    w.brake(chimp=Brake(HOUR, {kind: Limit(2, 0.1) for kind in Writes if kind is not Writes.CREATES}))
    people(w, 8)
    hub, chimp = w.vendors["hub"], w.vendors["chimp"]
    for i, record_id in enumerate(list(hub.records)):
        when = f"2026-01-01T10:00:{i:02}+00:00"
        hub.put(record_id, {"mailing": "yes", "signed_up_from": "192.0.2.1", "signed_up_at": when})
    w.settle()
    assert [r.fields.get("mailing") for r in chimp.records.values()].count("yes") <= 2
    assert len(waiting(w, "opt_ins")) >= 6
    for record_id in list(hub.records):
        hub.put(record_id, {"mailing": "no"})
    w.settle()
    assert [r.fields.get("mailing") for r in chimp.records.values()] == ["no"] * 8
    assert waiting(w, "opt_ins") == []


def test_a_retry_is_no_second_write(database: Database) -> None:
    """A call that fails again and again is counted once."""
    w = world(database, creates=(4, 0.0))
    w.vendors["chimp"].fail_next = ["before"] * 6
    people(w, 4)
    assert len(w.people("chimp")) == 4
    with database.read() as db:
        assert brake.listed(db) == []


def test_nothing_waits_that_has_nothing_left_to_write(database: Database) -> None:
    """A mistaken change that is taken back at its source no longer waits."""
    w = world(database, overwrites=(0, 0.0))
    people(w, 3)
    for town in ("Bonn", "Ulm"):
        for record_id in list(w.vendors["hub"].records):
            w.vendors["hub"].put(record_id, {"town": town})
        w.settle()
        assert len(waiting(w, "overwrites")) == (3 if town == "Bonn" else 0)
    assert not any(o.verb is Verb.UPDATE for batch in w.vendors["chimp"].calls for o in batch)


def test_what_is_not_on_cannot_be_ended(database: Database) -> None:
    """It says so."""
    w = world(database, creates=(1, 0.0))
    with database.write() as db, pytest.raises(NotFound, match="no brake is on for creates at chimp"):
        ending.release(db, "chimp", Writes.CREATES, "Kim")
    with pytest.raises(NotFound):
        ending.discard(database, w.connections, "chimp", Writes.CREATES, "Kim")


def test_the_window_slides(database: Database) -> None:
    """Writes that are older than the window count no more."""
    w = world(database, creates=(3, 0.0))
    people(w, 3)
    with database.write() as db:
        db.execute(t.brake_count.update().values(slice=t.brake_count.c.slice - brake.SLICES))
    for i in range(3):
        w.vendors["hub"].put(None, {"mail": f"later{i}@x.org"})
    w.settle()
    assert len(w.people("chimp")) == 6


def test_without_counting_nothing_stops(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Saboteur: a brake that forgets what was written lets everything through."""
    monkeypatch.setattr(brake, "count", lambda *_: None)
    w = world(database, creates=(5, 0.2))
    people(w, 12)
    assert len(w.people("chimp")) > 5


@pytest.mark.parametrize("how", ["release", "discard"])
def test_a_brake_that_ends_while_a_batch_is_under_way_leaves_nothing_behind(database: Database, how: str) -> None:
    """What that batch would have held is due again."""
    w = world(database, overwrites=(0, 0.0))
    people(w, 2)
    hub = w.vendors["hub"]
    hub.put("hub1", {"town": "Bonn"})
    w.settle()
    hub.put("hub2", {"town": "Bonn"})
    w.deliver("hub")
    w.fetch.step()
    w.due()
    with database.write() as db:
        batch = w.push._lease(db, w.connections["chimp"])
    if how == "release":
        with database.write() as db:
            ending.release(db, "chimp", Writes.OVERWRITES, "Kim")
    else:
        ending.discard(database, w.connections, "chimp", Writes.OVERWRITES, "Kim")
    database.transact(lambda db: w.push._finish(db, batch, w.push._send(batch)))
    with database.read() as db:
        assert [row.due_at < FAR for row in db.execute(t.work.select())].count(False) == 0


def test_discarding_binds_what_goes_in_part(database: Database) -> None:
    """A record that had a blank to fill as well gets that, and not the discarded value."""
    w = world(database, overwrites=(0, 0.0))
    people(w, 1)
    w.vendors["hub"].put("hub1", {"town": "Bonn"})
    w.settle()
    w.vendors["hub"].put("hub1", {"job": "Cook"})
    w.deliver("hub")
    w.fetch.step()
    ending.discard(database, w.connections, "chimp", Writes.OVERWRITES, "Kim")
    w.settle()
    (person,) = w.people("chimp").values()
    assert (person["town"], person["job"]) == ("Ulm", "Cook")


def test_subject_access_of_somebody_who_waits(database: Database) -> None:
    """Is answered."""
    w = world(database, creates=(0, 0.0))
    people(w, 1)
    assert subject.everything(database, w.connections, "p0@x.org")["work"]
