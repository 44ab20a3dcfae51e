"""Pipedrive and Mailchimp in step, whole: real processes, real sockets, both simulators."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.core.db import Database
from sandbox.pipedrive import PipedriveSim
from sandbox.serve import Sandbox
from tests.beside_mailchimp import BesideMailchimp
from tests.test_journey import SECONDS, until

pytestmark = pytest.mark.heavy

# The brake would hold half of so small a crowd as a mass change.
CONFIG = """
connections:
  - name: pipedrive
    connector: pipedrive
    mode: live
    poll_seconds: 2
    brake: {{creates: off, overwrites: off}}
    settings: {{base_url: "{pipedrive}", plan: ultimate}}
  - name: mailchimp
    connector: mailchimp
    mode: live
    poll_seconds: 2
    brake: {{creates: off, overwrites: off}}
    settings: {{base_url: "{mailchimp}", list_id: "{list_id}"}}
"""
# Unlike each other: of people who may be one, only the first is created before a person has decided.
CROWD = (("Brandt", "Okafor", "Silva", "Yilmaz"), ("Novak", "Hughes", "Petrov", "Tanaka"))


def mail(family: str) -> str:
    return f"{family.lower()}@{family.lower()}-family.example.org"


def person(name: str, email: str, phone: str | None = None) -> dict[str, Any]:
    said: dict[str, Any] = {"name": name, "emails": [{"value": email, "primary": True, "label": "work"}]}
    return said if phone is None else {**said, "phones": [{"value": phone, "primary": True, "label": "work"}]}


ANN = person("Ann Lee", "ann.lee@example.org", "+49 30 901820")


class Journey(BesideMailchimp):
    """With the CRM's API as a person's client sees it."""

    def __init__(self, sandbox: Sandbox, pipe: PipedriveSim, database: Database, folder: Path) -> None:
        secrets = {"api_token": pipe.token, "webhook_password": pipe.password}
        super().__init__(sandbox, "pipedrive", pipe, database, folder, config=CONFIG, secrets=secrets)
        self.pipe = pipe
        headers = {"x-api-token": pipe.token, "x-sandbox-source": "user"}
        self.crm = httpx.Client(base_url=f"{sandbox.url('pipedrive')}/api/v2", headers=headers)

    def contacts(self) -> list[dict[str, Any]]:
        query = {"limit": "500", "include_fields": "marketing_status"}
        found: list[dict[str, Any]] = self.crm.get("/persons", params=query).json()["data"]
        return found

    def post(self, **fields: Any) -> int:
        return int(self.crm.post("/persons", json=fields).raise_for_status().json()["data"]["id"])

    def patch(self, id_: int, **fields: Any) -> None:
        self.crm.patch(f"/persons/{id_}", json=fields).raise_for_status()

    def close(self) -> None:
        self.crm.close()
        super().close()


@pytest.fixture
def journey(database: Database, tmp_path: Path) -> Iterator[Journey]:
    pipe = PipedriveSim(retry_span=1.0)
    with Sandbox(pipedrive=pipe) as sandbox:
        made = Journey(sandbox, pipe, database, tmp_path)
        try:
            yield made
        finally:
            made.close()


def arrived(journey: Journey) -> bool:
    return [m["merge_fields"]["FNAME"] for m in journey.members()] == ["Ann"]


@pytest.mark.slow
@pytest.mark.parametrize("station", ["nowhere", pytest.param("sent, nothing noted", marks=pytest.mark.slow)])
@pytest.mark.timeout(240)
def test_there_and_back(journey: Journey, station: str) -> None:
    """A new person arrives at the other side, edits and an objection come back; killed on the way: the same."""
    with journey.service(station) as process:
        journey.post(**ANN)
        if station == "nowhere":
            until(lambda: arrived(journey))
        else:
            assert process.wait(SECONDS) == -signal.SIGKILL
    with journey.service():
        until(lambda: arrived(journey))
        (member,) = journey.members()
        assert (member["email_address"], member["merge_fields"]["LNAME"]) == ("ann.lee@example.org", "Lee")
        assert member["merge_fields"]["PHONE"].replace(" ", "") == "+4930901820"
        assert member["status"] == "transactional", "nobody is made mailable by a sync"
        journey.patch_member(member["id"], merge_fields={"FNAME": "Anna"})
        until(lambda: [c["name"] for c in journey.contacts()] == ["Anna Lee"])
        (contact,) = journey.contacts()
        second = {"value": "ann@private.example.org", "primary": False, "label": "home"}
        journey.patch(contact["id"], emails=[{"value": "ann@new.example.org", "primary": True}, second])
        until(lambda: [m["email_address"] for m in journey.members()] == ["ann@new.example.org"])
        (member,) = journey.members()
        journey.patch_member(member["id"], status="unsubscribed")
        until(lambda: [c["marketing_status"] for c in journey.contacts()] == ["unsubscribed"])
        (contact,) = journey.contacts()
        assert [e["value"] for e in contact["emails"]] == ["ann@new.example.org", "ann@private.example.org"]


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_an_objection_travels_from_pipedrive(journey: Journey) -> None:
    """Whoever is unsubscribed at Pipedrive is unsubscribed at Mailchimp, though no webhook shows the status."""
    with journey.service():
        id_ = journey.post(**ANN)
        until(lambda: arrived(journey))
        (member,) = journey.members()
        journey.patch_member(member["id"], status="subscribed")
        until(lambda: [m["status"] for m in journey.members()] == ["subscribed"])
        journey.patch(id_, marketing_status="unsubscribed")
        until(lambda: [m["status"] for m in journey.members()] == ["unsubscribed"])


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_all_agree_in_the_end(journey: Journey) -> None:
    """Webhooks and answers lost, edits on both sides: in the end both say the same, and there is peace."""
    journey.sandbox.call(lambda: journey.pipe.faults.add({"kind": "drop_webhook", "rate": 0.4}))
    journey.sandbox.call(lambda: journey.pipe.faults.add({"kind": "duplicate_webhook", "rate": 0.3}))
    mine, theirs = CROWD
    for family in theirs:
        fields = {"FNAME": f"Given{family}", "LNAME": family}
        answer = journey.mailchimp.post(
            f"/lists/{journey.list_id}/members",
            json={"email_address": mail(family), "status": "subscribed", "merge_fields": fields},
        )
        answer.raise_for_status()
    ids = {f: journey.post(**person(f"Given{f} {f}", mail(f))) for f in mine}
    lost = {"kind": "reset", "after": True, "match": "/persons", "method": "POST", "count": 2}  # the service's from now
    journey.sandbox.call(lambda: journey.pipe.faults.add(lost))
    with journey.service():
        # Paired, not only there: before that an edit there is a first disagreement, in which the CRM's name wins.
        until(lambda: journey.paired() == 16)
        for id_ in ids.values():
            journey.patch(id_, phones=[{"value": f"+49 30 9018{200 + id_}", "primary": True}])
        members = {m["email_address"]: m["id"] for m in journey.members()}
        for family in theirs:
            journey.patch_member(members[mail(family)], merge_fields={"FNAME": f"New{family}"})
        until(lambda: agree(journey))
        before = len(writes(journey))
        last = journey.pipe.calls.since(0)[-1]["n"]
        until(lambda: polled(journey, last) >= 3)  # a few polls over nothing new
        assert len(writes(journey)) == before, "no peace: somebody writes though all agree"
    there = sorted(c["emails"][0]["value"] for c in journey.contacts())
    assert there == sorted(map(mail, [*mine, *theirs])), "an answer that was lost made somebody twice"


def agree(journey: Journey) -> bool:
    crm = {}
    for c in journey.contacts():
        phone = c["phones"][0]["value"].replace(" ", "") if c["phones"] else ""
        crm[c["emails"][0]["value"]] = (c["name"], phone)
    chimp = {}
    for m in journey.members():
        fields = m["merge_fields"]
        chimp[m["email_address"]] = (f"{fields['FNAME']} {fields['LNAME']}", fields["PHONE"].replace(" ", ""))
    mine, theirs = CROWD
    edited = all(crm[mail(f)][0] == f"New{f} {f}" for f in theirs)
    return crm == chimp and edited and all(crm[mail(f)][1] for f in mine)


def writes(journey: Journey) -> list[dict[str, Any]]:
    """The service's writes; a person's client writes as another."""
    every = [*journey.pipe.calls.since(0), *journey.sandbox.mailchimp.calls.since(0)]
    return [c for c in every if c["write"]]


def polled(journey: Journey, since: int) -> int:
    """Polls of persons; the last mails are read from the same list."""
    calls = [c for c in journey.pipe.calls.since(since) if c["path"].endswith("/v2/persons")]
    return sum("updated_since" in c["query"] and "mail_time" not in c["query"] for c in calls)
