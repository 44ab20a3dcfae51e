"""Who is meant by an address, and everything that is held about them.  For erasure and for subject access."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection as Db
from sqlalchemy import select

from app.core import tables as t
from app.core.errors import NotFound
from app.core.words import Channel
from app.records import contacts as people
from app.sync import consent, matching
from app.sync.connection import Connections, spellings


@dataclass(frozen=True, slots=True)
class Subject:
    """One person, as far as known here.  ``records``: connection → ids of the person's records there."""

    addresses: frozenset[str] = field(repr=False)  # that are nobody else's
    contacts: frozenset[int]
    records: dict[str, list[str]] = field(repr=False)
    phones: frozenset[str] = field(default=frozenset(), repr=False)

    def to_json(self) -> dict[str, Any]:
        """The form at rest."""
        return {
            "addresses": sorted(self.addresses),
            "contacts": sorted(self.contacts),
            "records": {name: sorted(ids) for name, ids in sorted(self.records.items())},
            "phones": sorted(self.phones),
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Subject:
        """The subject of a form at rest."""
        return cls(
            frozenset(data["addresses"]), frozenset(data["contacts"]), data["records"], frozenset(data["phones"])
        )


def find(db: Db, connections: Connections, address: str) -> Subject:
    """The person of an address, which may be unknown here: then there are no contacts.

    Earlier and further addresses of the person belong to it unless they are somebody else's too.  Raises NotFound where
    the address is only a further address, and of several people.
    """
    spelled = spellings(connections, address)
    owners = {pair for having in people.owners(db, [("email", a) for a in spelled]).values() for pair in having}
    contacts = {c for c, strong in owners if strong}
    if not contacts:
        contacts = {c for c, _ in owners}
        if len(contacts) > 1:
            raise NotFound(
                f"this is a further address of {len(contacts)} people and of nobody alone: name each by their own"
            )
    held = people.load(db, contacts)
    addresses = {a for c in held.values() for a in matching.addresses(c.values())}
    h, k = t.history.c, t.link.c
    for row in db.execute(select(h.old, h.new).where(h.contact_id.in_(sorted(contacts)), h.field == "email")):
        addresses |= {a for a in row if isinstance(a, str)}
    phones = {
        number for c in held.values() for channel in Channel if (number := consent.address(c.values(), channel))
    } - addresses
    addresses = _own(db, "email", addresses, contacts) | set(spelled)
    records: dict[str, list[str]] = {}
    for row in db.execute(select(k.connection, k.remote_id).where(k.contact_id.in_(sorted(contacts)))):
        records.setdefault(row.connection, []).append(row.remote_id)
    return Subject(frozenset(addresses), frozenset(contacts), records, frozenset(_own(db, "phone", phones, contacts)))


def _own(db: Db, key: str, values: set[str], contacts: set[int]) -> set[str]:
    """Those values that are a key of nobody else."""
    owners = people.owners(db, [(key, v) for v in values])
    return {v for v in values if {c for c, _ in owners.get((key, v), ())} <= contacts}
