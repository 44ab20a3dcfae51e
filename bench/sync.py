"""From one vendor to the other: latency of single edits, and calls of a burst.

``python -m bench.sync latency [--edits 100]``: edit at one vendor's API → visible through the other's.
``python -m bench.sync burst``: 1,000 edits over 100 contacts → write calls there, back, and afterwards.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from bench.demo import Demo, demo, until


def latency(edits: int) -> dict[str, Any]:
    """One edit at a time, alternating between the sides."""
    seconds: dict[str, list[float]] = {"hubspot to mailchimp": [], "mailchimp to hubspot": []}
    with demo("--people", "200") as d:
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
        "what": "edit at one vendor's API until visible through the other's",
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


def burst(quiet: float) -> dict[str, Any]:
    """A burst at HubSpot: 1,000 edits over 100 contacts, each through the public API."""
    with demo("--people", "200") as d:
        both = [c for c in d.contacts() if d.member(c["properties"]["email"]) is not None][:100]
        start_there, start_here = _last(d, d.mailchimp), _last(d, d.hubspot)
        began = time.perf_counter()
        for n in range(1000):
            contact = both[n % 100]
            d.hubspot.patch(
                f"/crm/v3/objects/contacts/{contact['id']}", json={"properties": {"city": f"B{n}"}}
            ).raise_for_status()
        took = time.perf_counter() - began
        last = {c["properties"]["email"]: f"B{900 + i}" for i, c in enumerate(both)}
        until(lambda: all(_city(d, email) == city for email, city in last.items()), 60, 0.1)
        landed = time.perf_counter() - began
        writes = [c for c in d.calls(d.mailchimp, start_there) if c["write"]]
        back = [c for c in d.calls(d.hubspot, start_here) if c["write"]]
        after_there, after_here = _last(d, d.mailchimp), _last(d, d.hubspot)
        time.sleep(quiet)
        late = [c for c in d.calls(d.mailchimp, after_there) + d.calls(d.hubspot, after_here) if c["write"]]
    return {
        "what": "1,000 edits over 100 contacts in a burst",
        "edit_seconds": round(took, 2),
        "all_landed_seconds": round(landed, 2),
        "write_calls_other_side": len(writes),
        "write_calls_back": len(back),
        "writes_after_quiescence": len(late),
        "quiet_seconds": quiet,
    }


def _last(d: Demo, vendor: Any) -> int:
    data = vendor.get("/_sandbox/calls", params={"since": 0}).json()
    found = data["calls"] if isinstance(data, dict) else data
    return max((c["n"] for c in found), default=0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["latency", "burst"])
    parser.add_argument("--edits", type=int, default=100)
    parser.add_argument("--quiet", type=float, default=30)
    arguments = parser.parse_args()
    found = latency(arguments.edits) if arguments.what == "latency" else burst(arguments.quiet)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
