"""Salesforce and Mailchimp in step, whole: real processes, real sockets, both simulators."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import func, select

from app.core import tables as t
from app.core.db import Database
from sandbox.salesforce import SalesforceSim
from sandbox.salesforce_org import ORG
from sandbox.serve import Sandbox
from tests import test_journey
from tests.test_journey import SECONDS, until

pytestmark = pytest.mark.heavy

# The brake would hold half of so small a crowd as a mass change.
CONFIG = """
connections:
  - name: salesforce
    connector: salesforce
    mode: live
    poll_seconds: 2
    brake: {{creates: off, overwrites: off}}
    settings: {{base_url: "{salesforce}", org_id: {org}}}
  - name: mailchimp
    connector: mailchimp
    mode: live
    poll_seconds: 2
    brake: {{creates: off, overwrites: off}}
    settings: {{base_url: "{mailchimp}", list_id: "{list_id}"}}
"""
ANN = {
    "Email": "ann.lee@example.org",
    "FirstName": "Ann",
    "LastName": "Lee",
    "Phone": "+49 30 901820",
}
CROWD = (("Brandt", "Okafor", "Silva"), ("Novak", "Hughes", "Petrov"))


def mail(family: str) -> str:
    return f"{family.lower()}@{family.lower()}-family.example.org"


class Journey(test_journey.Journey):
    """The simulators, a place for the service, and the vendors' APIs as a person's client sees them."""

    def __init__(self, sandbox: Sandbox, sim: SalesforceSim, database: Database, folder: Path) -> None:
        self.sandbox, self.sim, self.database = sandbox, sim, database
        self.list_id = sandbox.mailchimp.audience.id
        with socket.create_server(("127.0.0.1", 0)) as listening:
            self.port = listening.getsockname()[1]
        config = folder / "tandem.yml"
        urls = {"salesforce": sandbox.url("salesforce"), "mailchimp": sandbox.mailchimp_url}
        config.write_text(CONFIG.format(**urls, list_id=self.list_id, org=ORG))
        chimp = sandbox.mailchimp
        self.env = {
            **os.environ,
            "TANDEM_CONFIG": str(config),
            "TANDEM_DATABASE": database.url.render_as_string(hide_password=False),
            "TANDEM_SALESFORCE_ACCESS_TOKEN": sim.token,
            "TANDEM_SALESFORCE_WEBHOOK_SECRETS": sim.secret,
            "TANDEM_MAILCHIMP_API_KEY": chimp.key,
            "TANDEM_MAILCHIMP_WEBHOOK_SECRET": "hook-secret",
        }
        self.door = f"http://127.0.0.1:{self.port}/webhooks"
        sandbox.call(lambda: sim.deliver_to(f"{self.door}/salesforce"))
        sandbox.call(lambda: chimp.deliver_to(f"{self.door}/mailchimp", secret="hook-secret"))
        self.mailchimp = httpx.Client(base_url=sandbox.mailchimp_url, headers={"authorization": f"Bearer {chimp.key}"})

    def act(self, **given: Any) -> dict[str, Any]:
        """What a person does in Salesforce."""
        return self.sandbox.call(lambda: self.sim.edit(given))

    def rows(self, entity: str = "Contact") -> list[dict[str, Any]]:
        return self.sandbox.call(lambda: self.sim.org.all(entity))

    def members(self) -> list[dict[str, Any]]:
        answer = self.mailchimp.get(f"/lists/{self.list_id}/members", params={"count": 1000})
        found: list[dict[str, Any]] = answer.json()["members"]
        return found

    def links(self) -> int:
        """Records that the service has paired with a contact."""
        with self.database.read() as db:
            return int(db.execute(select(func.count()).select_from(t.link)).scalar_one())

    def patch_member(self, member: str, **fields: Any) -> None:
        self.mailchimp.patch(f"/lists/{self.list_id}/members/{member}", json=fields).raise_for_status()

    def close(self) -> None:
        self.mailchimp.close()


@pytest.fixture
def journey(database: Database, tmp_path: Path) -> Iterator[Journey]:
    sim = SalesforceSim(retry_span=1.0)
    with Sandbox(salesforce=sim) as sandbox:
        made = Journey(sandbox, sim, database, tmp_path)
        try:
            yield made
        finally:
            made.close()


def arrived(journey: Journey) -> bool:
    return [m["merge_fields"]["FNAME"] for m in journey.members()] == ["Ann"]


@pytest.mark.parametrize("station", ["nowhere", pytest.param("sent, nothing noted", marks=pytest.mark.slow)])
@pytest.mark.timeout(240)
def test_a_lead_goes_there_and_comes_back_as_a_contact(journey: Journey, station: str) -> None:
    """A lead arrives, an objection comes back; converted, its contact takes over, opted out again, and goes on."""
    with journey.service(station) as process:
        lead = journey.act(action="create", entity="Lead", fields={**ANN, "City": "Berlin", "Company": "Lee Ltd"})["Id"]
        if station == "nowhere":
            until(lambda: arrived(journey))
        else:
            assert process.wait(SECONDS) == -signal.SIGKILL
    with journey.service():
        until(lambda: arrived(journey))
        (member,) = journey.members()
        assert (member["email_address"], member["merge_fields"]["LNAME"]) == (ANN["Email"], "Lee")
        assert member["status"] == "transactional", "nobody is made mailable by a sync"
        journey.patch_member(member["id"], status="unsubscribed")
        until(lambda: [r["HasOptedOutOfEmail"] for r in journey.rows("Lead")] == [True])
        journey.act(action="convert", id=lead)  # this org's field mapping does not carry the opt-out
        until(lambda: [r["HasOptedOutOfEmail"] for r in journey.rows()] == [True])
        journey.patch_member(member["id"], merge_fields={"CITY": "Bonn"})
        until(lambda: [r["MailingCity"] for r in journey.rows()] == ["Bonn"])
        assert [r["City"] for r in journey.rows("Lead")] == ["Berlin"], "a converted lead is history"
        journey.act(id=journey.rows()[0]["Id"], fields={"Title": "CTO", "Email": "ann@new.example.org"})
        until(lambda: [m["email_address"] for m in journey.members()] == ["ann@new.example.org"])
        assert len(journey.rows()) == 1
        assert journey.links() == 2


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_all_agree_in_the_end(journey: Journey) -> None:
    """Messages and answers lost, edits on both sides, leads and contacts: both say the same, and there is peace."""
    journey.sandbox.call(lambda: journey.sim.faults.add({"kind": "drop_webhook", "rate": 0.4}))
    journey.sandbox.call(lambda: journey.sim.faults.add({"kind": "duplicate_webhook", "rate": 0.3}))
    mine, theirs = CROWD
    for family in theirs:
        fields = {"FNAME": f"Given {family}", "LNAME": family, "CITY": "Bonn"}
        answer = journey.mailchimp.post(
            f"/lists/{journey.list_id}/members",
            json={"email_address": mail(family), "status": "subscribed", "merge_fields": fields},
        )
        answer.raise_for_status()
    ids: dict[str, tuple[str, str]] = {}
    for n, f in enumerate(mine):
        entity, more = ("Lead", {"Company": "[not provided]"}) if n == 0 else ("Contact", {})
        body = {"Email": mail(f), "FirstName": f"Given {f}", "LastName": f, **more}
        ids[f] = entity, journey.act(action="create", entity=entity, fields=body)["Id"]
    lost = {"kind": "reset", "after": True, "match": "/composite/sobjects", "method": "POST", "count": 1}
    journey.sandbox.call(lambda: journey.sim.faults.add(lost))
    with journey.service():
        until(lambda: journey.links() == 12)
        for family, (entity, id_) in ids.items():
            city = "City" if entity == "Lead" else "MailingCity"
            journey.act(entity=entity, id=id_, fields={city: f"Town {family}"})
        members = {m["email_address"]: m["id"] for m in journey.members()}
        for family in theirs:
            journey.patch_member(members[mail(family)], merge_fields={"FNAME": f"New {family}"})
        until(lambda: agree(journey))
        before = len(writes(journey))
        last = journey.sim.calls.since(0)[-1]["n"]
        until(lambda: polled(journey, last) >= 3)  # a few polls over nothing new
        assert len(writes(journey)) == before, "no peace: somebody writes though all agree"
    there = sorted(r["Email"] for entity in ("Contact", "Lead") for r in journey.rows(entity))
    assert there == sorted(map(mail, [*mine, *theirs])), "an answer that was lost made somebody twice"


def agree(journey: Journey) -> bool:
    crm = {r["Email"]: (r["FirstName"], r["LastName"], r["MailingCity"]) for r in journey.rows()}
    crm |= {r["Email"]: (r["FirstName"], r["LastName"], r["City"]) for r in journey.rows("Lead")}
    chimp = {
        m["email_address"]: tuple(m["merge_fields"][name] for name in ("FNAME", "LNAME", "CITY"))
        for m in journey.members()
    }
    mine, theirs = CROWD
    edited = all(crm[mail(f)][0] == f"New {f}" for f in theirs)
    return crm == chimp and edited and all(crm[mail(f)][2] == f"Town {f}" for f in mine)


def writes(journey: Journey) -> list[dict[str, Any]]:
    """The service's writes; a person's go past the API, or as Mailchimp's client before."""
    every = [*journey.sim.calls.since(0), *journey.sandbox.mailchimp.calls.since(0)]
    return [c for c in every if c["write"]]


def polled(journey: Journey, since: int) -> int:
    return sum("/queryAll" in c["path"] for c in journey.sim.calls.since(since))
