"""Mailchimp's reports on the wire: campaigns that were sent, what members did with them, who unsubscribed.

Source: the API's contract 3.0.55 (``/reports``, ``email-activity``, ``unsubscribed``, ``sent-to``).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from sandbox.mailchimp_http import Routes, answer
from sandbox.mailchimp_rules import not_found

_MOST: Final = 1_000  # contract: of ``count``


def iso(at: datetime) -> str:
    """A time as Mailchimp writes it."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S+00:00")


@dataclass
class Campaign:
    """One campaign that was sent."""

    id: str
    title: str
    list_id: str
    sent: datetime
    type: str = "regular"
    activity: dict[str, list[dict[str, Any]]] = field(default_factory=dict)  # by address
    groups: dict[str, str] = field(default_factory=dict)
    left: list[dict[str, Any]] = field(default_factory=list)


class Reports:
    """The reports of one account."""

    def __init__(self) -> None:
        self.campaigns: dict[str, Campaign] = {}

    def clear(self) -> None:
        """Forget all campaigns."""
        self.campaigns.clear()

    def sent(self, id_: str, title: str, list_id: str, at: datetime, type_: str = "regular") -> Campaign:
        """A campaign is sent."""
        self.campaigns[id_] = Campaign(id_, title, list_id, at, type_)
        return self.campaigns[id_]

    def did(self, id_: str, email: str, action: str, at: datetime, **more: Any) -> None:
        """Somebody opens, clicks, or the mail comes back."""
        rows = self.campaigns[id_].activity.setdefault(email, [])
        rows.append({"action": action, "timestamp": iso(at), **more})

    def unsubscribed(self, id_: str, email: str, at: datetime, reason: str = "") -> None:
        """Somebody unsubscribes by a link in the campaign."""
        row = {"email_id": _hash(email), "email_address": email, "timestamp": iso(at), "reason": reason}
        self.campaigns[id_].left.append({**row, "campaign_id": id_, "list_id": self.campaigns[id_].list_id})

    # --- the wire -----------------------------------------------------------------------------------------------------

    def look(self, path: str, query: Mapping[str, str]) -> dict[str, Any]:
        """The answer to a GET below ``/reports``.  Raises Problem 404."""
        count, offset = min(int(query.get("count", "10")), _MOST), int(query.get("offset", "0"))
        parts = [p for p in path.split("/") if p][1:]
        if not parts:
            since = query.get("since_send_time", "")
            found = [c for c in self.campaigns.values() if iso(c.sent) >= since]
            found.sort(key=lambda c: c.sent, reverse=True)
            rows = [self._about(c) for c in found]
            return {"reports": rows[offset : offset + count], "total_items": len(rows)}
        campaign = self.campaigns.get(parts[0])
        if campaign is None:
            raise not_found()
        match parts[1:]:
            case ["email-activity"]:
                emails = [self._activity(campaign, a, query.get("since", "")) for a in sorted(campaign.activity)]
                return {"emails": emails[offset : offset + count], "total_items": len(emails)}
            case ["unsubscribed"]:
                return {"unsubscribes": campaign.left[offset : offset + count], "total_items": len(campaign.left)}
            case ["sent-to", member]:
                for address in campaign.activity:
                    if _hash(address) == member:
                        group = campaign.groups.get(address, "")
                        return {"email_id": member, "email_address": address, "absplit_group": group}
        raise not_found()

    def _about(self, campaign: Campaign) -> dict[str, Any]:
        return {
            "id": campaign.id,
            "campaign_title": campaign.title,
            "type": campaign.type,
            "list_id": campaign.list_id,
            "send_time": iso(campaign.sent),
            "emails_sent": len(campaign.activity),
        }

    def _activity(self, campaign: Campaign, address: str, since: str) -> dict[str, Any]:
        return {
            "campaign_id": campaign.id,
            "list_id": campaign.list_id,
            "list_is_active": True,
            "email_id": _hash(address),
            "email_address": address,
            "activity": [row for row in campaign.activity[address] if row["timestamp"] >= since],
        }

    def routes(self) -> Routes:
        """(method, path, endpoint)."""
        return [("GET", path, self._get) for path in ("/reports", "/reports/{rest:path}")]

    async def _get(self, request: Request) -> Response:
        return answer(request, self.look(request.url.path.removeprefix("/3.0"), request.query_params))


def _hash(address: str) -> str:
    return hashlib.md5(address.lower().encode()).hexdigest()
