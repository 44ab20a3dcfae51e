"""The mass-change brake: counts what is about to be written, stops a kind of write that gets out of hand, and waits.

Counted are the first tries of each kind in a sliding window, per connection.  Where a batch would exceed both the
number and the share, the kind stops before that batch: what is of that kind waits in its work rows, all else goes on.
A named operator lets it through or decides that it is not to be written (``app.push.ending``).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, delete, func, literal, select, update

from app.core import tables as t
from app.core.db import clock_of, now_ms, upsert
from app.core.errors import NotFound
from app.core.words import Brake, Limit, Writes

NOW = now_ms()
SLICES: Final = 12  # the window slides by a twelfth of its length


b, n, w, k = t.brake.c, t.brake_count.c, t.work.c, t.link.c


@dataclass(frozen=True, slots=True)
class Stop:
    """A kind that is about to stop: what was seen, of how many."""

    kind: Writes
    seen: int
    known: int
    why: str


def on(db: Connection, connection: str) -> frozenset[Writes]:
    """The kinds that are stopped at a connection now."""
    rows = db.execute(select(b.kind).where(b.connection == connection, b.ended_at.is_(None))).scalars()
    return frozenset(Writes(kind) for kind in rows)


class Headcount:
    """Whether so many records are known at a connection that a brake need not stop.

    Counts as far as it has to, and twice as far, so that a busy hour counts each record a few times, however many
    writes it has and however many records there are.  What was counted holds for a slice of the window.
    """

    def __init__(self) -> None:
        self._least: dict[str, tuple[int, int]] = {}  # connection -> (slice, at least so many)

    def enough(self, db: Connection, connection: str, current: int, limit: Limit, seen: int) -> bool:
        """Whether ``seen`` writes are within the limit's share of the known records; ``current``: the slice."""
        if limit.share <= 0:
            return False
        needed = math.ceil(seen / limit.share)
        counted, least = self._least.get(connection, (current, 0))
        if counted != current or least < needed:
            # In the order of the primary key: otherwise PostgreSQL reads the table, hoping for rows near its start.
            some = select(literal(1)).where(*_there(connection)).order_by(k.kind, k.remote_id).limit(2 * needed)
            least = int(db.execute(select(func.count()).select_from(some.subquery())).scalar_one())
            self._least[connection] = (current, least)
        return not limit.exceeded(seen, least)


def too_many(
    db: Connection, connection: str, brake: Brake, wanted: Mapping[Writes, int], headcount: Headcount
) -> list[Stop]:
    """Those of the wanted writes that would be too many on top of what was written within the window."""
    limited = {kind: count for kind, count in wanted.items() if kind in brake.limits and count}
    if not limited:
        return []
    current = _slice(db, brake)
    within = (n.connection == connection, n.slice > current - SLICES)
    query = select(n.kind, func.sum(n.n)).where(*within).group_by(n.kind)
    before: dict[str, int] = {row[0]: int(row[1]) for row in db.execute(query)}
    stops = []
    for kind, count in sorted(limited.items()):
        limit, seen = brake.limits[kind], before.get(kind, 0) + count
        if seen <= limit.count or headcount.enough(db, connection, current, limit, seen):
            continue
        known = _known(db, connection)
        if limit.exceeded(seen, known):
            stops.append(Stop(kind, seen, known, _why(kind, seen, known, brake)))
    return stops


def _slice(db: Connection, brake: Brake) -> int:
    """The number of the present slice of the window."""
    now = clock_of(db)
    return now // max(1, brake.window_ms // SLICES)


def _there(connection: str) -> tuple[ColumnElement[bool], ...]:
    return k.connection == connection, k.gone_at.is_(None)


def _known(db: Connection, connection: str) -> int:
    query = select(func.count()).where(*_there(connection))
    return int(db.execute(query).scalar_one())


def _why(kind: Writes, seen: int, known: int, brake: Brake) -> str:
    limit = brake.limits[kind]
    what = str(kind).replace("_", "-")
    return (
        f"{seen:,} {what} within {brake.window_ms / 60_000:g} min are more than {limit.count:,} "
        f"and more than {limit.share:.0%} of the {known:,} records known there"
    )


def count(db: Connection, connection: str, brake: Brake, written: Mapping[Writes, int]) -> None:
    """Count writes that begin now; what left the window is forgotten."""
    rows = {kind: number for kind, number in written.items() if kind in brake.limits and number}
    if not rows:
        return
    current = _slice(db, brake)
    statement = upsert(db.dialect.name, t.brake_count)
    statement = statement.on_conflict_do_update(
        index_elements=["connection", "kind", "slice"], set_={"n": n.n + statement.excluded.n}
    )
    values = [{"connection": connection, "kind": str(kind), "slice": current, "n": rows[kind]} for kind in sorted(rows)]
    db.execute(statement, values)
    db.execute(delete(t.brake_count).where(n.connection == connection, n.slice <= current - SLICES))


def put_on(db: Connection, connection: str, stops: Iterable[Stop]) -> None:
    """Stop these kinds."""
    for stop in stops:
        statement = upsert(db.dialect.name, t.brake).values(
            connection=connection, kind=str(stop.kind), since=NOW, why=stop.why, seen=stop.seen, known=stop.known
        )
        db.execute(statement.on_conflict_do_nothing())


def listed(db: Connection, *, ended: bool = False, limit: int = 200, before: int | None = None) -> list[dict[str, Any]]:
    """Brakes that are on, the newest first, each with how many links wait; with ``ended`` also those that were."""
    query = select(t.brake).order_by(b.id.desc()).limit(limit)
    if not ended:
        query = query.where(b.ended_at.is_(None))
    if before is not None:
        query = query.where(b.id < before)
    held = held_back(db)
    found = [dict(row) for row in db.execute(query).mappings()]
    for row in found:
        row["waiting"] = held.get((row["connection"], row["kind"]), 0) if row["ended_at"] is None else 0
    return found


def held_back(db: Connection) -> dict[tuple[str, str], int]:
    """How many links wait for a brake to end, by connection and kind."""
    kinds = [str(kind) for kind in Writes]
    query = select(w.connection, w.held, func.count()).where(w.held.in_(kinds)).group_by(w.connection, w.held)
    return {(row[0], row[1]): row[2] for row in db.execute(query)}


def one(db: Connection, connection: str, kind: Writes) -> int:
    """The number of the brake that is on.  Raises NotFound where it is not."""
    query = select(b.id).where(b.connection == connection, b.kind == str(kind), b.ended_at.is_(None))
    number = db.execute(query).scalar()
    if number is None:
        raise NotFound(f"no brake is on for {kind} at {connection}; `tandem brake list` shows those that are")
    return int(number)


def waiting(
    db: Connection, connection: str, kind: Writes, limit: int, after: int | None = None
) -> list[tuple[int, int]]:
    """What waits for the brake: (contact id, when its oldest change happened in ms), by contact id after ``after``."""
    query = (
        select(w.contact_id, w.since)
        .where(w.connection == connection, w.held == str(kind))
        .order_by(w.contact_id)
        .limit(limit)
    )
    if after is not None:
        query = query.where(w.contact_id > after)
    return [(row[0], row[1]) for row in db.execute(query)]


def end(db: Connection, connection: str, kind: Writes, by: str, how: str) -> None:
    """Take it off; counting begins anew.  Raises NotFound where it is not on."""
    number = one(db, connection, kind)
    db.execute(update(t.brake).where(b.id == number).values(ended_at=NOW, ended_by=by, ending=how))
    db.execute(delete(t.brake_count).where(n.connection == connection, n.kind == str(kind)))
