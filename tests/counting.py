"""What goes to the database: statements, commits, and rows written, by table.  Nothing here is a matter of time.

Counted where the driver is handed them, so that what speaks to the driver directly (the door) is counted as well as
what goes through SQLAlchemy.  A statement that is carried out with many rows of values is one.
"""

from __future__ import annotations

import re
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import event

from app.core.db import Database
from tests.watch import READS_OR_WRITES, shape

_WRITES: Final = re.compile(r"\b(INSERT) INTO (\w+)|(?<!FOR )\b(UPDATE) (?!SET\b)(\w+)|\b(DELETE) FROM (\w+)", re.I)
DATED: Final = frozenset(
    {"insert score", "delete score"}
)  # counters of days: how many rows they are is a matter of days
_READS: Final = re.compile(r"\bFROM (?!unnest\b|json_each\b|statement_timestamp\b)(\w+)", re.I)


@dataclass
class Cost:
    """What was counted; statements by their shape, rows and calls by what is done to which table."""

    statements: Counter[str] = field(default_factory=Counter)
    calls: Counter[str] = field(default_factory=Counter)  # "insert contact" -> statements; "clock" is a table, too
    rows: Counter[str] = field(default_factory=Counter)  # "insert contact" -> rows; an upsert is an insert
    commits: int = 0

    def __iadd__(self, other: Cost) -> Cost:
        self.statements += other.statements
        self.calls += other.calls
        self.rows += other.rows
        self.commits += other.commits
        return self


def doing(statement: str) -> str:
    """What a statement does to which table: ``insert contact``, ``select inbox``."""
    plain = statement.replace('"', "")
    found = _WRITES.search(plain)
    if found is not None:
        verb, table = (one for one in found.groups() if one is not None)
        return f"{verb.lower()} {table}"
    read = _READS.search(plain)
    if read is not None:
        return f"select {read[1]}"
    return "notify" if "pg_notify" in plain else "clock"


class _Tally:
    """Notes what is carried out, and whose the rows are that were written."""

    def __init__(self, cost: Cost) -> None:
        self.cost = cost
        self._under_way: dict[int, tuple[sqlite3.Connection, str, int]] = {}

    def carry_out(self, raw: Any, cursor: Any, call: Callable[..., Any], statement: str, *rest: Any) -> Any:
        if READS_OR_WRITES.match(statement) is None:  # BEGIN and the like
            return call(statement, *rest)
        self._settle(raw)
        before = raw.total_changes if isinstance(raw, sqlite3.Connection) else 0
        answer = call(statement, *rest)
        name = doing(statement)
        self.cost.statements[shape(statement)] += 1
        self.cost.calls[name] += 1
        if name.startswith(("insert ", "update ", "delete ")):
            if isinstance(raw, sqlite3.Connection):
                self._under_way[id(raw)] = raw, name, before
            elif cursor.rowcount > 0:
                self.cost.rows[name] += cursor.rowcount
        return answer

    def _settle(self, raw: Any) -> None:
        """SQLite counts rows once a statement is through, which one with RETURNING is when all of it was read.

        Its own count takes in what foreign keys remove along: https://www.sqlite.org/c3ref/total_changes.html
        """
        if id(raw) in self._under_way:
            one, name, before = self._under_way.pop(id(raw))
            if one.total_changes > before:
                self.cost.rows[name] += one.total_changes - before

    def settle(self) -> None:
        """Count what is through by now."""
        for raw, _, _ in list(self._under_way.values()):
            self._settle(raw)


class _Cursor:
    """A driver's cursor that says what it carries out."""

    def __init__(self, cursor: Any, raw: Any, tally: _Tally) -> None:
        self.__dict__.update(_cursor=cursor, _raw=raw, _tally=tally)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cursor, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._cursor, name, value)

    def execute(self, statement: str, *rest: Any) -> Any:
        return self._tally.carry_out(self._raw, self._cursor, self._cursor.execute, statement, *rest)

    def executemany(self, statement: str, *rest: Any) -> Any:
        return self._tally.carry_out(self._raw, self._cursor, self._cursor.executemany, statement, *rest)


@contextmanager
def counting(database: Database) -> Iterator[Cost]:
    """Count all that this process sends to a store within the block."""
    tally = _Tally(Cost())
    with database.read() as db:
        pooled: Any = type(db.connection)
    real = pooled.cursor

    def cursor(self: Any, *rest: Any, **more: Any) -> Any:
        return _Cursor(real(self, *rest, **more), self.driver_connection, tally)

    def committed(_: Any) -> None:
        tally.cost.commits += 1

    event.listen(database.engine, "commit", committed)
    pooled.cursor = cursor
    try:
        yield tally.cost
    finally:
        pooled.cursor = real
        event.remove(database.engine, "commit", committed)
        tally.settle()


def total(few: int, many: int, sizes: tuple[int, int]) -> str:
    """What few and many records cost as one sum over their number: ``3``, ``n``, ``2+4n``; else both as they are."""
    each, odd = divmod(many - few, sizes[1] - sizes[0])
    fixed = few - each * sizes[0]
    if odd:
        return f"{few}|{many}"
    slope = {0: "", 1: "n"}.get(each, f"{each}n")
    if not slope or fixed == 0:
        return slope if slope else str(fixed)
    return f"{fixed}+{slope}" if fixed > 0 else f"{slope}{fixed}"


@dataclass(frozen=True)
class Growth:
    """What ``few`` records cost and what ``many`` do, as one sum: a fixed part and a part for each record."""

    few: Cost
    many: Cost
    sizes: tuple[int, int]

    def parts(self) -> dict[str, str]:
        """By what is done to which table: statements, and after a slash the rows; besides, all statements, commits."""
        few, many, sizes = self.few, self.many, self.sizes
        found = {
            "all": total(few.statements.total(), many.statements.total(), sizes),
            "commit": total(few.commits, many.commits, sizes),
        }
        for name in sorted(many.calls | few.calls):
            found[name] = total(few.calls[name], many.calls[name], sizes)
            if name in DATED:
                found[name] += "/any"
            elif not name.startswith(("select ", "clock", "notify")):
                found[name] += "/" + total(few.rows[name], many.rows[name], sizes)
        return {name: value for name, value in found.items() if value != "0"}

    def told(self, name: str) -> list[str]:
        """The statements behind a part, a line for each shape: how many for the few, how many for the many."""
        return [
            f"      {self.few.statements[s]}, {n} x {s[:240]}"
            for s, n in sorted(self.many.statements.items(), key=lambda one: -one[1])
            if doing(s) == name
        ]
