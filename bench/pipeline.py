"""Contacts a second through the core: mapping, matching, merging, store; beside the same rows written by bulk SQL.

Records of the shipped HubSpot mapping go through the chain in batches as a fetch makes them, with history, the consent
ledger and matching by likeness on: first all as new people (``new``), then with another city and job (``changed``).
The floor of the same run: every row that the chain left in the store, written to an empty one in bulk, a transaction
for each batch.  One process, one thread; seconds are of the processor.

``python -m bench.pipeline [--contacts 10000] [--databases sqlite]``
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import insert, select

from app.accounts import MAPPINGS
from app.core import tables as t
from app.core.db import Database
from app.core.words import Likeness, Mode
from app.records import state
from app.records.contacts import chunks
from app.records.migrate import upgrade
from app.sync import chain, mapping
from app.sync.batch import Arrival
from app.sync.connection import Connection, Connections
from app.sync.fetch import BATCH
from bench.match import People, databases
from bench.profile import looked_at
from connectors.contract import Kind, Record, Side
from connectors.hubspot import HubSpot
from connectors.mailchimp import Mailchimp

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
BARS = {"contacts_per_second": 1_500, "share_of_floor": 0.30}
THEIRS = {
    "email": "email",
    "given_name": "firstname",
    "family_name": "lastname",
    "phone": "phone",
    "street": "address",
    "city": "city",
    "postal_code": "zip",
    "company_name": "company",
}


def connections() -> Connections:
    """HubSpot and Mailchimp with the shipped mappings, of whom nothing is asked."""
    http: Any = None
    found = {}
    for kind, side in ((HubSpot, Side.CRM), (Mailchimp, Side.MARKETING)):
        map_ = mapping.load(MAPPINGS / f"{kind.name}.yaml", default_country="DE")
        values = {s.name: "bench-us1" for s in kind.settings if s.required}
        found[kind.name] = Connection(kind.name, side, Mode.LIVE, kind(values, http), map_)
    return Connections(found, likeness=Likeness.PROPOSE)


def records(many: int) -> list[dict[str, Any]]:
    """Fields of as many people as HubSpot shows them; one in fifty has opted out."""
    found = []
    for n, person in enumerate(People(3).store(many)):
        fields = {theirs: person[ours] for ours, theirs in THEIRS.items() if ours in person}
        found.append({**fields, "hs_email_optout": "true" if n % 50 == 0 else "false"})
    return found


def arrivals(fields: list[dict[str, Any]], when: datetime) -> Iterator[list[Arrival]]:
    """Batches of what was read."""
    at = int(when.timestamp() * 1000)
    everybody = enumerate(fields, 1)
    while some := list(itertools.islice(everybody, BATCH)):
        yield [Arrival(Record(Kind.CONTACT, str(n), one, modified=when), at, since=at) for n, one in some]


def absorbed(database: Database, known: Connections, fields: list[dict[str, Any]], when: datetime) -> float:
    """Seconds of processor for all of them."""
    hub = known["hubspot"]
    batches = list(arrivals(fields, when))
    began = time.process_time()
    for batch in batches:
        database.transact(lambda db, batch=batch: chain.absorb(db, hub, known, batch))
    return time.process_time() - began


def floor(full: Database, empty: Database) -> float:
    """Seconds of processor for writing the same rows to an empty store."""
    tables = (t.contact, t.contact_key, t.block, t.link, t.work, t.history, t.consent)
    rows = {}
    with full.read() as db:
        for table in tables:
            rows[table] = [dict(r) for r in db.execute(select(table)).mappings()]
    batches = -(-len(rows[t.contact]) // BATCH)
    parts = {table: list(chunks(found, -(-len(found) // batches))) for table, found in rows.items() if found}
    began = time.process_time()
    for at in range(max(map(len, parts.values()))):
        with empty.write() as db:
            for table, some in parts.items():
                if at < len(some):
                    db.execute(insert(table), some[at])
    return time.process_time() - began


def measure(kind: str, many: int) -> dict[str, Any]:
    fields, known = records(many), connections()
    with databases(kind) as urls:
        full, empty = Database(next(urls)), Database(next(urls))
        try:
            for one in (full, empty):
                upgrade(one)
                with one.write() as db:
                    state.ensure(db, known)
            absorbed(full, known, [{**f, "email": f"warm{n}@example.com"} for n, f in enumerate(fields[:BATCH])], BEGAN)
            new = absorbed(full, known, fields, BEGAN + timedelta(days=1))
            least = floor(full, empty)
            moved = [{**f, "city": f"New {n % 97}", "jobtitle": "Head of Sales"} for n, f in enumerate(fields)]
            changed = absorbed(full, known, moved, BEGAN + timedelta(days=2))
            others = [{**f, "email": f"other{n}@example.com"} for n, f in enumerate(fields)]
            with looked_at(os.getpid()) as looking:
                absorbed(full, known, others, BEGAN + timedelta(days=3))
        finally:
            full.close()
            empty.close()
    rate = many / new
    return {
        "contacts": many,
        "new_per_second": round(rate),
        "changed_per_second": round(many / changed),
        "floor_per_second": round(many / least),
        "ratio": round(least / new, 3),
        "bars": {
            f"{BARS['contacts_per_second']} contacts a second": rate >= BARS["contacts_per_second"],
            f"{BARS['share_of_floor']:.0%} of the floor": least / new >= BARS["share_of_floor"],
        },
        "profile": looking.shares,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--contacts", type=int, default=10_000)
    parser.add_argument("--databases", default="sqlite")
    arguments = parser.parse_args()
    found = {kind: measure(kind, arguments.contacts) for kind in arguments.databases.split(",")}
    print(json.dumps({"bench": "pipeline", **found}, indent=2))


if __name__ == "__main__":
    main()
