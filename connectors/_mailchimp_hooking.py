"""Mailchimp's webhooks as subscriptions: which there are, making, completing and removing one.

Sources: the Marketing API's contract 3.0.55, ``/lists/{list_id}/webhooks``; "Subscribe to webhooks" in
github.com/mailchimp/fern-marketing-api-docs: the signing secret is told once, a second POST makes a second webhook.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

from connectors._mailchimp_calls import Audience
from connectors.contract import Hook, Hooked

EVENTS: Final = ("subscribe", "unsubscribe", "profile", "cleaned", "upemail")  # what ``receive`` understands
SOURCES: Final = ("user", "admin", "api")  # without "api" what other programs write would be told by nobody


def listed(audience: Audience) -> tuple[Hook, ...]:
    """The audience's webhooks."""
    return tuple(_hook(row) for row in audience.webhooks())


def install(audience: Audience, url: str, secret: str) -> Hooked:
    """One webhook that tells this URL everything.  ``secret``: what the URL ends in, where one is configured."""
    body = {
        "url": f"{url}?secret={quote(secret, safe='')}" if secret else url,
        "events": dict.fromkeys(EVENTS, True),
        "sources": dict.fromkeys(SOURCES, True),
    }
    ours = [hook for hook in listed(audience) if hook.url == url]
    if ours:
        for hook in ours:
            audience.change_webhook(hook.id, body)
        return Hooked(tuple(hook for hook in listed(audience) if hook.url == url))
    made = audience.add_webhook(body)
    told = made.get("signing_secret")
    return Hooked((_hook(made),), told if isinstance(told, str) and told else None)


def _hook(row: Mapping[str, Any]) -> Hook:
    lacks = [
        f"{part}.{name}"
        for part, names in (("events", EVENTS), ("sources", SOURCES))
        for name in _off(row, part, names)
    ]
    # Whether it is switched off is not told.
    return Hook(str(row.get("id", "")), str(row.get("url", "")).partition("?")[0], on=None, lacks=tuple(lacks))


def _off(row: Mapping[str, Any], part: str, names: tuple[str, ...]) -> list[str]:
    switches = row.get(part)
    return [n for n in names if not isinstance(switches, Mapping) or switches.get(n) is not True]
