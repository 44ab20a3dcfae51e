"""What is known of each connection, shared by all replicas: paused, failing, polled, paced."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from sqlalchemy import Connection, delete, func, select, update

from app.core import tables as t
from app.core.db import now_ms, ring, upsert
from app.core.words import LANES, Station

NOW = now_ms()
s = t.connection_state.c


def ensure(db: Connection, names: Iterable[str]) -> None:
    """Give every configured connection its row; lift pauses that Tandem itself set (a restart may bring a new key)."""
    statement = upsert(db.dialect.name, t.connection_state).on_conflict_do_nothing(index_elements=["name"])
    zero = dict.fromkeys(("next_at", "poll_due_at", "paused", "fetched_at", "walk_read"), 0)
    rows = [{"name": n, **zero} for n in sorted(names)]
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
    ring(db, *Station)
    return found.first() is not None


def mended(db: Connection, name: str) -> bool:
    """What Tandem paused it for is mended: go on.  False where it did not rest, or an operator lets it."""
    own = update(t.connection_state).where(s.name == name, s.paused == 1, s.paused_by == "tandem")
    found = db.execute(own.values(paused=0, paused_why=None, paused_by=None, paused_at=None).returning(s.name)).first()
    ring(db, *Station)
    return found is not None


def served(db: Connection, name: str) -> None:
    """Events of this connection are taken now: the others come first next time."""
    db.execute(update(t.connection_state).where(s.name == name).values(fetched_at=NOW))


_RESTORED = "restored_at"  # key in ``meta``


def restored(db: Connection) -> None:
    """The store is an old copy: every connection has to be read up to the present before anything is written."""
    statement = upsert(db.dialect.name, t.meta).values(key=_RESTORED, value="")
    db.execute(statement.on_conflict_do_nothing(index_elements=["key"]))
    db.execute(update(t.connection_state).values(walked_at=None, poll_due_at=0, next_at=0))


def behind(db: Connection, names: Collection[str]) -> tuple[list[str], bool]:
    """Of these connections those that were not read up to the present since a restore, and whether any may still be.

    Read: a walk came to its end, and nothing of what it brought waits any more.  One that rests holds up nobody until
    it goes on.
    """
    m, i = t.meta.c, t.inbox.c
    if db.execute(select(m.key).where(m.key == _RESTORED)).first() is None:
        return [], False
    known = {row.name: row for row in db.execute(select(s.name, s.walked_at, s.paused))}
    found, resting = [], False
    for name in sorted(names):
        row = known.get(name)
        waits = select(i.id).where(i.connection == name, i.status == "pending", i.lane.in_(LANES)).limit(1)
        if row is None or row.walked_at is None or db.execute(waits).first() is not None:
            if row is not None and row.paused:
                resting = True
            else:
                found.append(name)
    return found, bool(found) or resting


def caught_up(db: Connection) -> None:
    """Every connection was read: writing goes on as usual."""
    db.execute(delete(t.meta).where(t.meta.c.key == _RESTORED))


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
