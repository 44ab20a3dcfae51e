"""How far a connection is trusted: to whom a canary writes, what a person approved, and when creating may begin.

What is not written stays marked in its work row (``held``: mode or read), so that it goes as soon as it may.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

from sqlalchemy import Connection as Db
from sqlalchemy import Select, case, exists, func, insert, select, update

from app.core import tables as t
from app.core.db import Database, clock_of, dumps, now_ms, upsert
from app.core.words import Canary, Mode, Waits
from app.push import work
from app.push.gather import Gathered
from app.push.plan import Planned, plan
from app.push.work import Leased
from app.records.contacts import Contact, chunks
from app.records.links import Link
from app.sync.connection import Connection, Connections
from connectors.contract import Can, Order

NOW = now_ms()
STEP: Final = 500  # contacts looked at together
APPROVED, WRITTEN, MOVED, FAILED = "approved", "written", "moved", "failed"

a, c, i, s = t.approval.c, t.canary_contact.c, t.inbox.c, t.connection_state.c


@dataclass(frozen=True, slots=True)
class Trust:
    """What holds back the contacts of one batch, beside brakes."""

    every: frozenset[Waits] = frozenset()
    untrusted: frozenset[int] = frozenset()  # of whom nothing goes but withdrawals
    approved: frozenset[int] = frozenset()  # whose order is the one that a person approved
    moved: frozenset[int] = frozenset()  # whose order is another one by now
    names: tuple[str, ...] = field(default=())  # the connections that have to be read before anybody is created

    def waits(self, contact: int) -> frozenset[Waits]:
        """What holds back this contact."""
        return self.every | {Waits.MODE} if contact in self.untrusted else self.every


def of(db: Db, connection: Connection, connections: Connections, rows: Collection[Leased], found: Gathered) -> Trust:
    """The trust in a batch.  Enters new canaries and notes approvals that do not hold any more."""
    names = readable(connections)
    every = frozenset({Waits.READ}) if unread(db, connections) else frozenset[Waits]()
    if connection.mode is not Mode.CANARY:
        return Trust(every, names=names)
    free = {
        row.contact_id: planned
        for row in rows
        if row.contact_id in found.contacts
        and row.contact_id not in found.erased
        and isinstance(planned := _free(connection, row, found), Planned)
    }
    granted = approvals(db, connection.name, [row.contact_id for row in rows])
    same = {
        n
        for n, mark in granted.items()
        if n in free and mark == fingerprint(free[n].contact, free[n].link, free[n].order)
    }
    moved = frozenset(granted) - same
    settle(db, connection.name, dict.fromkeys(moved, MOVED))
    chosen = _canaries(db, connection, {n: p.contact for n, p in free.items() if n not in same}, every)
    return Trust(every, frozenset(free) - same - chosen, frozenset(same), moved, names)


def _free(connection: Connection, row: Leased, found: Gathered) -> Any:
    contact = found.contacts[row.contact_id]
    return plan(connection, row, contact, found.links.get(contact.id), found.known[contact.id])


def _canaries(db: Db, connection: Connection, wanted: Mapping[int, Contact], every: frozenset[Waits]) -> frozenset[int]:
    """Those of the contacts to whom the canary writes; the first that fit take the places there are."""
    query = select(c.contact_id).where(c.connection == connection.name, c.contact_id.in_(sorted(wanted)))
    having = set(db.execute(query).scalars())
    if connection.canary is None:
        return frozenset(having)
    fit = [n for n in sorted(set(wanted) - having) if fits(connection.name, connection.canary, wanted[n])]
    if not fit or Waits.READ in every:  # no place for somebody who may turn out to be there already
        return frozenset(having)
    work.alone(db, connection.name)  # no two batches take the last places at once
    taken: int = db.execute(select(func.count()).where(c.connection == connection.name)).scalar_one()
    new = fit[: max(0, connection.canary.records - taken)]
    if new:
        rows = [{"connection": connection.name, "contact_id": n} for n in new]
        db.execute(insert(t.canary_contact).values(at=NOW), rows)
    return frozenset(having | set(new))


def fits(name: str, canary: Canary, contact: Contact) -> bool:
    """Whether a contact may be one of the canaries: by what it holds, and by the sample, which is always the same."""
    for field_name, wanted in canary.where:
        value = contact.value(field_name)
        if str(value) != wanted and not (isinstance(value, list) and wanted in value):
            return False
    digest = hashlib.sha256(f"{name}:{contact.id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") < canary.sample * 2**64


def fingerprint(contact: Contact, link: Link | None, order: Order) -> str:
    """Equal as long as the contact, what the vendor is known to hold, and what would be written are the same."""
    seen = {
        "version": contact.version,
        "record": [link.remote_id, link.shadow, link.altered] if link is not None else None,
        "verb": str(order.verb),
        "fields": dict(order.fields),
        "loser": order.loser,
    }
    return hashlib.sha256(dumps(seen).encode()).hexdigest()[:32]


def approvals(db: Db, connection: str, contacts: Collection[int]) -> dict[int, str]:
    """The fingerprints of orders that a person approved and that are not written yet, by contact."""
    found: dict[int, str] = {}
    for chunk in chunks(sorted(contacts)):
        query = select(a.contact_id, a.fingerprint)
        query = query.where(a.connection == connection, a.contact_id.in_(chunk), a.status == APPROVED)
        found.update((row.contact_id, row.fingerprint) for row in db.execute(query))
    return found


def approve(db: Db, connection: str, plan_id: str, prints: Mapping[int, str], by: str) -> None:
    """Remember that a person approved these orders: contact → fingerprint; and let them be looked at."""
    now = clock_of(db)
    statement = upsert(db.dialect.name, t.approval)
    new = statement.excluded
    names = ("plan", "fingerprint", "status", "by", "at", "ended_at")
    statement = statement.on_conflict_do_update(
        index_elements=["connection", "contact_id"], set_={name: new[name] for name in names}
    )
    rest = {"plan": plan_id, "status": APPROVED, "by": by, "at": now, "ended_at": None}
    rows = [{"connection": connection, "contact_id": n, "fingerprint": prints[n], **rest} for n in sorted(prints)]
    if rows:
        db.execute(statement, rows)
        work.mark(db, connection, dict.fromkeys(prints, now))


def settle(db: Db, connection: str, ended: Mapping[int, str]) -> None:
    """What became of approved orders, by contact."""
    for status in sorted(set(ended.values())):
        for chunk in chunks(sorted(n for n, how in ended.items() if how == status)):
            where = (a.connection == connection, a.contact_id.in_(chunk), a.status == APPROVED)
            db.execute(update(t.approval).where(*where).values(status=status, ended_at=NOW))


def readable(connections: Connections) -> tuple[str, ...]:
    """The connections that are read completely before anybody is created anywhere."""
    return tuple(sorted(one.name for one in connections.values() if Can.CHANGED in one.connector.can))


def unread(db: Db, connections: Connections) -> list[str]:
    """The connections whose first reading is not through yet, events and all."""
    return list(
        db.execute(select(s.name).where(s.name.in_(readable(connections)), s.first_read_at.is_(None))).scalars()
    )


def begin(database: Database, connections: Connections) -> bool:
    """Note what is read by now; once all is, let wait nobody for it any more.  False while a reading goes on.

    Where a reading ends, those who are not in it are marked, as some were known before the connection was there.
    """
    with database.read() as db:
        waiting = _reading(db, connections)
    through = [name for name, done in waiting.items() if done]
    for name in through:
        if Can.WRITE in connections[name].connector.can and connections[name].map.out_fields:
            _mark_unlinked(database, name)
    if through:
        database.transact(lambda db: _note(db, through))
    if len(through) < len(waiting):
        return False
    awake(database, Waits.READ, connections)
    awake(database, Waits.MODE, connections)  # no canary was chosen meanwhile
    return True


def _reading(db: Db, connections: Connections) -> dict[str, bool]:
    """The connections of ``unread``, and of each whether all that its walk found is read by now."""
    return {row.name: bool(row.through) for row in db.execute(_still(readable(connections)))}


@lru_cache(8)  # asked after every page of a reading
def _still(names: tuple[str, ...]) -> Select[Any]:
    walks = (i.record.is_not(None), i.attempts == 0, i.received_at <= s.walked_at)
    left = exists().where(i.connection == s.name, i.status == "pending", *walks)
    through = case((s.walked_at.is_(None), False), else_=~left).label("through")
    return select(s.name, through).where(s.name.in_(names), s.first_read_at.is_(None))


def _note(db: Db, names: Collection[str]) -> None:
    db.execute(update(t.connection_state).where(s.name.in_(sorted(names))).values(first_read_at=NOW))


def _mark_unlinked(database: Database, name: str) -> None:
    after = 0
    p, k, w = t.contact.c, t.link.c, t.work.c
    linked = exists().where(k.contact_id == p.id, k.connection == name)
    marked = exists().where(w.contact_id == p.id, w.connection == name)
    while True:
        with database.read() as db:
            ids = db.execute(select(p.id).where(p.id > after).order_by(p.id).limit(STEP)).scalars().all()
            if not ids:
                return
            alone = (p.id.in_(ids), p.merged_into.is_(None), ~linked, ~marked)
            rows = db.execute(select(p.id, p.updated_at).where(*alone)).all()
        marks = {row.id: row.updated_at for row in rows}
        database.transact(lambda db, marks=marks: work.mark(db, name, marks))  # type: ignore[misc]
        after = ids[-1]


def awake(database: Database, kind: Waits, names: Iterable[str]) -> int:
    """Let everything be looked at again that waits for this kind of trust, some at a time; how many links."""
    total = 0
    for name in sorted(names):
        while n := database.transact(lambda db, name=name: work.awake(db, kind, name)):  # type: ignore[misc]
            total += n
    return total
