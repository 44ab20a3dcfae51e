"""What a replay against a changed mapping would change is what it then changes; looking changes nothing."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from app.core import tables as t
from app.core.db import Database
from app.ops import rehearsing
from app.ops.rehearsing import Difference, rehearse
from app.ops.replay import Replay
from app.sync import mapping
from app.sync.connection import Connections
from connectors.contract import Side
from sandbox.serve import Sandbox
from tests import sandboxed
from tests.apihelp import Api, add_contacts, add_events, rows_of
from tests.test_cli import ROOT, Shell, shell
from tests.world import MAPPING, World

__all__ = ["shell"]

running, sandbox, hs = sandboxed.running, sandboxed.sandbox, sandboxed.hs
TWO = {"hub": Side.CRM, "chimp": Side.MARKETING}
TABLES = (t.contact, t.link, t.history, t.work, t.inbox, t.run, t.refusal)


def known(database: Database, people: int = 5) -> World:
    """People at both, whose records at hub have a place, which nobody has mapped so far."""
    w = World(database, TWO)
    for n in range(people):
        person = {"mail": f"p{n}@x.org", "last": f"Last{n}", "town": f"Town{n}"}
        w.vendors["hub"].put(None, {**person, "place": f"Place{n}" if n % 2 == 0 else f"Town{n}"})
    w.settle()
    return w


def changed(w: World, text: str) -> Connections:
    """The connections with another mapping at hub."""
    hub = dataclasses.replace(w.connections["hub"], map=mapping.loads(text.format(name="hub"), "hub"))
    return Connections({**w.connections, "hub": hub})


def look(w: World, connections: Connections, **period: Any) -> rehearsing.Rehearsal:
    """A rehearsal, which leaves everything as it was."""
    before = {table.name: rows_of(w.database, table) for table in TABLES}
    calls = sum(len(v.calls) for v in w.vendors.values())
    found = rehearse(w.database, connections, "hub", **period)
    assert {table.name: rows_of(w.database, table) for table in TABLES} == before
    assert sum(len(v.calls) for v in w.vendors.values()) == calls
    return found


def check_prediction(w: World, seen_by: Connections, real: Connections) -> None:
    found = look(w, seen_by)
    last = max(row["id"] for row in rows_of(w.database, t.history))
    w.connections = real
    w.start()
    replay = Replay(w.database, w.connections)
    replay.start(connection="hub")
    while replay.step():
        pass
    w.settle()
    news = [row for row in rows_of(w.database, t.history) if row["id"] > last]
    assert found.fields == Counter(row["field"] for row in news)
    expected = [Difference(row["contact_id"], row["field"], row["old"], row["new"]) for row in news]
    key = lambda d: (d.contact, d.field)  # noqa: E731 - a name for the two sorts below
    assert sorted(found.samples, key=key) == sorted(expected, key=key)
    assert len(news) > 0


def test_the_prediction_is_what_happens(database: Database) -> None:
    """Contact, field, before, after and the counts; through the normal path, so that the other side hears of it."""
    text = MAPPING.replace("theirs: town", "theirs: place")
    w = known(database)
    real = changed(w, text)
    check_prediction(w, real, real)
    assert {p["town"] for p in w.people("chimp").values()} == {"Place0", "Town1", "Place2", "Town3", "Place4"}


def test_a_wrong_prediction_is_found(database: Database) -> None:
    """Saboteur: a rehearsal by the mapping that is in place, and not by the changed one."""
    w = known(database)
    real = changed(w, MAPPING.replace("theirs: town", "theirs: place"))
    with pytest.raises(AssertionError):
        check_prediction(w, w.connections, real)


def test_only_the_period_and_the_contact_are_looked_at(database: Database) -> None:
    """By when events were received, and by whose record they name."""
    w = known(database)
    real = changed(w, MAPPING.replace("theirs: town", "theirs: place"))
    future = datetime(2999, 1, 1, tzinfo=UTC)
    assert look(w, real, since=future).events == 0
    assert look(w, real, until=future).records == 5
    one = look(w, real, contact=1)
    assert (one.records, {d.contact for d in one.samples}) == (1, {1})


def test_what_is_refused_missing_or_new_is_counted(database: Database) -> None:
    """A blank that may not clear, a record that is gone, a record of nobody, a value that cannot be read."""
    w = known(database)
    real = changed(w, MAPPING.replace("theirs: last, winner: newest, clear: allowed", "theirs: none, clear: ignored"))
    del w.vendors["hub"].records["hub5"]
    w.vendors["hub"].records["hub1"] = dataclasses.replace(
        w.vendors["hub"].records["hub1"], fields={"mail": "no address", "none": None}
    )
    add_events(database, {"ref_value": "hub99", "dedupe": "x"})
    found = look(w, real)
    assert (found.missing, found.new) == (2, 0)
    assert found.refused["family_name", "clearing not allowed"] == 1
    assert [field for field, _ in found.unreadable] == ["email"]


def test_a_record_that_is_read_is_counted_once(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many events name it, in however many pieces."""
    monkeypatch.setattr(rehearsing, "PIECE", 2)
    w = known(database, 2)
    for _ in range(5):
        w.vendors["hub"].put("hub1", {"first": "Ann"})
    w.settle()
    found = look(w, w.connections)
    assert (found.records, found.fields) == (2, {})
    assert found.events > 5


def test_a_replay_of_one_contact(database: Database) -> None:
    """Only events that name its records are pending again; one that is not there is refused."""
    w = known(database)
    api = Api(database, w.connections)
    run = api.post("/ops/replay", {"contact": 2})["run"]
    while api.replay.step():
        pass
    assert {row["ref_value"] for row in rows_of(database, t.inbox) if row["status"] == "pending"} <= {
        *(k["remote_id"] for k in rows_of(database, t.link) if k["contact_id"] == 2),
        "p1@x.org",
    }
    assert api.get(f"/ops/runs/{run}")["done"] > 0
    assert "no contact 9" in api.post("/ops/replay", {"contact": 9}, 404)["detail"]


@pytest.fixture
def service(shell: Shell, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    """A configured installation whose HubSpot is the simulator."""
    shell.configure(hubspot=sandbox.hubspot_url)
    monkeypatch.setenv("TANDEM_HUBSPOT_ACCESS_TOKEN", sandbox.hubspot.token)
    shell.migrate()
    database = shell.database()
    yield database
    database.close()


def test_the_command_shows_what_a_changed_mapping_would_do(
    shell: Shell, service: Database, hs: Any, tmp_path: Path
) -> None:
    """Against the simulator: it asks for the fields of the changed file, and shows before and after."""
    record = sandboxed.create(
        hs, email="ann@example.org", firstname="Ann", city="Bonn", jobtitle="Pilot", industry="AIRLINES_AVIATION"
    )
    values = {"email": "ann@example.org", "given_name": "Ann", "city": "Bonn"}
    (number,) = add_contacts(service, {"values": values})
    row = {"connection": "hubspot", "kind": "contact", "remote_id": record, "contact_id": number, "rev": 1}
    with service.write() as db:
        db.execute(t.link.insert().values(**row, shadow=values, written_at=0, created_at=0))
    add_events(service, {"connection": "hubspot", "ref_value": record})
    text = (ROOT / "mappings" / "hubspot.yaml").read_text(encoding="utf-8")
    file = tmp_path / "changed.yaml"
    file.write_text(text.split("\nexamples:")[0].replace("theirs: city,", "theirs: industry,"), encoding="utf-8")
    words = ["replay", "--connection", "hubspot", "--dry-run"]
    seen = shell.json(*words)
    assert (seen["events"], seen["records"]) == (1, 1)
    assert "city" not in seen["fields"]
    assert seen["fields"]["job_title"] == 1
    assert {"contact": number, "field": "job_title", "before": None, "after": "Pilot"} in seen["differences"]
    assert "Pilot" in shell(*words)
    (other,) = [d for d in shell.json(*words, "--mapping", str(file))["differences"] if d["field"] == "city"]
    assert (other["before"], other["after"]) == ("Bonn", "AIRLINES_AVIATION")
    shell("replay", "--dry-run", code=2)
    shell("replay", "--connection", "hubspot", "--mapping", str(file), code=1)
    assert "works by another mapping" in shell.told
    assert rows_of(service, t.run) == []
    shell(*words, "--mapping", str(tmp_path / "none.yaml"), code=2)
