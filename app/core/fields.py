"""The canonical contact fields and the normal forms of their values.  Pure: no I/O, no clock.

In: a value of any JSON-like shape.  Out: the one spelling of it that Tandem keeps, so that equal values are equal text,
or ``Unfit`` with a code.  None ("there is none") is nobody's normal form here: callers deal with it before.

======== =========================== ==============================================================================
type     normal form                 rule
======== =========================== ==============================================================================
text     ``str``                     Unicode NFC, no white space around it, no NUL (PostgreSQL stores none), not empty
number   ``str``, e.g. ``"42.5"``    plain decimal: no exponent, no ``+``, no needless zeros, never ``-0``.  Kept as
                                     text because a JSON number would pass through binary floating point.
bool     ``bool``
date     ``"YYYY-MM-DD"``            ISO 8601, proleptic Gregorian
datetime ``"YYYY-MM-DDTHH:MM:SSZ"``  ISO 8601, UTC, whole seconds (fractions are cut)
list     ``list[str]``               a set: each element once, in the order of its JSON text, never empty
======== =========================== ==============================================================================
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final

import orjson


class Type(StrEnum):
    """The types that a canonical field can have."""

    TEXT = "text"
    NUMBER = "number"
    BOOL = "bool"
    DATE = "date"
    DATETIME = "datetime"
    LIST = "list"


class Form(StrEnum):
    """What a text (or each element of a list) has to look like beyond being text."""

    EMAIL = "email"  # RFC 5321 address, lower case, domain in Unicode
    PHONE = "phone"  # E.164
    COUNTRY = "country"  # ISO 3166-1 alpha-2
    LANGUAGE = "language"  # BCP 47 (language, script, region), usual case
    URL = "url"  # http(s), host in lower case
    BIRTHDAY = "birthday"  # YYYY-MM-DD, or MM-DD where the year is unknown


@dataclass(frozen=True, slots=True)
class Field:
    """One canonical field."""

    name: str
    type: Type
    about: str
    form: Form | None = None
    derived: bool = False  # made by Tandem of companies, deals and engagement: vendors are told, and say it not


class Unfit(ValueError):
    """The value cannot be said in this form.  ``code`` names the reason; the message never contains the value."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


_TABLE: Final = (
    Field("email", Type.TEXT, "the address under which the person is known", Form.EMAIL),
    Field("email_alternates", Type.LIST, "further addresses of the same person", Form.EMAIL),
    Field("given_name", Type.TEXT, "given name, with middle names where they are not kept apart"),
    Field("middle_name", Type.TEXT, "middle names, where a system keeps them apart"),
    Field("family_name", Type.TEXT, "family name"),
    Field("full_name", Type.TEXT, "the whole name, where it is never split"),
    Field("phone", Type.TEXT, "main phone, E.164", Form.PHONE),
    Field("mobile_phone", Type.TEXT, "mobile phone, E.164", Form.PHONE),
    Field("job_title", Type.TEXT, "role at the company"),
    Field("company_name", Type.TEXT, "name of the company"),
    Field("website", Type.TEXT, "web address, http or https", Form.URL),
    Field("street", Type.TEXT, "street and house number"),
    Field("city", Type.TEXT, "town"),
    Field("region", Type.TEXT, "state, province, canton"),
    Field("postal_code", Type.TEXT, "postal code; text, since zeros lead"),
    Field("country", Type.TEXT, "ISO 3166-1 alpha-2", Form.COUNTRY),
    Field("birthday", Type.TEXT, "YYYY-MM-DD, or MM-DD without the year", Form.BIRTHDAY),
    Field("language", Type.TEXT, "BCP 47 tag", Form.LANGUAGE),
    Field("lifecycle_stage", Type.TEXT, "how far the person is on the way to being a client"),
    Field("lead_status", Type.TEXT, "what sales is doing with the lead"),
    Field("lifecycle_since", Type.DATETIME, "since when the person is at that stage, by the agreement"),
    Field("lifecycle_reason", Type.TEXT, "why the person came to that stage, by the agreement"),
    Field("lead_reason", Type.TEXT, "why sales gave the lead back, as the agreement names it"),
    Field("lead_flag", Type.TEXT, "what is not as agreed, for people to read"),
    Field("vendor_stage", Type.TEXT, "a vendor's own stage field, which the agreement takes as a claim only"),
    Field("lead_score", Type.NUMBER, "score of the lead"),
    Field("tags", Type.LIST, "labels; a set"),
    Field("owner_email", Type.TEXT, "address of the colleague in charge", Form.EMAIL),
    Field("created_on", Type.DATE, "the day the person became known"),
    Field(
        "last_engaged_at",
        Type.DATETIME,
        "the day on which the person last opened, clicked, answered …; its midnight, UTC",
        derived=True,
    ),
    Field(
        "last_touch_at",
        Type.DATETIME,
        "when one of us last called, met or wrote to the person, by the CRM",
        derived=True,
    ),
    Field("engagement_score", Type.NUMBER, "0 to 100, by what the person did; see docs/objects.md", derived=True),
    Field("emails_sent", Type.NUMBER, "campaign mails, at least so many", derived=True),
    Field("emails_opened", Type.NUMBER, "opened by the person, at least so many", derived=True),
    Field("emails_clicked", Type.NUMBER, "clicks, at least so many", derived=True),
    Field("forms_filled", Type.NUMBER, "forms, at least so many", derived=True),
    Field("page_visits", Type.NUMBER, "at least so many", derived=True),
    Field("surveys_answered", Type.NUMBER, "at least so many", derived=True),
    Field("calls", Type.NUMBER, "calls to the person, at least so many", derived=True),
    Field("meetings", Type.NUMBER, "at least so many", derived=True),
    Field("company_domain", Type.TEXT, "of the main company", derived=True),
    Field("company_industry", Type.TEXT, "of the main company", derived=True),
    Field("company_size", Type.NUMBER, "how many work at the main company", derived=True),
    Field("company_country", Type.TEXT, "of the main company", derived=True),
    Field(
        "deal_name", Type.TEXT, "of the deal that counts: the newest open one, else the last that closed", derived=True
    ),
    Field("deal_stage", Type.TEXT, "its stage, as the vendor calls it", derived=True),
    Field("deal_status", Type.TEXT, "open, won or lost", derived=True),
    Field("deal_amount", Type.NUMBER, "what it is worth", derived=True),
    Field("deal_currency", Type.TEXT, "ISO 4217", derived=True),
    Field("deal_owner_email", Type.TEXT, "the colleague in charge of it", derived=True),
    Field("deal_lost_reason", Type.TEXT, "why it was lost", derived=True),
    Field("deals_open", Type.NUMBER, "how many are open", derived=True),
    Field("deals_won", Type.NUMBER, "how many were won", derived=True),
)

FIELDS: Final[Mapping[str, Field]] = MappingProxyType({f.name: f for f in _TABLE})
"""All canonical contact fields by name.  A mapping may declare more as ``custom.<name>``."""

GOVERNED: Final = frozenset(
    {
        *("lifecycle_stage", "lifecycle_since", "lifecycle_reason", "lead_status", "lead_reason", "lead_flag"),
        "vendor_stage",
    }
)
"""Fields that the agreement decides once one is in force: what a vendor says of them is a claim."""

CUSTOM_PREFIX: Final = "custom."
CUSTOM_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,62}")

# Invisible at the ends of pasted text, and no white space to Python: zero-width space, byte order mark.
_INVISIBLE = "\u200b\ufeff"
_DIGITS = 60  # of a number, on either side of the point; wider than any vendor's number, and no memory bomb
_BITS = 200
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,3})?", re.ASCII)
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_DATETIME = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z", re.ASCII)


def as_text(value: Any) -> str:
    """The text of a scalar, without white space around it.  Raises Unfit for lists and objects."""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float, Decimal)):
        return normal_number(value)
    raise Unfit("not_text", "a list or an object where a text is expected")


def normal_text(value: Any) -> str:
    """A text in its normal form; ``""`` where nothing is left of it.  Raises Unfit."""
    text = as_text(value)
    if text.isascii():
        return text.replace("\0", "").strip() if "\0" in text else text
    try:
        text.encode()
    except UnicodeEncodeError:
        raise Unfit("not_text", "half a surrogate pair: no Unicode text") from None
    return _trim(unicodedata.normalize("NFC", text.replace("\0", "")))


def _trim(text: str) -> str:
    while (shorter := text.strip().strip(_INVISIBLE)) != text:
        text = shorter
    return text


def normal_number(value: Any) -> str:
    """A number in its normal form.  Takes int, finite float, Decimal, or decimal text.  Raises Unfit."""
    if isinstance(value, bool) or not isinstance(value, (int, float, Decimal, str)):
        raise Unfit("not_number", "not a number")
    if isinstance(value, int) and value.bit_length() > _BITS:  # Python refuses to spell out very long ones
        raise Unfit("not_number", f"a number of more than {_DIGITS} digits")
    text = value.strip() if isinstance(value, str) else repr(value) if isinstance(value, float) else str(value)
    if not _NUMBER.fullmatch(text):
        raise Unfit("not_number", "not a decimal number; thousands separators and units are not read")
    number = Decimal(text)
    if not number:
        return "0"
    if number.adjusted() >= _DIGITS or number.adjusted() < -_DIGITS or len(number.as_tuple().digits) > _DIGITS:
        raise Unfit("not_number", f"a number of more than {_DIGITS} digits")
    plain = f"{number:f}"
    return plain.rstrip("0").rstrip(".") if "." in plain else plain


def normal_bool(value: Any) -> bool:
    """A truth value.  Raises Unfit for everything that is none: 0 and "no" are for the transform ``bool``."""
    if isinstance(value, bool):
        return value
    raise Unfit("not_bool", "neither true nor false")


def normal_date(value: Any) -> str:
    """A date in its normal form.  Takes just that form: other spellings are for transforms.  Raises Unfit."""
    if isinstance(value, str) and _DATE.fullmatch(value):
        try:
            date.fromisoformat(value)
        except ValueError:
            pass
        else:
            return value
    raise Unfit("not_date", "not a date of the form YYYY-MM-DD")


def normal_datetime(value: Any) -> str:
    """A datetime in its normal form.  Takes just that form: other spellings are for transforms.  Raises Unfit."""
    if isinstance(value, str) and _DATETIME.fullmatch(value):
        try:
            datetime.fromisoformat(value)
        except ValueError:
            pass
        else:
            return value
    raise Unfit("not_datetime", "not a datetime of the form YYYY-MM-DDTHH:MM:SSZ")


def utc_text(moment: datetime) -> str:
    """The normal form of an aware datetime.  Raises Unfit where UTC would leave the years 1 to 9999."""
    try:
        utc = moment.astimezone(UTC)
    except OverflowError:
        raise Unfit("not_datetime", "outside the years 1 to 9999") from None
    return utc.replace(tzinfo=None, microsecond=0).isoformat() + "Z"


def normal_list(value: Any) -> list[str]:
    """A list of texts as a set: each once, sorted by its JSON text (as merging's union does), blanks left out."""
    if not isinstance(value, (list, tuple, set, frozenset)):
        raise Unfit("not_list", "not a list")
    found = {text for item in value if item is not None and (text := normal_text(item))}
    return list(found) if len(found) < 2 else sorted(found, key=orjson.dumps)


NORMAL: Final[Mapping[Type, Callable[[Any], Any]]] = MappingProxyType(
    {
        Type.TEXT: normal_text,
        Type.NUMBER: normal_number,
        Type.BOOL: normal_bool,
        Type.DATE: normal_date,
        Type.DATETIME: normal_datetime,
        Type.LIST: normal_list,
    }
)
"""Type → function that gives the normal form of a value that is not None, or raises Unfit."""
