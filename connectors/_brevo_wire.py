"""Brevo's JSON.  In: answers and values.  Out: records, request bodies, the schema, refusals.  Pure.

Sources: the API's contract as generated into github.com/getbrevo/brevo-python (5.1.0), called "contract" below;
developers.brevo.com/reference; what a contact looks like where the contract does not say it: github.com/sendinblue/
APIv3-php-library issues 149, 169, 173, 175.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

import httpx
import orjson

from connectors._wording import masked, values
from connectors.contract import Kind, Property, Record, Refused, Schema, TryLater

EMAIL: Final = "email"
ATTRIBUTE: Final = "attributes."
UNSUBSCRIBED: Final = "listUnsubscribed."  # ours: whether somebody has left this list, by its id
FLAGS: Final = ("emailBlacklisted", "smsBlacklisted")  # can be written
MARKS: Final = (*FLAGS, "whatsappBlacklisted")  # can be read

# What belongs to one contact only; a second contact with it is refused (contract, forceMerge).
IDENTIFIERS: Final = frozenset({"EMAIL", "SMS", "WHATSAPP", "LANDLINE_NUMBER", "EXT_ID"})
PHONES: Final = ("SMS", "WHATSAPP", "LANDLINE_NUMBER")

_FIXED: Final = (
    Property(EMAIL, "email", "Email address", required=True),
    Property("emailBlacklisted", "boolean", "Blocklisted for e-mail campaigns"),
    Property("smsBlacklisted", "boolean", "Blocklisted for SMS campaigns"),
    Property("whatsappBlacklisted", "boolean", "Blocklisted for WhatsApp campaigns", read_only=True),
    Property("listIds", "list", "Ids of the lists that the contact is in", read_only=True),
    Property("listUnsubscribed", "list", "Ids of the lists that the contact has left", read_only=True),
    Property("createdAt", "date-time", "Made", read_only=True),
    Property("modifiedAt", "date-time", "Last change", read_only=True),
)
_WRITABLE: Final = f"{EMAIL}, {', '.join(FLAGS)}, {ATTRIBUTE}NAME"
_CATEGORIES: Final = frozenset({"normal", "category", "transactional"})  # the others Brevo computes
_WORDS: Final[Mapping[str, bool]] = {"true": True, "false": False, "yes": True, "no": False, "1": True, "0": False}
_DAY: Final = re.compile(r"\d{4}-\d{2}-\d{2}")
_DIGITS: Final = re.compile(r"(?:00)?([1-9][0-9]{5,17})")
_ID: Final = re.compile(r"[1-9][0-9]{0,17}")


@dataclass(frozen=True, slots=True)
class Attribute:
    """One attribute of the account."""

    name: str
    category: str
    type: str
    options: tuple[str, ...] | None = None  # labels, or the choices of a multiple choice
    numbers: frozenset[str] = frozenset()  # a category may be written by number too

    @property
    def fixed(self) -> bool:
        """Whether Brevo computes it."""
        return self.category not in _CATEGORIES


# --- records ----------------------------------------------------------------------------------------------------------


def is_id(text: str | None) -> bool:
    """Whether this may be the id of a contact."""
    return text is not None and _ID.fullmatch(text) is not None


def fold(address: object) -> str:
    """An address as it is compared; empty for what is none."""
    return address.strip().lower() if isinstance(address, str) else ""


def time(value: object) -> datetime | None:
    """ISO 8601, with milliseconds and the account's own offset or Z; None where there is none."""
    try:
        parsed = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    if parsed is None:
        return None
    return parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)


def clock(response: httpx.Response) -> datetime | None:
    """When the vendor answered, by its own clock."""
    try:
        at = parsedate_to_datetime(response.headers.get("date", ""))
    except ValueError:
        return None
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


def record(row: object) -> Record:
    """One contact.  TryLater for what is none.

    An attribute that the answer leaves out is not said: that Brevo leaves out just what is empty is not documented.
    """
    id_ = row.get("id") if isinstance(row, Mapping) else None
    if not isinstance(row, Mapping) or isinstance(id_, bool) or not isinstance(id_, int):
        raise TryLater("brevo: a contact without an id")
    fields: dict[str, Any] = {n: row[n] for n in (EMAIL, *MARKS, "createdAt", "modifiedAt") if n in row}
    if EMAIL in fields and not fold(fields[EMAIL]):
        fields[EMAIL] = None  # known by telephone only
    attributes = row.get("attributes")  # of nobody's attributes PHP made a list
    for name, value in attributes.items() if isinstance(attributes, Mapping) else ():
        if name != "EMAIL":
            fields[ATTRIBUTE + name] = _read(name, value)
    inside, left = (_numbers(row.get(name)) for name in ("listIds", "listUnsubscribed"))
    fields |= {"listIds": inside, "listUnsubscribed": left}
    fields |= {f"{UNSUBSCRIBED}{n}": False for n in inside} | {f"{UNSUBSCRIBED}{n}": True for n in left}
    return Record(Kind.CONTACT, str(id_), fields, time(row.get("modifiedAt")))


def _read(name: str, value: Any) -> Any:
    """Brevo answers telephone numbers without their plus; they always have a country code (create-contact)."""
    if name in PHONES and isinstance(value, (str, int)) and not isinstance(value, bool):
        found = _DIGITS.fullmatch(str(value).strip())
        return f"+{found[1]}" if found is not None else None if value == "" else value
    return None if value == "" else value


def _numbers(value: object) -> list[int]:
    return [n for n in value if isinstance(n, int)] if isinstance(value, list) else []


def rows(answer: object, name: str) -> list[Any]:
    """The list of this name.  TryLater where there is none."""
    found = answer.get(name) if isinstance(answer, Mapping) else None
    if not isinstance(found, list):
        raise TryLater(f"brevo: an answer without {name!r}")
    return found


def number(answer: object, name: str) -> int | None:
    """A whole number in the answer."""
    found = answer.get(name) if isinstance(answer, Mapping) else None
    return found if isinstance(found, int) and not isinstance(found, bool) else None


# --- attributes -------------------------------------------------------------------------------------------------------


def attribute(row: Mapping[str, Any]) -> Attribute:
    """One attribute of ``GET /contacts/attributes``."""
    told, choices = row.get("enumeration"), row.get("multiCategoryOptions")
    pairs = [one for one in told if isinstance(one, Mapping)] if isinstance(told, list) else []
    options: tuple[str, ...] | None = None
    if pairs:
        options = tuple(str(one.get("label")) for one in pairs)
    elif isinstance(choices, list) and choices:
        options = tuple(map(str, choices))
    category, type_ = str(row.get("category", "")), row.get("type")
    numbers = frozenset(str(one[key]) for one in pairs for key in ("value", "valueStr") if key in one)
    return Attribute(str(row.get("name")), category, str(type_) if type_ else category, options, numbers)


def value_for(about: Attribute, value: Any) -> Any:
    """A value as this attribute takes it.  Refused where Brevo would ignore it and answer success all the same."""
    if about.fixed:
        raise _wrong(about, "is computed by Brevo", code="read_only")
    if value is None:
        return [] if about.type == "multiple-choice" else ""
    made = _CAST.get(about.type, _as_it_is)(value)
    if about.type == "multiple-choice" and isinstance(value, (list, tuple)):
        made = [str(one) for one in value]
        if about.options is not None and not set(made) <= set(about.options):
            made = None
    elif about.options is not None and str(value) not in {*about.options, *about.numbers}:
        made = None
    if made is None:
        wanted = f"one of {', '.join(about.options)}" if about.options is not None else f"a {about.type}"
        raise _wrong(about, f"takes {wanted}, and would ignore this value")
    return made


def _wrong(about: Attribute, why: str, code: str = "validation") -> Refused:
    return Refused(f"brevo: {ATTRIBUTE}{about.name} {why}", code=code, field=ATTRIBUTE + about.name)


def _number(value: Any) -> Any:
    try:
        found = float(value) if not isinstance(value, bool) else None
    except (TypeError, ValueError):
        return None
    if found is None or found != found or abs(found) == float("inf"):
        return None
    return int(found) if found.is_integer() else found


def _truth(value: Any) -> Any:
    return value if isinstance(value, bool) else _WORDS.get(str(value).strip().lower())


def _day(value: Any) -> Any:
    text = str(value).strip()
    try:
        return date.fromisoformat(text).isoformat() if _DAY.fullmatch(text) else None
    except ValueError:
        return None


def _text(value: Any) -> Any:
    return None if isinstance(value, (list, tuple, Mapping)) else value if isinstance(value, str) else str(value)


def _as_it_is(value: Any) -> Any:
    return value


_CAST: Final[Mapping[str, Any]] = {"float": _number, "boolean": _truth, "date": _day, "text": _text}


def flag(name: str, value: Any) -> bool:
    """A mark as Brevo takes it.  Refused for a word that is neither yes nor no."""
    found = _truth(value)
    if found is None:
        raise Refused(f"brevo: {name} takes true or false", code="validation", field=name)
    return bool(found)


def unknown(name: str, known: Iterable[str]) -> Refused:
    """Why a field cannot be written."""
    fixed = name in {p.name for p in _FIXED} or name.startswith(UNSUBSCRIBED)
    if fixed:
        return Refused(f"brevo: {name} is read-only; writable are {_WRITABLE}", code="read_only", field=name)
    if name.startswith(ATTRIBUTE):
        says = f"brevo: the account has no attribute {name.removeprefix(ATTRIBUTE)}; it has {', '.join(sorted(known))}"
        return Refused(f"{says}: make it in Contacts > Settings", code="unknown_field", field=name)
    return Refused(f"brevo: {name!r} is not a field; writable are {_WRITABLE}", code="unknown_field", field=name)


def kept(name: str, sent: Any, known: Any, found: Record) -> bool:
    """Whether Brevo shows what was sent for a field, be it in its own spelling.

    ``known``: what it held before.  Ignored is what stayed as it was, or stayed empty.
    """
    now = found.fields.get(name)
    if name == EMAIL:
        return fold(now) == fold(sent)
    if sent in ("", []):
        return now in (None, "", [])
    if same(now, sent):
        return True
    return now is not None and not same(now, known)


def same(theirs: Any, ours: Any) -> bool:
    """Whether two values are one to Brevo: order of choices, spelling of numbers and of telephone numbers apart."""
    if isinstance(theirs, (list, tuple)) and isinstance(ours, (list, tuple)):
        return set(map(str, theirs)) == set(map(str, ours))
    if isinstance(theirs, bool) or isinstance(ours, bool):
        return _truth(theirs) is _truth(ours)
    if theirs is None or ours is None:
        return theirs is ours
    left, right = str(theirs).strip(), str(ours).strip()
    return left == right or (_number(left) is not None and _number(left) == _number(right)) or _dialled(left, right)


def _dialled(left: str, right: str) -> bool:
    numbers = [re.sub(r"^(\+|00)|[ ()./-]", "", text) for text in (left, right)]
    return numbers[0] == numbers[1] and _DIGITS.fullmatch(numbers[0]) is not None


# --- refusals ---------------------------------------------------------------------------------------------------------


def problem(response: httpx.Response) -> tuple[str, str, Sequence[str]]:
    """Code, message and duplicate identifiers of an error; an empty code where it is not Brevo's own."""
    try:
        body = orjson.loads(response.content)
    except orjson.JSONDecodeError:
        return "", "", ()
    if not isinstance(body, Mapping):
        return "", "", ()
    metadata = body.get("metadata")
    twice = metadata.get("duplicate_identifiers") if isinstance(metadata, Mapping) else None
    known = [one for one in twice if isinstance(one, str)] if isinstance(twice, list) else []
    code, message = body.get("code"), body.get("message")
    return (code if isinstance(code, str) else "", message if isinstance(message, str) else "", known)


def refusal(response: httpx.Response, sent: Mapping[str, Any], secrets: Iterable[str]) -> Refused:
    """Why Brevo refused.  No value that was sent is told."""
    code, message, twice = problem(response)
    said = masked(" ".join(message.split()), {*secrets, *values(sent)})
    text = f"brevo: {response.status_code}" + (f", {said}" if said else "")
    if code == "duplicate_parameter":
        names = list(twice) if twice else ["email"]
        fields = [EMAIL if one.lower() == EMAIL else ATTRIBUTE + one.upper() for one in names]
        says = f"brevo: another contact has this {', '.join(names)}"
        return Refused(says, code="conflict", field=fields[0])
    field = next(_blamed(message, sent), None)
    return Refused(text, code=code if code else "refused", field=field)


def _blamed(message: str, sent: Mapping[str, Any]) -> Iterator[str]:
    """The field that the words of a refusal are about ("Invalid phone number", "email is not valid in body")."""
    words = message.lower()
    attributes = sent.get("attributes")
    names = list(attributes) if isinstance(attributes, Mapping) else []
    yield from (ATTRIBUTE + n for n in names if re.search(rf"\b{re.escape(n.lower())}\b", words) and n != "EMAIL")
    if "phone" in words:
        yield from (ATTRIBUTE + n for n in PHONES if n in names)
    if "email" in words and (EMAIL in sent or "EMAIL" in names):
        yield EMAIL


# --- schema -----------------------------------------------------------------------------------------------------------


def schema(attributes: Iterable[Attribute], lists: Iterable[tuple[int, str]]) -> Schema:
    """The fields of a contact: fixed ones, attributes, and for each list whether somebody has left it."""
    found = {p.name: p for p in _FIXED}
    for one in attributes:
        if one.name != "EMAIL":
            name = ATTRIBUTE + one.name
            found[name] = Property(name, one.type, one.name, read_only=one.fixed, options=one.options)
    for id_, label in lists:
        name = f"{UNSUBSCRIBED}{id_}"
        found[name] = Property(name, "boolean", f"Has left the list {label}", read_only=True)
    return Schema(Kind.CONTACT, found)
