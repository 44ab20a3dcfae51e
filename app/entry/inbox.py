"""The inbox at rest: accept once, hand out what is pending, finish.

An event is unique per (connection, dedupe key); a delivery that brings no new event stores nothing, not even its bytes.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, RowMapping, bindparam, exists, func, insert, literal, select, update
from sqlalchemy.dialects import postgresql, sqlite

from app.core import tables as t
from app.core.clock import to_ms
from app.core.db import now_ms
from connectors.contract import Delivery, Event, Record

NOW = now_ms()
i = t.inbox.c


@dataclass(frozen=True, slots=True)
class Arrived:
    """A delivery as the door accepted it.  ``unreadable``: why it could not be split (then it has no events)."""

    connection: str
    delivery: Delivery
    events: tuple[Event, ...] = field(repr=False)
    unreadable: str | None = None


def _upsert(dialect: str) -> Any:
    return postgresql.insert if dialect == "postgresql" else sqlite.insert


def event_row(connection: str, event: Event, received_at: int, delivery: str | None) -> dict[str, Any]:
    """The row of an event."""
    return {
        "connection": connection,
        "dedupe": event.dedupe,
        "delivery": delivery,
        "kind": str(event.kind),
        "action": str(event.action),
        "ref_key": event.ref.key,
        "ref_value": event.ref.value,
        "losers": list(event.losers) if event.losers else None,
        "record": record_json(event.record) if event.record is not None else None,
        "occurred_at": to_ms(event.occurred_at) if event.occurred_at is not None else None,
        "received_at": received_at,
        "status": "pending",
        "due_at": received_at,
        "attempts": 0,
        "error": None,
    }


def record_json(record: Record) -> dict[str, Any]:
    """A record at rest inside an event."""
    return {
        "id": record.id,
        "fields": dict(record.fields),
        "modified": to_ms(record.modified) if record.modified is not None else None,
        "archived": record.archived,
        "former": list(record.former_ids),
    }


def store_events(db: Connection, rows: Sequence[dict[str, Any]]) -> None:
    """Store event rows; those whose (connection, dedupe) is known already are left out silently."""
    if rows:
        statement = _upsert(db.dialect.name)(t.inbox)
        db.execute(statement.on_conflict_do_nothing(index_elements=["connection", "dedupe"]), rows)


_KEEP = insert(t.delivery).from_select(
    ["id", "connection", "received_at", "method", "path", "content_type", "body"],
    select(
        bindparam("b_id"),
        bindparam("b_connection"),
        bindparam("b_received_at", type_=t.delivery.c.received_at.type),
        bindparam("b_method"),
        bindparam("b_path"),
        bindparam("b_content_type"),
        bindparam("b_body", type_=t.delivery.c.body.type),
    ).where(exists(select(literal(1)).where(i.delivery == bindparam("b_id")))),
)


def accept(db: Connection, arrived: Sequence[Arrived]) -> None:
    """Store a group of deliveries in the caller's transaction."""
    events: list[dict[str, Any]] = []
    raw: list[dict[str, Any]] = []
    for one in arrived:
        delivery_id = uuid.uuid4().hex
        received = to_ms(one.delivery.received_at)
        if one.unreadable is not None:
            events.append(_parked(one, delivery_id, received))
        else:
            events.extend(event_row(one.connection, e, received, delivery_id) for e in one.events)
        if one.events or one.unreadable is not None:
            raw.append(
                {
                    "b_id": delivery_id,
                    "b_connection": one.connection,
                    "b_received_at": received,
                    "b_method": one.delivery.method,
                    "b_path": f"/webhooks/{one.connection}",
                    "b_content_type": one.delivery.headers.get("content-type", ""),
                    "b_body": one.delivery.body,
                }
            )
    if not events:
        return
    # One order for everybody: two replicas that store copies of the same events cannot deadlock.
    events.sort(key=lambda e: (e["connection"], e["dedupe"]))
    store_events(db, events)
    db.execute(_KEEP, raw)
    latest: dict[str, int] = {}
    for row in events:
        latest[row["connection"]] = max(row["received_at"], latest.get(row["connection"], 0))
    s = t.connection_state.c
    db.execute(
        update(t.connection_state).where(s.name == bindparam("b_name")).values(last_event_at=bindparam("b_at")),
        [{"b_name": name, "b_at": at} for name, at in sorted(latest.items())],
    )


def _parked(one: Arrived, delivery_id: str, received: int) -> dict[str, Any]:
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
        "due_at": received,
        "attempts": 0,
        "error": one.unreadable,
    }


_PENDING = (
    select(
        i.id,
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
    .where(i.connection == bindparam("b_connection"), i.status == "pending", i.due_at <= NOW)
    .order_by(i.due_at, i.id)
    .limit(bindparam("b_limit"))
)


def pending(db: Connection, connection: str, limit: int) -> Sequence[RowMapping]:
    """The oldest due events of a connection."""
    return db.execute(_PENDING, {"b_connection": connection, "b_limit": limit}).mappings().all()


def waiting(db: Connection, names: Collection[str]) -> list[str]:
    """The connections that have due events."""
    found = []
    for name in sorted(names):
        query = select(literal(1)).where(i.connection == name, i.status == "pending", i.due_at <= NOW).limit(1)
        if db.execute(query).first() is not None:
            found.append(name)
    return found


def finish(db: Connection, ids: Collection[int], status: str, error: str | None = None) -> None:
    """Close events: done, ignored or dead.  What they carried is dropped; a replay reads the record again."""
    if ids:
        db.execute(
            update(t.inbox).where(i.id.in_(sorted(ids))).values(status=status, error=error, record=None, done_at=NOW)
        )


def postpone(db: Connection, ids: Collection[int], delay_ms: int, error: str, *, failed: bool) -> None:
    """Make events due again after ``delay_ms``; ``failed`` counts the attempt.  What they carried is dropped."""
    if not ids:
        return
    values: dict[str, Any] = {"due_at": NOW + delay_ms, "record": None, "error": error[:500]}
    if failed:
        values |= {"attempts": i.attempts + 1, "first_failed_at": func.coalesce(i.first_failed_at, NOW)}
    db.execute(update(t.inbox).where(i.id.in_(sorted(ids))).values(**values))
