"""What a change costs in stores of several sizes: processor time and time, from the delivery to the end of its echo.

The stores are filled by SQL with copies of one person who came through the real chain (``tests/crowd.py``), with links
that wait for a brake and events of a vendor that is away beside.  Then changes of people all over the store go through
the real stations, in this process, with vendors that live in dicts: of a hundred 90 edits, 5 new people, 5 withdrawals.
The sizes take turns, and the median of the rounds counts.  On PostgreSQL the server's processor time is added.

``python -m bench.growth [--contacts 10000,100000] [--full] [--rounds 10] [--databases sqlite,postgresql]``
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import psutil
from sqlalchemy import update

from app.core import tables as t
from app.core.clock import now
from app.core.db import Database
from app.core.settings import BrakeConfig
from app.entry import inbox
from app.records.migrate import upgrade
from bench.match import databases
from connectors.contract import Delivery
from tests.crowd import Crowd

FULL = 1_000_000
BAR = 1.3  # of the processor time for a change, from the smallest store to FULL
CHANGES = 200  # in one round
WARM = 2  # rounds that are not counted


def change(crowd: Crowd, numbers: list[int], round_: int) -> None:
    """What people do at the CRM: ``CHANGES`` changes."""
    hub = crowd.world.vendors["hub"]
    for at, n in enumerate(numbers):
        if at % 20 == 0:
            hub.put(None, {"mail": f"n{round_}x{n}@example.com", "first": "Cleo", "last": f"N{n}", "firm": "Acme"})
        elif at % 20 == 1:
            crowd.put("hub", n, {"mailing": "bounced"})
        else:
            crowd.put("hub", n, {"town": f"Ulm {round_}", "first": "Bea"})


def through(crowd: Crowd) -> None:
    """Deliveries, and every station until nothing is left to do."""
    w, c = crowd.world, t.connection_state.c
    while True:
        for name, vendor in w.vendors.items():
            events, vendor.events = vendor.events, []
            if events:
                delivery = Delivery("POST", "https://x.example/", {}, b"{}", now())
                with crowd.database.write() as db:
                    inbox.accept(db, [inbox.Arrived(name, delivery, tuple(events))])
        with crowd.database.write() as db:
            db.execute(update(t.connection_state).where(c.next_at > 0).values(next_at=0))  # no pause between batches
        if not (w.fetch.step() or w.push.step()):
            return


def measured(crowd: Crowd, numbers: list[int], round_: int, server: Callable[[], float]) -> tuple[float, float]:
    """Microseconds of processor and of time for one change."""
    change(crowd, numbers, round_)
    gc.collect()
    cpu, wall = time.process_time() + server(), time.perf_counter()
    through(crowd)
    cpu, wall = time.process_time() + server() - cpu, time.perf_counter() - wall
    done = sum(crowd.world.vendors["chimp"].records[f"chimp{n}"].fields.get("first") == "Bea" for n in numbers)
    if done != sum(at % 20 > 1 for at in range(len(numbers))):
        raise SystemExit(f"only {done} edits arrived: what was measured is not a change")
    return cpu / len(numbers) * 1e6, wall / len(numbers) * 1e6


@contextmanager
def stores(kind: str, sizes: list[int], rounds: int) -> Iterator[tuple[dict[int, Crowd], Callable[[], float]]]:
    with databases(kind) as urls, ExitStack() as stack:
        crowds = {}
        for size in sizes:
            database = Database(next(urls), pool=2)
            stack.callback(database.close)
            upgrade(database)
            began = time.perf_counter()
            crowds[size] = Crowd(database, size, sample=CHANGES * rounds)
            brake = BrakeConfig().value()
            crowds[size].world.brake(chimp=type(brake)(brake.window_ms, dict.fromkeys(brake.limits, _never(brake))))
            print(f"{kind}: {size} contacts stored in {time.perf_counter() - began:.0f} s", flush=True)
        yield crowds, _server_time if kind == "postgresql" else (lambda: 0.0)


def _never(brake: Any) -> Any:
    """A limit that counts as the usual one does, and does not stop in a store of this size."""
    first = next(iter(brake.limits.values()))
    return type(first)(first.count, 1e-9 + 0.9)


def _server_time() -> float:
    """Seconds of processor that the server of this process's own has used, those of ended children included."""
    total = 0.0
    for process in psutil.Process().children(recursive=True):
        try:
            used = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += used.user + used.system + used.children_user + used.children_system
    return total


def measure(kind: str, sizes: list[int], rounds: int) -> dict[str, Any]:
    taken: dict[int, list[tuple[float, float]]] = {size: [] for size in sizes}
    with stores(kind, sizes, rounds + WARM) as (crowds, server):
        for round_ in range(rounds + WARM):
            for size, crowd in crowds.items():
                numbers = crowd.sample[round_ :: rounds + WARM]
                figures = measured(crowd, numbers, round_, server)
                if round_ >= WARM:
                    taken[size].append(figures)
    found: dict[str, Any] = {}
    for size, figures_of in taken.items():
        cpu, wall = (statistics.median(values) for values in zip(*figures_of, strict=True))
        found[str(size)] = {"cpu_us": round(cpu), "wall_us": round(wall)}
    first, last = found[str(sizes[0])], found[str(sizes[-1])]
    found["ratio_cpu"] = round(last["cpu_us"] / first["cpu_us"], 2)
    found["ratio_wall"] = round(last["wall_us"] / first["wall_us"], 2)
    found["bars"] = {f"processor time at most {BAR} times": found["ratio_cpu"] <= BAR}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--contacts", default="10000,100000")
    parser.add_argument("--full", action="store_true", help="a million, too")
    parser.add_argument("--rounds", type=int, default=10, help=f"of {CHANGES} changes each")
    parser.add_argument("--databases", default="sqlite,postgresql")
    arguments = parser.parse_args()
    sizes = sorted({int(size) for size in arguments.contacts.split(",")} | ({FULL} if arguments.full else set()))
    found = {kind: measure(kind, sizes, arguments.rounds) for kind in arguments.databases.split(",")}
    print(json.dumps({"bench": "growth", "changes": CHANGES * arguments.rounds, **found}, indent=2))


if __name__ == "__main__":
    main()
