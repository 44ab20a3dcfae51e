"""The scorecard as files that other tools read: rounds of leads, where they came from, counters.  CSV, or Parquet.

Rows are streamed, so memory does not grow with the store.  Parquet is written by DuckDB from the CSV, since it is one
wheel without dependencies; it is an optional extra (``pip install tandem-sync[parquet]``).  People are in the files by
their number here only.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, TextIO

from sqlalchemy import Connection as Db
from sqlalchemy import Select, select

from app.agreement.attribution import PARTS
from app.core import tables as t
from app.core.clock import from_ms
from app.core.errors import NotPossible

r, j, s, x, m = t.lead_round.c, t.journey.c, t.score.c, t.deal.c, t.programme_member.c
FETCH: Final = 2_000
MONEY: Final = ("opened:", "won:", "lost:", "sourced:", "influenced:", "by:")
QUERIES: Final[dict[str, Select[Any]]] = {
    "lead_rounds": select(t.lead_round).order_by(r.contact_id, r.number),
    "lead_sources": select(
        j.contact_id, j.team, j.channel, j.campaign, j.variant, j.persona, j.profile, j.first_touch_at, j.last_touch_at
    ).order_by(j.contact_id),
    "lead_steps": select(*(t.lead_step.c[n] for n in ("id", "contact_id", "at", "what", "before", "after", "version")))
    .where(t.lead_step.c.void_at.is_(None))
    .order_by(t.lead_step.c.id),
    "deals": select(x.id, x.status, x.amount, x.currency, x.created_at, x.closed_at)
    .where(x.gone_at.is_(None))
    .order_by(x.id),
    "programme_members": select(
        *(m[n] for n in ("contact_id", "programme", "round", "version", "enrolled_at", "ended_at", "held_out")),
        m.stage,
        m.until.label("until_at"),
        m.reached_at,
    ).order_by(m.id),
    "scores": select(t.score).order_by(s.dimension, s.value, s.indicator, s.day),
}
"""What is exported, by name."""
_NUMBERS: Final = frozenset({"id", "contact_id", "number", "tries", "channels", "kept", "round", "held_out"})


def columns(name: str) -> list[str]:
    """The columns of an export.  Raises NotPossible for one that there is not."""
    if name not in QUERIES:
        raise NotPossible(f"there is no export {name!r}; there are: {', '.join(QUERIES)}")
    return [c.name for c in QUERIES[name].selected_columns]


def rows(db: Db, name: str) -> Iterator[list[Any]]:
    """The rows of an export: moments as ISO 8601 in UTC, days as dates, money and shares as decimals."""
    names = columns(name)
    for row in db.execution_options(stream_results=True, yield_per=FETCH).execute(QUERIES[name]):
        yield [_shown(n, value, row) for n, value in zip(names, row, strict=True)]


def _shown(name: str, value: Any, row: Any) -> Any:
    if value is None:
        return None
    if name == "day":
        return from_ms(value * 86_400_000).date().isoformat()
    if name == "n" and (row.indicator.startswith(MONEY) or row.indicator == "deal:days"):
        return f"{value / PARTS:.4f}"
    if name == "at" or name.endswith("_at"):
        return from_ms(value).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return value


def to_csv(db: Db, name: str, into: TextIO) -> int:
    """Write an export as CSV with a heading (RFC 4180); how many rows."""
    writer = csv.writer(into)
    writer.writerow(columns(name))
    count = 0
    for row in rows(db, name):
        writer.writerow(row)
        count += 1
    return count


def to_parquet(source: Path, name: str, into: Path) -> None:
    """Make Parquet of an export's CSV.  Raises NotPossible where DuckDB is not installed."""
    try:
        import duckdb
    except ImportError:
        raise NotPossible("Parquet needs DuckDB: `pip install 'tandem-sync[parquet]'`; CSV needs nothing") from None
    types = {n: _type(n) for n in columns(name)}
    with duckdb.connect() as duck:
        reading = duck.read_csv(str(source), header=True, dtype=types)  # named types: nothing is guessed from the rows
        reading.write_parquet(str(into), compression="zstd")


def _type(name: str) -> Any:
    if name == "day":
        return "DATE"
    if name in {"n", "amount"}:
        return "DECIMAL(18,4)"
    if name == "at" or name.endswith("_at"):
        return "TIMESTAMPTZ"
    return "BIGINT" if name in _NUMBERS else "VARCHAR"


def export(db: Db, folder: Path, form: str, names: Sequence[str] = ()) -> dict[str, int]:
    """Write exports into a folder, one file each; name → rows.  ``form``: csv or parquet."""
    if form not in {"csv", "parquet"}:
        raise NotPossible(f"there are csv and parquet, not {form!r}")
    wanted = list(names) if names else list(QUERIES)
    for name in wanted:
        columns(name)
    folder.mkdir(parents=True, exist_ok=True)
    found = {}
    for name in wanted:
        path = folder / f"{name}.csv"
        with path.open("w", encoding="utf-8", newline="") as into:
            found[name] = to_csv(db, name, into)
        if form == "parquet":
            to_parquet(path, name, folder / f"{name}.parquet")
            path.unlink()
    return found
