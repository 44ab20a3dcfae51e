"""The consent of a record on its way through the chain: what it says is written down, what holds is marked to travel.

Works on the batch in hand; the rules are ``app.sync.consent``'s.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app.core.words import Channel, Entry, Reason, Status
from app.records.contacts import Contact
from app.sync import consent
from app.sync.batch import Arrival, Batch
from app.sync.connection import Connection, Connections


def written(
    state: Batch,
    connection: Connection,
    arrival: Arrival,
    contact: Contact,
    shadow: dict[str, Any],
    values: Mapping[str, Any],
    at: int,
) -> bool:
    """Write down what the record says about consent, where that is new; True where a line was written."""
    wrote = False
    for claimed in connection.map.read_consent(arrival.record.fields):
        address = consent.address(values, claimed.channel)
        renamed = address != consent.address(contact.values(), claimed.channel)
        known = shadow.get(claimed.name) == claimed.status and not renamed
        shadow[claimed.name] = str(claimed.status)
        if known or address is None:
            continue
        moment = min(claimed.at, at) if claimed.at is not None else at
        entry = Entry(
            address,
            claimed.channel,
            claimed.purpose,
            claimed.status,
            claimed.reason,
            connection.name,
            moment,
            evidence=claimed.evidence,
        )
        state.ledger[address].append(entry)
        state.entries.append((entry, arrival.event))
        wrote = True
    return wrote


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
    for channel, old in before.items():
        new = consent.address(contact.values(), channel)
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


def mark(state: Batch, connections: Connections, contact: Contact, since: int) -> None:
    """Let every connection that keeps consent compare; a withdrawal in the lane that travels first."""
    for other in connections.values():
        for rule in other.map.consents:
            address = consent.address(contact.values(), rule.channel)
            if address is None:
                continue
            entries = [e for e in state.ledger[address] if e.channel == rule.channel]
            held = consent.state(entries, connections.may_grant, rule.purpose)
            if held.stops or held.status is Status.GRANTED:
                state.mark(other.name, contact, since)
            if held.stops:
                state.urgent[other.name].add(contact.id)
