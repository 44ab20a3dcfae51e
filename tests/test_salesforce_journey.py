"""Salesforce and Mailchimp in step, whole: real processes, real sockets, both simulators."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.core.db import Database
from sandbox.salesforce import SalesforceSim
from sandbox.salesforce_org import ORG
from sandbox.serve import Sandbox
from tests.beside_mailchimp import BesideMailchimp
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


class Journey(BesideMailchimp):
    """With the CRM's API as a person's client sees it."""

    def __init__(self, sandbox: Sandbox, sim: SalesforceSim, database: Database, folder: Path) -> None:
        secrets = {"access_token": sim.token, "webhook_secrets": sim.secret}
        super().__init__(sandbox, "salesforce", sim, database, folder, config=CONFIG, secrets=secrets, org=ORG)
        self.sim = sim

    def act(self, **given: Any) -> dict[str, Any]:
        """What a person does in Salesforce."""
        return self.sandbox.call(lambda: self.sim.edit(given))

    def rows(self, entity: str = "Contact") -> list[dict[str, Any]]:
        return self.sandbox.call(lambda: self.sim.org.all(entity))


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


@pytest.mark.slow  # in test_several_journey.py Salesforce is among the four
@pytest.mark.parametrize("station", ["nowhere", "sent, nothing noted"])
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
        assert journey.paired() == 2


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
        until(lambda: journey.paired() == 12)
        for family, (entity, id_) in ids.items():
            city = "City" if entity == "Lead" else "MailingCity"
            journey.act(entity=entity, id=id_, fields={city: f"Town {family}"})
        members = {m["email_address"]: m["id"] for m in journey.members()}
        for family in theirs:
            journey.patch_member(members[mail(family)], merge_fields={"FNAME": f"New {family}"})
        until(lambda: agree(journey))
        before = len(writes(journey))
        last = journey.sim.calls.since(0)[-1]["n"]
        until(lambda: polled(journey, last) >= 20)  # a few polls over nothing new, eleven queries each
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
