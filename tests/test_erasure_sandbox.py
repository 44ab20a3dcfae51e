"""Erasure against the vendors' simulators: neither knows the person any more, and nobody takes them in again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from sqlalchemy import update

from app.core import tables as t
from app.core.settings import Config, Settings
from app.main import Tandem
from app.repair import erasing
from sandbox.serve import Sandbox
from tests import sandboxed

running, sandbox, hs, mc, members = (
    sandboxed.running,
    sandboxed.sandbox,
    sandboxed.hs,
    sandboxed.mc,
    sandboxed.members,
)
ANN = "ann.lee@example.org"


@pytest.fixture
def tandem(sandbox: Sandbox, tmp_path: Path) -> Iterator[Tandem]:
    """Everything, live at both, stepped by hand."""
    hub = {"name": "hubspot", "connector": "hubspot", "mode": "live", "settings": {"base_url": sandbox.hubspot_url}}
    chimp = {"name": "mailchimp", "connector": "mailchimp", "mode": "live"}
    chimp_settings = {"base_url": sandbox.mailchimp_url, "list_id": sandbox.mailchimp.audience.id}
    config = Config.model_validate({"connections": [hub, {**chimp, "settings": chimp_settings}]})
    env = {
        "TANDEM_HUBSPOT_ACCESS_TOKEN": sandbox.hubspot.token,
        "TANDEM_HUBSPOT_CLIENT_SECRET": sandbox.hubspot.secret,
        "TANDEM_MAILCHIMP_API_KEY": sandbox.mailchimp.key,
        "TANDEM_MAILCHIMP_WEBHOOK_SECRET": "hook-secret",
    }
    made = Tandem(Settings(database=f"sqlite:///{tmp_path / 'tandem.db'}"), config, env)
    made.prepare()
    yield made
    for client in made.clients.values():
        client.close()
    made.database.close()


def settle(tandem: Tandem, rounds: int = 200) -> None:
    """Look at both vendors and step until nothing is left to do; what waits for its time is due."""
    with tandem.database.write() as db:
        db.execute(update(t.connection_state).values(poll_due_at=0))
    stations = (tandem.poll, tandem.fetch, tandem.push, tandem.erase)
    for _ in range(rounds):
        with tandem.database.write() as db:
            db.execute(update(t.connection_state).values(next_at=0))
            for table in (t.work, t.inbox, t.erasure, t.erasure_step):
                db.execute(update(table).values(due_at=0))
        if not sum(station.step() for station in stations):
            return
    raise AssertionError("it does not come to rest")


def test_no_vendor_knows_the_person(tandem: Tandem, hs: httpx.Client, mc: httpx.Client, members: str) -> None:
    """HubSpot's privacy deletion, Mailchimp's permanent one; everybody else stays."""
    id_ = sandboxed.create(hs, email=ANN, firstname="Ann")
    sandboxed.create(hs, email="ben@example.org", firstname="Ben")
    settle(tandem)
    assert mc.get(f"{members}/{sandboxed.md5(ANN)}").status_code == 200
    number = tandem.database.transact(lambda db: erasing.start(db, tandem.connections, ANN, "Kim"))
    settle(tandem)
    with tandem.database.read() as db:
        shown = erasing.shown(db, number)
    assert (shown["status"], {s["status"] for s in shown["systems"]}) == ("done", {"done"})
    for archived in ("false", "true"):
        assert hs.get(f"{sandboxed.CONTACTS}/{id_}", params={"archived": archived}).status_code == 404
    assert mc.get(f"{members}/{sandboxed.md5(ANN)}").status_code == 404
    assert mc.get(f"{members}/{sandboxed.md5('ben@example.org')}").status_code == 200
    refused = mc.post(members, json={"email_address": ANN, "status": "subscribed"})
    assert refused.status_code == 400, "it was the permanent deletion"
    sandboxed.create(hs, email=ANN, firstname="Ann")
    settle(tandem)
    assert mc.get(f"{members}/{sandboxed.md5(ANN)}").status_code == 404
    path = Path(str(tandem.database.url.database))
    assert tandem.database.scrub()
    assert ANN.encode() not in path.read_bytes()
