"""Odoo's rows.  In: rows as ``search_read`` gives them, orders.  Out: records, values to write, schemas.  Pure.

Names with a dot are ours: a part of a field, or what a linked row says.  Odoo says ``false`` for an empty field.

Sources: github.com/odoo/documentation, ``developer/reference/external_api.rst``; github.com/odoo/odoo,
``odoo/addons/base/models/res_partner.py``, ``addons/mail/models/mail_thread_blacklist.py`` (normalised address).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from email.utils import getaddresses
from typing import Any, Final

from connectors.contract import Kind, Order, Property, Record, Refused, Schema, TryLater, Verb

EMAIL: Final = "email"
OTHERS: Final = "email.others"  # further addresses in the same field, as a list
NORMALIZED: Final = "email_normalized"  # the first address, lower case; of the module mail
OPT_OUT: Final = "is_blacklisted"  # computed from mail.blacklist, which is by address
NAME: Final = "name"
GIVEN: Final = "name.given"
FAMILY: Final = "name.family"
COUNTRY: Final = "country_id.code"
REGION: Final = "state_id.name"
COMPANY: Final = "parent_id.name"
PARENT: Final = "parent_id"
MODIFIED: Final = "write_date"
ALWAYS: Final = (EMAIL, NORMALIZED, OPT_OUT, NAME, "active", MODIFIED)
OURS: Final[Mapping[str, tuple[str, bool]]] = {  # name -> type, read only
    OTHERS: ("array", True),
    GIVEN: ("char", False),
    FAMILY: ("char", False),
    COUNTRY: ("char", False),
    REGION: ("char", True),
    COMPANY: ("char", True),
}

# Contacts among all that Odoo calls a partner: no companies, no further addresses, no colleagues with a login.
PEOPLE: Final[Sequence[Any]] = (["is_company", "=", False], ["type", "=", "contact"], ["partner_share", "=", True])
PEOPLE_FIELDS: Final = ("is_company", "type", "partner_share")

STAMP: Final = "%Y-%m-%d %H:%M:%S"  # in UTC, without a zone
FIELD: Final = re.compile(r"[a-z_][a-z0-9_]{0,62}(\.[a-z]{1,20})?")
_ID: Final = re.compile(r"[1-9][0-9]{0,9}")
_PARTICLES: Final = frozenset(
    {
        *("af", "al", "bin", "da", "das", "de", "degli", "dei", "del", "della", "den", "der", "di", "do", "dos", "du"),
        *("el", "ibn", "la", "le", "ten", "ter", "van", "von", "zu", "zum", "zur"),
    }
)


def is_field(text: str) -> bool:
    """Whether this may be the name of a field, ours or Odoo's."""
    return FIELD.fullmatch(text) is not None and ("." not in text or text in OURS)


def is_id(text: str | None) -> bool:
    """Whether this may be the id of a record."""
    return text is not None and _ID.fullmatch(text) is not None


def time(value: object) -> datetime | None:
    """A time as Odoo writes it, with a fraction or without; None where it is none."""
    try:
        return datetime.strptime(value[:19], STAMP).replace(tzinfo=UTC) if isinstance(value, str) else None
    except ValueError:
        return None


def region(words: str) -> str:
    """A state without the code of its country."""
    return re.sub(r" \([A-Z]{2}\)$", "", words)


def fold(address: object) -> str:
    """An address as it is compared; empty for what is none."""
    return address.strip().lower() if isinstance(address, str) else ""


def address(row: Mapping[str, Any]) -> str:
    """The address by which a row is found and by which it may be blacklisted; empty where it has none."""
    return fold(row.get(NORMALIZED))


def person(row: Mapping[str, Any]) -> bool:
    """Whether the row is one of ``PEOPLE``."""
    return all(row.get(name) == wanted for name, _, wanted in PEOPLE)


def split(name: object, email: str) -> dict[str, str]:
    """Given and family name, where the name leaves no doubt; Odoo has only the whole.

    Two words, or a word, particles and a word.  Everything else is not guessed: that says nothing.
    """
    words = name.split() if isinstance(name, str) else []
    if len(words) < 2 or "," in str(name) or "@" in str(name) or words[0].endswith(".") or fold(name) == email:
        return {}
    between = words[1:-1]
    if words[-1] in _PARTICLES or words[0] in _PARTICLES or not all(word in _PARTICLES for word in between):
        return {}
    return {GIVEN: words[0], FAMILY: " ".join(words[1:])}


def record(
    row: Mapping[str, Any], names: Collection[str], types: Mapping[str, str], codes: Mapping[int, str]
) -> Record:
    """One row; ``names``: the fields to keep, ours among them.  ``codes``: countries.  TryLater without an id."""
    id_ = row.get("id")
    if not isinstance(id_, int) or isinstance(id_, bool):
        raise TryLater("odoo: a record without an id")
    fields = {n: plain(row[n], types.get(n, "")) for n in (*ALWAYS, *names) if n in row}
    raw, found = row.get(EMAIL), address(row)
    if found:
        fields[EMAIL] = found
    if OTHERS in names:
        every = [fold(a) for _, a in getaddresses([raw])] if isinstance(raw, str) else []
        fields[OTHERS] = sorted({a for a in every if "@" in a and a != found})
    if NAME in row:
        fields |= split(row[NAME], found)
    if COUNTRY in names and "country_id" in row:
        at = link(row["country_id"])
        fields[COUNTRY] = None if at is None else codes.get(at[0])
    if REGION in names and "state_id" in row:  # shown as "Bavaria (DE)"
        at = link(row["state_id"])
        fields[REGION] = None if at is None else region(at[1])
    if COMPANY in names and "parent_id" in row:
        at = link(row["parent_id"])
        fields[COMPANY] = None if at is None else at[1]
    return Record(Kind.CONTACT, str(id_), fields, time(row.get(MODIFIED)), archived=row.get("active") is False)


def wire(order: Order, types: Mapping[str, str], countries: Mapping[str, int]) -> dict[str, Any]:
    """What is written, by Odoo's fields; None is Odoo's false.  Refused for what cannot be written."""
    sent: dict[str, Any] = {}
    for name, value in order.fields.items():
        if name in {GIVEN, FAMILY, OPT_OUT}:
            continue
        if OURS.get(name, ("", False))[1]:
            raise Refused(f"odoo: {name} is read only", code="read_only", field=name)
        if name == COUNTRY:
            code = value.upper() if isinstance(value, str) else None
            if code is not None and code not in countries:
                raise Refused("odoo: no country of this code", code="validation", field=name)
            sent["country_id"] = False if code is None else countries[code]
        elif name not in types:
            raise Refused(f"odoo: this Odoo has no field {name}", code="unknown_field", field=name)
        else:
            sent[name] = False if value is None else value
    whole = join_name(order)
    return sent if whole is None else {**sent, NAME: whole}


def columns(sent: Mapping[str, Any], types: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """The columns and the row that ``load`` takes: texts; a link by its number in the database.  Nothing is cleared."""
    names, row = [], []
    for name, value in sent.items():
        if value is False and types.get(name) != "boolean":
            continue
        if isinstance(value, (list, dict)):
            raise Refused("odoo: a list cannot be written", code="unsupported", field=name)
        names.append(f"{name}/.id" if types.get(name) == "many2one" else name)
        row.append(str(int(value)) if isinstance(value, bool) else str(value))
    return names, row


def holds(found: Record, order: Order) -> bool:
    """Whether the record has all that the order says, besides consent."""
    said = {name: value for name, value in order.fields.items() if name != OPT_OUT}
    return all(
        fold(found.fields.get(name)) == fold(value) if name == EMAIL else found.fields.get(name) == value
        for name, value in said.items()
    )


def marked(value: object) -> bool | None:
    """A mark of consent: true, false or nothing, as a mark or as the mapping's word."""
    words = {"true": True, "false": False}
    return words.get(value.strip().lower()) if isinstance(value, str) else value if isinstance(value, bool) else None


def schema(facts: Mapping[str, Any]) -> Schema:
    """The fields of ``fields_get``, and ours."""
    found = {}
    for name, about in facts.items():
        options = about.get("selection")
        keys = tuple(str(o[0]) for o in options if isinstance(o, list) and o) if isinstance(options, list) else None
        found[name] = Property(
            name,
            str(about["type"]),
            str(about.get("string", "")),
            # is_blacklisted is read only at Odoo; Tandem writes it by way of mail.blacklist.
            read_only=about.get("readonly") is True and name != OPT_OUT,
            required=about.get("required") is True,
            options=keys if keys else None,
        )
    for name, (type_, fixed) in OURS.items():
        found[name] = Property(name, type_, read_only=fixed)
    return Schema(Kind.CONTACT, found)


def sources(names: Iterable[str]) -> list[str]:
    """Odoo's fields behind these names, each once."""
    return list(dict.fromkeys(name.partition(".")[0] for name in names))


def join_name(order: Order) -> str | None:
    """The whole name that the order gives; None where it gives none."""
    given, create = order.fields, order.verb is Verb.CREATE
    if GIVEN not in given and FAMILY not in given and not (create and not given.get(NAME)):
        return None
    parts = []
    for part in (GIVEN, FAMILY):
        value = given[part] if part in given else None if create else order.known.get(part)
        if part not in given and not create and value is None:
            why = "odoo: the name there is one field, of which it is not known what is given and what is family name"
            raise Refused(why, code="name", field=part)
        parts += [value.strip()] if isinstance(value, str) and value.strip() else []
    if parts:
        return " ".join(parts)
    mail = given.get(EMAIL)  # as Odoo itself calls somebody of whom only the address is known
    return mail if create and isinstance(mail, str) and mail.strip() else None


def plain(value: Any, type_: str) -> Any:
    """A value without Odoo's false for "none"; of a link its number."""
    if value is False and type_ != "boolean":
        return None
    at = link(value) if type_ == "many2one" else None
    return value if at is None else at[0]


def link(value: object) -> tuple[int, str] | None:
    """The number and the words of a link; None where it is empty."""
    if isinstance(value, list) and len(value) == 2 and isinstance(value[0], int):
        return value[0], str(value[1])
    return None
