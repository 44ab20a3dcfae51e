"""Second records: a vendor has two records of one person, and the contact is paired with the other one.

Nothing of a second record is taken in, and a letter asks somebody to merge the two there.  But the vendor may write to
it, so it is told objections all the same: it is linked to a contact of its own that the person's contact stands for.
Works on the batch in hand.
"""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import Connection as Db

from app.records import links as pairs
from app.records import merges
from app.records.contacts import Contact
from app.records.links import Link
from app.sync import whose
from app.sync.batch import Batch
from app.sync.connection import Connection


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
