"""Callers known by the store: signed-in browsers and programs with a token of their own; and signing in and out.

A secret that opens a door is 256 bits of chance, given out once and kept as its SHA-256.  The form token of a session
is a keyed hash of the session's secret, so that it is bound to it and nothing more has to be kept.
https://cheatsheetseries.owasp.org/cheatsheets/Session_Management_Cheat_Sheet.html
https://cheatsheetseries.owasp.org/cheatsheets/Cross-Site_Request_Forgery_Prevention_Cheat_Sheet.html
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

import structlog
from pydantic import SecretStr
from sqlalchemy import RowMapping, update

from app.core import tables as t
from app.core._settings_login import LoginConfig
from app.core.db import Database
from app.core.errors import NotPossible
from app.ops.access import passwords
from app.ops.access.permissions import ROLES, Permission, Role
from app.ops.access.principal import INSTALLATION, Kind, Principal
from app.records import accounts, apitokens, attempts, sessions

log = structlog.get_logger(__name__)

PREFIX: Final = "tandem_"  # of API tokens, so that scanners for leaked secrets know one
MINUTE_MS: Final = 60_000
DAY_MS: Final = 86_400_000


@dataclass(frozen=True, slots=True)
class TooMany(Exception):
    """So many failed logins that nothing is looked at until ``seconds`` are over."""

    seconds: int


def form_token(secret: str) -> str:
    """What every form of a session carries: only who has the session's secret can say it."""
    return hmac.new(secret.encode(), b"form", sha256).hexdigest()


def new_secret() -> str:
    """256 bits."""
    return secrets.token_urlsafe(32)


class Visitors:
    """Who comes, by what the store knows."""

    def __init__(
        self, database: Database, login: LoginConfig | None = None, *, token: SecretStr | None = None, secure: bool
    ) -> None:
        """``token``: the installation's.  ``secure``: browsers reach us by https only."""
        self._database = database
        self.login = LoginConfig() if login is None else login
        self._idle_ms = int(self.login.idle_minutes * MINUTE_MS)
        self._lasts_ms = int(self.login.hours * 3_600_000)
        text = token.get_secret_value().strip() if token is not None else ""
        self._token = text if text else None
        self.secure = secure
        # The prefix makes the browser refuse it without Secure, with a Domain, or from another path.
        self.cookie = "__Host-tandem" if secure else "tandem"

    @property
    def has_token(self) -> bool:
        """Whether the installation has a token."""
        return self._token is not None

    def anybody(self) -> bool:
        """Whether people sign in here, so that being on this machine alone says nothing any more."""
        if self.login.oidc is not None:
            return True
        with self._database.read() as db:
            return accounts.there_are(db)

    def is_installation(self, sent: bytes) -> bool:
        """Whether this is the installation's token; takes as long for any other of its length."""
        return self._token is not None and hmac.compare_digest(sent, self._token.encode())

    def program(self, secret: str) -> Principal | None:
        """Whose API token this is, if it is good."""
        if not secret.startswith(PREFIX):
            return None
        row = apitokens.found(self._database, secret)
        if row is None:
            return None
        role = Role(row["role"])
        scopes = None if row["scopes"] is None else ROLES[role] & frozenset(row["scopes"])
        return Principal(Kind.TOKEN, role, row["name"], row["id"], scopes)

    def browser(self, secret: str) -> Principal | None:
        """Who is signed in with this cookie."""
        row = sessions.found(self._database, secret, self._idle_ms)
        if row is None:
            return None
        if row["account_id"] is None:
            now = sessions.hashed(self._token) if self._token is not None else ""
            if not hmac.compare_digest(str(row["token_hash"]), now):
                return None
            return Principal(INSTALLATION.kind, INSTALLATION.role, session=secret)
        return Principal(Kind.PERSON, Role(row["role"]), row["name"], row["account_id"], session=secret)

    def sign_in(self, name: str, password: str, address: str, former: str | None) -> str | None:
        """Sign in with a name and a password; the new session's secret, None where they do not fit.  Raises TooMany."""
        name = accounts.plain(name)[: accounts.NAME_LENGTH]
        self._count(name, address)
        with self._database.read() as db:
            row = accounts.by_name(db, name)
        usable = row is not None and row["disabled_at"] is None
        kept = row["password"] if row is not None and usable else None
        try:
            fits = passwords.fits(kept, password)
        except passwords.Busy:
            raise TooMany(int(passwords.WAIT_SECONDS) + 1) from None
        if not fits or row is None:
            log.warning("login.refused", account=row["id"] if row is not None else None)
            return None
        if passwords.stale(row["password"]):
            fresh = passwords.hashed(password, name)
            with self._database.write() as db:
                db.execute(update(t.account).where(t.account.c.id == row["id"]).values(password=fresh))
        self._database.transact(lambda db: attempts.clear(db, name, address))
        return self._begin(row["id"], former)

    def sign_in_by_token(self, sent: str, address: str, former: str | None) -> str | None:
        """Sign in with the installation's token; as ``sign_in``."""
        self._count("", address)
        if not self.is_installation(sent.strip().encode()):
            log.warning("login.refused", account=None)
            return None
        self._database.transact(lambda db: attempts.clear(db, "", address))
        return self._begin(None, former)

    def sign_in_by_provider(self, issuer: str, subject: str, name: str, role: Role, former: str | None) -> str | None:
        """Sign in whom the identity provider vouches for; None where the account is disabled here."""
        row = self._database.transact(lambda db: accounts.provided(db, issuer, subject, name, role))
        if row["disabled_at"] is not None:
            log.warning("login.refused", account=row["id"])
            return None
        return self._begin(row["id"], former)

    def sign_out(self, secret: str) -> None:
        """End a session."""
        with self._database.write() as db:
            sessions.end(db, secret)

    def _count(self, name: str, address: str) -> None:
        wait = self._database.transact(lambda db: attempts.count(db, name, address))
        if wait:
            log.warning("login.too_many")
            raise TooMany(max(1, wait // 1000))

    def _begin(self, account: int | None, former: str | None) -> str:
        """A session under a new secret; what the browser held before opens nothing any more (session fixation)."""
        secret = new_secret()
        token_hash = sessions.hashed(self._token) if account is None and self._token is not None else None
        with self._database.write() as db:
            if former:
                sessions.end(db, former)
            sessions.begin(db, secret, self._lasts_ms, account=account, token_hash=token_hash)
            if account is not None:
                accounts.signed_in(db, account)
        log.info("login.done", account=account)
        return secret


def new_token(
    database: Database,
    name: str,
    role: Role,
    scopes: Sequence[Permission] | None,
    days: float | None,
    by: str,
    giver: Principal | None = None,
) -> tuple[RowMapping, str]:
    """Make an API token; its row, and the token itself, which is not kept.  Raises NotPossible.

    ``giver``: who asks; nobody gives more than they have.
    """
    if scopes is not None:
        beyond = sorted(set(scopes) - ROLES[role])
        if beyond:
            raise NotPossible(f"the role {role} has no {', '.join(beyond)}; docs/permissions.md lists what it has")
    given = ROLES[role] if scopes is None else frozenset(scopes)
    if giver is not None and not given <= frozenset(giver.permissions):
        raise NotPossible("a token may have no more than whoever makes it")
    secret = PREFIX + new_secret()
    lasts = None if days is None else int(days * DAY_MS)
    texts = None if scopes is None else sorted(str(one) for one in scopes)
    row = database.transact(lambda db: apitokens.add(db, name, secret, role, texts, lasts, by))
    return row, secret
