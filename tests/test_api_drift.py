"""Drift, alarms, suspended fields and freshness as operators see them: API, metrics, health."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import pytest
from prometheus_client.exposition import generate_latest
from sqlalchemy import update

from app.core import tables as t
from app.core.db import Database
from app.core.settings import ConnectionConfig
from app.ops.metrics import Metrics
from app.records import alarms, suspended
from app.repair import erasing, freshness, runs
from app.repair.freshness import BUCKETS, SLICE_MS, Recorder, bucket_of, quantile
from app.sync.connection import Connections
from tests.apihelp import Api, add, now, rows_of
from tests.test_drift import compare, silently, world
from tests.world import World


def metrics(made: World) -> str:
    return generate_latest(Metrics(made.database, list(made.connections)).registry).decode()


def test_drift_by_field_and_connection(database: Database) -> None:
    """The share with its parts, the age, what disagrees without its value, and the same as figures."""
    made = world(database, 4)
    api = Api(database, made.connections)
    assert [one["drift"] for one in api.get("/ops/drift")["items"]] == [None, None]
    silently(made, "crm", 1, town="Secretville")
    (number,) = api.post("/ops/reconcile", {"connection": "crm", "by": "Kim"})["runs"]
    run = api.get(f"/ops/reconcile/{number}")
    assert (run["status"], run["phase"], run["by"], run["repair"]) == ("running", "walk", "Kim", False)
    assert api.post("/ops/reconcile", {"connection": "crm"})["runs"] == [number]  # one at a time
    compare(made, "crm")
    run = api.get(f"/ops/reconcile/{number}")
    assert (run["status"], run["seen"], run["known"], run["doubt"]) == ("done", 4, 4, None)
    crm, mail = api.get("/ops/drift")["items"]
    assert (crm["mismatched"], crm["drift"], mail["drift"]) == (1, 1 / crm["compared"], None)
    (city,) = [f for f in crm["fields"] if f["field"] == "city"]
    assert (city["compared"], city["mismatched"], city["drift"]) == (4, 1, 0.25)
    answer = api.get("/ops/drift/disagreements", field="city")
    assert [(d["field"], d["why"]) for d in answer["items"]] == [("city", "unseen")]
    assert "Secretville" not in str(answer)
    assert api.get("/ops/drift/disagreements", connection="mail")["items"] == []
    text = metrics(made)
    assert 'tandem_drift_ratio{connection="crm",field="city"} 0.25' in text
    assert 'tandem_drift_values{connection="crm",field="city"} 1.0' in text
    assert 'tandem_alarms{connection="crm",kind="drift"} 1.0' in text
    assert re.search(r'tandem_drift_compared_seconds\{connection="crm"\} \d', text)
    (alarm,) = api.get("/ops/alarms")["items"]
    assert (alarm["kind"], alarm["connection"], alarm["cleared_at"]) == ("drift", "crm", None)
    assert "tandem reconcile --connection crm" in alarm["words"]


def test_what_cannot_be_compared_is_refused(database: Database) -> None:
    """Before the first walk ended, a connector that cannot, a connection that is not there, a misspelt key."""
    api = Api(database)
    problem = api.post("/ops/reconcile", {"connection": "deaf"}, 409)
    assert "cannot" in problem["detail"]
    assert "deaf" in api.post("/ops/reconcile", None, 409)["detail"]
    api.post("/ops/reconcile", {"connection": "nobody"}, 404)
    api.post("/ops/reconcile", {"conection": "hub"}, 422)
    api.get("/ops/reconcile/7", 404)


def test_disagreements_page_by_page(database: Database) -> None:
    """Each once, in the order in which they were found."""
    row = {"connection": "hub", "field": "city", "why": "unseen", "first_seen": 1, "last_seen": 1, "run": 1}
    add(database, t.disagreement, *({**row, "remote_id": f"r{n}"} for n in range(5)))
    pages = Api(database).walk("/ops/drift/disagreements", 2)
    assert [[d["remote_id"] for d in page] for page in pages] == [["r0", "r1"], ["r2", "r3"], ["r4"]]


def test_alarms_come_once_and_go(database: Database) -> None:
    """Seen again they only get younger; over, they are told when asked for; health says the urgent ones."""
    api = Api(database)
    for words in ("first", "second"):
        with database.write() as db:
            alarms.raised(db, alarms.Kind.SILENCE, "hub", "", words)
    with database.write() as db:
        alarms.raised(db, alarms.Kind.DRIFT, "hub", "", "some drift")
    assert [a["words"] for a in api.get("/ops/alarms")["items"]] == ["some drift", "second"]
    ready = api.get("/health/ready")
    assert (ready["status"], ready["problems"]) == ("degraded", ["second"])
    with database.write() as db:
        assert alarms.cleared(db, alarms.Kind.SILENCE, "hub") == [""]
        assert alarms.cleared(db, alarms.Kind.SILENCE, "hub") == []
    assert api.get("/health/ready")["status"] == "ok"
    assert [[a["kind"] for a in page] for page in api.walk("/ops/alarms", 1, all=True)] == [["drift"], ["silence"]]
    with database.write() as db:
        assert alarms.raised(db, alarms.Kind.SILENCE, "hub", "", "again") is True
    assert len(rows_of(database, t.alarm)) == 3


def test_exactly_what_is_wrong_is_open(database: Database) -> None:
    """What is found now is raised, what was and is not any more is cleared."""
    with database.write() as db:
        assert alarms.kept(db, alarms.Kind.WEBHOOK, "hub", {"a": "a is off", "b": "b is off"}) == ["a", "b"]
        assert alarms.kept(db, alarms.Kind.WEBHOOK, "hub", {"b": "b is off", "c": "c is off"}) == ["c"]
        assert {a["subject"] for a in alarms.listed(db)} == {"b", "c"}


def test_a_field_is_resumed_by_name(database: Database) -> None:
    """Listed with why, let go by a named person, and not suspended again for the same reason."""
    made = world(database, 1)
    api = Api(database, made.connections)
    with database.write() as db:
        assert suspended.suspend(db, "crm", {"town": "hidden"}) == ["town"]
        assert suspended.suspend(db, "crm", {"town": "hidden"}) == []
    made.connections.suspend({"crm": ["town"]})
    assert [(f["field"], f["why"]) for f in api.get("/ops/fields")["items"]] == [("town", "hidden")]
    assert 'tandem_fields_suspended{connection="crm"} 1.0' in metrics(made)
    asked = {"by": "Kim", "connection": "crm", "field": "town"}
    api.post("/ops/fields/resume", {**asked, "field": "nobody"}, 404)
    assert api.post("/ops/fields/resume", asked, 200)["items"] == []
    assert "city" in made.connections["crm"].map.out_fields
    with database.write() as db:
        assert suspended.suspend(db, "crm", {"town": "hidden"}) == []
        assert suspended.suspend(db, "crm", {"town": "gone"}) == ["town"]


@pytest.mark.parametrize(
    ("counts", "q", "low", "high"),
    [
        ({}, 0.5, None, None),
        ({bucket_of(3): 100}, 0.5, 2, 5),
        ({bucket_of(3): 94, bucket_of(40): 6}, 0.95, 30, 60),
        ({bucket_of(3): 96, bucket_of(40): 4}, 0.95, 2, 5),
        ({len(BUCKETS): 1}, 0.99, 86_400, 7 * 86_400),
    ],
)
def test_quantiles(counts: dict[int, int], q: float, low: float | None, high: float | None) -> None:
    """Within the bucket in which it lies."""
    found = quantile(counts, q)
    assert (found is None) == (low is None)
    assert found is None or low is None or high is None or low <= found <= high


def promised(made: World, ms: int) -> Connections:
    one = made.connections["mail"]
    watch = dataclasses.replace(one.watch, freshness_ms=ms)
    return Connections({**made.connections, "mail": dataclasses.replace(one, watch=watch)})


def test_freshness_is_measured_and_a_promise_alarmed(database: Database) -> None:
    """From change to landing; late p95 and a change that waits raise it, and it ends when the promise is kept again."""
    made = world(database, 1)
    connections = promised(made, 60_000)
    api = Api(database, connections)
    recorder = Recorder()
    for seconds in (0.4, 0.4, 0.4, 0.4, 700, 10_000_000):  # the last one is a first walk, not a late change
        recorder("mail", seconds)
    with database.write() as db:
        assert recorder.flush(db) == 5
        assert recorder.flush(db) == 0
        assert freshness.judge(db, connections) == ["mail"]
    crm, mail = api.get("/ops/freshness")["items"]
    assert (crm["landed"], crm["kept"], mail["landed"], mail["objective"], mail["kept"]) == (0, None, 5, 60, False)
    assert mail["p50"] < 1
    assert 300 < mail["p95"] <= 900
    assert 'tandem_freshness_quantile_seconds{connection="mail",quantile="0.95"}' in metrics(made)
    with database.write() as db:
        db.execute(update(t.landed).values(slice=t.landed.c.slice - 2 * 3_600_000 // SLICE_MS))
        assert freshness.judge(db, connections) == []
    assert api.get("/ops/alarms")["items"] == []
    waits = {"connection": "mail", "contact_id": 1, "gen": 1, "due_at": 0, "since": now(database) - 90_000}
    add(database, t.work, waits)
    with database.write() as db:
        assert freshness.judge(db, connections) == ["mail"]
        assert "waiting for 9" in alarms.listed(db)[0]["words"]


@pytest.mark.parametrize(
    ("said", "ms"),
    [("60s", 60_000), ("1.5h", 5_400_000), ("7d", 604_800_000), (90, 90_000), ("15 min", 900_000), (False, None)],
)
def test_times_in_the_configuration(said: Any, ms: int | None) -> None:
    """With a unit; a bare number is seconds; off is never."""
    base = {"name": "hub", "connector": "hubspot"}
    assert ConnectionConfig.model_validate({**base, "freshness": said}).watch().freshness_ms == ms
    every = ConnectionConfig.model_validate({**base, "reconcile": {"every": said}})
    assert every.watch().reconcile_every_ms == ms


@pytest.mark.parametrize("said", ["soon", "5", "-3s", "0s", "400d", True])
def test_other_times_are_refused(said: Any) -> None:
    """What nobody could have meant."""
    with pytest.raises(ValueError, match="freshness"):
        ConnectionConfig.model_validate({"name": "hub", "connector": "hubspot", "freshness": said})


def test_an_erasure_leaves_no_disagreement(database: Database) -> None:
    """Neither by contact nor by record, and a run that is through names no record."""
    made = world(database, 3)
    silently(made, "crm", 0, town="Chur")
    record = sorted(made.vendors["crm"].records)[0]
    run = compare(made, "crm")
    row = {"connection": "mail", "field": "", "why": "extra", "first_seen": 1, "last_seen": 1, "run": run.id}
    link = next(k for k in made.rows(t.link) if k.connection == "crm" and k.remote_id == record)
    other = next(k for k in made.rows(t.link) if k.connection == "mail" and k.contact_id == link.contact_id)
    add(database, t.disagreement, {**row, "remote_id": other.remote_id})
    add(database, t.sighting, {"connection": "crm", "remote_id": record})
    address = made.vendors["crm"].records[record].fields["mail"]
    with database.write() as db:
        erasing.start(db, made.connections, address, "Kim")
    made.settle()
    assert made.rows(t.disagreement) == []
    assert made.rows(t.sighting) == []
    with database.read() as db:
        params = runs.one(db, run.id)["params"]
    assert (params["after"], params["cursor"]) == ("", None)
