"""What the brief is made of, counted in the store, and briefs at rest.  Periods go from start to before end."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from sqlalchemy import Connection, RowMapping, func, insert, select

from app.core import tables as t

s, d, c, l, x, b, g, f = (  # noqa: E741
    t.lead_step.c,
    t.disposition.c,
    t.clock.c,
    t.lead.c,
    t.deal.c,
    t.belonging.c,
    t.engagement.c,
    t.brief.c,
)
EXAMPLES: Final = 5
MOST: Final = 1_000  # won deals of a period that are looked at


def steps(db: Connection, start: int, end: int) -> dict[tuple[str, str], int]:
    """How many leads came to each (stage or status, name) that holds."""
    query = select(s.what, s.after, func.count(s.contact_id.distinct())).group_by(s.what, s.after)
    where = (s.what.in_(["stage", "status"]), s.after.is_not(None), s.void_at.is_(None), s.at >= start, s.at < end)
    return {(row[0], row[1]): row[2] for row in db.execute(query.where(*where))}


def given_back(db: Connection, start: int, end: int) -> dict[str, int]:
    """How often each reason was taken for giving back."""
    query = select(func.coalesce(d.reason, d.value), func.count()).group_by(func.coalesce(d.reason, d.value))
    where = (d.word.in_(["reject", "recycle"]), d.finding == "taken", d.at >= start, d.at < end)
    return {row[0]: row[1] for row in db.execute(query.where(*where)) if row[0] is not None}


def claims(db: Connection, start: int, end: int) -> list[tuple[str, str, str, str, int]]:
    """What was said and the agreement did not take: (by whom, word, value, finding, how often), the most first."""
    value = func.coalesce(d.value, d.reason, "")
    names = (d.source, d.word, value, d.finding)
    where = (d.finding.in_(["refused", "flagged"]), d.at >= start, d.at < end)
    query = select(*names, func.count()).where(*where).group_by(*names).order_by(func.count().desc(), *names).limit(50)
    return [(row[0], row[1], row[2], row[3], row[4]) for row in db.execute(query)]


def kept(db: Connection, start: int, end: int) -> dict[str, tuple[int, int]]:
    """Of the clocks that were due: name → (kept, broken)."""
    found: dict[str, tuple[int, int]] = {}
    where = (c.rank_at >= start, c.rank_at < end)
    query = select(c.name, c.state, func.count()).group_by(c.name, c.state)
    met = query.where(c.state == "met", *where)
    broken = query.where(c.state.in_(["breached", "met_late", "cancelled"]), c.breached_at.is_not(None), *where)
    for row in (*db.execute(met), *db.execute(broken)):
        good, bad = found.get(row.name, (0, 0))
        found[row.name] = (good + row[2], bad) if row.state == "met" else (good, bad + row[2])
    return found


def late_by(db: Connection, start: int, end: int) -> dict[str, int]:
    """Breaches by colleague; ``""``: nobody was in charge."""
    where = (c.state.in_(["breached", "met_late", "cancelled"]), c.breached_at.is_not(None))
    owner = func.coalesce(c.owner, "")
    query = select(owner, func.count()).where(*where, c.rank_at >= start, c.rank_at < end).group_by(owner)
    return {row[0]: row[1] for row in db.execute(query)}


def flagged(db: Connection) -> dict[str, list[int]]:
    """The joint list now: flag → contacts."""
    found: dict[str, list[int]] = {}
    for row in db.execute(select(l.flag, l.contact_id).where(l.flag.is_not(None)).order_by(l.contact_id).limit(MOST)):
        found.setdefault(row.flag, []).append(row.contact_id)
    return found


def wins(db: Connection, start: int, end: int) -> list[tuple[str, str, int, Decimal]]:
    """(campaign of the first touch, currency, deals, amount) of deals won; ``""``: no campaign touched them.

    Sourced: the earliest act with a campaign, of any contact of the deal, before it was closed.  At most ``MOST``.
    """
    first = (
        select(g.campaign)
        .join(t.belonging, (b.contact_id == g.contact_id) & (b.kind == "deal"))
        .where(b.object_id == x.id, g.campaign.is_not(None), g.at <= x.closed_at)
        .order_by(g.at, g.id)
        .limit(1)
        .scalar_subquery()
    )
    query = select(x.id, x.amount, x.currency, first.label("campaign"))
    where = (x.status == "won", x.closed_at >= start, x.closed_at < end, x.gone_at.is_(None))
    found: dict[tuple[str, str], tuple[int, Decimal]] = {}
    for row in db.execute(query.where(*where).order_by(x.closed_at, x.id).limit(MOST)):
        key = (
            row.campaign if row.campaign is not None else "",
            row.currency if row.currency is not None else "",
        )
        count, amount = found.get(key, (0, Decimal(0)))
        found[key] = (count + 1, amount + (Decimal(row.amount) if row.amount is not None else Decimal(0)))
    return sorted(((*key, *value) for key, value in found.items()), key=lambda w: (-w[2], w[0], w[1]))


def keep(db: Connection, start: int, end: int, by: str, body: Mapping[str, Any], now: int) -> int:
    """Keep a brief; its number."""
    values = {"start_at": start, "end_at": end, "made_at": now, "by": by, "body": dict(body)}
    number: int = db.execute(insert(t.brief).values(values).returning(f.id)).scalar_one()
    return number


def one(db: Connection, number: int) -> RowMapping | None:
    """A brief."""
    return db.execute(select(t.brief).where(f.id == number)).mappings().one_or_none()


def last(db: Connection, before: int) -> RowMapping | None:
    """The latest brief of a period that had ended by a moment."""
    query = select(t.brief).where(f.end_at <= before).order_by(f.end_at.desc(), f.id.desc()).limit(1)
    return db.execute(query).mappings().one_or_none()


def listed(db: Connection, before: int | None, limit: int) -> list[RowMapping]:
    """Briefs, the newest first, with a lower number than ``before``."""
    query = select(t.brief).order_by(f.id.desc()).limit(limit)
    return list(db.execute(query if before is None else query.where(f.id < before)).mappings())
