"""Opt-out lag with ordinary changes queued ahead: withdrawal at HubSpot → unsubscribed at Mailchimp.

``python -m bench.optout [--people 20000] [--optouts 100]``
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import Any

from bench.demo import demo

P99 = 5.0  # seconds, the bar


def measure(people: int, optouts: int) -> dict[str, Any]:
    """Change everybody's city in batches, then opt some out while that is still on its way."""
    clock = time.perf_counter()

    def tell(what: str) -> None:
        """Progress: the first sync of 20,000 people takes minutes."""
        print(f"{time.perf_counter() - clock:7.1f} s  {what}", file=sys.stderr, flush=True)

    with demo("--people", str(people)) as d:
        tell("the demo stands, both sides synced")
        both = d.contacts()
        # Only a member who is subscribed can be seen to leave.
        ids: dict[str, str] = {}
        for c in reversed(both):
            member = d.member(c["properties"]["email"])
            if member is not None and member["status"] == "subscribed":
                ids[member["contact_id"]] = c["properties"]["email"]
            if len(ids) == optouts:
                break
        for start in range(0, len(both), 100):
            inputs = [{"id": c["id"], "properties": {"city": f"Moved {start}"}} for c in both[start : start + 100]]
            d.hubspot.post("/crm/v3/objects/contacts/batch/update", json={"inputs": inputs}).raise_for_status()
        tell(f"{len(both)} contacts changed at HubSpot")
        seen = max((call["n"] for call in d.calls(d.mailchimp)), default=0)
        began: dict[str, float] = {}
        for email in ids.values():
            began[email] = time.time()
            url = f"/communication-preferences/v4/statuses/{email}/unsubscribe-all"
            d.hubspot.post(url, params={"channel": "EMAIL"}).raise_for_status()
        tell(f"{len(began)} withdrew")
        landed: dict[str, float] = {}
        end = time.perf_counter() + 300
        # The simulator's own record of what it was sent: asking it for each member in turn keeps it from answering, for
        # it shares a process with the rest, and measures the asking.
        while len(landed) < len(began) and time.perf_counter() < end:
            for call in d.calls(d.mailchimp, seen):
                if call["status"] is None:
                    break  # under way: looked at again
                whose = ids.get(call["path"].rpartition("/")[2])
                if call["method"] == "PATCH" and whose is not None and call["status"] == 200:
                    landed.setdefault(whose, call["time"])
                seen = call["n"]
            time.sleep(0.1)
        tell(f"{len(landed)} withdrawals landed")
        gone = {email for email in began if _left(d.member(email))}
        lags = sorted(landed[email] - began[email] for email in gone & set(landed))
        moved = sum(1 for c in both[: 200 * 5 : 5] if _city(d, c) is not None)
    p99 = round(lags[int(0.99 * (len(lags) - 1))], 2) if lags else None
    missing = len(set(began) - gone)
    return {
        "what": "withdrawal at HubSpot until unsubscribed at Mailchimp, ordinary changes queued ahead",
        "queued_ahead": len(both),
        "optouts": optouts,
        "not_landed": missing,
        "landed_by_another_call": len(gone - set(landed)),
        "p50_seconds": round(lags[len(lags) // 2], 2) if lags else None,
        "p99_seconds": p99,
        "ordinary_sample_seen": moved,
        "bars": {f"p99 at most {P99} s": p99 is not None and p99 <= P99, "all landed": missing == 0},
    }


def _left(member: dict[str, Any] | None) -> bool:
    return member is not None and member["status"] in {"unsubscribed", "cleaned", "archived"}


def _city(d: Any, contact: Any) -> str | None:
    member = d.member(contact["properties"]["email"])
    return None if member is None else member["merge_fields"].get("CITY")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--people", type=int, default=20_000)
    parser.add_argument("--optouts", type=int, default=100)
    arguments = parser.parse_args()
    print(json.dumps(measure(arguments.people, arguments.optouts)))


if __name__ == "__main__":
    main()
