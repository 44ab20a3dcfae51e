"""Passwords: what may be one, its hash, and whether it fits.

argon2id with the library's parameters, RFC 9106's second choice for machines with little memory.  What may be one: NIST
SP 800-63B-4, 3.1.1.2: at least 15 characters where it is all that is asked, no rules about kinds of characters, no
forced changes.  https://pages.nist.gov/800-63-4/sp800-63b.html#passwordver
"""

from __future__ import annotations

import threading
import unicodedata
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from app.core.errors import NotPossible

SHORTEST: Final = 15
LONGEST: Final = 256  # characters: hashing must not be made to take long
_HASHER: Final = PasswordHasher()
_AT_ONCE: Final = threading.BoundedSemaphore(2)  # each takes 64 MiB and some 50 ms: a flood must not take the machine
WAIT_SECONDS: Final = 5.0
# Of a text that nobody knows: a name that is not here takes as long to refuse as one that is.
_NOBODYS: Final = "$argon2id$v=19$m=65536,t=3,p=4$SKYIhOpgZnSMkg9u0lrDkw$HI1uajif4xZ28wJcbtf810ubnlTGIkJVSYkxErDuZlY"


class Busy(Exception):
    """So many logins at once that this one was not looked at."""


def _normal(password: str) -> bytes:
    return unicodedata.normalize("NFKC", password).encode()


def hashed(password: str, name: str) -> str:
    """The hash to keep.  Raises NotPossible where this cannot be a password; it says why, not what."""
    if len(password) < SHORTEST:
        raise NotPossible(f"a password has at least {SHORTEST} characters; a sentence is easily kept in mind")
    if len(password) > LONGEST:
        raise NotPossible(f"a password has at most {LONGEST} characters")
    if len(set(password)) < 5 or name.casefold() in password.casefold():
        raise NotPossible("a password is neither one character again and again nor the name with something around it")
    return _HASHER.hash(_normal(password))


def fits(kept: str | None, password: str) -> bool:
    """Whether it is the password of this hash; takes as long where there is no hash.  Raises Busy."""
    if len(password) > LONGEST:
        return False
    if not _AT_ONCE.acquire(timeout=WAIT_SECONDS):
        raise Busy
    try:
        _HASHER.verify(kept if kept is not None else _NOBODYS, _normal(password))
    except (VerificationError, InvalidHashError):
        return False
    finally:
        _AT_ONCE.release()
    return kept is not None


def stale(kept: str) -> bool:
    """Whether the hash was made with weaker parameters than today's."""
    return _HASHER.check_needs_rehash(kept)
