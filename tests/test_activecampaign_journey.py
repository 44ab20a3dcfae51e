"""HubSpot and ActiveCampaign in step, whole: real processes, real sockets, both simulators."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.core.db import Database
from sandbox.activecampaign import LIST, CampaignSim
from sandbox.serve import Sandbox
from tests import test_journey
from tests.test_journey import until

pytestmark = pytest.mark.heavy

# The brake would hold half of so small a crowd as a mass change.
CONFIG = """
connections:
  - name: hubspot
    connector: hubspot
    mode: live
    poll_seconds: 2
    brake: {{creates: off, overwrites: off}}
    settings: {{base_url: "{hubspot}"}}
  - name: activecampaign
    connector: activecampaign
    mode: live
    poll_seconds: 2
    brake: {{creates: off, overwrites: off}}
    settings: {{base_url: "{campaign}", list_id: "1"}}
"""
PROPERTIES = ("email", "firstname", "lastname", "phone")
# Unlike each other: of people who may be one, only the first is created before a person has decided.
CROWD = (("Brandt", "Okafor"), ("Novak", "Hughes"))


def mail(family: str) -> str:
    return f"{family.lower()}@{family.lower()}-family.example.org"


class Journey(test_journey.Journey):
    """The simulators, a place for the service, and the vendors' APIs as a person's client sees them."""

    def __init__(self, sandbox: Sandbox, sim: CampaignSim, database: Database, folder: Path) -> None:
        self.sandbox, self.sim, self.database = sandbox, sim, database
        with socket.create_server(("127.0.0.1", 0)) as listening:
            self.port = listening.getsockname()[1]
        config = folder / "tandem.yml"
        config.write_text(CONFIG.format(hubspot=sandbox.hubspot_url, campaign=sandbox.url("activecampaign")))
        hub = sandbox.hubspot
        self.env = {
            **os.environ,
            "TANDEM_CONFIG": str(config),
            "TANDEM_DATABASE": database.url.render_as_string(hide_password=False),
            "TANDEM_HUBSPOT_ACCESS_TOKEN": hub.token,
            "TANDEM_HUBSPOT_CLIENT_SECRET": hub.secret,
            "TANDEM_ACTIVECAMPAIGN_API_KEY": sim.key,
            "TANDEM_ACTIVECAMPAIGN_WEBHOOK_SECRET": sim.secret,
        }
        door = f"http://127.0.0.1:{self.port}/webhooks"
        sandbox.call(lambda: hub.deliver_to(f"{door}/hubspot"))
        sandbox.call(lambda: sim.deliver_to(f"{door}/activecampaign"))
        headers = {"authorization": f"Bearer {hub.token}", "x-sandbox-source": "CRM_UI"}
        self.hubspot = httpx.Client(base_url=sandbox.hubspot_url, headers=headers)

    def people(self) -> dict[str, dict[str, Any]]:
        """HubSpot's contacts by address."""
        params = {"limit": 100, "properties": f"{','.join(PROPERTIES)},hs_email_optout"}
        rows = self.hubspot.get("/crm/v3/objects/contacts", params=params).json()["results"]
        return {r["properties"]["email"]: {**r["properties"], "id": r["id"]} for r in rows}

    def contacts(self) -> dict[str, dict[str, Any]]:
        """ActiveCampaign's contacts by address."""
        rows, _ = self.sandbox.call(lambda: self.sim.records(0, 1000))
        return {r["email"]: r for r in rows}

    def post(self, **properties: str) -> str:
        answer = self.hubspot.post("/crm/v3/objects/contacts", json={"properties": properties}).raise_for_status()
        return str(answer.json()["id"])

    def patch(self, id_: str, **properties: str) -> None:
        self.hubspot.patch(f"/crm/v3/objects/contacts/{id_}", json={"properties": properties}).raise_for_status()

    def opt_out(self, email: str) -> None:
        url = f"/communication-preferences/v4/statuses/{email}/unsubscribe-all"
        self.hubspot.post(url, params={"channel": "EMAIL"}).raise_for_status()

    def edit(self, action: str, **given: Any) -> dict[str, Any]:
        """What a person does in ActiveCampaign."""
        return self.sandbox.call(lambda: self.sim.edit({"action": action, **given}))

    def out(self, email: str) -> bool:
        """Whether HubSpot shows an objection."""
        return bool(self.people()[email]["hs_email_optout"] == "true")

    def close(self) -> None:
        self.hubspot.close()


@pytest.fixture
def journey(database: Database, tmp_path: Path) -> Iterator[Journey]:
    sim = CampaignSim(retry_span=1.0)
    with Sandbox(activecampaign=sim) as sandbox:
        made = Journey(sandbox, sim, database, tmp_path)
        try:
            yield made
        finally:
            made.close()


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_there_and_back(journey: Journey) -> None:
    """A contact arrives, an edit comes back, an address follows, and objections travel in both directions."""
    with journey.service():
        id_ = journey.post(email="ann.lee@example.org", firstname="Ann", lastname="Lee", phone="+49 30 901820")
        until(lambda: [c["firstName"] for c in journey.contacts().values()] == ["Ann"])
        (contact,) = journey.contacts().values()
        assert (contact["lastName"], contact["phone"]) == ("Lee", "+4930901820")
        assert contact["lists"] == {}, "nobody is subscribed by a sync"
        journey.edit("update", id=contact["id"], fields={"phone": "+4930901821"})
        until(lambda: [c["phone"] for c in journey.people().values()] == ["+4930901821"])
        journey.patch(id_, email="ann@new.example.org")
        until(lambda: list(journey.contacts()) == ["ann@new.example.org"])
        journey.edit("unsubscribe", id=contact["id"])
        until(lambda: journey.out("ann@new.example.org"))
        bea = journey.edit("create", fields={"email": "bea@example.org", "firstName": "Bea", "lastName": "Okafor"})
        journey.edit("subscribe", id=bea["id"])
        journey.edit("subscribe", id=bea["id"], list="2")
        until(lambda: "bea@example.org" in journey.people())
        journey.opt_out("bea@example.org")
        until(lambda: journey.contacts()["bea@example.org"]["lists"] == {"1": "2", "2": "2"})
        assert len(journey.people()) == len(journey.contacts()) == 2


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_all_agree_in_the_end(journey: Journey) -> None:
    """Webhooks and answers lost, edits on both sides: in the end both say the same, and there is peace."""
    sim, call = journey.sim, journey.sandbox.call
    call(lambda: sim.faults.add({"kind": "drop_webhook", "rate": 0.5}))
    mine, theirs = CROWD
    for family in theirs:
        journey.edit("create", fields={"email": mail(family), "firstName": f"Given {family}", "lastName": family})
    ids = {f: journey.post(email=mail(f), firstname=f"Given {f}", lastname=f) for f in mine}
    lost = {"kind": "reset", "after": True, "match": "/api/3/contacts", "method": "POST", "count": 2}
    call(lambda: sim.faults.add(lost))
    with journey.service():
        until(lambda: len(journey.people()) == len(journey.contacts()) == 4)
        for family, id_ in ids.items():
            journey.patch(id_, phone=f"+493090182{len(family)}")
        for family in theirs:
            journey.edit(
                "update", id=journey.contacts()[mail(family)]["id"], fields={"phone": f"+493090183{len(family)}"}
            )
        journey.opt_out(mail(mine[0]))
        until(lambda: _agree(journey))
        # With polls every two seconds the five calls a second do not last: a write whose answer came too late is made
        # again after all agree.  In the end there is peace.
        until(lambda: _quiet(journey))
        assert _agree(journey)
    assert sorted(journey.contacts()) == sorted(map(mail, [*mine, *theirs])), "a lost answer made somebody twice"


def _agree(journey: Journey) -> bool:
    people, contacts = journey.people(), journey.contacts()
    crm = {m: (c["firstname"], c["lastname"], c["phone"] or "") for m, c in people.items()}
    own = {m: (c["firstName"], c["lastName"], c["phone"]) for m, c in contacts.items()}
    stopped = mail(CROWD[0][0])
    return crm == own and all(c[2] for c in crm.values()) and contacts[stopped]["lists"] == {LIST: "2"}


def _quiet(journey: Journey) -> bool:
    """Whether nobody writes while changes are asked for six times."""
    before, last = len(_writes(journey)), journey.sim.calls.since(0)[-1]["n"]
    until(lambda: sum("updated_after" in c["query"] for c in journey.sim.calls.since(last)) >= 6)
    return len(_writes(journey)) == before


def _writes(journey: Journey) -> list[dict[str, Any]]:
    """The service's writes; a person's client writes as another."""
    return [c for c in [*journey.sim.calls.since(0), *journey.sandbox.hubspot.calls.since(0)] if c["write"]]
