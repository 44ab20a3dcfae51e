"""HubSpot's webhook deliveries.  In: bytes, headers, URL, secrets.  Out: events in HubSpot's words.  No I/O, no clock.

Sources: developers.hubspot.com, "Validating requests" and "Webhooks API" (mirrors of January 2025 and April 2026);
github.com/HubSpot/hubspot-api-python, ``hubspot/utils/signature.py``.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import unquote

import orjson

from connectors._signing import hmac_sha256_base64, require, within
from connectors.contract import Action, Delivery, Event, Kind, Ref, Unreadable, Untrusted

TOLERANCE = timedelta(seconds=300)  # a v3 signature is valid for five minutes either way; v1 and v2 carry no time
CONTACT_TYPE = "0-1"  # object type id of contacts, used by the generic "object.*" events

_DECODED = re.compile(r"%(?:3A|2F|3F|40|21|24|27|28|29|2A|2C|3B)", re.IGNORECASE)  # what v3 signs decoded

_KINDS = {"company": Kind.COMPANY, "deal": Kind.DEAL}
_TYPES = {"0-2": Kind.COMPANY, "0-3": Kind.DEAL}

_ACTIONS = {  # the part after "contact." or "object.": Webhooks API, subscription types
    "creation": Action.CHANGED,
    "propertyChange": Action.CHANGED,
    "associationChange": Action.CHANGED,
    "deletion": Action.DELETED,
    "restore": Action.RESTORED,
    "merge": Action.MERGED,
    "privacyDeletion": Action.ERASED,  # the ordinary deletion event comes as well, before or after
}

# What makes two events the same happening.  Not attemptNumber (it grows with each retry) and not eventId (documented
# as not unique).
_SAME = (
    "subscriptionId",
    "objectId",
    "propertyName",
    "propertyValue",
    "occurredAt",
    "primaryObjectId",
    "mergedObjectIds",
    "newObjectId",
    "associationType",
    "associationTypeId",
    "fromObjectId",
    "toObjectId",
    "associationRemoved",
    "isPrimaryAssociation",
)

OPT_OUT = "hs_email_optout"  # the property, and the beginning of those of each subscription type


def sign(version: str, secret: str, method: str, url: str, body: bytes, timestamp: str = "") -> str:
    """The signature that HubSpot would send: ``v1`` and ``v2`` in hex, ``v3`` in base64 over the URL as given."""
    call = (method.upper() + url).encode("utf-8", "replace")
    if version == "v1":
        return hashlib.sha256(secret.encode() + body).hexdigest()
    if version == "v2":
        return hashlib.sha256(secret.encode() + call + body).hexdigest()
    return hmac_sha256_base64(secret, call, body, timestamp)


def verify(delivery: Delivery, secrets: Sequence[str]) -> None:
    """Raise Untrusted unless one of the secrets signed these bytes.  v3 decides alone where its header is present."""
    headers, method, body = delivery.headers, delivery.method, delivery.body
    given = headers.get("x-hubspot-signature-v3")
    if given is not None:
        stamp = headers.get("x-hubspot-request-timestamp", "")
        within(TOLERANCE, delivery.received_at, stamp, unit=timedelta(milliseconds=1))
        # The documentation signs the URL with some escapes decoded, HubSpot's own clients sign it as called.
        urls = {decoded(delivery.url), delivery.url}
        require([given], [sign("v3", secret, method, url, body, stamp) for secret in secrets for url in urls])
        return
    version = headers.get("x-hubspot-signature-version", "")
    if version not in {"v1", "v2"}:
        raise Untrusted("hubspot: no signature of version v1, v2 or v3")
    given = headers.get("x-hubspot-signature", "")
    require([given], [sign(version, secret, method, delivery.url, body) for secret in secrets])


def decoded(url: str) -> str:
    """The URL as v3 signs it: just the documented escapes decoded, everything else as called."""
    return _DECODED.sub(lambda escape: unquote(escape.group()), url)


def events(body: bytes, own: Mapping[str, Kind] | None = None) -> tuple[Event, ...]:
    """The events in one verified delivery; other objects and unknown types are ignored.

    ``own``: object type ids that stand for companies or deals here.

    A malformed entry is left out (the raw bytes are kept, and polling finds the record); Unreadable only if nothing in
    the body is an event.
    """
    try:
        rows = orjson.loads(body)
    except ValueError as error:
        raise Unreadable(f"hubspot: the body is not JSON in UTF-8 ({type(error).__name__})") from None
    if isinstance(rows, Mapping):
        rows = [rows]
    if not isinstance(rows, list):
        raise Unreadable("hubspot: the body is neither an array of events nor an event")
    good = [(row, type_) for row in rows if isinstance(row, dict) and (type_ := _type(row)) is not None]
    if rows and not good:
        raise Unreadable(f"hubspot: none of {len(rows)} entries has an eventType or subscriptionType")
    found: list[Event] = []
    types = {**_TYPES, **(own if own is not None else {})}
    malformed = 0
    for row, type_ in good:
        parsed = list(_events(row, type_, types))
        found += [event for event in parsed if event is not None]
        malformed += parsed.count(None)
    if malformed and malformed == len(good):
        raise Unreadable(f"hubspot: none of {len(rows)} entries says which contact it is about")
    return tuple(found)


def _type(row: Mapping[str, Any]) -> str | None:
    """Guides show ``eventType``, real payloads carry ``subscriptionType``."""
    for key in ("subscriptionType", "eventType"):
        if isinstance(row.get(key), str):
            return str(row[key])
    return None


def _events(row: Mapping[str, Any], type_: str, types: Mapping[str, Kind]) -> Iterator[Event | None]:
    """The events of one entry; None for a contact event that names no contact."""
    prefix, _, name = type_.partition(".")
    action = _ACTIONS.get(name)
    generic = prefix == "object"
    if action is None:
        return
    yield from _around(row, type_, prefix, name, action, types)
    if not (prefix == "contact" or generic):
        return
    if name == "associationChange":
        subjects = _associated(row, generic=generic)
        if not subjects and generic:
            return  # an association between two other objects
    elif generic and row.get("objectTypeId") != CONTACT_TYPE:
        return
    elif action is Action.MERGED:
        subjects = _first(row, "newObjectId", "primaryObjectId", "objectId")
    else:
        subjects = _first(row, "objectId")
    if not subjects:
        yield None
    for subject in subjects:
        losers = _losers(row, winner=subject) if action is Action.MERGED else ()
        yield Event(
            kind=Kind.CONTACT,
            action=action,
            ref=Ref(subject),
            dedupe=_dedupe(row, type_, subject),
            occurred_at=_time(row.get("occurredAt")),
            losers=losers,
            urgent=str(row.get("propertyName")).startswith(OPT_OUT),
        )


def _around(
    row: Mapping[str, Any], type_: str, prefix: str, name: str, action: Action, types: Mapping[str, Kind]
) -> Iterator[Event]:
    """What it says of companies and deals: an association is a change of both its ends."""
    ends: list[tuple[Kind, str]] = []
    if name == "associationChange":
        for end, words in zip(
            ("fromObject", "toObject"), str(row.get("associationType", "")).split("_TO_"), strict=False
        ):
            kind = _KINDS.get(words.lower(), types.get(str(row.get(f"{end}TypeId"))))
            if kind is not None and (id_ := _id(row.get(f"{end}Id"))) is not None:
                ends.append((kind, id_))
    else:
        kind = _KINDS.get(prefix, types.get(str(row.get("objectTypeId"))))
        keys = ("newObjectId", "primaryObjectId", "objectId") if action is Action.MERGED else ("objectId",)
        ends = [(kind, id_) for id_ in _first(row, *keys)] if kind is not None else []
    for kind, id_ in ends:
        yield Event(
            kind=kind,
            action=action,
            ref=Ref(id_),
            dedupe=_dedupe(row, f"{type_} {kind}", id_),
            occurred_at=_time(row.get("occurredAt")),
            losers=_losers(row, winner=id_) if action is Action.MERGED else (),
        )


def _associated(row: Mapping[str, Any], *, generic: bool) -> list[str]:
    """The contacts at the two ends of an association."""
    kind = str(row.get("associationType", ""))
    ends = (
        ("fromObjectId", kind.startswith("CONTACT_TO_") or row.get("fromObjectTypeId") == CONTACT_TYPE),
        ("toObjectId", kind.endswith("_TO_CONTACT") or row.get("toObjectTypeId") == CONTACT_TYPE),
    )
    found = [i for key, is_contact in ends if is_contact and (i := _id(row.get(key))) is not None]
    if not found and not generic:  # "contact.associationChange" without a known type: the subscribed side
        found = _first(row, "objectId", "fromObjectId")
    return list(dict.fromkeys(found))


def _first(row: Mapping[str, Any], *keys: str) -> list[str]:
    return [i for key in keys if (i := _id(row.get(key))) is not None][:1]


def _losers(row: Mapping[str, Any], *, winner: str) -> tuple[str, ...]:
    """Who was merged away.  Where the merge made a new record, the former winner is a loser too."""
    merged = row.get("mergedObjectIds")
    ids = [*(merged if isinstance(merged, list) else []), row.get("primaryObjectId")]
    return tuple(dict.fromkeys(i for value in ids if (i := _id(value)) is not None and i != winner))


def _id(value: object) -> str | None:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value if isinstance(value, str) and value.isascii() and value.isdigit() else None


def _time(value: object) -> datetime | None:
    """Milliseconds since 1970 as an aware time; None where that is not what it is."""
    try:
        return datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=int(value))  # type: ignore[call-overload,no-any-return]  # TypeError is caught
    except (TypeError, ValueError, OverflowError):
        return None


def _dedupe(row: Mapping[str, Any], type_: str, subject: str) -> str:
    """Hashed, because the new value of a property is a person's data."""
    same = [type_, subject, *(row.get(key) for key in _SAME)]
    return hashlib.sha256(orjson.dumps(same, default=str)).hexdigest()
