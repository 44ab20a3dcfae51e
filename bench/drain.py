"""Dirty links per second: how workers share them on one PostgreSQL, and what a link costs beside the vendor.

``python -m bench.drain [--rounds 3] [--links 6000] [--database URL]``: three figures, each against one of the same run.

* ``push``: whole pushes (lease, read, plan, send, finish) to a vendor that takes 100 ms for a call of ten contacts, by
  four worker processes against one, a thread each.  The vendor is the limit, so four should be four times as fast.
* ``whole``: the same with a vendor that answers at once, in calls of a hundred, by two processes against one, of two
  threads each.
* ``leased``: only leasing and completing, in batches of a hundred, against the same rows deleted in batches that nobody
  leases.

Without ``--database`` it starts a server of its own, with fsync on.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from sqlalchemy import delete, func, insert, select, text

from app.core import leases
from app.core import tables as t
from app.core.db import Database
from app.core.retry import Schedule
from app.core.words import Mode
from app.push import work
from app.push.push import Push
from app.records import state
from app.records.migrate import upgrade
from app.sync import mapping
from app.sync.connection import Connection, Connections
from connectors.contract import Can, Connector, Done, Limits, Order, Receipt, Side
from tests import postgres

NAME = "bench"
LEASE_MS = 60_000
THREADS = 2  # per process, as TANDEM_WORKERS
MAPPING = """
version: 1
connector: bench
keys: [email]
fields:
  email: {theirs: mail, winner: crm, clear: ignored, required: true, read: [lower_email], write: [lower_email]}
  given_name: {theirs: first, winner: crm, clear: ignored}
  family_name: {theirs: last, winner: newest, clear: allowed}
  city: {theirs: town, winner: marketing, clear: allowed}
"""


class Vendor(Connector):
    """Takes everything, after a while."""

    name = NAME
    side = Side.CRM
    can = frozenset({Can.WRITE})
    settings = ()
    hosts = frozenset()

    def __init__(self, batch: int, seconds: float) -> None:
        http: Any = None
        super().__init__({}, http)
        self.limits = Limits(write_batch=batch)  # type: ignore[misc]
        self.seconds = seconds

    def write(self, orders: Sequence[Order]) -> Sequence[Receipt]:
        """All of them."""
        if self.seconds:
            time.sleep(self.seconds)
        return [Done(order.key, f"r{order.key}") for order in orders]


def child(url: str, how: str, batch: int, seconds: float) -> None:
    """One worker process: drains until standard input ends; says how much memory and processor time it took."""
    threads_wanted = 1 if seconds else THREADS  # who waits for a vendor is to be counted by its processes
    database = Database(url, pool=threads_wanted + 1)
    worker = leases.new_worker_id()
    vendor = Vendor(batch, 0)
    connection = Connection(NAME, Side.CRM, Mode.LIVE, vendor, mapping.loads(MAPPING, NAME))
    push = Push(database, Connections({NAME: connection}), worker, lease_ms=LEASE_MS, schedule=Schedule())
    step = push.step if how == "push" else lambda: lease(database, worker, batch)
    step()  # once beforehand: statements are compiled at their first use
    vendor.seconds = seconds
    over = threading.Event()

    def run() -> None:
        while not over.is_set():
            if not step():
                over.wait(0.005)

    print("ready", flush=True)
    sys.stdin.readline()
    began = time.process_time()
    threads = [threading.Thread(target=run) for _ in range(threads_wanted)]
    for thread in threads:
        thread.start()
    sys.stdin.read()
    over.set()
    for thread in threads:
        thread.join()
    database.close()
    used = time.process_time() - began
    print(json.dumps([resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, used]), flush=True)


def lease(database: Database, worker: str, batch: int) -> int:
    """Lease a batch and complete it, as ``Push`` does but for the push."""
    with database.write() as db:
        name = work.pick(db, [NAME])
        if name is None:
            return 0
        token, rows = work.lease(db, name, worker, batch, LEASE_MS)
        work.pace(db, name, 0)
    with database.write() as db:
        work.complete(db, NAME, token, [row.contact_id for row in rows], {}, {})
    return len(rows)


def fill(database: Database, links: int) -> None:
    """So many contacts that the vendor does not have, all dirty."""
    with database.write() as db:
        for table in (t.work, t.link, t.contact):
            db.execute(delete(table))
        rows = [
            {
                "id": n,
                "version": 1,
                "facts": {
                    name: {"v": value, "s": "web", "t": 1, "r": "first", "e": None}
                    for name, value in (("email", f"p{n}@x.org"), ("given_name", f"Ann {n}"), ("city", "Bonn"))
                },
                "created_at": 1,
                "updated_at": 1,
            }
            for n in range(1, links + 1)
        ]
        db.execute(insert(t.contact), rows)
        work.mark(db, NAME, dict.fromkeys(range(1, links + 1), 1))
        for table in (t.work, t.link, t.contact):
            db.execute(text(f"ANALYZE {table.name}"))


def left(database: Database) -> int:
    """How many links are dirty."""
    with database.read() as db:
        return int(db.execute(select(func.count()).select_from(t.work)).scalar_one())


@dataclass(frozen=True)
class Drained:
    """One run: links per second, the most memory (MB) of a worker, processor seconds of all workers per 1,000 links."""

    rate: float
    memory: int = 0
    cpu: float = 0


def drained(database: Database, processes: int, how: str, batch: int, seconds: float, links: int) -> Drained:
    """By so many worker processes."""
    fill(database, links)
    url = database.url.render_as_string(hide_password=False)
    command = [sys.executable, "-m", "bench.drain", "--child", url, how, str(batch), str(seconds)]
    workers = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(processes)
    ]
    try:
        for worker in workers:
            assert worker.stdout is not None
            assert worker.stdout.readline() == "ready\n"
        links = left(database)
        began = time.perf_counter()
        for worker in workers:
            assert worker.stdin is not None
            worker.stdin.write("go\n")
            worker.stdin.flush()
        end = began + 120
        while left(database):
            if time.perf_counter() > end:
                raise TimeoutError("links are left")
            time.sleep(0.05)
        rate = links / (time.perf_counter() - began)
        said = [json.loads(worker.communicate(timeout=30)[0]) for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
    return Drained(rate, max(memory for memory, _ in said), 1000 * sum(cpu for _, cpu in said) / links)


def deleted(database: Database, links: int) -> Drained:
    """Where one process deletes them, a hundred in a transaction, and nobody leases."""
    fill(database, links)
    began = time.perf_counter()
    for start in range(1, links + 1, 100):
        with database.write() as db:
            ids = range(start, start + 100)
            db.execute(delete(t.work).where(t.work.c.connection == NAME, t.work.c.contact_id.in_(ids)))
    return Drained(links / (time.perf_counter() - began))


def measure(database: Database, rounds: int, links: int, only: str | None) -> dict[str, Any]:
    """Interleaved rounds."""
    upgrade(database)
    with database.write() as db:
        state.ensure(db, [NAME])
    few = links // 4
    plans = {
        "push": (
            lambda: drained(database, 4, "push", 10, 0.1, few),
            lambda: drained(database, 1, "push", 10, 0.1, few),
        ),
        "whole": (
            lambda: drained(database, 2, "push", 100, 0, links),
            lambda: drained(database, 1, "push", 100, 0, links),
        ),
        "leased": (
            lambda: drained(database, 2, "lease", 100, 0, 4 * links),
            lambda: deleted(database, 4 * links),
        ),
    }
    said = {
        "push": "links/s, a vendor of 100 ms for 10 contacts, 4 processes against 1",
        "whole": "links/s, a vendor that answers at once, 2 processes against 1",
        "leased": "links/s leased and completed by 2 processes, against deleted by 1",
    }
    found: dict[str, Any] = {"database": database.dialect, "load_before": round(os.getloadavg()[0], 1)}
    for name, (these, base) in plans.items():
        if only not in {None, name}:
            continue
        pairs = [(these(), base()) for _ in range(rounds)]
        ratios = [these.rate / base.rate for these, base in pairs]
        found[name] = {
            "what": said[name],
            "per_second": round(statistics.median(these.rate for these, _ in pairs)),
            "baseline_per_second": round(statistics.median(base.rate for _, base in pairs)),
            "ratio": round(statistics.median(ratios), 2),
            "ratios": [round(ratio, 2) for ratio in ratios],
            "worker_cpu_seconds_per_1000": round(statistics.median(these.cpu for these, _ in pairs), 3),
            "worker_memory_mb": max(these.memory for these, _ in pairs),
        }
    reached = {
        "push": ("four processes at least 3.5 times one", lambda f: f["ratio"] >= 3.5),
        "leased": ("at least 5,000 links leased and completed a second", lambda f: f["per_second"] >= 5_000),
    }
    found["bars"] = {words: kept(found[name]) for name, (words, kept) in reached.items() if name in found}
    return found


@contextlib.contextmanager
def store(url: str | None) -> Iterator[Database]:
    """The database to measure on; a fresh one where none is given."""
    with contextlib.ExitStack() as stack:
        if url is None:
            server = stack.enter_context(postgres.server(durable=True))
            with psycopg.connect(f"{server}/postgres", autocommit=True) as db:
                db.execute("CREATE DATABASE bench")
            url = f"{server}/bench"
        database = Database(url, pool=2)
        stack.callback(database.close)
        yield database


def main() -> None:
    if sys.argv[1:2] == ["--child"]:
        url, how, batch, seconds = sys.argv[2:]
        child(url, how, int(batch), float(seconds))
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--links", type=int, default=6_000)
    parser.add_argument("--only", choices=["push", "whole", "leased"])
    parser.add_argument("--database", help="of PostgreSQL; it is emptied")
    arguments = parser.parse_args()
    with store(arguments.database) as database:
        print(json.dumps(measure(database, arguments.rounds, arguments.links, arguments.only)))


if __name__ == "__main__":
    os.environ.setdefault("TANDEM_LOG_LEVEL", "WARNING")
    main()
