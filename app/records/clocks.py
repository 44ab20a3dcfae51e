"""Clocks of leads at rest: how each round stands, of what somebody is to hear, and what people did to them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Connection, RowMapping, and_, bindparam, delete, exists, func, insert, or_, select, update

from app.core import tables as t
from app.core.db import upsert
from app.records.contacts import chunks

c, n, w, s = t.clock.c, t.clock_notice.c, t.clock_word.c, t.lead_step.c

NEVER: Final = 2**62
"""``rank_at`` of a clock of which nobody knows when it is due."""

KEY: Final = ("contact_id", "name", "started_at")


def load(db: Connection, contacts: Collection[int]) -> dict[int, list[RowMapping]]:
    """All rounds of the clocks of these contacts."""
    found: dict[int, list[RowMapping]] = {}
    for chunk in chunks(sorted(contacts)):
        query = select(t.clock).where(c.contact_id.in_(chunk)).order_by(c.contact_id, c.name, c.started_at)
        for row in db.execute(query).mappings():
            found.setdefault(row["contact_id"], []).append(row)
    return found


def save(db: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Keep how these rounds stand."""
    if rows:
        statement = upsert(db.dialect.name, t.clock)
        columns = {x.name: statement.excluded[x.name] for x in c if x.name not in {"id", *KEY}}
        statement = statement.on_conflict_do_update(index_elements=list(KEY), set_=columns)
        db.execute(statement, sorted(rows, key=lambda row: tuple(row[k] for k in KEY)))


def remove(db: Connection, keys: Collection[tuple[int, str, int]]) -> None:
    """Later news showed that these rounds never began."""
    if keys:
        where = and_(*(c[k] == bindparam(f"b_{k}") for k in KEY))
        db.execute(delete(t.clock).where(where), [dict(zip((f"b_{k}" for k in KEY), k, strict=True)) for k in keys])


def forget(db: Connection, contacts: Collection[int], now: int) -> None:
    """These contacts are nobody's lead any more."""
    for chunk in chunks(sorted(contacts)):
        db.execute(delete(t.clock).where(c.contact_id.in_(chunk)))
        db.execute(update(t.clock_notice).where(n.contact_id.in_(chunk), n.void_at.is_(None)).values(void_at=now))


def notices(db: Connection, contacts: Collection[int]) -> dict[int, list[RowMapping]]:
    """All notices about these contacts, void ones too."""
    found: dict[int, list[RowMapping]] = {}
    for chunk in chunks(sorted(contacts)):
        query = select(t.clock_notice).where(n.contact_id.in_(chunk)).order_by(n.contact_id, n.at, n.id)
        for row in db.execute(query).mappings():
            found.setdefault(row["contact_id"], []).append(row)
    return found


def notice(db: Connection, rows: Sequence[Mapping[str, Any]], void: Collection[int], now: int) -> None:
    """Add notices, revive those that were void and came true after all; ``void``: numbers of those that are not so."""
    for chunk in chunks(sorted(void)):
        db.execute(update(t.clock_notice).where(n.id.in_(chunk)).values(void_at=now))
    if rows:
        statement = upsert(db.dialect.name, t.clock_notice)
        keys = [*KEY, "leg", "mark", "planned", "to"]
        again = {"at": statement.excluded["at"], "owner": statement.excluded["owner"], "void_at": None}
        statement = statement.on_conflict_do_update(index_elements=keys, set_=again)
        db.execute(statement, [{**row, "stored_at": now} for row in rows])


def say(db: Connection, **values: Any) -> None:
    """Keep what a named person did."""
    db.execute(insert(t.clock_word).values(**values))


def said(db: Connection, contacts: Collection[int]) -> list[RowMapping]:
    """All that people did to the clocks of these contacts."""
    found: list[RowMapping] = []
    for chunk in chunks(sorted(contacts)):
        found += db.execute(select(t.clock_word).where(w.contact_id.in_(chunk)).order_by(w.at, w.id)).mappings()
    return found


def teams(db: Connection, owners: Collection[str]) -> dict[str, str]:
    """The teams of colleagues by address, as the user directories have them."""
    g = t.colleague.c
    found: dict[str, str] = {}
    for chunk in chunks(sorted(owners)):
        query = select(g.email, g.team).where(g.email.in_(chunk), g.team.is_not(None)).order_by(g.connection.desc())
        found |= {row.email: row.team for row in db.execute(query)}
    return found


def breached(db: Connection) -> dict[str, int]:
    """How many clocks of each name are over and not done."""
    query = select(c.name, func.count()).where(c.state == "breached").group_by(c.name)
    return {row[0]: row[1] for row in db.execute(query)}


def listed(
    db: Connection,
    *,
    state: str | None = None,
    team: str | None = None,
    owner: str | None = None,
    after: tuple[int, int] | None = None,
    limit: int = 50,
) -> list[RowMapping]:
    """Clocks by when they are due; without a state those that have not ended.  ``after``: (rank_at, id).

    Of several conditions one goes by its index; what the others leave out is for the caller.
    """
    query = select(t.clock).order_by(c.rank_at, c.id).limit(limit)
    query = query.where(c.state == state) if state is not None else query.where(c.ended_at.is_(None))
    if state is None and owner is not None:
        query = query.where(c.owner == owner)
    elif state is None and team is not None:
        query = query.where(c.team == team)
    if after is not None:
        rank, number = after
        query = query.where(c.rank_at >= rank, or_(c.rank_at > rank, c.id > number))
    return list(db.execute(query).mappings())


def heard(db: Connection, after: int, limit: int) -> list[RowMapping]:
    """Notices that hold, in the order in which they were stored."""
    query = select(t.clock_notice).where(n.id > after, n.void_at.is_(None)).order_by(n.id).limit(limit)
    return list(db.execute(query).mappings())


def prune(db: Connection, cutoff: int, batch: int) -> int:
    """Remove some notices from before ``cutoff``; how many.  Clocks, and what people did to them, go with the lead."""
    old = list(db.execute(select(n.id).where(n.at < cutoff).order_by(n.at).limit(batch)).scalars())
    if old:
        db.execute(delete(t.clock_notice).where(n.id.in_(old)))
    return len(old)


def cohort(db: Connection, stage: str, accepted: str, start: int, end: int) -> tuple[int, int, int]:
    """(leads, accepted, decided) of those that came to a stage from ``start`` to before ``end``.

    ``accepted``: the stage by which sales accepts, or ``accepted``: by its standing.
    """
    later = t.lead_step.alias()
    entered = (
        select(s.contact_id, func.min(s.at).label("at"))
        .where(s.what == "stage", s.after == stage, s.void_at.is_(None), s.at >= start, s.at < end)
        .group_by(s.contact_id)
        .subquery()
    )

    def came(what: str, *names: str) -> Any:
        of = later.c
        same = (of.contact_id == entered.c.contact_id, of.at >= entered.c.at, of.void_at.is_(None), of.what == what)
        return exists(select(of.id).where(*same, of.after.in_(names)))

    took = came("status", "accepted", "qualified") if accepted == "accepted" else came("stage", accepted)
    query = select(
        func.count(),
        func.count().filter(took),
        func.count().filter(or_(took, came("status", "recycled", "rejected"))),
    ).select_from(entered)
    row = db.execute(query).one()
    return row[0], row[1], row[2]
