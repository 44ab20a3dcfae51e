"""Dirty links: mark, pick, lease, complete.  The statements were measured (ratios in docs/architecture.md).

A mark and the change that caused it are one transaction.  A lease is a row whose ``due_at`` lies in the future and
whose ``lease`` names its holder.  A row is done only if its ``gen`` is still the one that was taken; a completion that
finds its lease lost marks the link dirty again, since its late call may have overwritten a newer one.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    ColumnElement,
    Connection,
    Integer,
    Select,
    and_,
    bindparam,
    case,
    delete,
    exists,
    func,
    not_,
    null,
    or_,
    select,
    true,
    update,
)

from app.core import tables as t
from app.core.db import clock_of, execute_many, now_ms, ring, upsert
from app.core.words import LANES, Station, Waits, Writes
from app.entry import inbox
from app.records import links as pairs
from app.records.contacts import chunks

w = t.work.c
s = t.connection_state.c
NOW = now_ms()
FAR: Final = 2**62  # when a row that waits for a person is due
GATHER_MOST_MS: Final = 10_000  # for which a link waits that the rest of a burst is read
LET: Final = "+"  # before the kind in ``held``: let through by a person


@dataclass(frozen=True, slots=True)
class Leased:
    """One row in the hands of a worker."""

    contact_id: int
    attempts: int  # this one included
    since: int
    first_failed_at: int | None
    let: Writes | None = None  # the brake that a person let it through


@dataclass(frozen=True, slots=True)
class Retry:
    """What becomes of a row that did not get through: again after ``delay_ms``, or given up where that is None."""

    delay_ms: int | None
    error: str


def mark(db: Connection, connection: str, contacts: Mapping[int, int], *, delay_ms: int = 0, lane: int = 1) -> None:
    """Mark the links of these contacts dirty; ``contacts``: id → when the change happened (ms since 1970).

    In the lane of withdrawals (0) with those contacts whose record there holds the address of one of these.  Sorted by
    id: unsorted batches deadlock on PostgreSQL.
    """
    if not contacts:
        return
    if lane == 0:
        others = pairs.with_address_of(db, connection, contacts)
        contacts = {**dict.fromkeys(others, min(contacts.values())), **contacts}
    statement = upsert(db.dialect.name, t.work).values(
        connection=bindparam("b_connection"),
        contact_id=bindparam("b_contact"),
        lane=bindparam("b_lane"),
        gen=1,
        attempts=0,
        due_at=NOW + bindparam("b_delay", type_=Integer),
        since=bindparam("b_since"),
    )
    earlier = case((w.since < statement.excluded.since, w.since), else_=statement.excluded.since)
    # A row that waits for a retry is due again at once: what made it fail may be mended by the change.
    soon = case(
        (and_(w.lease.is_(None), w.attempts > 0), statement.excluded.due_at),
        (w.due_at > statement.excluded.due_at, case((w.lease.is_(None), statement.excluded.due_at), else_=w.due_at)),
        else_=w.due_at,
    )
    statement = statement.on_conflict_do_update(
        index_elements=["connection", "contact_id"],
        set_={
            "gen": w.gen + 1,
            "since": earlier,
            "due_at": soon,
            "lane": case((w.lane < statement.excluded.lane, w.lane), else_=statement.excluded.lane),
        },
    )
    execute_many(
        db,
        statement,
        [
            {"b_connection": connection, "b_contact": c, "b_lane": lane, "b_delay": delay_ms, "b_since": contacts[c]}
            for c in sorted(contacts)
        ],
    )
    ring(db, Station.PUSH, *([Station.WITHDRAWALS] if lane == LANES[0] else []))


def mark_at(db: Connection, names: Iterable[str], contacts: Iterable[int], since: int, *, lane: int = 1) -> None:
    """Mark the links of these contacts dirty at several connections, in the order of their names."""
    marks = dict.fromkeys(contacts, since)
    for name in sorted(names):
        mark(db, name, marks, lane=lane)


def let(db: Connection, connection: str, contacts: Collection[int], kind: Writes) -> None:
    """A person answers for these: they put no brake on.  A brake that is on still holds them."""
    db.execute(
        update(t.work)
        .where(w.connection == connection, w.contact_id.in_(sorted(contacts)), w.held.is_(None))
        .where(not_(_on(connection, kind, ())))
        .values(held=LET + str(kind))
    )


def pick(
    db: Connection, names: Collection[str], lanes: Sequence[int] = LANES, among: Collection[str] = ()
) -> str | None:
    """The connection that waited longest among those with due work, not paused and not pacing itself; or None.

    Work of the first lane goes before all other work and does not wait for the pace.  Other work waits, for
    ``GATHER_MOST_MS`` at most, while reading another connection of ``among`` is behind: what is read next may change
    the same contacts again, and a burst is to end as few calls.  The connection's row is not locked: several workers
    may lease from one connection at a time, each other rows.
    """
    name: str | None = db.execute(_picking(tuple(lanes), tuple(sorted(names)), tuple(sorted(among)))).scalar()
    return name


@lru_cache(maxsize=64)  # the question is asked far more often than the connections change
def _picking(lanes: tuple[int, ...], names: tuple[str, ...], among: tuple[str, ...]) -> Select[Any]:
    def due(lane: int, waited: int = 0) -> ColumnElement[bool]:
        return exists().where(w.connection == s.name, w.lane == lane, w.due_at <= NOW - waited)

    def turn(lane: int) -> ColumnElement[bool]:
        if lane == LANES[0]:
            return due(lane)
        gathered = or_(not_(inbox.behind(s.name, among)), due(lane, GATHER_MOST_MS))
        return and_(due(lane), s.next_at <= NOW, gathered)

    query = select(s.name).where(s.name.in_(names), s.paused == 0, or_(*map(turn, lanes)))
    return query.order_by(*(case((turn(lane), 0), else_=1) for lane in lanes[:-1]), s.next_at).limit(1)


def alone(db: Connection, connection: str) -> None:
    """Let no other batch of this connection come here until the end of the transaction."""
    db.execute(select(s.name).where(s.name == connection).with_for_update())


def pace(db: Connection, connection: str, gap_ms: int) -> None:
    """Let the connection rest for ``gap_ms`` before its next batch is leased."""
    db.execute(update(t.connection_state).where(s.name == connection).values(next_at=NOW + gap_ms))


def lease(
    db: Connection, connection: str, holder: str, limit: int, ttl_ms: int, lanes: Sequence[int] = LANES
) -> tuple[str, list[Leased]]:
    """Lease up to ``limit`` due rows of a connection for ``ttl_ms``; the fencing token and the rows by contact id.

    All of one lane, the first of ``lanes`` that has some: planning hundreds of ordinary changes along with a withdrawal
    would make it wait for them.
    """
    token = f"{holder}:{uuid.uuid4().hex}"
    for lane in lanes:
        if rows := _take(db, connection, lane, token, limit, ttl_ms):
            return token, sorted(rows, key=lambda r: r.contact_id)
    return token, []


def _take(db: Connection, connection: str, lane: int, token: str, limit: int, ttl_ms: int) -> list[Leased]:
    """Lease due rows of one lane, those first that are due longest.

    Of a try of which nobody noted what came of it this is the first that is heard: it failed.
    """
    query = (
        select(w.contact_id)
        .where(w.connection == connection, w.lane == lane, w.due_at <= NOW)
        .order_by(w.due_at)
        .limit(limit)
    )
    if db.dialect.name == "postgresql":
        query = query.with_for_update(skip_locked=True)
    chosen = query.cte("chosen")
    statement = (
        update(t.work)
        .where(w.connection == connection, w.contact_id.in_(select(chosen.c.contact_id)))
        .values(
            lease=token,
            taken=w.gen,
            due_at=NOW + ttl_ms,
            attempts=w.attempts + 1,
            first_failed_at=case((w.attempts > 0, func.coalesce(w.first_failed_at, NOW)), else_=w.first_failed_at),
        )
        .returning(w.contact_id, w.attempts, w.since, w.first_failed_at, w.held)
    )
    return [Leased(r.contact_id, r.attempts, r.since, r.first_failed_at, _let(r.held)) for r in db.execute(statement)]


def _let(held: str | None) -> Writes | None:
    return Writes(held.removeprefix(LET)) if held is not None and held.startswith(LET) else None


def _on(connection: str, kind: Writes | Waits, names: Collection[str]) -> ColumnElement[bool]:
    """Whether that for which it waits is still so."""
    if kind is Waits.MODE:
        return true()  # until a process starts that trusts it: see ``awake``
    if kind is Waits.READ:
        return exists().where(s.name.in_(sorted(names)), s.first_read_at.is_(None))
    b = t.brake.c
    return exists().where(b.connection == connection, b.kind == str(kind), b.ended_at.is_(None))


def complete(
    db: Connection,
    connection: str,
    token: str,
    done: Collection[int],
    failed: Mapping[int, Retry],
    held: Mapping[int, Writes | Waits],
    names: Collection[str] = (),
) -> frozenset[int]:
    """Finish a lease; the contacts whose lease was lost meanwhile, which are dirty again.

    ``done``: nothing more to write, unless the contact changed in the meantime (then it is due at once).
    ``failed``: again later, or given up (the caller writes the dead letter).  ``held``: waits for a person to end a
    brake, or for the next change; ``names``: the connections that have to be read before anybody is created.
    """
    mine = (w.connection == connection, w.lease == token)
    ids = sorted(done)
    own: set[int] = set()
    if Waits.READ in held.values() and db.dialect.name == "postgresql":
        # Whoever notes the end of the last reading wakes what waits for it: not between our look and our commit.
        db.execute(select(s.name).where(s.name.in_(sorted(names))).order_by(s.name).with_for_update(read=True))
    for kind in sorted(set(held.values())):
        waits = sorted(i for i, k in held.items() if k is kind)
        parked = (
            update(t.work)
            .where(*mine, w.contact_id.in_(waits))
            .values(
                lease=None,
                held=str(kind),
                attempts=0,
                first_failed_at=None,
                error=None,
                lane=1,
                # Taken off while the batch was under way: nobody would wake the row.
                due_at=case((and_(w.gen == w.taken, _on(connection, kind, names)), FAR), else_=NOW),
            )
            .returning(w.contact_id)
        )
        own |= set(db.execute(parked).scalars())
    if ids:
        gone = delete(t.work).where(*mine, w.contact_id.in_(ids), w.gen == w.taken).returning(w.contact_id)
        own |= set(db.execute(gone).scalars())
        left = [i for i in ids if i not in own]
        if left:  # changed meanwhile, or no more ours
            again = (
                update(t.work)
                .where(*mine, w.contact_id.in_(left))
                .values(lease=None, attempts=0, first_failed_at=None, error=None, held=None, due_at=NOW)
                .returning(w.contact_id)
            )
            own |= set(db.execute(again).scalars())
    own |= _failed(db, connection, token, failed)
    lost = (set(ids) | set(failed) | set(held)) - own
    if lost:
        moment = clock_of(db)
        mark(db, connection, dict.fromkeys(lost, moment))
    return frozenset(lost)


_AGAIN = (
    update(t.work)
    .where(w.connection == bindparam("b_connection"), w.contact_id == bindparam("b_contact"))
    .values(
        lease=None,
        error=bindparam("b_error"),
        due_at=NOW + bindparam("b_delay", type_=BigInteger),
        attempts=case((bindparam("b_anew", type_=Boolean), 0), else_=w.attempts),
        first_failed_at=case((bindparam("b_anew", type_=Boolean), null()), else_=func.coalesce(w.first_failed_at, NOW)),
    )
)


def _failed(db: Connection, connection: str, token: str, failed: Mapping[int, Retry]) -> set[int]:
    """Put off or give up what did not get through; the contacts whose lease was still held."""
    mine = still(db, connection, token, failed)
    over = sorted(i for i in mine if failed[i].delay_ms is None)
    gone: set[int] = set()
    if over:
        # Given up, unless the contact changed meanwhile: then the change deserves its own try.
        where = (w.connection == connection, w.lease == token, w.contact_id.in_(over), w.gen == w.taken)
        gone = set(db.execute(delete(t.work).where(*where).returning(w.contact_id)).scalars())
    rows = []
    for contact_id in sorted(mine - gone):
        delay = failed[contact_id].delay_ms
        how = {"b_delay": delay if delay is not None else 0, "b_anew": delay is None}
        rows.append(
            {"b_connection": connection, "b_contact": contact_id, "b_error": failed[contact_id].error[:500], **how}
        )
    if rows:
        db.execute(_AGAIN, rows)
    return set(mine)


def objections(db: Connection) -> dict[str, int]:
    """Per connection that has any: since when the oldest withdrawal of consent waits there (ms since 1970).

    From when it was due at first or failed at first: one made long ago that a first reading finds waits
    only since then.
    """
    tried = func.coalesce(w.first_failed_at, w.due_at)
    since = func.min(case((w.since > tried, w.since), else_=tried))
    query = select(w.connection, since).where(w.lane == LANES[0], w.due_at < FAR).group_by(w.connection)
    return {row[0]: row[1] for row in db.execute(query)}


def still(db: Connection, connection: str, token: str, contacts: Collection[int]) -> frozenset[int]:
    """Those of the contacts whose rows this lease still holds; they are locked until the end of the transaction."""
    if not contacts:
        return frozenset()
    query = select(w.contact_id).where(w.connection == connection, w.lease == token, w.contact_id.in_(sorted(contacts)))
    if db.dialect.name == "postgresql":
        query = query.order_by(w.contact_id).with_for_update()
    return frozenset(db.execute(query).scalars())


def awake(db: Connection, kind: Waits, connection: str, limit: int = 2_000) -> int:
    """Let links be looked at again that wait for trust, at most ``limit`` of them; how many."""
    some = (
        select(w.contact_id)
        .where(w.connection == connection, w.held == str(kind), w.due_at == FAR)
        .order_by(w.contact_id)
        .limit(limit)
    )
    ids = db.execute(some.with_for_update() if db.dialect.name == "postgresql" else some).scalars().all()
    if ids:
        where = (w.connection == connection, w.contact_id.in_(ids))
        db.execute(update(t.work).where(*where).values(due_at=NOW, held=None, attempts=0))
        ring(db, Station.PUSH)
    return len(ids)


def tried(db: Connection, connection: str, contacts: Collection[int]) -> set[int]:
    """Those to whose link something was about to be written, and nobody has noted yet what came of it."""
    found: set[int] = set()
    for chunk in chunks(sorted(contacts)):
        query = select(w.contact_id).where(w.connection == connection, w.contact_id.in_(chunk), w.attempts > 0)
        found |= set(db.execute(query).scalars())
    return found


def release(db: Connection, holder: str) -> int:
    """Give back everything a worker holds: at its clean stop, or after its death.  Or what one token holds."""
    mine = w.lease == holder if ":" in holder else w.lease.startswith(f"{holder}:", autoescape=True)
    rows = db.execute(update(t.work).where(mine).values(lease=None, due_at=NOW).returning(w.contact_id)).all()
    if rows:
        ring(db, Station.PUSH, Station.WITHDRAWALS)
    return len(rows)


def backlog(db: Connection, names: Iterable[str]) -> dict[str, tuple[int, int | None]]:
    """Per connection: how many links are dirty, and since when the oldest of them (ms since 1970).

    What waits for a person to end a brake is not counted: no worker can make it less.
    """
    query = select(w.connection, func.count(), func.min(w.since)).where(w.due_at < FAR).group_by(w.connection)
    found = {row[0]: (row[1], row[2]) for row in db.execute(query)}
    return {name: found.get(name, (0, None)) for name in names}
