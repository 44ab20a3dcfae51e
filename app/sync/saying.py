"""A named operator says what fields of contacts hold: an act that wins now, over whatever the vendors say.

In: values by contact and field, who says it, and under which rule it is kept.  Out: facts, history and keys stored, and
every vendor marked to be compared, all in the caller's transaction.  What a vendor says later counts again as ever.

An objection follows the person to an address that comes back, as it does to any new one: no value said here raises
consent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sqlalchemy import Connection as Db

from app.core.words import OPERATOR, Channel, Decision, Fact, Outcome, Value
from app.push import withheld, work
from app.records import contacts as people
from app.records import leads, ledger
from app.records.contacts import Contact
from app.sync import consent, consenting, identity, matching
from app.sync.batch import Batch
from app.sync.connection import Connections


@dataclass(frozen=True, slots=True)
class Said:
    """Who says it, under which rule, and as part of which run."""

    by: str
    rule: str
    now: int  # ms since 1970, by the database's clock
    run: int | None = None
    values: Mapping[int, Mapping[str, Value]] = field(default_factory=dict, repr=False)  # contact → field → value


def say(db: Db, connections: Connections, contacts: Mapping[int, Contact], said: Said) -> None:
    """Let what is said hold.  ``contacts``: those that it is about, held locked, none of them merged into another.

    A strong key of another contact raises IntegrityError: ask ``taken`` first.
    """
    state = Batch({}, dict(contacts), {})
    before = {i: contacts[i].values() for i in said.values}
    for contact_id, values in said.values.items():
        contact = contacts[contact_id]
        for name, value in sorted(values.items()):
            fact = Fact(value, OPERATOR, said.now, said.rule, actor=said.by, run=said.run)
            decision = Decision(name, Outcome.TAKEN, said.rule, contact.value(name), value)
            contact.changes.append((decision, fact))
            contact.facts[name] = fact
        contact.version += 1
    after = {i: contacts[i].values() for i in said.values}
    _addresses(db, state, connections, before, after, said.now)
    changed = [contacts[i] for i in sorted(said.values)]
    people.set_keys(
        db,
        {i: matching.keys_of(v, connections.strong) for i, v in after.items()},
        {i: matching.keys_of(v, connections.strong) for i, v in before.items()},
    )
    people.save(db, changed, said.now)
    people.write_history(db, changed, said.now)
    ledger.append(db, state.entries, said.now)
    identity.refile(db, connections, before, after)
    for contact in changed:
        contact.changes.clear()
    leads.mark(db, {*said.values, *consenting.told(db, state, connections, said.now)})
    by_field = sorted(_by_field(said).items())
    for name in sorted(connections):
        urgent = state.urgent[name]
        for one, ids in by_field:
            withheld.forget_field(db, name, one, ids)
        work.mark(db, name, dict.fromkeys(sorted(urgent), said.now), lane=0)
        work.mark(db, name, dict.fromkeys(sorted(set(said.values) - urgent), said.now))


def _by_field(said: Said) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for contact_id, values in said.values.items():
        for name in values:
            found.setdefault(name, []).append(contact_id)
    return found


def _addresses(
    db: Db,
    state: Batch,
    connections: Connections,
    before: Mapping[int, Mapping[str, Value]],
    after: Mapping[int, Mapping[str, Value]],
    now: int,
) -> None:
    """What holds for an address that goes binds the one that comes, as far as it forbids something."""
    moved: dict[int, dict[Channel, str | None]] = {}
    for i in before:
        old = {channel: consent.address(before[i], channel) for channel in Channel}
        if any(old[channel] != consent.address(after[i], channel) for channel in Channel):
            moved[i] = old
    if not moved:
        return
    addresses = {
        a for i in moved for values in (before[i], after[i]) for c in Channel if (a := consent.address(values, c))
    }
    state.ledger.update(ledger.of_addresses(db, addresses))
    for i, old in sorted(moved.items()):
        consenting.carried(state, connections, state.contacts[i], old, now, None)
        consenting.mark(state, connections, state.contacts[i], now)


def taken(db: Db, connections: Connections, values: Mapping[int, Mapping[str, Value]]) -> dict[tuple[int, str], int]:
    """Which of these values are a key that belongs to another contact: (contact, field) → whose it is."""
    wanted: dict[tuple[str, str], int] = {}
    found: dict[tuple[int, str], int] = {}
    for contact, of in sorted(values.items()):
        for name, value in of.items():
            if name in connections.strong and isinstance(value, str):
                first = wanted.setdefault((name, value), contact)
                if first != contact:
                    found[(contact, name)] = first
    owners = people.owners(db, wanted)
    for (name, value), contact in wanted.items():
        for owner, strong in owners.get((name, value), ()):
            if strong and owner != contact:
                found[(contact, name)] = owner
    return found
