"""Contacts at rest: load, save, find by key, history.  Core statements in bulk; every lock in the order of its keys."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from sqlalchemy import Connection, bindparam, delete, insert, select, update

from app.core import tables as t
from app.core.db import execute_many, upsert
from app.core.words import Decision, Fact

CHUNK = 500  # values in one IN list


class KeyLike(Protocol):
    """A key under which a contact can be found."""

    @property
    def key(self) -> str: ...
    @property
    def value(self) -> str: ...
    @property
    def strong(self) -> bool: ...


@dataclass(slots=True)
class Contact:
    """A contact in hand, inside one transaction.  ``id`` 0 = not stored yet."""

    id: int
    version: int
    facts: dict[str, Fact] = field(repr=False)
    created_at: int
    merged_into: int | None = None  # the contact that stands for it
    changes: list[tuple[Decision, Fact]] = field(default_factory=list, repr=False)

    def value(self, name: str) -> Any:
        """The field's value, None where there is none."""
        fact = self.facts.get(name)
        return None if fact is None else fact.value

    def values(self) -> dict[str, Any]:
        """All values by field."""
        return {name: fact.value for name, fact in self.facts.items()}


_SELECT = select(
    t.contact.c.id, t.contact.c.version, t.contact.c.facts, t.contact.c.created_at, t.contact.c.merged_into
)


def load(db: Connection, ids: Collection[int], *, lock: bool = False) -> dict[int, Contact]:
    """The contacts of these ids; ``lock`` holds their rows (PostgreSQL; SQLite has one writer anyway)."""
    found: dict[int, Contact] = {}
    for chunk in chunks(sorted(ids)):
        query = _SELECT.where(t.contact.c.id.in_(chunk)).order_by(t.contact.c.id)
        if lock:
            query = query.with_for_update()
        for row in db.execute(query).all():
            facts = {name: Fact.from_json(data) for name, data in row.facts.items()}
            found[row.id] = Contact(row.id, row.version, facts, row.created_at, row.merged_into)
    return found


def owners(db: Connection, keys: Iterable[tuple[str, str]]) -> dict[tuple[str, str], list[tuple[int, bool]]]:
    """Who has these (key, value) pairs: contact ids, each with "is it strong there"; in the order of ids."""
    by_key: dict[str, set[str]] = defaultdict(set)
    for key, value in keys:
        by_key[key].add(value)
    found: dict[tuple[str, str], list[tuple[int, bool]]] = defaultdict(list)
    c = t.contact_key.c
    for key, values in sorted(by_key.items()):
        for chunk in chunks(sorted(values)):
            query = (
                select(c.value, c.contact_id, c.strong).where(c.key == key, c.value.in_(chunk)).order_by(c.contact_id)
            )
            for row in db.execute(query).all():
                found[(key, row.value)].append((row.contact_id, bool(row.strong)))
    return found


_UPDATE = (
    update(t.contact)
    .where(t.contact.c.id == bindparam("b_id"))
    .values(version=bindparam("b_version"), facts=bindparam("b_facts"), updated_at=bindparam("b_at"))
)
_INSERT = insert(t.contact).returning(t.contact.c.id, sort_by_parameter_order=True)


def create(db: Connection, contacts: Sequence[Contact], now: int) -> None:
    """Store new contacts; sets their ids."""
    if not contacts:
        return
    rows = [{"version": c.version, "facts": _facts(c), "created_at": now, "updated_at": now} for c in contacts]
    for contact, new in zip(contacts, db.execute(_INSERT, rows).scalars().all(), strict=True):
        contact.id = new


def save(db: Connection, contacts: Iterable[Contact], now: int) -> None:
    """Store changed contacts, which their caller holds locked."""
    rows = [
        {"b_id": c.id, "b_version": c.version, "b_facts": _facts(c), "b_at": now}
        for c in sorted(contacts, key=lambda c: c.id)
    ]
    if rows:
        execute_many(db, _UPDATE, rows)


def _facts(contact: Contact) -> dict[str, Any]:
    return {name: fact.to_json() for name, fact in contact.facts.items()}


def write_history(db: Connection, contacts: Iterable[Contact], now: int) -> None:
    """One line per changed field."""
    rows = [
        {
            "contact_id": c.id,
            "version": c.version,
            "field": decision.field,
            "old": decision.old,
            "new": decision.new,
            "source": fact.source,
            "rule": decision.rule,
            "event": fact.event,
            "actor": fact.actor,
            "run": fact.run,
            "at": fact.at,
            "stored_at": now,
        }
        for c in contacts
        for decision, fact in c.changes
    ]
    if rows:
        execute_many(db, insert(t.history), rows)


def said(
    db: Connection, contacts: Collection[int], fields: Collection[str]
) -> dict[int, dict[str, list[tuple[Any, str, int]]]]:
    """What contacts said in each of these fields so far, oldest first: value, source, when it was stored (ms)."""
    h = t.history.c
    found: dict[int, dict[str, list[tuple[Any, str, int]]]] = {}
    for chunk in chunks(sorted(contacts)):
        query = select(h.contact_id, h.field, h.new, h.source, h.stored_at)
        query = query.where(h.contact_id.in_(chunk), h.field.in_(sorted(fields)))
        for row in db.execute(query.order_by(h.contact_id, h.version, h.id)):
            found.setdefault(row.contact_id, {}).setdefault(row.field, []).append((row.new, row.source, row.stored_at))
    return found


def set_keys(db: Connection, wanted: Mapping[int, Sequence[KeyLike]], before: Mapping[int, Sequence[KeyLike]]) -> None:
    """Replace the keys of contacts.  ``before``: what they had.  A strong key of another contact: IntegrityError."""
    gone, new = [], []
    for contact_id in sorted(wanted):
        old = {(k.key, k.value): k.strong for k in before.get(contact_id, ())}
        now = {(k.key, k.value): k.strong for k in wanted[contact_id]}
        gone += [{"b_key": k, "b_value": v, "b_id": contact_id} for k, v in sorted(set(old) - set(now))]
        new += [
            {"key": k, "value": v, "contact_id": contact_id, "strong": int(strong)}
            for (k, v), strong in sorted(now.items())
            if old.get((k, v)) is not strong
        ]
    c = t.contact_key.c
    if gone:
        db.execute(
            delete(t.contact_key).where(
                c.key == bindparam("b_key"), c.value == bindparam("b_value"), c.contact_id == bindparam("b_id")
            ),
            gone,
        )
    if new:
        execute_many(db, _upsert_key(db.dialect.name), new)


def _upsert_key(dialect: str) -> Any:
    statement = upsert(dialect, t.contact_key)
    return statement.on_conflict_do_update(
        index_elements=["key", "value", "contact_id"], set_={"strong": statement.excluded.strong}
    )


def chunks(values: Sequence[Any], size: int = CHUNK) -> Iterable[Sequence[Any]]:
    """The values in pieces of at most ``size``."""
    return (values[i : i + size] for i in range(0, len(values), size))
