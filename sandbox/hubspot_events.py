"""HubSpot's webhook events: what a change is told as, and how a delivery is signed.

Sources: developers.hubspot.com, "Webhooks API" and "Validating requests" (mirrors of January 2025 and April 2026);
the signature schemes: github.com/HubSpot/hubspot-api-python, ``hubspot/utils/signature.py``.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from random import Random
from typing import Any, Literal
from urllib.parse import unquote

import orjson

from sandbox.webhooks import Encode, Happening, Policy, Target

POLICY = Policy(
    batch=100,  # events in one POST at most
    window=0.03,
    timeout=5.0,  # "Webhooks API": answer within five seconds
    # Ten retries over 24 hours, when exactly is not published; ours.
    waits=(60, 300, 900, 1800, 3600, 7200, 10_800, 14_400, 21_600, 25_740),
)

SUBSCRIBED = (  # one subscription each; the properties that a sync is likely to ask for
    "email",
    "hs_additional_emails",
    "firstname",
    "lastname",
    "phone",
    "mobilephone",
    "jobtitle",
    "company",
    "website",
    "address",
    "city",
    "state",
    "zip",
    "country",
    "date_of_birth",
    "lifecyclestage",
    "hs_lead_status",
    "hubspot_owner_id",
    "hs_language",
    "hs_email_optout",
    "customer_tier",
    "topics",
    "renewal_date",
)

Version = Literal["v1", "v2", "v3"]

_ESCAPES = re.compile(r"%(?:3A|2F|3F|40|21|24|27|28|29|2A|2C|3B)", re.IGNORECASE)  # decoded before signing (v3)


class Events:
    """Tells the webhooks what happened to contacts."""

    def __init__(
        self, emit: Callable[[Iterable[Happening]], None], *, portal_id: int, app_id: int, subscribed: Collection[str]
    ) -> None:
        """``subscribed``: properties whose changes are told."""
        self._emit = emit
        self._portal_id = portal_id
        self._app_id = app_id
        self._subscriptions = {f"contact.propertyChange:{name}": 100 + i for i, name in enumerate(subscribed)}
        self._random = Random(portal_id)

    def created(self, id_: int, at: int, source: str, values: Iterable[tuple[str, str]]) -> None:
        """A contact is new.  Its first values are told as changes too."""
        self._emit(
            [
                self._event("contact.creation", id_, at, source, changeFlag="NEW"),
                *self._changes(id_, at, source, values),
            ]
        )

    def changed(self, id_: int, at: int, source: str, values: Iterable[tuple[str, str]]) -> None:
        """Properties have new values."""
        self._emit(self._changes(id_, at, source, values))

    def deleted(self, id_: int, at: int, source: str) -> None:
        """A contact went to the archive."""
        self._emit([self._event("contact.deletion", id_, at, source)])

    def restored(self, id_: int, at: int, source: str) -> None:
        """A contact came back from the archive."""
        self._emit([self._event("contact.restore", id_, at, source)])

    def merged(self, winner: int, loser: int, new: int, at: int, source: str, moved: int) -> None:
        """One contact was merged into another."""
        self._emit(
            [
                self._event(
                    "contact.merge",
                    winner,
                    at,
                    source,
                    primaryObjectId=winner,
                    mergedObjectIds=[loser],
                    newObjectId=new,
                    numberOfPropertiesMoved=moved,
                )
            ]
        )

    def erased(self, id_: int, at: int, source: str) -> None:
        """A privacy deletion; the ordinary deletion event comes as well, in no fixed order."""
        both = [
            self._event("contact.privacyDeletion", id_, at, source),
            self._event("contact.deletion", id_, at, source),
        ]
        self._random.shuffle(both)
        self._emit(both)

    def told(self, type_: str, id_: int, at: int, more: dict[str, Any]) -> None:
        """Something happened to a company or a deal."""
        self._emit([self._event(type_, id_, at, "CRM_UI", **more)])

    def _changes(self, id_: int, at: int, source: str, values: Iterable[tuple[str, str]]) -> list[Happening]:
        return [
            self._event("contact.propertyChange", id_, at, source, propertyName=name, propertyValue=value)
            for name, value in values
            if f"contact.propertyChange:{name}" in self._subscriptions
        ]

    def _event(self, type_: str, id_: int, at: int, source: str, **more: Any) -> Happening:
        key = f"{type_}:{more['propertyName']}" if "propertyName" in more else type_
        data = {
            "eventId": self._random.randrange(1, 2**31),  # documented as not unique
            "subscriptionId": self._subscriptions.setdefault(key, 10 + len(self._subscriptions)),
            "portalId": self._portal_id,
            "appId": self._app_id,
            "occurredAt": at,
            "subscriptionType": type_,
            "attemptNumber": 0,
            "objectId": id_,
            "changeSource": source,
            **more,
        }
        return Happening(type_, source, data)


def encoder(version: Version) -> Encode:
    """How deliveries are written, signed by this version of the scheme."""

    def encode(target: Target, happenings: Sequence[Happening], attempt: int) -> tuple[bytes, dict[str, str]]:
        body = orjson.dumps([{**h.data, "attemptNumber": attempt} for h in happenings])
        headers = {"content-type": "application/json", "user-agent": "HubSpot Webhooks (sandbox)"}
        stamp = str(int(time.time() * 1000))
        signature = sign(version, target.secret, "POST", target.url, body, stamp)
        if version == "v3":
            return body, {**headers, "x-hubspot-signature-v3": signature, "x-hubspot-request-timestamp": stamp}
        return body, {**headers, "x-hubspot-signature": signature, "x-hubspot-signature-version": version}

    return encode


def sign(version: Version, secret: str, method: str, url: str, body: bytes, stamp: str = "") -> str:
    """The signature of one delivery.  ``stamp``: milliseconds since 1970, for v3."""
    match version:
        case "v1":
            return hashlib.sha256(secret.encode() + body).hexdigest()
        case "v2":
            return hashlib.sha256((secret + method + url).encode() + body).hexdigest()
        case "v3":
            plain = _ESCAPES.sub(lambda escape: unquote(escape.group()), url)
            signed = (method + plain).encode() + body + stamp.encode()
            return base64.b64encode(hmac.new(secret.encode(), signed, hashlib.sha256).digest()).decode()
