"""A CRM beside the simulated Mailchimp: what the journeys of the CRMs share."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import func, select

from app.core import tables as t
from app.core.db import Database
from sandbox.serve import Sandbox
from tests import test_journey


class BesideMailchimp(test_journey.Journey):
    """The simulators, a place for the service, and Mailchimp's API as a person's client sees it."""

    def __init__(
        self,
        sandbox: Sandbox,
        crm: str,
        sim: Any,
        database: Database,
        folder: Path,
        *,
        config: str,
        secrets: Mapping[str, str],
        **named: str,
    ) -> None:
        """``crm``: the connector and connection, simulated by ``sim``.

        ``config``: the configuration, with places for both base URLs (``{mailchimp}`` and the CRM's name),
        ``{list_id}`` and what else is ``named``.  ``secrets``: of the CRM's connection, by their names.
        """
        self.sandbox, self.database = sandbox, database
        chimp = sandbox.mailchimp
        self.list_id = chimp.audience.id
        with socket.create_server(("127.0.0.1", 0)) as listening:
            self.port = listening.getsockname()[1]
        file = folder / "tandem.yml"
        urls = {crm: sandbox.url(crm), "mailchimp": sandbox.mailchimp_url}
        file.write_text(config.format(**urls, list_id=self.list_id, **named))
        self.env = {
            **os.environ,
            "TANDEM_CONFIG": str(file),
            "TANDEM_DATABASE": database.url.render_as_string(hide_password=False),
            **{f"TANDEM_{crm}_{name}".upper(): secret for name, secret in secrets.items()},
            "TANDEM_MAILCHIMP_API_KEY": chimp.key,
            "TANDEM_MAILCHIMP_WEBHOOK_SECRET": "hook-secret",
        }
        self.door = f"http://127.0.0.1:{self.port}/webhooks"
        sandbox.call(lambda: sim.deliver_to(f"{self.door}/{crm}"))
        sandbox.call(lambda: chimp.deliver_to(f"{self.door}/mailchimp", secret="hook-secret"))
        self.mailchimp = httpx.Client(base_url=sandbox.mailchimp_url, headers={"authorization": f"Bearer {chimp.key}"})

    def members(self) -> list[dict[str, Any]]:
        answer = self.mailchimp.get(f"/lists/{self.list_id}/members", params={"count": 1000})
        found: list[dict[str, Any]] = answer.json()["members"]
        return found

    def paired(self) -> int:
        """Records that the service has paired with a contact."""
        with self.database.read() as db:
            return int(db.execute(select(func.count()).select_from(t.link)).scalar_one())

    def patch_member(self, member: str, **fields: Any) -> None:
        self.mailchimp.patch(f"/lists/{self.list_id}/members/{member}", json=fields).raise_for_status()

    def close(self) -> None:
        self.mailchimp.close()
