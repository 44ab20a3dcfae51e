"""Who is meant by an address, and everything that is held about them.  For erasure and for subject access."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote, quote_plus

from sqlalchemy import Connection as Db
from sqlalchemy import Table, select

from app.core import tables as t
from app.core.clock import from_ms
from app.core.db import Database, dumps
from app.core.errors import NotFound
from app.core.words import Channel
from app.push.work import FAR
from app.records import contacts as people
from app.records import merges
from app.sync import consent, matching
from app.sync.connection import Connections, spellings


@dataclass(frozen=True, slots=True)
class Subject:
    """One person, as far as known here.  ``records``: connection → ids of the person's records there."""

    addresses: frozenset[str] = field(repr=False)  # that are nobody else's
    contacts: frozenset[int]
    records: dict[str, list[str]] = field(repr=False)
    phones: frozenset[str] = field(default=frozenset(), repr=False)

    def to_json(self) -> dict[str, Any]:
        """The form at rest."""
        return {
            "addresses": sorted(self.addresses),
            "contacts": sorted(self.contacts),
            "records": {name: sorted(ids) for name, ids in sorted(self.records.items())},
            "phones": sorted(self.phones),
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Subject:
        """The subject of a form at rest."""
        return cls(
            frozenset(data["addresses"]), frozenset(data["contacts"]), data["records"], frozenset(data["phones"])
        )


def find(db: Db, connections: Connections, address: str) -> Subject:
    """The person of an address, which may be unknown here: then there are no contacts.

    Earlier and further addresses of the person belong to it unless they are somebody else's too.  Raises NotFound where
    the address is only a further address, and of several people.
    """
    spelled = spellings(connections, address)
    owners = {pair for having in people.owners(db, [("email", a) for a in spelled]).values() for pair in having}
    contacts = {c for c, strong in owners if strong}
    if not contacts:
        contacts = {c for c, _ in owners}
        if len(contacts) > 1:
            raise NotFound(
                f"this is a further address of {len(contacts)} people and of nobody alone: name each by their own"
            )
    contacts |= merges.absorbed(db, contacts)
    held = people.load(db, contacts)
    addresses = {a for c in held.values() for a in matching.addresses(c.values())}
    h, k = t.history.c, t.link.c
    for row in db.execute(select(h.old, h.new).where(h.contact_id.in_(sorted(contacts)), h.field == "email")):
        addresses |= {a for a in row if isinstance(a, str)}
    phones = {
        number for c in held.values() for channel in Channel if (number := consent.address(c.values(), channel))
    } - addresses
    addresses = _own(db, "email", addresses, contacts) | set(spelled)
    records: dict[str, list[str]] = {}
    for row in db.execute(select(k.connection, k.remote_id).where(k.contact_id.in_(sorted(contacts)))):
        records.setdefault(row.connection, []).append(row.remote_id)
    return Subject(frozenset(addresses), frozenset(contacts), records, frozenset(_own(db, "phone", phones, contacts)))


def _own(db: Db, key: str, values: set[str], contacts: set[int]) -> set[str]:
    """Those values that are a key of nobody else."""
    owners = people.owners(db, [(key, v) for v in values])
    return {v for v in values if {c for c, _ in owners.get((key, v), ())} <= contacts}


BATCH: Final = 500  # rows looked at in one go
_i = t.inbox.c
_LOOKED_AT: Final = (
    (t.inbox, (_i.ref_value, _i.dedupe, _i.losers, _i.record, _i.error)),
    (t.delivery, (t.delivery.c.body,)),
)


def mentions(database: Database, who: Subject) -> Iterator[tuple[Table, list[int]]]:
    """Events and raw deliveries that hold the person's addresses or record ids: table and row ids, some at a time."""
    for table, columns in _LOOKED_AT:
        last = 0
        patterns: dict[str, re.Pattern[bytes]] = {}
        while True:
            query = select(table.c.id, table.c.connection, *columns).where(table.c.id > last)
            with database.read() as db:
                rows = db.execute(query.order_by(table.c.id).limit(BATCH)).all()
            if not rows:
                break
            last = rows[-1].id
            for name in {r.connection for r in rows} - set(patterns):
                patterns[name] = _pattern(who, name)
            hits = [r.id for r in rows if holds(patterns[r.connection], r[2:])]
            if hits:
                yield table, hits


def _pattern(who: Subject, connection: str) -> re.Pattern[bytes]:
    """The addresses, however a body may write them, and the ids of this connection's records as whole words."""
    spelled = {f(a) for a in who.addresses for f in (str, quote, quote_plus, lambda v: dumps(v)[1:-1])}
    spelled |= {a.encode("ascii", "backslashreplace").decode() for a in who.addresses}
    words = [rf"(?<![0-9a-z]){re.escape(i)}(?![0-9a-z])" for i in who.records.get(connection, ())]
    return re.compile("|".join([*map(re.escape, sorted(spelled)), *words]).encode(), re.IGNORECASE)


def holds(pattern: re.Pattern[bytes], values: Sequence[Any]) -> bool:
    """Whether one of the values, None aside, has the pattern in it."""
    return any(
        pattern.search(v if isinstance(v, bytes) else (v if isinstance(v, str) else dumps(v)).encode()) is not None
        for v in values
        if v is not None
    )


# The keys of a row that are moments, and what is left out since it says nothing about the person.
_MOMENTS: Final = frozenset(
    {
        *("at", "created_at", "done_at", "due_at", "first_failed_at", "gone_at", "modified", "occurred_at"),
        *("first_at", "last_at", "closed_at"),
        *("received_at", "first_seen", "last_seen", "since", "stored_at", "updated_at", "written_at"),
        *("status_since", "handed_at", "accepted_at", "recycled_at", "rest_until", "turns_at", "judged_at", "void_at"),
        *("lead_at", "mql_at", "sal_at", "sql_at", "opportunity_at", "won_at", "feedback_at", "ended_at", "tried_at"),
        *("first_touch_at", "last_touch_at", "enrolled_at", "reached_at", "until"),
    }
)
_LEFT_OUT: Final = frozenset({"digest", "dedupe", "gen", "lease", "taken", "lane", "body", "counted", "kept"})


def everything(database: Database, connections: Connections, address: str) -> dict[str, Any]:
    """All that is held about the person of an address, JSON-able (GDPR art. 15).  Raises NotFound as ``find`` does.

    A raw delivery that speaks of other people's records too is named without its bytes.
    """
    with database.read() as db:
        who = find(db, connections, address)
        ids = sorted(who.contacts)
        found: dict[str, Any] = {"addresses": sorted(who.addresses), "phones": sorted(who.phones)}
        found["contacts"] = _rows(db, t.contact, t.contact.c.id.in_(ids))
        tables = (
            t.contact_key,
            t.link,
            t.history,
            t.conflict,
            t.refusal,
            t.work,
            t.withheld,
            t.canary_contact,
            t.approval,
            t.dead,
            t.disagreement,
            t.belonging,
            t.engagement,
            t.engagement_sum,
            t.summary_due,
            t.timeline_entry,
            t.lead,
            t.lead_step,
            t.disposition,
            t.refold,
            t.journey,
            t.lead_round,
            t.clock,
            t.clock_notice,
            t.clock_word,
            t.programme_member,
        )
        found |= {str(table.name): _rows(db, table, table.c.contact_id.in_(ids)) for table in tables}
        found["merge"] = _rows(db, t.merge, t.merge.c.winner.in_(ids) | t.merge.c.loser.in_(ids))
        found["proposal"] = _rows(db, t.proposal, t.proposal.c.older.in_(ids) | t.proposal.c.newer.in_(ids))
        found["alias"] = [row for name, of in who.records.items() for row in _rows(db, t.alias, aliases_of(name, of))]
        found["engagement"] += _waiting(db, who)
        found["company"] = _around(db, t.company, found["belonging"])
        found["deal"] = _around(db, t.deal, found["belonging"])
        found["consent"] = _rows(db, t.consent, t.consent.c.address.in_(sorted(who.addresses | who.phones)))
    found |= {"inbox": [], "delivery": []}
    events: set[int] = set()
    for table, hits in mentions(database, who):
        if table is t.inbox:
            events |= set(hits)
        with database.read() as db:
            rows = _rows(db, table, table.c.id.in_(hits))
            found[str(table.name)] += rows if table is t.inbox else [_with_body(db, row, events) for row in rows]
            if table is t.inbox:
                known = {one["id"] for one in found["dead"]}
                found["dead"] += [r for r in _rows(db, t.dead, t.dead.c.event.in_(hits)) if r["id"] not in known]
    return found


def _waiting(db: Db, who: Subject) -> list[dict[str, Any]]:
    """Acts that are known by the person's records or addresses only."""
    g = t.engagement.c
    mine = [(g.who_key == "email") & g.who.in_(sorted(who.addresses))]
    mine += [(g.connection == n) & (g.who_key == "id") & g.who.in_(sorted(ids)) for n, ids in who.records.items()]
    return [row for where in mine for row in _rows(db, t.engagement, where & g.contact_id.is_(None))]


def _around(db: Db, table: Table, belongings: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The companies, or deals, that the person belongs to."""
    ids = {row["object_id"] for row in belongings if row["kind"] == str(table.name) and row["object_id"] is not None}
    return _rows(db, table, table.c.id.in_(sorted(ids)))


def aliases_of(connection: str, records: Sequence[str]) -> Any:
    """The condition for the former ids of these records."""
    return (t.alias.c.connection == connection) & t.alias.c.remote_id.in_(sorted(records))


def _with_body(db: Db, row: dict[str, Any], events: set[int]) -> dict[str, Any]:
    """The bytes as text where every event of the delivery is about the person."""
    brought = set(db.execute(select(_i.id).where(_i.delivery == row["id"])).scalars())
    if not brought or brought - events:
        return row
    body: bytes = db.execute(select(t.delivery.c.body).where(t.delivery.c.id == row["id"])).scalar_one()
    return {**row, "body": body.decode("utf-8", "replace")}


def _rows(db: Db, table: Table, where: Any) -> list[dict[str, Any]]:
    query = select(*(c for c in table.c if c.name not in _LEFT_OUT)).where(where).order_by(*table.primary_key.columns)
    return [_row(dict(row)) for row in db.execute(query).mappings()]


def _row(row: dict[str, Any]) -> dict[str, Any]:
    shown = {n: _iso(v) if n in _MOMENTS and isinstance(v, int) and v < FAR else v for n, v in row.items()}
    facts = shown.get("facts")
    if isinstance(facts, dict) and all(isinstance(f, dict) for f in facts.values()):  # of a lead's step they are plain
        shown["facts"] = {
            name: {"value": f["v"], "source": f["s"], "at": _iso(f["t"]), "rule": f["r"], "event": f.get("e")}
            for name, f in sorted(facts.items())
        }
    return shown


def _iso(ms: int) -> str:
    return from_ms(ms).isoformat(timespec="seconds").replace("+00:00", "Z")
