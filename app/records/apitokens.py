"""Tokens of programs that ask the API; kept as hashes, shown once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sqlalchemy import Connection as Db
from sqlalchemy import RowMapping, insert, select, update

from app.core import tables as t
from app.core.db import Database, now_ms
from app.core.errors import NotFound, NotPossible
from app.records.sessions import NOTED_MS, hashed

k = t.api_token.c
NAME_LENGTH: Final = 100


def add(
    db: Db, name: str, secret: str, role: str, scopes: Sequence[str] | None, lasts_ms: int | None, by: str
) -> RowMapping:
    """Enter one.  ``lasts_ms`` None: it does not end by itself.  Raises NotPossible where the name is in use."""
    name = name.strip()
    if not name or len(name) > NAME_LENGTH or not name.isprintable():
        raise NotPossible(f"a name has 1 to {NAME_LENGTH} characters that can be printed")
    if db.execute(select(k.id).where(k.name == name, k.revoked_at.is_(None))).first() is not None:
        raise NotPossible("a token of this name is in use: take another name, or revoke that one first")
    new = insert(t.api_token).values(
        name=name,
        hash=hashed(secret),
        role=role,
        scopes=list(scopes) if scopes is not None else None,
        made_at=now_ms(),
        made_by=by,
        expires_at=now_ms() + lasts_ms if lasts_ms is not None else None,
    )
    return one(db, db.execute(new.returning(k.id)).scalar_one())


def found(database: Database, secret: str) -> RowMapping | None:
    """The token, if it is good now; that it was used is noted once a minute."""
    now = now_ms()
    query = select(t.api_token, now.label("now")).where(k.hash == hashed(secret), k.revoked_at.is_(None))
    with database.read() as db:
        row = db.execute(query).mappings().one_or_none()
    if row is None or (row["expires_at"] is not None and row["expires_at"] <= row["now"]):
        return None
    if row["used_at"] is None or row["now"] - row["used_at"] > NOTED_MS:
        with database.write() as db:
            db.execute(update(t.api_token).where(k.id == row["id"]).values(used_at=now_ms()))
    return row


def one(db: Db, number: int) -> RowMapping:
    """One of them.  Raises NotFound."""
    row = db.execute(select(t.api_token).where(k.id == number)).mappings().one_or_none()
    if row is None:
        raise NotFound(f"there is no token {number}")
    return row


def listed(db: Db, limit: int, before: int | None = None) -> list[RowMapping]:
    """The newest first, below the id ``before``."""
    query = select(t.api_token).order_by(k.id.desc()).limit(limit)
    return list(db.execute(query if before is None else query.where(k.id < before)).mappings())


def revoke(db: Db, number: int, by: str) -> RowMapping:
    """End one from now on; nothing changes where it was revoked before.  Raises NotFound."""
    one(db, number)
    changed = update(t.api_token).where(k.id == number, k.revoked_at.is_(None))
    db.execute(changed.values(revoked_at=now_ms(), revoked_by=by))
    return one(db, number)
