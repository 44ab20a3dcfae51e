"""Brevo's webhook events: what a change is told as, and how a delivery is written.

Sources: developers.brevo.com/docs/marketing-webhooks, retry-mechanism, secure-webhook-calls and changelog/2026/11/1
(``api_key_name``); ``contact_updated`` as seen: github.com/sendinblue/APIv3-php-library/issues/175.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import orjson

from sandbox.webhooks import Happening, Policy, Target

# What a subscription calls an event -> what the payload calls it.
NAMES = {
    "contactUpdated": "contact_updated",
    "contactDeleted": "contact_deleted",
    "listAddition": "list_addition",
    "unsubscribed": "unsubscribe",
    "hardBounce": "hard_bounce",
    "softBounce": "soft_bounce",
    "spam": "spam",
    "opened": "opened",
    "click": "click",
    "delivered": "delivered",
}
POLICY = Policy(
    batch=1,
    window=0.02,
    timeout=10.0,  # not published
    waits=(600, 3600, 7200, 28_800),
    retried=frozenset({429}),  # any other 4xx and every 5xx discards the event; no answer at all is tried again
)


def contact(kind: str, source: str, at: float, **content: Any) -> Happening:
    """An event of a contact's data.  ``at``: seconds since 1970."""
    data: dict[str, Any] = {"event": NAMES[kind], "date": stamp(at), "ts": int(at)}
    if kind == "contactUpdated":
        data["content"] = [content]
    else:
        data |= content
    if kind != "contactDeleted":
        data["api_key_name"] = "" if source == "user" else "tandem"
    return Happening(kind, source, data)


def campaign(kind: str, at: float, email: str, **more: Any) -> Happening:
    """An event of a campaign; times as text are in the account's zone."""
    text = datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S")
    data = {
        "camp_id": 42,
        "email": email,
        "campaign name": "Spring news",
        "date_sent": text,
        "date_event": text,
        "event": NAMES[kind],
        "tag": "",
        "ts_sent": int(at),
        "ts_event": int(at),
        "ts": int(at),
    }
    return Happening(kind, "user", {**data, **more})


def stamp(at: float) -> str:
    """ISO 8601 with milliseconds, in UTC."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{int(at * 1000) % 1000:03d}Z"


def encode(target: Target, happenings: Sequence[Happening], _attempt: int) -> tuple[bytes, dict[str, str]]:
    """One event, with the webhook's id and its bearer token; not signed."""
    number = int(target.id) if target.id.isdigit() else 1
    told: Mapping[str, Any] = {"id": number, **happenings[0].data}
    headers = {"content-type": "application/json", "user-agent": "Brevo-Webhooks"}
    return orjson.dumps(told), {**headers, "authorization": f"Bearer {target.secret}"} if target.secret else headers
