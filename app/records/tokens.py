"""OAuth tokens at rest, and the tries to connect that wait for somebody to come back.  Secrets come and go sealed."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from sqlalchemy import Connection as Db
from sqlalchemy import RowMapping, Select, delete, func, insert, select, update

from app.core import tables as t
from app.core.db import now_ms, upsert
from app.core.sealing import Keys
from connectors._oauth_facts import Granted

NOW = now_ms()
k, c, f = t.token.c, t.consenting.c, t.flight.c

STATE_MS = 10 * 60_000  # how long somebody may take to agree at the vendor


@dataclass(frozen=True, slots=True)
class Kept:
    """The tokens of a connection, opened."""

    version: int
    access: str = field(repr=False)
    refresh: str | None = field(repr=False)
    left_ms: int | None  # until the access token ends, by the database's clock; None = it does not
    lives_ms: int | None  # from when it was given to its end
    place: str | None
    account: str | None
    trying_at: int | None
    lost: bool

    def lasts(self, ms: int) -> bool:
        """Whether it will be good for so long."""
        return self.left_ms is None or self.left_ms > ms


def kept(db: Db, keys: Keys, name: str, *, lock: bool = False) -> Kept | None:
    """The tokens of a connection; None where there are none.  Raises ``sealing.CannotOpen``.

    ``lock``: nobody else changes them until the transaction ends.
    """
    query = select(t.token, (k.expires_at - NOW).label("left_ms")).where(k.connection == name)
    row = db.execute(_locked(db, query) if lock else query).one_or_none()
    if row is None:
        return None
    access, refresh = orjson.loads(keys.open(name, row.sealed, row.key_id))
    lives = row.expires_at - row.refreshed_at if row.expires_at is not None else None
    lost = row.lost_at is not None
    return Kept(row.version, access, refresh, row.left_ms, lives, row.place, row.account, row.trying_at, lost)


def keep(db: Db, keys: Keys, name: str, granted: Granted, *, grant: str, before: Kept | None, by: str | None) -> int:
    """Store what a vendor gave, as the newest; its version.  ``by``: who connected; None: it was renewed.

    What the answer does not say stays as it was: the refresh token, the place, the account.
    """
    refresh = granted.refresh if granted.refresh is not None or before is None or by is not None else before.refresh
    row = db.execute(_locked(db, select(k.version).where(k.connection == name))).scalar()
    version = (row if row is not None else 0) + 1
    values: dict[str, Any] = {
        "version": version,
        "sealed": keys.seal(name, orjson.dumps([granted.access, refresh]).decode()),
        "key_id": keys.id,
        "grant": grant,
        "renews": int(refresh is not None),
        "expires_at": NOW + granted.lives * 1000 if granted.lives is not None else None,
        "scopes": list(granted.scopes),
        "refreshed_at": NOW,
        "trying_at": None,
        "lost_at": None,
    }
    if granted.place is not None or by is not None or before is None:
        values["place"] = granted.place
    if granted.account is not None or by is not None or before is None:
        values["account"] = granted.account
    made = {"connected_at": NOW, "connected_by": by}
    statement = upsert(db.dialect.name, t.token).values(connection=name, **values, **made)
    changed = {**values, **made} if by is not None else values
    db.execute(statement.on_conflict_do_update(index_elements=["connection"], set_=changed))
    if by is not None:  # what another process still shares is older than this
        db.execute(delete(t.flight).where(f.name == flight(name)))
    return version


def _locked(db: Db, query: Select[Any]) -> Select[Any]:
    """SQLite has one writer at a time anyway."""
    return query.with_for_update() if db.dialect.name == "postgresql" else query


def flight(name: str) -> str:
    """The name under which all processes share one refresh."""
    return f"token:{name}"


def trying(db: Db, name: str) -> None:
    """A refresh begins: from now until its answer is stored, a crash may lose the answer."""
    db.execute(update(t.token).where(k.connection == name).values(trying_at=NOW))


def tried(db: Db, name: str, version: int, *, lost: bool) -> None:
    """A refresh brought nothing; ``lost``: and none will."""
    at = NOW if lost else None
    db.execute(update(t.token).where(k.connection == name, k.version == version).values(trying_at=None, lost_at=at))


def forget(db: Db, name: str) -> bool:
    """Remove the tokens of a connection; False where there were none."""
    db.execute(delete(t.flight).where(f.name == flight(name)))
    db.execute(delete(t.consenting).where(c.connection == name))
    return db.execute(delete(t.token).where(k.connection == name).returning(k.connection)).first() is not None


def listed(db: Db) -> Sequence[RowMapping]:
    """How all tokens stand, by connection; nothing secret."""
    open_ = [column for column in t.token.c if column.key != "sealed"]
    return db.execute(select(*open_, NOW.label("now")).order_by(k.connection)).mappings().all()


def reseal(db: Db, keys: Keys) -> int:
    """Seal everything with the newest key; how many were sealed with another.  Raises ``sealing.CannotOpen``."""
    query = select(k.connection, k.sealed, k.key_id).where(k.key_id != keys.id).order_by(k.connection)
    rows = db.execute(_locked(db, query)).all()
    for row in rows:
        sealed = keys.seal(row.connection, keys.open(row.connection, row.sealed, row.key_id))
        db.execute(update(t.token).where(k.connection == row.connection).values(sealed=sealed, key_id=keys.id))
    return len(rows)


def by_key(db: Db) -> dict[str, int]:
    """How many connections' tokens each key seals."""
    return {row[0]: row[1] for row in db.execute(select(k.key_id, func.count()).group_by(k.key_id))}


# --- tries to connect -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Expected:
    """Somebody who comes back from the vendor."""

    connection: str
    verifier: str = field(repr=False)
    redirect_uri: str
    by: str | None


def _hashed(state: str) -> str:
    return hashlib.sha256(state.encode()).hexdigest()


def expect(db: Db, keys: Keys, state: str, expected: Expected) -> int:
    """Somebody goes to the vendor and is expected back with this state; until when, ms since 1970."""
    forget_late(db)
    hashed = _hashed(state)
    row = insert(t.consenting).values(
        state=hashed,
        connection=expected.connection,
        verifier=keys.seal(hashed, expected.verifier),
        redirect_uri=expected.redirect_uri,
        by=expected.by,
        expires_at=NOW + STATE_MS,
    )
    until: int = db.execute(row.returning(c.expires_at)).scalar_one()
    return until


def returned(db: Db, keys: Keys, name: str, state: str) -> Expected | None:
    """Who comes back to this connection with this state, once only; None where nobody is expected with it."""
    hashed = _hashed(state)
    gone = delete(t.consenting).where(c.state == hashed, c.connection == name, c.expires_at > NOW)
    row = db.execute(gone.returning(c.verifier, c.redirect_uri, c.by)).one_or_none()
    if row is None:
        return None
    return Expected(name, keys.open(hashed, row.verifier), row.redirect_uri, row.by)


def forget_late(db: Db) -> int:
    """Remove tries to connect whose time is over; how many."""
    return db.execute(delete(t.consenting).where(c.expires_at <= NOW)).rowcount
