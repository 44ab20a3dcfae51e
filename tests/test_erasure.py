"""Erasure: every vendor is asked until it answers, nothing is left here, and the person is not taken in again."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import pytest
from sqlalchemy import insert, select, update

from app.core import tables as t
from app.core.db import Database, dumps
from app.core.words import Mode
from app.entry import inbox
from app.records import state, tombstones
from app.repair import erasing, subject
from app.sync.connection import Connections
from connectors.contract import Can, NeedsHuman, Refused, Side, TryLater, Verb
from tests.world import MAPPING, Vendor, World

TWO = {"hub": Side.CRM, "chimp": Side.MARKETING}
ANN = {"mail": "ann.unique@x.org", "first": "Annabella", "last": "Leewards"}
BEN = {"mail": "ben@x.org", "first": "Ben", "last": "Boggs"}
MARKS = ("ann.unique", "annabella", "leewards", "ann.older")
CONSENT = """
consent:
  email:
    theirs: mailing
    read: {{"yes": granted, "no": withdrawn}}
    write: {{withdrawn: "no", granted: "yes"}}
"""


def world_of(database: Database) -> World:
    """Ann, who had another address before, and Ben; both everywhere, with history, consent and raw deliveries."""
    world = World(database, TWO, mapping_text=MAPPING + CONSENT)
    world.vendors["hub"].put(None, {**ANN, "mail": "ann.older@x.org", "mailing": "no"})
    world.vendors["hub"].put(None, BEN)
    world.settle()
    world.vendors["hub"].put("hub1", {"mail": ANN["mail"]})
    world.settle()
    return world


def keep(world: World, *bodies: tuple[str, bytes]) -> None:
    """Raw deliveries as the door keeps them."""
    with world.database.write() as db:
        for n, (name, body) in enumerate(bodies):
            row = {"id": n + 1, "connection": name, "received_at": 1, "method": "POST", "path": "/webhooks/x"}
            db.execute(insert(t.delivery).values(**row, content_type="", body=body))


def start(world: World, address: str = ANN["mail"]) -> int:
    with world.database.write() as db:
        return erasing.start(db, world.connections, address, "Kim")


def state_of(world: World, number: int) -> dict[str, Any]:
    with world.database.read() as db:
        return erasing.shown(db, number)


def everything(database: Database) -> str:
    """All that the database holds, as text; of SQLite every byte of its files."""
    if database.dialect == "sqlite":
        path = Path(str(database.url.database))
        files = [path, *(path.with_name(path.name + end) for end in ("-wal", "-journal"))]
        return "".join(f.read_bytes().decode("latin-1") for f in files if f.exists()).lower()
    with database.read() as db:
        rows = [list(map(repr, row)) for table in t.metadata.sorted_tables for row in db.execute(select(table))]
    return dumps(rows).lower()


def test_nothing_is_left(database: Database) -> None:
    """At no vendor, in no table, in no byte of the file; everybody else is untouched."""
    world = world_of(database)
    keep(
        world,
        ("hub", json.dumps([{"email": ANN["mail"].upper(), "first": "Annabella"}]).encode()),
        ("chimp", f"data%5Bemail%5D={quote_plus(ANN['mail'])}&first=Annabella".encode()),
        ("hub", b'[{"id": "hub1", "first": "Annabella"}]'),
        ("hub", b'[{"id": "hub11", "first": "Ben"}]'),
        ("chimp", b"email=ann.older@x.org&first=Annabella"),
    )
    assert all(mark in everything(database) for mark in MARKS)
    number = start(world)
    world.settle()
    shown = state_of(world, number)
    assert shown["status"] == "done"
    assert [list(world.people(n)) for n in TWO] == [["ben@x.org"], ["ben@x.org"]]
    assert [d.id for d in world.rows(t.delivery)] == [4]
    left = everything(database)
    assert [mark for mark in MARKS if mark in left] == []
    assert len(world.rows(t.contact)) == 1
    assert len(world.rows(t.link)) == 2
    world.vendors["hub"].put("hub2", {"town": "Bonn"})
    world.settle()
    assert world.people("chimp")["ben@x.org"]["town"] == "Bonn"


def test_raw_bytes_that_stay_are_found(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Saboteur: where raw deliveries are not looked through, the address is still there."""
    world = world_of(database)
    keep(world, ("hub", json.dumps([{"email": ANN["mail"]}]).encode()))
    monkeypatch.setattr(subject, "holds", lambda _pattern, _values: False)
    start(world)
    world.settle()
    assert "ann.unique" in everything(database)


@pytest.mark.parametrize("mail", [ANN["mail"], ANN["mail"].upper(), "ann.older@x.org"])
@pytest.mark.parametrize("name", list(TWO))
def test_nobody_erased_is_taken_in_again(database: Database, name: str, mail: str) -> None:
    """A new record with any of the addresses is refused, and the event and its delivery keep nothing of it."""
    world = world_of(database)
    start(world)
    world.settle()
    vendor = world.vendors[name]
    vendor.put(None, {**ANN, "mail": mail})
    keep(world, (name, mail.encode()))
    with database.write() as db:
        inbox.store_events(db, [inbox.event_row(name, event, 1, 1) for event in vendor.events])
    vendor.events.clear()
    world.settle()
    world.walk()
    world.settle()
    assert [c.facts["given_name"]["v"] for c in world.rows(t.contact)] == ["Ben"]
    assert list(world.people("chimp" if name == "hub" else "hub")) == ["ben@x.org"]
    assert "the person was erased: a tombstone stands" in {e.error for e in world.rows(t.inbox)}
    assert world.rows(t.delivery) == []
    with database.read() as db:
        live = dumps(
            [list(map(str, row)) for table in (t.inbox, t.dead, t.tombstone) for row in db.execute(select(table))]
        )
    assert not any(mark in live.lower() for mark in MARKS)


def test_without_a_tombstone_somebody_erased_is_back(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Saboteur: where nobody looks at the tombstones, an import brings the person back."""
    world = world_of(database)
    start(world)
    world.settle()
    monkeypatch.setattr(tombstones, "standing", lambda _db, _addresses, _given: {})
    world.vendors["hub"].put(None, ANN)
    world.settle()
    assert ANN["mail"] in world.people("chimp")


@pytest.mark.parametrize(
    ("problems", "status", "answers"),
    [
        ([], "done", {"erased"}),
        ([TryLater("no answer")] * 5, "done", {"erased"}),
        ([TryLater("no answer", landed=True)], "done", {"erased"}),
        ([Refused("no", code="locked")], "partly", {"erased", "refused: locked"}),
    ],
)
def test_a_vendor_is_asked_until_it_answers(
    database: Database, monkeypatch: pytest.MonkeyPatch, problems: list[Any], status: str, answers: set[str]
) -> None:
    """Here nothing goes before all have answered; a refusal is an answer, and the proof says so."""
    world = world_of(database)
    hub, waiting = world.vendors["hub"], list(problems)
    write = hub.write

    def stubborn(orders: Any) -> Any:
        if orders[0].verb is Verb.ERASE and waiting:
            assert len(world.rows(t.contact)) == 2
            raise waiting.pop(0)
        return write(orders)

    monkeypatch.setattr(hub, "write", stubborn)
    number = start(world)
    world.settle()
    shown = state_of(world, number)
    assert shown["status"] == status
    assert {s["answer"] for s in shown["systems"]} - {"looked for the address"} == answers
    assert sum(s["attempts"] for s in shown["systems"]) == 4 + sum(isinstance(p, TryLater) for p in problems)
    assert len(world.rows(t.contact)) == 1


def test_a_connection_that_needs_a_person_waits_for_one(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """It pauses; the erasure goes on once it is resumed."""
    world = world_of(database)

    def revoked(_: Any) -> Any:
        raise NeedsHuman("key revoked")

    with monkeypatch.context() as patch:
        patch.setattr(world.vendors["hub"], "write", revoked)
        number = start(world)
        world.settle()
        assert state_of(world, number)["status"] == "calling"
    with database.write() as db:
        assert state.resume(db, "hub")
    world.settle()
    assert state_of(world, number)["status"] == "done"


def test_the_proof_names_nobody_and_holds(database: Database) -> None:
    """What, where, when and each answer, signed; a changed document does not fit the signature."""
    world = world_of(database)
    number = start(world)
    world.settle()
    proof = state_of(world, number)["proof"]
    text = dumps(proof).lower()
    assert not any(mark in text for mark in (*MARKS, "hub1", "chimp1", "kim"))
    with database.read() as db:
        secret = tombstones.secret(db, None)
    assert erasing.sign(secret, proof["document"]) == proof["signature"]
    assert erasing.sign(secret, {**proof["document"], "erasure": 99}) != proof["signature"]
    assert proof["document"]["key_hash"] == tombstones.digest(secret, ANN["mail"])
    assert {s["connection"] for s in proof["document"]["systems"]} == set(TWO)
    assert proof["document"]["removed_here"]["contact"] == 1


def test_where_it_cannot_be_done_a_person_is_told(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that only observes, and one without the call, are left to a person; the proof says so."""
    world = world_of(database)
    monkeypatch.setattr(Vendor, "can", Vendor.can - {Can.ERASE})
    changed = dataclasses.replace(world.connections["hub"], mode=Mode.OBSERVE)
    world.connections = Connections({**world.connections, "hub": changed})
    world.start()
    number = start(world)
    world.settle()
    shown = state_of(world, number)
    assert (shown["status"], {s["status"] for s in shown["systems"]}) == ("partly", {"by_hand"})
    assert ANN["mail"] in world.people("hub")
    assert len(world.rows(t.contact)) == 1


def test_nobody_is_made_while_an_erasure_runs(database: Database) -> None:
    """A write that waited when the erasure was asked for is not carried out any more."""
    world = World(database, TWO)
    world.vendors["hub"].put(None, ANN)
    world.deliver("hub")
    world.fetch.step()
    start(world)
    world.due()
    assert world.push.step() == 1
    assert world.vendors["chimp"].calls == []


def test_a_connection_that_is_taken_away_holds_nothing_up(database: Database) -> None:
    """What waited for it is left to a person."""
    world = world_of(database)
    number = start(world)
    world.connections = Connections({"hub": world.connections["hub"]})
    world.start()
    world.settle(webhooks=False)
    shown = state_of(world, number)
    assert shown["status"] == "partly"
    assert {(s["connection"], s["status"]) for s in shown["systems"]} == {("hub", "done"), ("chimp", "by_hand")}


def test_somebody_never_read_is_erased_too(database: Database) -> None:
    """A record that was never paired is found by its address; an unknown address leaves the tombstone only."""
    world = World(database, TWO)
    world.vendors["hub"].put(None, ANN)
    world.vendors["hub"].events.clear()
    number = start(world)
    assert start(world) == number, "asked twice, it is one erasure"
    world.settle()
    assert world.people("hub") == {}
    assert state_of(world, number)["status"] == "done"


def test_a_write_under_way_is_waited_for(database: Database) -> None:
    """A link that a push makes while the erasure runs is erased with the rest."""
    world = World(database, TWO)
    world.vendors["hub"].put(None, ANN)
    world.deliver("hub")
    world.fetch.step()
    world.due()
    with database.write() as db:
        batch = world.push._lease(db, world.connections["chimp"])
    receipts = world.push._send(batch)
    world.vendors["chimp"].events.clear()
    number = start(world)
    for _ in range(20):
        with database.write() as db:
            db.execute(update(t.erasure).values(due_at=0))
        world.erase.step()
    assert state_of(world, number)["status"] == "calling"
    database.transact(lambda db: world.push._finish(db, batch, receipts))
    world.settle()
    assert (world.people("hub"), world.people("chimp")) == ({}, {})
    assert state_of(world, number)["status"] == "done"
    assert world.rows(t.link) == []
