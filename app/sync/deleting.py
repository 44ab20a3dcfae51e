"""Deletions on the vendor's word, and what the policies of the connections make of them.  Never on absence."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from sqlalchemy import Connection as Db

from app.core.db import clock_of
from app.core.words import Channel, Deletes
from app.push import work
from app.records import contacts as people
from app.records import dead, tombstones
from app.records import links as pairs
from app.sync import consent
from app.sync.connection import Connection, Connections


def deleted(db: Db, connection: Connection, connections: Connections, remote_ids: Iterable[str]) -> int:
    """The vendor says that these records are deleted; how many of them were known and not deleted yet.

    Nothing is written to them any more, and the contacts stay.  Where the connection's ``in`` policy is not ``ignore``,
    a tombstone keeps the person from being made again, and every other connection is marked: the push archives the
    person's record where that connection's ``out`` policy says so.  ``delete`` does there what ``archive`` does, since
    that is the strongest removal that HubSpot and Mailchimp can undo.
    """
    ids = list(remote_ids)
    if not ids:  # as in nearly every batch
        return 0
    now = clock_of(db)
    links = pairs.of_records(db, connection.name, connection.kind, ids, lock=True)
    for link in [link for link in links.values() if link.second_at is not None]:
        pairs.remove(db, link)  # of two records of one person, the one that was too many: nobody was deleted
        del links[link.remote_id]
    fresh = [link for link in links.values() if link.gone_at is None]
    for link in fresh:
        link.gone_at = now
    pairs.save(db, fresh)
    # A write may have met the deletion before the vendor told it; what was merged away is gone too, but not deleted.
    missed = {link.contact_id for link in links.values() if link not in fresh}
    met = dead.gone(db, connection.name, missed) if missed else set()
    fresh += [link for link in links.values() if link not in fresh and link.contact_id in met]
    if connection.deletes_in is Deletes.IGNORE or not fresh:
        return len(fresh)
    owners = {link.contact_id for link in fresh}
    contacts = people.load(db, owners)
    # Our own archiving comes back as a deletion: the person has a tombstone already, and one is enough to lift.
    before = tombstones.buried(db, owners)
    addresses = {i: consent.address(c.values(), Channel.EMAIL) for i, c in contacts.items()}
    stones = tombstones.standing(db, {a for a in addresses.values() if a is not None}, connections.erasure_key)
    secret = tombstones.secret(db, connections.erasure_key)
    for link in fresh:
        address = addresses[link.contact_id]
        if link.contact_id in before or (address is not None and stones.get(address) == tombstones.ERASED):
            continue
        tombstones.bury(
            db,
            reason=tombstones.DELETED,
            actor=connection.name,
            now=now,
            key_hash=tombstones.digest(secret, address) if address is not None else None,
            connection=connection.name,
            remote_id=link.remote_id,
        )
    following = [n for n, c in connections.items() if n != connection.name and c.deletes_out is not Deletes.IGNORE]
    work.mark_at(db, following, owners, now)
    return len(fresh)


def restored(
    db: Db, connection: Connection, connections: Connections, back: Collection[tuple[str, int]], now: int
) -> None:
    """The vendor shows these records again (remote id, contact): the deletion is taken back where it led to.

    Their tombstones are lifted, and where the policy of another connection had their records archived there, the person
    is made again.
    """
    if not back:
        return
    tombstones.back(db, connection.name, [remote_id for remote_id, _ in back], now)
    contacts = {contact for _, contact in back}
    others = [name for name in sorted(connections) if name != connection.name]
    for name in others:
        if connections[name].deletes_out is not Deletes.IGNORE:
            links = pairs.of_contacts(db, name, connections[name].kind, contacts, lock=True)
            for link in links.values():
                if link.gone_at is not None:
                    pairs.remove(db, link)
    work.mark_at(db, others, contacts, now)
