"""HubSpot and Mailchimp, both simulated: what sales knows reaches marketing, what people did reaches sales."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import update

from app.accounts import MAPPINGS
from app.core import tables as t
from app.core.settings import Config, Settings
from app.main import Tandem
from sandbox.serve import Sandbox
from tests import sandboxed

pytestmark = pytest.mark.heavy

running, sandbox, hs, mc, members = (
    sandboxed.running,
    sandboxed.sandbox,
    sandboxed.hs,
    sandboxed.mc,
    sandboxed.members,
)
ANN = "ann.lee@example.org"
MERGE = ("DEAL", "AMOUNT", "DOMAIN", "TOUCHED")


def mapping(folder: Path, name: str, more: str, **changes: str) -> str:
    """A copy of a shipped mapping with fields of our own."""
    text = (MAPPINGS / f"{name}.yaml").read_text(encoding="utf-8").replace("\nfields:\n", f"\nfields:\n{more}", 1)
    for old, new in changes.items():
        text = text.replace(old, new)
    path = folder / f"{name}.yaml"
    path.write_text(text, encoding="utf-8")
    return str(path)


@pytest.fixture
def tandem(sandbox: Sandbox, mc: httpx.Client, tmp_path: Path) -> Iterator[Tandem]:
    """Everything, live at both, stepped by hand."""
    list_id = sandbox.mailchimp.audience.id
    for name in MERGE:
        body = {"tag": name, "name": name.title(), "type": "text"}
        assert mc.post(f"/lists/{list_id}/merge-fields", json=body).status_code == 200
    fields = {"deal_status": "DEAL", "deal_amount": "AMOUNT", "company_domain": "DOMAIN", "last_touch_at": "TOUCHED"}
    more = "".join(f"  {ours}: {{theirs: merge_fields.{x}, way: out, clear: allowed}}\n" for ours, x in fields.items())
    chimp_map = mapping(tmp_path, "mailchimp", more)
    hub_map = mapping(tmp_path, "hubspot", "", **{"timeline: [form": "timeline: [click, form"})
    hub = {"name": "hubspot", "connector": "hubspot", "mode": "live", "settings": {"base_url": sandbox.hubspot_url}}
    chimp = {"name": "mailchimp", "connector": "mailchimp", "mode": "live", "mapping": chimp_map}
    chimp_settings = {"base_url": sandbox.mailchimp_url, "list_id": list_id}
    both = [{**hub, "mapping": hub_map}, {**chimp, "settings": chimp_settings}]
    env = {
        "TANDEM_HUBSPOT_ACCESS_TOKEN": sandbox.hubspot.token,
        "TANDEM_HUBSPOT_CLIENT_SECRET": sandbox.hubspot.secret,
        "TANDEM_MAILCHIMP_API_KEY": sandbox.mailchimp.key,
        "TANDEM_MAILCHIMP_WEBHOOK_SECRET": "hook-secret",
    }
    config = Config.model_validate({"connections": both})
    made = Tandem(Settings(database=f"sqlite:///{tmp_path / 'tandem.db'}"), config, env)
    made.prepare()
    yield made
    for client in made.clients.values():
        client.close()
    made.database.close()


def settle(tandem: Tandem, *, whole: bool = False) -> None:
    """Look at everything at both vendors and step until nothing is left to do."""
    with tandem.database.write() as db:
        db.execute(update(t.connection_state).values(poll_due_at=0))
        db.execute(update(t.survey).values(due_at=0, **({"cursor": None} if whole else {})))
        db.execute(update(t.lease).values(until=0))
    e = t.timeline_entry.c
    for _ in range(200):
        with tandem.database.write() as db:
            db.execute(update(t.connection_state).values(next_at=0))
            db.execute(update(t.work).values(due_at=0))
            db.execute(update(t.inbox).values(due_at=0))
            db.execute(update(t.timeline_entry).where(e.due_at.is_not(None)).values(due_at=0))
            db.execute(update(t.lease).where(t.lease.c.name == "summarise").values(until=0))
        stations = (tandem.poll, tandem.fetch, tandem.rounds, tandem.summarise, tandem.push, tandem.timeline)
        if not sum(station.step() for station in stations) and not _due(tandem):
            return
    raise AssertionError("it does not come to rest")


def _due(tandem: Tandem) -> bool:
    """Whether some kind is still to be read."""
    with tandem.database.read() as db:
        now = datetime.now(UTC).timestamp() * 1000
        rows = db.execute(t.survey.select()).all()
        return len(rows) < 5 or any(row.due_at <= now for row in rows)


def member(mc: httpx.Client, members: str, email: str = ANN) -> dict[str, Any]:
    """What Mailchimp holds of somebody in the fields of our own."""
    found = mc.get(f"{members}/{sandboxed.md5(email)}").json()["merge_fields"]
    return {name: found[name] for name in MERGE}


def test_sales_and_marketing_know_what_the_other_knows(
    tandem: Tandem, sandbox: Sandbox, hs: httpx.Client, mc: httpx.Client, members: str
) -> None:
    """Company, deal and touch reach Mailchimp; a click is a note at HubSpot, once; a lost association is taken back."""
    objects, reports = sandbox.hubspot.objects, sandbox.mailchimp.reports
    ann = int(sandboxed.create(hs, email=ANN, firstname="Ann", lastname="Lee"))
    company = objects.put("companies", {"name": "Example", "domain": "shop.example.co.uk"})
    deal = objects.put("deals", {"dealname": "Big", "dealstage": "presentation", "amount": "1200.50"})
    objects.associate(("contacts", ann), ("companies", company), main=True)
    objects.associate(("deals", deal), ("contacts", ann))
    objects.associate(("deals", deal), ("companies", company), main=True)
    call = objects.put("calls", {"hs_timestamp": "2026-02-03T04:05:06Z", "hs_call_direction": "OUTBOUND"})
    objects.associate(("calls", call), ("contacts", ann))
    settle(tandem)
    settle(tandem)
    assert member(mc, members) == {
        "DEAL": "open",
        "AMOUNT": "1200.5",
        "DOMAIN": "example.co.uk",
        "TOUCHED": "2026-02-03T04:05:06Z",
    }

    now = datetime.now(UTC) - timedelta(minutes=5)
    reports.sent("k1", "Spring", sandbox.mailchimp.audience.id, now - timedelta(hours=1))
    reports.did("k1", ANN, "open", now)
    reports.did("k1", ANN, "click", now, url="https://shop.example/p")
    objects.put("deals", {"dealstage": "closedwon"}, deal)
    for _ in range(3):
        settle(tandem)
    assert member(mc, members)["DEAL"] == "won"
    (note,) = objects.rows["notes"].values()
    text = note["properties"]["hs_note_body"]
    assert text.startswith("Clicked in a mail: campaign Spring, https://shop.example/p [mailchimp] (Tandem ")
    with tandem.database.read() as db:
        kinds = sorted(row.kind for row in db.execute(t.engagement.select()))
        assert kinds == ["call", "click", "open"]
        assert [row.failure for row in db.execute(t.survey.select())] == [None] * 5

    objects.dissociate(("contacts", ann), ("companies", company))
    settle(tandem, whole=True)
    assert member(mc, members)["DOMAIN"] == ""
    settle(tandem, whole=True)
    assert len(objects.rows["notes"]) == 1
