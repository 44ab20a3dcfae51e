"""The first reading of two accounts of several sizes, by vendors that answer at once: how fast, and in what memory.

``python -m bench.reading [--records 10000,100000]``: as many records, half of them in each account as in
``bench.backfill``, read, matched and merged by one process that writes nothing (``observe``).  JSON by size: records a
second, the processor time that our process used for each, its largest memory; how that time grows from the smallest
size, read before and after all others, to the largest; and where it goes, seen in a reading of the smallest size of its
own.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from bench.backfill import PENDING, READ, THROUGH, Accounts, Runner, sandbox, until
from bench.profile import looked_at

RATE, MEMORY_MB, GROWTH = 2_000, 300, 1.3  # bars
LOOK_SECONDS = 20  # of a reading, at most


def reading(records: int) -> dict[str, Any]:
    """Read everything once, from a store without a record."""
    with _accounts(records) as (run, accounts):
        with run.running("serve") as process:
            seen = psutil.Process(process.pid)
            until(lambda: run.count(READ) > 0, 60, 0.01)
            started, used = time.perf_counter(), sum(seen.cpu_times()[:2])
            already = run.count(READ)
            until(lambda: run.count(THROUGH) == 2 and run.count(PENDING) == 0, 120 + records / 50)
            took, used = time.perf_counter() - started, sum(seen.cpu_times()[:2]) - used
            read = run.count(READ)
        calls = accounts.calls()
    print(f"{read} records: {took:.1f} s", file=sys.stderr)
    return {
        "records": read,
        "seconds": round(took, 1),
        "records_per_second": round((read - already) / took),
        "processor_ms_for_each": round(1000 * used / (read - already), 3),
        "memory_mb": round(max(run.most.values()) / 1e6),
        "calls": sum(one["reads"] for one in calls.values()),
    }


def looking(records: int) -> dict[str, float] | str:
    """Where the processor time of a reading goes."""
    with _accounts(records) as (run, _), run.running("serve") as process:
        until(lambda: run.count(READ) > 0, 60, 0.01)
        with looked_at(process.pid) as found, contextlib.suppress(TimeoutError):
            until(lambda: run.count(THROUGH) == 2, LOOK_SECONDS)
    return found.shares


@contextlib.contextmanager
def _accounts(records: int) -> Iterator[tuple[Runner, Accounts]]:
    with (
        tempfile.TemporaryDirectory(prefix="tandem-bench-") as made,
        sandbox() as said,
        contextlib.closing(Accounts(said, records // 2)) as accounts,
    ):
        accounts.fill()
        accounts.calls()
        run = Runner(Path(made), said)
        run.mode("observe")
        yield run, accounts


def bench(sizes: list[int]) -> dict[str, Any]:
    """All sizes, one after the other."""
    found = [reading(size) for size in sizes]
    # A virtual machine may be half as fast an hour later: the smallest size is read again behind the largest.
    least = [found[0]["processor_ms_for_each"], reading(sizes[0])["processor_ms_for_each"]]
    growth = found[-1]["processor_ms_for_each"] / (sum(least) / 2)
    return {
        "bench": "reading",
        "sizes": {f"{one['records']:,}": {k: v for k, v in one.items() if k != "records"} for one in found},
        "processor_ms_for_each_before_and_after": least,
        "growth": round(growth, 2),
        "bars": {
            f"at least {RATE:,} records a second": found[-1]["records_per_second"] >= RATE,
            f"at most {MEMORY_MB} MB": max(one["memory_mb"] for one in found) <= MEMORY_MB,
            f"growth at most {GROWTH}": growth <= GROWTH,
        },
        "profile": looking(sizes[0]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", default="10000,100000")
    print(json.dumps(bench([int(size) for size in parser.parse_args().records.split(",")])))


if __name__ == "__main__":
    main()
