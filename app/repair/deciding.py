"""A named operator decides about somebody's consent: a line is written down, and what it leads to travels.

In: addresses, what is said of them, who says it and what it rests on.  The rules are ``app.sync.consent``'s: a grant
lifts what an operator may lift, never an erasure; one that would lift nothing is refused, so that nobody relies on it.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from sqlalchemy import Connection as Db

from app.core.db import clock_of
from app.core.errors import NotPossible
from app.core.words import EVERYTHING, OPERATOR, Channel, Entry, Reason, Status
from app.push import withheld, work
from app.records import contacts as people
from app.records import leads, ledger, tombstones
from app.records.contacts import Contact
from app.sync import consent, consenting, matching
from app.sync.connection import Connections
from app.sync.consent import State


@dataclass(frozen=True, slots=True)
class Word:
    """What an operator says about one or several spellings of an address."""

    addresses: Collection[str] = field(repr=False)
    channel: Channel
    purpose: str
    status: Status  # granted or withdrawn
    by: str
    evidence: str | None = field(default=None, repr=False)  # what it rests on; a grant needs it


def addresses_of(db: Db, contact: Contact, channel: Channel, status: Status) -> list[str]:
    """The addresses that a contact's word is about.

    A grant is about the address that is used.  An objection is the person's: it binds their further addresses too,
    unless one is somebody else's own.
    """
    values = contact.values()
    own = consent.address(values, channel)
    found = set() if own is None else {own}
    if status is Status.WITHDRAWN and channel is Channel.EMAIL:
        more = matching.addresses(values) - found
        owners = people.owners(db, [("email", a) for a in more])
        found |= {a for a in more if not {c for c, strong in owners.get(("email", a), ()) if strong} - {contact.id}}
    return sorted(found)


def decide(db: Db, connections: Connections, word: Word) -> dict[str, State]:
    """Write it down, and mark whoever has the address, so that every vendor hears of it; what holds then, by address.

    A withdrawal travels in the first lane.  Raises NotPossible for a grant without evidence or that lifts nothing, for
    an erased address or none at all, and for a purpose that nobody knows.
    """
    if not word.addresses:
        raise NotPossible(f"there is no address for {word.channel} under which it could be kept")
    if word.status not in {Status.GRANTED, Status.WITHDRAWN}:
        raise ValueError("an operator grants or withdraws")
    if word.status is Status.GRANTED and not (word.evidence is not None and word.evidence.strip()):
        raise NotPossible("a grant needs evidence: where, when and how the person agreed")
    stones = tombstones.standing(db, word.addresses, connections.erasure_key)
    if tombstones.ERASED in stones.values():
        raise NotPossible(
            "the person was erased, and nothing about them is kept; who asks to be taken in again needs the tombstone "
            "lifted first (`tandem tombstone list --address ADDRESS`)"
        )
    stored = ledger.of_addresses(db, word.addresses)
    lines = {a: [e for e in stored.get(a, ()) if e.channel is word.channel] for a in sorted(word.addresses)}
    _known_purpose(connections, word, lines)
    now = clock_of(db)
    held = {}
    for address, known in lines.items():
        # Later than all that the operator could know: a vendor's clock does not outrun what is decided here.
        at = max([now, *(e.at + 1 for e in known)])
        entry = _entry(word, address, at)
        held[address] = consent.state([*known, entry], connections.may_grant, word.purpose)
        if word.status is Status.GRANTED and held[address].stops:
            raise NotPossible(_against(held[address], word))
        ledger.append(db, [(entry, None)], now)
    _travel(db, connections, word, now)
    return held


def _known_purpose(connections: Connections, word: Word, lines: dict[str, list[Entry]]) -> None:
    """A misspelt purpose would bind nothing."""
    mapped = purposes(connections, word.channel)
    if word.purpose not in {EVERYTHING, *mapped, *(e.purpose for of in lines.values() for e in of)}:
        raise NotPossible(
            f"nobody knows this purpose of {word.channel}; known: {', '.join(mapped) if mapped else 'none'}, "
            "or leave it out, for everything"
        )


def purposes(connections: Connections, channel: Channel) -> list[str]:
    """The purposes of a channel that mappings know, everything aside."""
    return sorted(connections.purposes(channel) - {EVERYTHING})


def _entry(word: Word, address: str, at: int) -> Entry:
    evidence = {OPERATOR: word.evidence.strip()} if word.evidence is not None and word.evidence.strip() else {}
    return Entry(
        address, word.channel, word.purpose, word.status, Reason.MANUAL, OPERATOR, at, evidence=evidence, actor=word.by
    )


def _against(held: State, word: Word) -> str:
    entry = held.entry
    if entry is None or entry.purpose == word.purpose:
        return f"it would lift nothing: {held.status} stands against it for good" + (
            f" ({entry.reason})" if entry is not None else ""
        )
    return (
        f"it would lift nothing: {held.status} for everything stands against it ({entry.reason}, said by "
        f"{entry.source}); grant everything first, if that is what the person wants"
    )


def _travel(db: Db, connections: Connections, word: Word, now: int) -> None:
    having = _having(db, word)
    leads.mark(db, having)
    for name in sorted(connections):
        rules = [r for r in connections[name].map.consents if r.channel is word.channel]
        if not rules:
            continue
        work.mark(db, name, dict.fromkeys(having, now), lane=0 if word.status is Status.WITHDRAWN else 1)
        if word.status is Status.GRANTED:
            # Who discards opt-ins by the hundred has not decided about this one.
            names = [r.name for r in rules if r.purpose == word.purpose]
            for contact in having:
                withheld.forget(db, name, contact, names)


def _having(db: Db, word: Word) -> list[int]:
    """The contacts whose address for the channel it is, those included for whom another one stands."""
    found = people.load(db, consenting.having(db, word.channel, word.addresses))
    return sorted(i for i, c in found.items() if consent.address(c.values(), word.channel) in word.addresses)
