"""Odoo and Mailchimp in step, whole: real processes, real sockets, both simulators."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.core.db import Database
from sandbox.odoo import OdooSim
from sandbox.serve import Sandbox
from tests.beside_mailchimp import BesideMailchimp
from tests.test_espocrm_journey import mail
from tests.test_journey import SECONDS, until

pytestmark = pytest.mark.heavy

CONFIG = """
connections:
  - name: odoo
    connector: odoo
    mode: live
    poll_seconds: 2
    brake: {{creates: off, overwrites: off}}
    settings: {{base_url: "{odoo}"}}
  - name: mailchimp
    connector: mailchimp
    mode: live
    poll_seconds: 2
    brake: {{creates: off, overwrites: off}}
    settings: {{base_url: "{mailchimp}", list_id: "{list_id}"}}
"""
ANN = {"name": "Ann Lee", "email": "ann.lee@example.org", "phone": "+49 30 901820", "city": "Berlin"}
# Unlike each other: of people who may be one, only the first is created before a person has decided.
MINE, THEIRS = ("Brandt", "Okafor", "Silva", "Yilmaz"), ("Novak", "Hughes", "Petrov", "Tanaka")
SHOWN = ("name", "email", "city", "active", "is_blacklisted")


class Journey(BesideMailchimp):
    """With the CRM's API as a person's client sees it."""

    def __init__(self, sandbox: Sandbox, odoo: OdooSim, database: Database, folder: Path) -> None:
        secrets = {"api_key": odoo.key, "webhook_secrets": odoo.secret}
        super().__init__(sandbox, "odoo", odoo, database, folder, config=CONFIG, secrets=secrets)
        self.odoo = odoo
        person = {"authorization": f"bearer {odoo.key}", "x-sandbox-source": "user"}
        self.crm = httpx.Client(base_url=f"{sandbox.url('odoo')}/json/2", headers=person)

    def ask(self, method: str, **named: Any) -> Any:
        return self.crm.post(method, json=named).raise_for_status().json()

    def contacts(self) -> list[dict[str, Any]]:
        domain = [["active", "in", [True, False]]]
        found: list[dict[str, Any]] = self.ask("res.partner/search_read", domain=domain, fields=list(SHOWN))
        return found

    def post(self, **fields: Any) -> int:
        (made,) = self.ask("res.partner/create", vals_list=[fields])
        return int(made)

    def edit(self, id_: int, **fields: Any) -> None:
        self.ask("res.partner/write", ids=[id_], vals=fields)

    def close(self) -> None:
        self.crm.close()
        super().close()


@pytest.fixture
def journey(database: Database, tmp_path: Path) -> Iterator[Journey]:
    odoo = OdooSim()
    with Sandbox(odoo=odoo) as sandbox:
        made = Journey(sandbox, odoo, database, tmp_path)
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
    """A new contact arrives at the other side, edits and an objection come back; killed on the way: the same."""
    with journey.service(station) as process:
        id_ = journey.post(**ANN)
        if station == "nowhere":
            until(lambda: arrived(journey))
        else:
            assert process.wait(SECONDS) == -signal.SIGKILL
    with journey.service():
        until(lambda: arrived(journey))
        (member,) = journey.members()
        assert (member["email_address"], member["merge_fields"]["LNAME"]) == (ANN["email"], "Lee")
        assert member["merge_fields"]["PHONE"].replace(" ", "") == "+4930901820"
        assert member["status"] == "transactional", "nobody is made mailable by a sync"
        until(lambda: journey.paired() == 2)  # before that an edit is no edit: nothing says what was there before
        journey.patch_member(member["id"], merge_fields={"CITY": "Bonn", "FNAME": "Anna"})
        until(lambda: [(c["city"], c["name"]) for c in journey.contacts()] == [("Bonn", "Anna Lee")])
        journey.edit(id_, email="ann@new.example.org")
        until(lambda: [m["email_address"] for m in journey.members()] == ["ann@new.example.org"])
        (member,) = journey.members()
        journey.patch_member(member["id"], status="unsubscribed")
        until(lambda: [c["is_blacklisted"] for c in journey.contacts()] == [True])
        assert len(journey.contacts()) == 1


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_an_objection_travels_from_odoo_though_no_webhook_tells_it(journey: Journey) -> None:
    """The contact itself does not change: the poll over the blacklist finds it."""
    journey.sandbox.call(lambda: journey.odoo.deliver_to(None))
    with journey.service():
        journey.post(**ANN)
        until(lambda: arrived(journey))
        (member,) = journey.members()
        journey.patch_member(member["id"], status="subscribed")
        until(lambda: [m["status"] for m in journey.members()] == ["subscribed"])
        journey.ask("mail.blacklist/create", vals_list=[{"email": "Ann.Lee@example.org", "active": True}])
        until(lambda: [m["status"] for m in journey.members()] == ["unsubscribed"])


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_all_agree_in_the_end(journey: Journey) -> None:
    """Webhooks and answers lost, edits on both sides: in the end both say the same, and there is peace."""
    journey.sandbox.call(lambda: journey.odoo.faults.add({"kind": "drop_webhook", "rate": 0.4}))
    journey.sandbox.call(lambda: journey.odoo.faults.add({"kind": "duplicate_webhook", "rate": 0.3}))
    for family in THEIRS:
        fields = {"FNAME": f"G{family.lower()}", "LNAME": family}
        body = {"email_address": mail(family), "status": "subscribed", "merge_fields": fields}
        journey.mailchimp.post(f"/lists/{journey.list_id}/members", json=body).raise_for_status()
    ids = {f: journey.post(email=mail(f), name=f"G{f.lower()} {f}") for f in MINE}
    lost = {"kind": "reset", "after": True, "match": "/json/2/res.partner/load", "method": "POST", "count": 2}
    journey.sandbox.call(lambda: journey.odoo.faults.add(lost))
    with journey.service():
        until(lambda: len(journey.contacts()) == len(journey.members()) == 8)
        until(lambda: agree(journey))
        for family, id_ in ids.items():
            journey.edit(id_, city=f"Town {family}")
        for member in journey.members():
            if member["merge_fields"]["LNAME"] in THEIRS:
                journey.patch_member(member["id"], merge_fields={"CITY": f"Ville {member['merge_fields']['LNAME']}"})
        until(lambda: agree(journey, edited=True))
        before = len(writes(journey))
        last = journey.odoo.calls.since(0)[-1]["n"]
        until(lambda: sum("mail.blacklist/search" in c["path"] for c in journey.odoo.calls.since(last)) >= 3)
        assert len(writes(journey)) == before, "no peace: somebody writes though all agree"
    assert sorted(c["email"] for c in journey.contacts()) == sorted(map(mail, [*MINE, *THEIRS])), "somebody came twice"


def agree(journey: Journey, *, edited: bool = False) -> bool:
    crm = {c["email"]: (c["name"], c["city"] or "") for c in journey.contacts()}
    chimp = {
        m["email_address"]: (f"{m['merge_fields']['FNAME']} {m['merge_fields']['LNAME']}", m["merge_fields"]["CITY"])
        for m in journey.members()
    }
    wanted = {**{mail(f): f"Town {f}" for f in MINE}, **{mail(f): f"Ville {f}" for f in THEIRS}}
    return crm == chimp and (not edited or {m: city for m, (_, city) in crm.items()} == wanted)


def writes(journey: Journey) -> list[dict[str, Any]]:
    """The service's writes, and those of persons, of which there are none while we look."""
    return [c for c in [*journey.odoo.calls.since(0), *journey.sandbox.mailchimp.calls.since(0)] if c["write"]]
