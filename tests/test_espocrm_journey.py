"""EspoCRM and Mailchimp in step, whole: real processes, real sockets, both simulators."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.core.db import Database
from sandbox.espocrm import EspoSim
from sandbox.serve import Sandbox
from tests.beside_mailchimp import BesideMailchimp
from tests.test_journey import SECONDS, until

pytestmark = pytest.mark.heavy

# The brake would hold half of so small a crowd as a mass change.
CONFIG = """
connections:
  - name: espocrm
    connector: espocrm
    mode: live
    poll_seconds: 2
    brake: {{creates: off, overwrites: off}}
    settings: {{base_url: "{espocrm}"}}
  - name: mailchimp
    connector: mailchimp
    mode: live
    poll_seconds: 2
    brake: {{creates: off, overwrites: off}}
    settings: {{base_url: "{mailchimp}", list_id: "{list_id}"}}
"""
ANN = {
    "emailAddress": "ann.lee@example.org",
    "firstName": "Ann",
    "lastName": "Lee",
    "phoneNumber": "+49 30 901820",
    "addressCity": "Berlin",
}
# Unlike each other: of people who may be one, only the first is created before a person has decided.
CROWD = (
    ("Brandt", "Okafor", "Silva", "Yilmaz", "Moreau", "Kowalska"),
    ("Novak", "Hughes", "Petrov", "Tanaka", "Costa", "Weber"),
)


def mail(family: str) -> str:
    return f"{family.lower()}@{family.lower()}-family.example.org"


class Journey(BesideMailchimp):
    """With the CRM's API as a person's client sees it."""

    def __init__(self, sandbox: Sandbox, espo: EspoSim, database: Database, folder: Path) -> None:
        secrets = {"api_key": espo.key, "webhook_secrets": espo.secret}
        super().__init__(sandbox, "espocrm", espo, database, folder, config=CONFIG, secrets=secrets)
        self.espo = espo
        headers = {"x-api-key": espo.key, "x-sandbox-source": "user"}
        self.crm = httpx.Client(base_url=f"{sandbox.url('espocrm')}/api/v1", headers=headers)

    def contacts(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.crm.get("/Contact", params={"maxSize": 200}).json()["list"]
        return found

    def post(self, **fields: Any) -> str:
        answer = self.crm.post("/Contact", json=fields).raise_for_status()
        return str(answer.json()["id"])

    def patch(self, id_: str, **fields: Any) -> None:
        self.crm.patch(f"/Contact/{id_}", json=fields).raise_for_status()

    def close(self) -> None:
        self.crm.close()
        super().close()


@pytest.fixture
def journey(database: Database, tmp_path: Path) -> Iterator[Journey]:
    espo = EspoSim(retry_span=1.0)
    with Sandbox(espocrm=espo) as sandbox:
        made = Journey(sandbox, espo, database, tmp_path)
        try:
            yield made
        finally:
            made.close()


def arrived(journey: Journey) -> bool:
    return [m["merge_fields"]["FNAME"] for m in journey.members()] == ["Ann"]


@pytest.mark.parametrize("station", ["nowhere", pytest.param("sent, nothing noted", marks=pytest.mark.slow)])
@pytest.mark.timeout(240)
def test_there_and_back(journey: Journey, station: str) -> None:
    """A new contact arrives at the other side, edits and an objection come back; killed on the way: the same."""
    with journey.service(station) as process:
        journey.post(**ANN)
        if station == "nowhere":
            until(lambda: arrived(journey))
        else:
            assert process.wait(SECONDS) == -signal.SIGKILL
    with journey.service():
        until(lambda: arrived(journey))
        (member,) = journey.members()
        assert (member["email_address"], member["merge_fields"]["LNAME"]) == (ANN["emailAddress"], "Lee")
        assert member["merge_fields"]["PHONE"].replace(" ", "") == "+4930901820"
        assert member["status"] == "transactional", "nobody is made mailable by a sync"
        journey.patch_member(member["id"], merge_fields={"CITY": "Bonn"})
        until(lambda: [c["addressCity"] for c in journey.contacts()] == ["Bonn"])
        (contact,) = journey.contacts()
        journey.patch(contact["id"], emailAddress="ann@new.example.org")
        until(lambda: [m["email_address"] for m in journey.members()] == ["ann@new.example.org"])
        (member,) = journey.members()
        journey.patch_member(member["id"], status="unsubscribed")
        until(lambda: [c["emailAddressIsOptedOut"] for c in journey.contacts()] == [True])
        assert len(journey.contacts()) == 1


@pytest.mark.timeout(240)
def test_an_objection_travels_from_espocrm(journey: Journey) -> None:
    """Whoever is opted out at EspoCRM is unsubscribed at Mailchimp, though the webhook tells only the mark."""
    with journey.service():
        id_ = journey.post(**ANN)
        until(lambda: arrived(journey))
        (member,) = journey.members()
        journey.patch_member(member["id"], status="subscribed")
        until(lambda: [m["status"] for m in journey.members()] == ["subscribed"])
        journey.patch(id_, emailAddressIsOptedOut=True)
        until(lambda: [m["status"] for m in journey.members()] == ["unsubscribed"])


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_all_agree_in_the_end(journey: Journey) -> None:
    """Webhooks and answers lost, edits on both sides: in the end both say the same, and there is peace."""
    journey.sandbox.call(lambda: journey.espo.faults.add({"kind": "drop_webhook", "rate": 0.4}))
    journey.sandbox.call(lambda: journey.espo.faults.add({"kind": "duplicate_webhook", "rate": 0.3}))
    mine, theirs = CROWD
    for family in theirs:
        fields = {"FNAME": f"Given {family}", "LNAME": family, "CITY": "Bonn"}
        answer = journey.mailchimp.post(
            f"/lists/{journey.list_id}/members",
            json={"email_address": mail(family), "status": "subscribed", "merge_fields": fields},
        )
        answer.raise_for_status()
    ids = {f: journey.post(emailAddress=mail(f), firstName=f"Given {f}", lastName=f) for f in mine}
    lost = {"kind": "reset", "after": True, "match": "/Contact", "method": "POST", "count": 2}  # the service's from now
    journey.sandbox.call(lambda: journey.espo.faults.add(lost))
    with journey.service():
        # Paired, not only there: before that an edit there is a first disagreement, in which the CRM's name wins.
        until(lambda: journey.paired() == 24)
        for family, id_ in ids.items():
            journey.patch(id_, addressCity=f"Town {family}")
        members = {m["email_address"]: m["id"] for m in journey.members()}
        for family in theirs:
            journey.patch_member(members[mail(family)], merge_fields={"FNAME": f"New {family}"})
        until(lambda: agree(journey))
        before = len(writes(journey))
        last = journey.espo.calls.since(0)[-1]["n"]
        until(lambda: polled(journey, last) >= 3)  # a few polls over nothing new
        assert len(writes(journey)) == before, "no peace: somebody writes though all agree"
    there = sorted(c["emailAddress"] for c in journey.contacts())
    assert there == sorted(map(mail, [*mine, *theirs])), "an answer that was lost made somebody twice"


def agree(journey: Journey) -> bool:
    crm = {c["emailAddress"]: (c["firstName"], c["lastName"], c["addressCity"] or "") for c in journey.contacts()}
    chimp = {}
    for m in journey.members():
        fields = m["merge_fields"]
        chimp[m["email_address"]] = (fields["FNAME"], fields["LNAME"], fields["CITY"])
    mine, theirs = CROWD
    edited = all(crm[mail(f)][0] == f"New {f}" for f in theirs)
    return crm == chimp and edited and all(crm[mail(f)][2] == f"Town {f}" for f in mine)


def writes(journey: Journey) -> list[dict[str, Any]]:
    """The service's writes; a person's client writes as another."""
    every = [*journey.espo.calls.since(0), *journey.sandbox.mailchimp.calls.since(0)]
    return [c for c in every if c["write"]]


def polled(journey: Journey, since: int) -> int:
    return sum("modifiedAt" in c["query"] for c in journey.espo.calls.since(since))
