"""Summaries of contacts at rest: whose is due, and what they are made of.

A mark is one narrow row, level-triggered like work: however many acts come, a contact is due once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Row, bindparam, delete, select

from app.core import tables as t
from app.core.db import ring, upsert
from app.core.words import Fact, Station
from app.records.contacts import chunks

d, n, b = t.summary_due.c, t.engagement_sum.c, t.belonging.c


def mark(db: Connection, contacts: Iterable[int], now: int) -> None:
    """Their summaries have to be made anew; in the order of ids, so that two writers cannot deadlock."""
    rows = [{"contact_id": i, "gen": 1, "since": now} for i in sorted(set(contacts))]
    if rows:
        statement = upsert(db.dialect.name, t.summary_due)
        db.execute(statement.on_conflict_do_update(index_elements=["contact_id"], set_={"gen": d.gen + 1}), rows)
        ring(db, Station.SUMMARISE)


def due(db: Connection, limit: int) -> dict[int, int]:
    """Contacts whose summaries are due, each with its counter."""
    return {
        row.contact_id: row.gen for row in db.execute(select(d.contact_id, d.gen).order_by(d.contact_id).limit(limit))
    }


_DONE = delete(t.summary_due).where(d.contact_id == bindparam("b_contact"), d.gen == bindparam("b_gen"))


def done(db: Connection, taken: Mapping[int, int]) -> None:
    """They are made; one that was marked meanwhile stays due."""
    if taken:
        db.execute(_DONE, [{"b_contact": i, "b_gen": gen} for i, gen in sorted(taken.items())])


def sums(db: Connection, contacts: Collection[int]) -> dict[int, list[Row[Any]]]:
    """How often each did what."""
    found: dict[int, list[Row[Any]]] = defaultdict(list)
    for chunk in chunks(sorted(contacts)):
        for row in db.execute(select(t.engagement_sum).where(n.contact_id.in_(chunk))):
            found[row.contact_id].append(row)
    return found


def companies(db: Connection, contacts: Collection[int]) -> dict[int, dict[str, Fact]]:
    """The facts of each one's main company: the one said to be so, else the one that is known longest."""
    c = t.company.c
    chosen: dict[int, int] = {}
    for chunk in chunks(sorted(contacts)):
        query = (
            select(b.contact_id, b.object_id)
            .join_from(t.belonging, t.company, c.id == b.object_id)
            .where(b.contact_id.in_(chunk), b.kind == "company", c.gone_at.is_(None))
            .order_by(b.contact_id, b.main.desc(), b.object_id)
        )
        for row in db.execute(query):
            chosen.setdefault(row.contact_id, row.object_id)
    facts: dict[int, dict[str, Fact]] = {}
    for chunk in chunks(sorted(set(chosen.values()))):
        for row in db.execute(select(c.id, c.facts).where(c.id.in_(chunk))):
            facts[row.id] = {name: Fact.from_json(data) for name, data in row.facts.items()}
    return {contact: facts[company] for contact, company in chosen.items() if company in facts}


def deals(db: Connection, contacts: Collection[int]) -> dict[int, Sequence[Row[Any]]]:
    """The deals of each, the newest first; those that are gone left out."""
    c = t.deal.c
    found: dict[int, dict[int, Row[Any]]] = defaultdict(dict)
    for chunk in chunks(sorted(contacts)):
        query = (
            select(b.contact_id, t.deal)
            .join_from(t.belonging, t.deal, c.id == b.object_id)
            .where(b.contact_id.in_(chunk), b.kind == "deal", c.gone_at.is_(None))
            .order_by(b.contact_id, c.created_at.desc(), c.id.desc())
        )
        for row in db.execute(query):
            found[row.contact_id][row.id] = row
    return {contact: list(of.values()) for contact, of in found.items()}
