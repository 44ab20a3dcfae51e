"""Klaviyo's JSON.  In: profiles, fields of orders, errors.  Out: records, bodies, problems, a schema.  Pure.

Fields are flat: ``first_name``, ``location.city``, ``properties.<name>``.  Names below ``consent.`` are ours, made of
what a profile shows under ``subscriptions``.  Sources: Klaviyo's OpenAPI document of revision 2026-07-15
(github.com/klaviyo/openapi), schemas ``ProfileResponseObjectResource`` and ``EmailMarketing``; the error document and
``duplicate_profile`` as answered in github.com/klaviyo/klaviyo-api-node/issues/75.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import httpx
import orjson

from connectors._wording import masked, values
from connectors.contract import Kind, Property, Record, Refused, Schema, TryLater

EMAIL: Final = "email"
PHONE: Final = "phone_number"
LOCATION: Final = "location."
PROPERTY: Final = "properties."
CONSENT: Final = "consent."
EMAIL_CONSENT: Final = "consent.email"
SMS_CONSENT: Final = "consent.sms"
CONFIRMED: Final = "consent.email.confirmed"  # "double_opt_in" where the person confirmed the address, else absent
CONSENTED_AT: Final = "consent.email.at"

# What a channel says in one word.  Ours, as the vendor spreads it over consent, suppressions and a flag.
SUBSCRIBED: Final = "subscribed"
NEVER: Final = "never_subscribed"
UNSUBSCRIBED: Final = "unsubscribed"
SUPPRESSED: Final = "suppressed"  # by somebody in Klaviyo, by hand
BOUNCED: Final = "bounced"
COMPLAINED: Final = "complained"
STOPPED: Final = frozenset({UNSUBSCRIBED, SUPPRESSED, BOUNCED, COMPLAINED})

# EmailMarketingSuppression.reason; the text of the subscribe endpoint also says SPAM_REPORT.  The first that holds
# speaks: what is the hardest to lift.
_REASONS: Final = (
    (COMPLAINED, frozenset({"SPAM_COMPLAINT", "SPAM_REPORT"})),
    (BOUNCED, frozenset({"HARD_BOUNCE", "INVALID_EMAIL"})),
    (UNSUBSCRIBED, frozenset({"UNSUBSCRIBE"})),
)
_FLAGS: Final = ("can_receive_email_marketing", "can_receive_sms_marketing")

_ATTRIBUTES: Final[Mapping[str, str]] = {
    **dict.fromkeys((EMAIL, PHONE, "external_id", "first_name", "last_name", "organization", "title"), "string"),
    **dict.fromkeys(("locale", "image"), "string"),
    **{f"{LOCATION}{part}": "string" for part in ("address1", "address2", "city", "country", "region", "zip")},
    **{f"{LOCATION}{part}": "string" for part in ("timezone", "ip")},
    **dict.fromkeys((f"{LOCATION}latitude", f"{LOCATION}longitude"), "number"),
}
READ_ONLY: Final = ("id", "created", "updated", "last_event_date", CONFIRMED, CONSENTED_AT)
_TYPES: Final = ((bool, "boolean"), ((int, float), "number"), (str, "string"), (list, "array"), (dict, "object"))

_ID: Final = re.compile(r"[0-9A-Za-z_-]{1,64}")  # a ULID; six characters of older profiles
_WORD: Final = re.compile(r"[a-z0-9_.-]{1,60}")
_POINTER: Final = re.compile(r"/data/attributes/([\w$]+(?:/[\w$ .-]+)?)")


def is_id(text: str | None) -> bool:
    """Whether this may be the id of a profile."""
    return text is not None and _ID.fullmatch(text) is not None


def fold(address: object) -> str:
    """An address as it is compared; empty for what is none."""
    return address.strip().lower() if isinstance(address, str) else ""


def time(value: object) -> datetime | None:
    """A time as Klaviyo writes it, in UTC where it says no zone; None where it is none."""
    try:
        at = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    if at is None:
        return None
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


def clock(response: httpx.Response) -> datetime | None:
    """When the server answered, by its own clock."""
    try:
        at = parsedate_to_datetime(response.headers.get("date", ""))
    except ValueError:
        return None
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


# --- reading ----------------------------------------------------------------------------------------------------------


def record(row: object, properties: Collection[str], *, asked: str | None = None) -> Record:
    """One profile.  ``properties``: which custom ones are kept.  ``asked``: the id that was asked for.

    TryLater for what is no profile.
    """
    id_ = row.get("id") if isinstance(row, Mapping) else None
    about = row.get("attributes") if isinstance(row, Mapping) else None
    if not isinstance(id_, str) or not isinstance(about, Mapping):
        raise TryLater("klaviyo: the answer is no profile")
    fields = {name: about[name] for name in (*_ATTRIBUTES, "created", "updated") if name in about}
    place = about.get("location")
    if isinstance(place, Mapping):
        fields |= {f"{LOCATION}{part}": value for part, value in place.items()}
    own = about.get("properties")
    if isinstance(own, Mapping):  # what is not in it has no value
        fields |= {f"{PROPERTY}{name}": own.get(name) for name in properties}
    fields |= _consent(about.get("subscriptions"))
    former = (asked,) if asked is not None and asked != id_ else ()
    return Record(Kind.CONTACT, id_, fields, time(about.get("updated")), former_ids=former)


def rows(body: object) -> list[Mapping[str, Any]]:
    """The objects of a list's answer.  TryLater for what is no list of objects."""
    found = body.get("data") if isinstance(body, Mapping) else None
    if not isinstance(found, list) or not all(isinstance(row, Mapping) for row in found):
        raise TryLater("klaviyo: the answer is no list")
    return found


def following(body: object) -> str | None:
    """The cursor of the next page; None at the end.  TryLater for a next page without one."""
    links = body.get("links") if isinstance(body, Mapping) else None
    url = links.get("next") if isinstance(links, Mapping) else None
    if not isinstance(url, str) or not url:
        return None
    found = parse_qs(urlsplit(url).query).get("page[cursor]", [""])[0]
    if not found:
        raise TryLater("klaviyo: a next page without a cursor")
    return found


def _consent(subscriptions: object) -> dict[str, Any]:
    """What a profile says about consent, per channel; nothing about a channel that it does not show."""
    found: dict[str, Any] = {}
    for name, channel in ((EMAIL_CONSENT, "email"), (SMS_CONSENT, "sms")):
        if not isinstance(subscriptions, Mapping) or not isinstance(about := subscriptions.get(channel), Mapping):
            continue
        marketing = about.get("marketing")
        found[name] = _word(marketing) if isinstance(marketing, Mapping) else NEVER
        if name == EMAIL_CONSENT and isinstance(marketing, Mapping) and found[name] == SUBSCRIBED:
            at = time(marketing.get("consent_timestamp"))
            if marketing.get("double_optin") is True and at is not None:
                found |= {CONFIRMED: "double_opt_in", CONSENTED_AT: at.isoformat()}
    return found


def _word(marketing: Mapping[str, Any]) -> str:
    """A word that is not known here never counts as a subscription."""
    listed = marketing.get("suppression")
    reasons = {r.get("reason") for r in listed if isinstance(r, Mapping)} if isinstance(listed, list) else set()
    told = next((word for word, known in _REASONS if reasons & known), None)
    if told is not None:
        return told
    consent = str(marketing.get("consent")).upper()
    if consent == "UNSUBSCRIBED":
        return UNSUBSCRIBED
    if reasons:
        return SUPPRESSED
    if consent != "SUBSCRIBED":
        # E-mail needs no subscription there, so that nothing may be sent has another cause; SMS does need one.
        return SUPPRESSED if marketing.get(_FLAGS[0]) is False else NEVER
    return SUPPRESSED if any(marketing.get(flag) is False for flag in _FLAGS) else SUBSCRIBED


# --- writing ----------------------------------------------------------------------------------------------------------


def body(fields: Mapping[str, Any], id_: str | None = None) -> dict[str, Any]:
    """Fields as a profile to send; consent is left out.  Refused for what cannot be written.

    None clears; a custom property is taken away, since null is a value there.
    """
    attributes: dict[str, Any] = {}
    unset: list[str] = []
    for name, value in fields.items():
        if name in READ_ONLY:
            raise Refused(f"klaviyo: {name} is read only", code="read_only", field=name)
        if name.startswith(CONSENT):
            continue
        if name.startswith(LOCATION):
            attributes.setdefault("location", {})[name.removeprefix(LOCATION)] = value
        elif not name.startswith(PROPERTY):
            attributes[name] = value
        elif value is not None:
            attributes.setdefault("properties", {})[name.removeprefix(PROPERTY)] = value
        elif id_ is not None:  # a new profile has nothing to take away
            unset.append(name.removeprefix(PROPERTY))
    found: dict[str, Any] = {"type": "profile", "attributes": attributes}
    if id_ is not None:
        found["id"] = id_
    if unset:
        found["meta"] = {"patch_properties": {"unset": unset}}
    return {"data": found}


def holds(found: Record, sent: Mapping[str, Any]) -> bool:
    """Whether the record has all these values; consent aside."""
    return all(
        fold(found.fields.get(name)) == fold(value) if name == EMAIL else found.fields.get(name) == value
        for name, value in sent.items()
        if not name.startswith(CONSENT)
    )


# --- errors -----------------------------------------------------------------------------------------------------------


def faults(response: httpx.Response) -> list[Mapping[str, Any]]:
    """The errors of an error document; empty where it is none."""
    try:
        said = orjson.loads(response.content)
    except orjson.JSONDecodeError:
        return []
    found = said.get("errors") if isinstance(said, Mapping) else None
    return [f for f in found if isinstance(f, Mapping)] if isinstance(found, list) else []


def refusal(response: httpx.Response, sent: object, secrets: Iterable[str]) -> Refused:
    """Why Klaviyo refused.  No value that was sent is told."""
    fault = next(iter(faults(response)), {})
    code, field = fault.get("code"), blamed(fault)
    code = code if isinstance(code, str) and _WORD.fullmatch(code) else "refused"
    said = masked(" ".join(str(fault.get("detail", "")).split()), {*secrets, *values(sent)})
    text = f"klaviyo: {response.status_code} {code}" + (f", {said}" if said else "")
    if field is not None and field not in said:
        text += f"; {field}"
    return Refused(text, code=code, field=field)


def blamed(fault: Mapping[str, Any]) -> str | None:
    """The field that an error points to, in our words."""
    source = fault.get("source")
    pointer = source.get("pointer") if isinstance(source, Mapping) else None
    named = _POINTER.search(pointer) if isinstance(pointer, str) else None
    return named[1].replace("/", ".", 1) if named is not None else None


def duplicate(response: httpx.Response) -> str | None:
    """The id of the profile that has one of the identifiers already, where a 409 names it."""
    for fault in faults(response):
        meta = fault.get("meta")
        id_ = meta.get("duplicate_profile_id") if isinstance(meta, Mapping) else None
        if isinstance(id_, str) and is_id(id_):
            return id_
    return None


# --- describing -------------------------------------------------------------------------------------------------------


def schema(seen: Iterable[Mapping[str, Any]], mapped: Iterable[str]) -> Schema:
    """The fields of a profile.  ``seen``: profiles from which custom properties are gathered; ``mapped``: by name."""
    found = {name: Property(name, type_) for name, type_ in _ATTRIBUTES.items()}
    found |= {name: Property(name, "string", read_only=True) for name in READ_ONLY}
    found |= {name: Property(name, "consent") for name in (EMAIL_CONSENT, SMS_CONSENT)}
    found |= {f"{PROPERTY}{name}": Property(f"{PROPERTY}{name}", "any") for name in mapped}
    for row in seen:
        about = row.get("attributes")
        own = about.get("properties") if isinstance(about, Mapping) else None
        for name, value in own.items() if isinstance(own, Mapping) else ():
            kind = next((word for types, word in _TYPES if isinstance(value, types)), None)
            if kind is not None:
                found[f"{PROPERTY}{name}"] = Property(f"{PROPERTY}{name}", kind)
    return Schema(Kind.CONTACT, found)
