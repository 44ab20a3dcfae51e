"""The journey, whole: an edit in the CRM arrives in the marketing platform and back, also when the service is killed.

Real processes, real sockets, the vendors' simulators, SQLite and PostgreSQL.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.core.db import Database
from sandbox.serve import Sandbox
from tests import crash
from tests.crash import STATIONS
from tests.forked import Forked

CONFIG = """
connections:
  - name: hubspot
    connector: hubspot
    mode: live
    poll_seconds: 2
    settings: {{base_url: "{hubspot}"}}
  - name: mailchimp
    connector: mailchimp
    mode: live
    poll_seconds: 2
    settings: {{base_url: "{mailchimp}", list_id: "{list_id}"}}
"""
ANN = {
    "email": "ann.lee@example.org",
    "firstname": "Ann",
    "lastname": "Lee",
    "phone": "+49 30 901820",
    "city": "Berlin",
}
SECONDS = 60.0


class Journey:
    """The simulators, a place for the service, and the vendors' APIs as a person's client sees them."""

    def __init__(self, sandbox: Sandbox, database: Database, folder: Path) -> None:
        self.sandbox = sandbox
        with socket.create_server(("127.0.0.1", 0)) as listening:
            self.port = listening.getsockname()[1]
        config = folder / "tandem.yml"
        config.write_text(
            CONFIG.format(
                hubspot=sandbox.hubspot_url, mailchimp=sandbox.mailchimp_url, list_id=sandbox.mailchimp.audience.id
            )
        )
        hub, chimp = sandbox.hubspot, sandbox.mailchimp
        self.env = {
            **os.environ,
            "TANDEM_CONFIG": str(config),
            "TANDEM_DATABASE": database.url.render_as_string(hide_password=False),
            "TANDEM_HUBSPOT_ACCESS_TOKEN": hub.token,
            "TANDEM_HUBSPOT_CLIENT_SECRET": hub.secret,
            "TANDEM_MAILCHIMP_API_KEY": chimp.key,
            "TANDEM_MAILCHIMP_WEBHOOK_SECRET": "hook-secret",
        }
        door = f"http://127.0.0.1:{self.port}/webhooks"
        sandbox.call(lambda: hub.deliver_to(f"{door}/hubspot"))
        sandbox.call(lambda: chimp.deliver_to(f"{door}/mailchimp", secret="hook-secret"))
        self.hubspot = httpx.Client(
            base_url=sandbox.hubspot_url, headers={"authorization": f"Bearer {hub.token}", "x-sandbox-source": "CRM_UI"}
        )
        self.mailchimp = httpx.Client(base_url=sandbox.mailchimp_url, headers={"authorization": f"Bearer {chimp.key}"})

    @contextlib.contextmanager
    def service(self, station: str = "nowhere") -> Iterator[Forked]:
        process = Forked(crash.serve, self.port, station, env=self.env)
        try:
            until(lambda: process.poll() is not None or self.listens())
            yield process
        finally:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(20)
            process.kill()
            process.wait()

    def listens(self) -> bool:
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(f"http://127.0.0.1:{self.port}/health/live", timeout=5).status_code == 200
        return False

    def contacts(self) -> list[dict[str, Any]]:
        params = {"limit": 100, "properties": ",".join(ANN)}
        found: list[dict[str, Any]] = self.hubspot.get("/crm/v3/objects/contacts", params=params).json()["results"]
        return found

    def members(self) -> list[dict[str, Any]]:
        params = {"count": 100}
        answer = self.mailchimp.get(f"/lists/{self.sandbox.mailchimp.audience.id}/members", params=params)
        found: list[dict[str, Any]] = answer.json()["members"]
        return found

    def explained(self) -> dict[str, str]:
        """Who said each field, after checking that event, record and line of the mapping are the right ones."""
        with httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=20) as http:
            (person,) = http.get("/contacts").raise_for_status().json()["items"]
            fields = http.get(f"/contacts/{person['id']}/explain").raise_for_status().json()["fields"]
            values = {n: v for n, v in person["values"].items() if v is not None}
            assert {f["field"]: f["value"] for f in fields if f["value"] is not None} == values
            for one in fields:
                cause, rule = one["cause"], one["rule"]
                event = http.get(f"/ops/events/{cause['event']}").raise_for_status().json()
                named = cause["record"] if event["ref"]["key"] == "id" else values["email"]
                assert (event["connection"], event["ref"]["value"]) == (cause["source"], named), one
                line = Path(rule["file"]).read_text(encoding="utf-8").splitlines()[rule["line"] - 1]
                assert line.strip().startswith(f"{one['field']}:")
                assert rule["connection"] == cause["source"]
        return {f["field"]: f["cause"]["source"] for f in fields}

    def close(self) -> None:
        self.hubspot.close()
        self.mailchimp.close()


def until(true: Callable[[], bool], seconds: float = SECONDS) -> None:
    """Wait for a fact about another process; a bound, not a timing."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)


@pytest.fixture
def journey(database: Database, tmp_path: Path) -> Iterator[Journey]:
    with Sandbox() as sandbox:
        made = Journey(sandbox, database, tmp_path)
        try:
            yield made
        finally:
            made.close()


def arrived(journey: Journey) -> bool:
    return [m["merge_fields"]["FNAME"] for m in journey.members()] == ["Ann"]


# The others, of which each is as long, are in ``make test-long``.
USUAL = {"nowhere", "stored, not acknowledged", "contact stored, lease not given back", "sent, nothing noted"}
ALONE = dict.fromkeys(("stored, not acknowledged", "contact stored, lease not given back"), pytest.mark.heavy)


@pytest.mark.parametrize(
    "station", [pytest.param(s, marks=ALONE.get(s, ()) if s in USUAL else pytest.mark.slow) for s in sorted(STATIONS)]
)
@pytest.mark.timeout(240)
def test_there_and_back(journey: Journey, station: str) -> None:
    """A new contact arrives at the other side, an edit there comes back; killed between any two stations: the same."""
    with journey.service(station) as process:
        journey.hubspot.post("/crm/v3/objects/contacts", json={"properties": ANN}).raise_for_status()
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
        said = journey.explained()
        assert {said[n] for n in ("email", "given_name", "family_name", "phone", "city")} == {"hubspot"}
        journey.mailchimp.patch(
            f"/lists/{journey.sandbox.mailchimp.audience.id}/members/{member['id']}",
            json={"merge_fields": {"CITY": "Bonn"}},
        ).raise_for_status()
        until(lambda: [c["properties"]["city"] for c in journey.contacts()] == ["Bonn"])
        assert journey.explained() == {**said, "city": "mailchimp"}
        (contact,) = journey.contacts()
        journey.hubspot.patch(
            f"/crm/v3/objects/contacts/{contact['id']}", json={"properties": {"email": "ann@new.example.org"}}
        ).raise_for_status()
        until(lambda: [m["email_address"] for m in journey.members()] == ["ann@new.example.org"])
        assert len(journey.contacts()) == 1
