"""What is known of each connection, shared by all replicas: paused, failing, polled, paced."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Connection, func, select, update

from app.core import tables as t
from app.core.db import now_ms, ring, upsert

NOW = now_ms()
s = t.connection_state.c


def ensure(db: Connection, names: Iterable[str]) -> None:
    """Give every configured connection its row; lift pauses that Tandem itself set (a restart may bring a new key)."""
    statement = upsert(db.dialect.name, t.connection_state).on_conflict_do_nothing(index_elements=["name"])
    rows = [{"name": n, "next_at": 0, "poll_due_at": 0, "paused": 0, "fetched_at": 0} for n in sorted(names)]
    if rows:
        db.execute(statement, rows)
        own = update(t.connection_state).where(s.name.in_([r["name"] for r in rows]), s.paused_by == "tandem")
        db.execute(own.values(paused=0, paused_why=None, paused_by=None, paused_at=None))


def paused(db: Connection) -> set[str]:
    """The connections that rest."""
    return set(db.execute(select(s.name).where(s.paused == 1)).scalars())


def pause(db: Connection, name: str, why: str, by: str = "tandem") -> bool:
    """Stop reading from and writing to a connection; the door stays open.  False where it rested already."""
    found = db.execute(
        update(t.connection_state)
        .where(s.name == name, s.paused == 0)
        .values(paused=1, paused_why=why[:500], paused_by=by, paused_at=NOW)
        .returning(s.name)
    )
    return found.first() is not None


def resume(db: Connection, name: str) -> bool:
    """Go on.  False where the connection did not rest."""
    found = db.execute(
        update(t.connection_state)
        .where(s.name == name, s.paused == 1)
        .values(paused=0, paused_why=None, paused_by=None, paused_at=None)
        .returning(s.name)
    )
    ring(db)
    return found.first() is not None


def in_turn(db: Connection, names: Iterable[str]) -> list[str]:
    """These connections, the one from which events were taken longest ago first; for all replicas alike."""
    return list(db.execute(select(s.name).where(s.name.in_(sorted(names))).order_by(s.fetched_at, s.name)).scalars())


def served(db: Connection, name: str) -> None:
    """Events of this connection are taken now: the others come first next time."""
    db.execute(update(t.connection_state).where(s.name == name).values(fetched_at=NOW))


def failing(db: Connection, name: str, why: str) -> None:
    """The vendor does not answer as it should; remembers since when."""
    db.execute(
        update(t.connection_state)
        .where(s.name == name)
        .values(failing_since=func.coalesce(s.failing_since, NOW), failure=why[:500])
    )


def recovered(db: Connection, name: str) -> None:
    """The vendor answers again."""
    db.execute(
        update(t.connection_state)
        .where(s.name == name, s.failing_since.is_not(None))
        .values(failing_since=None, failure=None)
    )


def pushed(db: Connection, name: str, at: int, *, recovered: bool) -> None:
    """Something was written there; ``recovered``: and the vendor answers as it should."""
    well: dict[str, None] = {"failing_since": None, "failure": None} if recovered else {}
    db.execute(update(t.connection_state).where(s.name == name).values(last_push_at=at, **well))
