"""Whether both sides tell the same story, on one page: what the console's first page shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection as Db
from sqlalchemy import select

from app.core import tables as t
from app.core.clock import to_ms
from app.core.db import clock_of
from app.ops import alarms, connections, drift
from app.ops.alarms import AlarmShown, Fresh
from app.ops.connections import ConnectionState
from app.ops.drift import ConnectionDrift
from app.ops.shapes import Count, count
from app.records import proposals
from app.repair import freshness
from app.sync.connection import Connections

ALARMS = 10  # shown at most


@dataclass(frozen=True, slots=True)
class Waiting:
    """What waits for a person."""

    matches: Count
    conflicts: Count
    dead: Count
    brakes: int

    @property
    def any(self) -> bool:
        """Whether there is anything at all."""
        return bool(self.brakes or self.matches.count or self.conflicts.count or self.dead.count)


@dataclass(frozen=True, slots=True)
class Overview:
    """Both sides at a glance."""

    connections: Sequence[ConnectionState]
    fresh: Mapping[str, Fresh]
    drift: Mapping[str, ConnectionDrift]
    alarms: Sequence[AlarmShown]
    more_alarms: bool
    waiting: Waiting
    landed: Mapping[str, Sequence[tuple[str, float]]]  # changes that landed, by slice of five minutes, last hour


def waiting(db: Db, brakes: int) -> Waiting:
    """How much waits for a person; counted up to a bound."""
    return Waiting(
        matches=count(db, select(t.proposal.c.id).where(proposals.STILL_WAITS)),
        conflicts=count(db, select(t.conflict.c.id)),
        dead=count(db, select(t.dead.c.id)),
        brakes=brakes,
    )


def overview(db: Db, known: Connections) -> Overview:
    """All of it; bounded whatever the number of contacts."""
    states = connections.states(db, known)
    # Of a backlog beyond the bound, the oldest of those that were counted: they are the ones that go first.
    oldest = {one.name: to_ms(one.links.oldest) if one.links.oldest is not None else None for one in states}
    found = alarms.listing(db, everything=False, limit=ALARMS)
    return Overview(
        connections=states,
        fresh={one.connection: one for one in alarms.fresh(db, known, oldest)},
        drift={one.connection: one for one in drift.drift_of(db, known)},
        alarms=found.items,
        more_alarms=found.next is not None,
        waiting=waiting(db, sum(len(one.brakes) for one in states)),
        landed=_landed(db, known),
    )


def _landed(db: Db, known: Connections) -> dict[str, list[tuple[str, float]]]:
    now = clock_of(db) // freshness.SLICE_MS
    slices = range(now - freshness.WINDOW_MS // freshness.SLICE_MS + 1, now + 1)
    counts = freshness.by_slice(db, slices.start)
    minutes = freshness.SLICE_MS // 60_000
    return {
        name: [(f"{(now - one) * minutes} min ago", counts.get((name, one), 0)) for one in slices] for name in known
    }
