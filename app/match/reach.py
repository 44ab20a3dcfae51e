"""E-mail addresses and phones made comparable: ``Email``, ``Phone``.  Pure: no look-up leaves the process."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import phonenumbers
from email_validator import EmailNotValidError, validate_email

from app.match.fold import fold, text_of
from app.match.lists import DOTS_IGNORED, PLACEHOLDER_LOCALS, PLUS_IGNORED, ROLE_LOCALS, ROLE_STEMS, SAME_PROVIDER


@dataclass(frozen=True, slots=True)
class Email:
    """One address.  ``mailbox`` is what its provider is known to make of it: dots and tags gone, or ``text`` itself."""

    local: str = field(repr=False)
    domain: str = field(repr=False)
    mailbox: str = field(repr=False)
    valid: bool  # False: mistyped beyond RFC 5321; still worth a look for its likeness
    masked: bool = False  # "ann***@example.com": only its beginning and its domain are known

    @property
    def text(self) -> str:
        """The address in lower case."""
        return f"{self.local}@{self.domain}"


@dataclass(frozen=True, slots=True)
class Phone:
    """One phone number.  ``digits``: all of them with country code and extension; ``number``: E.164 without it."""

    digits: str = field(repr=False)
    number: str = field(default="", repr=False)  # "" where no numbering plan explains it
    extension: str = field(default="", repr=False)


_MASK: Final = re.compile(r"[*•x]{3,}|\*+")
_SURE_MASK: Final = re.compile(r"[*•]")  # "maxxx@" may be somebody
_SEPARATOR: Final = re.compile(r"[._-]+")
_NOT_A_DIGIT: Final = re.compile(r"[^0-9]")
_PLACEHOLDER_DIGITS: Final = re.compile(r"(\d)\1{5,}$|0{6}|1{7}|0123456|1234567|9876543")
SHORTEST_PHONE: Final = 7
"""Digits: shorter ones are extensions and short codes, which belong to nobody (ITU-T E.164 allows them nationally)."""


def emails_of(values: Mapping[str, Any]) -> tuple[tuple[Email, ...], tuple[Email, ...]]:
    """All addresses of a record, the first one first: (a person's, a function's).  Placeholders are in neither."""
    personal: dict[str, Email] = {}
    shared: dict[str, Email] = {}
    for text in _texts(values, "email", "email_alternates"):
        if (email := email_of(text)) is not None:
            (shared if is_shared(email) else personal).setdefault(email.text, email)
    return tuple(personal.values()), tuple(shared.values())


def email_of(value: str) -> Email | None:
    """One address, or None where it is no address at all or a placeholder."""
    text = value.strip().lower()
    local, at, domain = text.rpartition("@")
    if not at or not local or not domain:
        return None
    if _MASK.search(local):
        shown = _MASK.split(local)[0]
        return Email(shown, domain, f"{shown}@{domain}", valid=False, masked=True) if shown else None
    valid = True
    try:
        found = validate_email(text, check_deliverability=False, test_environment=True)
        local, domain = found.local_part.lower(), found.domain.lower()
    except EmailNotValidError:
        valid = False
    if is_placeholder(text):
        return None
    return Email(local, domain, _mailbox(local, domain), valid)


def is_masked(value: str) -> bool:
    """Whether parts of the address are hidden ("ann***@example.com"): it is that of many, and mail does not arrive."""
    return _SURE_MASK.search(value.rpartition("@")[0]) is not None


def is_placeholder(value: str) -> bool:
    """Whether the address was made up to fill a field ("test@", "noemail@")."""
    return fold(value.strip().lower().rpartition("@")[0]).replace(" ", "") in PLACEHOLDER_LOCALS


def _mailbox(local: str, domain: str) -> str:
    if domain in PLUS_IGNORED:
        local = local.split("+", maxsplit=1)[0]
    if domain in DOTS_IGNORED:
        local = local.replace(".", "")
    return f"{local}@{SAME_PROVIDER.get(domain, domain)}"


def is_shared(email: Email) -> bool:
    """Whether this is the mailbox of a function rather than of a person."""
    words = fold(_SEPARATOR.sub(" ", email.local.partition("+")[0])).split()
    return bool(words) and ("".join(words) in ROLE_LOCALS or words[0].rstrip("0123456789") in ROLE_STEMS)


def phones_of(values: Mapping[str, Any], country: str | None) -> tuple[Phone, ...]:
    """All phones of a record, each once.  ``country``: ISO 3166-1 alpha-2, for numbers without a country code."""
    found: dict[str, Phone] = {}
    for text in _texts(values, "phone", "mobile_phone"):
        if (phone := phone_of(text, country)) is not None:
            found.setdefault(phone.digits, phone)
    return tuple(found.values())


def phone_of(value: str, country: str | None) -> Phone | None:
    """One phone, or None where it is too short or a placeholder ("000-0000", "1234567")."""
    digits = _NOT_A_DIGIT.sub("", value)
    if not SHORTEST_PHONE <= len(digits) <= 24 or _PLACEHOLDER_DIGITS.search(digits[-10:]):
        return None
    try:
        parsed = phonenumbers.parse(value, country)
    except phonenumbers.NumberParseException:
        return Phone(digits)
    if not phonenumbers.is_possible_number(parsed):
        return Phone(digits)
    number = f"+{parsed.country_code}{phonenumbers.national_significant_number(parsed)}"
    extension = parsed.extension if parsed.extension is not None else ""
    return Phone(number[1:] + extension, number, extension)


def _texts(values: Mapping[str, Any], *names: str) -> Iterator[str]:
    for name in names:
        value = values.get(name)
        for item in value if isinstance(value, (list, tuple)) else (value,):
            if text := text_of(item):
                yield text
