"""Are two records one company?  By domain and by name; the same weights, bands and reasons as for people.  Pure.

Keys: canonical ``company_name`` (or ``name``), ``website`` (or ``domain``), ``email``, ``phone``, ``city``,
``country``.  Legal forms and the part of a domain that is not the company's (public suffix list) do not count.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from app.match.compare import Finding, company_level, phone_level
from app.match.employers import company_name, site_of
from app.match.likeness import sound
from app.match.lists import FREE_PROVIDERS
from app.match.normalise import land_of
from app.match.places import country_of, town_of
from app.match.reach import Phone, emails_of, phones_of
from app.match.score import Score, score_of
from app.match.weights import Weights, shipped

_NUMBER: Final = re.compile(r"\d+")


@dataclass(frozen=True, slots=True)
class Company:
    """What a record says about which company it is.  Empty means: says nothing about it."""

    name: str = field(default="", repr=False)
    site: str = ""
    phones: tuple[Phone, ...] = field(default=(), repr=False)
    city: str = ""
    country: str = ""


def company(values: Mapping[str, Any], default_country: str | None = None) -> Company:
    """The evidence in the values of a company.  ``default_country``: ISO 3166-1 alpha-2, for phones without a code."""
    site = site_of(_first(values, "website", "domain"))
    if not site or site in FREE_PROVIDERS:
        addresses = [e for group in emails_of(values) for e in group]
        site = next((s for e in addresses if e.domain not in FREE_PROVIDERS and (s := site_of(e.domain))), "")
    return Company(
        name=company_name(_first(values, "company_name", "name")),
        site=site,
        phones=phones_of(values, land_of(values, default_country)),
        city=town_of(values.get("city")),
        country=country_of(values.get("country")),
    )


def _first(values: Mapping[str, Any], *names: str) -> Any:
    return next((values[n] for n in names if values.get(n) is not None), None)


def blocking(c: Company) -> tuple[str, ...]:
    """The keys under which a company is found, at most six."""
    return tuple(dict.fromkeys(_keys(c)))


def _keys(c: Company) -> Iterator[str]:
    if c.site:
        yield f"cs:{c.site}"
        yield f"cl:{_label(c.site)}"
    if c.name:
        yield f"cn:{c.name[:48]}"
        words = c.name.split()
        yield f"cw:{'|'.join(sound(w)[:5] for w in words[:2])}"
        yield f"cj:{''.join(words)[:10]}"
    for phone in c.phones[:1]:
        yield f"cp:{phone.number if phone.number else phone.digits}"


def _label(site: str) -> str:
    """What of a domain is its owner's choice: "acme" of "acme.co.uk"."""
    return site.partition(".")[0]


def compare(a: Company, b: Company, weights: Weights | None = None) -> Score:
    """The score of two companies.  Without ``weights``: the shipped ones."""
    w = shipped() if weights is None else weights
    found = list(_findings(a, b))
    levels = {f.field: f.level for f in found}
    sure = levels.get("firm site") == "exact" and levels.get("firm name") in {"exact", "close", "part"}
    return score_of([(f.field, f.level, w.weight(*f)) for f in found], _contradiction(a, b, levels), sure, w)


def _findings(a: Company, b: Company) -> Iterator[Finding]:
    if a.site and b.site:
        same = "exact" if a.site == b.site else "label" if _label(a.site) == _label(b.site) else "different"
        yield Finding("firm site", same)
    if a.name and b.name:
        glued = a.name.replace(" ", "") == b.name.replace(" ", "")
        yield Finding("firm name", "exact" if glued else company_level(a.name, b.name))
    if a.phones and b.phones:
        yield phone_level(a.phones, b.phones)
    for name, ours, theirs in (("firm city", a.city, b.city), ("firm country", a.country, b.country)):
        if ours and theirs:
            yield Finding(name, "exact" if ours == theirs else "different")


def _contradiction(a: Company, b: Company, levels: Mapping[str, str]) -> str | None:
    if levels.get("firm name") != "exact" and _NUMBER.findall(a.name) != _NUMBER.findall(b.name):
        return "two numbers in the names: branches"
    if levels.get("firm country") == "different":
        return "two countries: a group and its subsidiary"
    if levels.get("firm site") == "different":
        return "two web sites"
    if levels.get("firm name") == "different":
        return "two names behind one web site: a group and its brand"
    return None
