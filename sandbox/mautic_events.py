"""Mautic's webhook events: what a change is told as, and how a delivery is written and signed.

Sources: github.com/mautic/developer-documentation-new, ``docs/webhooks``; github.com/mautic/mautic,
``WebhookBundle/Model/WebhookModel.php`` and ``WebhookBundle/Http/Client.php``.  Seen of version 5.2.0: shape of a
contact, both headers, one try only.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from typing import Any

from sandbox.webhooks import Happening, Policy, Target

NEW = "mautic.lead_post_save_new"
UPDATE = "mautic.lead_post_save_update"
POINTS = "mautic.lead_points_change"
DELETE = "mautic.lead_post_delete"
CHANNEL = "mautic.lead_channel_subscription_changed"
KINDS = (
    *(NEW, UPDATE, POINTS, DELETE, CHANNEL, "mautic.lead_company_change", "mautic.form_on_submit"),
    *("mautic.company_post_save", "mautic.company_post_delete"),
)

POLICY = Policy(
    batch=10,  # webhook_limit, in the mode that queues
    window=0.05,  # a scheduled job at the real one; here as fast as the others
    timeout=15.0,
    waits=(300, 300, 300),  # only after no answer at all: rows stay in the queue for the next run of the job
    final=frozenset({410}),  # switches the webhook off
    retried=frozenset(),  # after any answer the events are gone
)


def happening(kind: str, source: str, at: str, contact: Mapping[str, Any], **more: Any) -> Happening:
    """One event.  ``at``: when it was queued."""
    shown = {**contact, "fields": {k: v for k, v in contact["fields"].items() if k != "all"}}
    return Happening(kind, source, {**more, "contact": shown, "timestamp": at})


def encode(target: Target, happenings: Sequence[Happening], _attempt: int) -> tuple[bytes, dict[str, str]]:
    """A list per kind, as PHP writes JSON, signed over the bytes."""
    kinds: dict[str, list[Any]] = {}
    for one in happenings:
        kinds.setdefault(one.type, []).append(one.data)
    body = json.dumps(kinds, separators=(",", ":")).replace("/", "\\/").encode()
    digest = hmac.digest(target.secret.encode(), body, hashlib.sha256)
    return body, {
        "content-type": "application/json",
        "x-origin-base-url": "https://mautic.sandbox.example",
        "webhook-signature": base64.b64encode(digest).decode(),
    }
