"""Take two people apart that were taken for one: a merge, or a wrong pairing.

Values, records, consent and history go back to whom they came from, and every vendor is compared anew, so that each
ends up with the right values.  A vendor's own merge is not undone there: the person whose record it swallowed is made
again, unless the vendor's record keeps the address for itself; then the dead letter says what to do.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection as Db
from sqlalchemy import select, update

from app.core import tables as t
from app.core.db import clock_of
from app.core.errors import NotFound, NotPossible
from app.core.words import OPERATOR, Channel, Entry, Fact, Outcome, Reason, Status
from app.core.words import Decision as Decided
from app.push import work
from app.records import belongings, engagements, leads, ledger, merges, proposals, timelines
from app.records import contacts as people
from app.records import links as pairs
from app.records.contacts import Contact
from app.records.links import Link
from app.records.proposals import Decision
from app.sync import identity, matching, uniting
from app.sync.connection import Connections
from app.sync.summarising import touched

RULE: Final = "split"
SELF: Final = "tandem"  # who took them apart where no person did
h, n = t.history.c, t.consent.c


@dataclass(frozen=True, slots=True)
class Apart:
    """The two contacts after a split: who stayed, who left."""

    stays: int
    leaves: int


def merge(db: Db, connections: Connections, number: int, by: str) -> Apart:
    """Split a merge.  Raises NotFound, NotPossible where it was split before or a later merge stands on it."""
    row = merges.one(db, number)
    if row["split_at"] is not None:
        raise NotPossible(f"merge {number} was split before, by {row['split_by']}")
    winner, loser = row["winner"], row["loser"]
    if merges.standing_for(db, winner) != winner:
        raise NotPossible(f"contact {winner} was merged into another one later: split that merge first")
    now = clock_of(db)
    both = people.load(db, {winner, loser}, lock=True)
    first, second = both[winner], both[loser]
    keys = {winner: matching.keys_of(first.values(), connections.strong), loser: ()}
    was = {winner: first.values()}
    merges.undone(db, number, by)
    second.merged_into = None
    _give_back(first, row["before"], now)
    _leave_keys(db, connections, second, first)
    for link in pairs.of_contact(db, winner, lock=True):
        if [link.connection, link.kind, link.remote_id] in row["links"]:
            pairs.give(db, link, loser)
    theirs = {(link.connection, link.remote_id) for link in pairs.of_contact(db, loser)}
    for link in pairs.of_contact(db, loser, lock=True):
        if link.gone_at is not None:  # archived or merged away because of this merge: it is made again
            pairs.remove(db, link)
    people.set_keys(db, {winner: _keys(first, connections)}, keys)
    people.set_keys(db, {loser: _keys(second, connections)}, keys)
    people.save(db, [first, second], now)
    people.write_history(db, [first, second], now)
    _void(db, number, by, now)
    identity.refile(db, connections, was, {winner: first.values(), loser: second.values()})
    _around(db, connections, winner, loser, theirs, now)
    proposals.settle(db, winner, loser, Decision.DIFFERENT, by)
    work.mark_at(db, connections, (winner, loser), now)
    leads.mark(db, (winner, loser))
    return Apart(winner, loser)


def pairing(db: Db, connections: Connections, contact: int, connection: str, by: str | None = None) -> Apart:
    """Take the record of one connection away from a contact; it becomes another contact's, which is made.

    ``by``: who says that they are two; None: nobody, and a person is asked whether they are one after all.  Raises
    NotFound, NotPossible where the record is the contact's only one, or the one that it began with.
    """
    held = people.load(db, {contact}, lock=True).get(contact)
    if held is None:
        raise NotFound(f"there is no contact {contact}")
    links = pairs.of_contact(db, contact, lock=True)
    link = next((k for k in links if k.connection == connection), None)
    if link is None:
        names = ", ".join(sorted({k.connection for k in links}))
        raise NotFound(f"contact {contact} has no record at {connection}; it has one at: {names or 'no connection'}")
    if link.origin is None:
        others = ", ".join(sorted(k.connection for k in links if k.origin is not None))
        hint = f"; split off {others} instead" if others else ""
        raise NotPossible(
            f"the record at {connection} was not paired with this contact but made with it or from it{hint}"
        )
    now = clock_of(db)
    was = {contact: held.values()}
    keys = matching.keys_of(held.values(), connections.strong)
    leaver = Contact(0, 1, _own_facts(db, held, link, link.origin, now), now)
    _take_out(db, held, connection, now)
    _leave_keys(db, connections, leaver, held)
    leaver.changes.extend((_decision(name, None, f.value), f) for name, f in sorted(leaver.facts.items()))
    people.set_keys(db, {contact: _keys(held, connections)}, {contact: keys})
    people.create(db, [leaver], now)
    people.set_keys(db, {leaver.id: _keys(leaver, connections)}, {leaver.id: ()})
    pairs.give(db, link, leaver.id)
    leads.give(db, contact, leaver.id, connection)
    merges.never(db, contact, leaver.id, connection, by if by is not None else SELF, now)
    db.execute(update(t.link).where(t.link.c.contact_id == leaver.id).values(origin=None))
    people.save(db, [held], now)
    people.write_history(db, [held, leaver], now)
    identity.refile(db, connections, was, {contact: held.values(), leaver.id: leaver.values()})
    _around(db, connections, contact, leaver.id, {(connection, link.remote_id)}, now)
    if by is not None:
        proposals.settle(db, contact, leaver.id, Decision.DIFFERENT, by)
    else:
        score = identity.likeness(held.values(), leaver.values(), connections.weights)
        proposals.propose(db, [identity.proposal(contact, leaver.id, score)])
    work.mark_at(db, connections, (contact, leaver.id), now)
    leads.mark(db, (contact, leaver.id))
    return Apart(contact, leaver.id)


def _around(
    db: Db, connections: Connections, stays: int, leaves: int, records: Collection[tuple[str, str]], now: int
) -> None:
    """What was done by the leaver, and what is said of these records (connection, id), goes along."""
    belongings.move(db, stays, leaves, records)
    engagements.split(db, stays, leaves, records)
    timelines.follow(db, leaves)
    touched(db, connections, (stays, leaves), now)


def _decision(name: str, old: Any, new: Any) -> Decided:
    return Decided(name, Outcome.TAKEN, RULE, old, new)


def _set(contact: Contact, name: str, fact: Fact) -> None:
    contact.changes.append((_decision(name, contact.value(name), fact.value), fact))
    contact.facts[name] = fact


def _give_back(first: Contact, before: Mapping[str, Any], now: int) -> None:
    """What the winner took from the loser and still has from it becomes what it was."""
    for name, data in sorted(before.items()):
        if name not in first.facts or first.facts[name].rule != uniting.RULE:
            continue  # somebody has said something since
        old = Fact.from_json(data) if data is not None else Fact(None, OPERATOR, now, RULE)
        _set(first, name, old)
    first.version += bool(first.changes)


def _own_facts(db: Db, held: Contact, link: Link, origin: Mapping[str, Any], now: int) -> dict[str, Fact]:
    """What the record said when it was paired, and what came from its vendor since."""
    at = link.modified if link.modified is not None else now
    facts = {n: Fact(v, link.connection, min(at, now), RULE) for n, v in origin.items() if v is not None}
    query = (
        select(h.field, h.new, h.at, h.event)
        .where(h.contact_id == held.id, h.source == link.connection)
        .order_by(h.version, h.id)
    )
    for row in db.execute(query):
        facts[row.field] = Fact(row.new, link.connection, row.at, RULE, row.event)
    return facts


def _take_out(db: Db, held: Contact, connection: str, now: int) -> None:
    """What the contact has from that vendor becomes what the others had said before."""
    for name, fact in sorted(held.facts.items()):
        if fact.source != connection:
            continue
        query = (
            select(h.new, h.source, h.at, h.event)
            .where(h.contact_id == held.id, h.field == name, h.source != connection)
            .order_by(h.version.desc(), h.id.desc())
            .limit(1)
        )
        row = db.execute(query).one_or_none()
        old = Fact(row.new, row.source, row.at, RULE, row.event) if row is not None else None
        _set(held, name, old if old is not None else Fact(None, OPERATOR, now, RULE))
    held.version += bool(held.changes)


def _leave_keys(db: Db, connections: Connections, contact: Contact, other: Contact) -> None:
    """A key belongs to one person: what somebody else has, the one who stays included, the leaver does without."""
    theirs = {(k.key, k.value) for k in _keys(other, connections) if k.strong}
    wanted = [(k.key, k.value) for k in _keys(contact, connections) if k.strong]
    owners = people.owners(db, wanted)
    for name, value in wanted:
        having = {c for c, strong in owners.get((name, value), ()) if strong} - {contact.id, other.id}
        if (name, value) in theirs or having:
            contact.facts.pop(name)


def _keys(contact: Contact, connections: Connections) -> tuple[matching.Key, ...]:
    return matching.keys_of(contact.values(), connections.strong)


def _void(db: Db, number: int, by: str, now: int) -> None:
    """Lines that the merge brought hold no more.  Nothing else is raised by a split."""
    rows = db.execute(select(n.address, n.channel, n.purpose, n.evidence).where(n.reason == str(Reason.MERGE)))
    lines = [
        Entry(
            row.address,
            Channel(row.channel),
            row.purpose,
            Status.NONE,
            Reason.MERGE,
            OPERATOR,
            now,
            evidence={RULE: number},
            actor=by,
        )
        for row in rows
        if row.evidence is not None and row.evidence.get(uniting.RULE) == number
    ]
    ledger.append(db, [(e, None) for e in lines], now)
