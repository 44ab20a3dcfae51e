"""Our own words that come back, though nobody noted that they had arrived.

A write may land while its answer is lost: a time-out, a killed worker.  The shadow then still shows what was there
before, and where the contact has changed since, the record seems to say a third thing, as in a true double edit.  It
says what the contact once said and what we were about to bring there; so it is an echo, and the newer value is brought.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection as Db

from app.core.words import MISSING, Claim
from app.push import work
from app.records import contacts as people
from app.records.contacts import Contact
from app.records.links import Link
from app.sync.connection import Connection


def echoes(db: Db, connection: Connection, link: Link, contact: Contact, claim: Claim) -> dict[str, Any]:
    """Those fields of the claim that only repeat what the contact said between the shadow and now.

    Nothing is asked of the store unless record, shadow and contact all differ.  Of a record without a shadow it counts
    only if a write to this connection was tried: otherwise it is somebody else's record, which may be right.
    """
    doubtful = {
        name: link.shadow.get(name, MISSING) for name in claim if _doubtful(connection, link, contact, claim, name)
    }
    if not doubtful or (not link.shadow and not work.tried(db, connection.name, contact.id)):
        return {}
    said = people.said(db, contact.id, doubtful)
    found = {}
    for name, before in doubtful.items():
        values = [(connection.map.project(name, value), source) for value, source in said.get(name, ())]
        since = max((n for n, (value, _) in enumerate(values) if value is not MISSING and value == before), default=-1)
        if any(v is not MISSING and v == claim[name] and s != connection.name for v, s in values[since + 1 :]):
            found[name] = claim[name]
    return found


def _doubtful(connection: Connection, link: Link, contact: Contact, claim: Claim, name: str) -> bool:
    fact, before, theirs = contact.facts.get(name), link.shadow.get(name, MISSING), claim[name]
    if fact is None or (before is not MISSING and before == theirs):
        return False
    held = connection.map.project(name, fact.value)
    return held is not MISSING and held != theirs and (before is MISSING or held != before)
