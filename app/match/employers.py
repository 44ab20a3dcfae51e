"""Names and web sites of companies made comparable.  Pure: the public suffix list comes with its package."""

from __future__ import annotations

import re
from functools import cache, lru_cache
from itertools import chain
from typing import Any, Final

from cleanco.termdata import terms_by_type
from publicsuffixlist import PublicSuffixList

from app.match.fold import fold, meant, text_of

# Legal forms that the package does not list, or lists under another spelling; folded.
_MORE: Final = """
    gmbh co kg, gmbh and co kg, gmbh u co kg, ag co kg, ag and co kg, ug haftungsbeschrankt, kabushiki kaisha, sa rl,
    sa de cv, s de rl de cv, sp zoo, mbh, gbr, ohg, se, ug, ek, eg, kk, coop, sas, cie, sagl, scop, scrl, srls
"""
_MORE_FORMS: Final = frozenset({form.strip() for form in _MORE.split(",")})
_FORMS_BEFORE: Final = frozenset({"ooo", "oao", "zao", "pao", "pt", "tov"})
"""Written before the name, in Russia, Ukraine and Indonesia."""
_LONGEST_FORM: Final = 5
_RESERVED: Final = frozenset({"example.com", "example.net", "example.org"})  # RFC 2606 3
_WWW: Final = re.compile(r"^(?:[a-z][a-z0-9+.-]*:)?/*(?:[^/@]*@)?")


@cache
def _forms() -> frozenset[tuple[str, ...]]:
    listed = chain(chain.from_iterable(terms_by_type.values()), _MORE_FORMS)
    return frozenset(form for term in listed if (form := tuple(fold(term).split())))


def company_name(value: Any) -> str:
    """A company's name without its legal form ("Acme GmbH & Co. KG" → "acme"), folded; "" for none."""
    text = text_of(value)
    return _company(text) if text else ""


@lru_cache(maxsize=8_000)
def _company(text: str) -> str:
    words = meant(text).split()
    while len(words) > 1 and (words[0] == "the" or words[0] in _FORMS_BEFORE):
        words = words[1:]
    while size := _form_at_end(words):
        words = words[:-size]
    return " ".join(words)


def _form_at_end(words: list[str]) -> int:
    """Words of the legal form at the end, 0 for none: something has to be left before it."""
    if len(words) > 1 and words[-1] == "and":
        return 1
    sizes = range(min(_LONGEST_FORM, len(words) - 1), 0, -1)
    return next((size for size in sizes if tuple(words[-size:]) in _forms()), 0)


@cache
def _suffixes() -> PublicSuffixList:
    return PublicSuffixList()


def site_of(value: Any) -> str:
    """The registrable domain of a web address or a host ("https://www.acme.co.uk/x" → "acme.co.uk"); "" for none."""
    text = text_of(value)
    return _site(text.lower()) if text else ""


@lru_cache(maxsize=8_000)
def _site(text: str) -> str:
    host = re.split(r"[/?#:]", _WWW.sub("", text), maxsplit=1)[0].strip(".")
    if "." not in host:
        return ""
    found = _suffixes().privatesuffix(host)
    if found in _RESERVED:  # nobody's own: what made-up companies stand under
        return ".".join(host.split(".")[-3:]) if host != found else ""
    return found if found is not None else ""
