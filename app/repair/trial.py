"""How good matching is in earnest: labelled rows walk through the chain itself, into a store that is thrown away.

In: rows with the truth.  Out: precision, recall, false merges, proposals.  Each row is a record of a connection of its
own: a vendor has one record of a person, so that two of one connection are never linked, and labelled sets hold several
of one source.  Row by row ``app.sync.chain`` reads, finds candidates in the store, decides and merges, as it does with
what vendors say; what its mapping cannot read is left out.
"""

from __future__ import annotations

import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import islice
from math import comb
from pathlib import Path
from typing import Any, Final

from sqlalchemy import select

from app.core import tables as t
from app.core.clock import monotonic, to_ms
from app.core.db import Database
from app.core.words import Likeness, Mode
from app.match import evaluate
from app.match.evaluate import Row
from app.match.normalise import land_of
from app.match.people import birth_of
from app.match.weights import Weights
from app.records.migrate import upgrade
from app.sync import chain, mapping
from app.sync.batch import Arrival
from app.sync.connection import Connection, Connections
from app.sync.mapping import Map
from connectors.contract import Connector, Kind, Limits, Record, Side

FIELDS: Final = (
    "email",
    "given_name",
    "middle_name",
    "family_name",
    "phone",
    "birthday",
    "street",
    "city",
    "region",
    "postal_code",
    "country",
    "company_name",
)
"""Canonical fields that a row may say something about; the trial's mapping has them one to one."""

STEP: Final = 200  # rows in one transaction: a commit for each would measure the disk
START: Final = datetime(2026, 1, 1, tzinfo=UTC)


class _Rows(Connector):
    """The vendor of a trial: one row of a file.  Is never called."""

    name = "rows"
    side = Side.CRM
    can = frozenset()
    limits = Limits()
    settings = ()
    hosts = frozenset()


@dataclass(slots=True)
class Outcome:
    """What the chain made of the rows, by their position."""

    contacts: dict[int, int] = field(default_factory=dict)  # row -> contact; a row that was not taken has none
    proposals: list[tuple[int, int]] = field(default_factory=list)  # pairs of contacts
    seconds: float = 0.0


def trial(
    rows: Sequence[Row],
    weights: Weights | None = None,
    country: str | None = None,
    told: Callable[[int], None] = lambda _: None,
) -> dict[str, Any]:
    """The measures of the online path on labelled rows, over pairs of rows.

    ``auto``: rows that ended in one contact.  ``review``: proposals; its precision is over proposals, its recall counts
    the pairs of rows that are one contact already or would be by a proposal.  ``f1_best`` is over all pairs that keys
    find and at the best threshold, so it is taken from ``app.match.evaluate``: the store keeps no score below review.
    ``country``: of phones and dates without one, ISO 3166-1 alpha-2.  ``told``: how many rows are through.
    """
    outcome = walked(rows, weights, country, told)
    f1 = evaluate.evaluate(rows, weights, country=country)["f1_best"]
    return {**measured(rows, outcome), "f1_best": f1, "seconds": round(outcome.seconds, 3), "records": len(rows)}


def walked(
    rows: Sequence[Row],
    weights: Weights | None = None,
    country: str | None = None,
    told: Callable[[int], None] = lambda _: None,
) -> Outcome:
    """Walk the rows through the chain, one by one."""
    with tempfile.TemporaryDirectory(prefix="tandem-trial-") as folder:
        database = Database(f"sqlite:///{Path(folder) / 'trial.db'}", pool=1)
        try:
            upgrade(database)
            return _walk(database, rows, weights, country, told)
        finally:
            database.close()


def _walk(
    database: Database, rows: Sequence[Row], weights: Weights | None, country: str | None, told: Callable[[int], None]
) -> Outcome:
    map_, outcome = _map(country), Outcome()
    started = monotonic()
    done = 0
    for some in _pieces(enumerate(rows), STEP):
        with database.write() as db:
            for n, row in some:
                connections = _connections(n, map_, weights)
                at = START + timedelta(seconds=n)
                record = Record(Kind.CONTACT, str(n), record_of(row, country), at)
                (result,) = chain.absorb(db, connections[_name(n)], connections, [Arrival(record, to_ms(at) + 1)])
                if result.contact_id is not None:
                    outcome.contacts[n] = result.contact_id
        done += len(some)
        told(done)
    outcome.seconds = monotonic() - started
    with database.read() as db:
        p = t.proposal.c
        outcome.proposals = [(row.older, row.newer) for row in db.execute(select(p.older, p.newer).order_by(p.id))]
    return outcome


def _pieces(items: Iterable[tuple[int, Row]], size: int) -> Iterator[list[tuple[int, Row]]]:
    rest = iter(items)
    while piece := list(islice(rest, size)):
        yield piece


def _name(row: int) -> str:
    return f"row{row}"


def _connections(row: int, map_: Map, weights: Weights | None) -> Connections:
    """One row's connection; that of the others need not be known, since nothing is written back to them."""
    nobody: Any = None
    one = Connection(_name(row), Side.CRM, Mode.OBSERVE, _Rows({}, nobody), map_)
    return Connections({one.name: one}, likeness=Likeness.LINK, weights=weights)


def _map(country: str | None) -> Map:
    """Each field under its own name, read as a mapping reads it that says nothing else."""
    lines = [f"  {name}: {{theirs: {name}, way: in, winner: newest, clear: ignored}}" for name in FIELDS]
    where = [f"default_country: {country}"] if country is not None else []
    return mapping.loads("\n".join(["version: 1", "connector: rows", "keys: [email]", *where, "fields:", *lines]), "")


def record_of(row: Row, country: str | None = None) -> dict[str, Any]:
    """The fields of a row as a vendor would say them: births in ISO 8601."""
    values = evaluate.values_of(row)
    born = values.pop("birth_date", None)
    birth = birth_of(born, land_of(values, country)) if born is not None else None
    if birth is not None:
        day = f"{birth.month:02}-{birth.day:02}"
        values["birthday"] = f"{birth.year:04}-{day}" if birth.year else day
    return dict(values)


def measured(rows: Sequence[Row], outcome: Outcome) -> dict[str, dict[str, Any]]:
    """``auto`` and ``review`` of an outcome."""
    truth = [row["cluster_id"] for row in rows]
    total = sum(comb(n, 2) for n in Counter(truth).values())
    members: dict[int, Counter[str]] = defaultdict(Counter)
    for n, contact in outcome.contacts.items():
        members[contact][truth[n]] += 1
    true = sum(comb(n, 2) for clusters in members.values() for n in clusters.values())
    joined = sum(comb(clusters.total(), 2) for clusters in members.values())
    pairs = [_between(members, a, b) for a, b in outcome.proposals]
    hits = sum(pair > 0 for pair in pairs)
    return {
        "auto": {"precision": _share(true, joined), "recall": _share(true, total), "false_merges": joined - true},
        "review": {
            "recall": _share(true + sum(pairs), total),
            "precision": _share(hits, len(pairs)),
            "proposals_per_true_pair": len(pairs) / hits if hits else None,
        },
    }


def _between(members: Mapping[int, Counter[str]], a: int, b: int) -> int:
    """Pairs of rows of two contacts that are one person."""
    return sum(n * members[b][cluster] for cluster, n in members[a].items())


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
