"""Compare a vendor's records with what this store holds for them, field by field, and see what is on its way.

Two questions for each mapped field.  Does the vendor hold what we last read or wrote there (else it is *unseen*)?  Does
it hold what the push would leave there now (else it is *unwritten*)?  The second is the push's own comparison, with the
record just read in the place of the shadow.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import Connection as Db
from sqlalchemy import select

from app.core import tables as t
from app.core.clock import to_ms
from app.core.words import MISSING
from app.push.gather import Gathered, gather
from app.push.plan import Known, lacking
from app.push.work import FAR
from app.records import drift, tombstones
from app.records import links as pairs
from app.records.contacts import Contact, chunks
from app.records.links import Link
from app.sync import matching
from app.sync.connection import Connection, Connections
from connectors.contract import Record


@dataclass(frozen=True, slots=True)
class Compared:
    """One record beside what we hold."""

    fields: Mapping[str, str]  # those that disagree → why
    compared: frozenset[str]


@dataclass(slots=True)
class Page:
    """What the compare of some records found."""

    found: list[drift.Found] = field(default_factory=list)
    compared: dict[str, int] = field(default_factory=dict)
    in_flight: list[str] = field(default_factory=list, repr=False)  # records with changes on their way
    blocked: int = 0  # records of people who are not to be taken in
    held: dict[str, int] = field(default_factory=dict)  # vendor field → linked records that are known to have a value
    shown: dict[str, int] = field(default_factory=dict)  # vendor field → records that show a value


def compare(connection: Connection, record: Record, link: Link, contact: Contact, known: Known) -> Compared:
    """One record that belongs to a contact.  Pure."""
    mapping = connection.map
    claim = mapping.read(record.fields, all=True).claim
    said: dict[str, Any] = {c.name: str(c.status) for c in mapping.read_consent(record.fields)}
    blank = {r.name for r in mapping.consents if r.theirs in record.fields and r.name not in said}
    before = link.shadow
    unseen = {n for n, v in claim.items() if n in mapping.in_fields and _unlike(before.get(n, MISSING), v)}
    unseen |= {n for n, v in said.items() if before.get(n) != v}
    if not connection.only_in.fits({**contact.values(), **{n: v for n, v in claim.items() if n in mapping.in_fields}}):
        # The connection is not about them: what the record says is not taken in, objections aside.
        claim, unseen = {}, unseen & {r.name for r in mapping.consents}
    now = {n: v for n, v in {**before, **claim, **said}.items() if n not in blank}
    unwritten = lacking(connection, contact, replace(link, shadow=now), replace(known, asked=frozenset()))
    decided = {w["field"] for w in link.warnings or () if w.get("code") == "belongs_to_another"} | set(known.asked)
    fields = dict.fromkeys(unwritten, drift.UNWRITTEN) | dict.fromkeys(unseen, drift.UNSEEN)
    fields |= dict.fromkeys(decided & fields.keys(), drift.HELD)
    return Compared(fields, frozenset(claim) | frozenset(said) | frozenset(fields))


def _unlike(before: Any, theirs: Any) -> bool:
    """A field that a record never spoke of and an empty one are the same: nothing is there."""
    if before is MISSING or before is None:
        return theirs is not None
    return bool(before != theirs)


def page(
    db: Db, connection: Connection, connections: Connections, records: Sequence[Record], read_at: int, recent_ms: int
) -> Page:
    """Records as read since ``read_at``.  ``recent_ms``: what changed there so lately may still be on its way here."""
    out = Page()
    there = {r.id: r for r in records if not r.archived}
    links = pairs.of_records(db, connection.name, connection.kind, there)
    gathered = gather(db, connection, connections, {k.contact_id for k in links.values()})
    dirty, parked = _work(db, connection.name, gathered)
    told = _told(db, connection, there.values())
    strangers = [r for i, r in there.items() if i not in links]
    refused = _refused(db, connection, connections, strangers)
    refused |= {r.id for r in strangers if not connection.only_in.fits(connection.map.read(r.fields).claim)}
    out.blocked = len(refused)
    for record in strangers:
        if record.id in refused:
            continue
        if record.id in told or _recent(record, read_at, recent_ms) or _merged(record, links):
            out.in_flight.append(record.id)
        else:
            out.found.append(drift.Found(record.id, None, {drift.RECORD: drift.EXTRA}))
    for record_id, link in sorted(links.items()):
        contact = gathered.contacts.get(link.contact_id)
        record = there[record_id]
        if contact is None or contact.id in gathered.erased:
            continue
        _look(out, connection, record, link)
        if link.contact_id in dirty or record_id in told or _newer(link, record, read_at):
            out.in_flight.append(record_id)
            continue
        one = compare(connection, record, link, contact, gathered.known[contact.id])
        unseen = drift.UNSEEN in one.fields.values()
        if unseen and _recent(record, read_at, recent_ms):
            out.in_flight.append(record_id)
            continue
        fields = dict(one.fields)
        if link.contact_id in parked:
            fields = {n: drift.HELD if why == drift.UNWRITTEN else why for n, why in fields.items()}
        for name in one.compared:
            out.compared[name] = out.compared.get(name, 0) + 1
        out.found.append(drift.Found(record_id, contact.id, fields))
    return out


def _look(out: Page, connection: Connection, record: Record, link: Link) -> None:
    """Count who is known to have a value, and who shows one: a field that everybody lost is hidden, not empty."""
    for name, entry in connection.map.entries.items():
        if link.shadow.get(name) is not None:
            out.held[entry.theirs] = out.held.get(entry.theirs, 0) + 1
        value = record.fields.get(entry.theirs)
        if value is not None and value != "":
            out.shown[entry.theirs] = out.shown.get(entry.theirs, 0) + 1


def _work(db: Db, connection: str, gathered: Gathered) -> tuple[set[int], set[int]]:
    """Contacts with something to write there: on its way, and waiting for a person to end a brake."""
    w = t.work.c
    dirty: set[int] = set()
    parked: set[int] = set()
    for chunk in chunks(sorted(gathered.contacts)):
        query = select(w.contact_id, w.due_at).where(w.connection == connection, w.contact_id.in_(chunk))
        for row in db.execute(query):
            (parked if row.due_at >= FAR else dirty).add(row.contact_id)
    return dirty, parked


def _told(db: Db, connection: Connection, records: Collection[Record]) -> set[str]:
    """Those of the records that an event waits for, by id or by another key."""
    i = t.inbox.c
    names = {r.id: r.id for r in records}
    for r in records:
        claim = connection.map.read(r.fields).claim
        names |= {k.value: r.id for k in matching.keys_of(claim, connection.map.keys)}
    found: set[str] = set()
    for chunk in chunks(sorted(names)):
        query = select(i.ref_value).where(
            i.connection == connection.name, i.status == "pending", i.ref_value.in_(chunk)
        )
        found |= {names[value] for value in db.execute(query).scalars()}
    return found


def _refused(db: Db, connection: Connection, connections: Connections, records: Sequence[Record]) -> set[str]:
    """Records of people for whom a tombstone stands: nobody here belongs to them, and so it shall be."""
    addresses = {r.id: matching.addresses(connection.map.read(r.fields).claim) for r in records}
    every = {a for of in addresses.values() for a in of}
    stones = tombstones.standing(db, every, connections.erasure_key) if every else {}
    return {i for i, of in addresses.items() if any(a in stones for a in of)}


def _merged(record: Record, links: Mapping[str, Link]) -> bool:
    return any(former in links for former in record.former_ids)


def _newer(link: Link, record: Record, read_at: int) -> bool:
    """Whether more is known of the record than this reading shows."""
    modified = to_ms(record.modified) if record.modified is not None else None
    return link.written_at >= read_at or (
        link.modified is not None and modified is not None and modified < link.modified
    )


def _recent(record: Record, read_at: int, recent_ms: int) -> bool:
    return record.modified is not None and to_ms(record.modified) > read_at - recent_ms
