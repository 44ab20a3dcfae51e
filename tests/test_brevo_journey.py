"""EspoCRM and Brevo in step, whole: real processes, real sockets, both simulators."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.core.db import Database
from sandbox.brevo import BrevoSim
from sandbox.espocrm import EspoSim
from sandbox.serve import Sandbox
from tests import test_journey
from tests.test_espocrm_journey import ANN, mail
from tests.test_journey import SECONDS, until

pytestmark = pytest.mark.heavy

CONFIG = """
connections:
  - name: espocrm
    connector: espocrm
    mode: live
    poll_seconds: 2
    brake: {{creates: off, overwrites: off}}
    settings: {{base_url: "{espocrm}"}}
  - name: brevo
    connector: brevo
    mode: live
    poll_seconds: 2
    brake: {{creates: off, overwrites: off}}
    settings: {{base_url: "{brevo}", plan: enterprise}}
"""
# Unlike each other: of people who may be one, only the first is created before a person has decided.
MINE, THEIRS = ("Brandt", "Okafor", "Silva", "Yilmaz"), ("Novak", "Hughes", "Petrov", "Tanaka")


class Journey(test_journey.Journey):
    """The simulators, a place for the service, and the vendors' APIs as a person's client sees them."""

    def __init__(self, sandbox: Sandbox, espo: EspoSim, brevo: BrevoSim, database: Database, folder: Path) -> None:
        self.sandbox, self.espo, self.sim, self.database = sandbox, espo, brevo, database
        with socket.create_server(("127.0.0.1", 0)) as listening:
            self.port = listening.getsockname()[1]
        config = folder / "tandem.yml"
        config.write_text(CONFIG.format(espocrm=sandbox.url("espocrm"), brevo=sandbox.url("brevo")))
        self.env = {
            **os.environ,
            "TANDEM_CONFIG": str(config),
            "TANDEM_DATABASE": database.url.render_as_string(hide_password=False),
            "TANDEM_ESPOCRM_API_KEY": espo.key,
            "TANDEM_ESPOCRM_WEBHOOK_SECRETS": espo.secret,
            "TANDEM_BREVO_API_KEY": brevo.key,
            "TANDEM_BREVO_WEBHOOK_SECRETS": brevo.secret,
        }
        self.door = f"http://127.0.0.1:{self.port}/webhooks"
        sandbox.call(lambda: espo.deliver_to(f"{self.door}/espocrm"))
        sandbox.call(lambda: brevo.deliver_to(f"{self.door}/brevo"))
        person = {"x-sandbox-source": "user"}
        self.crm = httpx.Client(base_url=f"{sandbox.url('espocrm')}/api/v1", headers={"x-api-key": espo.key, **person})
        self.brevo = httpx.Client(base_url=f"{sandbox.url('brevo')}/v3", headers={"api-key": brevo.key, **person})

    def people(self) -> list[dict[str, Any]]:
        """EspoCRM's."""
        found: list[dict[str, Any]] = self.crm.get("/Contact", params={"maxSize": 200}).json()["list"]
        return found

    def contacts(self) -> list[dict[str, Any]]:
        """Brevo's."""
        answer = self.brevo.get("/contacts", params={"limit": 1000}).raise_for_status()
        found: list[dict[str, Any]] = answer.json()["contacts"]
        return found

    def post(self, **fields: Any) -> str:
        answer = self.crm.post("/Contact", json=fields).raise_for_status()
        return str(answer.json()["id"])

    def patch(self, id_: str, **fields: Any) -> None:
        self.crm.patch(f"/Contact/{id_}", json=fields).raise_for_status()

    def put(self, id_: int, **attributes: Any) -> None:
        self.brevo.put(f"/contacts/{id_}", json={"attributes": attributes}).raise_for_status()

    def edit(self, **given: Any) -> None:
        self.sandbox.call(lambda: self.sim.edit(given))

    def close(self) -> None:
        self.crm.close()
        self.brevo.close()


@pytest.fixture
def journey(database: Database, tmp_path: Path) -> Iterator[Journey]:
    espo, brevo = EspoSim(retry_span=1.0), BrevoSim(retry_span=1.0)
    with Sandbox(espocrm=espo, brevo=brevo) as sandbox:
        made = Journey(sandbox, espo, brevo, database, tmp_path)
        try:
            yield made
        finally:
            made.close()


def arrived(journey: Journey) -> bool:
    return [c["attributes"].get("FIRSTNAME") for c in journey.contacts()] == ["Ann"]


@pytest.mark.slow
@pytest.mark.parametrize("station", ["nowhere", pytest.param("sent, nothing noted", marks=pytest.mark.slow)])
@pytest.mark.timeout(240)
def test_there_and_back(journey: Journey, station: str) -> None:
    """A new contact arrives, edits and an objection come back, and a moved address stays blocked; killed on the way:
    the same.
    """
    with journey.service(station) as process:
        journey.post(**ANN)
        if station == "nowhere":
            until(lambda: arrived(journey))
        else:
            assert process.wait(SECONDS) == -signal.SIGKILL
    with journey.service():
        until(lambda: arrived(journey))
        (made,) = journey.contacts()
        attributes = made["attributes"]
        assert (made["email"], attributes["LASTNAME"], attributes["CITY"]) == (ANN["emailAddress"], "Lee", "Berlin")
        assert attributes["PHONE"].replace(" ", "") == "+4930901820"
        journey.put(made["id"], CITY="Bonn", JOB_TITLE="Countess")
        until(lambda: [(p["addressCity"], p["title"]) for p in journey.people()] == [("Bonn", "Countess")])
        journey.edit(id=made["id"], action="unsubscribed")
        until(lambda: [p["emailAddressIsOptedOut"] for p in journey.people()] == [True])
        (person,) = journey.people()
        journey.patch(person["id"], emailAddress="ann@new.example.org")
        until(lambda: [c["email"] for c in journey.contacts()] == ["ann@new.example.org"])
        until(lambda: [c["emailBlacklisted"] for c in journey.contacts()] == [True])
        assert len(journey.people()) == len(journey.contacts()) == 1


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_all_agree_in_the_end(journey: Journey) -> None:
    """Webhooks and answers lost, edits and an objection: in the end both say the same, and there is peace."""
    for kind, rate in (("drop_webhook", 0.4), ("duplicate_webhook", 0.3)):
        journey.sandbox.call(lambda k=kind, r=rate: journey.sim.faults.add({"kind": k, "rate": r}))
    for family in THEIRS:
        attributes = {"FIRSTNAME": f"Given {family}", "LASTNAME": family}
        journey.brevo.post("/contacts", json={"email": mail(family), "attributes": attributes}).raise_for_status()
    ids = {f: journey.post(emailAddress=mail(f), firstName=f"Given {f}", lastName=f) for f in MINE}
    lost = {"kind": "reset", "after": True, "match": "/contacts", "method": "POST", "count": 2}
    journey.sandbox.call(lambda: journey.sim.faults.add(lost))
    with journey.service():
        until(lambda: len(journey.contacts()) == len(journey.people()) == 8)
        until(lambda: agree(journey))
        for family, id_ in ids.items():
            journey.patch(id_, addressCity=f"Town {family}")
        for one in journey.contacts():
            if one["attributes"]["LASTNAME"] in THEIRS:
                journey.put(one["id"], JOB_TITLE=f"Head of {one['attributes']['LASTNAME']}")
        journey.patch(ids["Silva"], emailAddressIsOptedOut=True)
        until(lambda: agree(journey, edited=True))
        before = len(writes(journey))
        last = journey.espo.calls.since(0)[-1]["n"]
        until(lambda: sum("modifiedAt" in c["query"] for c in journey.espo.calls.since(last)) >= 3)
        assert len(writes(journey)) == before, "no peace: somebody writes though all agree"
    assert sorted(c["email"] for c in journey.contacts()) == sorted(map(mail, [*MINE, *THEIRS])), "somebody came twice"


def agree(journey: Journey, *, edited: bool = False) -> bool:
    names = ("emailAddress", "firstName", "addressCity", "title")
    crm = {p["emailAddress"]: tuple(p[n] or "" for n in names) for p in journey.people()}
    own = ("FIRSTNAME", "CITY", "JOB_TITLE")
    brevo = {c["email"]: (c["email"], *(c["attributes"].get(n, "") for n in own)) for c in journey.contacts()}
    if edited:
        blocked = [c["email"] for c in journey.contacts() if c["emailBlacklisted"]]
        here = all(crm[mail(f)][2] == f"Town {f}" for f in MINE)
        there = all(crm[mail(f)][3] == f"Head of {f}" for f in THEIRS)
        return crm == brevo and here and there and blocked == [mail("Silva")]
    return crm == brevo


def writes(journey: Journey) -> list[dict[str, Any]]:
    """The service's writes; a person's client writes as another."""
    return [c for c in [*journey.espo.calls.since(0), *journey.sim.calls.since(0)] if c["write"]]
