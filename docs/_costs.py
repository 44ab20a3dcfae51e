"""The part of the page of measurements that is counted, not timed.  In: ``tests/costs.json``.  Out: Markdown."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

KEPT: Final = Path(__file__).resolve().parents[1] / "tests" / "costs.json"
_INTRO: Final = """## Counted, not timed

What a batch of n records costs, whatever the machine: statements on SQLite and on PostgreSQL, each with the look that
finds nothing more; commits; and the rows that are written for each record. `make test` holds every figure to what
stands here, by table and by kind of statement, so a statement more in a batch, or one for each of its records, fails
without anything being timed (`tests/test_cost.py`). The calls to a vendor are held to the least that its batches allow
(`tests/test_cost_calls.py`), the requests of each connector to what they are (`WIRE` in the same file), and pages and
lists to as many statements for fifty rows as for five (`tests/test_cost_pages.py`). Who changes a cost on purpose
writes the table anew: `python -m tests.costs`, then `make docs`.

| batch | SQLite | PostgreSQL | commits | rows for each record |
|---|---|---|---|---|
"""


def section() -> str:
    """The whole section."""
    table = json.loads(KEPT.read_text(encoding="utf-8"))
    return _INTRO + "\n".join(_line(kind, of) for world in table.values() for kind, of in world.items())


def _line(kind: str, of: Mapping[str, Mapping[str, str]]) -> str:
    sqlite, postgresql = ({**of["both"], **of.get(dialect, {})} for dialect in ("sqlite", "postgresql"))
    commits = {sqlite.get("commit", "0"): None, postgresql.get("commit", "0"): None}
    rows = ", ".join(_rows(sqlite))
    return f"| {kind} | {sqlite['all']} | {postgresql['all']} | {' / '.join(commits)} | {rows if rows else 'none'} |"


def _rows(parts: Mapping[str, str]) -> Iterator[str]:
    for part, value in sorted(parts.items()):
        _, slash, rows = value.partition("/")
        if slash and rows.endswith("n"):
            verb, name = part.split(" ")
            number = rows.rpartition("+")[2].removesuffix("n")
            yield f"{verb} {number if number else '1'} {name.replace('_', ' ')}"
