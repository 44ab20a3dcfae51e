"""Engagements at rest: stored once by the vendor's id, claimed by their contact, counted as they come.

The sums are kept in the same transaction as the rows, by what was stored only: an act told twice counts once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from sqlalchemy import Connection, RowMapping, bindparam, case, delete, func, insert, select, update

from app.core import tables as t
from app.core.db import upsert
from app.core.objects import NOT_YET
from app.records.contacts import chunks

e, n = t.engagement.c, t.engagement_sum.c

HAPPENED: Final = e.outcome.is_(None) | e.outcome.not_in(sorted(NOT_YET))
"""That an act took place, as a condition on rows."""

UNSAID: Final = -1
"""In the sums: whether a person or a machine did it is not said."""


@dataclass(frozen=True, slots=True)
class Engagement:
    """One act as it is stored."""

    remote_id: str
    who_key: str
    who: str = field(repr=False)
    kind: str
    at: int
    human: bool | None
    by: str | None = field(default=None, repr=False)
    campaign: str | None = None
    variant: str | None = None
    channel: str | None = None
    outcome: str | None = None
    deal_id: int | None = None
    detail: Mapping[str, Any] = field(default_factory=dict, repr=False)
    contact_id: int | None = None
    origin_id: int | None = None


_SAID: Final = ("kind", "at", "by", "campaign", "variant", "channel", "outcome", "deal_id")
_CHANGE = (
    update(t.engagement)
    .where(e.id == bindparam("b_id"))
    .values({name: bindparam(f"b_{name}") for name in (*_SAID, "human", "detail")})
)


Counted: TypeAlias = tuple[int, str, int, int]
"""contact, kind, human, moment."""


def store(db: Connection, connection: str, acts: Sequence[Engagement], now: int) -> tuple[set[int], dict[int, int]]:
    """Store acts of one connection; contacts for whom something changed, and new rows: id → contact.

    One that is known and says something else now is changed; whose it is stays.
    """
    latest = {a.remote_id: a for a in acts}
    known: dict[str, RowMapping] = {}
    for chunk in chunks(sorted(latest)):
        query = select(t.engagement).where(e.connection == connection, e.remote_id.in_(chunk))
        known |= {row["remote_id"]: row for row in db.execute(query).mappings()}
    touched: set[int] = set()
    plus: list[Counted] = []
    minus: list[Counted] = []
    changed = []
    for remote_id, row in sorted(known.items()):
        new = latest[remote_id]
        if _values(new) == _of(row):
            continue
        changed.append({"b_id": row["id"], **{f"b_{name}": value for name, value in _values(new).items()}})
        if row["contact_id"] is not None:
            contact: int = row["contact_id"]
            touched.add(contact)
            minus += _counted(contact, row["kind"], row["human"], row["at"], row["outcome"])
            plus += _counted(contact, new.kind, _int(new.human), new.at, new.outcome)
    if changed:
        db.execute(_CHANGE, changed)
    fresh = [latest[i] for i in sorted(latest) if i not in known]
    stored: dict[int, int] = {}
    if fresh:
        rows = [
            {
                "connection": connection,
                "remote_id": a.remote_id,
                "who_key": a.who_key,
                "who": a.who,
                "contact_id": a.contact_id,
                "origin_id": a.origin_id,
                "received_at": now,
                **_values(a),
            }
            for a in fresh
        ]
        # Not with RETURNING: to keep their order, SQLite would be asked for row by row.
        db.execute(insert(t.engagement), rows)
        for chunk in chunks([a.remote_id for a in fresh if a.contact_id is not None]):
            new_rows = select(e.id, e.contact_id).where(e.connection == connection, e.remote_id.in_(chunk))
            stored |= {row.id: row.contact_id for row in db.execute(new_rows)}
        for act in fresh:
            if act.contact_id is not None:
                touched.add(act.contact_id)
                plus += _counted(act.contact_id, act.kind, _int(act.human), act.at, act.outcome)
    add(db, plus)
    if minus:
        _recount(db, {contact for contact, *_ in minus})
    return touched, stored


def _int(human: bool | None) -> int | None:
    return None if human is None else int(human)


def _values(act: Engagement) -> dict[str, Any]:
    said = {name: getattr(act, name) for name in _SAID}
    return {**said, "human": _int(act.human), "detail": dict(act.detail) if act.detail else None}


def _of(row: RowMapping) -> dict[str, Any]:
    return {name: row[name] for name in (*_SAID, "human", "detail")}


def _counted(contact: int, kind: str, human: int | None, at: int, outcome: str | None) -> list[Counted]:
    return [] if outcome in NOT_YET else [(contact, kind, UNSAID if human is None else human, at)]


def add(db: Connection, counted: Iterable[Counted]) -> None:
    """Count acts: in the order of keys, so that two writers cannot deadlock."""
    sums: dict[tuple[int, str, int], list[int]] = defaultdict(list)
    for contact, kind, human, at in counted:
        sums[(contact, kind, human)].append(at)
    if not sums:
        return
    statement = upsert(db.dialect.name, t.engagement_sum)
    new = statement.excluded
    statement = statement.on_conflict_do_update(
        index_elements=["contact_id", "kind", "human"],
        set_={
            "number": n.number + new.number,
            "first_at": case((n.first_at < new.first_at, n.first_at), else_=new.first_at),
            "last_at": case((n.last_at > new.last_at, n.last_at), else_=new.last_at),
        },
    )
    db.execute(
        statement,
        [
            {
                "contact_id": contact,
                "kind": kind,
                "human": human,
                "number": len(times),
                "first_at": min(times),
                "last_at": max(times),
            }
            for (contact, kind, human), times in sorted(sums.items())
        ],
    )


def _recount(db: Connection, contacts: Collection[int]) -> None:
    """Count the rows of these contacts anew; as many as each has.  For what is seldom: an act that changed, a split."""
    for contact in sorted(contacts):
        db.execute(delete(t.engagement_sum).where(n.contact_id == contact))
        human = func.coalesce(e.human, UNSAID)
        query = (
            select(e.kind, human.label("human"), func.count().label("number"), func.min(e.at), func.max(e.at))
            .where(e.contact_id == contact, HAPPENED)
            .group_by(e.kind, human)
        )
        rows = [
            {"contact_id": contact, "kind": r[0], "human": r[1], "number": r[2], "first_at": r[3], "last_at": r[4]}
            for r in db.execute(query)
        ]
        if rows:
            db.execute(insert(t.engagement_sum), rows)


def claim(db: Connection, connection: str, key: str, people: Mapping[str, int]) -> dict[int, int]:
    """Acts that came before their contact was known are its own now: row → contact."""
    got: dict[int, int] = {}
    plus: list[Counted] = []
    for chunk in chunks(sorted(people)):
        where = (e.connection == connection, e.who_key == key, e.who.in_(chunk), e.contact_id.is_(None))
        rows = db.execute(select(e.id, e.who, e.kind, e.human, e.at, e.outcome).where(*where).order_by(e.id)).all()
        for row in rows:
            contact = people[row.who]
            got[row.id] = contact
            plus += _counted(contact, row.kind, row.human, row.at, row.outcome)
    if got:
        statement = update(t.engagement).where(e.id == bindparam("b_id"), e.contact_id.is_(None))
        db.execute(
            statement.values(contact_id=bindparam("b_contact"), origin_id=bindparam("b_contact")),
            [{"b_id": i, "b_contact": contact} for i, contact in sorted(got.items())],
        )
    add(db, plus)
    return got


def unite(db: Connection, winner: int, loser: int) -> None:
    """What the loser did is the winner's; whose it was stays known, for a split."""
    rows = db.execute(select(n.kind, n.human, n.number, n.first_at, n.last_at).where(n.contact_id == loser)).all()
    db.execute(update(t.engagement).where(e.contact_id == loser).values(contact_id=winner))
    db.execute(delete(t.engagement_sum).where(n.contact_id == loser))
    for row in rows:
        add(db, [(winner, row.kind, row.human, row.first_at), (winner, row.kind, row.human, row.last_at)])
        where = (n.contact_id == winner, n.kind == row.kind, n.human == row.human)
        db.execute(update(t.engagement_sum).where(*where).values(number=n.number + (row.number - 2)))


def split(db: Connection, stays: int, leaves: int, records: Collection[tuple[str, str]]) -> None:
    """What was the leaver's, and what was said of these records (connection, id) of theirs, goes along."""
    mine = update(t.engagement).where(e.contact_id == stays)
    db.execute(mine.where(e.origin_id == leaves).values(contact_id=leaves))
    for connection, who in sorted(records):
        theirs = mine.where(e.connection == connection, e.who_key == "id", e.who == who)
        db.execute(theirs.values(contact_id=leaves, origin_id=leaves))
    _recount(db, {stays, leaves})


def named(db: Connection, connection: str, colleagues: Mapping[str, str]) -> None:
    """The directory has become known: acts by these ids are by these addresses."""
    for remote_id, address in sorted(colleagues.items()):
        db.execute(update(t.engagement).where(e.connection == connection, e.by == remote_id).values(by=address))


def shown(db: Connection, contact: int, before: tuple[int, int] | None, limit: int) -> Sequence[RowMapping]:
    """Acts of a contact, the newest first, behind a position (moment, row)."""
    query = select(t.engagement).where(e.contact_id == contact)
    if before is not None:
        at, row = before
        query = query.where(e.at <= at, (e.at < at) | (e.id < row))
    return db.execute(query.order_by(e.at.desc(), e.id.desc()).limit(limit)).mappings().all()


def forget(
    db: Connection, contacts: Collection[int], records: Mapping[str, Collection[str]], addresses: Collection[str]
) -> int:
    """Remove the acts of these contacts, and what waits by these records (connection → ids) or addresses."""
    removed = db.execute(delete(t.engagement).where(e.contact_id.in_(sorted(contacts)))).rowcount
    waiting = [(name, "id", sorted(set(ids))) for name, ids in sorted(records.items())]
    names = db.execute(select(e.connection).where(e.contact_id.is_(None)).distinct()).scalars().all()
    waiting += [(name, "email", sorted(addresses)) for name in sorted(names)]
    for connection, key, values in waiting:
        for chunk in chunks(values):
            where = (e.connection == connection, e.who_key == key, e.who.in_(chunk), e.contact_id.is_(None))
            removed += db.execute(delete(t.engagement).where(*where)).rowcount
    return removed


def old(db: Connection, before: int, limit: int) -> Sequence[int]:
    """Rows of acts from before this moment, the oldest first."""
    return db.execute(select(e.id).where(e.at < before).order_by(e.at, e.id).limit(limit)).scalars().all()


def whose(db: Connection, ids: Sequence[int]) -> set[int]:
    """The contacts of these acts."""
    found = db.execute(select(e.contact_id).where(e.id.in_(ids), e.contact_id.is_not(None)).distinct()).scalars()
    return set(found)


def unclaimed(db: Connection, before: int, limit: int) -> Sequence[int]:
    """Rows that came before this moment and are still nobody's."""
    where = (e.contact_id.is_(None), e.received_at < before)
    return db.execute(select(e.id).where(*where).limit(limit)).scalars().all()
