"""Tables of who may do what: accounts, sessions, API tokens, the audit log, failed logins.

About colleagues, not about contacts.  Of whatever opens a door only a hash is kept; of who typed what, only a hash.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Index, Text, text
from sqlmodel import Field

from app.core._tables_base import Base, big, json, row_id, words


class Account(Base, table=True):
    """A colleague who may sign in, with a password here or by way of an identity provider."""

    __tablename__ = "account"
    __table_args__ = (
        Index("uq_account_name", "name", unique=True),
        Index(
            "uq_account_subject",
            "issuer",
            "subject",
            unique=True,
            sqlite_where=text("subject IS NOT NULL"),
            postgresql_where=text("subject IS NOT NULL"),
        ),
    )
    id: int = row_id()
    name: str = words()  # what is typed to sign in, and what acts are kept under; in small letters
    role: str = words()
    password: str | None = words(null=True)  # argon2id, with its parameters; null = by the identity provider only
    issuer: str | None = words(null=True)
    subject: str | None = words(null=True)  # the provider's own name for the person, which never changes
    made_at: int = big()
    made_by: str = words()
    signed_in_at: int | None = big(null=True)
    disabled_at: int | None = big(null=True)


class BrowserSession(Base, table=True):
    """A browser that is signed in.  By an account, or by the installation's token."""

    __tablename__ = "session"
    __table_args__ = (Index("ix_session_account", "account_id"), Index("ix_session_ends", "ends_at"))
    id: str = Field(primary_key=True, sa_type=Text)  # SHA-256 of what the cookie holds
    account_id: int | None = big(null=True)
    token_hash: str | None = words(null=True)  # of the installation's token then: another token ends the session
    made_at: int = big()
    seen_at: int = big()
    ends_at: int = big()


class ApiToken(Base, table=True):
    """A program that may ask: its name, its role, and the hash of its token."""

    __tablename__ = "api_token"
    __table_args__ = (
        Index("uq_api_token_hash", "hash", unique=True),
        Index(
            "uq_api_token_name",
            "name",
            unique=True,
            sqlite_where=text("revoked_at IS NULL"),
            postgresql_where=text("revoked_at IS NULL"),
        ),
    )
    id: int = row_id()
    name: str = words()
    hash: str = words()  # SHA-256: what is hashed has 256 bits of chance
    role: str = words()
    scopes: list[str] | None = json(null=True)  # permissions, of those that the role has; null = all of them
    made_at: int = big()
    made_by: str = words()
    expires_at: int | None = big(null=True)
    used_at: int | None = big(null=True)
    revoked_at: int | None = big(null=True)
    revoked_by: str | None = words(null=True)


class Audit(Base, table=True):
    """One act, or how it ended.  Append-only: how an act ended is a row of its own that names the act's."""

    __tablename__ = "audit"
    __table_args__ = (
        Index(
            "ix_audit_act",
            "act_id",
            sqlite_where=text("act_id IS NOT NULL"),
            postgresql_where=text("act_id IS NOT NULL"),
        ),
    )
    id: int = row_id()
    at: int = big()
    act_id: int | None = big(null=True)  # the act that this row says the end of
    kind: str = words()  # person, token, installation, local, shell, nobody
    who: str | None = words(null=True)
    key: int | None = big(null=True)  # id of the account or of the token
    act: str = words()  # permission, or the command
    what: str = words()  # method and path as the table of routes has it
    target: dict[str, Any] = json()  # ids and names of connections; nothing of a person
    outcome: str | None = words(null=True)  # of the end: a status, or a word


class LoginAttempt(Base, table=True):
    """Failed logins of one name, one address, or both; as a hash, since people type passwords into the wrong field."""

    __tablename__ = "login_attempt"
    key: str = Field(primary_key=True, sa_type=Text)
    failures: int = Field(default=0)
    since: int = big()  # when the window began
