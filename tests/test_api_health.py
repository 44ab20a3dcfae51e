"""Alive, ready, and why not."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from app.core import leases
from app.core import tables as t
from app.core.db import Database
from app.core.retry import Schedule
from app.core.settings import Config, Settings
from app.main import Tandem
from app.ops.metrics import Metrics
from app.push.push import Push
from app.records import migrate, state
from tests.apihelp import HERE, HOUR, Api, add, add_events, now, token
from tests.test_consent_travels import ANN
from tests.test_consent_travels import world as travels

FAR = ("203.0.113.7", 50_000)
SECRET = "a-token-of-some-length"


def ready(api: Api, **request: Any) -> tuple[int, dict[str, Any]]:
    answer = api("GET", "/health/ready", **request)
    return answer.status_code, answer.json()


def add_worker(database: Database, *, silent_ms: int = 0) -> None:
    moment = now(database) - silent_ms
    worker = {"id": f"w{silent_ms}", "host": "elsewhere", "pid": 1, "started_at": moment, "beat_at": moment}
    add(database, t.worker, worker)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("client", [HERE, FAR], ids=["here", "far"])
def test_alive_is_all_that_live_says(database: Database, method: str, client: Any) -> None:
    """It looks at nothing, so that a database that is away does not get the process killed."""
    api = Api(database, token=token(SECRET))
    database.close()
    answer = api(method, "/health/live", client=client)
    assert answer.status_code == 200
    assert answer.text == ('{"status":"ok"}' if method == "GET" else "")


@pytest.mark.parametrize(
    ("workers", "expected", "code"),
    [
        pytest.param([], False, 200, id="none, none expected"),
        pytest.param([], True, 503, id="none, but expected"),
        pytest.param([0], True, 200, id="one"),
        pytest.param([15_000], True, 200, id="one that was silent for a while"),
        pytest.param([60_000], True, 503, id="one that is silent"),
        pytest.param([60_000], False, 503, id="one elsewhere that is silent"),
        pytest.param([60_000, 0], True, 200, id="one silent, one alive"),
    ],
)
def test_workers_have_to_be_alive(database: Database, workers: list[int], expected: bool, code: int) -> None:
    """Where workers are expected, or have ever come, one of them has to have been heard of lately."""
    for silent in workers:
        add_worker(database, silent_ms=silent)
    status, body = ready(Api(database, worker_expected=expected))
    assert status == code
    assert body["workers"] == {
        "expected": expected,
        "alive": sum(s < 30_000 for s in workers),
        "silent": sum(s > 30_000 for s in workers),
    }
    assert (body["status"], bool(body["problems"])) == (("ok", False) if code == 200 else ("down", True))


def test_a_real_worker_counts(database: Database) -> None:
    """What a worker process enters is what readiness looks for."""
    api = Api(database, worker_expected=True)
    with database.write() as db:
        leases.register(db, "me")
    assert ready(api)[0] == 200
    with database.write() as db:
        leases.sign_off(db, "me")
    assert ready(api)[0] == 503


@pytest.mark.parametrize(
    ("event", "code"),
    [
        pytest.param({"status": "pending", "due_ago": 1_000}, 200, id="a moment"),
        pytest.param({"status": "pending", "due_ago": 301_000}, 503, id="longer than five minutes"),
        pytest.param({"status": "pending", "due_ago": -HOUR, "received_at": 0}, 200, id="old, but waits for a retry"),
        pytest.param({"status": "pending", "due_ago": 0, "received_at": 0}, 200, id="old, replayed just now"),
        pytest.param({"status": "done", "due_ago": HOUR}, 200, id="done"),
        pytest.param({"status": "parked", "due_ago": HOUR}, 200, id="parked"),
        pytest.param({"status": "pending", "due_ago": HOUR, "connection": "gone"}, 200, id="of no connection"),
    ],
)
def test_an_event_that_nobody_processes(database: Database, event: dict[str, Any], code: int) -> None:
    """What counts is for how long it could have been processed."""
    api = Api(database)
    row = {name: value for name, value in event.items() if name != "due_ago"}
    add_events(database, {"due_at": now(database) - event["due_ago"], **row})
    status, body = ready(api)
    assert (status, body["status"]) == (code, "ok" if code == 200 else "down")


def test_how_long_is_too_long_can_be_said(database: Database) -> None:
    """The limit is a parameter."""
    add_events(database, {"status": "pending", "due_at": now(database) - 5_000})
    assert ready(Api(database, event_age=timedelta(seconds=4)))[0] == 503
    assert ready(Api(database, event_age=timedelta(seconds=400)))[0] == 200


@pytest.mark.parametrize(
    ("what", "expected"),
    [("paused", ("paused", "key revoked")), ("failing", ("failing", "502 Bad Gateway"))],
)
def test_a_poor_connection_is_shown_and_does_not_make_it_unready(
    database: Database, what: str, expected: tuple[str, str]
) -> None:
    """Other connections go on; events of this one may wait as long as it takes."""
    api = Api(database)
    with database.write() as db:
        if what == "paused":
            state.pause(db, "hub", expected[1])
        else:
            state.failing(db, "hub", expected[1])
    add_events(database, {"status": "pending", "due_at": now(database) - HOUR})
    status, body = ready(api)
    assert (status, body["status"]) == (200, "degraded")
    hub, chimp = body["connections"][:2]
    assert (hub["state"], hub["why"]) == expected
    assert hub["since"].endswith("Z")
    assert (chimp["name"], chimp["mode"], chimp["state"]) == ("chimp", "live", "ok")
    assert body["connections"][2]["mode"] == "observe"
    assert any(expected[1] in problem for problem in body["problems"])


@pytest.mark.parametrize(
    ("statement", "told"),
    [("DELETE FROM alembic_version", "tandem migrate"), ("UPDATE alembic_version SET version_num = '9999_x'", "newer")],
    ids=["empty", "newer"],
)
def test_tables_of_another_version(database: Database, statement: str, told: str) -> None:
    """A store with which this version cannot work is of no use, and the answer says what to do."""
    add(database, t.meta, {"key": migrate.NEEDS, "value": "9998_x"})
    with database.write() as db:
        db.exec_driver_sql(statement)
    status, body = ready(Api(database))
    assert (status, body["database"]) == (503, {"reachable": True, "migrated": False})
    assert told in body["problems"][0]


def test_a_database_that_is_away(database: Database) -> None:
    """Unready, and never an error."""
    if database.dialect != "sqlite":
        pytest.skip("drops a table, and on PostgreSQL all tests share one store")
    api = Api(database)
    with database.write() as db:
        db.exec_driver_sql("DROP TABLE worker")
    status, body = ready(api)
    assert (status, body["status"], body["database"]["reachable"]) == (503, "down", False)


@pytest.mark.parametrize(
    ("secret", "client", "headers", "detailed"),
    [
        pytest.param(None, HERE, {}, True, id="here"),
        pytest.param(None, FAR, {}, False, id="far"),
        pytest.param(None, HERE, {"x-forwarded-for": "203.0.113.7"}, False, id="through a proxy"),
        pytest.param(SECRET, FAR, {"authorization": f"Bearer {SECRET}"}, True, id="with the token"),
        pytest.param(SECRET, FAR, {"authorization": "Bearer x"}, False, id="with another token"),
        pytest.param(SECRET, HERE, {}, False, id="without the token"),
    ],
)
def test_a_stranger_reads_the_status_only(
    database: Database, secret: str | None, client: Any, headers: Mapping[str, str], detailed: bool
) -> None:
    """A load balancer needs no more."""
    api = Api(database, token=token(secret) if secret is not None else None, worker_expected=True)
    status, body = ready(api, client=client, headers=headers)
    assert status == 503
    assert ("connections" in body, "problems" in body) == (detailed, detailed)
    if not detailed:
        assert body == {"status": "down"}


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        (None, "text/plain"),
        ("text/plain;version=0.0.4", "text/plain"),
        ("application/openmetrics-text;version=1.0.0", "application/openmetrics-text"),
    ],
)
def test_figures_for_prometheus(database: Database, accept: str | None, media_type: str) -> None:
    """What lies in the store is among them, in the format that is asked for."""
    api = Api(database)
    add_events(database, {"status": "pending"}, {"status": "pending"})
    answer = api("GET", "/metrics", headers={"accept": accept} if accept is not None else {})
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith(media_type)
    assert 'tandem_inbox_pending{connection="hub"} 2.0' in answer.text
    if media_type == "text/plain":
        names = {family.name for family in text_string_to_metric_families(answer.text)}
        assert {"tandem_work_links", "tandem_dead_letters", "tandem_freshness_seconds"} <= names


def test_how_long_withdrawals_take_is_measured(database: Database) -> None:
    """From when the person made it until it landed at the other side, in buckets up to hours; nothing else counts."""
    w = travels(database)
    metrics = Metrics(database, list(w.connections))
    w.push = Push(database, w.connections, "test", lease_ms=60_000, schedule=Schedule(), withdrawn=metrics.withdrawn)
    w.vendors["hub"].put(None, {**ANN, "mailing": "never"})
    w.settle()
    assert "tandem_withdrawal_seconds_count{" not in generate_latest(metrics.registry).decode()
    w.vendors["hub"].put("hub1", {"mailing": "no"})
    w.settle()
    text = generate_latest(metrics.registry).decode()
    assert 'tandem_withdrawal_seconds_count{connection="chimp"} 1.0' in text
    assert 'tandem_withdrawal_seconds_count{connection="hub"}' not in text
    metrics.withdrawn("hub", 59.0)
    text = generate_latest(metrics.registry).decode()
    for bound, count in (("30.0", "0.0"), ("60.0", "1.0"), ("86400.0", "1.0")):
        assert f'tandem_withdrawal_seconds_bucket{{connection="hub",le="{bound}"}} {count}' in text


def test_the_figures_of_the_stations_reach_the_metrics(tmp_path: Path) -> None:
    """Put together as for a service."""
    settings = Settings(_env_file=None, database=f"sqlite:///{tmp_path / 'tandem.db'}")
    tandem = Tandem(settings, Config(), {})
    assert tandem.push._withdrawn == tandem.metrics.withdrawn
    assert tandem.push._landed == tandem.metrics.landed
    tandem.database.close()


def test_the_lifespan_is_the_apps(database: Database) -> None:
    """What starts and stops with the app is handed through."""
    seen: list[str] = []

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        seen.append("start")
        yield
        seen.append("stop")

    async def run() -> None:
        async with api.app.router.lifespan_context(api.app):
            seen.append("running")

    api = Api(database, lifespan=lifespan)
    asyncio.run(run())
    assert seen == ["start", "running", "stop"]
