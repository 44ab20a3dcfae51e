"""The scorecard at rest: counters, what each lead adds to them, rounds.  And the rows of which they are made."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Connection, RowMapping, bindparam, case, delete, func, insert, null, select, update

from app.core import tables as t
from app.core.db import upsert
from app.records.contacts import chunks
from app.records.engagements import HAPPENED

s, j, r, b, x, p, g = (
    t.score.c,
    t.journey.c,
    t.lead_round.c,
    t.belonging.c,
    t.deal.c,
    t.deal_step.c,
    t.engagement.c,
)
Counts = Mapping[tuple[str, str, str, int], int]
Waits = list[tuple[int, int, int]]
PASSED, AROUND, LOST, WAITS = 1, 2, 0, -1
"""How a wait ended: the next milestone, one behind it, none any more, not yet."""
_KEYS: Final = ("dimension", "value", "indicator", "day")


def add(db: Connection, counts: Counts) -> None:
    """Add to the counters, sorted by key, so that writers do not wait for each other in a ring; zeros are removed."""
    rows: list[dict[str, Any]] = [
        dict(zip((*_KEYS, "n"), (*cell, n), strict=True)) for cell, n in sorted(counts.items()) if n
    ]
    if not rows:
        return
    statement = upsert(db.dialect.name, t.score)
    statement = statement.on_conflict_do_update(index_elements=_KEYS, set_={"n": s.n + statement.excluded.n})
    db.execute(statement, rows)
    less = [{f"b_{k}": row[k] for k in _KEYS} for row in rows if row["n"] < 0]
    if less:
        gone = delete(t.score).where(*(t.score.c[k] == bindparam(f"b_{k}") for k in _KEYS), s.n == 0)
        db.execute(gone, less)


def load(db: Connection, contacts: Collection[int]) -> dict[int, RowMapping]:
    """The journeys of these contacts as they were counted."""
    found: dict[int, RowMapping] = {}
    for chunk in chunks(sorted(contacts)):
        for row in db.execute(select(t.journey).where(j.contact_id.in_(chunk))).mappings():
            found[row["contact_id"]] = row
    return found


def save(db: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Keep journeys; what retention left of their acts stays."""
    if rows:
        statement = upsert(db.dialect.name, t.journey)
        names = {c.name for c in t.journey.c} - {"contact_id", "kept", "kept_to"}
        statement = statement.on_conflict_do_update(
            index_elements=["contact_id"], set_={n: statement.excluded[n] for n in names}
        )
        db.execute(statement, sorted(rows, key=lambda row: int(row["contact_id"])))


def keep(db: Connection, kept: Mapping[int, tuple[bytes, int]]) -> None:
    """Keep the shortest form of acts that are about to be removed, with up to when."""
    if kept:
        statement = update(t.journey).where(j.contact_id == bindparam("b_id"))
        statement = statement.values(kept=bindparam("b_kept"), kept_to=bindparam("b_to"))
        db.execute(statement, [{"b_id": i, "b_kept": d, "b_to": to} for i, (d, to) in sorted(kept.items())])


def rounds(db: Connection, contacts: Collection[int]) -> dict[int, list[dict[str, Any]]]:
    """The rounds of these contacts in their order."""
    found: dict[int, list[dict[str, Any]]] = {i: [] for i in contacts}
    for chunk in chunks(sorted(contacts)):
        query = select(t.lead_round).where(r.contact_id.in_(chunk)).order_by(r.contact_id, r.number)
        for row in db.execute(query).mappings():
            found[row["contact_id"]].append(dict(row))
    return found


def replace_rounds(db: Connection, contacts: Collection[int], rows: Sequence[Mapping[str, Any]]) -> None:
    """Let these contacts have these rounds and no others."""
    for chunk in chunks(sorted(contacts)):
        db.execute(delete(t.lead_round).where(r.contact_id.in_(chunk)))
    if rows:
        db.execute(insert(t.lead_round), sorted(rows, key=lambda row: (int(row["contact_id"]), int(row["number"]))))


def remove(db: Connection, contacts: Collection[int]) -> None:
    """These contacts have no journey any more; the counters are the caller's."""
    for chunk in chunks(sorted(contacts)):
        db.execute(delete(t.journey).where(j.contact_id.in_(chunk)))
        db.execute(delete(t.lead_round).where(r.contact_id.in_(chunk)))


# --- what journeys are made of ----------------------------------------------------------------------------------------


def acts(db: Connection, contacts: Collection[int], kinds: Collection[str] | None = None) -> Iterator[RowMapping]:
    """Engagements of these contacts that took place."""
    columns = (g.contact_id, g.kind, g.at, g.human, g.channel, g.campaign, g.variant, g.outcome)
    for chunk in chunks(sorted(contacts)):
        query = select(*columns).where(g.contact_id.in_(chunk), HAPPENED)
        yield from db.execute(query if kinds is None else query.where(g.kind.in_(sorted(kinds)))).mappings()


def deals_of(db: Connection, contacts: Collection[int]) -> set[int]:
    """The deals of these contacts."""
    found: set[int] = set()
    for chunk in chunks(sorted(contacts)):
        query = select(b.object_id).where(b.contact_id.in_(chunk), b.kind == "deal")
        # Not "is not null" in the statement: SQLite would take that for a range, and read all deals there are for it.
        found |= {i for i in db.execute(query).scalars() if i is not None}
    return found


def people_of(db: Connection, deals: Collection[int]) -> dict[int, list[tuple[int, int]]]:
    """The people of deals: deal → (contact, 1 where some connection calls it the main one)."""
    found: dict[int, list[tuple[int, int]]] = {}
    for chunk in chunks(sorted(deals)):
        query = (
            select(b.object_id, b.contact_id, func.max(b.main).label("main"))
            .where(b.kind == "deal", b.object_id.in_(chunk), b.contact_id.is_not(None))
            .group_by(b.object_id, b.contact_id)
        )
        for row in db.execute(query):
            found.setdefault(row.object_id, []).append((row.contact_id, row.main))
    return found


def deals(db: Connection, numbers: Collection[int]) -> list[RowMapping]:
    """Deals that are there, each with the moment of its last step."""
    last = select(func.max(p.at)).where(p.deal_id == x.id, p.status == x.status).scalar_subquery().label("last")
    columns = (x.id, x.status, x.amount, x.currency, x.created_at, x.closed_at, x.updated_at, last)
    found: list[RowMapping] = []
    for chunk in chunks(sorted(numbers)):
        found += db.execute(select(*columns).where(x.id.in_(chunk), x.gone_at.is_(None))).mappings()
    return found


# --- reading the scorecard --------------------------------------------------------------------------------------------


def totals(
    db: Connection, dimension: str, since: int, until: int, indicators: Collection[str]
) -> dict[tuple[str, str], int]:
    """Sums of these counters over days [since, until), of every value of a dimension: (value, indicator) → n.

    Every value is named to the database, so that it finds the days by the primary key: days before the span, which grow
    without end, are not read.
    """
    found: dict[tuple[str, str], int] = {}
    for chunk in chunks(values(db, dimension)):
        query = (
            select(s.value, s.indicator, func.sum(s.n))
            .where(s.dimension == dimension, s.value.in_(chunk), s.indicator.in_(sorted(indicators)))
            .where(s.day >= since, s.day < until)
            .group_by(s.value, s.indicator)
        )
        found.update({(value, indicator): int(n) for value, indicator, n in db.execute(query)})
    return found


def values(db: Connection, dimension: str) -> list[str]:
    """All values of a dimension in their order, each found by the primary key behind the one before."""
    least = select(func.min(s.value).label("value")).where(s.dimension == dimension)
    known = least.cte("known", recursive=True)
    behind = select(func.min(s.value)).where(s.dimension == dimension, s.value > known.c.value)
    following = behind.correlate(known).scalar_subquery()
    known = known.union_all(select(following).select_from(known).where(known.c.value.is_not(None)))
    return list(db.execute(select(known.c.value).where(known.c.value.is_not(None))).scalars())


def of_value(
    db: Connection, dimension: str, value: str, since: int, until: int, only: Collection[str] | None = None
) -> dict[str, int]:
    """Sums of one value's counters over days [since, until): indicator → n.  ``only``: these indicators."""
    query = (
        select(s.indicator, func.sum(s.n))
        .where(s.dimension == dimension, s.value == value, s.day >= since, s.day < until)
        .group_by(s.indicator)
    )
    if only is not None:
        query = query.where(s.indicator.in_(sorted(only)))
    return {indicator: int(n) for indicator, n in db.execute(query)}


def beginning(db: Connection, head: str, since: int, until: int) -> set[str]:
    """The indicators of all leads that begin so and count something on a day in [since, until).

    On SQLite a range of the key is read.
    """
    name = s.indicator.collate("C") if db.dialect.name == "postgresql" else s.indicator  # byte by byte, as SQLite does
    where = (s.dimension == "", s.value == "", name >= head, name < head[:-1] + chr(ord(head[-1]) + 1))
    return set(db.execute(select(s.indicator).where(*where, s.day >= since, s.day < until).distinct()).scalars())


def named(
    db: Connection, dimensions: Collection[str], values: Collection[str], indicators: Collection[str], since: int
) -> dict[tuple[str, str, str], int]:
    """Sums of these counters from a day on: (dimension, value, indicator) → n."""
    where = (s.dimension.in_(sorted(dimensions)), s.value.in_(sorted(values)), s.indicator.in_(sorted(indicators)))
    query = select(s.dimension, s.value, s.indicator, func.sum(s.n)).where(*where, s.day >= since)
    query = query.group_by(s.dimension, s.value, s.indicator)
    return {(row[0], row[1], row[2]): int(row[3]) for row in db.execute(query)}


def daily(
    db: Connection, dimension: str, value: str, since: int, until: int, indicators: Collection[str]
) -> Iterator[tuple[str, int, int]]:
    """Counters of each day in [since, until): indicator, day, n."""
    where = (s.dimension == dimension, s.value == value, s.indicator.in_(sorted(indicators)))
    query = select(s.indicator, s.day, s.n).where(*where, s.day >= since, s.day < until)
    for row in db.execute(query):
        yield row[0], row[1], row[2]


def everything(db: Connection) -> dict[tuple[str, str, str, int], int]:
    """All counters."""
    query = select(s.dimension, s.value, s.indicator, s.day, s.n)
    return {(row[0], row[1], row[2], row[3]): row[4] for row in db.execute(query)}


def waits(db: Connection, a: str, b: str, later: Sequence[str], since: int, until: int, now: int, unit: int) -> Waits:
    """How long rounds that passed ``a`` in [since, until) (ms) waited there: (units, how it ended, how many).

    How it ended: see ``PASSED`` …; who waits still, waits until ``now``.  ``later``: milestones behind ``b``.
    """
    entered, passed = r[f"{a}_at"], r[f"{b}_at"]
    around = [r[f"{name}_at"] for name in later]
    other = func.coalesce(*around, None) if around else null()
    left = func.coalesce(passed, *around, r.ended_at, now)
    ending = case(
        (passed.is_not(None), PASSED), (other.is_not(None), AROUND), (r.ended_at.is_not(None), LOST), else_=WAITS
    )
    query = (
        select(((left - entered) // unit).label("units"), ending.label("ending"), func.count())
        .where(entered >= since, entered < until)
        .group_by("units", "ending")
        .order_by("units")
    )
    return [(max(0, int(u)), int(e), int(n)) for u, e, n in db.execute(query)]


def returns(db: Connection, since: int, until: int, now: int, unit: int) -> Waits:
    """The same of leads given back in [since, until) to come again: until they were handed over again."""
    following = t.lead_round.alias()
    again = (following.c.contact_id == r.contact_id) & (following.c.number == r.number + 1)
    handed = following.c.mql_at
    ending = case((handed.is_not(None), PASSED), (following.c.number.is_not(None), AROUND), else_=WAITS)
    left = func.coalesce(handed, following.c.sql_at, following.c.opportunity_at, now)
    query = (
        select(((left - r.ended_at) // unit).label("units"), ending.label("ending"), func.count())
        .select_from(t.lead_round.outerjoin(following, again))
        .where(r.ended == "recycled", r.ended_at >= since, r.ended_at < until)
        .group_by("units", "ending")
        .order_by("units")
    )
    return [(max(0, int(u)), int(e), int(n)) for u, e, n in db.execute(query)]


def given_back(db: Connection, since: int, until: int) -> list[tuple[str, str | None, int]]:
    """Rounds that ended by being given back in [since, until) (ms): how, why, how many; the most first."""
    query = (
        select(r.ended, r.why, func.count().label("n"))
        .where(r.ended_at >= since, r.ended_at < until, r.ended.in_(["recycled", "rejected"]))
        .group_by(r.ended, r.why)
        .order_by(func.count().desc(), r.ended, r.why)
    )
    return [(row[0], row[1], int(row[2])) for row in db.execute(query)]
