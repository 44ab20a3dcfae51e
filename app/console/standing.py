"""How connections and workers stand right now, read from the store; for the pages and for ``tandem status``."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection as Db
from sqlalchemy import select

from app.core import tables as t
from app.core.db import clock_of
from app.entry import inbox
from app.ops.health import state_of
from app.push import brake, work
from app.records import dead
from app.worker import SILENT_MS


@dataclass(frozen=True, slots=True)
class Stopped:
    """A brake that is on."""

    kind: str
    why: str
    since: int  # ms before now
    waiting: int


@dataclass(frozen=True, slots=True)
class Standing:
    """One connection.  Durations are ms before now; None = never, or nothing waits."""

    state: str  # ok, paused, failing
    why: str | None
    events: int  # not processed yet
    events_oldest: int | None
    links: int  # dirty: something to write
    links_oldest: int | None
    dead: int
    walked: bool  # the first complete walk ended
    polled: int | None
    heard: int | None  # last event
    wrote: int | None  # last push
    brakes: tuple[Stopped, ...]  # what waits for them is not among the dirty links


@dataclass(frozen=True, slots=True)
class WorkerSeen:
    """One worker process."""

    id: str
    host: str
    pid: int
    seen: int  # ms before now
    alive: bool


def standings(db: Db, names: Collection[str]) -> dict[str, Standing]:
    """Every named connection."""
    now = clock_of(db)
    pending, letters = inbox.backlog(db), dead.counts(db)
    states = {row["name"]: row for row in db.execute(select(t.connection_state)).mappings()}
    backlog = work.backlog(db, names)
    brakes = brake.listed(db)
    found = {}
    for name in names:
        row = states.get(name)
        known: dict[str, Any] = {str(key): value for key, value in row.items()} if row is not None else {}
        events, received = pending.get(name, (0, None))
        links, since = backlog[name]
        state, why, _ = state_of(row)
        found[name] = Standing(
            state=state,
            why=why,
            events=events,
            events_oldest=before(now, received),
            links=links,
            links_oldest=before(now, since),
            dead=letters.get(name, 0),
            walked=known.get("walked_at") is not None,
            polled=before(now, known.get("polled_at")),
            heard=before(now, known.get("last_event_at")),
            wrote=before(now, known.get("last_push_at")),
            brakes=tuple(
                Stopped(on["kind"], on["why"], max(0, now - on["since"]), on["waiting"])
                for on in reversed(brakes)
                if on["connection"] == name
            ),
        )
    return found


def workers(db: Db) -> list[WorkerSeen]:
    """The worker processes that have not signed off."""
    now = clock_of(db)
    rows = db.execute(select(t.worker).order_by(t.worker.c.started_at)).mappings()
    return [
        WorkerSeen(row["id"], row["host"], row["pid"], max(0, now - row["beat_at"]), now - row["beat_at"] < SILENT_MS)
        for row in rows
    ]


def before(now: int, moment: int | None) -> int | None:
    """How long before now, ms; never negative, as vendors' clocks may be ahead."""
    return None if moment is None else max(0, now - moment)
