"""Addresses, phone numbers, names and web addresses: raw text in, its one spelling out, or ``Unfit``.

Parsing costs 20 to 130 µs each and the same raw text comes again with every reading of a record, so results are kept
per raw spelling, in bounded caches.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final
from urllib.parse import urlsplit

import phonenumbers
from email_validator import EmailNotValidError, validate_email

from app.core.fields import Unfit
from app.match.reach import is_plain

_CACHE: Final = 8_192  # raw spellings kept per function: a few MB


@lru_cache(maxsize=_CACHE)
def lower_email(text: str) -> str:
    """An address in lower case, checked for syntax only.

    RFC 5321 lets a local part depend on case; no large provider does, and people type it both ways.  Domains that
    RFC 6761 reserves are refused, except ".test"; whether mail can be delivered is not asked here.
    """
    # Lower case alone would let a foreign letter become a plain one: the Kelvin sign is a "k" in lower case.
    if text.isascii() and is_plain(plain := text.lower()):
        return plain
    try:
        address = validate_email(text, check_deliverability=False, test_environment=True).normalized.lower()
    except EmailNotValidError:
        raise Unfit("not_email", "not an e-mail address") from None
    if "." not in address.rpartition("@")[2]:
        raise Unfit("not_email", "an e-mail address without a full domain")
    return address


_GMAIL: Final = frozenset({"gmail.com", "googlemail.com"})
# support.google.com/mail/answer/7436150 (dots do not matter) and /answer/22370 (what follows "+" does not matter).


def gmail_email(text: str) -> str:
    """As ``lower_email``; at Gmail the dots and the plus tag go, since they reach one mailbox."""
    address = lower_email(text)
    local, _, domain = address.rpartition("@")
    if domain not in _GMAIL:
        return address
    folded = local.partition("+")[0].replace(".", "")
    if not folded:
        raise Unfit("not_email", "not an e-mail address")
    return f"{folded}@gmail.com"


@lru_cache(maxsize=_CACHE)
def e164(text: str, country: str | None) -> str:
    """A phone number in E.164; one without a country code is of ``country`` (alpha-2).

    Refused: invalid numbers by Google's metadata, and extensions, which E.164 cannot hold and would lose.
    """
    try:
        number = phonenumbers.parse(text, country)
    except phonenumbers.NumberParseException as error:
        if error.error_type == error.INVALID_COUNTRY_CODE and country is None:
            raise Unfit("no_country", "a phone number without a country, and no default_country") from None
        raise Unfit("not_phone", "not a phone number") from None
    if number.extension:
        raise Unfit("phone_extension", "a phone number with an extension, which E.164 cannot hold")
    if not phonenumbers.is_valid_number(number):
        raise Unfit("not_phone", "not a valid phone number of its country")
    return str(phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164))


@lru_cache(maxsize=_CACHE)
def national_phone(text: str, country: str | None) -> str:
    """An E.164 number in the national form of ``country`` where it shares its country code, else international."""
    try:
        number = phonenumbers.parse(text)
    except phonenumbers.NumberParseException:
        raise Unfit("not_phone", "not a phone number in E.164") from None
    home = phonenumbers.country_code_for_region(country) if country is not None else None
    style = phonenumbers.PhoneNumberFormat
    chosen = style.NATIONAL if number.country_code == home else style.INTERNATIONAL
    return str(phonenumbers.format_number(number, chosen))


_NAME_LENGTH = 500


@lru_cache(maxsize=_CACHE)
def _name_parts(text: str) -> tuple[str, str]:
    if len(text) > _NAME_LENGTH:
        raise Unfit("too_long", f"a name of more than {_NAME_LENGTH} characters")
    from nameparser import HumanName  # loaded by the first that needs it: a twentieth of the start

    name = HumanName(text)
    given = f"{name.first} {name.middle}".strip()
    family = f"{name.last} {name.suffix}".strip()
    if family and not given and not name.title:  # one word in a script without spaces, or a name that is not split
        given, family = family, ""
    return given, family


def given_of_name(text: str) -> str:
    """Given and middle names of a whole name, ``""`` where there are none."""
    return _name_parts(text)[0]


def family_of_name(text: str) -> str:
    """Family name and suffix of a whole name, ``""`` where there are none."""
    return _name_parts(text)[1]


_SCHEME = re.compile(r"https?://", re.IGNORECASE)
_HOST = re.compile(r"[\w-]+(?:\.[\w-]+)+")
_URL_LENGTH = 2048  # longer addresses are cut or refused by browsers and vendors alike


@lru_cache(maxsize=_CACHE)
def url(text: str) -> str:
    """http(s) only, ``https://`` where no scheme is given, host in lower case, no bare slash at the end."""
    bad = Unfit("not_url", "not a web address")
    if len(text) > _URL_LENGTH or any(c.isspace() or not c.isprintable() for c in text):
        raise bad
    try:
        parts = urlsplit(text if _SCHEME.match(text) else f"https://{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        raise bad from None
    if host is None or not _HOST.fullmatch(host) or "@" in parts.netloc:  # user:password@ is a secret
        raise bad
    tail = "" if parts.path == "/" and not parts.query and not parts.fragment else parts.path
    query = f"?{parts.query}" if parts.query else ""
    fragment = f"#{parts.fragment}" if parts.fragment else ""
    return f"{parts.scheme}://{host}{'' if port is None else f':{port}'}{tail}{query}{fragment}"


def domain(text: str) -> str:
    """The host of a web or e-mail address, without ``www.``."""
    host = lower_email(text).rpartition("@")[2] if "@" in text else (urlsplit(url(text)).hostname or "")
    return host.removeprefix("www.") if host.count(".") > 1 else host
