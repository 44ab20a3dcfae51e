"""Brevo's webhooks as subscriptions: which there are, making, completing and removing one.

Sources: the contract (see ``_brevo_wire``), ``webhooks``; developers.brevo.com/docs/how-to-use-webhooks (forty webhooks
an account) and secure-webhook-calls (``auth``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from connectors._brevo_calls import Contacts
from connectors.contract import Hook, Hooked

EVENTS: Final = ("contactUpdated", "contactDeleted", "listAddition", "unsubscribed", "spam", "hardBounce")


def listed(contacts: Contacts) -> tuple[Hook, ...]:
    """The marketing webhooks; whether one is switched off Brevo does not say."""
    return tuple(_hook(row) for row in contacts.webhooks())


def install(contacts: Contacts, url: str, secret: str) -> Hooked:
    """One webhook that tells this URL everything, with our token; where a change does not take, it is made anew."""
    body: dict[str, Any] = {
        "url": url,
        "description": "Tandem",
        "events": list(EVENTS),
        "auth": {"type": "bearer", "token": secret},
    }
    ours = [hook for hook in listed(contacts) if hook.url == url]
    for hook in ours[:1]:
        contacts.change_webhook(hook.id, body)
    for hook in ours[1:]:
        contacts.drop_webhook(hook.id)  # each would tell everything once more
    now = [hook for hook in listed(contacts) if hook.url == url]
    if not now or now[0].lacks:
        # The page on changing a webhook does not list the events of contacts, the one on making it does.
        for hook in now:
            contacts.drop_webhook(hook.id)
        contacts.add_webhook({"type": "marketing", **body})
        now = [hook for hook in listed(contacts) if hook.url == url]
    return Hooked(tuple(now))


def _hook(row: Mapping[str, Any]) -> Hook:
    told = row.get("events")
    there = {str(one).replace("_", "").lower() for one in told} if isinstance(told, list) else set()
    lacks = tuple(name for name in EVENTS if name.lower() not in there)
    about = row.get("description")
    url = str(row.get("url", "")).partition("?")[0]
    return Hook(str(row.get("id", "")), url, about if isinstance(about, str) else "", on=None, lacks=lacks)
