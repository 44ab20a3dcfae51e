"""Countries and languages: names and codes to standard codes and back.  Tables of the library pycountry, no network.

Sources: ISO 3166-1 and its translations, ISO 639 (pycountry, from Debian's iso-codes); RFC 5646 for language tags.
"""

from __future__ import annotations

import gettext
import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import pycountry

from app.core.fields import Unfit

# Languages in which country names are understood besides English: those that iso-codes translates completely and that
# a Latin, Greek, Cyrillic, Japanese, Chinese or Korean address book is likely to hold.
_LANGUAGES: tuple[str, ...] = (
    *("de", "fr", "es", "it", "pt", "nl", "pl", "sv", "da", "nb", "fi", "cs", "sk"),
    *("hu", "ro", "bg", "hr", "sl", "el", "tr", "ru", "uk", "ja", "ko", "zh_CN"),
)

# Everyday, former and EU names that ISO 3166-1 does not list.
_ALSO = {
    "UK": "GB",
    "Great Britain": "GB",
    "Britain": "GB",
    "England": "GB",
    "Scotland": "GB",
    "Wales": "GB",
    "Northern Ireland": "GB",
    "EL": "GR",  # the European Union's code for Greece
    "America": "US",
    "United States of America": "US",
    "Holland": "NL",
    "The Netherlands": "NL",
    "Czech Republic": "CZ",
    "Russia": "RU",
    "South Korea": "KR",
    "North Korea": "KP",
    "Turkey": "TR",
    "Ivory Coast": "CI",
    "Cape Verde": "CV",
    "Swaziland": "SZ",
    "Burma": "MM",
    "Macedonia": "MK",
    "Vatican": "VA",
    "Vatican City": "VA",
    "Brunei": "BN",
    "Laos": "LA",
    "Syria": "SY",
    "Macau": "MO",
    "East Timor": "TL",
    "UAE": "AE",
    "The Gambia": "GM",
    "The Bahamas": "BS",
    "The Philippines": "PH",
}

# RFC 5646: language, script, region; "_" as vendors write it.  Variants and extensions are not read.
_TAG = re.compile(r"([A-Za-z]{2,3})(?:[-_]([A-Za-z]{4}))?(?:[-_]([A-Za-z]{2}|[0-9]{3}))?", re.ASCII)


def _fold(name: str) -> str:
    """Letters and digits only, without case and accents: "U.S.A." and "usa" are one."""
    parts = unicodedata.normalize("NFKD", name.casefold())
    return "".join(c for c in parts if c.isalnum())


def _names(country: Any) -> Iterator[str]:
    for attribute in ("name", "common_name", "official_name"):
        if (name := getattr(country, attribute, None)) is not None:
            yield name


@lru_cache(maxsize=1)
def _countries() -> dict[str, str]:
    """Folded name or code → alpha-2.  English first; what means two countries is left out."""
    index: dict[str, str] = {}
    for country in pycountry.countries:
        for name in (country.alpha_2, country.alpha_3, *_names(country)):
            index[_fold(name)] = country.alpha_2
    index.update({_fold(name): code for name, code in _ALSO.items()})
    foreign: dict[str, set[str]] = {}
    for language in _LANGUAGES:
        translation = gettext.translation("iso3166-1", pycountry.LOCALES_DIR, languages=[language], fallback=True)
        for country in pycountry.countries:
            for name in _names(country):
                foreign.setdefault(_fold(translation.gettext(name)), set()).add(country.alpha_2)
    for name, codes in foreign.items():
        if len(codes) == 1:
            index.setdefault(name, next(iter(codes)))
    return index


@lru_cache(maxsize=8192)
def country(text: str) -> str:
    """Name (English and 25 languages), alpha-2 or alpha-3 → alpha-2.  Raises Unfit."""
    code = _countries().get(_fold(text))
    if code is None:
        raise Unfit("not_country", "no country of this name or code")
    return code


@lru_cache(maxsize=512)
def country_name(code: str) -> str:
    """alpha-2 → everyday English name.  Raises Unfit."""
    found = pycountry.countries.get(alpha_2=code)
    if found is None:
        raise Unfit("not_country", "no ISO 3166-1 alpha-2 code")
    return str(getattr(found, "common_name", found.name))


@lru_cache(maxsize=512)
def country_alpha3(code: str) -> str:
    """alpha-2 → alpha-3.  Raises Unfit."""
    found = pycountry.countries.get(alpha_2=code)
    if found is None:
        raise Unfit("not_country", "no ISO 3166-1 alpha-2 code")
    return str(found.alpha_3)


@lru_cache(maxsize=1)
def _language_names() -> dict[str, str]:
    return {
        _fold(entry.name.split(" (")[0]): entry.alpha_2 for entry in pycountry.languages if hasattr(entry, "alpha_2")
    }


@lru_cache(maxsize=4096)
def language(text: str) -> str:
    """Tag in any case, ``-`` or ``_``, or an English name → BCP 47 tag, e.g. ``pt-BR``.  Raises Unfit."""
    match = _TAG.fullmatch(text)
    code, script, region = match.groups() if match else (None, None, None)
    known = None
    if code is not None:
        code = code.lower()
        known = pycountry.languages.get(**{f"alpha_{len(code)}": code})
    if known is None:
        named = _language_names().get(_fold(text))
        if named is None:
            raise Unfit("not_language", "no language of this tag or English name")
        return named
    if region is not None and region.isalpha() and pycountry.countries.get(alpha_2=region.upper()) is None:
        raise Unfit("not_language", "a language tag with an unknown region")
    # RFC 5646 section 2.2.1: the shortest code stands for the language.
    parts = [getattr(known, "alpha_2", known.alpha_3)]
    if script is not None:
        parts.append(script.title())
    if region is not None:
        parts.append(region.upper())
    return "-".join(parts)
