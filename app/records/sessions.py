"""Sessions of browsers.  A session is known by the hash of what its cookie holds, so that the store opens no door."""

from __future__ import annotations

from hashlib import sha256
from typing import Any, Final

from sqlalchemy import Connection as Db
from sqlalchemy import RowMapping, delete, insert, select, update

from app.core import tables as t
from app.core.db import Database, now_ms

s, a = t.session.c, t.account.c
NOTED_MS: Final = 60_000  # that a session is in use is written once a minute: not every look is a write
BATCH: Final = 500


def hashed(secret: str) -> str:
    """What the store keeps of a secret that nobody could guess."""
    return sha256(secret.encode()).hexdigest()


def begin(db: Db, secret: str, lasts_ms: int, *, account: int | None, token_hash: str | None = None) -> None:
    """Sign a browser in; it ends ``lasts_ms`` from now at the latest."""
    db.execute(
        insert(t.session).values(
            id=hashed(secret),
            account_id=account,
            token_hash=token_hash,
            made_at=now_ms(),
            seen_at=now_ms(),
            ends_at=now_ms() + lasts_ms,
        )
    )


def found(database: Database, secret: str, idle_ms: int) -> RowMapping | None:
    """Whose session it is, with the account's ``name`` and ``role``; None where it ended or its account is disabled."""
    now = now_ms()
    query = (
        select(s.id, s.account_id, s.token_hash, s.seen_at, now.label("now"), a.name, a.role)
        .outerjoin(t.account, s.account_id == a.id)
        .where(s.id == hashed(secret), s.ends_at > now, s.seen_at > now - idle_ms, a.disabled_at.is_(None))
    )
    with database.read() as db:
        row = db.execute(query).mappings().one_or_none()
    if row is None or (row["account_id"] is None) != (row["name"] is None):
        return None
    if row["now"] - row["seen_at"] > NOTED_MS:
        with database.write() as db:
            db.execute(update(t.session).where(s.id == row["id"]).values(seen_at=now_ms()))
    return row


def end(db: Db, secret: str) -> None:
    """Sign a browser out."""
    db.execute(delete(t.session).where(s.id == hashed(secret)))


def end_all(db: Db, account: int) -> None:
    """Sign a person out everywhere."""
    db.execute(delete(t.session).where(s.account_id == account))


def forget(db: Db) -> int:
    """Remove a batch of those that ended; how many."""
    old: Any = select(s.id).where(s.ends_at < now_ms()).limit(BATCH)
    return db.execute(delete(t.session).where(s.id.in_(old))).rowcount
