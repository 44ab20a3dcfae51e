"""A record as evidence.  In: canonical values, and the country that phones without a code are from.  Out: ``Evidence``.

Everything is folded to what can be compared; what says nothing (placeholders, shared mailboxes, zeros) is left out.
Pure, and forgiving: a value of a wrong shape is no evidence, never an error.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from app.match.employers import company_name, site_of
from app.match.lists import FREE_PROVIDERS
from app.match.people import Birth, Name, birth_of, name_of
from app.match.places import Street, country_of, postcode_of, street_of, town_of
from app.match.reach import Email, Phone, emails_of, phones_of

FIELDS = [
    "given_name",
    "middle_name",
    "family_name",
    "full_name",
    "email",
    "email_alternates",
    "phone",
    "mobile_phone",
    "birthday",
    "birth_date",
    "street",
    "city",
    "region",
    "postal_code",
    "country",
    "company_name",
    "website",
]
"""What is read of a record.  ``birth_date`` is no canonical field; it is taken where given."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a record says about who it is, ready to be compared.  Empty means: says nothing about it."""

    name: Name = field(repr=False)
    emails: tuple[Email, ...] = field(default=(), repr=False)
    shared: tuple[Email, ...] = field(default=(), repr=False)  # mailboxes of a function: known, and no evidence
    phones: tuple[Phone, ...] = field(default=(), repr=False)
    birth: Birth | None = field(default=None, repr=False)
    street: Street | None = field(default=None, repr=False)
    city: str = field(default="", repr=False)
    region: str = field(default="", repr=False)
    postcode: str = field(default="", repr=False)
    country: str = field(default="", repr=False)
    company: str = field(default="", repr=False)
    site: str = field(default="", repr=False)  # the registrable domain of the employer


def evidence(values: Mapping[str, Any], default_country: str | None = None) -> Evidence:
    """The evidence in canonical values.

    ``default_country``: ISO 3166-1 alpha-2; the record's own country goes before it, for phones and for dates.
    """
    land = land_of(values, default_country)
    emails, shared = emails_of(values)
    born = values.get("birth_date")
    site = site_of(values.get("website"))
    if not site:
        site = next((s for e in (*emails, *shared) if e.domain not in FREE_PROVIDERS and (s := site_of(e.domain))), "")
    return Evidence(
        name=name_of(values),
        emails=emails,
        shared=shared,
        phones=phones_of(values, land),
        birth=birth_of(values.get("birthday") if born is None else born, land),
        street=street_of(values.get("street")),
        city=town_of(values.get("city")),
        region=town_of(values.get("region")),
        postcode=postcode_of(values.get("postal_code")),
        country=country_of(values.get("country")),
        company=company_name(values.get("company_name")),
        site=site,
    )


def land_of(values: Mapping[str, Any], default_country: str | None) -> str | None:
    """The country by whose ways a record is read: its own where that is a code, else the default."""
    country = country_of(values.get("country"))
    return country.upper() if len(country) == 2 else default_country
