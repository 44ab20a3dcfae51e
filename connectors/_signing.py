"""Checking what proves a delivery.  In: bytes, header values, secrets.  Out: nothing, or Untrusted.

Every function takes what a stranger sent: missing, empty, not ASCII, not a number, not base64.  All of that is
Untrusted, never another exception, since the door would answer 500 where 401 is meant.  Signatures are made over bytes:
a body need not be text.  No I/O, no clock.
"""

from __future__ import annotations

import base64
import hmac
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

from connectors.contract import Untrusted

_EPOCH = datetime.fromtimestamp(0, UTC)
_NUMBER = re.compile(r"[0-9]{1,15}")  # ASCII digits only: int() also takes blanks, signs, underscores, other scripts


def hmac_sha256_hex(secret: str | bytes, *parts: str | bytes) -> str:
    """HMAC-SHA256 (RFC 2104, FIPS 180-4) of the parts one after another, in lower hex.  Untrusted without a secret."""
    return _hmac_sha256(secret, parts).hex()


def hmac_sha256_base64(secret: str | bytes, *parts: str | bytes) -> str:
    """HMAC-SHA256 of the parts one after another, in base64 (RFC 4648 4).  Untrusted without a secret."""
    return base64.b64encode(_hmac_sha256(secret, parts)).decode("ascii")


def same(a: str | bytes, b: str | bytes) -> bool:
    """Whether two values are equal, in a time that does not tell where they differ."""
    # As bytes: compare_digest refuses text outside ASCII with a TypeError.
    return hmac.compare_digest(_raw(a), _raw(b))


def require(given: Iterable[str | bytes], wanted: Iterable[str | bytes]) -> None:
    """Untrusted unless one of the given values is one of the wanted: several of either come while a secret rotates."""
    expected = [_raw(w) for w in wanted]
    # A sum, not any(): every pair is compared.  An empty value proves nothing, even where emptiness is wanted.
    if sum(bool(g) and same(g, w) for g in map(_raw, given) for w in expected) == 0:
        raise Untrusted("the signature does not hold")


def within(
    tolerance: timedelta, received_at: datetime, stamp: str | bytes | None, *, unit: timedelta = timedelta(seconds=1)
) -> datetime:
    """The time that a delivery was signed at; Untrusted where it is no time or further away than ``tolerance``.

    ``stamp``: units since 1970, decimal, as sent.  ``unit``: ``timedelta(milliseconds=1)`` for milliseconds.
    """
    text = stamp.decode("ascii", "replace") if isinstance(stamp, bytes) else stamp
    try:
        sent_at = _EPOCH + int(text) * unit if text is not None and _NUMBER.fullmatch(text) else None
    except OverflowError:
        sent_at = None
    if sent_at is None:
        raise Untrusted("the time of the signature is missing or malformed")
    off = received_at - sent_at
    if abs(off) > tolerance:
        raise Untrusted(f"the time of the signature is {int(off.total_seconds())} seconds off")
    return sent_at


def named(header: str | None, *, between: str = ",", inside: str = "=") -> dict[str, list[str]]:
    """The values of a header like ``t=1,v1=a,v1=b`` by name; Untrusted where it is missing or a part has no name.

    Standard Webhooks' ``v1,a v1,b`` is ``between=" ", inside=","``.
    """
    found: dict[str, list[str]] = {}
    for part in (header if header is not None else "").split(between):
        name, mark, value = part.strip().partition(inside)
        if not (mark and name and value):
            raise Untrusted("the signature header is missing or malformed")
        found.setdefault(name, []).append(value)
    return found


def secrets(setting: str, *, between: str = ",") -> Sequence[str]:
    """The secrets in a setting, newest first, such as ``new,old`` while one is rotated.  ValueError where none is."""
    found = [secret for secret in map(str.strip, setting.split(between)) if secret]
    if not found:
        raise ValueError("the setting holds no secret")
    return found


def _hmac_sha256(secret: str | bytes, parts: Iterable[str | bytes]) -> bytes:
    key = _raw(secret)
    if not key:  # anybody can sign with an empty key
        raise Untrusted("no secret is set")
    return hmac.digest(key, b"".join(map(_raw, parts)), "sha256")  # one call: twice as fast as piece by piece


def _raw(value: str | bytes) -> bytes:
    # Header values that are not UTF-8 may come with lone surrogates, which strict encoding refuses.
    return value if isinstance(value, bytes) else value.encode("utf-8", "surrogatepass")
