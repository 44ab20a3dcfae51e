"""Ask the whole API what nobody would ask: ``python -m tests.fuzz --cases 10000 --seed 1``.

The last line says how many requests were made and what was wrong; the exit code is 1 unless nothing was.
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
from pathlib import Path

import structlog

from tests import postgres
from tests.fuzz.api import Fuzz
from tests.fuzz.stocked import Shelf


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    add = parser.add_argument
    add("--cases", type=int, default=10_000, help="how many requests to draw at least (default: %(default)s)")
    add("--seed", type=int, default=1, help="the same seed, the same requests (default: %(default)s)")
    add("--sweep", action="store_true", help="before that, each bad value in each place")
    add("--only", default="", help="operations whose name holds this, e.g. 'GET /contacts'")
    add("--postgres", action="store_true", help="on a PostgreSQL server started for it instead of SQLite")
    args = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    with tempfile.TemporaryDirectory() as folder:
        if args.postgres:
            with postgres.server() as url:
                return _run(Shelf(Path(folder), url), args)
        return _run(Shelf(Path(folder)), args)


def _run(shelf: Shelf, args: argparse.Namespace) -> int:
    fuzz = Fuzz(shelf, args.seed)
    fuzz.operations = [one for one in fuzz.operations if args.only in one.label]
    if args.sweep:
        fuzz.swept()
    tally = fuzz.run(args.cases) if args.cases else fuzz.tally
    for line in tally.lines():
        sys.stdout.write(f"{line}\n")
    return int(bool(tally.failures))


if __name__ == "__main__":
    raise SystemExit(main())
