"""The agreement on the simulators, with the shipped mappings and the lines that docs/agreement.md adds to them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import insert, select, update

from app.agreement import acting
from app.agreement.words import Team
from app.core import tables as t
from app.core.db import now_ms
from app.core.settings import Config, Settings
from app.main import Tandem
from sandbox.serve import Sandbox
from tests import sandboxed
from tests.agreed import shipped

running, sandbox, hs, mc, members = (
    sandboxed.running,
    sandboxed.sandbox,
    sandboxed.hs,
    sandboxed.mc,
    sandboxed.members,
)
ROOT = Path(__file__).parents[1]
ANN = "ann.lee@example.org"
PROPERTIES = ("stage", "stage_since", "stage_reason", "lead_status", "lead_reason", "lead_flag")
FIELDS = ("STAGE", "STAGESINCE", "STAGEWHY", "LEADSTATUS", "LEADFLAG")  # SCORE is there


def mappings(folder: Path) -> dict[str, Path]:
    """The shipped mappings with the lines of the page; a score comes from the marketing platform."""
    page = (ROOT / "docs" / "agreement.md").read_text(encoding="utf-8")
    hub, chimp = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    text = (ROOT / "mappings" / "hubspot.yaml").read_text(encoding="utf-8").split("\nexamples:")[0]
    text, taken = re.subn(r"^  (lifecycle_stage|lead_status): .*\n", "", text, flags=re.MULTILINE)
    assert taken == 2
    made = {"hubspot": text + "\n" + hub}
    text = (ROOT / "mappings" / "mailchimp.yaml").read_text(encoding="utf-8").split("\nexamples:")[0]
    made["mailchimp"] = text + "\n" + chimp + "  lead_score: {theirs: merge_fields.SCORE, way: in}\n"
    for name, whole in made.items():
        (folder / f"{name}.yaml").write_text(whole, encoding="utf-8")
    return {name: folder / f"{name}.yaml" for name in made}


@pytest.fixture
def tandem(sandbox: Sandbox, hs: httpx.Client, mc: httpx.Client, tmp_path: Path) -> Iterator[Tandem]:
    """Everything, live at both, the fields made there, the agreement signed by both; stepped by hand."""
    for name in PROPERTIES:
        given = {"name": f"tandem_{name}", "label": name, "type": "string", "fieldType": "text"}
        made = hs.post("/crm/v3/properties/contacts", json={**given, "groupName": "contactinformation"})
        assert made.status_code == 201, made.text
    for tag in FIELDS:
        given = {"name": tag, "tag": tag, "type": "text"}
        made = mc.post(f"/lists/{sandbox.mailchimp.audience.id}/merge-fields", json=given)
        assert made.status_code == 200, made.text
    files = mappings(tmp_path)
    hub = {"name": "hubspot", "connector": "hubspot", "mode": "live", "mapping": files["hubspot"]}
    chimp = {"name": "mailchimp", "connector": "mailchimp", "mode": "live", "mapping": files["mailchimp"]}
    chimp_settings = {"base_url": sandbox.mailchimp_url, "list_id": sandbox.mailchimp.audience.id}
    config = Config.model_validate(
        {
            "connections": [
                {**hub, "settings": {"base_url": sandbox.hubspot_url}},
                {**chimp, "settings": chimp_settings},
            ]
        }
    )
    env = {
        "TANDEM_HUBSPOT_ACCESS_TOKEN": sandbox.hubspot.token,
        "TANDEM_HUBSPOT_CLIENT_SECRET": sandbox.hubspot.secret,
        "TANDEM_MAILCHIMP_API_KEY": sandbox.mailchimp.key,
        "TANDEM_MAILCHIMP_WEBHOOK_SECRET": "hook-secret",
    }
    made_ = Tandem(Settings(database=f"sqlite:///{tmp_path / 'tandem.db'}"), config, env)
    made_.prepare()
    with made_.database.write() as db:
        for team in Team:
            acting.sign(db, shipped(), {}, team, f"Kim of {team}", since=0)
    yield made_
    for client in made_.clients.values():
        client.close()
    made_.database.close()


def settle(tandem: Tandem, rounds: int = 200) -> None:
    """Look at both vendors and step until nothing is left to do; what waits for its time is due."""
    with tandem.database.write() as db:
        db.execute(update(t.connection_state).values(poll_due_at=0))
    stations = (tandem.poll, tandem.fetch, tandem.leads, tandem.push)
    for _ in range(rounds):
        with tandem.database.write() as db:
            db.execute(update(t.connection_state).values(next_at=0))
            for table in (t.work, t.inbox):
                db.execute(update(table).values(due_at=0))
        if not sum(station.step() for station in stations):
            return
    raise AssertionError("it does not come to rest")


class Seen:
    """What people see at the two vendors."""

    def __init__(self, hs: httpx.Client, mc: httpx.Client, members: str) -> None:
        self.hs, self.mc, self.member = hs, mc, f"{members}/{sandboxed.md5(ANN)}"

    @property
    def id(self) -> str:
        """HubSpot's number of the only contact."""
        (found,) = self.hs.get(sandboxed.CONTACTS, params={"limit": 100}).json()["results"]
        return str(found["id"])

    def hubspot(self, *names: str) -> list[Any]:
        """Values of our properties."""
        return [v if v else None for v in sandboxed.values(self.hs, self.id, *(f"tandem_{n}" for n in names))]

    def mailchimp(self, *tags: str) -> list[Any]:
        """Values of our merge fields."""
        fields = self.mc.get(self.member).json()["merge_fields"]
        return [fields[tag] if fields[tag] != "" else None for tag in tags]

    def edit(self, **properties: str) -> None:
        """Somebody in sales edits the contact."""
        names = {f"tandem_{n}": v for n, v in properties.items()}
        answer = self.hs.patch(f"{sandboxed.CONTACTS}/{self.id}", json={"properties": names})
        assert answer.status_code == 200, answer.text


@pytest.mark.timeout(240)
def test_an_mql_is_seen_rejected_and_recycled(tandem: Tandem, hs: httpx.Client, mc: httpx.Client, members: str) -> None:
    """By its score; a rejection without a reason is flagged and written back; a proper one goes back to marketing."""
    seen = Seen(hs, mc, members)
    sandboxed.join(mc, members, ANN, merge_fields={"FNAME": "Ann", "LNAME": "Lee", "SCORE": 72})
    settle(tandem)
    assert seen.hubspot("stage", "stage_reason", "lead_status") == ["mql", "lead score: 72", "new"]
    assert seen.mailchimp("STAGE", "STAGEWHY", "LEADSTATUS") == ["mql", "lead score: 72", "new"]
    assert seen.hubspot("stage_since") == seen.mailchimp("STAGESINCE") != [None]

    seen.edit(lead_status="rejected")
    settle(tandem)
    assert seen.hubspot("stage", "lead_status") == ["mql", "new"]
    (flag,) = seen.hubspot("lead_flag")
    assert flag.startswith("given back without a reason; say one of: not_reached")
    assert seen.mailchimp("LEADSTATUS", "LEADFLAG") == ["new", flag]

    seen.edit(stage="prospect")
    settle(tandem)
    assert seen.hubspot("stage") == ["mql"], "nobody falls back by a field"

    with tandem.database.write() as db:
        (lead,) = db.execute(select(t.lead)).all()
        now = db.execute(select(now_ms())).scalar_one()
        for n, kind in enumerate(("call", "mail", "call")):
            act = {
                "connection": "hubspot",
                "remote_id": str(n),
                "contact_id": lead.contact_id,
                "kind": kind,
                "by": f"k{n}",
            }
            db.execute(insert(t.engagement).values(**act, human=1, at=now, received_at=now))
    seen.edit(lead_status="rejected", lead_reason="no_need")
    settle(tandem)
    assert seen.hubspot("stage", "lead_status", "lead_reason", "lead_flag") == ["lead", "recycled", "no_need", None]
    assert seen.mailchimp("STAGE", "LEADSTATUS", "LEADFLAG") == ["lead", "recycled", None]
    with tandem.database.read() as db:
        (lead,) = db.execute(select(t.lead)).all()
        said = db.execute(select(t.disposition.c.finding).order_by(t.disposition.c.id)).scalars().all()
    assert (lead.recycled, lead.requalified, lead.rest_until > lead.recycled_at) == (1, 0, True)
    assert said[:2] == ["flagged", "refused"]
    assert said[-1] == "taken"


def test_a_stage_that_sales_may_say_holds_at_both(
    tandem: Tandem, hs: httpx.Client, mc: httpx.Client, members: str
) -> None:
    """HubSpot's own lifecycle stage is a claim: a client that it knows is one here, and at Mailchimp."""
    seen = Seen(hs, mc, members)
    sandboxed.create(hs, email=ANN, firstname="Ann", lastname="Lee", lifecyclestage="customer")
    settle(tandem)
    assert seen.hubspot("stage", "stage_reason") == ["client", "sales said so"]
    assert seen.mailchimp("STAGE", "STAGEWHY") == ["client", "sales said so"]
