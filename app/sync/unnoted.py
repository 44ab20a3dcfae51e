"""Our own words that come back, though nobody noted that they had arrived.

A write may land while its answer is lost: a time-out, a killed worker.  The shadow then still shows what was there
before, and where the contact has changed since, the record seems to say a third thing, as in a true double edit; or,
where the contact has gone back to what it said before, to have changed alone.  It says what the contact once said and
what we were about to bring there; so it is an echo, and the newer value is brought.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    said = people.said(db, [contact.id], doubtful).get(contact.id, {})
    between = _others(connection, link, {name: changed[name] for name in doubtful}, said)
    return {name: claim[name] for name, values in between.items() if claim[name] in values}


def doubts(db: Db, connection: Connection, asked: Sequence[tuple[Link, Contact]]) -> frozenset[int]:
    """The contacts of whom a write that nobody noted may have brought what they say no more.

    Only of what nothing would be written about: where the contact has gone back to what the shadow shows.
    """
    same: dict[int, dict[str, Any]] = {}
    for link, contact in asked:
        values = contact.values()
        for name in connection.map.out_fields:
            before = link.shadow.get(name)
            if connection.map.project(name, values.get(name)) == before:
                same.setdefault(contact.id, {})[name] = before
    said = people.said(db, same, {name for fields in same.values() for name in fields})
    return frozenset(
        contact.id
        for link, contact in asked
        if any(
            word != same[contact.id][name]
            for name, words in _others(connection, link, same.get(contact.id, {}), said.get(contact.id, {})).items()
            for word in words
        )
    )


def _others(
    connection: Connection, link: Link, shadow: Mapping[str, Any], said: Mapping[str, Sequence[tuple[Any, str, int]]]
) -> dict[str, list[Any]]:
    """By field what others said, as the vendor would write it, since its shadow was what it is."""
    found = {}
    for name, before in shadow.items():
        words = [
            _Word(connection.map.project(name, value), source, stored_at)
            for value, source, stored_at in said.get(name, ())
        ]
        landed = link.landed.get(name, 0) if link.landed is not None else 0
        between = _between(connection.name, words, before, landed)
        found[name] = [w.value for w in between if w.value is not MISSING and w.source != connection.name]
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


def _between(ours: str, words: Sequence[_Word], before: Any, landed: int) -> Sequence[_Word]:
    """What was said since the shadow was ``before``; ``landed``: when our last write of the field was noted (ms).

    ``ours``: the connection that was written to.
    """
    same = [word.value is not MISSING and word.value == before for word in words]
    end = len(words)
    while end and same[end - 1]:
        end -= 1
    if end < len(words) and (words[end].stored_at <= landed or words[end].source == ours):
        return ()  # what it says again was noted as written, or seen there: nothing from before that is on its way
    since = max((n for n in range(end) if same[n]), default=-1)
    return words[since + 1 : end]


def _changed(connection: Connection, link: Link, contact: Contact, claim: Claim, name: str) -> bool:
    fact, before, theirs = contact.facts.get(name), link.shadow.get(name, MISSING), claim[name]
    if fact is None or (before is not MISSING and before == theirs):
        return False
    held = connection.map.project(name, fact.value)
    return held is not MISSING and held != theirs
