"""Mailchimp's webhook events: what a change is told as, and how a delivery is written and signed.

Sources: github.com/mailchimp/fern-marketing-api-docs, ``pages/api-concepts/webhooks.mdx`` (samples, signature); the
older guide developer.mailchimp.com/documentation/mailchimp/guides/about-webhooks (types, handshake); the guide "Sync
audience data with webhooks" (ten seconds, 75 minutes of retries); release note of 2021-04-05 (410 disables a webhook).
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from sandbox.webhooks import Happening, Policy, Target

POLICY = Policy(
    batch=1,
    window=0.02,
    timeout=10.0,
    waits=(60, 240, 600, 1200, 2400),  # "at increasing intervals over 75 minutes"; when exactly is not published; ours
    final=frozenset({410}),
)
TYPES = ("subscribe", "unsubscribe", "profile", "cleaned", "upemail", "campaign")
SOURCES = ("user", "admin", "api")
AGENT = "MailChimp.com"
VALIDATOR = "MailChimp.com WebHook Validator"


def told(type_: str, source: str, at: float, data: Mapping[str, Any]) -> Happening:
    """One event.  ``at``: seconds since 1970, told without a zone."""
    fired = datetime.fromtimestamp(int(at), UTC).strftime("%Y-%m-%d %H:%M:%S")
    return Happening(type_, source, {"type": type_, "fired_at": fired, "data": data})


def encode(target: Target, happenings: Sequence[Happening], _attempt: int) -> tuple[bytes, dict[str, str]]:
    """A form with PHP's brackets, signed where the webhook has a signing secret."""
    pairs = [pair for happening in happenings for pair in _flat(happening.data)]
    body = urlencode(pairs).encode()
    headers = {"content-type": "application/x-www-form-urlencoded", "user-agent": AGENT}
    if target.secret:
        stamp = str(int(time.time()))
        headers["x-mailchimp-signature"] = f"t={stamp},v1={sign(target.secret, stamp, body)}"
    return body, headers


def sign(secret: str, stamp: str, body: bytes) -> str:
    """HMAC-SHA256 over ``<t>.<raw body>``, lower hex.  ``stamp``: seconds since 1970."""
    return hmac.new(secret.encode(), stamp.encode() + b"." + body, hashlib.sha256).hexdigest()


def _flat(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, inner in value.items():
        name = f"{prefix}[{key}]" if prefix else key
        if isinstance(inner, Mapping):
            yield from _flat(inner, name)
        else:
            yield name, str(inner)
