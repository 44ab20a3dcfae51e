"""E-mail addresses and phones made comparable: ``Email``, ``Phone``.  Pure: no look-up leaves the process."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

import phonenumbers
from email_validator import SPECIAL_USE_DOMAIN_NAMES, EmailNotValidError, validate_email
from phonenumbers.phonemetadata import PhoneMetadata

from app.match.fold import fold, joined, text_of
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


def plain_texts(values: Mapping[str, Any]) -> set[str] | None:
    """All addresses of a record, where each is of the usual shape (``is_plain``); None where one is not."""
    found = {text.lower() for text in _texts(values, "email", "email_alternates")}
    return found if all(map(is_plain, found)) else None


def email_of(value: str) -> Email | None:
    """One address, or None where it is no address at all or a placeholder."""
    text = value.strip().lower()
    local, at, domain = text.rpartition("@")
    if not at or not local or not domain:
        return None
    if _MASK.search(local):
        shown = _MASK.split(local)[0]
        return Email(shown, domain, f"{shown}@{domain}", valid=False, masked=True) if shown else None
    valid = is_plain(text)
    if not valid:
        try:
            found = validate_email(text, check_deliverability=False, test_environment=True)
            local, domain, valid = found.local_part.lower(), found.domain.lower(), True
        except EmailNotValidError:
            pass
    if is_placeholder(text):
        return None
    return Email(local, domain, _mailbox(local, domain), valid)


_LABEL: Final = r"(?!..--)[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_PLAIN: Final = re.compile(
    rf"[a-z0-9_+-]+(?:\.[a-z0-9_+-]+)*@(?:{_LABEL}\.)+(?P<top>(?!..--)[a-z0-9](?:[a-z0-9-]{{0,61}}[a-z])|[a-z])"
)
_LONGEST_ADDRESS: Final = 254  # RFC 5321 4.5.3.1.3 with erratum 1690 to RFC 3696
_RESERVED_TOPS: Final = frozenset(name.rpartition(".")[2] for name in SPECIAL_USE_DOMAIN_NAMES)


def is_plain(text: str) -> bool:
    """Whether this lower-case address is one of the usual shape, which the library accepts and leaves as it is.

    Says False of all that it cannot tell (quoted, international, reserved): the library knows, at thirty times the
    cost.  A test holds the two beside each other.
    """
    found = _PLAIN.fullmatch(text) if len(text) <= _LONGEST_ADDRESS else None
    return found is not None and found["top"] not in _RESERVED_TOPS


def is_masked(value: str) -> bool:
    """Whether parts of the address are hidden ("ann***@example.com"): it is that of many, and mail does not arrive."""
    return _SURE_MASK.search(value.rpartition("@")[0]) is not None


def is_placeholder(value: str) -> bool:
    """Whether the address was made up to fill a field ("test@", "noemail@")."""
    return joined(value.strip().lower().rpartition("@")[0]) in PLACEHOLDER_LOCALS


def _mailbox(local: str, domain: str) -> str:
    if domain in PLUS_IGNORED:
        local = local.split("+", maxsplit=1)[0]
    if domain in DOTS_IGNORED:
        local = local.replace(".", "")
    return f"{local}@{SAME_PROVIDER.get(domain, domain)}"


def is_shared(email: Email) -> bool:
    """Whether this is the mailbox of a function rather than of a person."""
    words = fold(email.local.partition("+")[0].replace(".", " ")).split()
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
    if (plain := _plain_phone(value)) is not None:
        return plain
    try:
        parsed = phonenumbers.parse(value, country)
    except phonenumbers.NumberParseException:
        return Phone(digits)
    if not phonenumbers.is_possible_number(parsed):
        return Phone(digits)
    number = f"+{parsed.country_code}{phonenumbers.national_significant_number(parsed)}"
    extension = parsed.extension if parsed.extension is not None else ""
    return Phone(number[1:] + extension, number, extension)


_E164: Final = re.compile(r"\+[1-9][0-9]{6,14}")
_CODES: Final = frozenset(map(str, phonenumbers.COUNTRY_CODE_TO_REGION_CODE))


def _plain_phone(value: str) -> Phone | None:
    """A number in E.164 that its plan leaves as it is, as the library would read it; None: ask the library.

    The store holds nearly nothing else, and the library takes ten times as long.  A test holds the two beside each
    other.
    """
    if _E164.fullmatch(value) is None:
        return None
    code = next((value[1:n] for n in (2, 3, 4) if value[1:n] in _CODES), None)
    if code is None:
        return None
    national = value[1 + len(code) :]
    prefix, lengths = _plan(int(code))
    if len(national) not in lengths or national[0] == "0" or (prefix is not None and prefix.match(national)):
        return None
    return Phone(value[1:], value)


@lru_cache(maxsize=300)
def _plan(code: int) -> tuple[re.Pattern[str] | None, frozenset[int]]:
    """Of a country code: what may stand before a number within the country, and how long its numbers are."""
    plan = PhoneMetadata.metadata_for_region_or_calling_code(code, phonenumbers.region_code_for_country_code(code))
    if plan is None or plan.general_desc is None:
        return None, frozenset()
    prefix = plan.national_prefix_for_parsing
    return re.compile(prefix) if prefix else None, frozenset(plan.general_desc.possible_length)


def _texts(values: Mapping[str, Any], *names: str) -> Iterator[str]:
    for name in names:
        value = values.get(name)
        for item in value if isinstance(value, (list, tuple)) else (value,):
            if text := text_of(item):
                yield text
