"""Identity resolution: how long one lookup takes in stores of several sizes, and how fast a sweep is.

A lookup is all that the chain does for a record that no address decides: evidence, keys, candidates from the store,
score, decision.  The baseline of the same run is the lookup by exact address with the contact it leads to.  People are
invented: names and towns as common as the shipped weights say they are, the rest made of syllables; one in ten is there
twice, with slips.  A sweep runs in a process of its own, which starts others; their peak memory together is told.

Where others use the machine, read the processor's time: ``cpu_p95_ms`` of lookups, ``cpu_seconds`` of a sweep.  Neither
holds the work of a PostgreSQL server.

``python -m bench.match [--contacts 10000,100000] [--full] [--lookups 2000] [--databases sqlite,postgresql]``
"""

from __future__ import annotations

import argparse
import itertools
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import insert

from app.core import tables as t
from app.core.db import Database
from app.records import blocks
from app.records import contacts as people
from app.records.migrate import upgrade
from app.repair.looking import processes_for
from app.repair.sweep import BATCH, sweep
from app.sync import identity
from app.sync.connection import Connections
from bench.people import People, Person
from tests import postgres

STEP = 2_000
WARM = 300
FULL = 1_000_000
BARS = {"sqlite": 2.0, "postgresql": 3.0}  # ms, 95th percentile at FULL
GROWTH = 1.5  # of the 95th percentile, from the smallest store to FULL
SWEEP_SECONDS, SWEEP_BYTES = 600, 1.5e9  # at FULL


def fill(database: Database, many: int) -> list[Person]:
    """Store people with their keys; some of them, to be looked for."""
    known: list[Person] = []
    crowd = enumerate(People(1).store(many), 1)
    while some := list(itertools.islice(crowd, STEP)):
        contacts, addresses, filed = [], [], {}
        for number, values in some:
            facts = {name: {"v": value, "s": "hub", "t": 1, "r": "first", "e": None} for name, value in values.items()}
            contacts.append({"id": number, "version": 1, "facts": facts, "created_at": 1, "updated_at": 1})
            addresses.append({"key": "email", "value": values["email"], "contact_id": number, "strong": 0})
            filed[number] = identity.filed(values)
            if number % (many // 1_000 or 1) == 0:
                known.append(values)
        with database.write() as db:
            db.execute(insert(t.contact), contacts)
            db.execute(insert(t.contact_key), addresses)
            blocks.refile(db, {}, filed)
    if database.dialect == "postgresql":
        with database.write() as db:
            db.exec_driver_sql("ANALYZE")
    return known


def lookups(database: Database, known: list[Person], many: int) -> dict[str, Any]:
    """Milliseconds of lookups: of people who are there under another address, and of strangers, in turn."""
    invent = People(2)
    asked = [invent.again(invent.chance.choice(known)) if n % 2 else invent.one() for n in range(many + WARM)]
    exact = [invent.chance.choice(known)["email"] for _ in range(many + WARM)]
    took, busy, plain, found = [], [], [], 0
    with database.read() as db:
        for n, (claim, address) in enumerate(zip(asked, exact, strict=True)):
            began, worked = time.perf_counter(), time.process_time()
            verdict = identity.decide(claim, identity.gather(db, [claim]))
            worked = time.process_time() - worked
            middle = time.perf_counter()
            owners = people.owners(db, [("email", address)])
            people.load(db, {c for having in owners.values() for c, _ in having})
            ended = time.perf_counter()
            if n >= WARM:
                took.append((middle - began) * 1_000)
                busy.append(worked * 1_000)
                plain.append((ended - middle) * 1_000)
                found += n % 2 and (verdict.link is not None or bool(verdict.proposals))
    ours, baseline = percentiles(took), percentiles(plain)
    return {
        **ours,
        "cpu_p95_ms": percentiles(busy)["p95_ms"],
        "exact_key": baseline,
        "ratio_p50": round(ours["p50_ms"] / baseline["p50_ms"], 1),
        "known_found": round(found / (many / 2), 3),
    }


def percentiles(values: list[float]) -> dict[str, float]:
    ordered = sorted(values)
    return {
        "p50_ms": round(ordered[len(ordered) // 2], 3),
        "p95_ms": round(ordered[int(0.95 * (len(ordered) - 1))], 3),
    }


def swept(url: str) -> dict[str, Any]:
    """One sweep in a process of its own."""
    words = [sys.executable, "-m", "bench.match", "--sweep", url]
    done = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def sweep_here(url: str) -> dict[str, Any]:
    database = Database(url, pool=2)
    state = sweep(database, Connections({}))
    database.close()
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    processes = processes_for(state.done, BATCH)
    return {
        "contacts": state.done,
        "proposed": state.proposed,
        "seconds": round(state.seconds, 1),
        "per_second": round(state.rate),
        "cpu_seconds": round(time.process_time() + children.ru_utime + children.ru_stime, 1),
        "processes": 1 + processes,
        "peak_bytes": peak() + processes * children.ru_maxrss * 1024,  # of the largest of them, as often as there are
        "seconds_for_a_million": round(FULL / state.rate) if state.rate else None,
    }


def peak() -> int:
    """The most memory that this process ever held, in bytes."""
    status = Path("/proc/self/status")
    if status.exists():  # getrusage would count what the parent held when it forked, proc_pid_status(5)
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@contextmanager
def databases(kind: str) -> Iterator[Iterator[str]]:
    """URLs of empty databases."""
    if kind == "sqlite":
        with tempfile.TemporaryDirectory() as folder:
            yield (f"sqlite:///{Path(folder) / f'bench{n}.db'}" for n in itertools.count())
        return
    import psycopg

    with postgres.server() as server:

        def new() -> Iterator[str]:
            for n in itertools.count():
                with psycopg.connect(f"{server}/postgres", autocommit=True) as db:
                    db.execute(f"CREATE DATABASE bench{n}")
                yield f"{server}/bench{n}"

        yield new()


def measure(kind: str, sizes: list[int], many: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    with databases(kind) as urls:
        for size in sizes:
            url = next(urls)
            database = Database(url, pool=2)
            upgrade(database)
            known = fill(database, size)
            found[str(size)] = {"lookup": lookups(database, known, many)}
            database.close()
            found[str(size)]["sweep"] = swept(url)
    first, last = (found[str(size)]["lookup"]["p95_ms"] for size in (sizes[0], sizes[-1]))
    found["growth_p95"] = round(last / first, 2)
    if sizes[-1] >= FULL:
        largest = found[str(sizes[-1])]
        found["bars"] = {
            f"p95 at most {BARS[kind]} ms": last <= BARS[kind],
            f"growth at most {GROWTH}": last <= GROWTH * first,
            f"sweep at most {SWEEP_SECONDS} s": largest["sweep"]["seconds"] <= SWEEP_SECONDS,
            f"sweep at most {SWEEP_BYTES:.1e} bytes": largest["sweep"]["peak_bytes"] <= SWEEP_BYTES,
        }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--contacts", default="10000,100000")
    parser.add_argument("--full", action="store_true", help="a million, too")
    parser.add_argument("--lookups", type=int, default=2_000)
    parser.add_argument("--databases", default="sqlite,postgresql")
    parser.add_argument("--sweep", metavar="URL", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.sweep is not None:
        print(json.dumps(sweep_here(arguments.sweep)))
        return
    sizes = sorted({int(size) for size in arguments.contacts.split(",")} | ({FULL} if arguments.full else set()))
    found: dict[str, Any] = {"what": "identity resolution: one lookup, and a sweep over all"}
    for kind in arguments.databases.split(","):
        try:
            found[kind] = measure(kind, sizes, arguments.lookups)
        except postgres.Missing as problem:
            found[kind] = {"skipped": str(problem)}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
