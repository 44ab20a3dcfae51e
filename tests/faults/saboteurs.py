"""Show that the campaign can fail: ``python -m tests.faults.saboteurs``.

Each saboteur breaks one promise of the engine; the campaign has to catch it, with the seed and within the number of
schedules that stand here.  The last line counts; the exit code is 1 unless all are caught.
"""

from __future__ import annotations

import argparse
import sys

from tests.faults.campaign import Campaign
from tests.faults.process import SABOTEURS

SEED = 1
MOST = 20  # schedules until a saboteur counts as not caught; two blocks, so that one of them goes without the poll
# Where only one kind of block can show it: what is never stored is brought all the same by a poll.
FIRST = {"acknowledge_before_store": 10}


def caught(name: str) -> Campaign:
    """The campaign against one saboteur; it ends with the first schedule that goes wrong."""
    campaign = Campaign(SEED, saboteur=name)
    first = FIRST.get(name, 0)
    campaign.run(range(first, first + MOST))
    return campaign


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.saboteurs", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(SABOTEURS)}; default: all")
    names = parser.parse_args().names
    good = 0
    chosen = names if names else sorted(SABOTEURS)
    for name in chosen:
        campaign = caught(name)
        good += campaign.failed
        said = dict(campaign.wrong) if campaign.failed else "not caught"
        sys.stdout.write(f"{name}: {said} after {campaign.schedules} schedules, {campaign.seconds:.0f} s\n")
        sys.stdout.flush()
    sys.stdout.write(f"saboteurs={len(chosen)} caught={good}\n")
    return int(good != len(chosen))


if __name__ == "__main__":
    raise SystemExit(main())
