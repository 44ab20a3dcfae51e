"""Mautic's webhooks as subscriptions: which there are, making, completing and removing one.

Mautic keeps the secret that it is given, and tells it to whoever may see the webhook.

Sources: github.com/mautic/developer-documentation-new, ``docs/rest_api/webhooks.rst``; github.com/mautic/mautic at
24271492, ``WebhookBundle/Model/WebhookModel.php`` (what switches a webhook off).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from connectors._mautic_calls import Contacts
from connectors._mautic_hooks import ACTIONS
from connectors._mautic_wire import number
from connectors.contract import Hook, Hooked

NAME: Final = "Tandem"


def listed(contacts: Contacts) -> tuple[Hook, ...]:
    """The webhooks that there are."""
    return tuple(_hook(row) for row in contacts.hooks())


def install(contacts: Contacts, url: str, secret: str) -> Hooked:
    """One webhook that tells this URL everything about contacts and companies, oldest first, signed with our secret."""
    body = {
        "name": NAME,
        "webhookUrl": url,
        "secret": secret,
        "triggers": list(ACTIONS),
        "eventsOrderbyDir": "ASC",
        "isPublished": True,
    }
    ours = [hook.id for hook in listed(contacts) if hook.url == url]
    return Hooked(tuple(_hook(contacts.save_hook(id_, body)) for id_ in (ours if ours else [None])))


def _hook(row: Mapping[str, Any]) -> Hook:
    told = row.get("triggers")
    names = told.values() if isinstance(told, Mapping) else told if isinstance(told, list) else []
    lacks = tuple(name for name in ACTIONS if name not in set(names))
    url = str(row.get("webhookUrl", "")).partition("?")[0]
    name, on = row.get("name"), row.get("isPublished")
    return Hook(
        str(number(row, "id")),
        url,
        name if isinstance(name, str) else "",
        on if isinstance(on, bool) else None,
        lacks,
    )
