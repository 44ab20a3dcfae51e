"""The inbox at rest: accept once, hand out what is pending, finish.

An event is unique per (connection, dedupe key); a delivery that brings no new event stores nothing, not even its bytes.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Row,
    RowMapping,
    Select,
    Text,
    bindparam,
    case,
    cast,
    delete,
    exists,
    func,
    literal,
    select,
    update,
)

from app.core import tables as t
from app.core.clock import to_ms
from app.core.db import NOW_IN, dumps, now_ms, ring, upsert, without_nul
from app.core.trace import Origin
from app.core.words import LANES, Station
from app.records.contacts import chunks
from connectors.contract import Delivery, Event, Record

NOW = now_ms()
i = t.inbox.c
FURTHER = 5_000  # due events among which those are looked for that name records again which are read just now
BEHIND = 100  # due events of a connection from which on reading it is behind


@dataclass(frozen=True, slots=True)
class Arrived:
    """A delivery as the door accepted it.  ``unreadable``: why it could not be split (then it has no events)."""

    connection: str
    delivery: Delivery
    events: tuple[Event, ...] = field(repr=False)
    unreadable: str | None = None


_STORE = {
    dialect: upsert(dialect, t.inbox).on_conflict_do_nothing(index_elements=["connection", "dedupe"])
    for dialect in ("postgresql", "sqlite")
}


def event_row(connection: str, event: Event, received_at: int, delivery: int | None) -> dict[str, Any]:
    """The row of an event; its keys in the order of ``_EVENT``."""
    occurred = to_ms(event.occurred_at) if event.occurred_at is not None else None
    return {
        "connection": connection,
        # The time first: keys that arrive together lie together in the index, so a commit touches few of its pages.
        "dedupe": without_nul(event.dedupe if occurred is None else f"{occurred:012x} {event.dedupe}"),
        "delivery": delivery,
        "kind": str(event.kind),
        "action": str(event.action),
        "ref_key": event.ref.key,
        "ref_value": without_nul(event.ref.value),
        "losers": list(event.losers) if event.losers else None,
        "record": record_json(event.record) if event.record is not None else None,
        "occurred_at": occurred,
        "received_at": received_at,
        "status": "pending",
        "lane": 0 if event.urgent else 1,
        "due_at": received_at,
        "attempts": 0,
        "error": None,
    }


def record_json(record: Record) -> dict[str, Any]:
    """A record at rest inside an event."""
    kept: dict[str, Any] = {
        "id": record.id,
        "fields": dict(record.fields),
        "modified": to_ms(record.modified) if record.modified is not None else None,
        "archived": record.archived,
        "former": list(record.former_ids),
    }
    if record.ties:
        kept["ties"] = {str(kind): [[tie.id, tie.main, tie.role] for tie in ties] for kind, ties in record.ties.items()}
    return kept


def store_events(db: Connection, rows: Sequence[dict[str, Any]]) -> None:
    """Store event rows; those whose (connection, dedupe) is known already are left out silently."""
    if rows:
        db.execute(_STORE[db.dialect.name], rows)
        ring(db, Station.FETCH)


# The door's own statements, on the driver: SQLAlchemy's share of a commit was as long as the database's
# (bench/ack.py).  Column names and order are those of the rows built below.
_EVENT = (
    *("connection", "dedupe", "delivery", "kind", "action", "ref_key", "ref_value", "losers", "record"),
    *("occurred_at", "received_at", "status", "lane", "due_at", "attempts", "error"),
)
_RAW = ("id", "connection", "received_at", "method", "path", "content_type", "body")
_JSON = {"losers", "record"}
# Rows in one statement at most.  SQLite's driver lets go of the interpreter for every statement it steps, and waits for
# the event loop to get it back: row by row, a group of 64 took ten times as long.
_ROWS = 100


_SEEN = {
    "sqlite": "UPDATE connection_state SET last_event_at = ? WHERE name = ?",
    "postgresql": "UPDATE connection_state SET last_event_at = %s WHERE name = %s",
}


@lru_cache(maxsize=4 * _ROWS)
def _insert(dialect: str, table: str, rows: int) -> str:
    """The statement for this many rows; made of names only, never of values.

    No event is due later than now by the database's clock: a door whose own clock is ahead would hold it back.
    """
    columns = _EVENT if table == "inbox" else _RAW
    mark, json, first = ("%s", "%s::jsonb", "least") if dialect == "postgresql" else ("?", "?", "min")
    marks = {**dict.fromkeys(_JSON, json), "due_at": f"{first}({mark}, {NOW_IN[dialect]})"}
    row = "(" + ", ".join(marks.get(name, mark) for name in columns) + ")"
    known = " ON CONFLICT (connection, dedupe) DO NOTHING" if table == "inbox" else ""
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES {', '.join([row] * rows)}{known}"  # noqa: S608 - names


def _store(db: Connection, table: str, rows: Sequence[tuple[Any, ...]]) -> int:
    """Store rows; how many were new."""
    cursor = db.connection.cursor()
    stored = 0
    for part in chunks(rows, _ROWS):
        cursor.execute(_insert(db.dialect.name, table, len(part)), [value for row in part for value in row])
        stored += cursor.rowcount
    cursor.close()
    return stored


def accept(db: Connection, arrived: Sequence[Arrived]) -> list[tuple[int, str, int]]:
    """Store a group of deliveries in the caller's transaction; id, connection and time of those that were news."""
    events: dict[tuple[str, str], tuple[Any, ...]] = {}
    raw: dict[int, tuple[Any, ...]] = {}
    latest: dict[str, int] = {}
    for one in arrived:
        received = to_ms(one.delivery.received_at)
        delivery_id = _delivery_id(received)
        if one.unreadable is not None:
            rows = [_parked(one, delivery_id, received)]
        else:
            rows = [event_row(one.connection, e, received, delivery_id) for e in one.events]
        for row in rows:
            if row["losers"] is not None or row["record"] is not None:
                row |= {name: dumps(row[name]) for name in _JSON if row[name] is not None}
            events.setdefault((row["connection"], row["dedupe"]), tuple(row.values()))
        if rows:
            raw[delivery_id] = _raw(one, delivery_id, received)
            latest[one.connection] = max(received, latest.get(one.connection, 0))
    if not events:
        return []
    # One order for everybody: two replicas that store copies of the same events cannot deadlock.
    stored = _store(db, "inbox", [events[key] for key in sorted(events)])
    deliveries = {values[2] for values in events.values()}
    if stored != len(events):  # some were known: only what brought something new keeps its bytes
        deliveries = _new(db, events, deliveries)
    if deliveries:
        ring(db, Station.FETCH)
        _store(db, "delivery", [raw[d] for d in sorted(deliveries)])
        cursor = db.connection.cursor()
        for name, at in sorted(latest.items()):
            cursor.execute(_SEEN[db.dialect.name], (at, name))
        cursor.close()
    return [raw[d][:3] for d in sorted(deliveries)]


def _new(db: Connection, keys: Collection[tuple[str, str]], deliveries: Collection[int]) -> set[int]:
    """Those of these deliveries whose events were just stored."""
    by_connection: dict[str, list[str]] = {}
    for connection, dedupe in keys:
        by_connection.setdefault(connection, []).append(dedupe)
    found: set[int] = set()
    for connection, dedupes in by_connection.items():
        for chunk in chunks(dedupes):
            query = select(i.delivery).where(i.connection == connection, i.dedupe.in_(chunk))
            found |= set(db.execute(query).scalars())
    return found & set(deliveries)


def _raw(one: Arrived, delivery_id: int, received: int) -> tuple[Any, ...]:
    delivery = one.delivery
    content_type = without_nul(delivery.headers.get("content-type", ""))
    path = f"/webhooks/{one.connection}"
    return (delivery_id, one.connection, received, delivery.method, path, content_type, delivery.body)


def _delivery_id(received: int) -> int:
    """Grows with time, so that rows are appended; 20 random bits keep replicas apart (a clash is tried again)."""
    return received << 20 | random.getrandbits(20)


def _parked(one: Arrived, delivery_id: int, received: int) -> dict[str, Any]:
    return {
        "connection": one.connection,
        "dedupe": f"unreadable:{hashlib.sha256(one.delivery.body).hexdigest()}",
        "delivery": delivery_id,
        "kind": "",
        "action": "unreadable",
        "ref_key": "",
        "ref_value": "",
        "losers": None,
        "record": None,
        "occurred_at": None,
        "received_at": received,
        "status": "parked",
        "lane": 1,
        "due_at": received,
        "attempts": 0,
        "error": one.unreadable,
    }


def _due(connection: ColumnElement[str], lane: ColumnElement[int]) -> tuple[ColumnElement[bool], ...]:
    return i.connection == connection, i.status == "pending", i.lane == lane, i.due_at <= NOW


_DUE = _due(bindparam("b_connection"), bindparam("b_lane"))
_ROW = select(
    i.id,
    i.delivery,
    i.kind,
    i.action,
    i.ref_key,
    i.ref_value,
    i.losers,
    i.record,
    i.occurred_at,
    i.received_at,
    i.attempts,
    i.first_failed_at,
)
_PENDING = _ROW.where(*_DUE).order_by(i.due_at, i.id).limit(bindparam("b_limit"))
_FURTHER = (
    # Those that carry their record are left out of what was found, not of what is looked through: so that is bounded.
    select(i.id, i.kind, i.ref_key, i.ref_value, i.record.is_(None).label("bare"))
    .where(*_DUE)
    .order_by(i.due_at, i.id)
    .limit(FURTHER)
)


def pending(db: Connection, connection: str, limit: int) -> Sequence[RowMapping]:
    """The oldest due events of a connection: those of the first lane that has some, so that they wait for no others.

    Where there are more than ``limit``: also those of the next ``FURTHER`` that only name the same records again.  One
    reading answers all of them.
    """
    for lane in LANES:
        said = {"b_connection": connection, "b_lane": lane}
        rows = db.execute(_PENDING, {**said, "b_limit": limit}).mappings().all()
        if not rows:
            continue
        return rows if len(rows) < limit else [*rows, *_same(db, rows, db.execute(_FURTHER, said).all())]
    return []


def _same(
    db: Connection, rows: Sequence[RowMapping], further: Sequence[Row[Any, Any, Any, Any, bool]]
) -> Sequence[RowMapping]:
    """Those of the further events that name the records of these rows, which they are not themselves."""
    taken, refs = {row["id"] for row in rows}, {(row["kind"], row["ref_key"], row["ref_value"]) for row in rows}
    ids = [row.id for row in further if row.bare and row.id not in taken and tuple(row[1:4]) in refs]
    found: list[RowMapping] = []
    for chunk in chunks(ids):
        found += db.execute(_ROW.where(i.id.in_(chunk)).order_by(i.due_at, i.id)).mappings()
    return found


def behind(connection: ColumnElement[str], among: Collection[str]) -> ColumnElement[bool]:
    """Whether much waits to be read at another of these connections, none of them paused.  ``connection``: a name."""
    o = t.connection_state.alias().c
    much = select(i.id).where(*_due(o.name, literal(LANES[-1]))).limit(1).offset(BEHIND - 1).scalar_subquery()
    return exists().where(o.name.in_(sorted(among)), o.name != connection, o.paused == 0, much.is_not(None))


def waiting(db: Connection, names: Iterable[str]) -> list[str]:
    """Those of these connections that have due events and are not paused: whose turn it is first.

    The one from which events were taken longest ago, for all replicas alike: a backlog of one connection holds up no
    other.  Those whose events wait in the first lane go before all.
    """
    rows = db.execute(_waiting(tuple(sorted(names)))).all()
    return [row.name for lane in LANES for row in rows if row.lane == lane]


@lru_cache(maxsize=64)  # the question is asked far more often than the connections change
def _waiting(names: tuple[str, ...]) -> Select[Any]:
    s = t.connection_state.c
    lane = case(*((exists().where(*_due(s.name, literal(lane))), lane) for lane in LANES))
    mine = (s.name.in_(names), s.paused == 0)
    return select(s.name, lane.label("lane")).where(*mine).order_by(s.fetched_at, s.name)


def statuses(db: Connection, connection: str, dedupes: Collection[str]) -> dict[str, str]:
    """What became of the events without a time of their own that were stored under these keys."""
    found: dict[str, str] = {}
    for chunk in chunks(sorted(dedupes)):
        query = select(i.dedupe, i.status).where(i.connection == connection, i.dedupe.in_(chunk))
        found |= {row.dedupe: row.status for row in db.execute(query)}
    return found


def finish(db: Connection, ids: Collection[int], status: str, error: str | None = None) -> None:
    """Close events: done, ignored or dead.  What they carried is dropped; a replay reads the record again."""
    if ids:
        db.execute(
            update(t.inbox).where(i.id.in_(sorted(ids))).values(status=status, error=error, record=None, done_at=NOW)
        )


def forget(db: Connection, ids: Collection[int]) -> None:
    """Events about somebody who was erased: nothing of them but that they came is kept, nor are their deliveries."""
    for chunk in chunks(sorted(ids)):
        raw = select(i.delivery).where(i.id.in_(chunk), i.delivery.is_not(None))
        db.execute(delete(t.delivery).where(t.delivery.c.id.in_(raw)))
        db.execute(
            update(t.inbox)
            .where(i.id.in_(chunk))
            .values(
                dedupe=literal("erased:") + cast(i.id, Text),
                ref_key="",
                ref_value="",
                losers=None,
                record=None,
                delivery=None,
            )
        )


def postpone(db: Connection, ids: Collection[int], delay_ms: int, error: str, *, failed: bool) -> None:
    """Make events due again after ``delay_ms``; ``failed`` counts the attempt.  What they carried is dropped."""
    if not ids:
        return
    values: dict[str, Any] = {"due_at": NOW + delay_ms, "record": None, "error": error[:500]}
    if failed:
        values |= {"attempts": i.attempts + 1, "first_failed_at": func.coalesce(i.first_failed_at, NOW)}
    db.execute(update(t.inbox).where(i.id.in_(sorted(ids))).values(**values))


_POSTPONE_EACH = (
    update(t.inbox)
    .where(i.id == bindparam("b_id"))
    .values(
        due_at=NOW + bindparam("b_delay", type_=BigInteger),
        record=None,
        error=bindparam("b_error"),
        attempts=i.attempts + 1,
        first_failed_at=func.coalesce(i.first_failed_at, NOW),
    )
)


def postpone_each(db: Connection, delays: Mapping[int, int], error: str) -> None:
    """Make events due again that failed, each after its own delay (id → ms).  What they carried is dropped."""
    if delays:
        rows = [{"b_id": number, "b_delay": delays[number], "b_error": error[:500]} for number in sorted(delays)]
        db.execute(_POSTPONE_EACH, rows)


def overdue(db: Connection, connection: str) -> int | None:
    """Since when the first of the due events could have been processed (ms since 1970); None: none is due."""
    due = [
        db.execute(
            select(i.due_at)
            .where(i.connection == connection, i.status == "pending", i.lane == lane, i.due_at <= NOW)
            .order_by(i.due_at)
            .limit(1)
        ).scalar()
        for lane in LANES
    ]
    return min((at for at in due if at is not None), default=None)


def origins(db: Connection, ids: Collection[int]) -> dict[int, Origin]:
    """Where these events came from, as far as they are still known."""
    found: dict[int, Origin] = {}
    for chunk in chunks(sorted(ids)):
        query = select(i.id, i.connection, i.delivery, i.received_at).where(i.id.in_(chunk))
        found |= {row.id: Origin(row.connection, row.id, row.delivery, row.received_at) for row in db.execute(query)}
    return found


def backlog(db: Connection) -> dict[str, tuple[int, int]]:
    """Per connection that has any: how many events are pending, and when the oldest of them came (ms since 1970)."""
    query = select(i.connection, func.count(), func.min(i.received_at)).where(i.status == "pending")
    return {row[0]: (row[1], row[2]) for row in db.execute(query.group_by(i.connection))}
