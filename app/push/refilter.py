"""Refilter: where the configuration says otherwise than before whom a connection is about, everybody is seen again.

Who belongs to it now is written as if they had changed; nobody who does not any more is deleted.  A page of contacts at
a time, and where the walk is stands in the database, so that a restart goes on with it.
"""

from __future__ import annotations

import hashlib
from typing import Any, Final

from sqlalchemy import Connection as Db
from sqlalchemy import select

from app.core import tables as t
from app.core.db import Database, clock_of, dumps, loads, upsert
from app.core.duties import Duty
from app.core.words import Only
from app.push import work
from app.sync.connection import Connections

PAGE: Final = 500
EVERY_MS: Final = 60_000
_KEY: Final = "only"  # in ``meta``: connection → digest of its filter, and how far the walk is
m, c = t.meta.c, t.contact.c


class Refilter:
    """The station.  One worker at a time."""

    def __init__(self, database: Database, connections: Connections, worker: str, *, lease_ms: int) -> None:
        self._connections = connections
        self._duty = Duty(database, "refilter", worker, self._batch, every_ms=EVERY_MS, lease_ms=lease_ms)

    def step(self) -> int:
        """Mark one page of contacts at one connection whose filter is another one; how many, 0 = none."""
        return self._duty.step()

    def _batch(self, db: Db) -> int:
        return refilter(db, self._connections)


def refilter(db: Db, connections: Connections) -> int:
    """One page, in the caller's transaction; 0 where every filter is as it was."""
    kept = db.execute(select(m.value).where(m.key == _KEY)).scalar()
    state: dict[str, dict[str, Any]] = {} if kept is None else loads(kept)
    marked = 0
    before = dumps(state)
    for name in sorted(connections):
        digest = _digest(connections[name].only_out)
        known = state.get(name)
        if known is None:  # a new connection: the first reading marks everybody
            state[name] = {"is": digest, "after": None}
            continue
        if known["is"] != digest:
            known |= {"is": digest, "after": 0}
        if known["after"] is None:
            continue
        query = select(c.id).where(c.id > known["after"], c.merged_into.is_(None)).order_by(c.id).limit(PAGE)
        ids = db.execute(query).scalars().all()
        now = clock_of(db)
        work.mark(db, name, dict.fromkeys(ids, now))
        known["after"] = ids[-1] if len(ids) == PAGE else None
        marked = max(1, len(ids))
        break
    if dumps(state) != before:
        statement = upsert(db.dialect.name, t.meta).values(key=_KEY, value=dumps(state))
        db.execute(statement.on_conflict_do_update(index_elements=["key"], set_={"value": statement.excluded.value}))
    return marked


def _digest(only: Only) -> str:
    """Of a filter; the order in which it is written does not matter."""
    text = dumps([[name, sorted(values)] for name, values in sorted(only.where)])
    return hashlib.sha256(text.encode()).hexdigest()[:16]
