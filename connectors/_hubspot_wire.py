"""HubSpot's JSON.  In: answers and values.  Out: records, wire values and the name of the next step.  No I/O, no clock.

Sources: developers.hubspot.com, "Error handling", "Properties" and "Contacts" (mirror of April 2026); shapes as in
hubspot-api-client 12.0.0 (``crm.contacts.models``, ``crm.properties.models``).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from connectors._answers import retry_after
from connectors._wording import masked
from connectors.contract import Fields, Kind, NeedsHuman, Property, Record, Refused, Schema, TryLater

EPOCH = datetime.fromtimestamp(0, UTC)
EMAIL = "email"
MORE_EMAILS = "hs_additional_emails"  # a ";" list; secondary addresses are unique across contacts too
MERGED_IDS = "hs_merged_object_ids"  # a ";" list of ids that live on in this record
MODIFIED = "lastmodifieddate"  # contacts
OTHERS_MODIFIED = "hs_lastmodifieddate"  # every other object

NOT_FOUND = "OBJECT_NOT_FOUND"

# What an error inside a 207 leads to; a category that is not here refuses the record, with the category as its code.
# "Error handling", field `category`; spellings of the passing ones as seen in public threads.
CATEGORIES: Mapping[str, type[Refused | TryLater | NeedsHuman]] = {
    "VALIDATION_ERROR": Refused,
    "CONFLICT": Refused,
    NOT_FOUND: Refused,
    "RATE_LIMITS": TryLater,
    "RATE_LIMIT": TryLater,
    "INTERNAL_ERROR": TryLater,
    "LOCKED": TryLater,
    "MISSING_SCOPES": NeedsHuman,
    "INVALID_AUTHENTICATION": NeedsHuman,
    "EXPIRED_AUTHENTICATION": NeedsHuman,
}

# Codes that condemn a property for every record of the batch, whatever its value.
PROPERTY_CODES = frozenset({"PROPERTY_DOESNT_EXIST", "READ_ONLY_VALUE", "READ_ONLY_PROPERTY"})

# Statuses whose waiting time HubSpot words in its own way; the rest is the shared client's table.
# "Error handling": 423 locks last two seconds; 477 says Retry-After in seconds, up to a day.
LOCKED = 423
WAITS = frozenset({LOCKED, 429, 477})
_LOCK = timedelta(seconds=2)
_DAY = timedelta(days=1)
_POLICIES = {  # 429 `policyName`, "Usage guidelines"
    "SECONDLY": timedelta(seconds=1),
    "TEN_SECONDLY_ROLLING": timedelta(seconds=10),
}
_WINDOW = timedelta(seconds=10)  # the published burst window, where the answer names no other
_HOUR = timedelta(hours=1)

_EXISTING = re.compile(r"Existing ID:\s*([0-9]+)")
_INVALID = re.compile(r"were not valid:\s*(\[.*)\Z", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Fault:
    """One error of HubSpot's.  ``text`` is as HubSpot wrote it and may hold a person's data: mask before use."""

    category: str
    code: str
    text: str
    field: str | None = None
    existing: str | None = None  # the id that a duplicate met
    traces: tuple[str, ...] = ()  # objectWriteTraceIds it is about
    ids: tuple[str, ...] = ()  # record ids it is about


# --- records ----------------------------------------------------------------------------------------------------------


def record(
    row: Mapping[str, Any], *, asked: str | None = None, kind: Kind = Kind.CONTACT, by: str = MODIFIED
) -> Record:
    """One CRM object as a record.  ``by``: the property with its modified time.

    ``asked``: the id it was asked by; where it answers another, that one was merged.
    """
    given = row.get("properties")
    properties = given if isinstance(given, Mapping) else {}
    # HubSpot answers null or "" for a property without a value.  One that it leaves out stays out: not said.
    fields = {str(name): None if value == "" else value for name, value in properties.items()}
    id_ = str(row["id"])
    former = [*split(fields.get(MERGED_IDS)), *([asked] if asked is not None else [])]
    modified = time(row.get("updatedAt"))
    return Record(
        kind=kind,
        id=id_,
        fields=fields,
        modified=modified if modified is not None else time(fields.get(by)),
        archived=row.get("archived") is True,
        former_ids=tuple(dict.fromkeys(i for i in former if i != id_)),
    )


def rows(answer: object) -> list[Mapping[str, Any]]:
    """The objects in ``results``; TryLater where the answer is not of that shape (a page in the way)."""
    found = answer.get("results") if isinstance(answer, Mapping) else None
    if not isinstance(found, list):
        raise TryLater("hubspot: an answer without `results`")
    return [row for row in found if isinstance(row, Mapping) and row.get("id") is not None]


def after(answer: object) -> str | None:
    """``paging.next.after``, None on the last page."""
    value: object = answer
    for key in ("paging", "next", "after"):
        value = value.get(key) if isinstance(value, Mapping) else None
    return None if value is None else str(value)


def split(value: object) -> list[str]:
    """A ``;`` list as HubSpot keeps it."""
    return [part.strip() for part in value.split(";") if part.strip()] if isinstance(value, str) else []


def addresses(found: Record) -> set[str]:
    """All addresses of a record, in lower case."""
    email = found.fields.get(EMAIL)
    return {a.lower() for a in [*([email] if isinstance(email, str) else []), *split(found.fields.get(MORE_EMAILS))]}


def time(value: object) -> datetime | None:
    """ISO 8601 or epoch milliseconds as an aware UTC time; None where it is neither."""
    if not isinstance(value, str):
        return None
    try:
        if value.isdigit():
            return EPOCH + timedelta(milliseconds=int(value))
        parsed = datetime.fromisoformat(value)
    except (ValueError, OverflowError):
        return None
    return parsed.astimezone(UTC) if parsed.tzinfo else parsed.replace(tzinfo=UTC)


def is_id(value: str) -> bool:
    """Whether this can be a record id: digits only."""
    return value.isascii() and value.isdigit()


def millis(moment: datetime) -> int:
    """Epoch milliseconds, in which searches filter."""
    return (moment - EPOCH) // timedelta(milliseconds=1)


def answered_at(response: httpx.Response) -> datetime | None:
    """HubSpot's clock when it answered: the Date header."""
    try:
        return parsedate_to_datetime(response.headers["date"]).astimezone(UTC)
    except (KeyError, ValueError, TypeError):
        return None


# --- values -----------------------------------------------------------------------------------------------------------


def wire(fields: Fields) -> dict[str, str]:
    """Values as HubSpot takes them: text, ``""`` to clear.  Refused for what has no text form."""
    return {name: _text(name, value) for name, value in fields.items()}


def _text(name: str, value: object) -> str:
    match value:
        case None:
            return ""
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case int() | Decimal():
            return str(value)
        case float() if math.isfinite(value):
            return str(int(value)) if value.is_integer() else repr(value)
    raise Refused(f"hubspot: {name!r} cannot hold a {type(value).__name__}", code="type", field=name)


def holds(found: Record, sent: Mapping[str, str]) -> bool:
    """Whether a record has every value that was sent; addresses compare without case."""
    return all(_same(name, found.fields.get(name), value) for name, value in sent.items())


def _same(name: str, theirs: object, ours: str) -> bool:
    text = "" if theirs is None else str(theirs)
    return text.lower() == ours.lower() if name == EMAIL else text == ours


# --- errors -----------------------------------------------------------------------------------------------------------


def faults(answer: object) -> list[Fault]:
    """The ``errors`` of a batch answer (207)."""
    found = answer.get("errors") if isinstance(answer, Mapping) else None
    return [fault(entry) for entry in found if isinstance(entry, Mapping)] if isinstance(found, list) else []


def fault(entry: object) -> Fault:
    """One error, from a whole answer or from an entry in ``errors``.  Every field may be missing."""
    body = entry if isinstance(entry, Mapping) else {}
    context = body.get("context")
    known = context if isinstance(context, Mapping) else {}
    text = str(body.get("message", ""))
    code, field, detail = next(_details(body, text), (None, None, None))
    category = str(body.get("category", ""))
    existing = next(iter(_strings(known, "existingId")), None)
    if existing is None and (match := _EXISTING.search(text)):
        existing = match.group(1)
    return Fault(
        category=category,
        code=code if code is not None else category,
        text=detail if detail is not None else text,
        field=field,
        existing=existing,
        traces=_strings(known, "objectWriteTraceId"),
        ids=(*_strings(known, "ids"), *_strings(known, "id")),
    )


def fault_of(response: httpx.Response) -> Fault:
    """The error in a refused request."""
    try:
        return fault(response.json())
    except ValueError:
        return fault({})


def problem(found: Fault, secrets: Iterable[str], *, status: int | None = None) -> Refused | TryLater | NeedsHuman:
    """What happens next.  ``secrets``: values that must not show in the message."""
    kind = CATEGORIES.get(found.category, Refused)
    code = found.code if found.code else (f"http_{status}" if status else "refused")
    text = masked(found.text, set(secrets))  # HubSpot repeats values in its messages
    message = f"hubspot: {code}" + (f" on {found.field!r}" if found.field else "") + (f": {text}" if text else "")
    if kind is Refused:
        return Refused(message, code=code, field=found.field)
    return kind(message)


def wait(response: httpx.Response) -> TryLater:
    """When to come back after one of ``WAITS``."""
    if response.status_code == LOCKED:
        return TryLater("hubspot: 423, records are locked for two seconds", after=_LOCK)
    asked = retry_after(response)
    if response.status_code == 477:
        after = asked if asked is not None else _HOUR
        return TryLater("hubspot: 477, the account moves between data centres", after=after)
    try:
        body = response.json()
    except ValueError:
        body = {}
    policy = str(body.get("policyName", "")) if isinstance(body, Mapping) else ""
    if policy == "DAILY":
        # The quota is renewed at midnight in the account's zone, which the answer does not tell.
        now = answered_at(response)
        left = _HOUR if now is None else _DAY - timedelta(hours=now.hour, minutes=now.minute, seconds=now.second)
        return TryLater("hubspot: 429, the daily limit is used up; waiting for midnight UTC", after=left)
    span = asked if asked is not None else _POLICIES.get(policy, _interval(response))
    return TryLater(f"hubspot: 429, rate limit {policy}".rstrip(), after=span)


def _interval(response: httpx.Response) -> timedelta:
    value = response.headers.get("x-hubspot-ratelimit-interval-milliseconds", "")
    return min(timedelta(milliseconds=int(value)), _DAY) if re.fullmatch(r"[0-9]{1,9}", value) else _WINDOW


def _details(body: Mapping[str, Any], text: str) -> Iterator[tuple[str | None, str | None, str | None]]:
    """(code, property, message) of a validation error: from ``errors``, or from the JSON inside ``message``."""
    listed = body.get("errors")
    for entry in listed if isinstance(listed, list) else []:
        if isinstance(entry, Mapping):
            context = entry.get("context")
            names = _strings(context, "propertyName") if isinstance(context, Mapping) else ()
            yield _word(entry, "code"), next(iter(names), _word(entry, "name", "in")), _word(entry, "message")
    if match := _INVALID.search(text):
        try:
            inner = json.loads(match.group(1))
        except ValueError:
            return
        for entry in inner if isinstance(inner, list) else []:
            if isinstance(entry, Mapping):
                yield _word(entry, "error"), _word(entry, "name"), _word(entry, "message", "localizedErrorMessage")


def _word(entry: Mapping[str, Any], *keys: str) -> str | None:
    return next((value for key in keys if isinstance(value := entry.get(key), str)), None)


def _strings(context: Mapping[str, Any], key: str) -> tuple[str, ...]:
    value = context.get(key)
    found = value if isinstance(value, list) else [value]
    return tuple(str(v) for v in found if isinstance(v, (str, int)) and str(v))


# --- schema -----------------------------------------------------------------------------------------------------------


def schema(answer: object, kind: Kind = Kind.CONTACT) -> Schema:
    """``GET /crm/v3/properties/contacts``, or those of another kind, as a schema."""
    found = answer.get("results") if isinstance(answer, Mapping) else None
    if not isinstance(found, list):
        raise TryLater("hubspot: an answer without `results`")
    properties = [_property(p) for p in found if isinstance(p, Mapping) and isinstance(p.get("name"), str)]
    return Schema(kind, {p.name: p for p in properties})


def _property(row: Mapping[str, Any]) -> Property:
    rules = row.get("modificationMetadata")
    options = row.get("options")
    values = tuple(str(o["value"]) for o in options if "value" in o) if isinstance(options, list) else ()
    return Property(
        name=str(row["name"]),
        type=str(row.get("type", "")),
        label=str(row.get("label", "")),
        read_only=row.get("calculated") is True or (isinstance(rules, Mapping) and rules.get("readOnlyValue") is True),
        options=values if values else None,  # owners and the like are enumerations without listed options
    )
