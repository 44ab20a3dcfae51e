"""EspoCRM and Mautic in step, whole: real processes, real sockets, both simulators."""

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
from sandbox.espocrm import EspoSim
from sandbox.mautic import MauticSim
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
  - name: mautic
    connector: mautic
    mode: live
    poll_seconds: 2
    brake: {{creates: off, overwrites: off}}
    settings: {{base_url: "{mautic}", username: tandem}}
"""


class Journey(test_journey.Journey):
    """The simulators, a place for the service, and the vendors' APIs as a person's client sees them."""

    def __init__(self, sandbox: Sandbox, espo: EspoSim, mautic: MauticSim, database: Database, folder: Path) -> None:
        self.sandbox, self.espo, self.sim, self.database = sandbox, espo, mautic, database
        with socket.create_server(("127.0.0.1", 0)) as listening:
            self.port = listening.getsockname()[1]
        config = folder / "tandem.yml"
        config.write_text(CONFIG.format(espocrm=sandbox.url("espocrm"), mautic=sandbox.url("mautic")))
        self.env = {
            **os.environ,
            "TANDEM_CONFIG": str(config),
            "TANDEM_DATABASE": database.url.render_as_string(hide_password=False),
            "TANDEM_ESPOCRM_API_KEY": espo.key,
            "TANDEM_ESPOCRM_WEBHOOK_SECRETS": espo.secret,
            "TANDEM_MAUTIC_PASSWORD": mautic.password,
            "TANDEM_MAUTIC_WEBHOOK_SECRETS": mautic.secret,
        }
        self.door = f"http://127.0.0.1:{self.port}/webhooks"
        sandbox.call(lambda: espo.deliver_to(f"{self.door}/espocrm"))
        sandbox.call(lambda: mautic.deliver_to(f"{self.door}/mautic"))
        person = {"x-sandbox-source": "user"}
        self.crm = httpx.Client(base_url=f"{sandbox.url('espocrm')}/api/v1", headers={"x-api-key": espo.key, **person})
        self.mautic = httpx.Client(
            base_url=f"{sandbox.url('mautic')}/api", auth=(mautic.user, mautic.password), headers=person
        )

    def people(self) -> list[dict[str, Any]]:
        """EspoCRM's."""
        found: list[dict[str, Any]] = self.crm.get("/Contact", params={"maxSize": 200}).json()["list"]
        return found

    def contacts(self) -> list[dict[str, Any]]:
        """Mautic's."""
        answer = self.mautic.get("/contacts", params={"limit": 200, "search": "!is:anonymous"})
        found = answer.raise_for_status().json()["contacts"]
        return list(found.values()) if found else []

    def fields(self) -> list[dict[str, Any]]:
        return [c["fields"]["all"] for c in self.contacts()]

    def post(self, **fields: Any) -> str:
        answer = self.crm.post("/Contact", json=fields).raise_for_status()
        return str(answer.json()["id"])

    def patch(self, id_: str, **fields: Any) -> None:
        self.crm.patch(f"/Contact/{id_}", json=fields).raise_for_status()

    def edit(self, id_: int, **fields: Any) -> None:
        self.mautic.patch(f"/contacts/{id_}/edit", json=fields).raise_for_status()

    def close(self) -> None:
        self.crm.close()
        self.mautic.close()


@pytest.fixture
def journey(database: Database, tmp_path: Path) -> Iterator[Journey]:
    espo, mautic = EspoSim(retry_span=1.0), MauticSim(retry_span=1.0)
    with Sandbox(espocrm=espo, mautic=mautic) as sandbox:
        made = Journey(sandbox, espo, mautic, database, tmp_path)
        try:
            yield made
        finally:
            made.close()


def arrived(journey: Journey) -> bool:
    return [f["firstname"] for f in journey.fields()] == ["Ann"]


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
        (made,) = journey.contacts()
        fields = made["fields"]["all"]
        assert (fields["email"], fields["lastname"], fields["city"]) == (ANN["emailAddress"], "Lee", "Berlin")
        assert fields["phone"].replace(" ", "") == "+4930901820"
        journey.edit(made["id"], city="Bonn", position="Countess")
        until(lambda: [(p["addressCity"], p["title"]) for p in journey.people()] == [("Bonn", "Countess")])
        (person,) = journey.people()
        journey.patch(person["id"], emailAddress="ann@new.example.org")
        until(lambda: [f["email"] for f in journey.fields()] == ["ann@new.example.org"])
        journey.mautic.post(f"/contacts/{made['id']}/dnc/email/add", json={"reason": 1}).raise_for_status()
        until(lambda: [p["emailAddressIsOptedOut"] for p in journey.people()] == [True])
        assert len(journey.people()) == len(journey.contacts()) == 1


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_an_objection_travels_from_espocrm(journey: Journey) -> None:
    """Whoever is opted out at EspoCRM may not be written to by Mautic, from the first moment or from later on."""
    out = journey.post(**{**ANN, "emailAddressIsOptedOut": True})
    with journey.service():
        until(lambda: arrived(journey))
        (made,) = journey.contacts()
        assert [(d["channel"], d["reason"]) for d in made["doNotContact"]] == [("email", 1)]
        journey.patch(out, emailAddressIsOptedOut=False)  # no evidence: lifts nothing
        later = journey.post(emailAddress=mail("Brandt"), firstName="Given Brandt", lastName="Brandt")
        until(lambda: len(journey.contacts()) == 2)
        journey.patch(later, emailAddressIsOptedOut=True)
        until(lambda: all(c["doNotContact"] for c in journey.contacts()))


@pytest.mark.timeout(240)
def test_a_merge_in_mautic_loses_no_objection(journey: Journey) -> None:
    """Mautic drops the objection of the contact that is lost; it comes back to the survivor."""
    for family in ("Brandt", "Novak"):
        journey.post(emailAddress=mail(family), firstName=f"Given {family}", lastName=family)
    with journey.service():
        until(lambda: len(journey.contacts()) == 2)
        ids = {c["fields"]["all"]["lastname"]: c["id"] for c in journey.contacts()}
        journey.mautic.post(f"/contacts/{ids['Novak']}/dnc/email/add", json={"reason": 1}).raise_for_status()
        until(lambda: [p["lastName"] for p in journey.people() if p["emailAddressIsOptedOut"]] == ["Novak"])
        merge = {"action": "merge", "id": ids["Brandt"], "loser": ids["Novak"]}
        shown = journey.sandbox.call(lambda: journey.sim.edit(merge))
        assert shown["doNotContact"] == [], "the simulator keeps objections in a merge, so this test shows nothing"
        until(lambda: [(c["id"], bool(c["doNotContact"])) for c in journey.contacts()] == [(ids["Brandt"], True)])
