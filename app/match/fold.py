"""Texts made comparable: folded to plain lower-case letters and digits, blanks and placeholders gone.  Pure."""

from __future__ import annotations

import re
from typing import Any, Final

from anyascii import anyascii

from app.match.lists import PLACEHOLDER_SPELLINGS, PLACEHOLDERS

LONGEST: Final = 200
"""Characters of a value that are looked at: names and streets are shorter, and comparing costs the square of it."""

_DROPPED: Final = re.compile(r"['`´’.]")
_BREAKS: Final = re.compile(r"[^a-z0-9]+")
_ALIKE: Final = re.compile(r"(.)\1*")


def text_of(value: Any) -> str:
    """A value as text; "" where there is none, or where it is a list or an object."""
    return value.strip()[:LONGEST] if isinstance(value, str) else ""


def fold(text: str) -> str:
    """Lower-case letters a–z, digits and single blanks.  Other scripts are transliterated; apostrophes and dots vanish.

    Folding twice changes nothing.
    """
    plain = text if text.isascii() else anyascii(text)
    return _BREAKS.sub(" ", _DROPPED.sub("", plain.lower())).strip()


def is_placeholder(text: str) -> bool:
    """Whether this stands where a value should: "n/a", "Unknown", "xxx", "---"."""
    return not meant(text)


def meant(text: str) -> str:
    """The folded text of one that says something; "" for a placeholder."""
    if text.strip().lower() in PLACEHOLDER_SPELLINGS:
        return ""
    folded = fold(text)
    joined = folded.replace(" ", "")
    if not joined or joined in PLACEHOLDERS:
        return ""
    # the first three tell nearly always that not all are alike
    alike = len(joined) > 2 and joined[0] == joined[1] == joined[2] and _ALIKE.fullmatch(joined) is not None
    return "" if alike else folded


def said(value: Any) -> str:
    """The folded text of a value that says something; "" for a placeholder."""
    text = text_of(value)
    return meant(text) if text else ""
