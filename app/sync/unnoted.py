"""Our own words that come back, though nobody noted that they had arrived.

A write may land while its answer is lost: a time-out, a killed worker.  The shadow then still shows what was there
before, and where the contact has changed since, the record seems to say a third thing, as in a true double edit; or,
where the contact has gone back to what it said before, to have changed alone.  It says what the contact once said and
what we were about to bring there; so it is an echo, and the newer value is brought.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection as Db

from app.core.words import MISSING, Claim
from app.push import work
from app.records import contacts as people
from app.records.contacts import Contact
from app.records.links import Link
from app.sync.batch import Batch
from app.sync.connection import Connection


def echoes(db: Db, state: Batch, connection: Connection, link: Link, contact: Contact, claim: Claim) -> dict[str, Any]:
    """Those fields of the claim that only repeat what the contact said between the shadow and now.

    Of a record without a shadow it counts only if a write to this connection was tried: otherwise it is somebody else's
    record, which may be right.  So it does where the contact says again what the shadow shows.  That is asked once for
    a batch, and nothing else is asked of the store unless record, shadow and contact all differ.
    """
    changed = {
        name: link.shadow.get(name, MISSING) for name in claim if _changed(connection, link, contact, claim, name)
    }
    if not changed:
        return {}
    held = {name: connection.map.project(name, contact.facts[name].value) for name in changed}
    doubtful = {name for name, before in changed.items() if link.shadow and held[name] != before}
    if len(doubtful) < len(changed) and _tried(db, state, connection, contact.id):
        doubtful = set(changed)
    if not doubtful:
        return {}
    said = people.said(db, contact.id, doubtful)
    found = {}
    for name in doubtful:
        words = [
            _Word(connection.map.project(name, value), source, stored_at)
            for value, source, stored_at in said.get(name, ())
        ]
        landed = link.landed.get(name, 0) if link.landed is not None else 0
        between = _between(words, changed[name], landed)
        if any(w.value is not MISSING and w.value == claim[name] and w.source != connection.name for w in between):
            found[name] = claim[name]
    return found


def _tried(db: Db, state: Batch, connection: Connection, contact_id: int) -> bool:
    if contact_id not in state.tried:
        asked = {*state.contacts, contact_id} - set(state.tried)
        found = work.tried(db, connection.name, asked)
        state.tried |= {number: number in found for number in asked}
    return state.tried[contact_id]


@dataclass(frozen=True, slots=True)
class _Word:
    """What a contact said in a field, as the vendor writes it; from whom, and when it was stored (ms)."""

    value: Any
    source: str
    stored_at: int


def _between(words: Sequence[_Word], before: Any, landed: int) -> Sequence[_Word]:
    """What was said since the shadow was ``before``; ``landed``: when our last write of the field was noted (ms)."""
    same = [word.value is not MISSING and word.value == before for word in words]
    end = len(words)
    while end and same[end - 1]:
        end -= 1
    if end < len(words) and words[end].stored_at <= landed:
        return ()  # what it says again was noted as written: nothing from before that is on its way any more
    since = max((n for n in range(end) if same[n]), default=-1)
    return words[since + 1 : end]


def _changed(connection: Connection, link: Link, contact: Contact, claim: Claim, name: str) -> bool:
    fact, before, theirs = contact.facts.get(name), link.shadow.get(name, MISSING), claim[name]
    if fact is None or (before is not MISSING and before == theirs):
        return False
    held = connection.map.project(name, fact.value)
    return held is not MISSING and held != theirs
