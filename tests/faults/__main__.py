"""Run the campaign: ``python -m tests.faults --schedules 200 --seed 1``.

The last line says what was lost, doubled, diverged or resurrected; the exit code is 1 unless all are 0.  The line
before is JSON: each kind of fault, how often it was injected, in how many schedules, and what it struck.
"""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

from tests.faults.campaign import BLOCK, Campaign
from tests.faults.process import SABOTEURS


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    add = parser.add_argument
    add("--schedules", type=int, default=200, help="how many (default: %(default)s)")
    add("--seed", type=int, default=1, help="the same seed, the same schedules (default: %(default)s)")
    add("--first", type=int, default=0, help="number of the first schedule, to replay one (default: %(default)s)")
    add("--block", type=int, default=BLOCK, help="schedules that share processes and a store (default: %(default)s)")
    add("--sqlite", action="store_true", help="on SQLite instead of PostgreSQL")
    add("--saboteur", choices=sorted(SABOTEURS), help="break the engine in this way, and stop once it is caught")
    add("--log", type=Path, help="append what the service's processes say to this file")
    add("--verbose", action="store_true", help="a line for each schedule")
    args = parser.parse_args()
    campaign = Campaign(args.seed, sqlite=args.sqlite, saboteur=args.saboteur, log=args.log, block=args.block)
    campaign.verbose = args.verbose
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that no process is left behind
    try:
        campaign.run(range(args.first, args.first + args.schedules))
    finally:  # also of a run that was told to stop
        for line in campaign.report():
            sys.stdout.write(f"{line}\n")
    return int(campaign.failed)


if __name__ == "__main__":
    raise SystemExit(main())
