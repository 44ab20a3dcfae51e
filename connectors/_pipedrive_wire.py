"""Pipedrive's JSON.  In: rows, field descriptions, errors.  Out: records, bodies, schemas, problems.  Pure.

A person's addresses and numbers are lists at Pipedrive, which a write replaces whole.  Under ``emails.primary``,
``emails.others``, ``phones.primary`` and ``phones.mobile`` (ours) they are single values; the lists are put together
again when one of them is written.

Sources: the vendor's OpenAPI documents of API v2 and v1 (``/persons``, ``/personFields``, errors); its page
"Responses".
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

import httpx
import orjson

from connectors._wording import masked, values
from connectors.contract import Kind, Property, Record, Refused, Schema, TryLater

NAME: Final = "name"
EMAIL: Final = "emails.primary"
OTHERS: Final = "emails.others"  # the addresses beside the primary one, as a list of texts
PHONE: Final = "phones.primary"
MOBILE: Final = "phones.mobile"  # the first number beside the primary one that is labelled mobile
ORG: Final = "org_name"  # the name of the person's one organization, read with a call of its own
STATUS: Final = "marketing_status"
OPTIONAL: Final = (STATUS, "doi_status")  # come only when asked for (include_fields), and only with Campaigns
CUSTOM: Final = "custom_fields."  # followed by the key, 40 hexadecimal digits
ADDED: Final = "add_time"
UPDATED: Final = "update_time"
ALWAYS: Final = (NAME, EMAIL, OTHERS, PHONE, MOBILE, ADDED, UPDATED)

# What the body of a write may hold besides the lists and custom fields; OpenAPI v2, addPerson and updatePerson.
PLAIN: Final = frozenset(
    {NAME, "owner_id", "org_id", "visible_to", "label_ids", "postal_address", "notes", "im", "birthday", "job_title"}
    | {STATUS}
)
SYNCED: Final = ("postal_address", "notes", "im", "birthday", "job_title")  # there only where contact sync is set up
_NUMBERS: Final = frozenset({"owner_id", "org_id", "visible_to"})

MOBILE_LABEL: Final = "mobile"
_LABEL: Final = "work"  # what Pipedrive's own form gives a first address or number
_IDS: Final = frozenset({"enum", "user", "org", "people", "deal", "stage"})  # types whose value is one numeric id
_MULTIPLE: Final = frozenset({"set"})
_FIGURES: Final = frozenset({"int", "double"})

_ID: Final = re.compile(r"[1-9][0-9]{0,17}")
_UNZONED: Final = re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d(:\d\d)?")
_KEY: Final = re.compile(r"[0-9A-Za-z_]{1,64}")
_FIELD: Final = re.compile(r"(?:Validation failed: |\")([a-z_]+(?:\.[0-9A-Za-z_]+)?)[:\"]")


def is_id(text: str | None) -> bool:
    """Whether this may be the id of a person."""
    return text is not None and _ID.fullmatch(text) is not None


def id_of(value: object) -> str | None:
    """An id as text; None where it is none.  Webhooks say it as text, the API as a number."""
    text = str(value) if isinstance(value, (int, str)) and not isinstance(value, bool) else None
    return text if is_id(text) else None


def is_key(text: str) -> bool:
    """Whether this may be the key of a custom field."""
    return _KEY.fullmatch(text) is not None


def time(value: object) -> datetime | None:
    """A time of API v2 or a webhook (RFC 3339); None where it is none."""
    try:
        at = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    return at.astimezone(UTC) if at is not None and at.tzinfo is not None else None


def moment(value: object) -> datetime | None:
    """A time of API v2 or of v1, which writes it in UTC without saying so; None where it is none."""
    text = value.strip() if isinstance(value, str) else ""
    return time(f"{text}Z" if _UNZONED.fullmatch(text) else text)


def clock(response: httpx.Response) -> datetime | None:
    """When the server answered, by its own clock."""
    try:
        at = parsedate_to_datetime(response.headers.get("date", ""))
    except ValueError:
        return None
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


def fold(address: object) -> str:
    """An address as it is compared; empty for what is none."""
    return address.strip().lower() if isinstance(address, str) else ""


# --- reading ----------------------------------------------------------------------------------------------------------


def listed(row: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    """The entries of ``emails`` or ``phones``, the primary one first; those without a value are left out."""
    entries = [dict(e) for e in _objects(row.get(name)) if _text(e.get("value"))]
    return sorted(entries, key=lambda e: e.get("primary") is not True)


def addresses(row: Mapping[str, Any]) -> set[str]:
    """All addresses of a person, as they are compared."""
    return {a for a in (fold(e["value"]) for e in listed(row, "emails")) if a}


def record(row: Mapping[str, Any], keep: Collection[str]) -> Record:
    """One person; of the fields those in ``keep``.  TryLater for a row without an id.

    A name that is just one of the person's addresses is no name: people who were made from an e-mail have it.
    """
    id_ = id_of(row.get("id"))
    if id_ is None:
        raise TryLater("pipedrive: a person without an id")
    wanted = {*ALWAYS, *keep}
    fields: dict[str, Any] = {n: row[n] for n in wanted if n in row and not n.startswith(CUSTOM)}
    custom = row.get("custom_fields")
    if isinstance(custom, Mapping):
        own = {n: n.removeprefix(CUSTOM) for n in wanted if n.startswith(CUSTOM)}
        fields |= {name: custom[key] for name, key in own.items() if key in custom}
    if isinstance(row.get("emails"), list):
        mails = [e["value"] for e in listed(row, "emails")]
        fields |= {EMAIL: mails[0] if mails else None, OTHERS: sorted(mails[1:])}
        if fold(fields.get(NAME)) in addresses(row):
            fields[NAME] = None
    if isinstance(row.get("phones"), list):
        numbers = listed(row, "phones")
        mobile = next((e["value"] for e in numbers[1:] if _is_mobile(e)), None)
        fields |= {PHONE: numbers[0]["value"] if numbers else None, MOBILE: mobile}
    return Record(Kind.CONTACT, id_, fields, time(row.get(UPDATED)))


def rows(body: object) -> list[Mapping[str, Any]]:
    """The rows of a list's answer.  TryLater for what is no list of objects."""
    found = body.get("data") if isinstance(body, Mapping) and body.get("success") is not False else 0
    if found is None:  # how API v1 says that there are none
        return []
    if not isinstance(found, list) or not all(isinstance(row, Mapping) for row in found):
        raise TryLater("pipedrive: the answer is no list")
    return found


def after(body: Mapping[str, Any]) -> str | None:
    """The cursor of the next page; None on the last."""
    more = body.get("additional_data")
    cursor = more.get("next_cursor") if isinstance(more, Mapping) else None
    return cursor if isinstance(cursor, str) and cursor else None


# --- writing ----------------------------------------------------------------------------------------------------------


def wire(fields: Mapping[str, Any], types: Mapping[str, str]) -> dict[str, Any]:
    """An order's fields without the lists, as Pipedrive takes them: None clears.  ``types``: of custom fields, by key.

    Refused for what cannot be written.
    """
    body: dict[str, Any] = {}
    custom: dict[str, Any] = {}
    for name, value in fields.items():
        if name in {EMAIL, PHONE, MOBILE}:
            continue
        if name.startswith(CUSTOM) and is_key(name.removeprefix(CUSTOM)):
            key = name.removeprefix(CUSTOM)
            custom[key] = _typed(name, value, types.get(key, ""))
        elif name in PLAIN:
            body[name] = _whole(value) if name in _NUMBERS else value
        else:
            hint = ": write name" if name in {"first_name", "last_name"} else ""
            raise Refused(f"pipedrive: {name} cannot be written{hint}", code="read_only", field=name)
    return {**body, "custom_fields": custom} if custom else body


def lists(fields: Mapping[str, Any], row: Mapping[str, Any]) -> dict[str, Any]:
    """``emails`` and ``phones`` as they have to be sent for these fields; ``row``: the person as it is, {} = new."""
    made: dict[str, Any] = {}
    if EMAIL in fields:
        made["emails"] = _primary(listed(row, "emails"), fields[EMAIL], fold)
    if PHONE in fields or MOBILE in fields:
        numbers = listed(row, "phones")
        if PHONE in fields:
            numbers = _primary(numbers, fields[PHONE], str)
        if MOBILE in fields:
            numbers = _mobile(numbers, fields[MOBILE])
        made["phones"] = numbers
    return made


def touches_lists(fields: Mapping[str, Any]) -> bool:
    """Whether the lists have to be read before these fields can be written."""
    return not {EMAIL, PHONE, MOBILE}.isdisjoint(fields)


def needs_types(fields: Mapping[str, Any]) -> bool:
    """Whether the types of custom fields have to be known: None is None whatever the type."""
    return any(name.startswith(CUSTOM) and value is not None for name, value in fields.items())


def holds(found: Record, order: Mapping[str, Any], sent: Mapping[str, Any]) -> bool:
    """Whether the person has all that was said: ``order`` in our names, ``sent`` as it went out."""
    custom = sent.get("custom_fields", {})
    for name, value in order.items():
        own = found.fields.get(name)
        if name == EMAIL:
            same = fold(own) == fold(value)
        elif name.startswith(CUSTOM):
            same = own == custom.get(name.removeprefix(CUSTOM))
        else:
            same = own == sent.get(name, value)
        if not same:
            return False
    return True


def _primary(entries: Sequence[dict[str, Any]], value: Any, same: Any) -> list[dict[str, Any]]:
    """The entries with another primary value; None takes the primary one out, and the next one steps up."""
    rest = [dict(e) for e in entries[1:]]
    if value is None:
        kept = rest
    else:
        first = dict(entries[0]) if entries else {"label": _LABEL}
        known = next((e for e in rest if same(e["value"]) == same(value)), None)
        if known is not None:  # a further one steps up with its own label
            first = known
        kept = [{**first, "value": value}, *(e for e in rest if same(e["value"]) != same(value))]
    return [{**e, "primary": n == 0} for n, e in enumerate(kept)]


def _mobile(entries: Sequence[dict[str, Any]], value: Any) -> list[dict[str, Any]]:
    """The entries with another number labelled mobile beside the primary one."""
    place = next((n for n, e in enumerate(entries) if n > 0 and _is_mobile(e)), None)
    if place is None:
        new = {"value": value, "primary": not entries, "label": MOBILE_LABEL}
        return [*entries, new] if value is not None else list(entries)
    if value is None:
        return [e for n, e in enumerate(entries) if n != place]
    return [{**e, "value": value} if n == place else e for n, e in enumerate(entries)]


def _typed(name: str, value: Any, type_: str) -> Any:
    """A custom field's value in the form that its type takes.  Refused where it cannot have it."""
    if value is None or (type_ in _MULTIPLE and value == []):  # an empty list is refused, null clears (OpenAPI v2)
        return None
    if type_ in _MULTIPLE:
        parts = value if isinstance(value, list) else str(value).split(",")
        return [_number(name, part, int) for part in parts]
    if type_ in _IDS:
        return _number(name, value, int)
    if type_ in _FIGURES and isinstance(value, str):
        return _number(name, value, int if type_ == "int" else float)
    if type_ == "boolean" and isinstance(value, str) and value.lower() in {"true", "false"}:
        return value.lower() == "true"
    return value


def _number(name: str, value: Any, kind: type[int] | type[float]) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return kind(value)
    except ValueError:
        says = "takes the id of an option" if kind is int else "takes a number"
        raise Refused(f"pipedrive: {name} {says}", code="validation", field=name) from None


def _whole(value: Any) -> Any:
    return int(value) if isinstance(value, str) and is_id(value) else value


def _is_mobile(entry: Mapping[str, Any]) -> bool:
    return str(entry.get("label", "")).lower() == MOBILE_LABEL


def _objects(value: object) -> list[Mapping[str, Any]]:
    return [e for e in value if isinstance(e, Mapping)] if isinstance(value, list) else []


def _text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


# --- errors and fields ------------------------------------------------------------------------------------------------


def said(response: httpx.Response) -> tuple[str, str]:
    """The error's text and its code, both as the vendor says them; empty where it says none."""
    try:
        body = orjson.loads(response.content)
    except orjson.JSONDecodeError:
        return "", ""
    if not isinstance(body, Mapping):
        return "", ""
    text, code = body.get("error"), body.get("code")
    if not isinstance(text, str):  # webhooks of API v1 name the field: {"errors": {field: [text]}}
        errors = body.get("errors")
        text = "; ".join(f'"{n}": {w}' for n, w in errors.items()) if isinstance(errors, Mapping) else ""
    return text, code if isinstance(code, str) and re.fullmatch(r"\w{1,60}", code) else ""


def refusal(response: httpx.Response, sent: Mapping[str, Any], secrets: Iterable[str]) -> Refused:
    """Why Pipedrive refused.  No value that was sent is told."""
    told, code = said(response)
    words = masked(" ".join(told.split()), {*secrets, *values(sent)})
    found = _FIELD.search(told)
    known = {*PLAIN, "emails", "phones", "custom_fields", "subscription_url"}
    field = found[1] if found is not None and found[1].partition(".")[0] in known else None
    text = f"pipedrive: {response.status_code}" + (f", {words}" if words else "") + (f" ({code})" if code else "")
    return Refused(text, code="validation" if field is not None else "refused", field=field)


def schema(fields: Iterable[Mapping[str, Any]]) -> Schema:
    """The fields of persons.  ``fields``: the rows of ``/personFields``."""
    found = {
        "id": Property("id", "int", read_only=True),
        EMAIL: Property(EMAIL, "varchar", "Email"),
        OTHERS: Property(OTHERS, "array", "Email", read_only=True),
        PHONE: Property(PHONE, "phone", "Phone"),
        MOBILE: Property(MOBILE, "phone", "Phone, labelled mobile"),
        ORG: Property(ORG, "varchar", "Organization", read_only=True),
    }
    for row in fields:
        code, type_ = row.get("field_code"), row.get("field_type")
        if not isinstance(code, str) or not isinstance(type_, str) or code in {"email", "phone", "emails", "phones"}:
            continue
        custom = row.get("is_custom_field") is True
        name = CUSTOM + code if custom else code
        ids = [str(o["id"]) for o in _objects(row.get("options")) if "id" in o]
        found[name] = Property(
            name,
            type_,
            str(row.get("field_name", "")),
            read_only=not custom and code not in PLAIN,
            required=code == NAME,
            options=tuple(ids) if ids else None,
        )
    if len(found) == 6:
        raise TryLater("pipedrive: no fields are described")
    return Schema(Kind.CONTACT, found)


def custom_types(fields: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """The types of the custom fields by key."""
    return {str(r["field_code"]): str(r.get("field_type")) for r in fields if r.get("is_custom_field") is True}
