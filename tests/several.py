"""Any of the simulated vendors beside each other, each behind the same few acts of a person: what the journeys share.

A vendor here: its connection as the configuration says it, how its simulator finds the door, and what a person does and
sees there.  People are told apart by their address; a value that nobody filled in is an empty text.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import func, select

from app.core import tables as t
from app.core.db import Database
from sandbox.espocrm import EspoSim
from sandbox.klaviyo import KlaviyoSim
from sandbox.mautic import MauticSim
from sandbox.salesforce import SalesforceSim
from sandbox.salesforce_org import ORG
from sandbox.serve import Sandbox
from tests import test_journey

HEAD = """
  - name: {name}
    connector: {name}
    mode: live
    poll_seconds: 2
    brake: {{creates: off, overwrites: off}}
    settings: {{{settings}}}
"""  # the brake would hold half of so small a crowd as a mass change
HOOK = "hook-secret"


class Vendor:
    """One simulated vendor; ``sim`` is asked in the sandbox's own thread."""

    name: str
    lost: str  # the path of the vendor's writes
    lost_method = "POST"

    def __init__(self) -> None:
        self.sim: Any = None
        self.sandbox: Sandbox

    def join(self, sandbox: Sandbox) -> None:
        """Find the vendor in the sandbox that runs."""
        self.sandbox = sandbox

    def settings(self) -> str:
        return f'base_url: "{self.sandbox.url(self.name)}"'

    def secrets(self) -> Mapping[str, str]:
        raise AssertionError(self.name)

    def deliver_to(self, url: str) -> None:
        self.sandbox.call(lambda: self.sim.deliver_to(url))

    def act(self, **given: Any) -> Any:
        """What a person does there, in the simulator's words."""
        return self.sandbox.call(lambda: self.sim.edit(given))

    def records(self) -> list[dict[str, Any]]:
        rows, _ = self.sandbox.call(lambda: self.sim.records(0, 1000))
        return list(rows)

    def writes(self) -> int:
        """How many calls wrote something: the service's, since people here act past the API."""
        return sum(bool(call["write"]) for call in self.sim.calls.since(0))

    def add(self, email: str, first: str, last: str) -> None:
        """Somebody is entered."""
        raise AssertionError(self.name)

    def people(self) -> dict[str, tuple[str, str, str]]:
        """Address → first name, last name, city."""
        raise AssertionError(self.name)

    def move(self, email: str, city: str) -> None:
        """Somebody's city is changed."""
        raise AssertionError(self.name)

    def object(self, email: str) -> None:
        """Somebody does not want to be written to any more."""
        raise AssertionError(self.name)

    def out(self) -> set[str]:
        """Who may not be written to."""
        raise AssertionError(self.name)


class HubSpot(Vendor):
    name, lost = "hubspot", "/crm/v3/objects/contacts"

    def join(self, sandbox: Sandbox) -> None:
        super().join(sandbox)
        self.sim = sandbox.hubspot

    def settings(self) -> str:
        return f'base_url: "{self.sandbox.hubspot_url}"'

    def secrets(self) -> Mapping[str, str]:
        return {"access_token": self.sim.token, "client_secret": self.sim.secret}

    def _rows(self) -> dict[str, dict[str, Any]]:
        return {r["properties"]["email"]: r for r in self.records() if r["properties"].get("email")}

    def add(self, email: str, first: str, last: str) -> None:
        self.act(action="create", properties={"email": email, "firstname": first, "lastname": last})

    def people(self) -> dict[str, tuple[str, str, str]]:
        return {m: _row(r["properties"], "firstname", "lastname", "city") for m, r in self._rows().items()}

    def move(self, email: str, city: str) -> None:
        self.act(id=self._rows()[email]["id"], properties={"city": city})

    def object(self, email: str) -> None:
        self.act(action="unsubscribe", email=email)

    def out(self) -> set[str]:
        return {m for m, r in self._rows().items() if r["properties"].get("hs_email_optout") == "true"}


class Mailchimp(Vendor):
    name, lost = "mailchimp", "/lists/"

    def join(self, sandbox: Sandbox) -> None:
        super().join(sandbox)
        self.sim = sandbox.mailchimp

    def settings(self) -> str:
        return f'base_url: "{self.sandbox.mailchimp_url}", list_id: "{self.sim.audience.id}"'

    def secrets(self) -> Mapping[str, str]:
        return {"api_key": self.sim.key, "webhook_secret": HOOK}

    def deliver_to(self, url: str) -> None:
        self.sandbox.call(lambda: self.sim.deliver_to(url, secret=HOOK))

    def add(self, email: str, first: str, last: str) -> None:
        fields = {"FNAME": first, "LNAME": last}
        self.act(action="create", member={"email_address": email, "status": "subscribed", "merge_fields": fields})

    def people(self) -> dict[str, tuple[str, str, str]]:
        return {r["email_address"]: _row(r["merge_fields"], "FNAME", "LNAME", "CITY") for r in self.records()}

    def move(self, email: str, city: str) -> None:
        self.act(email=email, member={"merge_fields": {"CITY": city}})

    def object(self, email: str) -> None:
        self.act(action="unsubscribe", email=email)

    def out(self) -> set[str]:
        return {r["email_address"] for r in self.records() if r["status"] in {"unsubscribed", "cleaned"}}


class Salesforce(Vendor):
    name, lost = "salesforce", "/composite/sobjects"

    def __init__(self) -> None:
        super().__init__()
        self.sim = SalesforceSim(retry_span=1.0)

    def settings(self) -> str:
        return f"{super().settings()}, org_id: {ORG}"

    def secrets(self) -> Mapping[str, str]:
        return {"access_token": self.sim.token, "webhook_secrets": self.sim.secret}

    def _rows(self) -> dict[str, dict[str, Any]]:
        return {r["Email"]: dict(r) for r in self.sandbox.call(lambda: list(self.sim.org.all("Contact")))}

    def add(self, email: str, first: str, last: str) -> None:
        self.act(action="create", fields={"Email": email, "FirstName": first, "LastName": last})

    def people(self) -> dict[str, tuple[str, str, str]]:
        return {m: _row(r, "FirstName", "LastName", "MailingCity") for m, r in self._rows().items()}

    def move(self, email: str, city: str) -> None:
        self.act(id=self._rows()[email]["Id"], fields={"MailingCity": city})

    def object(self, email: str) -> None:
        self.act(id=self._rows()[email]["Id"], fields={"HasOptedOutOfEmail": True})

    def out(self) -> set[str]:
        return {m for m, r in self._rows().items() if r["HasOptedOutOfEmail"]}


class Klaviyo(Vendor):
    name, lost = "klaviyo", "/api/profiles"

    def __init__(self) -> None:
        super().__init__()
        self.sim = KlaviyoSim(retry_span=1.0)

    def secrets(self) -> Mapping[str, str]:
        return {"api_key": self.sim.key, "webhook_secret": self.sim.secret}

    def _rows(self) -> dict[str, dict[str, Any]]:
        return {r["attributes"]["email"]: {**r["attributes"], "id": r["id"]} for r in self.records()}

    def add(self, email: str, first: str, last: str) -> None:
        self.act(action="create", fields={"email": email, "first_name": first, "last_name": last})

    def people(self) -> dict[str, tuple[str, str, str]]:
        rows = {m: {**r, "city": r["location"]["city"]} for m, r in self._rows().items()}
        return {m: _row(r, "first_name", "last_name", "city") for m, r in rows.items()}

    def move(self, email: str, city: str) -> None:
        self.act(action="update", id=self._rows()[email]["id"], fields={"location": {"city": city}})

    def object(self, email: str) -> None:
        self.act(action="unsubscribe", id=self._rows()[email]["id"])

    def out(self) -> set[str]:
        rows = self._rows().items()
        return {m for m, r in rows if r["subscriptions"]["email"]["marketing"]["consent"] == "UNSUBSCRIBED"}


class EspoCrm(Vendor):
    name, lost = "espocrm", "/Contact"

    def __init__(self) -> None:
        super().__init__()
        self.sim = EspoSim(retry_span=1.0)

    def secrets(self) -> Mapping[str, str]:
        return {"api_key": self.sim.key, "webhook_secrets": self.sim.secret}

    def _rows(self) -> dict[str, dict[str, Any]]:
        return {r["emailAddress"]: r for r in self.records() if r.get("emailAddress")}

    def add(self, email: str, first: str, last: str) -> None:
        self.act(action="create", fields={"emailAddress": email, "firstName": first, "lastName": last})

    def people(self) -> dict[str, tuple[str, str, str]]:
        return {m: _row(r, "firstName", "lastName", "addressCity") for m, r in self._rows().items()}

    def move(self, email: str, city: str) -> None:
        self.act(id=self._rows()[email]["id"], fields={"addressCity": city})

    def object(self, email: str) -> None:
        self.act(id=self._rows()[email]["id"], fields={"emailAddressIsOptedOut": True})

    def out(self) -> set[str]:
        return {m for m, r in self._rows().items() if r["emailAddressIsOptedOut"]}


class Mautic(Vendor):
    name, lost = "mautic", "/contacts/batch/new"

    def __init__(self) -> None:
        super().__init__()
        self.sim = MauticSim(retry_span=1.0)

    def settings(self) -> str:
        return f"{super().settings()}, username: tandem"

    def secrets(self) -> Mapping[str, str]:
        return {"password": self.sim.password, "webhook_secrets": self.sim.secret}

    def _rows(self) -> dict[str, dict[str, Any]]:
        return {r["fields"]["all"]["email"]: r for r in self.records() if r["fields"]["all"].get("email")}

    def add(self, email: str, first: str, last: str) -> None:
        self.act(action="create", fields={"email": email, "firstname": first, "lastname": last})

    def people(self) -> dict[str, tuple[str, str, str]]:
        return {m: _row(r["fields"]["all"], "firstname", "lastname", "city") for m, r in self._rows().items()}

    def move(self, email: str, city: str) -> None:
        self.act(id=self._rows()[email]["id"], fields={"city": city})

    def object(self, email: str) -> None:
        self.act(action="object", id=self._rows()[email]["id"])

    def out(self) -> set[str]:
        return {m for m, r in self._rows().items() if r["doNotContact"]}


def _row(fields: Mapping[str, Any], *names: str) -> tuple[str, str, str]:
    first, last, city = ((fields.get(name) if fields.get(name) is not None else "") for name in names)
    return str(first), str(last), str(city)


def sims(vendors: Sequence[Vendor]) -> dict[str, Any]:
    """What the sandbox is started with beside the two that are always there."""
    return {one.name: one.sim for one in vendors if one.sim is not None}


class Several(test_journey.Journey):
    """The simulators of these vendors, and a place for the service between them."""

    def __init__(self, sandbox: Sandbox, vendors: Sequence[Vendor], database: Database, folder: Path) -> None:
        self.sandbox, self.vendors, self.database = sandbox, vendors, database
        with socket.create_server(("127.0.0.1", 0)) as listening:
            self.port = listening.getsockname()[1]
        config = folder / "tandem.yml"
        self.env = {
            **os.environ,
            "TANDEM_CONFIG": str(config),
            "TANDEM_DATABASE": database.url.render_as_string(hide_password=False),
        }
        for one in vendors:
            one.join(sandbox)
            self.env |= {f"TANDEM_{one.name}_{name}".upper(): secret for name, secret in one.secrets().items()}
            one.deliver_to(f"http://127.0.0.1:{self.port}/webhooks/{one.name}")
        heads = [HEAD.format(name=one.name, settings=one.settings()) for one in vendors]
        config.write_text("connections:" + "".join(heads), encoding="utf-8")

    def paired(self) -> int:
        """Records that the service has paired with a contact."""
        with self.database.read() as db:
            return int(db.execute(select(func.count()).select_from(t.link)).scalar_one())

    def close(self) -> None:
        """Nothing is held: people act past the vendors' APIs."""
