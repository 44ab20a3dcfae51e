"""The demo as a child process, and its two vendors as a person with an API client sees them."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx

AGENT = "tandem-bench"  # whoever edits and looks: not counted, not slowed down


@dataclass
class Demo:
    """A running demo."""

    api: str
    token: str
    hubspot: httpx.Client
    mailchimp: httpx.Client
    list_id: str
    pid: int

    def contacts(self) -> list[dict[str, Any]]:
        """HubSpot's contacts with an address."""
        found, after = [], None
        while True:
            params = {"limit": 100, "properties": "email,firstname,city", **({"after": after} if after else {})}
            page = self.hubspot.get("/crm/v3/objects/contacts", params=params).json()
            found += [c for c in page["results"] if c["properties"].get("email")]
            after = page.get("paging", {}).get("next", {}).get("after")
            if after is None:
                return found

    def member(self, email: str) -> dict[str, Any] | None:
        """Mailchimp's member of an address."""
        digest = hashlib.md5(email.lower().encode(), usedforsecurity=False).hexdigest()
        answer = self.mailchimp.get(f"/lists/{self.list_id}/members/{digest}")
        return answer.json() if answer.status_code == 200 else None

    def slow(self, seconds: float) -> None:
        """From now on both vendors let every caller but this client wait so long."""
        for client in (self.hubspot, self.mailchimp):
            client.delete("/_sandbox/faults").raise_for_status()
            if seconds:
                rule = {"kind": "slow", "delay": seconds, "agent": f"^(?!{AGENT})"}
                client.post("/_sandbox/faults", json=rule).raise_for_status()

    def calls(self, vendor: httpx.Client, since: int = 0) -> list[dict[str, Any]]:
        """Every call that the simulator received since number ``since``, but for those of this client."""
        data = vendor.get("/_sandbox/calls", params={"since": since}).json()
        found = data["calls"] if isinstance(data, dict) else data
        return [c for c in found if AGENT not in (c.get("user_agent") or "")]


@contextlib.contextmanager
def demo(*options: str, env: dict[str, str] | None = None) -> Iterator[Demo]:
    """Start ``tandem demo --json`` with further options, and end it."""
    process = subprocess.Popen(
        [sys.executable, "-m", "app.cli", "demo", "--json", "--port", "0", *options],
        stdout=subprocess.PIPE,
        env={**os.environ, **(env or {})},
        text=True,
    )
    try:
        assert process.stdout is not None
        data = json.loads(process.stdout.readline())
        by_name = {c["name"]: c for c in data["connections"]}
        hub, chimp = by_name["hubspot"], by_name["mailchimp"]
        agent = {"user-agent": AGENT}
        yield Demo(
            data["api"],
            data["token"],
            httpx.Client(
                base_url=hub["base_url"],
                headers={"authorization": f"Bearer {hub['credentials']['access_token']}", **agent},
                timeout=30,
            ),
            httpx.Client(
                base_url=chimp["base_url"],
                headers={"authorization": f"Bearer {chimp['credentials']['api_key']}", **agent},
                timeout=30,
            ),
            chimp["credentials"]["list_id"],
            process.pid,
        )
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()


def until(check: Any, seconds: float, pause: float = 0.005) -> float:
    """Seconds until ``check()`` was true.  Raises TimeoutError after ``seconds``."""
    began = time.perf_counter()
    while not check():
        if time.perf_counter() - began > seconds:
            raise TimeoutError
        time.sleep(pause)
    return time.perf_counter() - began
