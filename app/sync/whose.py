"""Whose record is it?  The link came first; here an address that somebody owns decides, then likeness, then nobody.

Works on the batch in hand; what likeness means is ``app.sync.identity``'s.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection as Db

from app.core.words import Claim, Likeness, Value
from app.match.score import Score
from app.records import blocks, proposals
from app.records import contacts as people
from app.records import links as pairs
from app.records.contacts import Contact
from app.records.links import Link
from app.sync import consenting, identity, matching
from app.sync.batch import Batch
from app.sync.connection import Connection, Connections
from app.sync.identity import Likely


def strong_keys(claim: Claim, connections: Connections) -> list[tuple[str, str]]:
    """The keys of a claim that belong to one contact only."""
    return [(k.key, k.value) for k in matching.keys_of(claim, connections.strong) if k.strong]


def likely(
    db: Db,
    connections: Connections,
    claims: Sequence[Claim],
    owners: Mapping[tuple[str, str], Sequence[tuple[int, bool]]],
) -> tuple[Likely | None, set[int]]:
    """What likeness may need for those of the claims that no address decides, and the contacts it may well choose.

    They are read together; whoever else is chosen is read alone.
    """
    if connections.likeness is Likeness.OFF:
        return None, set()
    undecided = [
        claim
        for claim in claims
        if not any(strong for key in strong_keys(claim, connections) for _, strong in owners.get(key, ()))
    ]
    found = identity.gather(db, undecided) if undecided else Likely()
    return found, found.likeliest(undecided, connections.weights)


@dataclass(frozen=True, slots=True)
class Whose:
    """Whose record it is: nobody's yet where ``contact`` is None; ``asked``: who it may be too, and why.

    ``score``: by which likeness says so; None where an address does.
    """

    contact: Contact | None
    asked: Sequence[tuple[Contact, Score]] = ()
    score: Score | None = None


def decide(
    db: Db, state: Batch, connection: Connection, connections: Connections, owner: int | None, claim: Claim
) -> Whose:
    """Whose record it is, and who it may be too.  ``owner``: whom its address says."""
    if state.likely is None:
        return Whose(state.contacts[owner] if owner is not None else None)
    if owner is not None:
        score = identity.against(claim, state.contacts[owner].values(), connections.weights)
        if score is None:
            return Whose(state.contacts[owner])
        return Whose(None, [(state.contacts[owner], score)])
    verdict = identity.decide(claim, state.likely, connections.weights)
    wanted = {c for c, _ in verdict.proposals} | ({verdict.link} if verdict.link is not None else set())
    state.contacts |= people.load(db, {c for c in wanted if c not in state.contacts}, lock=True)
    asked = [(state.contacts[c], score) for c, score in verdict.proposals if c in state.contacts]
    if verdict.link is None or verdict.score is None or verdict.link not in state.contacts:
        return Whose(None, asked)
    contact = state.contacts[verdict.link]
    if connections.likeness is Likeness.LINK and paired_elsewhere(db, state, connection, contact) is None:
        consenting.hear(db, state, connections, [contact.values()])  # an objection is to follow to another address
        return Whose(contact, (), verdict.score)
    return Whose(None, [(contact, verdict.score), *asked])


def somebody_new(state: Batch, asked: Sequence[tuple[Contact, Score]], now: int) -> Contact:
    """A contact that is made in this batch, and who else it may be: (contact, score)."""
    state.temporary -= 1
    contact = Contact(state.temporary, 0, {}, now)
    state.contacts[contact.id] = contact
    state.created.append(contact)
    state.proposed.extend((older, contact, score) for older, score in asked)
    return contact


def file(db: Db, state: Batch, final: Mapping[int, int]) -> None:
    """Keys under which the changed are found by likeness, and what a person is asked."""
    before, after = {}, {}
    for old, contact in state.changed.items():
        if contact.merged_into is not None:
            continue
        was, now = state.before[old], contact.values()
        if any(was.get(n) != now.get(n) for n in identity.READ):
            before[contact.id] = _filed(state, was) if old not in final else frozenset()
            after[contact.id] = _filed(state, now)
    blocks.refile(db, before, after)
    proposals.propose(db, [identity.proposal(older.id, newer.id, score) for older, newer, score in state.proposed])


def _filed(state: Batch, values: Mapping[str, Value]) -> frozenset[int]:
    if state.likely is None:
        return identity.filed(values)
    return frozenset(state.likely.of(values)[1].values())


def paired_elsewhere(db: Db, state: Batch, connection: Connection, contact: Contact) -> Link | None:
    """The link that the contact has already at this connection."""
    for link, owner in state.new_links:
        if owner is contact and link.connection == connection.name:
            return link
    for link in state.links.values():
        if link.contact_id == contact.id:
            return link
    if contact.id < 0:
        return None
    if contact.id not in state.paired:
        pair_up(db, state, connection, [contact.id])
    return state.paired[contact.id]


def pair_up(db: Db, state: Batch, connection: Connection, contacts: Collection[int]) -> None:
    """Find the links that these contacts have already at this connection, with one statement."""
    found = pairs.of_contacts(db, connection.name, connection.kind, contacts, lock=True)
    state.paired |= {contact: found.get(contact) for contact in contacts}
