"""Entries in the activity of a profile.  In: notes.  Out: receipts.

An entry is an event of a metric of ours; with its ``unique_id`` Klaviyo keeps the first one only, so it may be sent
twice.  ``backfill`` keeps flows from starting.  An event for a profile that is not there would make one, so the profile
is looked up first.  Source: Klaviyo's OpenAPI document of revision 2026-07-15, ``POST /api/events``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, Final

from connectors import _timeline as timeline
from connectors._klaviyo_calls import CONCURRENCY, REFUSALS, Profiles
from connectors._klaviyo_wire import is_id, refusal
from connectors.contract import Done, Failed, Gone, Note, Receipt

METRIC: Final = "Tandem note"
TEXT: Final = "Note"


def write(profiles: Profiles, notes: Sequence[Note]) -> list[Receipt]:
    """An event each."""
    return timeline.write(notes, lambda note: _one(profiles, note), CONCURRENCY)


def _one(profiles: Profiles, note: Note) -> Receipt:
    found = profiles.single(note.id) if is_id(note.id) else None
    if found is None:
        return Gone(note.key, "klaviyo: no profile has this id")
    unique = hashlib.sha256(note.key.encode()).hexdigest()
    about: dict[str, Any] = {
        "properties": {TEXT: note.text},
        "time": note.at.isoformat(),
        "unique_id": unique,
        "backfill": True,
        "metric": {"data": {"type": "metric", "attributes": {"name": METRIC}}},
        "profile": {"data": {"type": "profile", "id": found.id, "attributes": {}}},
    }
    data = {"data": {"type": "event", "attributes": about}}
    response = profiles.send("POST", "/api/events", "event", json=data, take=REFUSALS, safe=True)
    if response.status_code == 404:
        return Gone(note.key, "klaviyo: no profile has this id")
    if response.status_code in REFUSALS:
        return Failed(note.key, refusal(response, {"text": note.text}, profiles.secrets))
    return Done(note.key, unique)
