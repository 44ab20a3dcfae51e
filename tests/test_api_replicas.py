"""Who shares the database, and what they share, as the API and the command line show it."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, update
from typer.testing import CliRunner

from app.cli import app
from app.core import leases
from app.core import tables as t
from app.core.db import Database, now_ms
from app.core.settings import Config, Settings
from app.main import Tandem
from app.records.budgets import Budgets
from connectors._shared_budget import SharedBudget
from connectors.contract import Limits, Rate
from tests.apihelp import Api
from tests.client import Clock

HOUR = 3_600_000


def busy(database: Database) -> None:
    """Two processes, one of them silent for an hour; a right that one has, one that rests, one that ran out; calls."""
    with database.write() as db:
        leases.register(db, "here")
        db.execute(
            insert(t.worker).values(
                id="away", host="elsewhere", pid=1, started_at=now_ms() - 2 * HOUR, beat_at=now_ms() - HOUR
            )
        )
        assert leases.acquire(db, "poll:hub", "here", HOUR)
        rested = leases.acquire(db, "prune", "here", HOUR)
        assert rested is not None
        leases.rest(db, "prune", rested, HOUR)
        assert leases.acquire(db, "erase", "here", 0)
    clock = Clock()
    how: dict[str, Any] = {"share": 1.0, "reserve": 0.1, "patience": 0.0, "now": clock, "sleep": clock.sleep}
    budget = SharedBudget(Limits(rates=(Rate(100, 600),)), ledger=Budgets(database, "hub"), **how)
    budget.take("", urgent=False)
    budget.pause(timedelta(hours=1))


def test_what_is_shared(database: Database) -> None:
    """Workers and whether they live, rights that somebody has or that rest, the calls of all."""
    busy(database)
    found = Api(database).get("/ops/replicas")
    assert [(w["id"], w["alive"]) for w in found["workers"]] == [("away", False), ("here", True)]
    assert [(r["name"], r["worker"]) for r in found["rights"]] == [("poll:hub", "here"), ("prune", None)]
    (calls,) = found["calls"]
    assert calls["connection"] == "hub"
    assert calls["closed_until"] > calls["counted_at"]
    assert [(r["family"], r["lane"], r["seconds"], r["calls"]) for r in calls["rates"]] == [
        ("", "all", 600, 1),
        ("", "ordinary", 600, 1),
    ]


def test_nobody_is_there(database: Database) -> None:
    """Nothing is no error."""
    assert Api(database).get("/ops/replicas") == {"workers": [], "rights": [], "calls": []}


def test_the_command_says_the_same(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As JSON, and for people."""
    busy(database)
    config = tmp_path / "tandem.yml"
    config.write_text("connections: []\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TANDEM_DATABASE", database.url.render_as_string(hide_password=False))
    told = CliRunner().invoke(app, ["replicas", "--json"])
    assert told.exit_code == 0, told.output
    assert json.loads(told.stdout) == Api(database).get("/ops/replicas")
    shown = CliRunner().invoke(app, ["replicas"])
    assert shown.exit_code == 0
    for word in ("elsewhere", "silent", "poll:hub", "rests", "ordinary"):
        assert word in shown.stdout


@pytest.mark.parametrize(
    ("shared", "others", "warned"), [(None, True, "sqlite"), (True, True, ""), (False, True, "all"), (False, False, "")]
)
def test_counting_alone_beside_others_is_said(
    database: Database, shared: bool | None, others: bool, warned: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A process that counts its calls alone, though others are there, says so; on PostgreSQL it does not by itself."""
    if others:
        with database.write() as db:
            leases.register(db, "other")
            db.execute(update(t.worker).values(host="elsewhere"))
    url = database.url.render_as_string(hide_password=False)
    tandem = Tandem(Settings(_env_file=None, database=url, shared_budget=shared), Config(), {})
    assert tandem.shares_budgets is (database.dialect == "postgresql" if shared is None else shared)
    tandem.start(door=False)
    tandem.stop(door=False)
    said = "calls_not_counted_together" in capsys.readouterr().out
    assert said is (warned in {"all", database.dialect})
