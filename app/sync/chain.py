"""The chain: the only module that knows the order of the stations.

In: records as read from one connection, inside the caller's transaction.  Out: contacts, facts, history, links and
dirty marks stored, and what became of each record.  Mapping, matching and merging are pure; only this module and
``app.records`` touch rows.  Rows are locked links first (by remote id), then contacts (by id).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from sqlalchemy import Connection as Db

from app.core.clock import to_ms
from app.core.db import clock_of
from app.core.words import Channel, Claim, Outcome, Verdict, Winner
from app.push import work
from app.records import conflicts, leads, ledger, merges, refusals, tombstones
from app.records import contacts as people
from app.records import links as pairs
from app.records.contacts import Contact
from app.records.links import Link
from app.sync import (
    around,
    consent,
    consenting,
    deleting,
    governing,
    identity,
    matching,
    merging,
    second,
    uniting,
    unnoted,
    whose,
)
from app.sync.batch import OUTSIDE, Arrival, Batch, End, Result, unused
from app.sync.connection import Connection, Connections
from app.sync.mapping import differences
from connectors.contract import Record


def absorb(db: Db, connection: Connection, connections: Connections, arrivals: Sequence[Arrival]) -> list[Result]:
    """Walk records of one connection through the stations; one result per arrival, in their order."""
    now = clock_of(db)
    links = _links(db, connection, arrivals)
    united = uniting.followed(db, connection, connections, arrivals, links, now)
    if united is not None:
        links = _links(db, connection, arrivals)
    seconds = second.aside(links)
    claims = [_claim(connection, a.record) for a in arrivals]
    state = _gather(db, connection, connections, arrivals, [c for c, _ in claims], links, seconds, now)
    results = []
    for arrival, (claim, warnings) in zip(arrivals, claims, strict=True):
        result, contact = _one(db, state, connection, connections, arrival, claim, warnings, now)
        if result.code not in {tombstones.ERASED, second.OUTRANKED}:
            for record in arrival.earlier:
                at = min(to_ms(record.modified), now) if record.modified is not None else now
                consenting.objections(state, connection, connections, arrival, record, at, contact)
        results.append((result, contact))
    consenting.followed(state, connections)
    _store(db, state, connection, connections, now)
    around.met(db, state, connection, connections, [a.record for a in arrivals], now)
    if state.governed:
        governing.keep(db, state.told, [c for r, c in results if c is not None and r.end is End.CHANGED], now)
    if united:
        uniting.bind(db, connections, united, now)
    ended = [Result(r.end, contact.id if contact is not None else None, r.reason, r.code) for r, contact in results]
    if state.outranked:
        second.take_apart(db, state, connections)
        again = [i for i, result in enumerate(ended) if result.code == second.OUTRANKED]
        for i, result in zip(again, absorb(db, connection, connections, [arrivals[i] for i in again]), strict=True):
            ended[i] = result
    return ended


def _claim(connection: Connection, record: Record) -> tuple[Claim, list[dict[str, str]]]:
    reading = connection.map.read(record.fields)
    return reading.claim, [{"field": w.field, "code": w.code, "message": w.message} for w in reading.warnings]


def _links(db: Db, connection: Connection, arrivals: Sequence[Arrival]) -> dict[str, Link]:
    ids = {i for a in arrivals for i in (a.record.id, *a.record.former_ids)}
    return pairs.of_records(db, connection.name, connection.kind, ids, lock=True)


def _gather(
    db: Db,
    connection: Connection,
    connections: Connections,
    arrivals: Sequence[Arrival],
    claims: Sequence[Claim],
    links: dict[str, Link],
    seconds: dict[str, Link],
    now: int,
) -> Batch:
    """All that the batch may need, in a bounded number of statements."""
    unlinked = [claim for a, claim in zip(arrivals, claims, strict=True) if a.record.id not in links]
    former = [connection.map.read(r.fields).claim for a in arrivals for r in a.earlier if connection.map.consents]
    # Somebody else may have the address by now that an objection in a former version is about.
    shown = [k for claim in (*unlinked, *former) for k in matching.keys_of(claim, connections.strong)]
    decisive = {"email", *connections.strong}  # a number decides nothing, and many may have it
    theirs = {(k.key, k.value) for k in shown if k.key in decisive}
    owners = people.owners(db, theirs | {k for claim in claims for k in whose.strong_keys(claim, connections)})
    likely, nearest = whose.likely(db, connections, unlinked, owners)
    found = {c for having in owners.values() for c, _ in having} | nearest
    wanted = found | {k.contact_id for k in (*links.values(), *seconds.values())}
    state = Batch(links, people.load(db, wanted, lock=True), owners, seconds=seconds, likely=likely)
    whose.pair_up(db, state, connection, nearest | {c for key in theirs for c, _ in owners.get(key, ())})
    since = leads.governed_since(db)
    state.governed = since is not None and since <= now
    if connection.map.asks:
        state.rulings = conflicts.rulings(db, connection.name)
    state.refused = tombstones.standing(db, {a for c in claims for a in matching.addresses(c)}, connections.erasure_key)
    consenting.hear(db, state, connections, (*claims, *(c.values() for c in state.contacts.values())))
    return state


def _one(
    db: Db,
    state: Batch,
    connection: Connection,
    connections: Connections,
    arrival: Arrival,
    claim: Claim,
    warnings: list[dict[str, str]],
    now: int,
) -> tuple[Result, Contact | None]:
    record = arrival.record
    modified = to_ms(record.modified) if record.modified is not None else None
    at = min(modified if modified is not None else arrival.since if arrival.since is not None else now, now)
    link = _link(state, record)
    refused = _refused(state, claim, link)
    if refused is not None:
        if refused != tombstones.ERASED:
            consenting.objections(state, connection, connections, arrival, record, at)
            _kept_out(state, connections, claim, arrival, at)
        return Result(End.BLOCKED, reason=f"the person was {refused}: a tombstone stands", code=refused), None
    known = state.contacts[link.contact_id] if link is not None else None
    if not connection.only_in.fits({**(known.values() if known is not None else {}), **claim}):
        consenting.objections(state, connection, connections, arrival, record, at, known)
        return Result(End.BLOCKED, reason="outside of what the connection is about (only: in)", code=OUTSIDE), known
    if link is not None:
        contact = state.contacts[link.contact_id]
        unusable = unused(arrival, link, modified, claim)
        if unusable is not None:
            if unusable.end is End.STALE:
                state.refuse(contact, refusals.WHOLE, refusals.STALE, at, arrival.event)
            if modified is not None:
                consenting.objections(state, connection, connections, arrival, record, at, contact)
            return unusable, contact
    else:
        match = matching.choose(claim, state.owners, connections.strong)
        if match.conflict is not None:
            consenting.objections(state, connection, connections, arrival, record, at)
            return Result(End.REVIEW, reason=match.conflict, code="ambiguous"), None
        found = whose.decide(db, state, connection, connections, match.contact, claim)
        if found.contact is None:
            contact = whose.somebody_new(state, found.asked, now)
        else:
            contact = found.contact
            other = whose.paired_elsewhere(db, state, connection, contact)
            if other is not None and other.remote_id == record.id:
                # A push that made the record noted so while we read: the pair is known, with its shadow, from now on.
                return Result(End.UNSURE, reason="paired while it was read"), contact
            if other is not None and second.outranked(db, state, connections, contact, other, claim):
                return Result(End.UNSURE, code=second.OUTRANKED), contact
            if other is not None:
                _second(db, state, connection, connections, arrival, contact, claim, warnings, modified, at)
                reason = (
                    f"its {match.how} belongs to contact {contact.id}, which is paired with record {other.remote_id}"
                )
                return Result(End.REVIEW, reason=reason, code="second_record"), contact
        second.paired(state, record.id)
        link = Link(connection.name, connection.kind, record.id, contact.id, {})
        if found.contact is not None:
            link.origin = dict(claim)  # so that a wrong pairing can be split again
            link.likeness = found.score.log_odds if found.score is not None else None
        state.links[record.id] = link
        state.new_links.append((link, contact))
    return _merge(db, state, connection, connections, arrival, link, contact, claim, warnings, modified, at), contact


def _second(
    db: Db,
    state: Batch,
    connection: Connection,
    connections: Connections,
    arrival: Arrival,
    owner: Contact,
    claim: Claim,
    warnings: list[dict[str, str]],
    modified: int | None,
    at: int,
) -> None:
    """A second record of ``owner``: what it objects to counts, and it is told what they object to."""
    consenting.objections(state, connection, connections, arrival, arrival.record, at)
    link, contact, new = second.beside(state, connection, arrival.record.id, owner, at)
    if new or unused(arrival, link, modified, claim) is None:
        _merge(db, state, connection, connections, arrival, link, contact, claim, warnings, modified, at)


def _link(state: Batch, record: Record) -> Link | None:
    """The record's link.  A record that was merged into another one takes its link along, unless that has one."""
    link = state.links.get(record.id)
    if link is not None:
        return link
    for former in record.former_ids:
        moving = state.links.get(former)
        if moving is not None and moving.remote_id == former:
            state.renamed.append((former, record.id))
            moving.remote_id = record.id
            state.inherited.add(record.id)
            state.links[record.id] = moving
            state.moved[record.id] = moving
            return moving
    return None


def _refused(state: Batch, claim: Claim, link: Link | None) -> str | None:
    """Why this record must not be taken.  A deletion binds records without a link, an erasure every new use."""
    if not state.refused:
        return None
    had = matching.addresses(state.contacts[link.contact_id].values()) if link is not None else frozenset()
    found = {state.refused[a] for a in matching.addresses(claim) - had if a in state.refused}
    if tombstones.ERASED in found:
        return tombstones.ERASED
    return tombstones.DELETED if found and link is None else None


def _kept_out(state: Batch, connections: Connections, claim: Claim, arrival: Arrival, at: int) -> None:
    """Whoever has the record's address is told why it was not taken."""
    for key in whose.strong_keys(claim, connections):
        for owner, strong in state.owners.get(key, ()):
            if strong and owner in state.contacts:
                state.refuse(state.contacts[owner], refusals.WHOLE, refusals.TOMBSTONE, at, arrival.event)


def _merge(
    db: Db,
    state: Batch,
    connection: Connection,
    connections: Connections,
    arrival: Arrival,
    link: Link,
    contact: Contact,
    claim: Claim,
    warnings: list[dict[str, str]],
    modified: int | None,
    at: int,
) -> Result:
    fresh = not link.shadow and link.rev == 0
    said_by_record = claim
    claim, taken_key, owner = _without_others_keys(state, connections, contact, claim)
    holds = owner if taken_key == "email" else None
    new_address = holds is not None and holds != link.address_of
    if taken_key is not None:
        warnings = [*warnings, {"field": taken_key, "code": "belongs_to_another", "message": "another contact has it"}]

    def policy(name: str) -> tuple[Winner, bool]:
        p = connection.map.policy(name)
        return p.winner, p.clearable

    if taken_key is not None:
        state.refuse(contact, taken_key, refusals.OTHERS, at, arrival.event, said_by_record[taken_key])
    echoes = {} if fresh and contact.version == 0 else unnoted.echoes(db, state, connection, link, contact, claim)
    claim, governed = governing.apart(claim) if state.governed else (claim, {})
    verdict = merging.judge(
        contact.facts,
        {**link.shadow, **echoes},
        claim,
        source=connection.name,
        at=at,
        event=arrival.event,
        policy=policy,
        side=connections.side,
        project=connection.map.project,
        rulings=state.rulings,
    )
    told, differs = governing.words(connection, contact, governed, {**link.shadow, **echoes}, at, arrival.event)
    state.told += [(contact, line) for line in told]
    were = contact.values()
    old_address = {c: consent.address(were, c) for c in Channel}
    since = arrival.since if arrival.since is not None else at
    shadow = {**verdict.shadow, **governed}
    values = {name: fact.value for name, fact in verdict.facts.items()}
    said = consenting.written(state, connection, arrival, contact, said_by_record, shadow, values, at)
    moved = shadow != link.shadow
    notes = warnings if warnings else None
    kept = (link.warnings, link.address_of, link.gone_at, link.modified)
    if moved or kept != (notes, holds, None, modified):
        if link.gone_at is not None:
            state.back.append((link.remote_id, contact.id))
        link.shadow, link.warnings, link.address_of, link.gone_at = shadow, notes, holds, None
        link.rev += moved
        if modified is not None:
            link.modified = modified
        state.moved[link.remote_id] = link
    if differs or fresh or echoes or any(d.outcome in {Outcome.KEPT, Outcome.TAKEN} for d in verdict.decisions):
        state.own.append((contact, link, since))
    for decision in verdict.decisions:
        if decision.outcome is Outcome.ASKED:
            state.asked.append((contact, decision, arrival.event))
        elif connection.map.policy(decision.field).winner is Winner.ASK:
            state.settled.append((contact, decision.field))
        if decision.outcome is Outcome.KEPT:
            state.refuse(contact, decision.field, decision.rule, at, arrival.event, decision.new)
    if link.remote_id in state.inherited:
        verdict = uniting.with_former_address(contact, verdict, connection.name, at)
    changed = bool(verdict.changed) or contact.version == 0
    if changed:
        _change(state, contact, verdict, connections.strong if contact.merged_into is None else None)
        _dirty(state, connection, connections, contact, verdict.changed, since)
        state.readdressed.append((contact, old_address, at, arrival.event))
    if said or (fresh and changed):
        consenting.mark(state, connections, contact, since)
    if said and owner is not None and owner in state.contacts:
        consenting.mark(state, connections, state.contacts[owner], since)
    if new_address:  # what the address's owner objected to has to be said of the record, too
        state.mark(connection.name, contact.id, since)
        state.urgent[connection.name].add(contact.id)
    return Result(End.CHANGED if changed or said else End.SAME)


def _without_others_keys(
    state: Batch, connections: Connections, contact: Contact, claim: Claim
) -> tuple[Claim, str | None, int | None]:
    """The claim without a strong key that another contact owns: two people are never made one by an edit.

    With the name of that key, and its owner.
    """
    for name in connections.strong:
        value = claim.get(name)
        if not isinstance(value, str):
            continue
        for owner, strong in state.owners.get((name, value), ()):
            if strong and owner != contact.id:
                return {n: v for n, v in claim.items() if n != name}, name, owner
    return claim, None, None


def _change(state: Batch, contact: Contact, verdict: Verdict, strong: Collection[str] | None) -> None:
    """``strong`` None: another contact stands for it, so that it is found by no key."""

    def keys() -> tuple[matching.Key, ...]:
        return () if strong is None else matching.keys_of(contact.values(), strong)

    before = keys()
    state.keys_before.setdefault(contact.id, before)
    if state.likely is not None and contact.id not in state.before:
        state.before[contact.id] = contact.values()
    contact.version += 1
    contact.facts = dict(verdict.facts)
    taken = [d for d in verdict.decisions if d.outcome is Outcome.TAKEN]
    contact.changes.extend((d, contact.facts[d.field]) for d in taken)
    state.changed[contact.id] = contact
    if state.likely is not None and strong is not None and verdict.changed & identity.READ:
        state.likely.learn(contact.id, contact.values())
    # Later records of this batch must see the new keys: the same person may come twice.
    for key in before:
        having = state.owners.get((key.key, key.value), [])
        state.owners[(key.key, key.value)] = [(c, s) for c, s in having if c != contact.id]
    state.keys[contact.id] = keys()
    for key in state.keys[contact.id]:
        state.owners.setdefault((key.key, key.value), []).append((contact.id, key.strong))


def _dirty(
    state: Batch,
    connection: Connection,
    connections: Connections,
    contact: Contact,
    changed: Collection[str],
    since: int,
) -> None:
    """Mark the other connections that care about what changed."""
    for other in connections.values():
        if other.name == connection.name or not (other.cares & frozenset(changed)):
            continue
        state.mark(other.name, contact.id, since)


def _store(db: Db, state: Batch, connection: Connection, connections: Connections, now: int) -> None:
    temporary = {c.id: c for c in state.created}
    people.create(db, state.created, now)
    final = {old: c.id for old, c in temporary.items()}
    for link, contact in state.new_links:
        link.contact_id = contact.id
    new = {link.remote_id for link, _ in state.new_links}
    people.save(db, [c for old, c in state.changed.items() if old not in final], now)
    second.store(db, state, final)
    changed = list(state.changed.values())
    people.write_history(db, changed, now)
    people.set_keys(
        db,
        {final.get(old, old): keys for old, keys in state.keys.items()},
        {final.get(old, old): keys for old, keys in state.keys_before.items()},
    )
    if state.likely is not None:
        whose.file(db, state, final)
    for link in (*state.moved.values(), *(link for link, _ in state.new_links)):
        link.address_of = final.get(link.address_of, link.address_of) if link.address_of is not None else None
    pairs.rename(db, connection.name, connection.kind, state.renamed)
    for former, record_id in state.renamed:
        merges.alias(db, connection.name, connection.kind, former, record_id, now)
    second.forget(db, state)
    pairs.create(db, [link for link, _ in state.new_links], now)
    pairs.save(db, [link for remote_id, link in state.moved.items() if remote_id not in new])
    conflicts.settle(db, connection.name, [(contact.id, name) for contact, name in state.settled])
    conflicts.ask(db, connection.name, [(contact.id, decision, event) for contact, decision, event in state.asked], now)
    for contact, link, since in state.own:
        if differences(connection.map, contact.values(), link.shadow):
            state.mark(connection.name, contact.id, since)
    refusals.keep(db, connection.name, [replace(r, contact_id=c.id) for c, r in state.kept_out], now)
    ledger.append(db, state.entries, now)
    told = consenting.told(db, state, connections, now)
    if state.governed:
        leads.mark(db, told)
    deleting.restored(db, connection, connections, state.back, now)
    for name in sorted(state.dirty):
        urgent = state.urgent[name]
        work.mark(db, name, _final({i: s for i, s in state.dirty[name].items() if i in urgent}, final), lane=0)
        work.mark(db, name, _final({i: s for i, s in state.dirty[name].items() if i not in urgent}, final))


def _final(marks: Mapping[int, int], final: Mapping[int, int]) -> dict[int, int]:
    return {final.get(i, i): since for i, since in marks.items()}


def gone(db: Db, connection: Connection, remote_ids: Iterable[str]) -> int:
    """These records are no more, e.g. merged away: nothing is written to them; the contacts stay."""
    ids = list(remote_ids)
    if not ids:
        return 0
    now = clock_of(db)
    links = pairs.of_records(db, connection.name, connection.kind, ids, lock=True)
    for link in links.values():
        link.gone_at = now
    pairs.save(db, links.values())
    return len(links)
