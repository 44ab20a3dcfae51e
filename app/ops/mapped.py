"""A mapping beside a real record: each field both ways, what it makes of the record, and what does not fit.

Nothing is stored and nothing is written.  The record is read from its vendor.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import Connection as Db

from app.core.errors import NotFound, NotPossible
from app.core.words import MISSING, Value
from app.records import contacts as people
from app.records import links as pairs
from app.sync import mapping
from app.sync.connection import Connection, Connections
from app.sync.mapping import Map
from connectors.contract import Can, Problem, Record


@dataclass(frozen=True, slots=True)
class FieldMapped:
    """One field of a mapping; what it makes of a record, where one is given."""

    ours: str
    theirs: str
    way: str
    winner: str
    clear: bool
    required: bool
    line: int | None
    reads: Sequence[str]
    writes: Sequence[str]
    raw: Any = field(default=None, repr=False)  # as the vendor holds it
    read: Any = field(default=None, repr=False)  # the same in our words
    held: Any = field(default=None, repr=False)  # what the contact holds
    said: Any = field(default=None, repr=False)  # the same in the vendor's words
    warning: str | None = None


@dataclass(frozen=True, slots=True)
class Sample:
    """A contact and its record at one connection."""

    contact: int
    remote_id: str
    fields: Mapping[str, Any] = field(repr=False)
    values: Mapping[str, Value] = field(repr=False)


def fields_of(map_: Map, sample: Sample | None = None) -> list[FieldMapped]:
    """The fields of a mapping in the order of the file."""
    claim: Mapping[str, Any] = {}
    said: Mapping[str, Any] = {}
    warnings: dict[str, str] = {}
    if sample is not None:
        reading, writing = map_.read(sample.fields, all=True), map_.write(sample.values)
        claim, said = reading.claim, writing.fields
        warnings = {w.field: f"{w.code}: {w.message}" for w in (*writing.warnings, *reading.warnings)}
    return [
        FieldMapped(
            ours=name,
            theirs=entry.theirs if entry.part is None else f"{entry.theirs}.{entry.part}",
            way=str(entry.policy.way),
            winner=str(entry.policy.winner),
            clear=entry.policy.clearable,
            required=entry.required,
            line=map_.lines.get(f"fields.{name}"),
            reads=entry.reads,
            writes=entry.writes,
            raw=_inside(sample.fields.get(entry.theirs), entry.part) if sample is not None else None,
            read=claim.get(name),
            held=sample.values.get(name) if sample is not None else None,
            said=_inside(said.get(entry.theirs), entry.part),
            warning=warnings.get(name),
        )
        for name, entry in map_.entries.items()
    ]


def _inside(value: Any, part: str | None) -> Any:
    return value.get(part) if part is not None and isinstance(value, Mapping) else value


def record_of(db: Db, connections: Connections, name: str, contact: int | None) -> tuple[int, str, dict[str, Value]]:
    """A contact with a record at a connection: its number, the record's id, its values.

    None: the first contact that has one.  Raises NotFound where there is none.
    """
    connection = connections[name]
    number = contact if contact is not None else pairs.first_contact(db, connection.name, connection.kind)
    found = people.load(db, [number]).get(number) if number is not None else None
    link = next((k for k in pairs.of_contact(db, number) if k.connection == name), None) if number is not None else None
    if number is None or found is None or link is None or link.gone_at is not None:
        raise NotFound(f"contact {number} has no record at {name}" if number is not None else f"{name} has no record")
    return number, link.remote_id, found.values()


def sample_of(connection: Connection, contact: int, remote_id: str, values: Mapping[str, Value]) -> Sample:
    """A record as its vendor holds it now.  Raises NotPossible with the vendor's reason."""
    if Can.READ not in connection.connector.can:
        raise NotPossible(f"{connection.name} cannot be asked for one record")
    try:
        records: Sequence[Record] = connection.connector.read(connection.kind, [remote_id])
    except Problem as problem:
        raise NotPossible(f"{connection.name} does not answer as it should: {problem}") from None
    if not records:
        raise NotPossible(f"{connection.name} has no record {remote_id} any more")
    return Sample(contact, remote_id, records[0].fields, {n: v for n, v in values.items() if v is not MISSING})


def problems_of(connection: Connection, map_: Map) -> list[mapping.Problem]:
    """What of a mapping does not fit the account.  Raises NotPossible where the vendor does not say."""
    if Can.DESCRIBE not in connection.connector.can:
        raise NotPossible(f"{connection.name} cannot say which fields the account has")
    try:
        return mapping.check_against(map_, connection.connector.describe(connection.kind))
    except Problem as problem:
        raise NotPossible(f"{connection.name} does not answer as it should: {problem}") from None


def text_of(map_: Map) -> str:
    """The file of a mapping as it is now; empty where it is none, or cannot be read any more."""
    try:
        return Path(map_.file).read_text(encoding="utf-8")
    except (OSError, ValueError):
        return ""


def tried(connection: Connection, text: str) -> Map:
    """A changed mapping as it would be used.  Raises MappingError with every problem."""
    return mapping.loads(text, connection.map.file)
