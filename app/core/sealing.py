"""Secrets at rest: sealed with the newest key, opened with any.  In: text and what it belongs to.  Out: sealed text.

Keys are Fernet keys (AES-128-CBC and HMAC-SHA256, https://github.com/fernet/spec), from ``TANDEM_ENCRYPTION_KEYS``, the
newest first.  What a secret belongs to is sealed with it and compared when it is opened, so that a row that was put in
another's place is of no use there.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final

import orjson
from pydantic import SecretStr

from app.core.errors import ConfigError

VARIABLE: Final = "TANDEM_ENCRYPTION_KEYS"
_ID = 8  # hex digits of a key's id


class CannotOpen(Exception):
    """No key opens this, or it is not what it stands for.  The message says what to do."""


def new_key() -> str:
    """A fresh key as text."""
    from cryptography.fernet import Fernet  # loaded by who seals: it weighs 7 MB, and most processes seal nothing

    return Fernet.generate_key().decode()


class Keys:
    """The keys of this installation.  No repr shows them."""

    def __init__(self, texts: list[str]) -> None:
        """Newest first.  Raises ConfigError where there is none or one makes no sense."""
        from cryptography.fernet import Fernet, MultiFernet

        if not texts:
            raise ConfigError(
                f"{VARIABLE} is not set, and OAuth tokens are only kept encrypted: `tandem keys new` makes a key; "
                f"put it into .env or into the file that {VARIABLE}_FILE names, and keep a copy apart from backups"
            )
        fernets = []
        for number, text in enumerate(texts, 1):
            try:
                fernets.append(Fernet(text))
            except ValueError:
                raise ConfigError(
                    f"{VARIABLE}: key {number} of {len(texts)} is no key; `tandem keys new` makes one"
                ) from None
        self.ids = tuple(hashlib.sha256(text.encode()).hexdigest()[:_ID] for text in texts)
        self._all = MultiFernet(fernets)

    @classmethod
    def of(cls, setting: SecretStr | None) -> Keys:
        """From the setting: one or more, between them commas or white space."""
        text = setting.get_secret_value() if setting is not None else ""
        return cls([part for part in re.split(r"[\s,]+", text) if part])

    def __repr__(self) -> str:
        return f"<keys {', '.join(self.ids)}>"

    @property
    def id(self) -> str:
        """Which key seals: a part of its hash."""
        return self.ids[0]

    def seal(self, whose: str, text: str) -> str:
        """``text``, to be opened by ``open`` with the same ``whose`` only."""
        return self._all.encrypt(orjson.dumps([whose, text])).decode()

    def open(self, whose: str, sealed: str, key_id: str | None = None) -> str:
        """What was sealed.  ``key_id``: of the key that did it, for the message.  Raises CannotOpen."""
        from cryptography.fernet import InvalidToken

        try:
            owner, text = orjson.loads(self._all.decrypt(sealed.encode()))
        except (InvalidToken, ValueError):
            which = f"key {key_id}" if key_id is not None else "a key"
            raise CannotOpen(
                f"sealed with {which}, and {VARIABLE} has {', '.join(self.ids)}: put that key back behind the others"
            ) from None
        if owner != whose:
            raise CannotOpen("sealed for something else: the row was moved")
        return str(text)
