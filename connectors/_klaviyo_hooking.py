"""Klaviyo's webhooks as subscriptions: which there are, making, completing and removing one.

Klaviyo shows neither the whole URL of a webhook nor its secret, so ours are known by the URL in their description.  The
secret is ours to choose.  Accounts without system webhooks answer 403, which stops nothing else.  Source: Klaviyo's
OpenAPI document 2026-07-15, ``/api/webhooks`` and ``/api/webhook-topics``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import httpx

from connectors._klaviyo_calls import Profiles
from connectors._klaviyo_hooks import TOPICS
from connectors._klaviyo_wire import is_id, refusal, rows
from connectors.contract import Hook, Hooked, Refused, TryLater

SECRET_LENGTH: Final = 16  # "Working with system webhooks": at least
_PATH: Final = "/api/webhooks"
_ABOUT: Final = "Tandem listens at "
_NAME: Final = "Tandem"
_CUT: Final = re.compile(r"\.\.|…|\*")  # where the shown URL may be cut; how Klaviyo cuts it is not said


def listed(profiles: Profiles) -> tuple[Hook, ...]:
    """All webhooks of the account."""
    return _listed(profiles, _topics(profiles))


def install(profiles: Profiles, url: str, secret: str) -> Hooked:
    """One webhook that tells this URL everything.  ``secret``: what is to sign it."""
    if len(secret) < SECRET_LENGTH:
        says = f"klaviyo: set webhook_secret to a random text of at least {SECRET_LENGTH} characters first"
        raise Refused(says, code="webhook_secret")
    if not url.startswith("https://"):
        raise Refused("klaviyo: webhooks go to https only: set public_url to an https address", code="url")
    topics = _topics(profiles)
    if not topics:
        raise Refused("klaviyo: this account has no webhook topics that speak of consent", code="topics")
    attributes = {"name": _NAME, "description": _ABOUT + url, "endpoint_url": url, "secret_key": secret}
    wanted = [{"type": "webhook-topic", "id": topic} for topic in topics]
    data = {"type": "webhook", "relationships": {"webhook-topics": {"data": wanted}}}
    ours = [hook for hook in _listed(profiles, topics) if hook.url == url]
    for hook in ours:
        changed = {**data, "id": hook.id, "attributes": {**attributes, "enabled": True}}
        _ask(profiles, "PATCH", f"{_PATH}/{hook.id}", "hook_change", json={"data": changed})
    if not ours:
        _ask(profiles, "POST", _PATH, "hook", json={"data": {**data, "attributes": attributes}})
    return Hooked(tuple(hook for hook in _listed(profiles, topics) if hook.url == url))


def drop(profiles: Profiles, id_: str) -> None:
    """Remove one; one that is not there is removed already."""
    if is_id(id_):
        _ask(profiles, "DELETE", f"{_PATH}/{id_}", "hook_drop", missing=True)


def _listed(profiles: Profiles, known: tuple[str, ...]) -> tuple[Hook, ...]:
    response = _ask(profiles, "GET", _PATH, "hooks", params={"include": "webhook-topics"})
    return tuple(_hook(row, known) for row in rows(response.json()))


def _topics(profiles: Profiles) -> tuple[str, ...]:
    """The topics that we understand and the account has."""
    there = {row.get("id") for row in rows(_ask(profiles, "GET", "/api/webhook-topics", "topics").json())}
    return tuple(topic for topic in TOPICS if topic in there)


def _ask(
    profiles: Profiles,
    method: str,
    path: str,
    family: str,
    *,
    params: Mapping[str, Any] | None = None,
    json: Any = None,
    missing: bool = False,
) -> httpx.Response:
    taken = {400, 403, 409, *({404} if missing else ())}
    response = profiles.send(method, path, family, params=params, json=json, take=taken, safe=method != "POST")
    if response.status_code == 403:
        says = (
            "klaviyo: 403, this account or key has no system webhooks (they come with Advanced KDP, and the key needs "
            "webhooks:read and webhooks:write); the poll covers for them"
        )
        raise Refused(says, code="webhooks")
    if response.status_code in {400, 409}:
        raise refusal(response, json, profiles.secrets)
    if response.status_code < 300 and method == "GET" and not response.content.lstrip().startswith(b"{"):
        raise TryLater("klaviyo: the answer is not JSON")
    return response


def _hook(row: Mapping[str, Any], known: tuple[str, ...]) -> Hook:
    about = row.get("attributes")
    about = about if isinstance(about, Mapping) else {}
    told, shown = str(about.get("description", "")), str(about.get("endpoint_url", ""))
    url = told.removeprefix(_ABOUT)
    if not told.startswith(_ABOUT) or not url.startswith(_CUT.split(shown)[0]):
        url = shown.partition("?")[0]  # not ours, or somebody has led ours elsewhere
    related = row.get("relationships")
    topics = related.get("webhook-topics") if isinstance(related, Mapping) else None
    data = topics.get("data") if isinstance(topics, Mapping) else None
    has = {t.get("id") for t in data if isinstance(t, Mapping)} if isinstance(data, list) else set()
    lacks = tuple(topic for topic in known if topic not in has)
    enabled = about.get("enabled")
    return Hook(str(row.get("id", "")), url, on=enabled if isinstance(enabled, bool) else None, lacks=lacks)
