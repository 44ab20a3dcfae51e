"""Evidence in plain words, without anybody's data.  Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

FIELDS: Final[Mapping[str, str]] = {
    "first": "given name",
    "last": "family name",
    "order": "order of the names",
    "middle": "middle name",
    "generation": "generation (Jr, Sr, II …)",
    "email": "e-mail address",
    "phone": "phone",
    "birth": "date of birth",
    "street": "street address",
    "city": "town",
    "region": "region",
    "postcode": "post code",
    "country": "country",
    "company": "company",
    "site": "web site of the employer",
    "household": "what a household or an office shares",
    "firm name": "company name",
    "firm site": "web site",
    "firm city": "town",
    "firm country": "country",
}

LEVELS: Final[Mapping[str, str]] = {
    "exact": "the same",
    "same": "the same",
    "nickname": "a short form or another spelling of the other",
    "prefix": "the beginning of the other",
    "initial": "the initial fits",
    "close": "a typo apart",
    "close_known": "alike, but two names in use",
    "similar": "alike, with several letters changed",
    "vague": "little alike",
    "middle": "the middle name of the other",
    "part": "partly the same",
    "different": "different",
    "different_known": "two different names in use",
    "crossed": "given and family name crossed",
    "mailbox": "one mailbox under two spellings",
    "masked": "the part that is shown fits",
    "near": "nearly the same",
    "local": "the same before the @, another domain",
    "local_short": "the same before the @, but short, and another domain",
    "office": "the same line, another extension",
    "no_year": "the same day and month, a year unknown",
    "typo": "a digit or two apart, or crossed",
    "decade": "about a year apart",
    "one_sided": "said by one side only",
    "label": "the same but for the ending",
    "shared by many": "shared by many records",
    "counted once": "counted together",
}

COMMON: Final = 7.0
"""Bits below which an agreeing name or town is called a common one: about one record in a hundred has it."""


def words_of(field: str, level: str, weight: float) -> str:
    """One finding as a phrase: "given name: the same, and common (5.9 for)"."""
    common = level == "exact" and field in ("first", "last", "city") and weight < COMMON
    side = "for" if weight >= 0 else "against"
    return f"{FIELDS[field]}: {LEVELS[level]}{', and common' if common else ''} ({abs(weight):.1f} {side})"
