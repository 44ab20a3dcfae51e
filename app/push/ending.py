"""How a named person ends a brake: by letting through what waits, or by deciding that it is not to be written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from sqlalchemy import Connection as Db
from sqlalchemy import update

from app.core import tables as t
from app.core.db import Database, now_ms, ring
from app.core.words import Station, Writes
from app.push import brake, withheld, work
from app.push.gather import gather
from app.push.plan import Held, Planned, plan
from app.push.work import Leased
from app.sync.connection import Connections

NOW = now_ms()
RELEASED, DISCARDED = "released", "discarded"
STEP: Final = 200  # links looked at in one transaction

w = t.work.c


def release(db: Db, connection: str, kind: Writes, by: str) -> int:
    """Let everything through that waits; how many links.  Raises NotFound where the brake is not on."""
    brake.end(db, connection, kind, by, RELEASED)
    ring(db, Station.PUSH)
    return db.execute(
        update(t.work)
        .where(w.connection == connection, w.held == str(kind))
        .values(held=work.LET + str(kind), due_at=NOW, attempts=0)
    ).rowcount


def discard(
    database: Database,
    connections: Connections,
    connection: str,
    kind: Writes,
    by: str,
    progress: Callable[[int], None] = lambda _done: None,
) -> int:
    """Let nothing through that waits: the vendor keeps what it has, until the contact says something new.

    How many links.  Some at a time; the brake ends with the last of them, so that it can be called again after a break.
    ``progress`` is told how many are through.  Raises NotFound where the brake is not on.
    """
    with database.read() as db:
        brake.one(db, connection, kind)
    done = 0
    while True:
        step = database.transact(lambda db: _some(db, connections, connection, kind, by))
        done += step
        progress(done)
        if step == 0:
            return done


def _some(db: Db, connections: Connections, connection: str, kind: Writes, by: str) -> int:
    ids = [contact for contact, _ in brake.waiting(db, connection, kind, STEP)]
    if not ids:
        brake.end(db, connection, kind, by, DISCARDED)  # in this transaction: nothing can be held in between
        return 0
    to = connections[connection]
    found = gather(db, to, connections, ids)
    kept = []
    for contact in found.contacts.values():
        row = Leased(contact.id, 1, 0, None)
        left = plan(to, row, contact, found.links.get(contact.id), found.known[contact.id], {kind})
        if isinstance(left, Held) and left.kind is kind:
            kept += [(contact.id, name, value) for name, value in left.withheld.items()]
        elif isinstance(left, Planned) and left.held is kind:
            kept += [(contact.id, name, value) for name, value in left.skipped.items()]
    withheld.keep(db, connection, kept, by)
    where = (w.connection == connection, w.held == str(kind), w.contact_id.in_(ids))
    db.execute(update(t.work).where(*where).values(held=None, due_at=NOW, attempts=0))
    ring(db, Station.PUSH)
    return len(ids)
