"""Tables of who may do what: accounts, sessions, API tokens, the audit log, failed logins.

About colleagues, not about contacts.  Of whatever opens a door only a hash is kept; of who typed what, only a hash.
"""

from __future__ import annotations

from sqlalchemy import Index, Table, text

from app.core._tables_base import big, json, key, metadata, row_id, small, words

# A colleague who may sign in, with a password here or by way of an identity provider.
account = Table(
    "account",
    metadata,
    row_id(),
    words("name"),  # what is typed to sign in, and what acts are kept under; in small letters
    words("role"),
    words("password", null=True),  # argon2id, with its parameters; null = by the identity provider only
    words("issuer", null=True),
    words("subject", null=True),  # the provider's own name for the person, which never changes
    big("made_at"),
    words("made_by"),
    big("signed_in_at", null=True),
    big("disabled_at", null=True),
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

# A browser that is signed in.  By an account, or by the installation's token.
session = Table(
    "session",
    metadata,
    key("id"),  # SHA-256 of what the cookie holds
    big("account_id", null=True),
    words("token_hash", null=True),  # of the installation's token then: another token ends the session
    big("made_at"),
    big("seen_at"),
    big("ends_at"),
    Index("ix_session_account", "account_id"),
    Index("ix_session_ends", "ends_at"),
)

# A program that may ask: its name, its role, and the hash of its token.
api_token = Table(
    "api_token",
    metadata,
    row_id(),
    words("name"),
    words("hash"),  # SHA-256: what is hashed has 256 bits of chance
    words("role"),
    json("scopes", null=True),  # permissions, of those that the role has; null = all of them
    big("made_at"),
    words("made_by"),
    big("expires_at", null=True),
    big("used_at", null=True),
    big("revoked_at", null=True),
    words("revoked_by", null=True),
    Index("uq_api_token_hash", "hash", unique=True),
    Index(
        "uq_api_token_name",
        "name",
        unique=True,
        sqlite_where=text("revoked_at IS NULL"),
        postgresql_where=text("revoked_at IS NULL"),
    ),
)

# One act, or how it ended.  Append-only: how an act ended is a row of its own that names the act's.
audit = Table(
    "audit",
    metadata,
    row_id(),
    big("at"),
    big("act_id", null=True),  # the act that this row says the end of
    words("kind"),  # person, token, installation, local, shell, nobody
    words("who", null=True),
    big("key", null=True),  # id of the account or of the token
    words("act"),  # permission, or the command
    words("what"),  # method and path as the table of routes has it
    json("target"),  # ids and names of connections; nothing of a person
    words("outcome", null=True),  # of the end: a status, or a word
    Index(
        "ix_audit_act",
        "act_id",
        sqlite_where=text("act_id IS NOT NULL"),
        postgresql_where=text("act_id IS NOT NULL"),
    ),
)

# Failed logins of one name, one address, or both; as a hash, since people type passwords into the wrong field.
login_attempt = Table(
    "login_attempt",
    metadata,
    key("key"),
    small("failures", default=0),
    big("since"),  # when the window began
)
