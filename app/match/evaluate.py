"""How good is matching on labelled records?  In: rows with the truth.  Out: precision, recall, false merges, F1.

The rows are fed one by one through the steps of the online path: normalise, keys, the candidates that an index finds
under them (cut where a block is over-full), score, band.  Pure but for its stopwatch and, from the command line, the
file: ``python -m app.match.evaluate FILE.csv[.gz] …``.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import comb
from pathlib import Path
from typing import Any, Final

from app.core.clock import monotonic
from app.match.choosing import choose, rank
from app.match.keys import BLOCK, blocking
from app.match.normalise import Evidence, evidence
from app.match.score import Band, Score, compare
from app.match.weights import Weights, shipped

COLUMNS: Final[Mapping[str, str]] = {
    "first_name": "given_name",
    "middle_name": "middle_name",
    "last_name": "family_name",
    "email": "email",
    "phone": "phone",
    "dob": "birth_date",
    "street": "street",
    "city": "city",
    "state": "region",
    "postcode": "postal_code",
    "country": "country",
    "company": "company_name",
}
"""Column of a labelled file → canonical field.  Beside them: ``rec_id``, ``cluster_id`` (the truth), ``source``."""

Row = Mapping[str, str]
Decide = Callable[[Evidence, Sequence[Evidence], Weights, Mapping[str, int]], Sequence[Score]]


def rows_of(path: Path) -> list[dict[str, str]]:
    """The rows of a .csv or .csv.gz.  Raises OSError, and ValueError where it has no ``rec_id`` or ``cluster_id``."""
    raw = path.read_bytes()
    text = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode()
    rows = [dict(row) for row in csv.DictReader(io.StringIO(text, newline=""))]
    if rows and not {"rec_id", "cluster_id"} <= rows[0].keys():
        raise ValueError(f"{path.name}: a labelled file has the columns rec_id and cluster_id")
    return rows


def values_of(row: Row) -> dict[str, str]:
    """The canonical values of a row."""
    return {name: row[column] for column, name in COLUMNS.items() if row.get(column)}


@dataclass(frozen=True, slots=True)
class Pair:
    """One pair that was scored: positions of the two, its score, and whether it was joined without asking."""

    a: int
    b: int
    log_odds: float
    band: Band


class Index:
    """Keys in memory, as the store keeps them: key → the records that have it, of which the newest are looked at."""

    def __init__(self, block: int = BLOCK) -> None:
        self._block = block
        self._found: dict[str, list[int]] = defaultdict(list)

    def candidates(self, keys: Iterable[str]) -> list[int]:
        """Records under any of the keys, at most ``block`` per key."""
        return sorted({i for key in keys for i in self._found.get(key, ())[-self._block :]})

    def crowds(self, keys: Iterable[str]) -> dict[str, int]:
        """How many records stand under each key."""
        return {key: len(self._found[key]) for key in keys if key in self._found}

    def add(self, keys: Iterable[str], record: int) -> None:
        """Files a record under its keys."""
        for key in keys:
            self._found[key].append(record)


class Contacts:
    """Which records are one contact by now; the first of them stands for it."""

    def __init__(self) -> None:
        self._of: dict[int, int] = {}
        self._records: dict[int, list[int]] = {}

    def of(self, record: int) -> int:
        """The contact of a record: itself where it is not linked."""
        return self._of.get(record, record)

    def records(self, contact: int) -> list[int]:
        """The records of a contact."""
        return self._records.get(contact, [contact])

    def link(self, record: int, contact: int) -> None:
        """Makes a new record one of a contact."""
        self._of[record] = contact
        self._records.setdefault(contact, [contact]).append(record)


def feed(
    found: Sequence[Evidence], weights: Weights, decide: Decide = rank, block: int = BLOCK
) -> tuple[list[Pair], Contacts]:
    """All pairs that the keys find, scored as each record arrives, and the contacts that links without asking make."""
    index, contacts = Index(block), Contacts()
    pairs: list[Pair] = []
    for i, e in enumerate(found):
        keys = blocking(e)
        near = index.candidates(keys)
        scores = decide(e, [found[j] for j in near], weights, index.crowds(keys))
        scored = [(contacts.of(j), score) for j, score in zip(near, scores, strict=True)]
        choice = choose(scored, lambda a, b: _apart(found, contacts.records(a), contacts.records(b), weights))
        if choice.link is not None:
            contacts.link(i, choice.link)
        pairs.extend(Pair(j, i, s.log_odds, s.band) for j, s in zip(near, scores, strict=True))
        index.add(keys, i)
    return pairs, contacts


def _apart(found: Sequence[Evidence], a: Sequence[int], b: Sequence[int], w: Weights) -> bool:
    return any(compare(found[i], found[j], w).band is Band.CREATE for i in a for j in b) or any(
        compare(found[i], found[j], w).contradiction is not None for i in a for j in b
    )


def evaluate(
    rows: Sequence[Row], weights: Weights | None = None, decide: Decide = rank, country: str | None = None
) -> dict[str, Any]:
    """The measures of matching on labelled rows, over pairs of records.

    ``auto``: joined without asking.  ``review``: proposals; its recall counts what was joined without asking too.
    ``f1_best``: of all thresholds the best.  ``country``: for phones without a code.
    """
    started = monotonic()
    w = shipped() if weights is None else weights
    found = [evidence(values_of(row), country) for row in rows]
    pairs, contacts = feed(found, w, decide)
    seconds = monotonic() - started
    truth = [row["cluster_id"] for row in rows]
    total = sum(comb(n, 2) for n in Counter(truth).values())
    auto = _auto(truth, contacts)
    proposed = [p for p in pairs if p.band is not Band.CREATE and contacts.of(p.a) != contacts.of(p.b)]
    hits = sum(truth[p.a] == truth[p.b] for p in proposed)
    return {
        "auto": {
            "precision": _share(auto["true"], auto["true"] + auto["false"]),
            "recall": _share(auto["true"], total),
            "false_merges": auto["false"],
        },
        "review": {
            "recall": _share(auto["true"] + hits, total),
            "precision": _share(hits, len(proposed)),
            "proposals_per_true_pair": len(proposed) / hits if hits else None,
        },
        "f1_best": _best_f1(truth, pairs, total),
        "seconds": round(seconds, 3),
        "records": len(rows),
    }


def _auto(truth: Sequence[str], contacts: Contacts) -> Counter[str]:
    members: dict[int, list[str]] = defaultdict(list)
    for i, cluster in enumerate(truth):
        members[contacts.of(i)].append(cluster)
    counts: Counter[str] = Counter()
    for clusters in members.values():
        true = sum(comb(n, 2) for n in Counter(clusters).values())
        counts["true"] += true
        counts["false"] += comb(len(clusters), 2) - true
    return counts


def _best_f1(truth: Sequence[str], pairs: Sequence[Pair], total: int) -> float:
    best, hits = 0.0, 0
    ordered = sorted(pairs, key=lambda p: -p.log_odds)
    for n, p in enumerate(ordered, 1):
        hits += truth[p.a] == truth[p.b]
        if n == len(ordered) or ordered[n].log_odds < p.log_odds:
            best = max(best, 2 * hits / (n + total))
    return best


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def main(paths: Sequence[str]) -> None:
    """Prints the measures of each labelled file."""
    for path in paths:
        sys.stdout.write(f"{Path(path).name}\n{json.dumps(evaluate(rows_of(Path(path))), indent=2)}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
