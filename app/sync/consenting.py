"""The consent of a record on its way through the chain: what it says is written down, what holds is marked to travel.

Works on the batch in hand; the rules are ``app.sync.consent``'s.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import Connection as Db

from app.core.words import STOPPING, Channel, Claim, Entry, Reason, Status
from app.records import contacts as people
from app.records import ledger, merges
from app.records.contacts import Contact
from app.sync import consent
from app.sync._mapping_consent import Claimed
from app.sync.batch import Arrival, Batch
from app.sync.connection import Connection, Connections
from connectors.contract import Record


def hear(db: Db, state: Batch, connections: Connections, holders: Iterable[Mapping[str, Any]]) -> None:
    """Read what the ledger has of everybody's addresses; before anything is decided about them."""
    if not any(c.map.consents for c in connections.values()):
        return
    addresses = {a for values in holders for channel in Channel if (a := consent.address(values, channel))}
    for address, entries in ledger.of_addresses(db, addresses - state.heard).items():
        state.ledger[address][:0] = entries  # before what this batch has said of it
    state.heard |= addresses


def written(
    state: Batch,
    connection: Connection,
    arrival: Arrival,
    contact: Contact,
    claim: Claim,
    shadow: dict[str, Any],
    values: Mapping[str, Any],
    at: int,
) -> bool:
    """Write down what the record says about consent, where that is new; True where a vendor may have to be told.

    ``claim``: the record's own values.  Where its address is not the contact's, an objection binds both, and whatever
    else it says is about the address that it says it of.
    """
    wrote = False
    fields = arrival.record.fields
    for rule in connection.map.consents:
        # A blank takes nothing back here, but the vendor may write to the person now: it has to be told again.
        if rule.theirs in fields and rule.name in shadow and rule.claim(fields) is None:
            wrote = True
            del shadow[rule.name]
    were = contact.values()
    for claimed in connection.map.read_consent(fields):
        ours, theirs = consent.address(values, claimed.channel), consent.address(claim, claimed.channel)
        renamed = ours != consent.address(were, claimed.channel)
        known = shadow.get(claimed.name) == claimed.status and not renamed
        shadow[claimed.name] = str(claimed.status)
        if known:
            continue
        stops = claimed.status in STOPPING
        for address in sorted({ours, theirs} - {None} if stops or theirs is None else {theirs}, key=str):
            if address is not None:
                _write(state, connection, arrival, claimed, address, at)
                wrote = True
    return wrote


def _write(state: Batch, connection: Connection, arrival: Arrival, claimed: Claimed, address: str, at: int) -> None:
    entry = Entry(
        address,
        claimed.channel,
        claimed.purpose,
        claimed.status,
        claimed.reason,
        connection.name,
        min(claimed.at, at) if claimed.at is not None else at,
        evidence=claimed.evidence,
    )
    state.ledger[address].append(entry)
    state.entries.append((entry, arrival.event))


def objections(
    state: Batch,
    connection: Connection,
    connections: Connections,
    arrival: Arrival,
    record: Record,
    at: int,
    contact: Contact | None = None,
) -> None:
    """Write down what a record objects to, though nothing else of it is taken.

    An objection counts once it was shown: whoever the record belongs to, and even where it says something else by now.
    ``contact``: whose record it is, where that is decided.
    """
    said = [c for c in connection.map.read_consent(record.fields) if c.status in STOPPING]
    if not said:
        return
    claim = connection.map.read(record.fields).claim
    for claimed in said:
        ours = consent.address(contact.values(), claimed.channel) if contact is not None else None
        for address in sorted({ours, consent.address(claim, claimed.channel)} - {None}, key=str):
            if address is None:
                continue
            _write(state, connection, arrival, claimed, address, at)
            for owner, _ in state.owners.get(("email", address), ()):
                if owner in state.contacts:
                    mark(state, connections, state.contacts[owner], at)
    if contact is not None:
        mark(state, connections, contact, at)


def carried(
    state: Batch,
    connections: Connections,
    contact: Contact,
    before: Mapping[Channel, str | None],
    at: int,
    event: int | None,
) -> bool:
    """An objection follows the person to a new address; a consent does not, and the old address keeps what it had."""
    wrote = False
    values = contact.values()
    for channel, old in before.items():
        new = consent.address(values, channel)
        if old is None or new is None or old == new:
            continue
        entries = [e for e in state.ledger[old] if e.channel == channel]
        for purpose in sorted({e.purpose for e in entries}):
            held = consent.state([e for e in entries if e.purpose == purpose], connections.may_grant, purpose)
            if held.stops:
                entry = Entry(new, channel, purpose, Status.WITHDRAWN, Reason.CARRIED, consent.OURSELVES, at)
                state.ledger[new].append(entry)
                state.entries.append((entry, event))
                wrote = True
    return wrote


def followed(state: Batch, connections: Connections) -> None:
    """Objections follow whom the batch gave a new address; at its end, when all that its records say is known."""
    for contact, before, at, event in state.readdressed:
        if carried(state, connections, contact, before, at, event):
            mark(state, connections, contact, at)


def told(db: Db, state: Batch, connections: Connections, now: int) -> set[int]:
    """Mark whoever has a number that the batch says was objected to, once its keys are stored; who that is.

    An address is one contact's, whose record is marked where it is said; a number may be a couple's, or a company's.
    """
    found: set[int] = set()
    for channel in (Channel.PHONE, Channel.SMS):
        numbers = {e.address for e, _ in state.entries if e.channel is channel and e.status in STOPPING}
        if not numbers:
            continue
        theirs = having(db, channel, numbers)
        for other in connections.values():
            if any(rule.channel is channel for rule in other.map.consents):
                for contact in theirs:
                    state.mark(other.name, contact, now)
                state.urgent[other.name] |= theirs
        found |= theirs
    return found


def having(db: Db, channel: Channel, addresses: Iterable[str]) -> set[int]:
    """The contacts that have such an address, in any field of its kind, and those for whom these stand."""
    key = consent.KEYS.get(channel)
    owners = people.owners(db, [(key, a) for a in addresses]) if key is not None else {}
    ids = {contact for of in owners.values() for contact, _ in of}
    return ids | merges.absorbed(db, ids)


def mark(state: Batch, connections: Connections, contact: Contact, since: int) -> None:
    """Let every connection that keeps consent compare; a withdrawal in the lane that travels first."""
    values = contact.values()
    for other in connections.values():
        for rule in other.map.consents:
            address = consent.address(values, rule.channel)
            if address is None:
                continue
            entries = [e for e in state.ledger[address] if e.channel == rule.channel]
            held = consent.state(entries, connections.may_grant, rule.purpose)
            if held.stops or held.status is Status.GRANTED:
                state.mark(other.name, contact.id, since)
            if held.stops:
                state.urgent[other.name].add(contact.id)
