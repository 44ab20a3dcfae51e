"""A process that holds a right and can be killed or stopped with it.  The database is ``TANDEM_DATABASE``.

``python -m tests.holder duty NAME``: a worker with one duty, each step of which leaves a row of its name.
``python -m tests.holder stopped NAME``: the same duty without a worker: three steps, stops itself (SIGSTOP), then tries
twenty more.
``python -m tests.holder push``: leases the dirty links of ``hubspot``, stops itself, then completes them and says how
many were no more its own.
``python -m tests.holder refresh``: eight threads that need one result at once; says the results.
``python -m tests.holder token``: eight threads that call HubSpot's simulator at ``HUBSPOT`` by OAuth; says the status
of their calls and the number of the token that each had in the end.  ``SABOTEUR``: no flight is shared.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from sqlalchemy import Connection as Db
from sqlalchemy import insert

from app import logs, worker
from app.core import flights
from app.core import tables as t
from app.core.db import Database, now_ms
from app.core.duties import Duty
from app.core.flights import Landed
from app.core.sealing import Keys
from app.core.words import Station
from app.push import work
from app.records.access import Access
from app.worker import Wake, Workers
from connectors._http import Http
from connectors._oauth import Authority
from connectors._oauth_facts import Client, Grant
from connectors._oauth_vendors import hubspot
from connectors.contract import Limits, Problem
from sandbox.hubspot import SECRET
from sandbox.oauth import CLIENT

LEASE_MS = 1_500
LONG_MS = 3_600_000


def stop() -> None:
    """Until somebody sends SIGCONT."""
    os.kill(os.getpid(), signal.SIGSTOP)


def duty(database: Database, name: str) -> Duty:
    def row(db: Db) -> int:
        values = {"kind": name, "params": {}, "status": "done", "total": 0, "done": 0, "started_at": now_ms()}
        db.execute(insert(t.run).values(**values))
        return 1

    return Duty(database, "test", name, row, every_ms=LONG_MS, lease_ms=LEASE_MS)


def serve(database: Database, name: str) -> None:
    """A worker process, until standard input ends."""
    held = duty(database, name)

    def step() -> int:
        time.sleep(0.02)
        return held.step()

    worker.BEAT = 0.2
    workers = Workers(database, name, {Station.FETCH: (step, 1)}, Wake(), lease_ms=LEASE_MS)
    print("ready", flush=True)
    workers.start()
    sys.stdin.read()
    workers.stop()


def stopped(database: Database, name: str) -> None:
    # Without a heart: stopped in the middle of a transaction of its own, the process would hold up all of SQLite.
    held = duty(database, name)
    steps = [held.step() for _ in range(3)]
    print(sum(steps), flush=True)
    stop()
    print(sum(held.step() for _ in range(20)), flush=True)


def push(database: Database) -> None:
    with database.write() as db:
        token, rows = work.lease(db, "hubspot", "frozen", 10, LONG_MS)
    print(len(rows), flush=True)
    stop()
    with database.write() as db:
        lost = work.complete(db, "hubspot", token, [row.contact_id for row in rows], {}, {})
    print(len(lost), flush=True)


def refresh(database: Database) -> None:
    """Each call of ``work`` leaves a row; it takes a while, so that the others do not miss it."""

    def work() -> Landed:
        with database.write() as db:
            values = {"kind": "refresh", "params": {}, "status": "done", "total": 0, "done": 0, "started_at": now_ms()}
            number = db.execute(insert(t.run).values(**values).returning(t.run.c.id)).scalar_one()
        time.sleep(0.3)
        return Landed(f"token {number}", LONG_MS)

    def need(_n: int) -> str:
        return flights.shared(database, "test", "me", work, refused="old", lease_ms=LONG_MS, sleep=time.sleep)

    print("ready", flush=True)
    sys.stdin.readline()
    with ThreadPoolExecutor(8) as pool:
        print(*sorted(set(pool.map(need, range(8)))), sep=", ", flush=True)


def token(database: Database) -> None:
    """All hold the same token before the first call goes out."""
    url = os.environ["HUBSPOT"]
    client = Client(CLIENT, SECRET)
    authority = Authority(hubspot(url, url), Grant.CODE, client, now=time.time)
    access = Access(database, "hubspot", authority, Keys([os.environ["TANDEM_ENCRYPTION_KEYS"]]), "me")
    http = Http(base_url=url, hosts=(), limits=Limits(concurrency=8), tokens=access)
    if "SABOTEUR" in os.environ:
        flights.shared = lambda *given, **_: given[3]().value  # type: ignore[assignment]
    first = access.current()
    together = threading.Barrier(8)

    def call(_n: int) -> str:
        together.wait()
        try:
            status = http.send("GET", "/crm/v3/objects/contacts").status_code
        except Problem as problem:
            return type(problem).__name__
        return f"{status} with token {access.current(refused=first).number}"

    print("ready", flush=True)
    sys.stdin.readline()
    with ThreadPoolExecutor(8) as pool:
        print(*sorted(set(pool.map(call, range(8)))), sep=", ", flush=True)
    http.close()
    authority.close()


def main() -> None:
    logs.set_up("ERROR", json=False)
    database = Database(os.environ["TANDEM_DATABASE"], pool=2)
    match sys.argv[1:]:
        case ["duty", name]:
            serve(database, name)
        case ["stopped", name]:
            stopped(database, name)
        case ["push"]:
            push(database)
        case ["refresh"]:
            refresh(database)
        case ["token"]:
            token(database)
    database.close()


if __name__ == "__main__":
    main()
