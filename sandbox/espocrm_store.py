"""EspoCRM's people: contacts and leads over shared e-mail addresses.  In: records as sent.  Out: records as shown.

An opt-out belongs to the address, not to the record; any number of records may have one address; a removed record is
only out of sight.  Sources: github.com/espocrm/documentation, ``docs/development/api``; entity definitions and
``Espo/Core/FieldProcessing/EmailAddress/Saver.php`` of github.com/espocrm/espocrm.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from sandbox.espocrm_events import created, removed, updated
from sandbox.webhooks import Happening

STAMP = "%Y-%m-%d %H:%M:%S"
API_USER, PERSON = "sandboxapiuser001", "sandboxperson0001"

_EMAIL = re.compile(r"[^\s@,]{1,64}@[^\s@,]+\.[^\s@,]{2,}")
_TEXT = {"type": "varchar", "maxLength": 100}
_COMMON: dict[str, dict[str, Any]] = {
    "salutationName": {"type": "enum", "options": ["Mr.", "Ms.", "Mrs.", "Dr."]},
    "firstName": {**_TEXT, "isPersonalData": True},
    "middleName": {**_TEXT, "isPersonalData": True},
    "lastName": {**_TEXT, "required": True, "isPersonalData": True},
    "title": _TEXT,
    "description": {"type": "text"},
    "emailAddress": {"type": "email", "isPersonalData": True},
    "phoneNumber": {"type": "phone", "maxLength": 36, "isPersonalData": True},
    "doNotCall": {"type": "bool", "default": False},
    "addressStreet": {"type": "text", "maxLength": 255},
    "addressCity": _TEXT,
    "addressState": _TEXT,
    "addressCountry": _TEXT,
    "addressPostalCode": {"type": "varchar", "maxLength": 40},
    "createdAt": {"type": "datetime", "readOnly": True},
    "modifiedAt": {"type": "datetime", "readOnly": True},
    "createdBy": {"type": "link", "readOnly": True},
    "modifiedBy": {"type": "link", "readOnly": True},
}
FIELDS: dict[str, dict[str, dict[str, Any]]] = {
    "Contact": {**_COMMON, "account": {"type": "link"}},
    "Lead": {
        **_COMMON,
        "accountName": {"type": "varchar", "maxLength": 255},
        "website": {"type": "url", "maxLength": 255},
        "status": {
            "type": "enum",
            "options": ["New", "Assigned", "In Process", "Converted", "Recycled", "Dead"],
            "default": "New",
        },
    },
}
_ADDRESS = ("emailAddress", "emailAddressData", "emailAddressIsOptedOut", "emailAddressIsInvalid")


class EspoError(Exception):
    """A refusal: status, the reason for the header, the body."""

    def __init__(self, status: int, reason: str = "", body: Any = None) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.body = body


@dataclass(slots=True)
class Address:
    """One e-mail address; all records that have it share it."""

    name: str = field(repr=False)
    opt_out: bool = False
    invalid: bool = False


@dataclass(slots=True)
class Row:
    """One record.  ``own``: its addresses in lower case, the primary one first."""

    id: str
    fields: dict[str, Any] = field(repr=False)
    own: list[str] = field(default_factory=list, repr=False)


class People:
    """All records of both entities."""

    def __init__(self, now: Callable[[], float], emit: Callable[[Iterable[Happening]], None]) -> None:
        """``now``: seconds since 1970."""
        self._now = now
        self._emit = emit
        self.clear()

    def clear(self) -> None:
        """Forget all."""
        self.rows: dict[str, dict[str, Row]] = {entity: {} for entity in FIELDS}
        self.removed: dict[str, Row] = {}
        self.addresses: dict[str, Address] = {}
        self._next = 1

    def show(self, entity: str, row: Row) -> dict[str, Any]:
        """As JSON."""
        own = [self.addresses[a] for a in row.own]
        first = own[0] if own else None
        data = [
            {
                "emailAddress": a.name,
                "lower": a.name.lower(),
                "primary": n == 0,
                "optOut": a.opt_out,
                "invalid": a.invalid,
            }
            for n, a in enumerate(own)
        ]
        return {
            "id": row.id,
            **{name: row.fields.get(name) for name in _attributes(entity)},
            **{name: value for name, value in row.fields.items() if name not in _attributes(entity)},
            "name": " ".join(filter(None, (row.fields.get("firstName"), row.fields.get("lastName")))),
            "emailAddress": first.name if first is not None else None,
            "emailAddressData": data,
            "emailAddressIsOptedOut": first is not None and first.opt_out,
            "emailAddressIsInvalid": first is not None and first.invalid,
        }

    def all(self, entity: str) -> Iterator[dict[str, Any]]:
        """All records of an entity."""
        return (self.show(entity, row) for row in self.rows[entity].values())

    # --- writing ------------------------------------------------------------------------------------------------------

    def create(
        self, entity: str, given: Mapping[str, Any], source: str, *, skip: bool = False, at: float | None = None
    ) -> dict[str, Any]:
        """A new record.  ``skip``: no look for duplicates.  ``at``: seconds, for filling the sandbox with a past."""
        body = {"lastName": None, **given}
        self._check(entity, body)
        if not skip and (alike := list(self._alike(entity, body))):
            raise EspoError(409, "duplicate", alike)
        stamp = self._stamp(at)
        blank = {n: f["default"] for n, f in FIELDS[entity].items() if "default" in f}
        # Ids are hexadecimal and sort by time at the real one; nothing says so, so here they do not.
        row = Row(hashlib.sha1(f"{entity}:{self._next}".encode()).hexdigest()[:17], {**blank, "createdAt": stamp})
        self._next += 1
        self.rows[entity][row.id] = row
        row.fields["createdById"] = _who(source)
        self._set(row, body, stamp, source)
        shown = self.show(entity, row)
        if at is None:
            self._emit([created(entity, shown, source)])
        return shown

    def update(self, entity: str, id_: str, given: Mapping[str, Any], source: str) -> dict[str, Any]:
        """Change a record; what does not change tells nothing, but its time moves."""
        row = self.find(entity, id_)
        self._check(entity, given)
        before = self.show(entity, row)
        self._set(row, given, self._stamp(None), source)
        shown = self.show(entity, row)
        self._emit(updated(entity, before, shown, source, _who(source)))
        return shown

    def remove(self, entity: str, id_: str, source: str) -> None:
        """Out of sight."""
        row = self.find(entity, id_)
        self.removed[row.id] = self.rows[entity].pop(row.id)
        self._emit([removed(entity, row.id, source)])

    def erase(self, entity: str, id_: str, fields: Sequence[str], source: str) -> None:
        """Overwrite personal data; an address that others have too is erased for them as well."""
        row = self.find(entity, id_)
        before = self.show(entity, row)
        if "emailAddress" in fields:
            for lower in row.own:
                self.addresses[lower] = Address(f"ERASED:{lower[:1]}", opt_out=True)
            row.own = []
        for name in fields:
            row.fields.pop(name, None)
        row.fields["modifiedAt"] = self._stamp(None)
        self._emit(updated(entity, before, self.show(entity, row), source, _who(source)))

    def merge(self, entity: str, target: str, sources: Sequence[str], given: Mapping[str, Any], source: str) -> None:
        """The sources go first, then the target takes what is given; nothing tells that it was a merge."""
        self.find(entity, target)
        own = [a for s in sources for a in self.find(entity, s).own]
        for id_ in sources:
            self.remove(entity, id_, source)
        row = self.find(entity, target)
        before = self.show(entity, row)
        row.own = list(dict.fromkeys([*row.own, *own]))
        self._set(row, given, self._stamp(None), source)
        self._emit(updated(entity, before, self.show(entity, row), source, _who(source)))

    def find(self, entity: str, id_: str) -> Row:
        """The record.  Raises 404."""
        row = self.rows[entity].get(id_)
        if row is None:
            raise EspoError(404)
        return row

    # --- keeping order ------------------------------------------------------------------------------------------------

    def _check(self, entity: str, body: Mapping[str, Any]) -> None:
        for name, value in body.items():
            wrong = _wrong(FIELDS[entity].get(name, {}), value)
            if wrong is not None:
                reason = f"Field validation failure; entityType: {entity}, field: {name}, type: {wrong}."
                told = {"label": "validationFailure", "scope": None, "data": {"field": name, "type": wrong}}
                raise EspoError(400, reason, {"messageTranslation": told})

    def _alike(self, entity: str, body: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """By name or by address."""
        name, email = (body.get("firstName"), body.get("lastName")), str(body.get("emailAddress", "")).lower()
        for row in self.rows[entity].values():
            same = (row.fields.get("firstName"), row.fields.get("lastName")) == name
            if same or (email and email in row.own):
                yield self.show(entity, row)

    def _set(self, row: Row, given: Mapping[str, Any], stamp: str, source: str) -> None:
        read_only = {"id", "createdAt", "modifiedAt", "accountName" if "status" not in row.fields else "id"}
        row.fields |= {k: v for k, v in given.items() if k not in read_only and k not in _ADDRESS}
        row.fields |= {"modifiedAt": stamp, "modifiedById": _who(source)}
        if isinstance(given.get("emailAddressData"), list):
            self._data(row, given["emailAddressData"])
        elif "emailAddress" in given:
            self._move(row, given["emailAddress"])
        if row.own and "emailAddressIsOptedOut" in given:
            self.addresses[row.own[0]].opt_out = bool(given["emailAddressIsOptedOut"])
        if row.own and "emailAddressIsInvalid" in given:
            self.addresses[row.own[0]].invalid = bool(given["emailAddressIsInvalid"])

    def _data(self, row: Row, data: Sequence[Mapping[str, Any]]) -> None:
        """The whole set of addresses."""
        row.own = []
        for one in sorted(data, key=lambda d: d.get("primary") is not True):
            address = self._address(one["emailAddress"])
            address.opt_out, address.invalid = bool(one.get("optOut")), bool(one.get("invalid"))
            row.own.append(one["emailAddress"].lower())

    def _move(self, row: Row, email: str | None) -> None:
        """Another primary address; the old one leaves the record, and hands its opt-out on: so the real one does."""
        if not email:
            row.own = row.own[1:]
            return
        lower = email.lower()
        if row.own and row.own[0] == lower:
            return
        old = self.addresses[row.own[0]] if row.own else None
        address = self._address(email)
        if old is not None:
            address.opt_out = old.opt_out
        row.own = [lower, *(a for a in row.own[1:] if a != lower)]

    def _address(self, email: str) -> Address:
        return self.addresses.setdefault(email.lower(), Address(email))

    def _stamp(self, at: float | None) -> str:
        return datetime.fromtimestamp(int(self._now() if at is None else at), UTC).strftime(STAMP)


def _wrong(about: Mapping[str, Any], value: Any) -> str | None:
    """Which rule of its field a value breaks."""
    if value in (None, ""):
        return "required" if about.get("required") else None
    match about.get("type"):
        case "enum" if value not in about["options"]:
            return "valid"
        case "bool" if not isinstance(value, bool):
            return "valid"
        case "email" if not (isinstance(value, str) and _EMAIL.fullmatch(value)):
            return "emailAddress"
    return "maxLength" if len(str(value)) > about.get("maxLength", 1_000_000) else None


def _who(source: str) -> str:
    return API_USER if source == "api" else PERSON


def _attributes(entity: str) -> list[str]:
    """The attributes of an entity, addresses left out."""
    found = []
    for name, about in FIELDS[entity].items():
        if name != "emailAddress":
            found += [f"{name}Id"] if about["type"] == "link" else [name]
    return found
