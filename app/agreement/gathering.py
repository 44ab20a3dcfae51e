"""From stored rows to happenings: everything dated that the agreement reads of some contacts.  Reads only.

Of a contact's fields those are read that conditions ask for, of its engagements those kinds, and at most ``MOST`` of
them, the latest.  What the contact itself holds now is part of what happened: where its history was pruned, or another
value won although it is older, the contact is right.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Connection as Db
from sqlalchemy import RowMapping, select

from app.agreement import facts
from app.agreement.versions import Versions
from app.agreement.words import SIDES, SOURCE, Act, Happening, Kind, Said, Team, Word
from app.core import tables as t
from app.core.db import dumps
from app.core.fields import Type
from app.core.words import Channel, Entry
from app.records import leads, ledger
from app.records.contacts import Contact, chunks
from app.records.engagements import HAPPENED
from app.sync import consent
from app.sync.connection import Connections
from app.sync.governing import WORDS

MOST: Final = 5_000  # engagements of one contact
h, g, b, p, x = t.history.c, t.engagement.c, t.belonging.c, t.deal_step.c, t.deal.c


class Wanted:
    """What the conditions of all versions ask for."""

    def __init__(self, versions: Versions, customs: Mapping[str, Type]) -> None:
        paths = {path for v in versions for c in v.agreement.conditions() for path in c.paths}
        self.customs = customs
        self.first = versions.first
        clocks = any(v.agreement.promises is not None for v in versions)
        paths |= {"contact.owner_email", "engagement.reply.count"} if clocks else set()
        self.fields = frozenset(p.removeprefix("contact.") for p in paths if p.startswith("contact."))
        self.deals = any(p.startswith("deals.") for p in paths)
        self.company = any(p.startswith("company.") for p in paths)
        programmes = [p for v in versions for p in v.agreement.programmes]
        self.consent = (
            bool(programmes)
            or any(v.agreement.actions for v in versions)
            or any(p.startswith("consent.") for p in paths)
        )
        self.tags = frozenset(p.tag for p in programmes if p.tag is not None)  # ours: no news to us
        whole = any(p.startswith("engagement.") and p.count(".") == 1 for p in paths)
        asked = {p.split(".")[1] for p in paths if p.startswith("engagement.")}
        self.acts = frozenset(facts.ACTS) if whole else frozenset(facts.ACTS) & asked | facts.OURS


def gather(
    db: Db,
    connections: Connections,
    wanted: Wanted,
    contacts: Mapping[int, Contact],
    absorbed: Mapping[int, Sequence[int]],
) -> dict[int, list[Happening]]:
    """Everything that happened to each of these contacts.  ``absorbed``: contacts for which one of them stands."""
    owner = {i: i for i in contacts} | {loser: i for i, losers in absorbed.items() for loser in losers}
    found: dict[int, list[Happening]] = {i: [] for i in contacts}
    _fields(db, connections, wanted, contacts, found)
    for row in leads.said(db, owner):
        found[owner[row["contact_id"]]].append(_said(row, wanted.first))
    active = _active(db, owner)
    for contact in owner:
        if contact in active:
            found[owner[contact]] += _acts(db, wanted, contact)
    if wanted.deals:
        _deals(db, owner, found)
    if wanted.company:
        _companies(db, owner, found)
    if wanted.consent:
        _consent(db, connections, contacts, found)
    return found


def _fields(
    db: Db,
    connections: Connections,
    wanted: Wanted,
    contacts: Mapping[int, Contact],
    found: Mapping[int, list[Happening]],
) -> None:
    rows: dict[tuple[int, str], list[RowMapping]] = defaultdict(list)
    names = sorted(wanted.fields | set(WORDS))
    for chunk in chunks(sorted(contacts)):
        query = select(h.contact_id, h.field, h.old, h.new, h.source, h.at).where(h.contact_id.in_(chunk))
        for row in db.execute(query.where(h.field.in_(names)).order_by(h.id)).mappings():
            rows[(row["contact_id"], row["field"])].append(row)
    for number, contact in contacts.items():
        for name in sorted(wanted.fields):
            found[number].extend(_field(contact, name, rows.get((number, name), []), wanted))
        for name in WORDS:
            found[number].extend(_former(connections, name, rows.get((number, name), []), wanted.first))


def _field(contact: Contact, name: str, rows: Sequence[RowMapping], wanted: Wanted) -> list[Happening]:
    """How one field came to what it is."""
    values = [(row["at"], row["new"], row["source"]) for row in rows]
    if rows and rows[0]["old"] is not None:  # what was before the oldest line that is kept
        values.append((min(contact.created_at, rows[0]["at"] - 1), rows[0]["old"], ""))
    values.sort(key=lambda v: (v[0], v[2], dumps(v[1])))
    fact = contact.facts.get(name)
    if fact is not None and (not values or values[-1][1] != fact.value):
        values.append((max(fact.at, values[-1][0] if values else fact.at), fact.value, fact.source))
    made = []
    if name == "tags" and wanted.tags:  # who is enrolled has the tag, and must not be enrolled because of it
        values = [(at, _without(value, wanted.tags), source) for at, value, source in values]
    for at, value, source in values:
        one = facts.of_field(name, value, wanted.customs)
        if one is not None:
            made.append(Happening(at, Kind.FACT, (name, source, dumps(value)), dict([one])))
    return made


def _without(value: Any, tags: Collection[str]) -> Any:
    rest = [one for one in value if one not in tags] if isinstance(value, list) else []
    return rest if rest else None


def _former(connections: Connections, name: str, rows: Sequence[RowMapping], first: int) -> list[Happening]:
    """What vendors said of a field before it was governed: claims, too."""
    made = []
    for row in rows:
        team = SIDES.get(connections.side(row["source"]))
        if row["source"] == SOURCE or team is None:
            continue
        said = Said(Word(WORDS[name]), row["new"], team, row["source"])
        key = (f"{row['at']:020d}", row["source"], str(row["new"]))
        made.append(Happening(max(row["at"], first), Kind.SAID, key, said=said))
    return made


def _said(row: RowMapping, first: int) -> Happening:
    said = Said(
        Word(row["word"]),
        row["value"],
        Team(row["team"]) if row["team"] is not None else None,
        row["source"],
        row["by"],
        row["reason"],
        row["id"],
        row["received_at"],
    )
    key = (f"{row['at']:020d}", row["source"], str(row["value"]), str(row["reason"]), str(row["by"]))
    # What was said before there was any agreement is judged by the first one, when it comes into force.
    return Happening(max(row["at"], first), Kind.SAID, key, said=said)


def _active(db: Db, contacts: Collection[int]) -> set[int]:
    """Those of whom any act is known: one question for all of them, before one for each."""
    found: set[int] = set()
    for chunk in chunks(sorted(contacts)):
        found |= set(db.execute(select(g.contact_id).where(g.contact_id.in_(chunk)).distinct()).scalars())
    return found


def _acts(db: Db, wanted: Wanted, contact: int) -> list[Happening]:
    query = (
        select(g.connection, g.remote_id, g.kind, g.at, g.human, g.by, g.campaign, g.channel, g.outcome, g.detail)
        .where(g.contact_id == contact, g.kind.in_(sorted(wanted.acts)), HAPPENED)
        .order_by(g.at.desc(), g.id.desc())
        .limit(MOST)
    )
    made = []
    for row in db.execute(query):
        detail: Mapping[str, Any] = row.detail if row.detail is not None else {}
        form = detail.get("form", detail.get("title")) if row.kind == "form" else None
        act = Act(
            row.kind,
            None if row.human is None else bool(row.human),
            row.by,
            row.channel,
            row.outcome,
            row.campaign,
            str(form) if form is not None else None,
        )
        made.append(Happening(row.at, Kind.ACT, (row.connection, row.remote_id), act=act))
    return made


def _deals(db: Db, owner: Mapping[int, int], found: Mapping[int, list[Happening]]) -> None:
    whose: dict[int, set[int]] = defaultdict(set)
    for chunk in chunks(sorted(owner)):
        query = select(b.contact_id, b.object_id).where(b.contact_id.in_(chunk), b.kind == "deal")
        for row in db.execute(query):
            if row.object_id is not None:  # in the statement it would make SQLite read all deals there are
                whose[row.object_id].add(owner[row.contact_id])
    for chunk in chunks(sorted(whose)):
        reasons = {row.id: row.lost_reason for row in db.execute(select(x.id, x.lost_reason).where(x.id.in_(chunk)))}
        query = select(p.deal_id, p.at, p.status).where(p.deal_id.in_(chunk)).order_by(p.deal_id, p.at, p.id)
        for step in db.execute(query):
            reason = reasons.get(step.deal_id) if step.status == "lost" else None
            values = {"deal": step.deal_id, "status": step.status, "lost_reason": reason}
            for contact in whose[step.deal_id]:
                found[contact].append(Happening(step.at, Kind.DEAL, (step.status, str(reason)), values))


def _companies(db: Db, owner: Mapping[int, int], found: Mapping[int, list[Happening]]) -> None:
    """The main company, else the oldest one: what it holds now, from when the person belonged to it and it held it."""
    c = t.company.c
    seen: set[int] = set()
    for chunk in chunks(sorted(owner)):
        query = (
            select(b.contact_id, b.since, c.domain, c.facts)
            .join(t.company, c.id == b.object_id)
            .where(b.contact_id.in_(chunk), b.kind == "company", c.gone_at.is_(None))
            .order_by(b.main.desc(), b.since, c.id)
        )
        for row in db.execute(query):
            contact = owner[row.contact_id]
            if contact in seen:
                continue
            seen.add(contact)
            values = {name.removeprefix("company_"): (fact["v"], fact["t"]) for name, fact in row.facts.items()}
            values.setdefault("domain", (row.domain, row.since))
            for name in facts.COMPANY:
                value, at = values.get(name, (None, 0))
                if value is not None:
                    known = {f"company.{name}": facts.of_company(name, value)}
                    found[contact].append(Happening(max(row.since, at), Kind.FACT, (name, str(value)), known))


def _consent(
    db: Db, connections: Connections, contacts: Mapping[int, Contact], found: Mapping[int, list[Happening]]
) -> None:
    addresses = {
        (i, channel): address
        for i, contact in contacts.items()
        for channel in Channel
        if (address := consent.address(contact.values(), channel)) is not None
    }
    lines = ledger.of_addresses(db, set(addresses.values()))
    for (contact, channel), address in addresses.items():
        mine = sorted((e for e in lines.get(address, ()) if e.channel is channel), key=lambda e: e.rank)
        for n, entry in enumerate(mine, 1):
            found[contact].append(_held(connections, channel, entry, mine[:n]))


def _held(connections: Connections, channel: Channel, entry: Entry, sofar: Collection[Entry]) -> Happening:
    state = consent.state(sofar, connections.may_grant)
    values = {f"consent.{channel}.status": str(state.status), f"consent.{channel}.stops": state.stops}
    return Happening(entry.at, Kind.CONSENT, (str(channel), str(entry.rank)), values)
