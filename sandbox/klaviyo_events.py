"""Klaviyo's webhook events: what a happening is told as, and how a delivery is written and signed.

Sources: developers.klaviyo.com, "Working with system webhooks": up to 1000 events in a call, five seconds for the
answer, retries for an hour, signature over the body followed by the header ``Klaviyo-Timestamp``; the shape of a
delivery as in the tests of github.com/nickdnk/klaviyo.
"""

from __future__ import annotations

import hashlib
import hmac
import itertools
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

import orjson

from sandbox.webhooks import Happening, Policy, Target

POLICY = Policy(
    batch=1000,
    window=0.05,
    timeout=5.0,
    waits=(15, 30, 60, 120, 240, 480, 960, 1695),  # exponential for one hour; the steps are not published
)
PREFIX = "event:klaviyo."
TOPICS = tuple(
    PREFIX + name
    for name in (
        *("received_email", "opened_email", "clicked_email", "bounced_email", "dropped_email", "marked_email_as_spam"),
        *("subscribed_to_email_marketing", "unsubscribed_from_email_marketing", "updated_email_preferences"),
        *("manually_suppressed_from_email_marketing", "manually_unsuppressed_from_email_marketing"),
        *("sent_sms", "received_sms", "subscribed_to_sms_marketing", "unsubscribed_from_sms_marketing"),
    )
)
_numbers = itertools.count(1)


def happening(topic: str, profile: str, email: str | None, at: float) -> Happening:
    """One event about one profile."""
    id_ = hashlib.sha1(f"{topic}:{profile}:{at}:{next(_numbers)}".encode()).hexdigest()[:11]
    metric = hashlib.sha1(topic.encode()).hexdigest()[:6]
    event: dict[str, Any] = {
        "type": "event",
        "id": id_,
        "attributes": {
            "timestamp": int(at),
            "datetime": datetime.fromtimestamp(at, UTC).isoformat(),
            "uuid": f"{id_}-0000",
            "event_properties": {"email_address": email, "$event_id": id_},
        },
        "relationships": {
            "metric": {"data": {"type": "metric", "id": metric}},
            "profile": {"data": {"type": "profile", "id": profile}},
        },
    }
    return Happening(PREFIX + topic, "api", {"external_id": id_, "payload": {"data": event}})


def encode(target: Target, happenings: Sequence[Happening], _attempt: int) -> tuple[bytes, dict[str, str]]:
    """Events with the webhook that they are for, signed together with the time."""
    now = datetime.fromtimestamp(time.time(), UTC)
    body = orjson.dumps(
        {
            "data": [{"topic": h.type, **h.data} for h in happenings],
            "meta": {
                "klaviyo_account_id": "SaNdBx",
                "klaviyo_webhook_id": target.id,
                "timestamp": now.isoformat(),
                "version": "2024-06-28",
            },
        }
    )
    moment = format_datetime(now, usegmt=True)
    return body, {
        "content-type": "application/json",
        "klaviyo-webhook-id": target.id,
        "klaviyo-timestamp": moment,
        "klaviyo-signature": hmac.digest(target.secret.encode(), body + moment.encode(), "sha256").hex(),
    }
