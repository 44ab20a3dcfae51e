"""What the database does for each statement: the plan that it chose, and how much it touched.

SQLite counts the steps of its virtual machine, PostgreSQL the pages that it looked at: both are the same on every
machine, however busy, so they may be compared between a small store and a large one.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, event

from app.core.db import Database
from tests.crowd import GROWING

READS_OR_WRITES = re.compile(r"\s*(SELECT|INSERT|UPDATE|DELETE|WITH)\b", re.I)
FEW = 10  # pages: who stops so early does not read a table from end to end, whatever the plan is called
GRAIN = 5  # steps between two calls of SQLite's progress handler


class Watch:
    """What was seen."""

    def __init__(self) -> None:
        self.times: Counter[str] = Counter()  # statement -> how often it was carried out
        self.touched: Counter[str] = Counter()  # statement -> steps or pages, all times together
        self.scans: dict[str, set[str]] = defaultdict(set)  # statement -> growing tables that are read from end to end
        self.off = False

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Look away within the block."""
        self.off = True
        try:
            yield
        finally:
            self.off = False

    def each(self) -> dict[str, float]:
        """Statement → steps or pages each time."""
        return {s: self.touched[s] / self.times[s] for s in self.times}


@contextmanager
def watching(database: Database) -> Iterator[Watch]:
    """Watch all statements of a store within the block."""
    watch = Watch()
    look = _postgresql if database.dialect == "postgresql" else _sqlite
    now: dict[int, str | None] = {}  # what each connection of SQLite is busy with: rows are stepped as they are fetched

    def before(
        connection: Connection, cursor: Any, statement: str, parameters: Any, context: Any, executemany: bool
    ) -> None:
        raw = connection.connection.driver_connection
        assert raw is not None
        now[id(raw)] = None
        if watch.off or READS_OR_WRITES.match(statement) is None:
            return
        several = executemany and isinstance(parameters, list)
        scanned, pages = look(raw, statement, parameters[0] if several else parameters)
        name = shape(statement)
        watch.times[name] += len(parameters) if several and database.dialect == "sqlite" else 1
        watch.touched[name] += pages
        if scanned:
            watch.scans[name] |= scanned
        if database.dialect == "sqlite":
            if id(raw) not in handled:
                handled[id(raw)] = raw
                raw.set_progress_handler(lambda: count(id(raw)), GRAIN)
            now[id(raw)] = name

    handled: dict[int, Any] = {}

    def count(of: int) -> int:
        name = now[of]
        if name is not None and not watch.off:
            watch.touched[name] += GRAIN
        return 0

    engines = {database._writer, database._reader}
    for engine in engines:
        event.listen(engine, "before_cursor_execute", before)
    try:
        yield watch
    finally:
        for raw in handled.values():
            raw.set_progress_handler(None, GRAIN)
        for engine in engines:
            event.remove(engine, "before_cursor_execute", before)


def shape(statement: str) -> str:
    """The statement whatever the number of its values."""
    one = re.sub(r"%\(\w+\)s(::\w+)?|\?", "?", statement)
    one = re.sub(r"\(\?(, \?)*\)", "(?…)", one)
    one = re.sub(r"(\(\?…\)|\(\?[^()]*\))(, \(\?[^()]*\))+", r"\1", one)
    return " ".join(one.split())


def plan_of(database: Database, statement: str, parameters: Sequence[Any] | dict[str, Any]) -> set[str]:
    """The growing tables that one statement would read from end to end."""
    with database.write() as db:
        raw = db.connection.driver_connection
        return (_postgresql if database.dialect == "postgresql" else _sqlite)(raw, statement, parameters)[0]


def _sqlite(raw: Any, statement: str, parameters: Any) -> tuple[set[str], int]:
    """https://www.sqlite.org/eqp.html: SCAN reads all rows or a whole index, SEARCH a part of it."""
    rows = raw.execute(f"EXPLAIN QUERY PLAN {statement}", parameters).fetchall()
    found = (re.match(r"SCAN (?:TABLE )?(\w+)", row[3]) for row in rows)
    return {m[1] for m in found if m is not None and m[1] in GROWING}, 0


def _postgresql(raw: Any, statement: str, parameters: Any) -> tuple[set[str], int]:
    """The plan, and the pages that it touches when it is carried out; what it changes is taken back."""
    cursor = raw.cursor()
    cursor.execute("SAVEPOINT watched")
    cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS, COSTS OFF, TIMING OFF, FORMAT JSON) {statement}", parameters)
    (plan,) = cursor.fetchone()[0]
    cursor.execute("ROLLBACK TO SAVEPOINT watched")
    cursor.execute("RELEASE SAVEPOINT watched")
    cursor.close()
    top = plan["Plan"]
    return set(_whole(top)), top["Shared Hit Blocks"] + top["Shared Read Blocks"]


def _whole(node: dict[str, Any]) -> Iterator[str]:
    """Growing tables that a node reads from end to end: without an index, or all of one."""
    kind, table = node["Node Type"], node.get("Relation Name")
    whole = kind == "Seq Scan" or (kind in {"Index Scan", "Index Only Scan"} and "Index Cond" not in node)
    if whole and table in GROWING and node["Shared Hit Blocks"] + node["Shared Read Blocks"] > FEW:
        yield table
    for child in node.get("Plans", ()):
        yield from _whole(child)
