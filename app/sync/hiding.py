"""A field that a vendor hides looks like one that was emptied everywhere: before anything is cleared, others are asked.

Where a reading would empty a field, a few other records are read that are known to have a value there.  If none of them
shows one either, the field is hidden or gone, not empty: it is suspended, which means absent in both directions, and an
alarm says what to do.  What nobody can testify to is believed in small numbers only.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final

import structlog
from sqlalchemy import Connection as Db
from sqlalchemy import select

from app.core import tables as t
from app.core.db import Database
from app.records import alarms, state, suspended
from app.records import links as pairs
from app.sync.connection import Connection, Connections
from app.sync.mapping import Map
from connectors.contract import Can, NeedsHuman, Record

log = structlog.get_logger(__name__)

WITNESSES: Final = 5  # other records that are read
ENOUGH: Final = 3  # so many of them without a value, and none with one: the field is hidden
ALONE: Final = 5  # so many records emptied at once, and nobody to ask: not believed
LOOK: Final = 100  # links among which witnesses are looked for
TRUST_MS: Final = 300_000  # a field that was shown is not asked about again for so long

k = t.link.c


class Guard:
    """Asks before a field is emptied.  ``now``: ms, for how long a testimony holds."""

    def __init__(self, database: Database, connections: Connections, now: Callable[[], float]) -> None:
        self._database = database
        self._connections = connections
        self._now = now
        self._shown: dict[tuple[str, str], float] = {}

    def look(self, connection: Connection, records: Sequence[Record]) -> list[str]:
        """Suspend what these records would empty and nobody shows; the vendor fields.

        Raises what a read raises, and NeedsHuman where nobody could be told apart without the field.
        """
        blank = self._doubtful(connection, _blank(connection, records))
        if not blank:
            return []
        with self._database.read() as db:
            links = pairs.of_records(db, connection.name, connection.kind, {r.id for r in records})
            emptied = _emptied(connection, blank, records, {i: link.shadow for i, link in links.items()})
            if not emptied:
                return []
            witnesses = self._witnesses(db, connection, emptied, {r.id for r in records})
        hidden = self._hidden(connection, emptied, witnesses)
        if hidden:
            self._database.transact(lambda db: suspend(db, self._connections, connection, hidden))
        vital = vital_fields(connection, connection.map, hidden)
        if vital:
            raise NeedsHuman(f"{connection.name}: hidden: {', '.join(vital)}")
        return sorted(hidden)

    def _doubtful(self, connection: Connection, blank: Collection[str]) -> set[str]:
        return {f for f in blank if self._now() - self._shown.get((connection.name, f), float("-inf")) > TRUST_MS}

    def _witnesses(
        self, db: Db, connection: Connection, emptied: Mapping[str, int], batch: Collection[str]
    ) -> dict[str, list[str]]:
        """Per field, others that are known to have a value."""
        query = select(k.remote_id, k.shadow).where(
            k.connection == connection.name, k.kind == connection.kind, k.gone_at.is_(None)
        )
        rows = [row for row in db.execute(query.limit(LOOK + len(batch))) if row.remote_id not in batch]
        most = min(WITNESSES, connection.connector.limits.read_batch)
        return {
            field: [row.remote_id for row in rows if any(row.shadow.get(n) is not None for n in names)][:most]
            for field in emptied
            for names in [_ours(connection, field)]
        }

    def _hidden(
        self, connection: Connection, emptied: Mapping[str, int], witnesses: Mapping[str, Sequence[str]]
    ) -> dict[str, int]:
        found = {}
        for field, n in emptied.items():
            asked = witnesses[field]
            records = (
                connection.connector.read(connection.kind, asked)
                if asked and Can.READ in connection.connector.can
                else []
            )
            there = [r for r in records if not r.archived]
            if any(r.fields.get(field) not in (None, "") for r in there):
                self._shown[(connection.name, field)] = self._now()
            elif len(there) >= ENOUGH or n >= ALONE:
                found[field] = n + len(there)
        return found


def _blank(connection: Connection, records: Sequence[Record]) -> set[str]:
    """Vendor fields that are read, that one of these records shows as empty, and none with a value."""
    found = set()
    for name, entry in connection.map.entries.items():
        if name not in connection.map.in_fields:
            continue
        values = [r.fields[entry.theirs] for r in records if entry.theirs in r.fields]
        if values and all(v is None or v == "" for v in values):
            found.add(entry.theirs)
    return found


def _ours(connection: Connection, field: str) -> tuple[str, ...]:
    return tuple(n for n, e in connection.map.entries.items() if e.theirs == field)


def _emptied(
    connection: Connection,
    blank: Collection[str],
    records: Sequence[Record],
    shadows: Mapping[str, Mapping[str, object]],
) -> dict[str, int]:
    """How many of the records had a value in each of these fields."""
    found = {}
    for field in sorted(blank):
        names = _ours(connection, field)
        had = {
            r.id
            for r in records
            if field in r.fields and any(shadows.get(r.id, {}).get(name) is not None for name in names)
        }
        if had:
            found[field] = len(had)
    return found


def vital_fields(connection: Connection, mapping: Map, fields: Collection[str]) -> list[str]:
    """Those of these vendor fields without which nobody could be told apart, or made, at a connection."""
    needed = {*connection.map.keys, *connection.map.required}
    return sorted({e.theirs for n, e in mapping.entries.items() if n in needed and e.theirs in fields})


def shows(database: Database, connections: Connections, connection: Connection, field: str) -> bool:
    """Whether one of a few records that are known to have a value in this vendor field shows one again."""
    names = [n for n, e in connections.whole(connection.name).entries.items() if e.theirs == field]
    query = select(k.remote_id, k.shadow).where(
        k.connection == connection.name, k.kind == connection.kind, k.gone_at.is_(None)
    )
    with database.read() as db:
        rows = db.execute(query.limit(LOOK)).all()
    held = [row.remote_id for row in rows if any(row.shadow.get(n) is not None for n in names)]
    asked = held[: min(WITNESSES, connection.connector.limits.read_batch)]
    found = connection.connector.read(connection.kind, asked) if asked else []
    return any(r.fields.get(field) not in (None, "") for r in found)


def suspend(db: Db, connections: Connections, connection: Connection, fields: Mapping[str, int]) -> list[str]:
    """Suspend fields that nobody shows any more (field → how many should); those that are new.

    Without a key nobody could be told apart, so the connection rests then.
    """
    name = connection.name
    vital = vital_fields(connection, connection.map, fields)
    for field in vital:
        words = (
            f"{name}: the field {field} is empty in all of {fields[field]:,} records that had a value: is it hidden "
            f"from the key?  People are known by it, so {name} rests; give the key its right back, then `tandem resume "
            f"{name}`"
        )
        alarms.raised(db, alarms.Kind.FIELD, name, field, words)
        state.pause(db, name, f"the field {field} is hidden")
    rest = {f: "hidden" for f in fields if f not in vital}
    new = suspended.suspend(db, name, rest)
    for field in new:
        words = (
            f"{name}: the field {field} is empty in all of {fields[field]:,} records that had a value, so it is taken "
            f"for hidden: neither read nor written, nothing was cleared.  Give the key its right back; or, if it was "
            f"emptied on purpose, `tandem field resume {name} {field} --by NAME`"
        )
        alarms.raised(db, alarms.Kind.FIELD, name, field, words)
        log.warning("field.suspended", connection=name, field=field, why="hidden")
    if new:
        connections.suspend(suspended.fields(db))
    return [*new, *vital]
