"""Streets, towns and post codes made comparable.  Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

from app.match.fold import meant, said, text_of
from app.match.lists import PLACEHOLDER_PLACES, STREET_WORDS


@dataclass(frozen=True, slots=True)
class Street:
    """A street address: its words in their short forms, and the numbers in it (house, unit) in order."""

    words: str = field(repr=False)
    numbers: tuple[str, ...] = field(repr=False)

    @property
    def text(self) -> str:
        """Numbers, then words."""
        return " ".join((*self.numbers, self.words))


_JOINED: Final = re.compile(r"(?<=[a-z])(strasse|str|gasse|weg|allee|platz)$")
_ZEROS: Final = re.compile(r"0+|9+")


def street_of(value: Any) -> Street | None:
    """A street address; None where there is none."""
    folded = said(value)
    if not folded:
        return None
    words: list[str] = []
    numbers: list[str] = []
    for word in folded.split():
        if word[0].isdigit():
            numbers.append(word.lstrip("0") if word.isdigit() else word)
            continue
        stem = _JOINED.sub("", word)
        words.extend(
            (stem, "st") if stem != word and word.endswith(("strasse", "str")) else (STREET_WORDS.get(word, word),)
        )
    if not words and len(numbers) < 2:
        return None  # a bare house number says nothing
    return Street(" ".join(words), tuple(numbers))


def town_of(value: Any) -> str:
    """A town or region, folded; "" for none and for the towns of examples."""
    text = text_of(value)
    return _town(text) if text else ""


@lru_cache(maxsize=8_000)
def _town(text: str) -> str:
    folded = meant(text)
    return "" if folded.replace(" ", "") in PLACEHOLDER_PLACES else folded


def postcode_of(value: Any) -> str:
    """A post code without blanks; "" for none, for "00000" and for what has no digit.  ZIP+4 loses its tail."""
    text = text_of(value)
    code = meant(text).replace(" ", "") if text else ""
    if not code:
        return ""
    if len(code) == 9 and code.isdigit():
        code = code[:5]
    return "" if _ZEROS.fullmatch(code) or not any(c.isdigit() for c in code) else code


def country_of(value: Any) -> str:
    """A country as it is said, folded: the canonical form is ISO 3166-1 alpha-2."""
    text = text_of(value)
    return _country(text) if text else ""


@lru_cache(maxsize=1_000)
def _country(text: str) -> str:
    return meant(text)
