"""Two contacts become one, since a vendor merged their records or a person said so; nothing is lost by it.

The loser stays as it was, with its history, and points to the winner: so a merge can be split again
(``app.sync.splitting``).  The winner fills its blanks from the loser, takes its records where it has none itself, and
what either of the two objected to binds both.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from sqlalchemy import Connection as Db

from app.core.words import Channel, Decision, Duplicates, Entry, Fact, Outcome, Reason, Status, Verdict
from app.push import work
from app.records import (
    belongings,
    conflicts,
    dead,
    engagements,
    leads,
    ledger,
    merges,
    proposals,
    timelines,
    tombstones,
)
from app.records import contacts as people
from app.records import links as pairs
from app.records.contacts import Contact
from app.records.links import Link
from app.sync import consent, identity, matching
from app.sync.batch import Arrival
from app.sync.connection import Connection, Connections
from app.sync.summarising import touched
from connectors.contract import Can, Record

RULE = "merge"


def followed(
    db: Db,
    connection: Connection,
    connections: Connections,
    arrivals: Iterable[Arrival],
    links: Mapping[str, Link],
    now: int,
) -> list[int] | None:
    """Follow what the vendor merged: the contacts of records that live on in one of the arrivals become one.

    ``links``: of these records and their former ids, locked.  None where they are as before; otherwise the numbers
    of the merges.
    """
    known = dict(links)
    changed = False
    united: list[int | None] = []
    for record in [a.record for a in arrivals if a.record.former_ids]:
        here = [known[i] for i in (record.id, *record.former_ids) if i in known and known[i].remote_id == i]
        if record.id not in known:
            here.sort(key=lambda link: link.contact_id)  # the vendor made a new record: the oldest contact stays
        if not here:
            continue
        # What looked like a deletion was this merge.
        tombstones.back(db, connection.name, [k.remote_id for k in here if k.gone_at is not None], now)
        survivor, rest = here[0], here[1:]
        changed |= bool(rest)
        if record.id not in known:
            united += _with_the_unread(db, connection, connections, record, survivor.contact_id, now)
        for link in rest:
            united.append(
                unite(db, connections, survivor.contact_id, link.contact_id, by=connection.name, now=now, away=link)
            )
            pairs.remove(db, link)
            merges.alias(db, connection.name, connection.kind, link.remote_id, record.id, now)
            del known[link.remote_id]
        root = merges.standing_for(db, survivor.contact_id)
        if (
            rest
            and root != survivor.contact_id
            and connection.name not in {k.connection for k in pairs.of_contact(db, root)}
        ):
            pairs.give(db, survivor, root)  # the record that lives on was one too many here until now
    return [number for number in united if number is not None] if changed or united else None


def bind(db: Db, connections: Connections, numbers: Iterable[int], now: int) -> None:
    """What the batch that told of these merges wrote down about either person binds both, too."""
    for number in numbers:
        row = merges.one(db, number)
        first, second = people.load(db, {row.winner, row.loser}).values()
        if _strictest(db, connections, first, second, number, now):
            work.mark_at(db, connections, {first.id, second.id, merges.standing_for(db, row.winner)}, now, lane=0)


def _with_the_unread(
    db: Db, connection: Connection, connections: Connections, record: Record, contact: int, now: int
) -> list[int | None]:
    """The record that lives on was never read here, but its address is that of somebody known: they are one now, too.

    Unless that one has a record of its own there: whose address it is has to be decided by a person then.
    """
    keys = matching.keys_of(connection.map.read(record.fields).claim, connections.strong)
    owners = people.owners(db, [(k.key, k.value) for k in keys if k.strong])
    first = {merges.standing_for(db, c) for of in owners.values() for c, strong in of if strong}
    mine = merges.standing_for(db, contact)
    if len(first) != 1 or first == {mine}:
        return []
    (other,) = first
    if connection.name in {k.connection for k in pairs.of_contact(db, other)}:
        return []
    winner, loser = sorted((mine, other))
    return [unite(db, connections, winner, loser, by=connection.name, now=now)]


@dataclass(slots=True)
class _Moved:
    links: list[Link] = field(default_factory=list)
    left: list[Link] = field(default_factory=list)  # records that are one too many at their vendor


def unite(
    db: Db, connections: Connections, winner: int, loser: int, *, by: str, now: int, away: Link | None = None
) -> int | None:
    """Let one contact stand for another; the number of the merge, None where it does so already.

    ``by``: the connection that said it, or the operator.  ``away``: the loser's record that the vendor merged away.
    """
    winner, loser = merges.standing_for(db, winner), merges.standing_for(db, loser)
    if winner == loser:
        return None
    both = people.load(db, {winner, loser}, lock=True)
    first, second = both[winner], both[loser]
    number = merges.enter(db, winner, loser, by, now)
    strict = _strictest(db, connections, first, second, number, now)
    keys = {c.id: matching.keys_of(c.values(), connections.strong) for c in (first, second)}
    was = {c.id: c.values() for c in (first, second)}
    before = _fill(first, second)
    identity.refile(db, connections, was, {winner: first.values()})
    proposals.follow(db, winner, loser)
    pairs.address_is_of(db, loser, winner)
    second.merged_into = winner
    people.set_keys(db, {loser: ()}, keys)
    people.save(db, [first], now)
    people.write_history(db, [first], now)
    people.set_keys(db, {winner: matching.keys_of(first.values(), connections.strong)}, keys)
    moved = _links(db, winner, loser, away)
    merges.remember(db, number, before, [(k.connection, k.kind, k.remote_id) for k in moved.links])
    belongings.move(db, loser, winner)
    engagements.unite(db, winner, loser)
    timelines.move(db, loser, winner)
    touched(db, connections, (winner,), now)
    conflicts.drop(db, loser)
    work.mark_at(db, connections, (winner, loser), now, lane=0 if strict else 1)
    dead.write(db, _letters(connections, by, moved.left))
    leads.mark(db, (winner, loser))
    return number


def _strictest(db: Db, connections: Connections, first: Contact, second: Contact, number: int, now: int) -> list[Entry]:
    """What either objected to under any of their addresses holds under all of them."""
    entries: list[Entry] = []
    for channel in Channel:
        addresses = {a for c in (first, second) for a in consent.addresses(c.values(), channel)}
        lines = ledger.of_addresses(db, addresses)
        known = {a: [e for e in lines.get(a, ()) if e.channel is channel] for a in addresses}
        for purpose in sorted({e.purpose for of in known.values() for e in of}):
            held = {a: consent.state(known[a], connections.may_grant, purpose) for a in sorted(addresses)}
            if not any(state.stops for state in held.values()):
                continue
            entries += [
                Entry(
                    address,
                    channel,
                    purpose,
                    Status.WITHDRAWN,
                    Reason.MERGE,
                    consent.OURSELVES,
                    now,
                    evidence={RULE: number},
                )
                for address, state in held.items()
                if not state.stops
            ]
    ledger.append(db, [(e, None) for e in entries], now)
    return entries


def _fill(winner: Contact, loser: Contact) -> dict[str, object]:
    """Give the winner what only the loser knows, and the loser's addresses as further ones; what was there before."""
    before: dict[str, object] = {}

    def take(name: str, fact: Fact) -> None:
        old = winner.facts.get(name)
        before[name] = old.to_json() if old is not None else None
        new = Fact(fact.value, fact.source, fact.at, RULE, fact.event)
        held = old.value if old is not None else None
        winner.facts[name] = new
        winner.changes.append((Decision(name, Outcome.TAKEN, RULE, held, new.value), new))

    for name, fact in sorted(loser.facts.items()):
        if name not in {"email", "email_alternates"} and fact.value is not None and winner.value(name) is None:
            take(name, fact)
    if winner.value("email") is None and loser.value("email") is not None:
        take("email", loser.facts["email"])
    # The first address among them: it may be replaced, and stays this person's.
    more = matching.addresses(loser.values()) | matching.addresses(winner.values())
    held = winner.value("email_alternates")
    if more - set(held if isinstance(held, list) else ()):
        source = loser.facts.get("email", loser.facts.get("email_alternates"))
        if source is not None:
            take("email_alternates", Fact(sorted(more), source.source, source.at, RULE, source.event))
    winner.version += bool(before)
    return before


def _links(db: Db, winner: int, loser: int, away: Link | None) -> _Moved:
    """The loser's records become the winner's where it has none; others are one too many."""
    moved = _Moved()
    having = {(k.connection, k.kind): k for k in pairs.of_contact(db, winner, lock=True)}
    for link in pairs.of_contact(db, loser, lock=True):
        if away is not None and (link.connection, link.remote_id) == (away.connection, away.remote_id):
            continue
        other = having.get((link.connection, link.kind))
        if other is not None and other.gone_at is not None and link.gone_at is None:
            pairs.remove(db, other)  # nobody is there any more under the winner's own id
            other = None
        if other is None:
            pairs.give(db, link, winner)
            moved.links.append(link)
        elif link.gone_at is None:
            moved.left.append(link)
    return moved


def _letters(connections: Connections, by: str, left: Sequence[Link]) -> list[dead.Letter]:
    """Say where a vendor keeps two records of one person, unless the policy there takes care of it."""
    letters = []
    for link in left:
        if link.connection in connections and _handled(connections[link.connection]):
            continue
        reason = f"{by} merged its record into that of another contact; {link.connection} still has both"
        letters.append(dead.Letter("sync", link.connection, "merged", reason, contact_id=link.contact_id))
    return letters


def _handled(to: Connection) -> bool:
    needed = {Duplicates.ARCHIVE: Can.ARCHIVE, Duplicates.MERGE: Can.MERGE}.get(to.duplicates)
    return to.writes and needed in to.connector.can


def with_former_address(contact: Contact, verdict: Verdict, source: str, at: int) -> Verdict:
    """The record took over from one that was merged into it: both addresses are this person's."""
    old, new = contact.value("email"), verdict.facts.get("email")
    more = verdict.facts.get("email_alternates")
    held = more.value if more is not None and isinstance(more.value, list) else []
    if not isinstance(old, str) or new is None or not isinstance(new.value, str) or new.value == old:
        return verdict
    fact = Fact(sorted({*held, old, new.value}), source, at, RULE)
    decision = Decision("email_alternates", Outcome.TAKEN, RULE, held, fact.value)
    facts = {**verdict.facts, "email_alternates": fact}
    return replace(verdict, decisions=(*verdict.decisions, decision), facts=facts)
