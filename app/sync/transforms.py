"""The named transforms of a mapping: one table.  Pure; each takes a value and returns one, or raises ``Unfit``.

``read`` turns the vendor's spelling into the canonical one, ``write`` the other way.  A transform that takes one text
and is given a list works on each element.  What cannot be read exactly is refused, never guessed at.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, TypeAlias
from zoneinfo import ZoneInfo

from app.core.fields import Form, Type, Unfit, as_text, normal_number, normal_text
from app.sync import _transforms_dates as _dates
from app.sync import _transforms_places as _places
from app.sync import _transforms_texts as _texts

Function: TypeAlias = Callable[[Any], Any]


class Raw(StrEnum):
    """What a transform can take or give besides a canonical type or form."""

    ANY = "any"  # whatever the vendor says


Shape: TypeAlias = Type | Form | Raw
"""What stands between two transforms of a chain."""


@dataclass(frozen=True, slots=True)
class Context:
    """What the mapping (or the connection) says for all fields."""

    country: str | None = None  # alpha-2: the country of phone numbers written without one
    zone: ZoneInfo | None = None  # of the vendor's datetimes without a zone


@dataclass(frozen=True, slots=True)
class Step:
    """One direction of a transform."""

    takes: Shape
    gives: Shape
    make: Callable[[Context], Function]


@dataclass(frozen=True, slots=True)
class Transform:
    """One named transform."""

    name: str
    about: str
    read: Step | None = None
    write: Step | None = None


# --- truth, numbers, lists --------------------------------------------------------------------------------------------

_TRUTH: Final[Mapping[str, bool]] = {
    **dict.fromkeys(("true", "yes", "y", "1", "on", "t"), True),
    **dict.fromkeys(("false", "no", "n", "0", "off", "f"), False),
}


def _bool(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    found = _TRUTH.get(as_text(value).lower())
    if found is None:
        raise Unfit("not_bool", "neither true/yes/1/on nor false/no/0/off")
    return found


def _json_number(text: str) -> int | float:
    if "." not in text:
        return int(text)
    number = float(text)
    if normal_number(number) != text:
        raise Unfit("not_number", "a number that a JSON number cannot hold exactly")
    return number


def _split(separator: str) -> Step:
    def read(value: Any) -> list[str]:
        if isinstance(value, (list, tuple)):
            return [as_text(item) for item in value]
        return [part for item in as_text(value).split(separator) if (part := item.strip())]

    return Step(Raw.ANY, Type.LIST, lambda _: read)


def _join(separator: str) -> Step:
    def write(items: list[str]) -> str:
        if any(separator in item for item in items):
            raise Unfit("separator", f"a list element that contains {separator!r}")
        return separator.join(items)

    return Step(Type.LIST, Type.TEXT, lambda _: write)


def _names(value: Any) -> list[str]:
    if not isinstance(value, (list, tuple)):
        raise Unfit("not_list", "not a list")
    names = [item.get("name") if isinstance(item, Mapping) else item for item in value]
    if any(name is None for name in names):
        raise Unfit("not_list", "a list element without a name")
    return [as_text(name) for name in names]


# --- the table --------------------------------------------------------------------------------------------------------


def _text(gives: Shape, function: Function, takes: Shape = Type.TEXT) -> Step:
    return Step(takes, gives, lambda _: function)


def _zoned(takes: Shape, gives: Shape, function: Callable[[Any, ZoneInfo | None], Any]) -> Step:
    def make(context: Context) -> Function:
        zone = context.zone
        return lambda value: function(value, zone)

    return Step(takes, gives, make)


def _country(takes: Shape, gives: Shape, function: Callable[[str, str | None], str]) -> Step:
    def make(context: Context) -> Function:
        country = context.country
        return lambda value: function(value, country)

    return Step(takes, gives, make)


_STRIP = _text(Type.TEXT, normal_text)
_LOWER = _text(Type.TEXT, str.lower)
_UPPER = _text(Type.TEXT, str.upper)
_DATE, _TIME = Type.DATE, Type.DATETIME

_TABLE: Final = (
    Transform("strip", "no white space around, Unicode NFC; every text is read so anyway", _STRIP, _STRIP),
    Transform("lower", "lower case", _LOWER, _LOWER),
    Transform("upper", "upper case", _UPPER, _UPPER),
    Transform(
        "lower_email",
        "an e-mail address in lower case, checked for syntax; dots and plus tags stay",
        _text(Form.EMAIL, _texts.lower_email),
        _text(Form.EMAIL, _texts.lower_email),
    ),
    Transform(
        "gmail_email",
        "as lower_email; at gmail.com and googlemail.com dots and plus tags go, since they reach one mailbox",
        _text(Form.EMAIL, _texts.gmail_email),
    ),
    Transform(
        "e164",
        "a phone number in E.164; national ones are of default_country",
        _country(Type.TEXT, Form.PHONE, _texts.e164),
    ),
    Transform(
        "national_phone",
        "a number of default_country in its national form, others in international form",
        None,
        _country(Form.PHONE, Type.TEXT, _texts.national_phone),
    ),
    Transform("number", "a decimal number without thousands separators", _text(Type.NUMBER, normal_number, Raw.ANY)),
    Transform(
        "json_number",
        "a JSON number instead of text",
        _text(Type.NUMBER, normal_number, Raw.ANY),
        _text(Raw.ANY, _json_number, Type.NUMBER),
    ),
    Transform("bool", "true/yes/y/1/on/t and false/no/n/0/off/f", _text(Type.BOOL, _bool, Raw.ANY)),
    Transform(
        "bool_text",
        'the texts "true" and "false"',
        _text(Type.BOOL, _bool, Raw.ANY),
        _text(Type.TEXT, as_text, Type.BOOL),
    ),
    Transform("iso_date", "YYYY-MM-DD; a midnight is the day as written", _text(_DATE, _dates.iso_date, Raw.ANY)),
    Transform(
        "us_date",
        "MM/DD/YYYY",
        _text(_DATE, _dates.us_date, Raw.ANY),
        _text(Type.TEXT, _dates.to_us_date, _DATE),
    ),
    Transform(
        "epoch_date",
        "midnight UTC in milliseconds since 1970, or YYYY-MM-DD",
        _text(_DATE, _dates.epoch_date, Raw.ANY),
        _text(Raw.ANY, _dates.to_epoch_date, _DATE),
    ),
    Transform(
        "midnight",
        "a date as midnight UTC, YYYY-MM-DDT00:00:00Z",
        _text(_DATE, _dates.iso_date, Raw.ANY),
        _text(Type.TEXT, _dates.at_midnight, _DATE),
    ),
    Transform(
        "local_date",
        "the day of an instant in time_zone (UTC without one); a plain date stays",
        _zoned(Raw.ANY, _DATE, _dates.local_date),
    ),
    Transform(
        "iso_datetime",
        "ISO 8601; a time without a zone is in time_zone",
        _zoned(Raw.ANY, _TIME, _dates.iso_datetime),
    ),
    Transform(
        "wall_clock",
        "YYYY-MM-DD HH:MM:SS in time_zone (UTC without one), no zone written",
        _zoned(Raw.ANY, _TIME, _dates.wall_clock),
        _zoned(_TIME, Type.TEXT, _dates.to_wall_clock),
    ),
    Transform(
        "epoch_ms",
        "milliseconds since 1970",
        _text(_TIME, _dates.epoch_ms, Raw.ANY),
        _text(Raw.ANY, _dates.to_epoch_ms, _TIME),
    ),
    Transform("birthday", "YYYY-MM-DD, MM-DD or --MM-DD", _text(Form.BIRTHDAY, _dates.birthday)),
    Transform(
        "birthday_mmdd",
        "MM/DD; the year is not written",
        _text(Form.BIRTHDAY, _dates.birthday_mmdd),
        _text(Type.TEXT, _dates.to_birthday_mmdd, Form.BIRTHDAY),
    ),
    Transform("country", "name in 26 languages, alpha-2 or alpha-3 → alpha-2", _text(Form.COUNTRY, _places.country)),
    Transform("country_name", "the English name", None, _text(Type.TEXT, _places.country_name, Form.COUNTRY)),
    Transform("country_alpha3", "alpha-3", None, _text(Type.TEXT, _places.country_alpha3, Form.COUNTRY)),
    Transform("language", "tag with - or _, or English name → BCP 47 tag", _text(Form.LANGUAGE, _places.language)),
    Transform(
        "language_lower",
        "a tag in lower case, pt-br",
        _text(Form.LANGUAGE, _places.language),
        _text(Type.TEXT, str.lower, Form.LANGUAGE),
    ),
    Transform(
        "language_underscore",
        "a tag with _, pt_BR",
        _text(Form.LANGUAGE, _places.language),
        _text(Type.TEXT, lambda tag: tag.replace("-", "_"), Form.LANGUAGE),
    ),
    Transform("split_semicolon", "a;b → list; a list stays one", _split(";")),
    Transform("join_semicolon", "list → a;b", None, _join(";")),
    Transform("split_comma", "a, b → list; a list stays one", _split(",")),
    Transform("join_comma", "list → a,b", None, _join(",")),
    Transform("names", "list of objects with a name → list of the names", Step(Raw.ANY, Type.LIST, lambda _: _names)),
    Transform("given_of_name", "given and middle names of a whole name", _text(Type.TEXT, _texts.given_of_name)),
    Transform("family_of_name", "family name (and suffix) of a whole name", _text(Type.TEXT, _texts.family_of_name)),
    Transform(
        "domain",
        "host of a web or e-mail address, without www",
        _text(Type.TEXT, _texts.domain),
        _text(Type.TEXT, _texts.domain),
    ),
    Transform(
        "url",
        "http(s) address, https where no scheme is given",
        _text(Form.URL, _texts.url),
        _text(Form.URL, _texts.url),
    ),
)

TRANSFORMS: Final[Mapping[str, Transform]] = {t.name: t for t in _TABLE}
"""All transforms by name."""

DEFAULT_READ: Final[Mapping[Shape, tuple[str, ...]]] = {
    Form.EMAIL: ("lower_email",),
    Form.PHONE: ("e164",),
    Form.COUNTRY: ("country",),
    Form.LANGUAGE: ("language",),
    Form.URL: ("url",),
    Form.BIRTHDAY: ("birthday",),
    Type.TEXT: (),
    Type.NUMBER: ("number",),
    Type.BOOL: ("bool",),
    Type.DATE: ("iso_date",),
    Type.DATETIME: ("iso_datetime",),
    Type.LIST: (),
}
"""What reads a field whose mapping names no transform, by its form, else by its type."""
