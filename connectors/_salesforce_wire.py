"""Salesforce's words.  In: names, rows, errors, describes.  Out: records, SOQL, problems, schemas.  Pure.

Leads and contacts are one kind of person here, under the names of Contact's fields; what Lead calls otherwise is in a
table.  ``Lead.X`` and ``Contact.X`` are fields of that object only.  Sources: developer.salesforce.com, "Object
Reference" (Contact, Lead), "REST API Developer Guide" (status codes, describe), "SOQL and SOSL Reference" (literals).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

import httpx
import orjson

from connectors.contract import Kind, Property, Record, Refused, Schema, Tie, TryLater

CONTACT: Final = "Contact"
LEAD: Final = "Lead"
ENTITIES: Final = (CONTACT, LEAD)
EMAIL: Final = "Email"
MODIFIED: Final = "SystemModstamp"  # LastModifiedDate misses what automation changes
OPT_OUT: Final = "HasOptedOutOfEmail"
FLAGS: Final = (OPT_OUT, "HasOptedOutOfFax", "DoNotCall")
COMPANY: Final = "Company"  # of a lead a text, of a contact the name of its account
UNSAID: Final = "[not provided]"  # what Salesforce itself writes where a lead has no company, "Web-to-Lead"

EMPLOYER: Final = "AccountId"

KINDS: Final = {"003": CONTACT, "00Q": LEAD, "001": "Account", "006": "Opportunity"}
"""Objects by the first characters of their ids, "Object Reference"."""
_ID: Final = re.compile(r"[0-9A-Za-z]{15}(?:[0-9A-Za-z]{3})?")
_ALPHABET: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"
_ADDRESS: Final = ("Street", "City", "State", "PostalCode", "Country", "StateCode", "CountryCode")
_NAMES: Final[Mapping[str, Mapping[str, str]]] = {  # our name -> that of the object, where they differ
    CONTACT: {COMPANY: "Account.Name"},
    LEAD: {f"Mailing{part}": part for part in _ADDRESS},
}
_CONTACT_ONLY: Final = frozenset(
    {
        "AccountId",
        "Department",
        "AssistantName",
        "AssistantPhone",
        "HomePhone",
        "OtherPhone",
        "Birthdate",
        "ReportsToId",
    }
    | {f"Other{part}" for part in _ADDRESS}
)
_OWN: Final = {  # what every query asks for beside the fields
    CONTACT: ("Id", EMAIL, MODIFIED, "IsDeleted", "MasterRecordId"),
    LEAD: ("Id", EMAIL, MODIFIED, "IsDeleted", "MasterRecordId", "IsConverted", "ConvertedContactId"),
}
_CODE: Final = re.compile(r"[A-Z][A-Z0-9_]{1,60}")
_COLUMN: Final = re.compile(r"No such column '(\w{1,80})'")
NAME: Final = re.compile(r"(?:(?:Contact|Lead)\.)?[A-Za-z]\w{0,79}")
OBJECT_NAME: Final = re.compile(r"[A-Za-z]\w{0,79}(?:\.[A-Za-z]\w{0,79}){0,2}")  # also over relations


@dataclass(frozen=True, slots=True)
class Row:
    """One row.  ``into``: the id under which the person lives on, after a merge or a lead's conversion."""

    record: Record
    deleted: bool
    converted: bool
    into: str | None

    @property
    def away(self) -> bool:
        """Whether the person is not here any more."""
        return self.deleted or self.converted


def full_id(text: str) -> str | None:
    """An id of 15 or 18 characters as 18, which tell case; None for what is no id."""
    if _ID.fullmatch(text) is None:
        return None
    parts = (text[n : n + 5] for n in (0, 5, 10))
    return text[:15] + "".join(_ALPHABET[sum(c.isupper() << n for n, c in enumerate(part))] for part in parts)


def entity_of(id_: str | None) -> str | None:
    """Whose id this is; None for neither a contact's nor a lead's."""
    found = KINDS.get(id_[:3]) if id_ is not None and full_id(id_) is not None else None
    return found if found in ENTITIES else None


def theirs(entity: str, name: str) -> str | None:
    """The object's name of a field; None where it has no such field."""
    prefix, dot, rest = name.partition(".")
    if dot and prefix in ENTITIES:
        return rest if prefix == entity else None
    if entity == LEAD and name in _CONTACT_ONLY:
        return None
    return _NAMES[entity].get(name, name)


def ours(entity: str, name: str) -> str:
    """Our name of an object's field."""
    return next((own for own, other in _NAMES[entity].items() if other == name), name)


def columns(entity: str, names: Iterable[str], *, employer: bool = False) -> list[str]:
    """What a query selects for these fields."""
    own = [*_OWN[entity], *([EMPLOYER] if employer and entity == CONTACT else [])]
    return list(dict.fromkeys([*own, *(t for n in names if (t := theirs(entity, n)) is not None)]))


def row(entity: str, said: Mapping[str, Any], names: Iterable[str], *, employer: bool = False) -> Row:
    """One row of a query.  ``employer``: its account is the only company of a contact.  TryLater without an id."""
    id_ = id_of(said)
    fields: dict[str, Any] = {}
    for name in dict.fromkeys([EMAIL, *names]):
        column = theirs(entity, name)
        if column is None:
            continue
        first, dot, rest = column.partition(".")
        value = said.get(first)
        if dot:
            value = value.get(rest) if isinstance(value, Mapping) else None
        elif first not in said:
            continue
        fields[name] = None if name == COMPANY and value == UNSAID else value
    master, contact = said.get("MasterRecordId"), said.get("ConvertedContactId")
    deleted, converted = said.get("IsDeleted") is True, said.get("IsConverted") is True
    into = master if deleted else contact if converted else None
    ties: dict[Kind, tuple[Tie, ...]] = {}
    if employer and entity == CONTACT and EMPLOYER in said:
        account = said[EMPLOYER]
        own = full_id(account) if isinstance(account, str) else None
        ties[Kind.COMPANY] = () if own is None else (Tie(own, main=True),)
    record = Record(Kind.CONTACT, id_, fields, time(said.get(MODIFIED)), ties=ties)
    return Row(record, deleted, converted, full_id(into) if isinstance(into, str) else None)


def id_of(said: Mapping[str, Any]) -> str:
    """The id of a row.  TryLater for a row without one."""
    id_ = full_id(said["Id"]) if isinstance(said.get("Id"), str) else None
    if id_ is None:
        raise TryLater("salesforce: a row without an id")
    return id_


# --- SOQL and times ---------------------------------------------------------------------------------------------------


def quoted(text: str) -> str:
    """A text as a SOQL literal."""
    escapes = {"\\": "\\\\", "'": "\\'", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\b": "\\b", "\f": "\\f"}
    return "'" + "".join(escapes.get(c, c) for c in text) + "'"


def listed(texts: Iterable[str]) -> str:
    """Texts as a SOQL list."""
    return f"({','.join(map(quoted, texts))})"


def time(value: object) -> datetime | None:
    """A time as Salesforce writes it, such as 2026-01-01T00:00:00.000+0000; None where it is none."""
    try:
        at = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    return at.astimezone(UTC) if at is not None and at.tzinfo is not None else None


def stamp(at: datetime) -> str:
    """A time as a SOQL literal, which is also what the feeds take."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03d}Z"


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


# --- writing ----------------------------------------------------------------------------------------------------------


def wire(entity: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    """An order's fields as the object takes them: None clears; what it does not have is left out."""
    words = {"true": True, "false": False}
    sent: dict[str, Any] = {}
    for name, value in fields.items():
        column = theirs(entity, name)
        if column is None or "." in column:  # a contact's company is its account, which Salesforce decides
            continue
        if column in FLAGS and isinstance(value, str):
            sent[column] = words.get(value.strip().lower(), value)
        else:
            sent[column] = UNSAID if entity == LEAD and column == COMPANY and value in (None, "") else value
    return sent


def codes(response: httpx.Response) -> tuple[str, str]:
    """The first ``errorCode`` and its message; empty where there is none."""
    try:
        body = orjson.loads(response.content)
    except orjson.JSONDecodeError:
        return "", ""
    first = body[0] if isinstance(body, list) and body else body
    if not isinstance(first, Mapping):
        return "", ""
    code, text = first.get("errorCode"), first.get("message")
    return (
        code if isinstance(code, str) and _CODE.fullmatch(code) else "",
        text if isinstance(text, str) else "",
    )


def column_of(message: str) -> str:
    """The field that an INVALID_FIELD is about."""
    found = _COLUMN.search(message)
    return found[1] if found is not None else "one of the fields"


def fault(result: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
    """Status code and fields of a record that was not written; its words may repeat a value, so they are not told."""
    errors = result.get("errors")
    first = errors[0] if isinstance(errors, list) and errors and isinstance(errors[0], Mapping) else {}
    code, fields = first.get("statusCode"), first.get("fields")
    names = tuple(f for f in fields if isinstance(f, str) and NAME.fullmatch(f)) if isinstance(fields, list) else ()
    return (code if isinstance(code, str) and _CODE.fullmatch(code) else "UNKNOWN", names)


def refusal(entity: str, code: str, fields: Iterable[str]) -> Refused:
    """Why a record was not written."""
    names = [ours(entity, f) for f in fields]
    text = f"salesforce: {code}" + (f": {', '.join(names)}" if names else "")
    kind = "access" if code.startswith("INSUFFICIENT_ACCESS") else "validation" if names else "refused"
    return Refused(text, code=kind, field=names[0] if names else None)


# --- describing -------------------------------------------------------------------------------------------------------


def schema(described: Mapping[str, object]) -> Schema:
    """The fields of both objects under our names.  ``described``: the answer of ``describe``, by object."""
    found: dict[str, Property] = {}
    for entity in ENTITIES:
        about = described.get(entity)
        fields = about.get("fields") if isinstance(about, Mapping) else None
        if not isinstance(fields, list) or not fields:
            raise TryLater(f"salesforce: the describe of {entity} has no fields")
        for one in fields:
            if isinstance(one, Mapping) and isinstance(one.get("name"), str) and isinstance(one.get("type"), str):
                shared = ours(entity, one["name"])
                for name in (shared, f"{entity}.{one['name']}"):
                    found.setdefault(name, property_of(name, one))
    found[COMPANY] = Property(COMPANY, "string", read_only=True)
    return Schema(Kind.CONTACT, found)


def property_of(name: str, about: Mapping[str, Any]) -> Property:
    rows = about.get("picklistValues")
    active = [r for r in rows if isinstance(r, Mapping) and r.get("active") is not False] if rows else []
    options = tuple(str(r.get("value")) for r in active)
    label = about.get("label")
    writable = about.get("createable") is not False and about.get("updateable") is not False
    needed = about.get("nillable") is False and about.get("defaultedOnCreate") is not True and writable
    return Property(
        name,
        about["type"],
        label=label if isinstance(label, str) else "",
        read_only=not writable,
        required=needed and about["type"] != "boolean",
        options=options if options else None,
    )
