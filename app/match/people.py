"""Names and birth dates made comparable.  In: values as a system says them.  Out: ``Name`` and ``Birth``.  Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

from app.match.fold import is_placeholder, meant, text_of
from app.match.lists import GENERATIONS, PLACEHOLDERS, ROLE_NAMES, TITLES


@dataclass(frozen=True, slots=True)
class Name:
    """A person's name, folded.  Empty parts are unknown, never a claim that there is none."""

    first: str = field(default="", repr=False)
    middle: tuple[str, ...] = field(default=(), repr=False)
    last: str = field(default="", repr=False)
    generation: str = field(default="", repr=False)  # "jr", "sr", "2", "3", "4"


@dataclass(frozen=True, slots=True)
class Birth:
    """A day of birth.  ``year`` 0: not known."""

    year: int = field(repr=False)
    month: int = field(repr=False)
    day: int = field(repr=False)

    @property
    def digits(self) -> str:
        """YYYYMMDD, or MMDD where the year is not known."""
        short = f"{self.month:02}{self.day:02}"
        return f"{self.year:04}{short}" if self.year else short


def name_of(values: Mapping[str, Any]) -> Name:
    """The name in a record: its parts, or the full name taken apart where the record has no parts."""
    given, middle, family = (text_of(values.get(k)) for k in ("given_name", "middle_name", "family_name"))
    if not given and not family:
        full = text_of(values.get("full_name"))
        if full and not is_placeholder(full):
            from nameparser import HumanName  # loaded by the first that needs it: a twentieth of the start

            parsed = HumanName(full)
            given, middle = parsed.first, parsed.middle
            family = f"{parsed.last} {parsed.suffix}"
    given_words, generation_g = _words(given)
    middle_words, generation_m = _words(middle)
    family_words, generation_f = _words(family)
    if not family_words and len(given_words) > 2:  # a whole name in one field
        given_words, family_words = given_words[:-1], given_words[-1:]
    return Name(
        given_words[0] if given_words else "",
        given_words[1:] + middle_words,
        " ".join(family_words),
        generation_f if generation_f else generation_g if generation_g else generation_m,
    )


@lru_cache(maxsize=16_000)  # half of all people bear one of few names
def _words(text: str) -> tuple[tuple[str, ...], str]:
    """The words of a name without titles and placeholders, and the generation that stood at its end."""
    words, generation = meant(text).split(), ""
    if len(words) > 1 and words[-1] in GENERATIONS:
        generation = GENERATIONS[words.pop()]
    kept = tuple(w for w in words if w not in TITLES and w not in PLACEHOLDERS)
    return (() if kept and kept[0] in ROLE_NAMES else kept), generation


_PARTS: Final = re.compile(r"(\d{1,4})([-/.])(\d{1,2})\2(\d{1,4})")
_MONTH_DAY: Final = re.compile(r"(?:--)?(\d{2})-(\d{2})")
_COMPACT: Final = re.compile(r"(\d{4})(\d{2})(\d{2})")

MONTH_FIRST: Final = frozenset({"US", "PH", "PW", "FM", "MH", "GU", "PR", "VI", "AS", "MP"})
"""Countries that write month/day/year with slashes (Unicode CLDR, short date patterns)."""

# Days that forms and databases fill in by themselves: Unix epoch, spreadsheet epochs, the first choice of a list.
_FILLED_IN: Final = frozenset({(1900, 1, 1), (1970, 1, 1), (1901, 1, 1), (1899, 12, 30), (1904, 1, 1), (2000, 1, 1)})


def birth_of(value: Any, country: str | None = None) -> Birth | None:
    """A birth date from ISO text, MM-DD, YYYYMMDD or the country's way with slashes or dots; None where unreadable."""
    text = text_of(value)
    if found := _PARTS.fullmatch(text):
        first, mark, second, third = found.group(1), found.group(2), int(found.group(3)), found.group(4)
        if len(first) == 4:
            return _birth(int(first), second, int(third))
        if len(third) != 4:
            return None
        month_first = mark == "/" and country in MONTH_FIRST
        month, day = (int(first), second) if month_first else (second, int(first))
        if month > 12 >= day:
            month, day = day, month
        elif not month_first and mark != "." and country is None and month != day:
            return None  # 03/04/1990 of nowhere: either
        return _birth(int(third), month, day)
    if found := _MONTH_DAY.fullmatch(text):
        return _birth(0, int(found.group(1)), int(found.group(2)))
    if found := _COMPACT.fullmatch(text):
        return _birth(int(found.group(1)), int(found.group(2)), int(found.group(3)))
    return None


def _birth(year: int, month: int, day: int) -> Birth | None:
    if (year, month, day) in _FILLED_IN or not (1 <= month <= 12 and 1 <= day <= 31):
        return None
    return Birth(year if 1880 <= year <= 2100 else 0, month, day)
