"""Tandem beside what a user would pick instead: ``python -m bench.peers [--only …] [--changes N] [--latency-ms 0,50]``.

The same simulated vendors, the same edits, the same checker, one after the other on this machine: Tandem, a FastAPI
handler, Node-RED, n8n.  What is not installed is skipped and says so; ``make bench-peers-install`` installs it.  What
is compared and how: docs/performance-peers.md.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.peers import vendors
from bench.peers.measure import Course
from bench.peers.receivers import RECEIVERS, Receiver, Tandem, about
from bench.profile import looked_at

WARM_UP = 100
BAR_LATENCY = 50  # ms of the vendors, at which the bars hold
BAR_N8N = 50  # times
BAR_P95 = 250  # ms


def one(kind: type[Receiver], changes: int, edits: int, rounds: int, latency: float) -> dict[str, Any]:
    """One receiver among vendors that answer after ``latency`` seconds."""
    with (
        vendors.running(max(changes, edits, WARM_UP)) as there,
        tempfile.TemporaryDirectory(prefix="tandem-bench-", ignore_cleanup_errors=True) as folder,
    ):
        receiver = kind(Path(folder), there)
        try:
            receiver.prepare()
            receiver.start()
            there.slow(latency)
            there.tell(receiver.url)
            course = Course(there, receiver)
            course.warm_up(min(WARM_UP, changes))
            single = course.single(edits)
            bursts = [course.burst(changes) for _ in range(rounds)]
            # The one in the middle counts; what was lost or doubled in any round is told as well.
            burst = sorted(bursts, key=lambda b: b["seconds"] if b["seconds"] is not None else float("inf"))
            middle = burst[(rounds - 1) // 2]
            for name in ("lost", "doubled", "unasked"):
                middle[name] = max(b[name] for b in bursts)
            middle["rounds_per_second"] = [b["per_second"] for b in bursts]
            found = {"single": single, "burst": middle, "killed": course.killed(changes)}
            if kind is Tandem and round(latency * 1000) == BAR_LATENCY:
                with looked_at(receiver.pid) as look:
                    course.burst(changes)
                found["profile"] = look.shares
            return found
        finally:
            there.tell(None)
            receiver.stop()


def ratio(figure: float | None, base: float | None) -> float | None:
    """``figure`` in parts of ``base``."""
    return round(figure / base, 3) if figure is not None and base else None


def beside(found: dict[str, Any], base: dict[str, Any]) -> dict[str, Any]:
    """Figures in parts of another one's of the same run."""
    return {
        "per_second": ratio(found["burst"]["per_second"], base["burst"]["per_second"]),
        "p50": ratio(found["single"]["p50_ms"], base["single"]["p50_ms"]),
        "p95": ratio(found["single"]["p95_ms"], base["single"]["p95_ms"]),
        "calls": ratio(found["burst"]["calls_of_one_change"], base["burst"]["calls_of_one_change"]),
        "memory": ratio(found["burst"]["memory_mb"], base["burst"]["memory_mb"]),
    }


def bars(found: dict[str, Any]) -> dict[str, bool]:
    """What we mean to reach, with vendors that take 50 ms."""
    tandem = found.get(Tandem.name, {})
    if "burst" not in tandem:
        return {}
    ours = tandem["burst"]["per_second"]
    said = {
        f"p95 of single edits at most {BAR_P95} ms": (tandem["single"]["p95_ms"] or float("inf")) <= BAR_P95,
        "nothing lost at SIGKILL": tandem["killed"]["lost"] == 0,
    }
    for name, times in (("nodered", 1), ("n8n", BAR_N8N)):
        theirs = found.get(name, {}).get("burst", {}).get("per_second")
        if theirs is not None:
            words = f"ahead of {name}" if times == 1 else f"more than {times} times the changes of {name}"
            said[words] = ours is not None and ours > times * theirs
    return said


def measure(kinds: list[type[Receiver]], changes: int, edits: int, rounds: int, latencies: list[int]) -> dict[str, Any]:
    """All of them with each latency."""
    result: dict[str, Any] = {
        "bench": "peers",
        "what": "edits at HubSpot until they are at Mailchimp, beside what a user would pick instead",
        "changes": changes,
        "latency_ms": latencies,
        "peers": {},
    }
    there = []
    for kind in kinds:
        why = kind.missing()
        result["peers"][kind.name] = {"skipped": why} if why is not None else about(kind)
        if why is None:
            there.append(kind)
        else:
            print(f"{kind.name}: skipped, {why}", file=sys.stderr)
    for latency in latencies:
        found: dict[str, Any] = {}
        for kind in there:
            began, load = time.monotonic(), os.getloadavg()[0]
            try:
                found[kind.name] = one(kind, changes, edits, rounds, latency / 1000)
            except (TimeoutError, RuntimeError) as error:
                found[kind.name] = {"failed": str(error)}
            took = round(time.monotonic() - began)
            said = json.dumps(found[kind.name])
            print(f"{latency} ms, {kind.name}: {took} s, load before {load:.1f}: {said}", file=sys.stderr, flush=True)
        base = found.get(Tandem.name, {})
        if "burst" in base:
            for name, of in found.items():
                if name != Tandem.name and "burst" in of:
                    of["of_tandem"] = beside(of, base)
        if latency == BAR_LATENCY and (reached := bars(found)):
            found["bars"] = reached
        result[f"vendors answer after {latency} ms"] = found
    return result


def main() -> int:
    """Measure, and print JSON."""
    names = [kind.name for kind in RECEIVERS]
    parser = argparse.ArgumentParser(prog="python -m bench.peers", description=__doc__)
    parser.add_argument("--only", default=",".join(names), metavar="NAMES", help="default: %(default)s")
    parser.add_argument("--changes", type=int, default=1000, help="of a burst (default: %(default)s)")
    parser.add_argument("--edits", type=int, default=40, help="one after the other (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="bursts (default: %(default)s)")
    parser.add_argument("--latency-ms", default="50", metavar="MS", help="of both vendors, with commas (default: 50)")
    parser.add_argument("--quick", action="store_true", help="400 changes, 10 edits, one round")
    arguments = parser.parse_args()
    wanted = arguments.only.split(",")
    if unknown := set(wanted) - set(names):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    if arguments.quick:
        arguments.changes, arguments.edits, arguments.rounds = 400, 10, 1
    kinds = [kind for kind in RECEIVERS if kind.name in wanted]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was started is ended on the way out
    latencies = [int(text) for text in arguments.latency_ms.split(",")]
    found = measure(kinds, arguments.changes, arguments.edits, arguments.rounds, latencies)
    print(json.dumps(found, indent=2))
    return int(any("failed" in of for _, of in _each(found)))


def _each(found: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """What was found of whom, with every latency."""
    for name, one in found.items():
        if name.startswith("vendors "):
            yield from one.items()


if __name__ == "__main__":
    sys.exit(main())
