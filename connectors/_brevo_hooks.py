"""Brevo's webhook deliveries.  In: bytes, headers, secrets.  Out: events in Brevo's words.  No I/O, no clock.

A body is one event, or with ``batched`` a list of them.  Nothing signs it: a bearer token, which Brevo was told when
the webhook was made, proves who sends.  No event has an id (``id`` is the webhook's), and of a changed contact neither
time is to be relied on, so an equal event is a copy and every contact is read again.

Sources: developers.brevo.com/docs/marketing-webhooks and secure-webhook-calls; shapes of ``contact_updated`` as seen:
github.com/sendinblue/APIv3-php-library/issues/175.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import orjson

from connectors._brevo_wire import MARKS, fold
from connectors._signing import require
from connectors.contract import Action, Delivery, Event, Kind, Ref, Unreadable, Untrusted

PROOF: Final = "authorization"

# Payloads write events otherwise than subscriptions do (hard_bounce, hardBounce): compared without case and underscore.
ACTIONS: Final[Mapping[str, Action]] = {
    "contactupdated": Action.CHANGED,
    "listaddition": Action.CHANGED,  # also how a new contact is told, if it is put on a list
    "unsubscribe": Action.CHANGED,
    "unsubscribed": Action.CHANGED,
    "spam": Action.CHANGED,
    "hardbounce": Action.CHANGED,
    "contactdeleted": Action.DELETED,
}
_OBJECTIONS: Final = frozenset({"unsubscribe", "unsubscribed", "spam", "hardbounce"})
_BLOCKED: Final = (*MARKS, "emailBlacklist", "smsBlacklist")  # seen: emailBlacklist
_TIMES: Final = ("date", "date_event", "ts_event")
COPIES: Final = timedelta(minutes=10)  # an event that says no time is a copy of an equal one for so long; ours

_EPOCH: Final = datetime.fromtimestamp(0, UTC)
_LATEST: Final = 4_102_444_800  # the year 2100: what is larger is no time in seconds


def verify(delivery: Delivery, secrets: Sequence[str]) -> None:
    """Untrusted unless the bearer token is one of the secrets."""
    scheme, _, token = delivery.headers.get(PROOF, "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise Untrusted("brevo: no bearer token")
    require([token], secrets)


def events(delivery: Delivery) -> tuple[Event, ...]:
    """The events of one verified delivery; none for those that are not about a contact's data.

    What names nobody is left out (the raw bytes are kept, and the poll finds the contact); Unreadable only if nothing
    in it can be read.
    """
    try:
        body = orjson.loads(delivery.body)
    except ValueError as error:
        raise Unreadable(f"brevo: the body is not JSON in UTF-8 ({type(error).__name__})") from None
    items = body if isinstance(body, list) else [body]
    found: list[Event] = []
    bad = 0
    for item in items:
        kind = item.get("event") if isinstance(item, Mapping) else None
        if not isinstance(kind, str):
            bad += 1
            continue
        name = kind.replace("_", "").lower()
        if name not in ACTIONS:
            continue
        addresses = list(dict.fromkeys(_addresses(item)))
        bad += not addresses
        found += [_event(name, item, address, delivery.received_at) for address in addresses]
    if bad and not found:
        raise Unreadable(f"brevo: none of {bad} events names a contact")
    return tuple(found)


def _addresses(item: Mapping[str, Any]) -> Iterator[str]:
    """Wherever an event may name its contact: beside the event, or in its content; a text, or a list of them."""
    for place in (item, *_contents(item)):
        told = place.get("email")
        yield from (a for a in map(fold, told if isinstance(told, list) else [told]) if a)
        attributes = place.get("attributes")
        if isinstance(attributes, Mapping) and (moved := fold(attributes.get("EMAIL"))):
            yield moved  # a changed address: it leads to the same contact


def _contents(item: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    told = item.get("content")
    return [one for one in (told if isinstance(told, list) else [told]) if isinstance(one, Mapping)]


def _event(name: str, item: Mapping[str, Any], address: str, received_at: datetime) -> Event:
    span = None if any(item.get(t) for t in _TIMES) else (received_at - _EPOCH) // COPIES
    # Without the webhook's id: a second webhook tells the same.  Hashed, because it holds a person's data.
    said = {key: value for key, value in item.items() if key != "id"}
    same = orjson.dumps([name, said, address, span], option=orjson.OPT_SORT_KEYS)
    at = item.get("ts_event")
    told = isinstance(at, int) and not isinstance(at, bool) and 0 < at < _LATEST
    blocked = any(place.get(mark) is True for place in (item, *_contents(item)) for mark in _BLOCKED)
    return Event(
        Kind.CONTACT,
        ACTIONS[name],
        Ref(address, key="email"),
        hashlib.sha256(same).hexdigest(),
        occurred_at=datetime.fromtimestamp(at, UTC) if told and isinstance(at, int) else None,
        urgent=name in _OBJECTIONS or blocked,
    )
