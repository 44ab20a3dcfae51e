"""From one vendor to the other: latency of single edits, and calls for changes in three manners.

``python -m bench.sync latency [--edits 60] [--vendor-ms 0,50,200]``: edit at one vendor's API → visible through the
other's, with vendors that take so long for an answer.
``python -m bench.sync calls [--people 1000]``: write calls there, back, and afterwards, against the least that is
possible, for a burst (ten edits of everybody as fast as they go in), for a mass update (one field of everybody) and for
a trickle (one edit after the other, each seen there before the next).
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from bench.demo import Demo, demo, until

MAILCHIMP_BATCH = 200  # members in one call, as the connector sends them
HUBSPOT_BATCH = 100  # contacts in one call, as this bench edits them
ROUNDS = 10  # edits of each contact in a burst
TRICKLE = 20  # edits
P95_AT_50_MS = 0.25  # seconds
CALLS = 1.2  # times the least


def latency(edits: int, waits: list[int]) -> dict[str, Any]:
    """One edit at a time, alternating between the sides, with vendors of each slowness."""
    found: dict[str, Any] = {"bench": "latency", "what": "edit at one vendor's API until visible through the other's"}
    for wait in waits:
        found[f"vendors_of_{wait}_ms"] = _latency(edits, wait / 1000)
    if 50 in waits:
        p95 = found["vendors_of_50_ms"]["p95_seconds"]
        found["bars"] = {f"p95 with vendors of 50 ms at most {P95_AT_50_MS} s": p95 <= P95_AT_50_MS}
    return found


def _latency(edits: int, wait: float) -> dict[str, Any]:
    seconds: dict[str, list[float]] = {"hubspot to mailchimp": [], "mailchimp to hubspot": []}
    with demo("--people", "200") as d:
        d.slow(wait)
        both = [c for c in d.contacts() if d.member(c["properties"]["email"]) is not None]
        for n in range(edits):
            contact = both[n % len(both)]
            email, wanted = contact["properties"]["email"], f"Town {n}"
            if n % 2 == 0:
                d.hubspot.patch(f"/crm/v3/objects/contacts/{contact['id']}", json={"properties": {"city": wanted}})
                took = until(partial(_is, _city, d, email, wanted), 30)
                seconds["hubspot to mailchimp"].append(took)
            else:
                member = d.member(email)
                assert member is not None
                d.mailchimp.patch(
                    f"/lists/{d.list_id}/members/{member['id']}", json={"merge_fields": {"CITY": wanted}}
                ).raise_for_status()
                took = until(partial(_is, _hub_city, d, contact["id"], wanted), 30)
                seconds["mailchimp to hubspot"].append(took)
    every = sorted(s for found in seconds.values() for s in found)
    return {
        "edits": len(every),
        "p50_seconds": round(statistics.median(every), 3),
        "p95_seconds": round(every[int(0.95 * len(every))], 3),
        "max_seconds": round(every[-1], 3),
        **{f"p95_seconds {k}": round(sorted(v)[int(0.95 * len(v))], 3) for k, v in seconds.items() if v},
    }


def _is(look: Callable[[Demo, str], str | None], d: Demo, who: str, wanted: str) -> bool:
    return look(d, who) == wanted


def _city(d: Demo, email: str) -> str | None:
    member = d.member(email)
    return None if member is None else member["merge_fields"].get("CITY")


def _hub_city(d: Demo, contact_id: str) -> str | None:
    answer = d.hubspot.get(f"/crm/v3/objects/contacts/{contact_id}", params={"properties": "city"}).json()
    return answer["properties"].get("city")


def calls(people: int, quiet: float) -> dict[str, Any]:
    """The three manners, one after the other, on one demo."""
    with demo("--people", str(people * 2)) as d:
        # Some of the demo's people are to make trouble: who has unsubscribed is written to by a call of their own, and
        # an address that Mailchimp keeps from being mailed is refused.
        both = [c for c in d.contacts() if (d.member(c["properties"]["email"]) or {}).get("status") == "subscribed"]
        both = both[:people]
        found: dict[str, Any] = {
            "bench": "calls",
            "what": "write calls at the other side for edits at HubSpot, against the least that is possible",
            "contacts": len(both),
            "burst": _edited(d, both, ROUNDS, quiet),
            "mass_update": _edited(d, both, 1, quiet),
            "trickle": _trickle(d, both[:TRICKLE]),
        }
    found["bars"] = {
        f"{name}: at most {CALLS} times the least": found[name]["write_calls"] <= CALLS * found[name]["least"]
        for name in ("burst", "mass_update", "trickle")
    }
    return found


def _edited(d: Demo, both: list[dict[str, Any]], rounds: int, quiet: float) -> dict[str, Any]:
    """Everybody's town again and again, by batches as an import does it."""
    start_there, start_here = _last(d.mailchimp), _last(d.hubspot)
    began = time.perf_counter()
    stamp = f"{began:.0f}"
    for n in range(rounds):
        for at in range(0, len(both), HUBSPOT_BATCH):
            some = both[at : at + HUBSPOT_BATCH]
            inputs = [{"id": c["id"], "properties": {"city": f"B{n} {stamp} {c['id']}"}} for c in some]
            d.hubspot.post("/crm/v3/objects/contacts/batch/update", json={"inputs": inputs}).raise_for_status()
    took = time.perf_counter() - began
    for contact in reversed(both):
        email, city = contact["properties"]["email"], f"B{rounds - 1} {stamp} {contact['id']}"
        until(partial(_is, _city, d, email, city), 120, 0.05)
    landed = time.perf_counter() - began
    writes = [c for c in d.calls(d.mailchimp, start_there) if c["write"]]
    back = [c for c in d.calls(d.hubspot, start_here) if c["write"]]
    after_there, after_here = _last(d.mailchimp), _last(d.hubspot)
    time.sleep(quiet)
    late = [c for c in d.calls(d.mailchimp, after_there) + d.calls(d.hubspot, after_here) if c["write"]]
    return {
        "edits": rounds * len(both),
        "edit_seconds": round(took, 2),
        "all_landed_seconds": round(landed, 2),
        "write_calls": len(writes),
        "least": math.ceil(len(both) / MAILCHIMP_BATCH),
        "write_calls_back": len(back),
        "writes_after_quiescence": len(late),
        "quiet_seconds": quiet,
    }


def _trickle(d: Demo, both: list[dict[str, Any]]) -> dict[str, Any]:
    start_there = _last(d.mailchimp)
    for n, contact in enumerate(both):
        town = f"Drop {n}"
        d.hubspot.patch(f"/crm/v3/objects/contacts/{contact['id']}", json={"properties": {"city": town}})
        until(partial(_is, _city, d, contact["properties"]["email"], town), 30)
    writes = [c for c in d.calls(d.mailchimp, start_there) if c["write"]]
    return {"edits": len(both), "write_calls": len(writes), "least": len(both)}


def _last(vendor: Any) -> int:
    """The number of the last call there."""
    found = vendor.get("/_sandbox/calls", params={"since": 0}).json()["calls"]
    return max((c["n"] for c in found), default=0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["latency", "calls"])
    parser.add_argument("--edits", type=int, default=60, help="for each slowness of the vendors")
    parser.add_argument("--vendor-ms", default="0,50,200", help="what the vendors wait before each answer")
    parser.add_argument("--people", type=int, default=1000)
    parser.add_argument("--quiet", type=float, default=10, help="seconds in which nothing more may be written")
    arguments = parser.parse_args()
    if arguments.what == "latency":
        found = latency(arguments.edits, [int(ms) for ms in arguments.vendor_ms.split(",")])
    else:
        found = calls(arguments.people, arguments.quiet)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
