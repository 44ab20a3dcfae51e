"""Tombstones at rest: who is not to be made again, known by a keyed hash of the address, and who lifted that.

The hash is HMAC-SHA256 (RFC 2104) under a secret of the deployment: without the secret nobody can try addresses against
it, which a plain hash would allow, since addresses are easily guessed.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Collection, Iterable
from typing import Any, Final

from pydantic import SecretStr
from sqlalchemy import Connection, RowMapping, delete, exists, insert, literal, select, update

from app.core import tables as t
from app.core.db import now_ms, upsert
from app.core.errors import NotFound
from app.records.contacts import chunks

DELETED: Final = "deleted"  # a vendor said so
ERASED: Final = "erased"  # the person asked for it
VENDOR: Final = "vendor"  # lifts a tombstone when the vendor shows the record again
_KEY: Final = "erasure_key"
_KEY_BYTES: Final = 32  # as long as the hash, RFC 2104 section 3

s = t.tombstone.c
k = t.link.c


def secret(db: Connection, given: SecretStr | None) -> bytes:
    """The key of the hashes: the one given, else the one that the store keeps; in a write transaction one is made."""
    if given is not None and given.get_secret_value():
        return given.get_secret_value().encode()
    m = t.meta.c
    kept = db.execute(select(m.value).where(m.key == _KEY)).scalar()
    if kept is None:
        new = upsert(db.dialect.name, t.meta).values(key=_KEY, value=secrets.token_hex(_KEY_BYTES))
        db.execute(new.on_conflict_do_nothing(index_elements=["key"]))
        kept = db.execute(select(m.value).where(m.key == _KEY)).scalar_one()
    return str(kept).encode()


def digest(key: bytes, address: str) -> str:
    """The keyed hash of an address, in hex; of equal addresses, whatever their case, it is equal."""
    return hmac.new(key, address.strip().lower().encode(), "sha256").hexdigest()


def standing(db: Connection, addresses: Collection[str], given: SecretStr | None) -> dict[str, str]:
    """Those of the addresses that have a standing tombstone, each with its reason; an erasure outweighs a deletion."""
    some = exists().where(s.lifted_at.is_(None), s.key_hash.is_not(None))
    if not addresses or not db.execute(select(some)).scalar():
        return {}
    key = secret(db, given)
    by_hash = {digest(key, a): a for a in addresses}
    found: dict[str, str] = {}
    for chunk in chunks(sorted(by_hash)):
        query = select(s.key_hash, s.reason).where(s.key_hash.in_(chunk), s.lifted_at.is_(None))
        for row in db.execute(query):
            address = by_hash[row.key_hash]
            if found.get(address) != ERASED:
                found[address] = row.reason
    return found


def bury(
    db: Connection,
    *,
    reason: str,
    actor: str,
    now: int,
    key_hash: str | None,
    connection: str = "",
    remote_id: str | None = None,
) -> None:
    """Set one.  Where one of the same reason stands for the same hash and record, nothing is added."""
    same = select(literal(1)).where(
        s.reason == reason,
        s.lifted_at.is_(None),
        s.connection == connection,
        # Not IS NOT DISTINCT FROM, which goes by no index.
        s.key_hash.is_(None) if key_hash is None else s.key_hash == key_hash,
        s.remote_id.is_(None) if remote_id is None else s.remote_id == remote_id,
    )
    if db.execute(same.limit(1)).first() is None:
        db.execute(
            insert(t.tombstone).values(
                connection=connection, remote_id=remote_id, key_hash=key_hash, reason=reason, actor=actor, at=now
            )
        )


def buried(db: Connection, contacts: Collection[int]) -> set[int]:
    """Those of the contacts one of whose records was deleted and has a standing tombstone."""
    found: set[int] = set()
    for chunk in chunks(sorted(contacts)):
        query = (
            select(k.contact_id)
            .join(t.tombstone, (s.connection == k.connection) & (s.remote_id == k.remote_id))
            .where(k.contact_id.in_(chunk), k.gone_at.is_not(None), s.reason == DELETED, s.lifted_at.is_(None))
        )
        found |= set(db.execute(query).scalars())
    return found


def back(db: Connection, connection: str, remote_ids: Iterable[str], now: int) -> None:
    """The vendor shows these records again: their tombstones for a deletion are lifted."""
    for chunk in chunks(sorted(set(remote_ids))):
        db.execute(
            update(t.tombstone)
            .where(s.connection == connection, s.remote_id.in_(chunk), s.reason == DELETED, s.lifted_at.is_(None))
            .values(lifted_at=now, lifted_by=VENDOR)
        )


def lift(db: Connection, number: int, by: str) -> bool:
    """Lift one by a named operator; False where it was lifted before.  Raises NotFound.

    The pairing with the deleted record ends with it, so that a new record of the person can take its place.
    """
    row = one(db, number)
    changed = db.execute(
        update(t.tombstone)
        .where(s.id == number, s.lifted_at.is_(None))
        .values(lifted_at=now_ms(), lifted_by=by)
        .returning(s.id)
    ).first()
    if changed is not None and row["remote_id"] is not None:
        db.execute(
            delete(t.link).where(
                k.connection == row["connection"], k.remote_id == row["remote_id"], k.gone_at.is_not(None)
            )
        )
    return changed is not None


def one(db: Connection, number: int) -> RowMapping:
    """One of them.  Raises NotFound."""
    row = db.execute(select(t.tombstone).where(s.id == number)).mappings().one_or_none()
    if row is None:
        raise NotFound(f"there is no tombstone {number}")
    return row


def listed(
    db: Connection, limit: int, before: int | None = None, *, key_hash: str | None = None
) -> list[dict[str, Any]]:
    """The newest first, below the id ``before``; with ``key_hash`` only the standing ones of that hash."""
    query = select(t.tombstone).order_by(s.id.desc()).limit(limit)
    if before is not None:
        query = query.where(s.id < before)
    if key_hash is not None:
        query = query.where(s.key_hash == key_hash, s.lifted_at.is_(None))
    return [dict(row) for row in db.execute(query).mappings()]
