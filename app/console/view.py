"""What the pages show, read from the store.  In: a connection of the database.  Out: plain values for the templates.

Pages go by the contact's id (keyset), so that a page stays the same however far in it is and whoever is added.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import Connection as Db
from sqlalchemy import or_, select

from app.console.standing import Standing, standings
from app.console.words import text
from app.core import tables as t
from app.core.db import clock_of
from app.core.fields import FIELDS
from app.core.words import MISSING, Channel, Fact
from app.push import work
from app.records import contacts as people
from app.records import ledger, merges
from app.records.contacts import Contact
from app.sync import consent, matching
from app.sync._mapping_consent import PREFIX
from app.sync.connection import Connection, Connections

PAGE: Final = 25
CHANGES: Final = 12
LINES: Final = 12  # of the ledger, with a contact
NAMES: Final = ("given_name", "family_name")
SEARCHED: Final = ("email", *NAMES, "company_name", "phone", "mobile_phone")

c, k, h, w = t.contact.c, t.link.c, t.history.c, t.work.c


@dataclass(frozen=True, slots=True)
class Card:
    """One connection at a glance."""

    name: str
    connector: str
    side: str
    mode: str
    standing: Standing


@dataclass(frozen=True, slots=True)
class Person:
    """One line of the list."""

    id: int
    name: str
    email: str
    source: str  # who changed it last
    ago: int  # ms
    steps: Mapping[str, str]  # connection -> in step, on its way, waits for a brake, missing, deleted there
    merged_into: int | None  # the contact that stands for this one


@dataclass(frozen=True, slots=True)
class Row:
    """One canonical field of one contact, beside what each side holds."""

    name: str
    value: str
    source: str
    rule: str
    ago: int | None
    sides: Mapping[str, str]
    differ: Collection[str]  # connections that hold something else


@dataclass(frozen=True, slots=True)
class Detail:
    """One contact in full."""

    id: int
    version: int
    name: str
    source: str
    ago: int
    rows: Sequence[Row] = field(repr=False)
    warnings: Sequence[tuple[str, str, str]]  # connection, field, why it could not be read there
    remotes: Mapping[str, str] = field(repr=False)  # connection -> remote id of a record that is there
    steps: Mapping[str, str] = field(repr=False)
    merged_into: int | None  # the contact that stands for this one
    stands_for: Sequence[int]  # contacts that were merged into this one
    lines: Sequence[Line] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the consent ledger."""

    what: str  # channel, and purpose
    address: str
    status: str
    reason: str
    said_by: str
    ago: int


@dataclass(frozen=True, slots=True)
class Change:
    """One line of the history."""

    contact_id: int
    name: str
    field: str
    old: str
    new: str
    source: str
    ago: int


def cards(db: Db, connections: Connections) -> list[Card]:
    """Every connection."""
    now = standings(db, connections)
    return [
        Card(one.name, one.connector.name, str(one.side), str(one.mode), now[one.name]) for one in connections.values()
    ]


def listing(db: Db, connections: Connections, *, after: int, query: str) -> tuple[list[Person], int | None]:
    """One page of people behind ``after`` that match ``query``; and behind which id the next page begins, if any."""
    wanted = select(c.id, c.facts, c.updated_at, c.merged_into).where(c.id > after).order_by(c.id).limit(PAGE + 1)
    for word in query.split():
        fields = [c.facts[(name, "v")].as_string() for name in SEARCHED]
        wanted = wanted.where(or_(*(f.icontains(word, autoescape=True) for f in fields)))
    rows = db.execute(wanted).mappings().all()
    shown = rows[:PAGE]
    steps = _steps(db, connections, [row["id"] for row in shown])
    stand_ins = merges.stand_ins(db, [row["id"] for row in shown if row["merged_into"] is not None])
    now = clock_of(db)
    found = []
    for row in shown:
        facts = {name: Fact.from_json(data) for name, data in row["facts"].items()}
        source, ago = _last(facts, row["updated_at"], now)
        number = row["id"]
        email = text(_value(facts, "email"))
        found.append(Person(number, _name(facts), email, source, ago, steps[number], stand_ins.get(number)))
    return found, shown[-1]["id"] if len(rows) > PAGE else None


def detail(db: Db, connections: Connections, contact_id: int) -> Detail | None:
    """One contact beside its records; None where there is no such contact."""
    contact = people.load(db, [contact_id]).get(contact_id)
    if contact is None:
        return None
    links = {
        row["connection"]: row
        for row in db.execute(
            select(k.connection, k.remote_id, k.shadow, k.gone_at, k.warnings).where(k.contact_id == contact_id)
        ).mappings()
    }
    there = {name: row["remote_id"] for name, row in links.items() if row["gone_at"] is None and name in connections}
    now = clock_of(db)
    updated = db.execute(select(c.updated_at).where(c.id == contact_id)).scalar_one()
    source, ago = _last(contact.facts, updated, now)
    shadows = {name: links[name]["shadow"] for name in there}
    names = _order(contact.facts, *shadows.values())
    rows = [_row(name, contact.facts, connections, shadows, now) for name in names]
    rows += _consents(db, contact, connections, shadows, now)
    return Detail(
        id=contact_id,
        version=contact.version,
        name=_name(contact.facts),
        source=source,
        ago=ago,
        rows=[row for row in rows if row.source or row.value or any(row.sides.values())],
        warnings=[
            (name, one["field"], one["message"])
            for name in there
            for one in (links[name]["warnings"] if links[name]["warnings"] is not None else ())
        ],
        remotes=there,
        steps=_steps(db, connections, [contact_id])[contact_id],
        merged_into=merges.stand_ins(db, [contact_id]).get(contact_id),
        stands_for=sorted(merges.absorbed(db, [contact_id])),
        lines=_lines(db, contact, now),
    )


def _row(
    name: str,
    facts: Mapping[str, Fact],
    connections: Connections,
    shadows: Mapping[str, Mapping[str, Any]],
    now: int,
) -> Row:
    fact = facts.get(name)
    value = None if fact is None else fact.value
    sides, differ = {}, []
    for connection in connections.values():
        held = shadows.get(connection.name, {}).get(name, MISSING)
        sides[connection.name] = "" if held is MISSING else text(held)
        if held is not MISSING and text(held) != text(_told(connection, name, value)):
            differ.append(connection.name)
    return Row(
        name=name,
        value=text(value),
        source="" if fact is None else fact.source,
        rule="" if fact is None else fact.rule,
        ago=None if fact is None else max(0, now - fact.at),
        sides=sides,
        differ=differ,
    )


def _consents(
    db: Db, contact: Contact, connections: Connections, shadows: Mapping[str, Mapping[str, Any]], now: int
) -> list[Row]:
    """What holds of the person's consents, one line for each that a mapping knows."""
    rules = {rule.name: rule for one in connections.values() for rule in one.map.consents}
    addresses = {name: consent.address(contact.values(), rule.channel) for name, rule in rules.items()}
    entries = ledger.of_addresses(db, {a for a in addresses.values() if a is not None})
    rows = []
    for name, rule in rules.items():
        address = addresses[name]
        said = [e for e in entries.get(address, ()) if e.channel == rule.channel] if address is not None else []
        held = consent.state(said, connections.may_grant, rule.purpose)
        entry = held.entry
        rows.append(
            Row(
                name=name.replace(":", " "),
                value=str(held.status) if entry is not None else "",
                source="" if entry is None else entry.source,
                rule="" if entry is None else str(entry.reason),
                ago=None if entry is None else max(0, now - entry.at),
                sides={one: text(shadows.get(one, {}).get(name)) for one in connections},
                differ=(),  # a side may be stricter than what holds; that is no difference to mend
            )
        )
    return rows


def _lines(db: Db, contact: Contact, now: int) -> list[Line]:
    """The newest lines of the ledger about any of the person's addresses."""
    values = contact.values()
    addresses = matching.addresses(values) | {a for ch in Channel if (a := consent.address(values, ch)) is not None}
    return [
        Line(
            what=f"{row['channel']} {row['purpose']}".strip(),
            address=row["address"],
            status=row["status"],
            reason=row["reason"].replace("_", " "),
            said_by=row["source"] if row["actor"] is None else f"{row['source']} {row['actor']}",
            ago=max(0, now - row["at"]),
        )
        for row in ledger.newest(db, addresses, LINES)
    ]


def _told(connection: Connection, name: str, value: Any) -> Any:
    """The value as this vendor says it: it may keep dates without a year, or shorter texts."""
    return connection.map.project(name, value)


def changes(db: Db) -> list[Change]:
    """What changed last, the newest first."""
    now = clock_of(db)
    rows = db.execute(select(t.history).order_by(h.id.desc()).limit(CHANGES)).mappings().all()
    named = people.load(db, {row["contact_id"] for row in rows})
    return [
        Change(
            contact_id=row["contact_id"],
            name=_name(named[row["contact_id"]].facts) if row["contact_id"] in named else "",
            field=row["field"],
            old=text(row["old"]),
            new=text(row["new"]),
            source=row["source"],
            ago=max(0, now - row["stored_at"]),
        )
        for row in rows
    ]


def _steps(db: Db, connections: Connections, ids: Sequence[int]) -> dict[int, dict[str, str]]:
    links = {
        (row.contact_id, row.connection): row.gone_at
        for row in db.execute(select(k.contact_id, k.connection, k.gone_at).where(k.contact_id.in_(ids)))
    }
    dirty = {
        (row.contact_id, row.connection): row.held
        for row in db.execute(select(w.contact_id, w.connection, w.held).where(w.contact_id.in_(ids)))
    }
    return {i: {name: _step((i, name), links, dirty) for name in connections} for i in ids}


def _step(
    pair: tuple[int, str], links: Mapping[tuple[int, str], int | None], dirty: Mapping[tuple[int, str], str | None]
) -> str:
    if pair in dirty:
        held = dirty[pair]
        return "on its way" if held is None or held.startswith(work.LET) else "waits for a brake"
    if pair not in links:
        return "missing"
    return "in step" if links[pair] is None else "deleted there"


def _last(facts: Mapping[str, Fact], updated: int, now: int) -> tuple[str, int]:
    if not facts:
        return "", max(0, now - updated)
    newest = max(facts.values(), key=lambda fact: (fact.at, fact.source))
    return newest.source, max(0, now - newest.at)


def _value(facts: Mapping[str, Fact], name: str) -> Any:
    fact = facts.get(name)
    return None if fact is None else fact.value


def _name(facts: Mapping[str, Fact]) -> str:
    name = " ".join(part for part in (text(_value(facts, n)) for n in NAMES) if part)
    return name if name else text(_value(facts, "email"))


def _order(*having: Iterable[str]) -> list[str]:
    """Names of fields in the order of the registry, then what it does not know."""
    names = {name for one in having for name in one}
    return [n for n in FIELDS if n in names] + sorted(n for n in names - set(FIELDS) if not n.startswith(PREFIX))
