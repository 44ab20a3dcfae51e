"""Vendors' spellings of dates, days and instants to the normal forms of ``app.core.fields``, and back.

A date is a date: none of these moves it by a time zone.  Only ``local_date`` turns an instant into a day, and says in
which zone.  Reading functions take the vendor's value, writing functions take the normal form; both raise Unfit.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from datetime import time as wall
from typing import Any
from zoneinfo import ZoneInfo

from app.core.fields import Unfit, normal_date, utc_text

EPOCH = datetime.fromtimestamp(0, UTC)
_UTC = ZoneInfo("UTC")
_DAY_MS = 86_400_000

# ISO 8601 as vendors write it: "T" or blank, seconds and fraction optional, "Z", "+02:00", "+0200" or no zone.
_DAY = r"(\d{4}-\d{2}-\d{2})[Tt ]"
_ZONE = r"\s?([Zz]|[+-]\d{2}(?::?\d{2})?)?"
_INSTANT = re.compile(rf"{_DAY}(\d{{2}}:\d{{2}})(?::(\d{{2}})(?:[.,]\d+)?)?{_ZONE}", re.ASCII)
_MIDNIGHT = re.compile(rf"{_DAY}00:00(?::00(?:[.,]0+)?)?{_ZONE}", re.ASCII)
_US = re.compile(r"(\d{1,2})/(\d{1,2})/(\d{4})", re.ASCII)
_MONTH_DAY = re.compile(r"(?:--)?(\d{2})-(\d{2})", re.ASCII)
_MONTH_SLASH_DAY = re.compile(r"(\d{1,2})/(\d{1,2})", re.ASCII)
_MILLIS = re.compile(r"-?\d{1,15}", re.ASCII)


def _not_date() -> Unfit:
    return Unfit("not_date", "not a date of a form that is read here")


def _date(year: int, month: int, day: int) -> str:
    try:
        return date(year, month, day).isoformat()
    except ValueError:
        raise _not_date() from None


def iso_date(value: Any) -> str:
    """``YYYY-MM-DD``, or a midnight whose day is taken as written, whatever zone stands behind it.

    A midnight is how systems without a date type write a day; converting it to another zone is what makes days slip.
    Any other time of day is refused: which day it is depends on a zone (``local_date``).
    """
    if not isinstance(value, str):
        raise _not_date()
    text = value.strip()
    if (match := _MIDNIGHT.fullmatch(text)) is not None:
        return normal_date(match.group(1))
    if _INSTANT.fullmatch(text) is not None:
        raise Unfit("has_time", "a time of day where a date is expected")
    return normal_date(text)


def us_date(value: Any) -> str:
    """``MM/DD/YYYY``, or what ``iso_date`` reads."""
    match = _US.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        return iso_date(value)
    month, day, year = (int(part) for part in match.groups())
    return _date(year, month, day)


def to_us_date(value: str) -> str:
    """A date as ``MM/DD/YYYY``."""
    return f"{value[5:7]}/{value[8:10]}/{value[:4]}"


def millis(value: Any) -> int:
    """Milliseconds since 1970 from an int or from digits.  Raises Unfit."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and _MILLIS.fullmatch(text := value.strip()):
        return int(text)
    raise Unfit("not_millis", "not milliseconds since 1970")


def epoch_date(value: Any) -> str:
    """Midnight UTC in milliseconds since 1970 (HubSpot's ``date`` properties), or what ``iso_date`` reads."""
    if isinstance(value, str) and _MILLIS.fullmatch(value.strip()) is None:
        return iso_date(value)
    days, rest = divmod(millis(value), _DAY_MS)
    if rest:
        raise Unfit("has_time", "a time of day where a date is expected")
    try:
        return (EPOCH + timedelta(days=days)).date().isoformat()
    except OverflowError:
        raise _not_date() from None


def to_epoch_date(value: str) -> int:
    """A date as midnight UTC in milliseconds since 1970."""
    return (date.fromisoformat(value) - EPOCH.date()).days * _DAY_MS


def instant(value: Any, zone: ZoneInfo | None) -> datetime:
    """An ISO 8601 date and time as an aware datetime.  One without a zone is in ``zone``; without that it is refused.

    A wall-clock time that occurs twice (clocks go back) is the first of the two; one that never occurs is read with the
    offset before the clocks went forward.
    """
    match = _INSTANT.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        raise Unfit("not_datetime", "not a date and time of a form that is read here")
    day, minute, second, offset = match.groups()
    if offset is None and zone is None:
        raise Unfit("no_time_zone", "a date and time without a zone, and the mapping has no time_zone")
    suffix = "" if offset is None else "+00:00" if offset in "Zz" else offset
    try:
        found = datetime.fromisoformat(f"{day}T{minute}:{'00' if second is None else second}{suffix}")
    except ValueError:
        raise Unfit("not_datetime", "no such date and time") from None
    return found if found.tzinfo is not None else found.replace(tzinfo=zone)


def iso_datetime(value: Any, zone: ZoneInfo | None) -> str:
    """ISO 8601 → the normal form.  Fractions of a second are cut."""
    return utc_text(instant(value, zone))


def to_wall_clock(value: str, zone: ZoneInfo | None) -> str:
    """A datetime as ``YYYY-MM-DD HH:MM:SS`` in ``zone`` (UTC without one), for vendors whose times carry no zone."""
    try:
        local = datetime.fromisoformat(value).astimezone(zone if zone is not None else UTC)
    except OverflowError:
        raise Unfit("not_datetime", "outside the years 1 to 9999") from None
    return local.replace(tzinfo=None).isoformat(sep=" ")


def wall_clock(value: Any, zone: ZoneInfo | None) -> str:
    """What ``to_wall_clock`` writes: without a zone it is in ``zone``, or UTC where the mapping has none."""
    return utc_text(instant(value, zone if zone is not None else _UTC))


def epoch_ms(value: Any) -> str:
    """Milliseconds since 1970 → the normal form of a datetime; parts of a second are cut (towards the past)."""
    try:
        return utc_text(EPOCH + timedelta(seconds=millis(value) // 1000))
    except OverflowError:
        raise Unfit("not_datetime", "outside the years 1 to 9999") from None


def to_epoch_ms(value: str) -> int:
    """A datetime as milliseconds since 1970."""
    return (datetime.fromisoformat(value) - EPOCH) // timedelta(milliseconds=1)


def local_date(value: Any, zone: ZoneInfo | None) -> str:
    """The day on which an instant falls in ``zone`` (UTC without one); a plain date stays the date it is."""
    text = value.strip() if isinstance(value, str) else ""
    local = zone if zone is not None else _UTC
    try:
        if _INSTANT.fullmatch(text) is not None:
            moment = instant(text, local)
        elif text and _MILLIS.fullmatch(text) is None:
            return normal_date(text)
        else:
            moment = EPOCH + timedelta(milliseconds=millis(value))
        return moment.astimezone(local).date().isoformat()
    except OverflowError:
        raise _not_date() from None


def _month_day(month: int, day: int) -> str:
    _date(2000, month, day)  # a leap year: 29 February is a birthday
    return f"{month:02}-{day:02}"


def birthday(value: Any) -> str:
    """``YYYY-MM-DD``, ``MM-DD`` or ``--MM-DD`` → ``YYYY-MM-DD`` or ``MM-DD``."""
    if isinstance(value, str) and (match := _MONTH_DAY.fullmatch(value.strip())) is not None:
        return _month_day(int(match.group(1)), int(match.group(2)))
    return iso_date(value)


def birthday_mmdd(value: Any) -> str:
    """``MM/DD`` (Mailchimp's type ``birthday``), or what ``birthday`` reads."""
    if isinstance(value, str) and (match := _MONTH_SLASH_DAY.fullmatch(value.strip())) is not None:
        return _month_day(int(match.group(1)), int(match.group(2)))
    return birthday(value)


def to_birthday_mmdd(value: str) -> str:
    """A birthday as ``MM/DD``; the year is lost."""
    return birthday(value)[-5:].replace("-", "/")


def at_midnight(value: str) -> str:
    """A date as midnight UTC in ISO 8601, for vendors that have datetimes only."""
    return datetime.combine(date.fromisoformat(value), wall(), UTC).isoformat().replace("+00:00", "Z")
