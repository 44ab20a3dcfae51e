"""One of several worker processes on one database, for tests and benchmarks.

``python -m tests.replica CALLS SECONDS``: workers whose HubSpot allows CALLS in SECONDS and takes one contact a call.
Says ``ready``, works from the first line on standard input until that ends, then stops in good order.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping

from app.core.settings import Settings
from app.main import build
from connectors.contract import Limits, Rate
from connectors.hubspot import HubSpot


def limited(calls: int, seconds: float) -> None:
    """Let HubSpot allow so much, and make many calls of little work."""
    limits = Limits(read_batch=100, find_batch=100, write_batch=1, rates=(Rate(calls, seconds),), concurrency=4)

    def limits_for(_settings: Mapping[str, str]) -> Limits:
        return limits

    HubSpot.limits = limits
    HubSpot.limits_for = staticmethod(limits_for)  # type: ignore[method-assign, assignment]


def main() -> None:
    limited(int(sys.argv[1]), float(sys.argv[2]))
    tandem = build(Settings())
    print("ready", flush=True)
    sys.stdin.readline()
    tandem.start(door=False)
    sys.stdin.read()
    tandem.stop(door=False)


if __name__ == "__main__":
    main()
