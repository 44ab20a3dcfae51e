"""ActiveCampaign's JSON.  In: contacts with what stands beside them, fields of orders, errors.  Out: records, bodies,
problems, a schema.  Pure.

Fields are flat: ``email``, ``firstName``; ``fields.<PERSTAG>`` is a custom field by its personalization tag, ``tags``
the names of tags.  ``consent.email``, ``consent.sms`` and ``lists.<id>`` are ours, one word each
(``_activecampaign_consent``).
Sources: developers.activecampaign.com/reference as of 2026-08 (contacts, fieldValues, contactLists, fields), in the
OpenAPI form of github.com/api-evangelist/activecampaign at 2929acd4.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, Final

import httpx
import orjson

from connectors import _activecampaign_consent as consent
from connectors._wording import masked, values
from connectors.contract import Kind, Property, Record, Refused, Schema, TryLater

EMAIL: Final = "email"
FIELD: Final = "fields."
TAGS: Final = "tags"
TEXTS: Final = (EMAIL, "firstName", "lastName", "phone")
READ_ONLY: Final = ("id", TAGS, "bounced_hard")

_MULTIPLE: Final = frozenset({"listbox", "checkbox"})  # their values are held as ||a||b||
_BAR: Final = "||"
_ID: Final = re.compile(r"[1-9][0-9]{0,17}")
_CODE: Final = re.compile(r"[a-z0-9_.-]{1,60}")
_POINTER: Final = re.compile(r"/data/attributes/(\w{1,60})")


@dataclass(frozen=True, slots=True)
class Definition:
    """A custom field of contacts.  ``name``: its personalization tag, in capitals."""

    id: str
    name: str
    type: str
    title: str
    options: tuple[str, ...] = ()

    @property
    def multiple(self) -> bool:
        """Whether it holds several values."""
        return self.type in _MULTIPLE


def is_id(text: str | None) -> bool:
    """Whether this may be the id of a contact or list."""
    return text is not None and _ID.fullmatch(text) is not None


def fold(address: object) -> str:
    """An address as it is compared; empty for what is none."""
    return address.strip().lower() if isinstance(address, str) else ""


def time(value: object) -> datetime | None:
    """A time, in UTC where it says no zone; None where it is none, as ``0000-00-00 00:00:00`` is."""
    try:
        at = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    if at is None:
        return None
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


def zone(row: Mapping[str, Any]) -> int | None:
    """The account's offset from UTC in minutes, as a contact's ``udate`` shows it; None where it shows none."""
    try:
        off = datetime.fromisoformat(str(row.get("udate"))).utcoffset()
    except ValueError:
        return None
    return None if off is None else int(off / timedelta(minutes=1))


def clock(response: httpx.Response) -> datetime | None:
    """When the server answered, by its own clock."""
    try:
        at = parsedate_to_datetime(response.headers.get("date", ""))
    except ValueError:
        return None
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


# --- reading ----------------------------------------------------------------------------------------------------------


def rows(body: object, name: str) -> list[Mapping[str, Any]]:
    """The objects of a list in an answer.  TryLater for what is no list of objects."""
    found = body.get(name) if isinstance(body, Mapping) else None
    if not isinstance(found, list) or not all(isinstance(row, Mapping) for row in found):
        raise TryLater(f"activecampaign: the answer holds no list of {name}")
    return found


def total(body: object) -> int | None:
    """How many there are in all; the vendor writes it as text."""
    meta = body.get("meta") if isinstance(body, Mapping) else None
    said = meta.get("total") if isinstance(meta, Mapping) else None
    return int(said) if isinstance(said, (str, int)) and str(said).isdigit() else None


def beside(body: Mapping[str, Any], name: str, contact: str) -> list[Mapping[str, Any]] | None:
    """What stands beside the contacts and is about this one; None where the answer has no such list."""
    found = body.get(name)
    if not isinstance(found, list):
        return None
    return [row for row in found if isinstance(row, Mapping) and str(row.get("contact")) == contact]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a record is to hold beside the contact's own fields.  ``list_id``: the list that speaks for e-mail."""

    list_id: str
    fields: Mapping[str, Definition]  # by name
    lists: tuple[str, ...] = ()
    tags: bool = False


def record(row: object, body: Mapping[str, Any], wanted: Wanted, *, whole: bool = True) -> Record:
    """One contact.  ``body``: the answer that it stands in.  ``whole``: what is not beside it has no value.

    TryLater for what is no contact.
    """
    id_ = str(row.get("id")) if isinstance(row, Mapping) else None
    if not isinstance(row, Mapping) or not is_id(id_) or EMAIL not in row:
        raise TryLater("activecampaign: the answer is no contact")
    fields: dict[str, Any] = {name: _text(row[name]) for name in TEXTS if name in row}
    fields["bounced_hard"] = row.get("bounced_hard")
    fields |= _custom(beside(body, "fieldValues", str(id_)), wanted, whole=whole)
    held = beside(body, "contactTags", str(id_)) if wanted.tags else None
    if held is not None:
        names = {str(tag.get("id")): tag.get("tag") for tag in body.get("tags", ()) if isinstance(tag, Mapping)}
        fields[TAGS] = sorted(name for tag in held if isinstance(name := names.get(str(tag.get("tag"))), str))
    listed = beside(body, "contactLists", str(id_))
    if listed is not None:
        stands = consent.standing(listed, bounced=number(row.get("bounced_hard")) > 0)
        fields |= consent.words(stands, wanted.list_id, wanted.lists)
    modified = next((at for name in ("updated_utc_timestamp", "udate") if (at := time(row.get(name)))), None)
    return Record(Kind.CONTACT, str(id_), fields, modified, archived=number(row.get("deleted")) > 0)


def _custom(held: Sequence[Mapping[str, Any]] | None, wanted: Wanted, *, whole: bool) -> dict[str, Any]:
    if held is None:
        return {}
    said = {str(value.get("field")): value.get("value") for value in held}
    found = {}
    for name, definition in wanted.fields.items():
        if definition.id in said:
            value = _text(said[definition.id])
            multiple = definition.multiple and isinstance(value, str)
            found[FIELD + name] = [part for part in str(value).split(_BAR) if part] if multiple else value
        elif whole:
            found[FIELD + name] = None
    return found


def _text(value: object) -> object:
    """The vendor writes "there is none" as an empty text."""
    return None if value == "" else value


def number(value: object) -> int:
    """A count, which the vendor writes as text; 0 for what is none."""
    return int(value) if isinstance(value, (str, int)) and str(value).isdigit() else 0


def definition(row: Mapping[str, Any], options: Iterable[Mapping[str, Any]]) -> Definition:
    """A custom field of ``/fields``.  ``options``: all that stand beside the fields."""
    id_ = str(row.get("id"))
    own = tuple(str(o.get("value")) for o in options if str(o.get("field")) == id_)
    name = str(row.get("perstag", "")).strip("%").upper()
    return Definition(id_, name, str(row.get("type", "text")), str(row.get("title", "")), own)


# --- writing ----------------------------------------------------------------------------------------------------------


def body(fields: Mapping[str, Any], known: Mapping[str, Definition]) -> dict[str, Any]:
    """Fields as a contact to send; consent is left out.  ``known``: custom fields by name.

    An empty text clears.  Refused for what cannot be written.
    """
    sent: dict[str, Any] = {}
    custom: list[dict[str, str]] = []
    for name, value in fields.items():
        if consent.speaks(name):
            continue
        if name in TEXTS:
            sent[name] = _plain(name, value)
        elif name.startswith(FIELD) and (found := known.get(name.removeprefix(FIELD).upper())) is not None:
            custom.append({"field": found.id, "value": _value(name, value, found)})
        else:
            what = "is read only" if name in READ_ONLY else "is no field of contacts in this account"
            raise Refused(f"activecampaign: {name} {what}", code="read_only", field=name)
    return {**sent, "fieldValues": custom} if custom else sent


def _value(name: str, value: Any, definition: Definition) -> str:
    if definition.multiple and isinstance(value, (list, tuple)):
        parts = [_plain(name, part) for part in value]
        return _BAR + _BAR.join(parts) + _BAR if parts else ""
    return _plain(name, value)


def _plain(name: str, value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise Refused(f"activecampaign: {name} takes a text or a number", code="type", field=name)
    return str(value)


def holds(found: Record, fields: Mapping[str, Any]) -> bool:
    """Whether the record has all these values; consent aside."""
    return all(
        fold(found.fields.get(name)) == fold(value) if name == EMAIL else found.fields.get(name) == value
        for name, value in fields.items()
        if not consent.speaks(name) and value is not None
    )


# --- errors -----------------------------------------------------------------------------------------------------------


def told(response: httpx.Response) -> list[Mapping[str, Any]]:
    """What an error says, in either of the vendor's two shapes; empty where it is neither."""
    try:
        said = orjson.loads(response.content)
    except orjson.JSONDecodeError:
        return []
    if not isinstance(said, Mapping):
        return []
    found = said.get("errors")
    if isinstance(found, list):
        return [fault for fault in found if isinstance(fault, Mapping)]
    return [{"title": said["message"]}] if isinstance(said.get("message"), str) else []


def refusal(response: httpx.Response, sent: object, secrets: Collection[str]) -> Refused:
    """Why a request was refused.  No value that was sent is told."""
    fault = next(iter(told(response)), {})
    code, field = fault.get("code"), blamed(fault)
    code = code if isinstance(code, str) and _CODE.fullmatch(code) else f"http_{response.status_code}"
    said = " ".join(f"{fault.get('title', '')} {fault.get('detail', '')}".split())
    text = masked(said, {*secrets, *values(sent)})
    return Refused(
        f"activecampaign: {response.status_code} {code}" + (f", {text}" if text else ""), code=code, field=field
    )


def blamed(fault: Mapping[str, Any]) -> str | None:
    """The field that an error points to."""
    source = fault.get("source")
    pointer = source.get("pointer") if isinstance(source, Mapping) else None
    found = _POINTER.search(pointer) if isinstance(pointer, str) else None
    return found[1] if found is not None else None


# --- describing -------------------------------------------------------------------------------------------------------


def schema(known: Iterable[Definition], lists: Iterable[Mapping[str, Any]]) -> Schema:
    """The fields of a contact, the account's custom fields, and its lists."""
    found = {name: Property(name, "text", required=name == EMAIL) for name in TEXTS}
    found |= {name: Property(name, "text", read_only=True) for name in READ_ONLY}
    for one in known:
        name = FIELD + one.name
        found[name] = Property(name, one.type, one.title, options=one.options if one.options else None)
    found |= {name: Property(name, "consent") for name in (consent.EMAIL_CONSENT, consent.SMS_CONSENT)}
    for row in lists:
        name = f"{consent.LIST}{row.get('id')}"
        found[name] = Property(name, "consent", str(row.get("name", "")))
    return Schema(Kind.CONTACT, found)
