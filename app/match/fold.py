"""Texts made comparable: folded to plain lower-case letters and digits, blanks and placeholders gone.  Pure."""

from __future__ import annotations

import re
from typing import Any, Final

from anyascii import anyascii

from app.match.lists import PLACEHOLDER_SPELLINGS, PLACEHOLDERS

LONGEST: Final = 200
"""Characters of a value that are looked at: names and streets are shorter, and comparing costs the square of it."""

_DROPPED: Final = "'`."  # O'Neil, St. Anne; what else is an apostrophe has become one by then
_FOLDED: Final = {
    code: None if chr(code) in _DROPPED else chr(code).lower() if chr(code).isalnum() else " " for code in range(128)
}
_JOINED: Final = {code: None if to == " " else to for code, to in _FOLDED.items()}
_ALIKE: Final = re.compile(r"(.)\1*")


def text_of(value: Any) -> str:
    """A value as text; "" where there is none, or where it is a list or an object."""
    return value.strip()[:LONGEST] if isinstance(value, str) else ""


def fold(text: str) -> str:
    """Lower-case letters a–z, digits and single blanks.  Other scripts are transliterated; apostrophes and dots vanish.

    Folding twice changes nothing.
    """
    return " ".join(_plain(text).translate(_FOLDED).split())


def joined(text: str) -> str:
    """The folded text without its blanks."""
    return _plain(text).translate(_JOINED)


def _plain(text: str) -> str:
    return text if text.isascii() else anyascii(text)


def is_placeholder(text: str) -> bool:
    """Whether this stands where a value should: "n/a", "Unknown", "xxx", "---"."""
    return not meant(text)


def meant(text: str) -> str:
    """The folded text of one that says something; "" for a placeholder."""
    if text.strip().lower() in PLACEHOLDER_SPELLINGS:
        return ""
    folded = fold(text)
    letters = folded.replace(" ", "")
    if not letters or letters in PLACEHOLDERS:
        return ""
    # the first three tell nearly always that not all are alike
    alike = len(letters) > 2 and letters[0] == letters[1] == letters[2] and _ALIKE.fullmatch(letters) is not None
    return "" if alike else folded


def said(value: Any) -> str:
    """The folded text of a value that says something; "" for a placeholder."""
    text = text_of(value)
    return meant(text) if text else ""
