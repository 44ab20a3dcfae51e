"""Second records: a vendor has two records of one person, and the contact is paired with the other one.

Nothing of a second record is taken in, and a letter asks somebody to merge the two there.  But the vendor may write to
it, so it is told objections all the same: it is linked to a contact of its own that the person's contact stands for.
Works on the batch in hand.

Where only likeness paired the contact with another record, or brought the address to it, the record that has the
address outranks that: the pair is taken apart, so that it does not matter which of the records came first.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from sqlalchemy import Connection as Db

from app.core.words import Claim, Value
from app.records import links as pairs
from app.records import merges
from app.records.contacts import Contact
from app.records.links import Link
from app.sync import matching, splitting, whose
from app.sync.batch import Batch
from app.sync.connection import Connection, Connections

OUTRANKED: Final = "outranked"  # the record waits until the pair that it outranks is taken apart


def aside(links: dict[str, Link]) -> dict[str, Link]:
    """The links of second records, taken out of ``links``: whether they still are some is asked at every reading."""
    return {i: links.pop(i) for i in [i for i, link in links.items() if link.second_at is not None]}


def beside(
    state: Batch, connection: Connection, record_id: str, owner: Contact, now: int
) -> tuple[Link, Contact, bool]:
    """The link of a second record of ``owner``, the contact that it leads to, and whether both are new."""
    link = state.seconds.pop(record_id, None)
    if link is not None:
        contact = state.contacts[link.contact_id]
    else:
        contact = whose.somebody_new(state, (), now)
        link = Link(connection.name, connection.kind, record_id, contact.id, {}, second_at=now)
        state.new_links.append((link, contact))
    new = link.rev == 0 and not link.shadow
    if contact.merged_into != owner.id:
        contact.merged_into = owner.id
        state.stood_for.append(contact)
    return link, contact, new


def outranked(db: Db, state: Batch, connections: Connections, owner: Contact, other: Link, claim: Claim) -> bool:
    """Whether likeness alone stands between this record and ``owner``, who has its address; if so, that is noted.

    Either likeness paired the owner with ``other``, which has another address; or the owner was made of ``other``, and
    likeness paired it with a record elsewhere that has this one.
    """

    def says(said: Mapping[str, Value]) -> bool:
        return not keys.isdisjoint((k.key, k.value) for k in matching.keys_of(said, connections.strong) if k.strong)

    keys = {k for k in whose.strong_keys(claim, connections) if (owner.id, True) in state.owners.get(k, ())}
    if not keys or says(other.shadow):
        return False
    if other.likeness is not None:
        state.outranked.append((owner, other.connection))
        return True
    brought = {owner.facts[name].source for name, _ in keys if name in owner.facts}
    having = [k for k in pairs.of_contact(db, owner.id) if k.origin is not None and says(k.origin)]
    if len(having) == 1 and having[0].likeness is not None and brought == {having[0].connection}:
        state.outranked.append((owner, having[0].connection))
        return True
    return False


def take_apart(db: Db, state: Batch, connections: Connections) -> None:
    """Split the pairs that were outranked, as they are stored; a person is asked whether the two are one after all."""
    for contact, connection in dict.fromkeys((contact.id, connection) for contact, connection in state.outranked):
        splitting.pairing(db, connections, contact, connection)


def paired(state: Batch, record_id: str) -> None:
    """The record is paired by itself now: it is no second one any more."""
    link = state.seconds.pop(record_id, None)
    if link is not None:
        state.dropped.append(link)


def forget(db: Db, state: Batch) -> None:
    """Remove the links of those that are none any more; the contacts that they led to stay merged, without a record."""
    for link in state.dropped:
        pairs.remove(db, link)


def store(db: Db, state: Batch, final: Mapping[int, int]) -> None:
    """Write down which contact stands for those of second records.  ``final``: ids of what the batch made."""
    for contact in state.stood_for:
        into = contact.merged_into
        if into is not None:
            contact.merged_into = final.get(into, into)
            merges.stand_in(db, contact.id, contact.merged_into)
