"""How old changes are when they land: counted in the process, kept in the store by slices of time, alarmed on.

A change's age is from when it happened at its vendor until the write landed at the other.  What is older than a week
when it lands is the first walk of a new connection, not a late change, and is left out.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from sqlalchemy import Connection as Db
from sqlalchemy import delete, func, select

from app.core import tables as t
from app.core.db import clock_of, upsert
from app.push import work
from app.records import alarms
from app.sync.connection import Connections

# Seconds; the last one stands for all that is older.
BUCKETS: Final = (0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 300, 900, 3600, 14400, 86400)
OLDEST: Final = 7 * 86_400.0
SLICE_MS: Final = 300_000
KEPT_MS: Final = 7 * 86_400_000
WINDOW_MS: Final = 3_600_000  # what an objective is judged by
ENOUGH: Final = 5  # changes within it

WITHDRAWN: Final = "withdrawn:"
"""Before a connection's name: withdrawals of consent are counted apart from other changes."""

f = t.landed.c


@dataclass(frozen=True, slots=True)
class Ages:
    """How old changes were when they landed, in seconds; None where none landed, or nothing waits."""

    n: int
    p50: float | None
    p95: float | None
    p99: float | None
    oldest: float | None  # of those that have not landed yet


class Recorder:
    """Counts in memory, so that a write costs nothing more; ``flush`` adds it to the store.  Safe for threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[tuple[str, int]] = Counter()

    def __call__(self, connection: str, seconds: float) -> None:
        """Count a change that landed."""
        if seconds <= OLDEST:
            with self._lock:
                self._counts[(connection, bucket_of(seconds))] += 1

    def flush(self, db: Db) -> int:
        """Add what was counted since the last time to the present slice; how many changes."""
        with self._lock:
            counts, self._counts = self._counts, Counter()
        now = clock_of(db)
        statement = upsert(db.dialect.name, t.landed)
        statement = statement.on_conflict_do_update(
            index_elements=["connection", "slice", "bucket"], set_={"n": f.n + statement.excluded.n}
        )
        rows = [
            {"connection": name, "slice": now // SLICE_MS, "bucket": bucket, "n": n}
            for (name, bucket), n in sorted(counts.items())
        ]
        if rows:
            db.execute(statement, rows)
            db.execute(delete(t.landed).where(f.slice < (now - KEPT_MS) // SLICE_MS))
        return counts.total()


def bucket_of(seconds: float) -> int:
    """The number of the first bucket that holds it."""
    return next((i for i, bound in enumerate(BUCKETS) if seconds <= bound), len(BUCKETS))


def quantile(counts: Mapping[int, int], q: float) -> float | None:
    """The age that ``q`` of the changes did not exceed, interpolated within its bucket."""
    total = sum(counts.values())
    if not total:
        return None
    wanted, passed = q * total, 0
    bounds = [*pairwise((0.0, *BUCKETS, OLDEST))]
    for bucket in sorted(counts):
        low, high = bounds[bucket]
        if passed + counts[bucket] >= wanted:
            return low + (high - low) * (wanted - passed) / counts[bucket]
        passed += counts[bucket]
    return bounds[max(counts)][1]


def ages(
    db: Db, names: Iterable[str], window_ms: int = WINDOW_MS, *, oldest: Mapping[str, int | None] | None = None
) -> dict[str, Ages]:
    """Per connection: the changes that landed there within the window, and the oldest that has not.

    ``oldest``: since when it waits (ms since 1970), where the caller has looked already; otherwise all that waits is.
    """
    names = list(names)
    now = clock_of(db)
    counts = _counts(db, window_ms)
    waits = {name: since for name, (_, since) in work.backlog(db, names).items()} if oldest is None else oldest
    found = {}
    for name in names:
        of, since = counts.get(name, {}), waits.get(name)
        age = None if since is None else max(0, now - since) / 1000
        found[name] = Ages(sum(of.values()), quantile(of, 0.5), quantile(of, 0.95), quantile(of, 0.99), age)
    return found


def lags(db: Db, names: Iterable[str], window_ms: int = KEPT_MS) -> dict[str, tuple[int, float | None]]:
    """Withdrawals of consent that landed at each connection in the window: how many, their 99th percentile (s)."""
    counts = _counts(db, window_ms)
    found = {}
    for name in names:
        of = counts.get(WITHDRAWN + name, {})
        found[name] = (sum(of.values()), quantile(of, 0.99))
    return found


def _counts(db: Db, window_ms: int) -> dict[str, dict[int, int]]:
    now = clock_of(db)
    query = (
        select(f.connection, f.bucket, func.sum(f.n))
        .where(f.slice > (now - window_ms) // SLICE_MS)
        .group_by(f.connection, f.bucket)
    )
    counts: dict[str, dict[int, int]] = {}
    for name, bucket, n in db.execute(query):
        counts.setdefault(name, {})[int(bucket)] = int(n)
    return counts


def by_slice(db: Db, first: int) -> dict[tuple[str, int], int]:
    """How many changes landed, by connection and slice (of ``SLICE_MS`` since 1970), from the slice ``first`` on."""
    query = select(f.connection, f.slice, func.sum(f.n)).where(f.slice >= first).group_by(f.connection, f.slice)
    return {(name, number): int(n) for name, number, n in db.execute(query)}


def judge(db: Db, connections: Connections) -> list[str]:
    """Raise an alarm for each connection that misses its promise, clear it where it keeps it; those that miss."""
    wanted = {n: c.watch.freshness_ms for n, c in connections.items() if c.writes}
    promised = {name: most for name, most in wanted.items() if most is not None}
    late = []
    now = ages(db, promised) if promised else {}
    for name, most in promised.items():
        one, limit = now[name], most / 1000
        words = []
        if one.n >= ENOUGH and one.p95 is not None and one.p95 > limit:
            words.append(f"95 of 100 changes of the last hour landed within {one.p95:.0f} s")
        if one.oldest is not None and one.oldest > limit:
            words.append(f"a change has been waiting for {one.oldest:.0f} s")
        if words:
            late.append(name)
            advice = (
                f"promised are {limit:.0f} s; `tandem status` shows what waits, `tandem dead list` what was given up"
            )
            alarms.raised(db, alarms.Kind.FRESHNESS, name, "", f"{name}: {' and '.join(words)}; {advice}")
        else:
            alarms.cleared(db, alarms.Kind.FRESHNESS, name)
    for name in set(connections) - set(promised):
        alarms.cleared(db, alarms.Kind.FRESHNESS, name)
    return late
