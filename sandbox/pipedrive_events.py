"""Pipedrive's webhook events, version 2.0: what a change is told as, and how a delivery is written.

Sources: the vendor's guide for webhooks v2 (tries, headers, merges) and its migration guide (payloads).
"""

from __future__ import annotations

import base64
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import orjson

from sandbox.webhooks import Happening, Policy, Target

POLICY = Policy(
    batch=1,
    window=0.02,
    timeout=10.0,
    waits=(3, 30, 150),  # four tries in all
)
ACTIONS = ("create", "change", "delete")
COMPANY = 8087566
_QUIET = frozenset({"update_time"})  # may be absent from ``previous``


def happening(
    action: str,
    row: Mapping[str, Any] | None,
    before: Mapping[str, Any] | None,
    source: str,
    *,
    into: int | None = None,
    taken: int | None = None,
    entity: str = "person",
) -> Happening:
    """One event.  ``before``: the record as it was.  ``into``, ``taken``: the other end of a merge."""
    shown = row if row is not None else before
    assert shown is not None  # noqa: S101 - an event is about somebody
    meta: dict[str, Any] = {
        "action": action,
        "company_id": str(COMPANY),
        "correlation_id": str(uuid.uuid4()),
        "entity_id": str(shown["id"]),
        "entity": entity,
        "id": str(uuid.uuid4()),
        "is_bulk_edit": False,
        "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "type": "general",
        "user_id": str(shown["owner_id"]),
        "version": "2.0",
        "change_source": "api" if source == "api" else "app",
        "host": "sandbox.pipedrive.example",
    }
    meta |= {"merged_to_id": str(into)} if into is not None else {}
    meta |= {"merged_from_id": str(taken)} if taken is not None else {}
    previous: dict[str, Any] | None = None
    if before is not None:
        past = _told(before)
        new = _told(row) if row is not None else {}
        previous = past if row is None else {n: v for n, v in past.items() if n not in _QUIET and new.get(n) != v}
        if row is not None and "custom_fields" in previous:  # of them, too, only those that changed
            now = new["custom_fields"]
            previous["custom_fields"] = {k: v for k, v in past["custom_fields"].items() if now.get(k) != v}
    data = {"data": None if row is None else _told(row), "previous": previous, "meta": meta}
    return Happening(f"{entity}.{action}", source, data)


def encode(target: Target, happenings: Sequence[Happening], attempt: int) -> tuple[bytes, dict[str, str]]:
    """One event in a delivery, unsigned; user and password where the webhook has them."""
    (one,) = happenings
    meta = {**one.data["meta"], "webhook_id": target.id, "attempt": attempt + 1}
    headers = {"content-type": "application/json", "user-agent": "Pipedrive Webhooks"}
    if target.secret:
        headers["authorization"] = "Basic " + base64.b64encode(target.secret.encode()).decode()
    return orjson.dumps({**one.data, "meta": meta}), headers


def _told(row: Mapping[str, Any]) -> dict[str, Any]:
    """A record as a webhook shows it: close to the API's form, but not the same; no marketing status."""
    hidden = {"marketing_status", "doi_status", "is_deleted"}
    custom: dict[str, Any] = {}
    for key, value in row.get("custom_fields", {}).items():
        match value:
            case None:
                custom[key] = None
            case list():
                custom[key] = {"type": "set", "values": [{"id": v} for v in value]}
            case int():
                custom[key] = {"type": "enum", "id": value}
            case _:
                custom[key] = {"type": "varchar", "value": value}
    shown = {n: v for n, v in row.items() if n not in hidden}
    return {**shown, "visible_to": str(row.get("visible_to", 3)), "label": None, "custom_fields": custom}
