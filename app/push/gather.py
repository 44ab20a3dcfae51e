"""What planning needs to know of contacts at one connection, in a bounded number of statements."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from sqlalchemy import Connection as Db

from app.core.words import Channel, Likeness
from app.push import withheld
from app.push.plan import Known
from app.records import conflicts, ledger, merges, proposals, tombstones
from app.records import contacts as people
from app.records import links as pairs
from app.records.contacts import Contact
from app.records.links import Link
from app.sync import consent, matching
from app.sync.connection import Connection, Connections
from app.sync.consent import State


@dataclass(frozen=True, slots=True)
class Gathered:
    """Contacts, their links, what else is known of them, and those of whom nothing is written any more."""

    contacts: dict[int, Contact] = field(repr=False)
    links: dict[int, Link] = field(repr=False)
    known: dict[int, Known] = field(repr=False)
    erased: set[int]


def gather(db: Db, connection: Connection, connections: Connections, ids: Collection[int]) -> Gathered:
    """Everything that ``app.push.plan`` asks about these contacts."""
    contacts = people.load(db, ids)
    links = pairs.of_contacts(db, connection.name, connection.kind, ids)
    asked = conflicts.asked(db, connection.name, ids)
    consents = _consents(db, connection, connections, contacts.values())
    consents |= _of_the_address(db, connection, connections, links, consents)
    buried = tombstones.buried(db, ids)
    kept = withheld.of(db, connection.name, ids)
    addresses = {c.id: matching.addresses(c.values()) for c in contacts.values()}
    stones = tombstones.standing(db, {a for of in addresses.values() for a in of}, connections.erasure_key)
    unsure = proposals.undecided(db, ids) if connections.likeness is not Likeness.OFF else set()
    merged = merges.stand_ins(db, [c.id for c in contacts.values() if c.merged_into is not None])
    stand_ins = pairs.of_contacts(db, connection.name, connection.kind, set(merged.values())) if merged else {}
    known = {}
    for i in contacts:
        other = stand_ins.get(merged[i]) if i in merged else None
        known[i] = Known(
            asked.get(i, frozenset()),
            consents.get(i, {}),
            i in buried,
            kept.get(i, {}),
            other.remote_id if other is not None and other.gone_at is None else None,
            contacts[i].value("email") in stones or i in unsure,
        )
    # Of those who are being erased nothing is written any more.
    erased = {i for i, of in addresses.items() if any(stones.get(a) == tombstones.ERASED for a in of)}
    return Gathered(contacts, links, known, erased)


def _consents(
    db: Db, connection: Connection, connections: Connections, contacts: Collection[Contact]
) -> dict[int, dict[str, State]]:
    """What holds for each contact, by the names of the mapping's consent rules."""
    rules = connection.map.consents
    if not rules:
        return {}
    addresses = {(c.id, r.channel): consent.address(c.values(), r.channel) for c in contacts for r in rules}
    lines = ledger.of_addresses(db, {a for a in addresses.values() if a is not None})
    found: dict[int, dict[str, State]] = {}
    for contact in contacts:
        for rule in rules:
            address = addresses[(contact.id, rule.channel)]
            every = lines.get(address, ()) if address is not None else ()
            entries = [e for e in every if e.channel == rule.channel]
            held = consent.state(entries, connections.may_grant, rule.purpose)
            found.setdefault(contact.id, {})[rule.name] = held
    return found


def _of_the_address(
    db: Db,
    connection: Connection,
    connections: Connections,
    links: Mapping[int, Link],
    consents: Mapping[int, dict[str, State]],
) -> dict[int, dict[str, State]]:
    """What holds for contacts whose record holds the address of another one: what that one objected to.

    What the contact said under its own address is about that one, and no consent of the other's is ours to say.
    """
    owners = {i: k.address_of for i, k in links.items() if k.address_of is not None}
    if not owners:
        return {}
    theirs = _consents(db, connection, connections, people.load(db, set(owners.values())).values())
    mail = {r.name for r in connection.map.consents if r.channel is Channel.EMAIL}
    found: dict[int, dict[str, State]] = {}
    for contact, owner in owners.items():
        own, other = consents.get(contact, {}), theirs.get(owner, {})
        stops = {n: held for n, held in other.items() if n in mail and held.stops}
        found[contact] = {n: held for n, held in own.items() if n not in mail} | stops
    return found
