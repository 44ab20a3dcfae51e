"""EspoCRM's JSON.  In: rows, metadata, errors.  Out: records, schemas, problems.  Pure.

Sources: github.com/espocrm/documentation, ``docs/development/api.md`` and ``docs/api/spec.json`` (OpenAPI); entity
definitions of github.com/espocrm/espocrm (``Modules/Crm/Resources/metadata/entityDefs``).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

import httpx
import orjson

from connectors._wording import masked, values
from connectors.contract import Kind, Property, Record, Refused, Schema, TryLater

EMAIL: Final = "emailAddress"
DATA: Final = "emailAddressData"  # all addresses of a record, each with primary, optOut, invalid
OTHERS: Final = "emailAddressData.others"  # ours: the addresses beside the primary one, as a list of texts
MODIFIED: Final = "modifiedAt"
CREATED: Final = "createdAt"
ALWAYS: Final = (EMAIL, DATA, MODIFIED, CREATED)
OPT_OUTS: Final = ("emailAddressIsOptedOut", "phoneNumberIsOptedOut", "doNotCall")

STAMP: Final = "%Y-%m-%d %H:%M:%S"  # in UTC, without a zone ("Date-time" in api.md)

# A field that is kept under several attributes: type -> (suffix, its type, read only).
_PARTS: Final[Mapping[str, tuple[tuple[str, str, bool], ...]]] = {
    "email": (("", "email", False), ("IsOptedOut", "bool", False), ("IsInvalid", "bool", False)),
    "phone": (("", "phone", False), ("IsOptedOut", "bool", False), ("IsInvalid", "bool", False)),
    "link": (("Id", "link", False), ("Name", "varchar", True)),
    "linkMultiple": (("Ids", "linkMultiple", False), ("Names", "jsonObject", True)),
    "linkParent": (("Id", "linkParent", False), ("Type", "varchar", False), ("Name", "varchar", True)),
    "currency": (("", "currency", False), ("Currency", "varchar", False)),
    "address": tuple((p, "varchar", False) for p in ("Street", "City", "State", "Country", "PostalCode")),
}
_ID: Final = re.compile(r"[0-9A-Za-z-]{1,36}")  # 17 characters; UUIDs where the instance is set so
_REASON: Final = re.compile(r"\b(field|type): ?(\w+)")  # of X-Status-Reason at a validation failure


def is_id(text: str | None) -> bool:
    """Whether this may be the id of a record."""
    return text is not None and _ID.fullmatch(text) is not None


def time(value: object) -> datetime | None:
    """A time as EspoCRM writes it; None where it is none."""
    try:
        return datetime.strptime(value, STAMP).replace(tzinfo=UTC) if isinstance(value, str) else None
    except ValueError:
        return None


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


def addresses(found: Record) -> set[str]:
    """All addresses of a record, as they are compared."""
    rows = found.fields.get(DATA)
    more = [r.get(EMAIL) for r in rows if isinstance(r, Mapping)] if isinstance(rows, list) else []
    return {a for a in map(fold, [found.fields.get(EMAIL), *more]) if a}


def record(row: Mapping[str, Any], keep: Collection[str], kind: Kind = Kind.CONTACT) -> Record:
    """One row; of its attributes those in ``keep``.  TryLater for a row without an id."""
    if not isinstance(row.get("id"), str):
        raise TryLater("espocrm: a record without an id")
    fields = {name: row[name] for name in keep if name in row}
    rows = row.get(DATA)
    if isinstance(rows, list):
        spare = [r.get(EMAIL) for r in rows if isinstance(r, Mapping) and r.get("primary") is not True]
        fields[OTHERS] = sorted(a for a in spare if isinstance(a, str))
    return Record(kind, row["id"], fields, time(row.get(MODIFIED)))


def rows(body: object) -> list[Mapping[str, Any]]:
    """The rows of a list's answer.  TryLater for what is no list of records."""
    found = body.get("list") if isinstance(body, Mapping) else None
    if not isinstance(found, list) or not all(isinstance(row, Mapping) for row in found):
        raise TryLater("espocrm: the answer is no list of records")
    return found


def wire(fields: Mapping[str, Any]) -> dict[str, Any]:
    """An order's fields as EspoCRM takes them: None clears, the words true and false of a yes-or-no are such.

    Refused for what only Tandem calls so.
    """
    if OTHERS in fields:
        raise Refused("espocrm: further addresses are read only", code="read_only", field=OTHERS)
    words = {"true": True, "false": False}
    return {
        name: words.get(value.strip().lower(), value) if isinstance(value, str) and name in OPT_OUTS else value
        for name, value in fields.items()
    }


def holds(found: Record, sent: Mapping[str, Any]) -> bool:
    """Whether the record has all these values."""
    return all(
        fold(found.fields.get(name)) == fold(value) if name == EMAIL else found.fields.get(name) == value
        for name, value in sent.items()
    )


def refusal(response: httpx.Response, sent: Mapping[str, Any], secrets: Iterable[str]) -> Refused:
    """Why EspoCRM refused; the header ``X-Status-Reason`` and the body may say it.  No value that was sent is told."""
    reason = " ".join(response.headers.get("x-status-reason", "").split())
    told = dict(_REASON.findall(reason)) | dict(_told(response))
    said = masked(reason, {*secrets, *values(sent)})
    field = told.get("field")
    text = f"espocrm: {response.status_code}" + (f", {said}" if said else "")
    if field is not None and field not in said:
        text += f"; {field}: {told.get('type', 'not valid')}"
    return Refused(text, code="validation" if field is not None else "refused", field=field)


def _told(response: httpx.Response) -> Iterator[tuple[str, str]]:
    try:
        body = orjson.loads(response.content)
    except orjson.JSONDecodeError:
        return
    inner = body.get("messageTranslation") if isinstance(body, Mapping) else None
    for part in (body, inner.get("data") if isinstance(inner, Mapping) else None):
        if isinstance(part, Mapping):
            named = ((name, part.get(name)) for name in ("field", "type"))
            yield from ((name, w) for name, w in named if isinstance(w, str) and re.fullmatch(r"\w{1,60}", w))


def schema(definitions: object, kind: Kind = Kind.CONTACT) -> Schema:
    """The attributes of an entity.  ``definitions``: ``entityDefs.<entity>`` of the metadata."""
    fields = definitions.get("fields") if isinstance(definitions, Mapping) else None
    if not isinstance(fields, Mapping) or not fields:
        raise TryLater("espocrm: the metadata describes no fields")
    found = {"id": Property("id", "id", read_only=True)}
    for name, about in fields.items():
        if not isinstance(about, Mapping) or not isinstance(about.get("type"), str) or about.get("disabled") is True:
            continue
        options = about.get("options")
        for suffix, type_, fixed in _PARTS.get(about["type"], (("", about["type"], False),)):
            found[name + suffix] = Property(
                name + suffix,
                type_,
                read_only=fixed or about.get("readOnly") is True,
                required=about.get("required") is True and not fixed,
                options=tuple(map(str, options)) if isinstance(options, list) and options else None,
            )
    if EMAIL in found:
        found[OTHERS] = Property(OTHERS, "array", read_only=True)
    return Schema(kind, found)
