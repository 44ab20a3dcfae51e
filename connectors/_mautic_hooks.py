"""Mautic's webhook deliveries.  In: bytes, headers, secrets.  Out: events in Mautic's words.  No I/O, no clock.

A body has one list per kind of event.  No event has an id; each says when it was queued, so an equal item is a copy.

Sources: github.com/mautic/developer-documentation-new, ``docs/webhooks``; github.com/mautic/mautic at 24271492,
``WebhookBundle/Http/Client.php`` (signature), ``LeadBundle/EventListener/WebhookSubscriber.php`` (kinds); deliveries
recorded from version 5.2.0.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import orjson

from connectors._mautic_wire import CONTACTABLE, anonymous, is_id, number, time
from connectors._signing import hmac_sha256_base64, require
from connectors.contract import Action, Delivery, Event, Kind, Ref, Unreadable, Untrusted

SIGNATURE: Final = "webhook-signature"
OBJECTION: Final = "mautic.lead_channel_subscription_changed"
TIED: Final = "mautic.lead_company_change"
ACTIONS: Final[Mapping[str, Action]] = {
    "mautic.lead_post_save_new": Action.CHANGED,
    "mautic.lead_post_save_update": Action.CHANGED,
    "mautic.lead_points_change": Action.CHANGED,
    OBJECTION: Action.CHANGED,
    TIED: Action.CHANGED,
    # A merge tells this of the contact that was lost; reading it back leads to the one that it lives on in.
    "mautic.lead_post_delete": Action.DELETED,
    "mautic.company_post_save": Action.CHANGED,
    "mautic.company_post_delete": Action.DELETED,
}
COMPANY: Final = "mautic.company_"  # what the kinds about companies begin with


def verify(delivery: Delivery, secrets: Sequence[str]) -> None:
    """Untrusted unless one of the secrets signed these bytes."""
    given = delivery.headers.get(SIGNATURE)
    if given is None:
        raise Untrusted("mautic: no signature")
    require([given], [hmac_sha256_base64(secret, delivery.body) for secret in secrets])


def events(delivery: Delivery) -> tuple[Event, ...]:
    """The events of one verified delivery; none for kinds that are not listed here, and for unknown visitors.

    An item without an id is left out (the raw bytes are kept, and the poll finds the contact); Unreadable only if no
    item has one.
    """
    try:
        body = orjson.loads(delivery.body)
    except ValueError as error:
        raise Unreadable(f"mautic: the body is not JSON in UTF-8 ({type(error).__name__})") from None
    if not isinstance(body, Mapping):
        raise Unreadable("mautic: the body is no object of events")
    found: list[Event] = []
    bad = 0
    for kind, item in _items(body):
        of = Kind.COMPANY if kind.startswith(COMPANY) else Kind.CONTACT
        id_ = _id(item, of)
        if id_ is None:
            bad += 1
        elif not _of_a_visitor(kind, item):
            found.append(_event(kind, item, id_, of))
        if kind == TIED and (company := _id(item.get("company"), Kind.COMPANY)) is not None:
            found.append(_event(kind, item, company, Kind.COMPANY))  # who belongs to it is told with the company
    if bad and not found:
        raise Unreadable(f"mautic: none of {bad} events names a contact or company")
    return tuple(found)


def _items(body: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for kind, items in body.items():
        if kind in ACTIONS:
            yield from ((kind, item) for item in (items if isinstance(items, list) else [items]))


def _id(item: object, of: Kind) -> str | None:
    """Of a deletion the id stands beside the contact or company, whose own is empty by then."""
    inner = item.get(str(of)) if isinstance(item, Mapping) else None
    for place in (item, inner):
        id_ = number(place, "id") if isinstance(place, Mapping) else None
        if id_ is not None and is_id(str(id_)):
            return str(id_)
    return None


def _of_a_visitor(kind: str, item: Mapping[str, Any]) -> bool:
    contact = item.get("contact")
    deleted = ACTIONS[kind] is Action.DELETED
    return not deleted and isinstance(contact, Mapping) and "fields" in contact and anonymous(contact)


def _event(kind: str, item: Mapping[str, Any], id_: str, of: Kind) -> Event:
    # Hashed, because it holds a person's data.
    told = [kind, item] if of is Kind.CONTACT else [kind, item, of]  # one item may be of both
    same = orjson.dumps(told, option=orjson.OPT_SORT_KEYS)
    urgent = kind == OBJECTION and item.get("new_status") != CONTACTABLE
    at = time(item.get("timestamp"))
    return Event(of, ACTIONS[kind], Ref(id_), hashlib.sha256(same).hexdigest(), occurred_at=at, urgent=urgent)
