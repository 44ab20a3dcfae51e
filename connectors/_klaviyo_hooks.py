"""Klaviyo's webhook deliveries.  In: bytes, headers, secrets.  Out: events in Klaviyo's words.  No I/O, no clock.

A delivery holds up to 1000 events about profiles, each with an id of its own.  Only what speaks of consent and of
addresses that do not work is taken: there is no topic for a change of a profile, which the poll finds.

Sources: developers.klaviyo.com, "Working with system webhooks" (topics, signature over the body followed by the header
``Klaviyo-Timestamp``, retries within an hour); the shape of a delivery as in github.com/nickdnk/klaviyo's tests.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, Final

import orjson

from connectors._klaviyo_wire import is_id, time
from connectors._signing import hmac_sha256_hex, require
from connectors.contract import Action, Delivery, Event, Kind, Ref, Unreadable, Untrusted

SIGNATURE: Final = "klaviyo-signature"
TIMESTAMP: Final = "klaviyo-timestamp"
WEBHOOK: Final = "klaviyo-webhook-id"

# Klaviyo tries again for an hour and does not say whether with a new time; one more hour for clocks and queues.  Ours.
TOLERANCE: Final = timedelta(hours=2)

_PREFIX: Final = "event:klaviyo."
_URGENT: Final = frozenset(  # may withdraw consent
    {
        "unsubscribed_from_email_marketing",
        "manually_suppressed_from_email_marketing",
        "marked_email_as_spam",
        "updated_email_preferences",
        "unsubscribed_from_sms_marketing",
    }
)
_CALM: Final = frozenset(
    {
        "subscribed_to_email_marketing",
        "manually_unsuppressed_from_email_marketing",
        "subscribed_to_sms_marketing",
        "bounced_email",
    }
)
TOPICS: Final = tuple(sorted(_PREFIX + name for name in _URGENT | _CALM))


def sign(secret: str, stamp: str, body: bytes) -> str:
    """The header ``Klaviyo-Signature`` that Klaviyo would send."""
    return hmac_sha256_hex(secret, body, stamp)


def verify(delivery: Delivery, secrets: Sequence[str]) -> None:
    """Untrusted unless one of the secrets signed these bytes, not too long ago."""
    given, stamp = delivery.headers.get(SIGNATURE), delivery.headers.get(TIMESTAMP)
    if not secrets:
        raise Untrusted("klaviyo: no webhook_secret is set")
    if given is None or stamp is None:
        raise Untrusted("klaviyo: no signature, or no time of it")
    require([given], [sign(secret, stamp, delivery.body) for secret in secrets])
    at = _moment(stamp)
    if at is None:
        raise Untrusted("klaviyo: the time of the signature is malformed")
    if abs(delivery.received_at - at) > TOLERANCE:
        off = int((delivery.received_at - at).total_seconds())
        raise Untrusted(f"klaviyo: the time of the signature is {off} seconds off")


def events(delivery: Delivery) -> tuple[Event, ...]:
    """The events of one verified delivery.

    A row that names no profile is left out (the raw bytes are kept, and the poll finds the profile); Unreadable only
    where no row makes sense.
    """
    try:
        said = orjson.loads(delivery.body)
    except ValueError as error:
        raise Unreadable(f"klaviyo: the body is not JSON in UTF-8 ({type(error).__name__})") from None
    rows = said.get("data") if isinstance(said, Mapping) else None
    if not isinstance(rows, list):
        raise Unreadable("klaviyo: the body holds no list of events")
    meta = said.get("meta")
    webhook = meta.get("klaviyo_webhook_id") if isinstance(meta, Mapping) else None
    header = delivery.headers.get(WEBHOOK)
    if header is not None and webhook is not None and header != webhook:
        raise Untrusted("klaviyo: header and body name different webhooks")
    topics = [row.get("topic") for row in rows if isinstance(row, Mapping)]
    if rows and not any(isinstance(topic, str) for topic in topics):
        raise Unreadable(f"klaviyo: none of {len(rows)} rows has a topic")
    ours = [row for row in rows if isinstance(row, Mapping) and row.get("topic") in TOPICS]
    found = tuple(event for row in ours if (event := _event(row)) is not None)
    if ours and not found:
        raise Unreadable(f"klaviyo: none of {len(ours)} events names its profile")
    return found


def _event(row: Mapping[str, Any]) -> Event | None:
    data = _part(_part(row, "payload"), "data")
    about = _part(data, "attributes")
    profile = _part(_part(_part(data, "relationships"), "profile"), "data").get("id")
    name = str(row["topic"]).removeprefix(_PREFIX)
    if not isinstance(profile, str) or not is_id(profile):
        return None
    id_ = next((i for i in (row.get("external_id"), data.get("id")) if isinstance(i, str) and i), None)
    # Without an id of the event: equal content is the same happening.
    key = f"{name}\n{id_}".encode() if id_ is not None else orjson.dumps(row, option=orjson.OPT_SORT_KEYS)
    return Event(
        Kind.CONTACT,
        Action.CHANGED,
        Ref(profile),
        hashlib.sha256(key).hexdigest(),
        occurred_at=time(about.get("datetime")),
        urgent=name in _URGENT,
    )


def _part(whole: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = whole.get(name)
    return found if isinstance(found, Mapping) else {}


def _moment(text: str) -> datetime | None:
    """An HTTP date, as seen, or ISO 8601."""
    try:
        at = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return time(text)
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
