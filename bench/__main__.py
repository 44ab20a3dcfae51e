"""Measure everything, one after the other: ``make bench``, or ``python -m bench [--full] [--only NAME …] [--list]``.

Each bench is a command of its own that prints JSON; here they are run in turn on a machine that should have nothing
else to do, and what they print is kept in ``bench/results.json`` with the machine, its speed and the load before.
``docs/performance.md`` is made of that file by ``make docs``.  ``--only`` measures these anew and keeps the others.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import psutil

RESULTS: Final = Path(__file__).with_name("results.json")
CALM: Final = 0.5  # load of the last minute, for each core, above which a measurement is not to be trusted


@dataclass(frozen=True, slots=True)
class Bench:
    """One command.  ``quick`` and ``full``: its options; ``minutes``: after which it is ended, in full."""

    name: str
    about: str
    module: str
    quick: tuple[str, ...] = ()
    full: tuple[str, ...] = ()
    minutes: int = 20

    def command(self, *, full: bool) -> list[str]:
        """As it is typed."""
        return ["python", "-m", self.module, *(self.full if full else self.quick)]


BENCHES: Final = (
    Bench("start", "from the start of the process to the first acknowledgement; idle memory", "bench.start"),
    Bench(
        "ack",
        "durable acknowledgements at 64 connections, against a bare Starlette route",
        "bench.ack",
        ("--rounds", "1", "--requests", "6000"),
    ),
    Bench(
        "pipeline",
        "contacts through mapping, matching, merging and store, against bulk SQL",
        "bench.pipeline",
        ("--contacts", "3000"),
        ("--contacts", "20000", "--databases", "sqlite,postgresql"),
    ),
    Bench(
        "latency",
        "an edit at one vendor until the other shows it",
        "bench.sync",
        ("latency", "--edits", "20", "--vendor-ms", "0,50"),
        ("latency",),
    ),
    Bench(
        "calls",
        "write calls for 10,000 edits over 1,000 contacts, a mass update, a trickle",
        "bench.sync",
        ("calls", "--people", "200"),
        ("calls",),
    ),
    Bench(
        "optout",
        "a withdrawal of consent behind ordinary changes",
        "bench.optout",
        ("--people", "3000"),
        ("--people", "22700"),
        20,
    ),
    Bench(
        "match",
        "one lookup by likeness, and a sweep, in stores of several sizes",
        "bench.match",
        ("--contacts", "10000", "--databases", "sqlite"),
        ("--full",),
        90,
    ),
    Bench("clocks", "one question to the clocks of the agreement", "bench.clocks"),
    Bench("scorecard", "the scorecard from maintained sums", "bench.scorecard", ("--leads", "2000"), (), 90),
    Bench("console", "the pages of the console among many contacts", "bench.console", (), (), 30),
    Bench("drain", "dirty links pushed by several workers on PostgreSQL", "bench.drain", ("--rounds", "1"), (), 30),
    Bench(
        "growth",
        "what a change costs in stores of several sizes",
        "bench.growth",
        ("--contacts", "5000,20000", "--rounds", "3", "--databases", "sqlite"),
        ("--full", "--rounds", "8"),
        90,
    ),
    Bench(
        "reading",
        "the first reading of two accounts of several sizes",
        "bench.reading",
        ("--records", "2000,10000"),
        ("--records", "10000,100000,1000000"),
        120,
    ),
    Bench(
        "backfill",
        "from nothing to in step, between two accounts that half agree",
        "bench.backfill",
        ("--people", "500"),
        ("--people", "100000"),
        60,
    ),
    Bench(
        "peers",
        "beside a FastAPI handler, Node-RED and n8n: who is how fast, who loses what",
        "bench.peers",
        ("--quick",),
        ("--latency-ms", "0,50,200"),
        90,
    ),
)


def said(output: str) -> Any:
    """The JSON that a bench printed last; None where it printed none."""
    decoder, found = json.JSONDecoder(), None
    lines = output.splitlines(keepends=True)
    skip = 0
    for n, line in enumerate(lines):
        if n < skip or not line.startswith("{"):
            continue
        try:
            found, end = decoder.raw_decode("".join(lines[n:]))
        except json.JSONDecodeError:
            continue
        skip = n + "".join(lines[n:])[:end].count("\n") + 1
    return found


def machine() -> dict[str, Any]:
    """What it was measured on."""
    return {
        "cores": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 2**30),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
    }


def speed_ms() -> int:
    """The milliseconds of a piece of work like ours, the best of five: how fast the machine is just now.

    100,000 small objects are made, sorted and written as JSON: more memory than a core's own cache holds, whose speed
    depends on the neighbours of a virtual machine most, by a factor of two or three from one day to another.  Seconds
    compare where this is alike.
    """

    def one() -> float:
        began = time.perf_counter()
        rows = [{"id": n, "name": f"Name {n}", "at": n * 7919 % 100_003, "of": [n, None]} for n in range(100_000)]
        rows.sort(key=lambda row: row["at"])
        json.dumps(rows)
        return time.perf_counter() - began

    return round(1000 * min(one() for _ in range(5)))


def run(bench: Bench, *, full: bool) -> dict[str, Any]:
    """Run one; what it found, how long it took, and the load before."""
    command = bench.command(full=full)
    load, speed = os.getloadavg()[0], speed_ms()
    began = time.monotonic()
    entry: dict[str, Any] = {
        "about": bench.about,
        "command": " ".join(command),
        "at": datetime.now(UTC).isoformat(timespec="minutes"),
        "load_before": round(load, 2),
        **machine(),
    }
    try:
        done = subprocess.run(
            [sys.executable, *command[1:]],
            stdout=subprocess.PIPE,
            text=True,
            timeout=60 * bench.minutes,
            check=False,
        )
    except subprocess.TimeoutExpired:
        entry["failed"] = f"not done after {bench.minutes} minutes"
    else:
        entry["found"] = said(done.stdout)
        if done.returncode or entry["found"] is None:
            entry["failed"] = f"ended with {done.returncode}"
    seconds = round(time.monotonic() - began)
    return {**entry, "seconds": seconds, "speed_ms": [speed, speed_ms()]}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--full", action="store_true", help="the sizes that docs/performance.md speaks of; hours")
    parser.add_argument("--only", nargs="+", choices=[b.name for b in BENCHES], metavar="NAME")
    parser.add_argument("--list", action="store_true", help="say what there is, and run nothing")
    parser.add_argument("--out", type=Path, default=RESULTS, help="the file to keep the results in")
    arguments = parser.parse_args()
    if arguments.list:
        for bench in BENCHES:
            print(f"{bench.name:10} {bench.about}\n{'':10} {' '.join(bench.command(full=arguments.full))}")
        return 0
    kept = json.loads(arguments.out.read_text()) if arguments.out.exists() else {}
    failed = 0
    for bench in BENCHES:
        if arguments.only and bench.name not in arguments.only:
            continue
        if os.getloadavg()[0] > CALM * (os.cpu_count() or 1):
            print(f"{bench.name}: other work is under way on this machine; figures will be too slow", file=sys.stderr)
        print(f"{bench.name}: {' '.join(bench.command(full=arguments.full))}", file=sys.stderr, flush=True)
        kept[bench.name] = run(bench, full=arguments.full)
        failed += "failed" in kept[bench.name]
        print(json.dumps({bench.name: kept[bench.name]}), flush=True)
        arguments.out.write_text(json.dumps(kept, indent=2) + "\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
