"""Pipedrive's webhooks, version 2.0: deliveries, and the subscriptions themselves.

Deliveries: bytes, headers and secrets in, events out; no I/O, no clock.  Pipedrive signs nothing.  What proves a
delivery is the user and the password of HTTP Basic that the webhook was made with, which it sends along each time.
One delivery is one happening, without a promised order.

Sources: the vendor's guide for webhooks v2 and its migration guide (payloads); OpenAPI v1, ``/webhooks``.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

import orjson

from connectors._pipedrive_calls import Persons
from connectors._pipedrive_wire import CUSTOM, STATUS, id_of, refusal, time
from connectors._signing import require
from connectors.contract import Action, Delivery, Event, Hook, Hooked, Kind, Ref, Unreadable, Untrusted

USER: Final = "tandem"  # of HTTP Basic, our choice; the password is the secret
VERSION: Final = "2.0"
NAME: Final = "Tandem"
_SCHEME: Final = "basic "
_ACTIONS: Final[Mapping[str, Action]] = {
    "create": Action.CHANGED,
    "change": Action.CHANGED,
    "delete": Action.DELETED,
}
_EVENTS: Final = ("create", "change", "delete")
OBJECTS: Final[Mapping[str, Kind]] = {"person": Kind.CONTACT, "organization": Kind.COMPANY, "deal": Kind.DEAL}
_EVERYTHING: Final = "*"


def proof(password: str) -> str:
    """The header ``Authorization`` that Pipedrive sends (RFC 7617)."""
    return "Basic " + base64.b64encode(f"{USER}:{password}".encode()).decode()


def verify(delivery: Delivery, passwords: Sequence[str]) -> None:
    """Untrusted unless the delivery brings one of the passwords."""
    given = delivery.headers.get("authorization", "")
    if given[: len(_SCHEME)].lower() != _SCHEME:
        raise Untrusted("pipedrive: no user and password; make the webhook with HTTP Basic")
    require([given[len(_SCHEME) :].strip()], [proof(p)[len(_SCHEME) :] for p in passwords])


def events(delivery: Delivery, names: Collection[str]) -> tuple[Event, ...]:
    """The event of one trusted delivery; none about what is not ours.  ``names``: fields of persons that are read."""
    try:
        body = orjson.loads(delivery.body)
    except ValueError as error:
        raise Unreadable(f"pipedrive: the body is not JSON in UTF-8 ({type(error).__name__})") from None
    meta = body.get("meta") if isinstance(body, Mapping) else None
    if not isinstance(meta, Mapping):
        raise Unreadable("pipedrive: the body has no meta")
    entity, action = meta.get("entity"), meta.get("action")
    if not isinstance(entity, str) or not isinstance(action, str):
        raise Unreadable("pipedrive: no webhook of version 2.0; make it anew with that version")
    if entity not in OBJECTS or action not in _ACTIONS:
        return ()
    id_ = id_of(meta.get("entity_id"))
    if id_ is None:
        raise Unreadable(f"pipedrive: a {entity} without an id")
    into, taken = id_of(meta.get("merged_to_id")), id_of(meta.get("merged_from_id"))
    # Both records tell of a merge, each in its own way.
    what, ref, losers = _ACTIONS[action], id_, ()  # type: tuple[Action, str, tuple[str, ...]]
    if into is not None and into != id_:
        what, ref, losers = Action.MERGED, into, (id_,)
    elif taken is not None and taken != id_:
        what, losers = Action.MERGED, (taken,)
    return (
        Event(
            OBJECTS[entity],
            what,
            Ref(ref),
            _dedupe(meta, body),
            occurred_at=time(meta.get("timestamp")),
            losers=losers,
            urgent=entity == "person" and _urgent(body, names),
        ),
    )


def _dedupe(meta: Mapping[str, Any], body: Mapping[str, Any]) -> str:
    """The id of the event, which is the same at each try; hashed where there is none, for it holds a person's data."""
    given = meta.get("id")
    if isinstance(given, str) and 0 < len(given) <= 100 and given.isascii():
        return f"{meta.get('action')}:{given}"
    counters = {"attempt", "host"}
    same = [{k: v for k, v in meta.items() if k not in counters}, body.get("data"), body.get("previous")]
    return hashlib.sha256(orjson.dumps(same, option=orjson.OPT_SORT_KEYS)).hexdigest()


def _urgent(body: Mapping[str, Any], names: Collection[str]) -> bool:
    """Whether this may be an objection: the status says so, or a custom field that is read was changed."""
    data, before = body.get("data"), body.get("previous")
    if isinstance(data, Mapping) and data.get(STATUS) == "unsubscribed":
        return True
    changed = before.get("custom_fields") if isinstance(before, Mapping) else None
    return isinstance(data, Mapping) and isinstance(changed, Mapping) and any(CUSTOM + str(k) in names for k in changed)


# --- subscriptions ----------------------------------------------------------------------------------------------------


def subscriptions(persons: Persons) -> tuple[Hook, ...]:
    """All webhooks of the account."""
    return tuple(_hook(row) for row in persons.webhooks())


def install(persons: Persons, url: str, password: str, kinds: Collection[Kind]) -> Hooked:
    """One webhook for all that happens to each of these kinds.  What is there and lacks something is made anew.

    A webhook cannot be changed.  Whether it brings the right password cannot be seen: where it does not show our user,
    it is made anew, too.  Raises Refused where the vendor does not take the URL.
    """
    here = [row for row in persons.webhooks() if _hook(row).url == url]
    keep = [row for row in here if row.get("event_object") == _EVERYTHING and _complete(row)][:1]
    about = [_EVERYTHING, *(name for name, kind in OBJECTS.items() if kind in kinds)]
    for name in [] if keep else about[1:]:
        good = [row for row in here if row.get("event_object") == name and _complete(row)]
        keep += good[:1] if good else [_made(persons, url, password, name)]
    kept = {row.get("id") for row in keep}
    for row in here:
        if row.get("event_object") in about and row.get("id") not in kept and (old := id_of(row.get("id"))) is not None:
            persons.drop_webhook(old)
    return Hooked(tuple(_hook(row) for row in keep))


def _made(persons: Persons, url: str, password: str, about: str) -> Mapping[str, Any]:
    made = persons.add_webhook(
        {
            "subscription_url": url,
            "event_action": "*",
            "event_object": about,
            "name": NAME,
            "version": VERSION,
            "http_auth_user": USER,
            "http_auth_password": password,
        }
    )
    if made.status_code >= 400:
        raise refusal(made, {"url": url}, {*persons.secrets, password})
    return persons.shown(made)


def _complete(row: Mapping[str, Any]) -> bool:
    hook = _hook(row)
    return hook.on is not False and not hook.lacks and row.get("http_auth_user") == USER


def _hook(row: Mapping[str, Any]) -> Hook:
    action, about = str(row.get("event_action")), str(row.get("event_object"))
    known = about in OBJECTS or about == _EVERYTHING
    missing = [event for event in _EVENTS if action not in {"*", event}] if known else _EVENTS
    lacks = [f"{event}.{about if about in OBJECTS else 'person'}" for event in missing]
    if row.get("version", VERSION) != VERSION:
        lacks.append(f"version {VERSION}")
    active = row.get("is_active")
    url = str(row.get("subscription_url", "")).partition("?")[0]
    on = None if active is None else active in {1, "1"}
    return Hook(str(row.get("id", "")), url, f"{action}.{about}", on, tuple(lacks))
