"""The poll as a net: soon after it caught something, seldom while nothing slips through; and it misses nothing."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import delete, select, update

from app.core import tables as t
from app.core.db import Database, clock_of, now_ms
from app.entry import inbox
from app.main import Tandem
from app.ops.drift import drift_of
from app.repair import runs
from connectors.contract import Delivery
from sandbox.serve import Sandbox
from tests import sandboxed, test_erasure_sandbox
from tests.test_drift import world
from tests.test_erasure_sandbox import settle

running, sandbox, hs, receiver = sandboxed.running, sandboxed.sandbox, sandboxed.hs, sandboxed.receiver
tandem = test_erasure_sandbox.tandem

PEOPLE = 100


def test_the_gap_follows_what_is_found(database: Database) -> None:
    """Least after news that no webhook told, then twice as long each time, up to the usual one."""
    made = world(database, 3)
    ids = sorted(made.vendors["crm"].records)
    c = t.connection_state.c

    def gap() -> int:
        with made.database.write() as db:
            db.execute(update(t.connection_state).where(c.name == "mail").values(poll_due_at=2**60))
            db.execute(update(t.connection_state).where(c.name == "crm").values(poll_due_at=0, cursor=None))
        made.poll.step()
        with made.database.read() as db:
            due, now = db.execute(select(c.poll_due_at, now_ms()).where(c.name == "crm")).one()
        return round((due - now) / 1000)

    with made.database.write() as db:
        db.execute(delete(t.rhythm))  # of how they were met
    assert gap() == 300
    made.vendors["crm"].put(ids[0], {"town": "Chur"})
    made.vendors["crm"].events.clear()  # the webhook is lost
    assert [gap(), gap(), gap(), gap(), gap()] == [60, 120, 240, 300, 300]
    made.vendors["crm"].put(ids[1], {"town": "Chur"})
    made.deliver("crm")  # it is told, and waits
    assert gap() == 300
    made.settle()
    assert gap() == 300
    missed = {r.connection: r.missed for r in made.rows(t.rhythm)}
    assert missed["crm"] == 1


def drift(tandem: Tandem) -> int:
    """A complete compare of the CRM now; how many values disagree."""
    tandem.reconcile.recent_ms = tandem.reconcile.patience_ms = 0
    number = tandem.database.transact(lambda db: runs.start(db, tandem.connections, "hubspot"))[0]
    for _ in range(100):
        tandem.reconcile.step()
        with tandem.database.read() as db:
            if runs.one(db, number)["status"] != "running":
                return next(d.mismatched for d in drift_of(db, tandem.connections) if d.connection == "hubspot")
    raise AssertionError("it does not end")


@pytest.fixture
def webhooks(sandbox: Sandbox, receiver: Any, tandem: Tandem) -> Any:
    """Brings what the simulator delivered to the inbox."""
    sandbox.call(lambda: sandbox.hubspot.deliver_to(f"{receiver.url}/hubspot"))

    def bring(hs: httpx.Client) -> int:
        sandboxed.settled(hs)
        count = 0
        while not receiver.inbox.empty():
            got = receiver.inbox.get()
            delivery = Delivery(got.method, got.url, got.headers, got.body, datetime.now(UTC))
            events = tandem.connections["hubspot"].connector.receive(delivery).events
            with tandem.database.write() as db:
                at = clock_of(db)
                inbox.store_events(db, [inbox.event_row("hubspot", e, at, None) for e in events])
            count += len(events)
        return count

    return bring


def test_what_webhooks_lose_the_poll_finds(
    sandbox: Sandbox, hs: httpx.Client, tandem: Tandem, webhooks: Any, tmp_path: Path
) -> None:
    """5 % of the webhooks are dropped: drift before the next poll, none after two of them."""
    inputs = [{"properties": {"email": f"p{n}@example.org", "city": "Bern"}} for n in range(PEOPLE)]
    made = hs.post(f"{sandboxed.CONTACTS}/batch/create", json={"inputs": inputs}).json()["results"]
    settle(tandem)
    webhooks(hs)
    settle(tandem)
    assert drift(tandem) == 0
    hs.post("/_sandbox/faults", json={"kind": "drop_webhook", "rate": 0.05})
    edits = [{"id": r["id"], "properties": {"city": "Chur"}} for r in made]
    hs.post(f"{sandboxed.CONTACTS}/batch/update", json={"inputs": edits})
    came = webhooks(hs)
    assert 0 < came < PEOPLE
    with tandem.database.write() as db:
        db.execute(update(t.connection_state).values(poll_due_at=2**60))
    for _ in range(50):
        with tandem.database.write() as db:
            db.execute(update(t.inbox).values(due_at=0))
            db.execute(update(t.work).values(due_at=0))
            db.execute(update(t.connection_state).values(next_at=0))
        if not tandem.fetch.step() + tandem.push.step():
            break
    assert drift(tandem) == PEOPLE - came
    for _ in range(2):
        settle(tandem)
        webhooks(hs)
    assert drift(tandem) == 0


def test_a_poll_that_stays_away_is_caught(
    monkeypatch: pytest.MonkeyPatch, sandbox: Sandbox, hs: httpx.Client, tandem: Tandem, webhooks: Any, tmp_path: Path
) -> None:
    """Saboteur: a net that is never drawn in."""
    walked = tandem.poll.step

    def only_first() -> int:
        with tandem.database.read() as db:
            first = db.execute(select(t.connection_state.c.walked_at).where(t.connection_state.c.walked_at.is_(None)))
            return walked() if first.first() is not None else 0

    monkeypatch.setattr(tandem.poll, "step", only_first)
    with pytest.raises(AssertionError):
        test_what_webhooks_lose_the_poll_finds(sandbox, hs, tandem, webhooks, tmp_path)


def test_least_is_never_more_than_usual() -> None:
    """A connection that is polled every second is polled every second."""
    from app.core.settings import ConnectionConfig

    config = ConnectionConfig(name="hub", connector="hubspot", poll_seconds=1)
    assert config.watch().poll_least_ms == 1_000
    assert dataclasses.asdict(config.watch())["reconcile_every_ms"] == 86_400_000
