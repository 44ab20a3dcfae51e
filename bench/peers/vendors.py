"""The two simulated vendors of this bench, in a process of their own: ``python -m bench.peers.vendors``.

They are those of ``python -m sandbox``, filled with the same people on both sides, with one thing more: every write to
a member is noted (time, address, what its town was set to), whether it came alone or in a batch, so that one checker
can tell for everybody what was lost and what was written twice.  ``GET /_sandbox/writes?since=N`` shows them.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any, Final

import httpx
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from bench.peers.check import Write
from sandbox.front import Json
from sandbox.hubspot import HubSpotSim
from sandbox.mailchimp import MailchimpSim
from sandbox.mailchimp_store import Member
from sandbox.serve import Sandbox, loop_factory

AGENT: Final = "tandem-bench"  # whoever edits and looks: not slowed down, not counted
RETRY_SPAN: Final = 1440.0  # HubSpot's 24 hours of tries in 24 minutes: its minute is a second here
PATIENCE: Final = 60.0


class ForgetfulHubSpot(HubSpotSim):
    """HubSpot that can be told to try no delivery again, so that one measurement does not reach into the next."""

    def routes(self) -> list[BaseRoute]:
        """With one more."""
        return [*super().routes(), Route("/_sandbox/forget", self._forget, methods=["POST"])]

    async def _forget(self, _request: Request) -> Response:
        self.webhooks.forget()
        return Response(status_code=204)


class NotedMailchimp(MailchimpSim):
    """Mailchimp that notes every write to a member."""

    def __init__(self, **options: Any) -> None:
        """As ``MailchimpSim``."""
        super().__init__(**options)
        self.writes: list[tuple[float, str, str]] = []
        update = self.audience.update

        def noted(member: Member, given: Mapping[str, Any], source: str, *, lax: bool) -> None:
            update(member, given, source, lax=lax)
            self.writes.append((time.time(), member.email, given.get("merge_fields", {}).get("CITY", "")))

        self.audience.update = noted  # type: ignore[method-assign]

    def routes(self) -> list[BaseRoute]:
        """With one more."""
        return [*super().routes(), Route("/_sandbox/writes", self._noted, methods=["GET"])]

    async def _noted(self, request: Request) -> Response:
        since = int(request.query_params.get("since", "0"))
        return Json({"writes": self.writes[since:], "total": len(self.writes)})


def mail(n: int) -> str:
    """The address of the person with this number."""
    return f"person.{n}@example.com"


def fill(hubspot: HubSpotSim, mailchimp: MailchimpSim, people: int) -> None:
    """The same people on both sides, of a year ago; no webhook is sent."""
    at = int(time.time()) - 365 * 86_400
    for n in range(people):
        known = {"email": mail(n), "firstname": "Anna", "lastname": f"Number{n}", "city": "Before"}
        hubspot.portal.create(hubspot.portal.check(known), "IMPORT", at=at * 1000)
        fields = {"FNAME": "Anna", "LNAME": f"Number{n}", "CITY": "Before"}
        member = {"email_address": mail(n), "status": "subscribed", "merge_fields": fields}
        mailchimp.audience.create(member, "admin", lax=True, at=at)


def opened(sandbox: Sandbox) -> dict[str, Any]:
    """Where both are, and what opens them."""
    hubspot, mailchimp = sandbox.hubspot, sandbox.mailchimp
    return {
        "hubspot": {"url": sandbox.hubspot_url, "token": hubspot.token, "secret": hubspot.secret},
        "mailchimp": {"url": sandbox.mailchimp_url, "key": mailchimp.key, "list": mailchimp.audience.id},
    }


def _say(line: bytes) -> None:
    os.write(1, line)


def main() -> None:
    """Serve until told to stop."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--people", type=int, default=1000)
    arguments = parser.parse_args()
    hubspot, mailchimp = ForgetfulHubSpot(retry_span=RETRY_SPAN), NotedMailchimp(retry_span=RETRY_SPAN)
    fill(hubspot, mailchimp, arguments.people)
    sandbox = Sandbox(hubspot, mailchimp)
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # a receiver that is killed hangs up: expected here
    line = json.dumps(opened(sandbox)).encode() + b"\n"

    async def serve() -> None:
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        await sandbox.serve(stop, lambda: _say(line))

    with asyncio.Runner(loop_factory=loop_factory(hubspot)) as runner:
        runner.run(serve())


class Vendors:
    """The running simulators, as the bench sees them."""

    def __init__(self, said: dict[str, Any]) -> None:
        """``said``: the line that the process printed."""
        self.said = said
        hub, chimp = said["hubspot"], said["mailchimp"]
        agent = {"user-agent": AGENT}
        self.hub = httpx.Client(
            base_url=hub["url"], headers={"authorization": f"Bearer {hub['token']}", **agent}, timeout=PATIENCE
        )
        self.chimp = httpx.Client(
            base_url=chimp["url"], headers={"authorization": f"Bearer {chimp['key']}", **agent}, timeout=PATIENCE
        )
        self.at = {"hubspot": 0, "mailchimp": 0}

    def close(self) -> None:
        """Hang up."""
        self.hub.close()
        self.chimp.close()

    def slow(self, seconds: float) -> None:
        """Both answer this much later, but to the bench itself."""
        for client in (self.hub, self.chimp):
            client.delete("/_sandbox/faults").raise_for_status()
            if seconds:
                rule = {"kind": "slow", "delay": seconds, "agent": f"^(?!{AGENT})"}
                client.post("/_sandbox/faults", json=rule).raise_for_status()

    def tell(self, url: str | None) -> None:
        """Where HubSpot's webhooks go; None = nowhere."""
        self.hub.post("/_sandbox/webhooks", json={"url": url}).raise_for_status()

    def tell_back(self, url: str, secret: str) -> None:
        """Where Mailchimp's webhooks go."""
        self.chimp.post("/_sandbox/webhooks", json={"url": url, "secret": secret}).raise_for_status()

    def contacts(self) -> dict[str, tuple[str, str]]:
        """All contacts at HubSpot: address → (id, town)."""
        return {
            row["properties"]["email"]: (row["id"], row["properties"].get("city", "")) for row in _records(self.hub)
        }

    def towns(self) -> dict[str, str]:
        """All members at Mailchimp: address → town."""
        return {row["email_address"]: row["merge_fields"]["CITY"] for row in _records(self.chimp)}

    def edit(self, towns: Mapping[str, str]) -> None:
        """Give contacts (by id) a town: one call for each hundred, as an import or a workflow at HubSpot does."""
        inputs = [{"id": id_, "properties": {"city": town}} for id_, town in towns.items()]
        for start in range(0, len(inputs), 100):
            body = {"inputs": inputs[start : start + 100]}
            self.hub.post("/crm/v3/objects/contacts/batch/update", json=body).raise_for_status()

    def writes(self, since: int = 0) -> list[Write]:
        """Writes to members after that many."""
        found = self.chimp.get("/_sandbox/writes", params={"since": since}).json()["writes"]
        return [Write(*one) for one in found]

    def written(self) -> int:
        """How many writes there were so far."""
        return int(self.chimp.get("/_sandbox/writes", params={"since": sys.maxsize}).json()["total"])

    def deliveries(self, last: int = 10_000) -> dict[str, Any]:
        """How HubSpot's webhooks fare: ``pending``, ``failed`` …, and the last deliveries."""
        found: dict[str, Any] = self.hub.get("/_sandbox/webhooks", params={"last": last}).json()
        return found

    def forget(self) -> None:
        """Try no delivery again."""
        self.hub.post("/_sandbox/forget").raise_for_status()

    def calls(self) -> dict[str, int]:
        """Calls since the last time, by vendor, but for the bench's own."""
        counted = {}
        for name, client in (("hubspot", self.hub), ("mailchimp", self.chimp)):
            new = client.get("/_sandbox/calls", params={"since": self.at[name]}).json()["calls"]
            self.at[name] = max([self.at[name], *(call["n"] for call in new)])
            counted[name] = sum(AGENT not in (call.get("user_agent") or "") for call in new)
        return counted


def _records(client: httpx.Client) -> Iterator[dict[str, Any]]:
    after: int | None = 0
    while after is not None:
        page = client.get("/_sandbox/records", params={"after": after}).json()
        yield from page["records"]
        after = page["after"]


@contextlib.contextmanager
def running(people: int) -> Iterator[Vendors]:
    """The simulators with that many people on both sides, ended with the block."""
    command = [sys.executable, "-m", "bench.peers.vendors", "--people", str(people)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        vendors = Vendors(json.loads(process.stdout.readline()))
        try:
            yield vendors
        finally:
            vendors.close()
    finally:
        process.terminate()
        process.wait(30)


if __name__ == "__main__":
    main()
