"""What a replay would change, without changing it: of use after a mapping was changed, or before it is.

In: which past events.  Out: differences, contact by contact and field by field, with counts.  The records are read from
the vendor, as the replay itself does, or taken from the events where the vendor cannot be asked; nothing is written.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection as Db
from sqlalchemy import RowMapping, select

from app.core import tables as t
from app.core.clock import from_ms, to_ms
from app.core.db import Database, clock_of
from app.core.words import Outcome, Value, Winner
from app.ops.arrival import span
from app.records import conflicts, merges
from app.records import contacts as people
from app.records import links as pairs
from app.records.contacts import Contact, chunks
from app.records.links import Link
from app.sync import merging
from app.sync.connection import Connection, Connections
from app.sync.mapping import differences
from connectors.contract import Can, Kind, Record

PIECE: Final = 1_000  # events looked at in one go
SAMPLE: Final = 20  # differences shown

i = t.inbox.c


@dataclass(frozen=True, slots=True)
class Difference:
    """One value that would be another one."""

    contact: int
    field: str
    before: Value = dataclasses.field(repr=False)
    after: Value = dataclasses.field(repr=False)


@dataclass(slots=True)
class Rehearsal:
    """What a replay would do."""

    events: int = 0
    records: int = 0
    new: int = 0  # records that belong to nobody yet
    missing: int = 0  # records that the vendor does not show any more
    fields: Counter[str] = dataclasses.field(default_factory=Counter)  # values that would be others
    refused: Counter[tuple[str, str]] = dataclasses.field(default_factory=Counter)  # (field, rule) that would be kept
    unreadable: Counter[tuple[str, str]] = dataclasses.field(default_factory=Counter)  # (field, code)
    consent: Counter[tuple[str, str]] = dataclasses.field(default_factory=Counter)  # (consent, what would be said)
    written: Counter[str] = dataclasses.field(default_factory=Counter)  # fields that would be written back there
    samples: list[Difference] = dataclasses.field(default_factory=list, repr=False)


def rehearse(
    database: Database,
    connections: Connections,
    name: str,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    contact: int | None = None,
    progress: Callable[[int], None] = lambda _events: None,
) -> Rehearsal:
    """What a replay of a connection's events received in [``since``, ``until``) would change by its mapping.

    ``contact``: only of this one.  ``progress`` is told how many events were looked at.  Raises NotFound, and what the
    connector raises where the vendor does not answer.
    """
    connection = connections[name]
    found = Rehearsal()
    seen: set[str] = set()
    for rows in _pieces(database, connection, since, until):
        found.events += len(rows)
        with database.read() as db:
            wanted = _records(db, connection, rows)
        if contact is not None:
            with database.read() as db:
                mine = {k.remote_id for k in pairs.of_contact(db, contact) if k.connection == name}
            wanted = {i: r for i, r in wanted.items() if i in mine}
        wanted = {i: r for i, r in wanted.items() if i not in seen}
        seen |= set(wanted)
        records = _read(connection, wanted)
        found.missing += len(wanted) - len(records)
        with database.read() as db:
            _compare(db, connections, connection, records, found)
        progress(found.events)
    return found


def _pieces(
    database: Database, connection: Connection, since: datetime | None, until: datetime | None
) -> Iterator[Sequence[RowMapping]]:
    """The events of the period that were processed, some at a time, the oldest first."""
    with database.read() as db:
        first, last = span(db, since, until)
    columns = (i.id, i.connection, i.status, i.received_at, i.ref_key, i.ref_value, i.record)
    least, most = (to_ms(m) if m is not None else None for m in (since, until))
    while first < last:
        query = select(*columns).where(i.id >= first, i.id < last).order_by(i.id).limit(PIECE)
        with database.read() as db:
            rows = db.execute(query).mappings().all()
        if not rows:
            return
        first = rows[-1]["id"] + 1
        fits = [
            row
            for row in rows
            if row["connection"] == connection.name
            and row["ref_key"]
            and row["status"] in {"done", "ignored"}
            and (least is None or row["received_at"] >= least)
            and (most is None or row["received_at"] < most)
        ]
        if fits:
            yield fits


def _records(db: Db, connection: Connection, rows: Sequence[RowMapping]) -> dict[str, Record | None]:
    """The records that these events name, by id; with what an event carried, where it did."""
    ids = {row["ref_value"] for row in rows if row["ref_key"] == "id"}
    moved = merges.aliases(db, connection.name, connection.kind, ids)
    keyed = [(row["ref_key"], row["ref_value"]) for row in rows if row["ref_key"] != "id"]
    owners = {c for having in people.owners(db, keyed).values() for c, strong in having if strong}
    of = pairs.of_contacts(db, connection.name, connection.kind, owners)
    found: dict[str, Record | None] = {link.remote_id: None for link in of.values()}
    for row in rows:
        if row["ref_key"] == "id":
            number = moved.get(row["ref_value"], row["ref_value"])
            found[number] = _carried(row["record"]) if row["record"] is not None else found.get(number)
    return found


def _carried(data: Mapping[str, Any]) -> Record:
    modified = from_ms(data["modified"]) if data["modified"] is not None else None
    return Record(Kind.CONTACT, data["id"], data["fields"], modified, data["archived"], tuple(data["former"]))


def _read(connection: Connection, wanted: Mapping[str, Record | None]) -> list[Record]:
    """The records as they are at the vendor now."""
    connector = connection.connector
    if Can.READ not in connector.can:
        return [record for record in wanted.values() if record is not None]
    found: list[Record] = []
    for some in chunks(sorted(wanted), connector.limits.read_batch):
        found += [r for r in connector.read(connection.kind, some) if not r.archived]
    return found


def _compare(
    db: Db, connections: Connections, connection: Connection, records: Sequence[Record], found: Rehearsal
) -> None:
    links = pairs.of_records(db, connection.name, connection.kind, [r.id for r in records])
    contacts = people.load(db, {k.contact_id for k in links.values()})
    rulings = conflicts.rulings(db, connection.name)
    now = clock_of(db)
    for record in records:
        found.records += 1
        link = links.get(record.id)
        if link is None:
            found.new += 1
        else:
            _one(connections, connection, record, link, contacts[link.contact_id], rulings, now, found)


def _one(
    connections: Connections,
    connection: Connection,
    record: Record,
    link: Link,
    contact: Contact,
    rulings: Mapping[str, str],
    now: int,
    found: Rehearsal,
) -> None:
    """Map and judge, as the chain does, and count."""
    mapping = connection.map
    reading = mapping.read(record.fields)
    found.unreadable.update((w.field, w.code) for w in reading.warnings)

    def policy(name: str) -> tuple[Winner, bool]:
        return mapping.policy(name).winner, mapping.policy(name).clearable

    verdict = merging.judge(
        contact.facts,
        link.shadow,
        reading.claim,
        source=connection.name,
        at=min(to_ms(record.modified), now) if record.modified is not None else now,
        event=None,
        policy=policy,
        side=connections.side,
        project=mapping.project,
        rulings=rulings,
    )
    for decision in verdict.decisions:
        if decision.outcome is Outcome.TAKEN and decision.old != decision.new:
            found.fields[decision.field] += 1
            if len(found.samples) < SAMPLE:
                found.samples.append(Difference(contact.id, decision.field, decision.old, decision.new))
        elif decision.outcome in {Outcome.KEPT, Outcome.ASKED}:
            found.refused[decision.field, decision.rule] += 1
    for claimed in mapping.read_consent(record.fields):
        if link.shadow.get(claimed.name) != claimed.status:
            found.consent[claimed.name, str(claimed.status)] += 1
    values = {name: fact.value for name, fact in verdict.facts.items()}
    found.written.update(differences(mapping, values, verdict.shadow))
