"""Schema drift: what a vendor says of its fields now, beside what it said before.

In: a description as kept, a new one, the fields that a mapping names.  Out: what changed that matters, and in words
what to do.  A field that changed is suspended: absent in both directions, never cleared.  It is back when the vendor
describes it as before, or when a named person takes it as it is now.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import structlog
from sqlalchemy import Connection as Db
from sqlalchemy import select, update

from app.core import tables as t
from app.core.db import Database, clock_of, now_ms, upsert
from app.records import alarms, state, suspended
from app.repair import runs
from app.sync.connection import Connection, Connections
from app.sync.hiding import shows, vital_fields
from connectors.contract import Can, NeedsHuman, Property, Refused, Schema, TryLater

log = structlog.get_logger(__name__)

GONE, RENAMED, TYPE, OPTIONS, HIDDEN = "gone", "renamed", "type", "options", "hidden"
AGAIN_MS: Final = 300_000  # after a description that did not come
NOW = now_ms()
y = t.described.c


@dataclass(frozen=True, slots=True)
class Change:
    """One field that is not as it was."""

    field: str
    why: str  # GONE, RENAMED, TYPE, OPTIONS
    words: str


def kept(schema: Schema) -> dict[str, Any]:
    """A description as it is kept."""
    return {p.name: _kept(p) for p in schema.properties.values()}


def _kept(p: Property) -> dict[str, Any]:
    return {"type": p.type, "label": p.label, "options": sorted(p.options) if p.options is not None else None}


def changes(before: Mapping[str, Any], now: Schema, watched: Mapping[str, frozenset[str]]) -> list[Change]:
    """What changed of the watched fields (field → the vendor's words that the mapping uses there).  Pure.

    A field that was never described is no change: `tandem doctor` says that the account does not have it.
    """
    there = kept(now)
    new = {name: of for name, of in there.items() if name not in before}
    found = []
    for name in sorted(set(watched) & set(before)):
        was, this = before[name], there.get(name)
        if this is None:
            like = [
                n for n, of in new.items() if of["label"] and (of["label"], of["type"]) == (was["label"], was["type"])
            ]
            if len(like) == 1:
                found.append(
                    Change(name, RENAMED, f"it is called {like[0]} now, as it seems: name that in the mapping")
                )
            else:
                found.append(Change(name, GONE, "it is gone, or hidden from the key: bring it back, or unmap it"))
        elif was["type"] != this["type"]:
            found.append(Change(name, TYPE, f"it was of type {was['type']} and is of type {this['type']} now"))
        elif watched[name] and was["options"] is not None:
            lost = sorted(watched[name] & set(was["options"]) - set(this["options"] or ()))
            if lost:
                found.append(Change(name, OPTIONS, f"it lost the option(s) {', '.join(lost)} that the mapping uses"))
    return found


def watched_fields(connections: Connections, name: str) -> dict[str, frozenset[str]]:
    """The vendor's fields that a connection's mapping names, each with the words that it uses there."""
    mapping = connections.whole(name)
    found: dict[str, frozenset[str]] = {theirs: frozenset() for theirs in mapping.composed}
    for entry in mapping.entries.values():
        words = entry.words if entry.words is not None else frozenset()
        found[entry.theirs] = found.get(entry.theirs, frozenset()) | words
    for rule in mapping.consents:
        found |= {theirs: found.get(theirs, frozenset()) for theirs in rule.fields}
    return found


class Describe:
    """Asks vendors for their fields, each on its schedule."""

    def __init__(self, database: Database, connections: Connections) -> None:
        self._database = database
        self._connections = connections

    def step(self) -> int:
        """Look at one connection whose description is due; 0 = none is."""
        with self._database.read() as db:
            now = clock_of(db)
            resting = state.paused(db)
            due = {row.connection: row.due_at for row in db.execute(select(y.connection, y.due_at))}
        for one in self._connections.values():
            every = one.watch.describe_every_ms
            able = Can.DESCRIBE in one.connector.can and every is not None and one.name not in resting
            if able and due.get(one.name, 0) <= now:
                self.look(one)
                return 1
        return 0

    def look(self, connection: Connection) -> None:
        """Compare a connection's fields with what they were, now."""
        name = connection.name
        try:
            schema = connection.connector.describe(connection.kind)
            shown = self._shown_again(connection)
        except (TryLater, Refused, NeedsHuman) as problem:
            log.warning("describe.failed", connection=name, reason=str(problem))
            with self._database.write() as db:
                _keep(db, name, None, AGAIN_MS)
                if isinstance(problem, NeedsHuman):
                    state.pause(db, name, str(problem))
            return
        every = connection.watch.describe_every_ms

        def work(db: Db) -> None:
            before = db.execute(select(y.properties).where(y.connection == name)).scalar()
            found = [] if not before else changes(before, schema, watched_fields(self._connections, name))
            taken = self._judge(db, connection, found, shown)
            # What changed stays as it was until it is back or taken: the next description is compared with that.
            open_ = {c.field: before[c.field] for c in found if c.field not in taken} if before else {}
            _keep(db, name, {**kept(schema), **open_}, every if every is not None else 2**50)
            self._connections.suspend(suspended.fields(db))

        self._database.transact(work)

    def _shown_again(self, connection: Connection) -> list[str]:
        """Fields that were taken for hidden, and of which a record shows a value again."""
        with self._database.read() as db:
            held = [f for f, (why, now) in suspended.why(db, connection.name).items() if now and why == HIDDEN]
        return [f for f in held if shows(self._database, self._connections, connection, f)]

    def _judge(self, db: Db, connection: Connection, found: list[Change], shown: list[str]) -> set[str]:
        """Suspend what changed and let go of what is back; the fields that a person took as they are now."""
        name = connection.name
        known = suspended.why(db, name)
        taken = {c.field for c in found if known.get(c.field) == (c.why, False)}
        consents = {theirs for rule in connection.map.consents for theirs in rule.fields}
        for field in taken:
            suspended.back(db, name, field)
        rest = [c for c in found if c.field not in taken]
        vital = set(vital_fields(self._connections[name], self._connections.whole(name), [c.field for c in rest]))
        for change in rest:
            if change.field in vital:
                advice = f"people are known by it, so {name} rests until `tandem resume {name}`"
                state.pause(db, name, f"the field {change.field}: {change.words}")
            elif change.field in consents:
                advice = "consent is read from it: what it says is not heard at present"
            else:
                suspended.suspend(db, name, {change.field: change.why})
                advice = (
                    f"neither read nor written meanwhile, nothing is cleared; to take it as it is now: `tandem field "
                    f"resume {name} {change.field} --by NAME`"
                )
            words = f"{name}: the field {change.field} changed: {change.words}; {advice}"
            if alarms.raised(db, alarms.Kind.FIELD, name, change.field, words):
                log.warning("field.changed", connection=name, field=change.field, why=change.why)
        still = {c.field for c in rest} | {f for f, (why, now) in known.items() if now and why == HIDDEN}
        over = [*shown, *(f for f in _open(db, name) if f not in still)]
        for field in [*over, *(f for f, (why, now) in known.items() if now and why != HIDDEN and f not in still)]:
            suspended.back(db, name, field)
        if over:
            alarms.cleared(db, alarms.Kind.FIELD, name, over)
            _catch_up(db, self._connections, name)
        return taken


def _catch_up(db: Db, connections: Connections, name: str) -> None:
    """A field is read and written again: what it missed meanwhile is found and repaired by a complete compare."""
    if runs.obstacle(db, connections[name]) is None:
        runs.begin(db, connections, name, repair=True)


def _open(db: Db, name: str) -> list[str]:
    a = t.alarm.c
    query = select(a.subject).where(a.kind == str(alarms.Kind.FIELD), a.connection == name, a.cleared_at.is_(None))
    return list(db.execute(query).scalars())


def _keep(db: Db, name: str, properties: Mapping[str, Any] | None, delay_ms: int) -> None:
    values = {"connection": name, "at": NOW, "due_at": NOW + delay_ms}
    statement = upsert(db.dialect.name, t.described).values(**values, properties=dict(properties or {}))
    after = {"due_at": NOW + delay_ms}
    if properties is not None:
        after |= {"properties": statement.excluded.properties, "at": statement.excluded.at}
    db.execute(statement.on_conflict_do_update(index_elements=["connection"], set_=after))


def resume(db: Db, connections: Connections, connection: str, field: str, by: str) -> None:
    """A named person takes a field as it is now.  Raises NotFound."""
    connections[connection]  # raises NotFound
    suspended.resume(db, connection, field, by)
    alarms.cleared(db, alarms.Kind.FIELD, connection, [field])
    db.execute(update(t.described).where(y.connection == connection).values(due_at=0))
    _catch_up(db, connections, connection)
    connections.suspend(suspended.fields(db))
