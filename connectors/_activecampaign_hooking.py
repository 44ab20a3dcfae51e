"""ActiveCampaign's webhooks as subscriptions: which there are, making, completing and removing them.

Two of them: what may stop somebody is told whoever did it; changes are told unless they came by the API, since the
vendor cannot tell our own writes from those of others, and each would be read back.  What other programs change comes
with the next poll.  A webhook that answered 410 once is off, and is only switched on by being made anew.
Source: developers.activecampaign.com/reference/create-webhook, /page/webhooks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

import httpx

from connectors._activecampaign_calls import Contacts
from connectors._activecampaign_hooks import CHANGES, PARAMETER, STOPS
from connectors._activecampaign_wire import is_id, refusal, rows
from connectors.contract import Hook, Hooked, Refused

_PATH: Final = "/webhooks"
_PEOPLE: Final = ("public", "admin", "system")
# name → (events, sources)
WEBHOOKS: Final[Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    "Tandem: stops": (STOPS, (*_PEOPLE, "api")),
    "Tandem: changes": (CHANGES, _PEOPLE),
}
_OFF: Final = frozenset({"0", "inactive", "disabled"})  # how the vendor shows it is not said


def listed(contacts: Contacts) -> tuple[Hook, ...]:
    """All webhooks of the account."""
    return tuple(_hook(row) for row in rows(contacts.ask(_PATH, {"limit": 100}), "webhooks"))


def install(contacts: Contacts, url: str, secret: str) -> Hooked:
    """Both webhooks.  ``secret``: what their URL ends in."""
    if not url.startswith("https://"):
        raise Refused("activecampaign: webhooks go to https only: set public_url to an https address", code="url")
    there = [row for row in rows(contacts.ask(_PATH, {"limit": 100}), "webhooks") if _url(row) == url]
    for name, (events, sources) in WEBHOOKS.items():
        webhook = {
            "name": name,
            "url": f"{url}?{PARAMETER}={quote(secret, safe='')}",
            "events": list(events),
            "sources": list(sources),
        }
        ours = [row for row in there if set(_texts(row, "events")) & set(events)]
        for row in ours:
            if _hook(row).on is False:
                drop(contacts, str(row.get("id")))
            else:
                _send(contacts, "PUT", f"{_PATH}/{row.get('id')}", webhook)
        if not any(_hook(row).on is not False for row in ours):
            _send(contacts, "POST", _PATH, webhook)
    return Hooked(tuple(hook for hook in listed(contacts) if hook.url == url))


def drop(contacts: Contacts, id_: str) -> None:
    """Remove one; one that is not there is removed already."""
    if is_id(id_):
        contacts.send("DELETE", f"{_PATH}/{id_}", take={404}, safe=True)


def _send(contacts: Contacts, method: str, path: str, webhook: Mapping[str, Any]) -> httpx.Response:
    response = contacts.send(method, path, json={"webhook": webhook}, take={400, 422}, safe=method == "PUT")
    if response.status_code >= 400:
        raise refusal(response, webhook, contacts.secrets)
    return response


def _hook(row: Mapping[str, Any]) -> Hook:
    has = set(_texts(row, "events"))
    wanted = next((events for events, _ in WEBHOOKS.values() if has & set(events)), ())
    state = row.get("state")
    on = None if state is None else str(state).lower() not in _OFF
    lacks = tuple(event for event in wanted if event not in has)
    return Hook(str(row.get("id", "")), _url(row), about=str(row.get("name", "")), on=on, lacks=lacks)


def _url(row: Mapping[str, Any]) -> str:
    return str(row.get("url", "")).partition("?")[0]


def _texts(row: Mapping[str, Any], name: str) -> list[str]:
    found = row.get(name)
    return [str(one) for one in found] if isinstance(found, list) else []
