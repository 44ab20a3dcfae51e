"""Salesforce and Mailchimp in step through the real engine, stepped by hand: conversions, merges, lost answers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import select, update

from app.core import tables as t
from app.core.settings import Config, Settings
from app.main import Tandem
from app.repair import erasing
from connectors import _salesforce_calls as calls
from sandbox.salesforce import SalesforceSim
from sandbox.salesforce_org import ORG
from sandbox.serve import Sandbox

ANN = {"Email": "ann.lee@example.org", "FirstName": "Ann", "LastName": "Lee"}


class Pair:
    """Both sides, and everything between them; polls only, since nobody listens for messages."""

    def __init__(self, sandbox: Sandbox, sim: SalesforceSim, folder: Path) -> None:
        self.sandbox, self.sim = sandbox, sim
        self.list_id = sandbox.mailchimp.audience.id
        shared = {"mode": "live", "brake": {"creates": "off", "overwrites": "off"}}
        ours = {"base_url": sandbox.url("salesforce"), "org_id": ORG}
        theirs = {"base_url": sandbox.mailchimp_url, "list_id": self.list_id}
        config = Config.model_validate(
            {
                "connections": [
                    {"name": "salesforce", "connector": "salesforce", "settings": ours, **shared},
                    {"name": "mailchimp", "connector": "mailchimp", "settings": theirs, **shared},
                ]
            }
        )
        env = {
            "TANDEM_SALESFORCE_ACCESS_TOKEN": sim.token,
            "TANDEM_SALESFORCE_WEBHOOK_SECRETS": sim.secret,
            "TANDEM_MAILCHIMP_API_KEY": sandbox.mailchimp.key,
            "TANDEM_MAILCHIMP_WEBHOOK_SECRET": "hook-secret",
        }
        self.tandem = Tandem(Settings(database=f"sqlite:///{folder / 'tandem.db'}"), config, env)
        self.tandem.prepare()
        key = {"authorization": f"Bearer {sandbox.mailchimp.key}"}
        self.mailchimp = httpx.Client(base_url=sandbox.mailchimp_url, headers=key)

    def act(self, **given: Any) -> dict[str, Any]:
        """What a person does in Salesforce."""
        return self.sandbox.call(lambda: self.sim.edit(given))

    def rows(self, entity: str = "Contact") -> list[dict[str, Any]]:
        return self.sandbox.call(lambda: self.sim.org.all(entity))

    def members(self) -> list[dict[str, Any]]:
        answer = self.mailchimp.get(f"/lists/{self.list_id}/members", params={"count": 1000})
        found: list[dict[str, Any]] = answer.json()["members"]
        return found

    def patch(self, member: str, **fields: Any) -> None:
        self.mailchimp.patch(f"/lists/{self.list_id}/members/{member}", json=fields).raise_for_status()

    def settle(self) -> None:
        """Both are polled and all stations step until nothing is left to do, twice: each sees what the other wrote."""
        stations = (self.tandem.poll, self.tandem.fetch, self.tandem.push)
        for _ in range(2):
            with self.tandem.database.write() as db:
                db.execute(update(t.connection_state).values(poll_due_at=0))
            idle = 0
            while idle < 4:  # a poll that finds nobody has nothing to show for its turn
                with self.tandem.database.write() as db:
                    db.execute(update(t.connection_state).values(next_at=0))
                    for table in (t.work, t.inbox):
                        db.execute(update(table).values(due_at=0))
                idle = 0 if sum(station.step() for station in stations) else idle + 1

    def paired(self) -> set[str]:
        """Ids at Salesforce that stand for a contact, former ones left out."""
        with self.tandem.database.read() as db:
            query = select(t.link.c.remote_id).where(t.link.c.connection == "salesforce", t.link.c.gone_at.is_(None))
            return set(db.execute(query).scalars())

    def close(self) -> None:
        for client in self.tandem.clients.values():
            client.close()
        self.tandem.database.close()
        self.mailchimp.close()


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    sim = SalesforceSim()
    with Sandbox(salesforce=sim) as sandbox:
        made = Pair(sandbox, sim, tmp_path)
        yield made
        made.close()


def test_a_conversion_keeps_the_pair_and_the_objection(pair: Pair) -> None:
    """The contact takes the lead's link, is opted out although the conversion dropped it, and edits go to it."""
    lead = pair.act(action="create", entity="Lead", fields={**ANN, "Company": "Lee Ltd", "City": "Berlin"})["Id"]
    pair.settle()
    (member,) = pair.members()
    assert (member["merge_fields"]["FNAME"], member["merge_fields"]["CITY"]) == ("Ann", "Berlin")
    pair.patch(member["id"], status="unsubscribed")
    pair.settle()
    assert [r["HasOptedOutOfEmail"] for r in pair.rows("Lead")] == [True]
    contact = pair.act(action="convert", id=lead)["Id"]
    assert not pair.rows()[0]["HasOptedOutOfEmail"]
    pair.settle()
    assert pair.paired() == {contact}
    assert [r["HasOptedOutOfEmail"] for r in pair.rows()] == [True]
    pair.patch(member["id"], merge_fields={"CITY": "Bonn"})
    pair.settle()
    assert [r["MailingCity"] for r in pair.rows()] == ["Bonn"]
    assert [r["City"] for r in pair.rows("Lead")] == ["Berlin"]
    assert len(pair.members()) == 1


def test_a_conversion_that_is_not_followed_is_caught(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """The saboteur: a connector that does not see what a lead became."""
    honest = calls.columns

    def blind(entity: str, names: Any, **said: Any) -> list[str]:
        return [c for c in honest(entity, names, **said) if c != "ConvertedContactId"]

    monkeypatch.setattr(calls, "columns", blind)
    with pytest.raises((AssertionError, ValueError)):
        test_a_conversion_keeps_the_pair_and_the_objection(pair)


def test_a_merge_in_salesforce_makes_one_of_two(pair: Pair) -> None:
    """The lost record is no deletion; the survivor has the stricter consent of both."""
    first = pair.act(action="create", fields=ANN)["Id"]
    second = pair.act(action="create", fields={"Email": "a.lee@example.org", "LastName": "Lee"})["Id"]
    pair.settle()
    members = {m["email_address"]: m["id"] for m in pair.members()}
    pair.patch(members["a.lee@example.org"], status="unsubscribed")
    pair.settle()
    assert pair.paired() == {first, second}
    pair.act(action="merge", id=first, losers=[second])
    pair.settle()
    assert pair.paired() == {first}
    assert [(r["Id"], r["HasOptedOutOfEmail"]) for r in pair.rows()] == [(first, True)]


def test_somebody_new_in_mailchimp_becomes_a_contact(pair: Pair) -> None:
    """With an edit back; a lost answer makes nobody twice."""
    lost = {"kind": "reset", "after": True, "match": "/composite/sobjects", "method": "POST", "count": 1}
    pair.sandbox.call(lambda: pair.sim.faults.add(lost))
    body = {
        "email_address": "new@example.org",
        "status": "subscribed",
        "merge_fields": {"FNAME": "Neo", "LNAME": "New"},
    }
    pair.mailchimp.post(f"/lists/{pair.list_id}/members", json=body).raise_for_status()
    pair.settle()
    (row,) = pair.rows()
    assert (row["Email"], row["FirstName"], row["HasOptedOutOfEmail"]) == ("new@example.org", "Neo", False)
    pair.act(id=row["Id"], fields={"MailingCity": "Bonn", "DoNotCall": True})
    pair.settle()
    assert [m["merge_fields"]["CITY"] for m in pair.members()] == ["Bonn"]
    before = len([c for c in pair.sim.calls.since(0) if c["write"]])
    pair.settle()
    assert len([c for c in pair.sim.calls.since(0) if c["write"]]) == before, "no peace"


def test_erasure_overwrites_the_contact_and_its_lead_goes_too(pair: Pair) -> None:
    """The proof says done, and the recycle bin holds no name and no address of the contact."""
    lead = pair.act(action="create", entity="Lead", fields={**ANN, "Company": "Lee Ltd"})["Id"]
    pair.settle()
    contact = pair.act(action="convert", id=lead)["Id"]
    pair.settle()
    tandem = pair.tandem
    number = tandem.database.transact(lambda db: erasing.start(db, tandem.connections, ANN["Email"], "Kim"))
    for _ in range(20):
        with tandem.database.write() as db:
            for table in (t.erasure, t.erasure_step):
                db.execute(update(table).values(due_at=0))
        if not tandem.erase.step():
            break
    with tandem.database.read() as db:
        shown = erasing.shown(db, number)
    assert (shown["status"], {s["status"] for s in shown["systems"]}) == ("done", {"done"})
    row = pair.sim.org.rows["Contact"][contact]
    assert (row["Email"], row["FirstName"], row["LastName"], row["IsDeleted"]) == (None, None, "Erased", True)
    assert pair.sim.org.rows["Lead"][lead]["IsDeleted"]
