"""Acts on their way into the store: whose they are, by whom, stored once, counted, and shown where a timeline wants it.

An act may come before its contact is known: it waits, by the vendor's id or by address, until the chain has read the
record (``claimed``).  Of somebody who was erased nothing is stored.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final

from sqlalchemy import Connection as Db
from sqlalchemy import select

from app.core import tables as t
from app.core.clock import to_ms
from app.core.db import clock_of
from app.core.words import Mode
from app.records import contacts as people
from app.records import engagements, merges, objects, timelines, tombstones
from app.records import links as pairs
from app.records.engagements import Engagement
from app.sync.connection import Connection, Connections
from app.sync.summarising import touched
from connectors.contract import Act, Can, Doing, Kind

RECENT_MS: Final = 7 * 86_400_000
"""Acts older than this are not written to a timeline: a first reading of years would flood it.  Ours."""


def engage(db: Db, connection: Connection, connections: Connections, acts: Sequence[Act]) -> int:
    """Store acts that one connection tells; how many were new or changed for a known contact."""
    rules = connection.map.objects.engagement
    wanted = [a for a in acts if rules is not None and a.kind in rules.take]
    if not wanted:
        return 0
    now = clock_of(db)
    ids = {a.who.value for a in wanted if a.who.key == "id"}
    moved = merges.aliases(db, connection.name, Kind.CONTACT, ids)
    spelled = {a.who.value: address(connection, a.who.value) for a in wanted if a.who.key == "email"}
    who = {
        (a.who.key, a.who.value): spelled[a.who.value] if a.who.key == "email" else moved.get(a.who.value, a.who.value)
        for a in wanted
    }
    erased = _erased(db, connection, connections, who)
    mine = _owners(db, connection, {v for (key, _), v in who.items() if key == "id"}, set(spelled.values()))
    by = objects.colleagues(db, connection.name, {a.by.value for a in wanted if a.by is not None and a.by.key == "id"})
    deals = objects.links(db, connection.name, Kind.DEAL, {a.deal for a in wanted if a.deal is not None})
    rows = []
    for act in wanted:
        key = (act.who.key, act.who.value)
        if key in erased:
            continue
        contact = mine.get((act.who.key, who[key]))
        deal = deals.get(act.deal) if act.deal is not None else None
        rows.append(
            Engagement(
                remote_id=act.id,
                who_key=act.who.key,
                who=who[key],
                kind=str(act.kind),
                at=to_ms(act.at),
                human=act.human,
                by=_by(act, by),
                campaign=act.campaign,
                variant=act.variant,
                channel=act.channel,
                outcome=None if act.outcome is None else str(act.outcome),
                deal_id=None if deal is None else deal.object_id,
                detail=act.detail,
                contact_id=contact,
                origin_id=contact,
            )
        )
    changed, new = engagements.store(db, connection.name, rows, now)
    touched(db, connections, changed, now)
    _shown(db, connection.name, connections, new, now)
    return len(changed)


def _by(act: Act, colleagues: Mapping[str, str]) -> str | None:
    """The colleague's address; the vendor's id until the directory is read."""
    if act.by is None:
        return None
    return act.by.value.lower() if act.by.key == "email" else colleagues.get(act.by.value, act.by.value)


def address(connection: Connection, text: str) -> str:
    """An address as the connection's mapping spells it."""
    entry = connection.map.entries.get("email")
    if entry is not None:
        value = connection.map.read({entry.theirs: text}).claim.get("email")
        if isinstance(value, str):
            return value
    return text.strip().lower()


def _erased(
    db: Db,
    connection: Connection,
    connections: Connections,
    who: Mapping[tuple[str, str], str],
) -> set[tuple[str, str]]:
    """Whose acts are of somebody who was erased."""
    names = {key: value if key[0] == "email" else f"{connection.name}:{value}" for key, value in who.items()}
    stones = tombstones.standing(db, set(names.values()), connections.erasure_key)
    return {key for key, name in names.items() if stones.get(name) == tombstones.ERASED}


def _owners(
    db: Db, connection: Connection, ids: Collection[str], addresses: Collection[str]
) -> dict[tuple[str, str], int]:
    """Whose acts these are, as far as it is known; merged contacts by the one that stands for them."""
    found = {
        ("id", remote_id): link.contact_id
        for remote_id, link in pairs.of_records(db, connection.name, Kind.CONTACT, ids).items()
    }
    for (_, value), having in people.owners(db, [("email", a) for a in addresses]).items():
        strong = {contact for contact, is_strong in having if is_strong}
        all_ = {contact for contact, _ in having}
        if len(strong) == 1 or len(all_) == 1:
            found[("email", value)] = min(strong) if strong else min(all_)
    stand_ins = merges.stand_ins(db, set(found.values()))
    return {key: stand_ins.get(contact, contact) for key, contact in found.items()}


def claimed(
    db: Db,
    connection: Connection,
    connections: Connections,
    records: Mapping[str, int],
    addresses: Mapping[str, int],
    now: int,
) -> set[int]:
    """The chain has read these records, and these addresses are these contacts': what waited for them is theirs."""
    got = engagements.claim(db, connection.name, "id", records) if records else {}
    sources = dict.fromkeys(got, connection.name)
    for other in connections.values() if addresses else ():
        if other.map.objects.engagement is not None:
            late = engagements.claim(db, other.name, "email", addresses)
            sources |= dict.fromkeys(late, other.name)
            got |= late
    for name in sorted(set(sources.values())):
        _shown(db, name, connections, {i: contact for i, contact in got.items() if sources[i] == name}, now)
    return set(got.values())


def _shown(db: Db, source: str, connections: Connections, rows: Mapping[int, int], now: int) -> None:
    """Let the other connections whose timeline wants such acts show them."""
    if not rows:
        return
    wanting = {
        c.name: c.map.objects.engagement.timeline
        for c in connections.values()
        if c.name != source
        and c.mode is Mode.LIVE
        and Can.TIMELINE in c.connector.can
        and c.map.objects.engagement is not None
        and c.map.objects.engagement.timeline
    }
    if not wanting:
        return
    e = t.engagement.c
    kinds: dict[int, Doing] = {}
    for chunk in people.chunks(sorted(rows)):
        query = select(e.id, e.kind).where(e.id.in_(chunk), e.at > now - RECENT_MS)
        kinds |= {row.id: Doing(row.kind) for row in db.execute(query)}
    for name, kinds_wanted in sorted(wanting.items()):
        timelines.want(db, name, {i: rows[i] for i, kind in kinds.items() if kind in kinds_wanted})
