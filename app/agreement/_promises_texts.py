"""How lengths of time, windows, days and shares are written in the agreement.  Text in, values out.

Each function raises ValueError that says what would be valid.
"""

from __future__ import annotations

import re
from datetime import date
from itertools import pairwise
from typing import Final

from app.agreement.hours import HOUR, MINUTE, OwnDay, Window
from app.agreement.terms import Span

WEEKDAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
DURATIONS: Final = ("4 hours", "90 minutes", "1 hour 30 minutes")

_CLOCK_TIME: Final = re.compile(r"([01][0-9]|2[0-4]):([0-5][0-9])")
_PARTS: Final = re.compile(r"(\d{1,6}) ?(hours?|h|minutes?|min|m)(?![a-z])")
_WORKING_DAYS: Final = re.compile(r"(\d{1,3}) working days?")
_PERCENT: Final = re.compile(r"(\d{1,3}) ?%")
_DAY: Final = re.compile(r"(?:(\d{4})-)?(\d{2})-(\d{2})")
_LEAP: Final = 2024  # has every day that a year can have


def duration(text: str) -> int:
    """Milliseconds of ``4 hours``, ``90 minutes``, ``1h 30m``."""
    rest = text.strip().lower()
    found = _PARTS.findall(rest)
    if not found or _PARTS.sub("", rest).strip(" ,"):
        hint = ": a day has no fixed length here" if "day" in rest or "week" in rest else ""
        raise ValueError(f"{text!r} is no length of business time{hint}; valid: {', '.join(DURATIONS)}")
    total = sum(int(number) * (HOUR if unit.startswith("h") else MINUTE) for number, unit in found)
    if total < MINUTE:
        raise ValueError("has to be a minute at least")
    return total


def span_of(text: str) -> Span:
    """A duration, or ``10 working days``."""
    days = _WORKING_DAYS.fullmatch(text.strip().lower())
    if days is None:
        if "day" in text:
            raise ValueError(f"{text!r} is neither hours nor working days; valid: 10 working days, {DURATIONS[0]}")
        return Span(duration(text))
    if not int(days[1]):
        raise ValueError("has to be a working day at least")
    return Span(working_days=int(days[1]))


def percent(text: str) -> int:
    """``60%``."""
    found = _PERCENT.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text!r} is no share; valid: 60%")
    return int(found[1])


def windows_of(text: str) -> tuple[Window, ...]:
    """``09:00-12:30, 13:30-17:30``, or ``closed``."""
    if text.strip() == "closed":
        return ()
    windows = tuple(_window(part.strip()) for part in text.split(","))
    for one, other in pairwise(windows):
        if other.start < one.end:
            raise ValueError(f"{one} and {other} overlap, or are not in order")
    return windows


def weekdays(text: str) -> range | tuple[int, ...]:
    """Numbers of ``mon``, or of ``mon-fri``; Monday is 0."""
    first, dash, last = text.strip().lower().partition("-")
    if first not in WEEKDAYS or (dash and last not in WEEKDAYS):
        raise ValueError(f"{text!r} is no weekday; valid: {', '.join(WEEKDAYS)}, or two of them, as mon-fri")
    start = WEEKDAYS.index(first)
    end = WEEKDAYS.index(last) if dash else start
    if end < start:
        raise ValueError(f"{text!r} runs backwards; a week begins with mon")
    return range(start, end + 1)


def own_day(key: str, text: str) -> OwnDay:
    """``2026-12-24`` or ``12-24``, with its windows, ``closed`` or ``usual``."""
    found = _DAY.fullmatch(key)
    if found is None:
        raise ValueError(f"{key!r} is no day; valid: 2026-12-24, or 12-24 for every year")
    year = None if found[1] is None else int(found[1])
    try:
        day = date(_LEAP if year is None else year, int(found[2]), int(found[3]))
    except ValueError:
        raise ValueError(f"{key!r} is not in the calendar") from None
    return OwnDay(day.month, day.day, year, None if text.strip() == "usual" else windows_of(text))


def _window(text: str) -> Window:
    start, _, end = text.partition("-")
    times = [_CLOCK_TIME.fullmatch(part.strip()) for part in (start, end)]
    if times[0] is None or times[1] is None:
        raise ValueError(f"{text!r} is no window of the day; valid: 09:00-17:00, closed")
    opens, closes = (int(t[1]) * 60 + int(t[2]) for t in times if t is not None)
    return Window(opens, closes)


def country(text: str) -> tuple[str, str | None]:
    """Country and subdivision of ``DE`` or ``DE-BE``.  Whether there are such is not looked at."""
    country, dash, subdivision = text.partition("-")
    return country, subdivision if dash else None
