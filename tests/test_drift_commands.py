"""``tandem reconcile``, ``alarms``, ``freshness`` and ``field``: what they print, and how they end."""

from __future__ import annotations

from app.core import tables as t
from app.core.db import Database
from app.records import alarms, drift, suspended
from tests.apihelp import add
from tests.test_cli import Shell, shell, store

__all__ = ["shell", "store"]


def test_on_the_command_line(shell: Shell, store: Database) -> None:
    """Nothing compared yet, nothing suspended, no alarm; then one of each, and how it ends."""
    assert "never compared" in shell("reconcile", "--show")
    assert shell("alarms") == "no alarm\n"
    assert shell("field", "list") == "no field is suspended\n"
    assert "hubspot" in shell("freshness")
    row = {"connection": "hubspot", "remote_id": "7", "field": "city", "why": "unseen", "run": 1}
    add(store, t.disagreement, {**row, "first_seen": 1_000, "last_seen": 1_000})
    add(
        store,
        t.drift,
        {"connection": "hubspot", "field": "city", "compared": 4, "mismatched": 1, "run": 1, "at": 1_000},
    )
    with store.write() as db:
        alarms.raised(db, alarms.Kind.FIELD, "hubspot", "jobtitle", "it is gone")
        suspended.suspend(db, "hubspot", {"jobtitle": "gone"})
    assert "1 of 4" in shell("reconcile", "--show", code=1)
    found = shell.json("reconcile", "--show", code=1)
    assert (found["ok"], found["drift"][0]["drift"]) == (False, 0.25)
    assert found["disagreements"][0]["why"] == drift.UNSEEN
    assert "it is gone" in shell("alarms", code=1)
    assert "jobtitle" in shell("field", "list")
    assert "read and written again" in shell("field", "resume", "hubspot", "jobtitle", "--by", "Kim")
    assert shell.json("alarms") == []
    shell("reconcile", "--show", "--repair", code=2)
    shell("reconcile", "--connection", "hubspot", code=1)
    assert "first complete walk has not ended" in shell.told
