"""HubSpot and Klaviyo in step, whole: real processes, real sockets, both simulators."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.core.db import Database
from sandbox.klaviyo import KlaviyoSim
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
  - name: klaviyo
    connector: klaviyo
    mode: live
    poll_seconds: 2
    brake: {{creates: off, overwrites: off}}
    settings: {{base_url: "{klaviyo}"}}
"""
ANN = {
    "email": "ann.lee@example.org",
    "firstname": "Ann",
    "lastname": "Lee",
    "mobilephone": "+49 1511 2345678",
    "city": "Berlin",
}


class Journey(test_journey.Journey):
    """The simulators, a place for the service, and the vendors' APIs as a person's client sees them."""

    def __init__(self, sandbox: Sandbox, sim: KlaviyoSim, database: Database, folder: Path) -> None:
        self.sandbox, self.sim, self.database = sandbox, sim, database
        with socket.create_server(("127.0.0.1", 0)) as listening:
            self.port = listening.getsockname()[1]
        config = folder / "tandem.yml"
        config.write_text(CONFIG.format(hubspot=sandbox.hubspot_url, klaviyo=sandbox.url("klaviyo")))
        hub = sandbox.hubspot
        self.env = {
            **os.environ,
            "TANDEM_CONFIG": str(config),
            "TANDEM_DATABASE": database.url.render_as_string(hide_password=False),
            "TANDEM_HUBSPOT_ACCESS_TOKEN": hub.token,
            "TANDEM_HUBSPOT_CLIENT_SECRET": hub.secret,
            "TANDEM_KLAVIYO_API_KEY": sim.key,
            "TANDEM_KLAVIYO_WEBHOOK_SECRET": sim.secret,
        }
        door = f"http://127.0.0.1:{self.port}/webhooks"
        sandbox.call(lambda: hub.deliver_to(f"{door}/hubspot"))
        sandbox.call(lambda: sim.deliver_to(f"{door}/klaviyo"))
        headers = {"authorization": f"Bearer {hub.token}", "x-sandbox-source": "CRM_UI"}
        self.hubspot = httpx.Client(base_url=sandbox.hubspot_url, headers=headers)

    def people(self) -> dict[str, dict[str, Any]]:
        """HubSpot's contacts by address."""
        params = {"limit": 100, "properties": f"{','.join(ANN)},hs_email_optout"}
        rows = self.hubspot.get("/crm/v3/objects/contacts", params=params).json()["results"]
        return {r["properties"]["email"]: {**r["properties"], "id": r["id"]} for r in rows}

    def profiles(self) -> dict[str, dict[str, Any]]:
        """Klaviyo's profiles by address."""
        rows, _ = self.sandbox.call(lambda: self.sim.records(0, 1000))
        return {r["attributes"]["email"]: {**r["attributes"], "id": r["id"]} for r in rows}

    def word(self, email: str) -> str:
        """Klaviyo's consent for e-mail."""
        return str(self.profiles()[email]["subscriptions"]["email"]["marketing"]["consent"])

    def post(self, **properties: str) -> str:
        answer = self.hubspot.post("/crm/v3/objects/contacts", json={"properties": properties}).raise_for_status()
        return str(answer.json()["id"])

    def patch(self, id_: str, **properties: str) -> None:
        self.hubspot.patch(f"/crm/v3/objects/contacts/{id_}", json={"properties": properties}).raise_for_status()

    def edit(self, action: str, **given: Any) -> dict[str, Any]:
        """What a person does in Klaviyo."""
        return self.sandbox.call(lambda: self.sim.edit({"action": action, **given}))

    def close(self) -> None:
        self.hubspot.close()


@pytest.fixture
def journey(database: Database, tmp_path: Path) -> Iterator[Journey]:
    sim = KlaviyoSim(retry_span=1.0)
    with Sandbox(klaviyo=sim) as sandbox:
        made = Journey(sandbox, sim, database, tmp_path)
        try:
            yield made
        finally:
            made.close()


@pytest.mark.slow  # in test_several_journey.py Klaviyo is among the four
@pytest.mark.timeout(240)
def test_there_and_back(journey: Journey) -> None:
    """A contact arrives, an edit comes back by poll, an address follows, and objections travel in both directions."""
    with journey.service():
        id_ = journey.post(**ANN)
        until(lambda: [p["first_name"] for p in journey.profiles().values()] == ["Ann"])
        (profile,) = journey.profiles().values()
        assert (profile["last_name"], profile["phone_number"]) == ("Lee", "+4915112345678")
        assert journey.word(ANN["email"]) == "NEVER_SUBSCRIBED", "nobody is subscribed by a sync"
        journey.edit("update", id=profile["id"], fields={"location": {"city": "Bonn"}})
        until(lambda: [c["city"] for c in journey.people().values()] == ["Bonn"])
        journey.patch(id_, email="ann@new.example.org")
        until(lambda: list(journey.profiles()) == ["ann@new.example.org"])
        journey.edit("unsubscribe", id=profile["id"])
        until(lambda: journey.people()["ann@new.example.org"]["hs_email_optout"] == "true")
        other = {**ANN, "email": "bea@example.org", "firstname": "Bea", "lastname": "Okafor"}
        del other["mobilephone"]
        journey.post(**other)
        until(lambda: "bea@example.org" in journey.profiles())
        journey.edit("subscribe", id=journey.profiles()["bea@example.org"]["id"])
        opt_out = "/communication-preferences/v4/statuses/bea@example.org/unsubscribe-all"
        journey.hubspot.post(opt_out, params={"channel": "EMAIL"}).raise_for_status()
        until(lambda: journey.word("bea@example.org") == "UNSUBSCRIBED")
        assert len(journey.people()) == len(journey.profiles()) == 2
