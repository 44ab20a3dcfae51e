"""Leads at rest: what was said about them, how they stand, every step, and whose has to be worked out anew."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Connection, RowMapping, bindparam, delete, func, insert, select, update

from app.core import tables as t
from app.core.db import now_ms, ring, upsert
from app.core.words import Station
from app.records.contacts import chunks

NOW = now_ms()
v, l, s, d, r = t.agreement_version.c, t.lead.c, t.lead_step.c, t.disposition.c, t.refold.c  # noqa: E741

_SINCE: Final = select(func.min(v.in_force))


def governed_since(db: Connection) -> int | None:
    """From when on (ms since 1970) there is an agreement in force; None = there is none, nor will be."""
    return db.execute(_SINCE).scalar()


def mark(db: Connection, contacts: Iterable[int]) -> None:
    """Let the leads of these contacts be worked out anew, in the transaction of what changed; sorted by id."""
    ids = sorted(set(contacts))
    if not ids or governed_since(db) is None:
        return
    statement = upsert(db.dialect.name, t.refold).values(contact_id=bindparam("b_contact"), gen=1, due_at=NOW)
    statement = statement.on_conflict_do_update(index_elements=["contact_id"], set_={"gen": r.gen + 1})
    db.execute(statement, [{"b_contact": i} for i in ids])
    ring(db, Station.LEADS)


def due(db: Connection, limit: int) -> dict[int, int]:
    """Contacts whose lead has to be worked out anew, the longest due first: id → gen."""
    query = select(r.contact_id, r.gen).where(r.due_at <= NOW).order_by(r.due_at).limit(limit)
    return {row.contact_id: row.gen for row in db.execute(query)}


def done(db: Connection, gens: Mapping[int, int]) -> None:
    """These were worked out; one that was marked again meanwhile stays due."""
    if gens:
        statement = delete(t.refold).where(r.contact_id == bindparam("b_contact"), r.gen == bindparam("b_gen"))
        db.execute(statement, [{"b_contact": i, "b_gen": gens[i]} for i in sorted(gens)])


def turning(db: Connection, now: int, limit: int) -> list[int]:
    """Contacts whose lead time alone may have changed."""
    query = select(l.contact_id).where(l.turns_at <= now).order_by(l.turns_at).limit(limit)
    return list(db.execute(query).scalars())


def say(db: Connection, rows: Sequence[Mapping[str, Any]], now: int) -> list[int]:
    """Write down what was said; the numbers of the lines, in their order."""
    if not rows:
        return []
    statement = insert(t.disposition).returning(d.id, sort_by_parameter_order=True)
    whole = {"value": None, "reason": None, "team": None, "by": None, "event": None}
    return list(db.execute(statement, [{**whole, **row, "received_at": now} for row in rows]).scalars())


def said(db: Connection, contacts: Collection[int]) -> list[RowMapping]:
    """All that was said about these contacts."""
    found: list[RowMapping] = []
    for chunk in chunks(sorted(contacts)):
        query = select(t.disposition).where(d.contact_id.in_(chunk)).order_by(d.contact_id, d.at, d.id)
        found += db.execute(query).mappings()
    return found


def give(db: Connection, contact: int, to: int, source: str) -> None:
    """What this connection said about one contact was about another one: their records had been taken for one."""
    db.execute(update(t.disposition).where(d.contact_id == contact, d.source == source).values(contact_id=to))


def found_out(db: Connection, findings: Mapping[int, tuple[str, str]]) -> None:
    """Keep what the agreement made of what was said: number → finding and why."""
    if findings:
        statement = (
            update(t.disposition)
            .where(d.id == bindparam("b_id"))
            .values(finding=bindparam("b_f"), why=bindparam("b_w"))
        )
        db.execute(statement, [{"b_id": n, "b_f": f, "b_w": w} for n, (f, w) in sorted(findings.items())])


def load(db: Connection, contacts: Collection[int]) -> dict[int, RowMapping]:
    """How the leads of these contacts stand."""
    found: dict[int, RowMapping] = {}
    for chunk in chunks(sorted(contacts)):
        for row in db.execute(select(t.lead).where(l.contact_id.in_(chunk))).mappings():
            found[row["contact_id"]] = row
    return found


def steps(db: Connection, contacts: Collection[int], *, void: bool = False) -> dict[int, list[RowMapping]]:
    """The steps of these contacts in their order; ``void``: also those that later news showed to be wrong."""
    found: dict[int, list[RowMapping]] = {i: [] for i in contacts}
    for chunk in chunks(sorted(contacts)):
        query = select(t.lead_step).where(s.contact_id.in_(chunk)).order_by(s.contact_id, s.at, s.id)
        for row in db.execute(query if void else query.where(s.void_at.is_(None))).mappings():
            found[row["contact_id"]].append(row)
    return found


def save(db: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Keep how these leads stand."""
    if rows:
        statement = upsert(db.dialect.name, t.lead)
        columns = {c.name: statement.excluded[c.name] for c in t.lead.c if c.name not in {"contact_id", "seal"}}
        statement = statement.on_conflict_do_update(index_elements=["contact_id"], set_=columns)
        db.execute(statement, sorted(rows, key=lambda row: int(row["contact_id"])))


def seal(db: Connection, seals: Mapping[int, Mapping[str, Any]]) -> None:
    """Keep all that is known of leads at a moment; of contacts without a lead there is nothing to keep."""
    statement = update(t.lead).where(l.contact_id == bindparam("b_contact")).values(seal=bindparam("b_seal"))
    if seals:
        db.execute(statement, [{"b_contact": i, "b_seal": seals[i]} for i in sorted(seals)])


def remove(db: Connection, contacts: Collection[int], now: int) -> None:
    """These contacts are nobody's lead: another one stands for them, or there is no agreement any more for them."""
    ids = sorted(contacts)
    if ids:
        db.execute(delete(t.lead).where(l.contact_id.in_(ids)))
        db.execute(update(t.lead_step).where(s.contact_id.in_(ids), s.void_at.is_(None)).values(void_at=now))


def add_steps(db: Connection, rows: Sequence[Mapping[str, Any]], void: Collection[int], now: int) -> None:
    """Add steps; those with the numbers ``void`` are shown to be wrong by what came later."""
    if void:
        for chunk in chunks(sorted(void)):
            db.execute(update(t.lead_step).where(s.id.in_(chunk)).values(void_at=now))
    if rows:
        db.execute(insert(t.lead_step), [{**row, "stored_at": now} for row in rows])


def unjudged(db: Connection, contacts: Collection[int]) -> dict[int, set[str]]:
    """By whom something was said about these contacts that is not judged yet: contact → sources."""
    found: dict[int, set[str]] = {}
    for chunk in chunks(sorted(contacts)):
        query = select(d.contact_id, d.source).where(d.contact_id.in_(chunk), d.finding.is_(None))
        for row in db.execute(query):
            found.setdefault(row.contact_id, set()).add(row.source)
    return found


# --- versions ---------------------------------------------------------------------------------------------------------


def versions(db: Connection) -> list[RowMapping]:
    """All versions, the oldest first."""
    return list(db.execute(select(t.agreement_version).order_by(v.id)).mappings())


def enter(db: Connection, digest: str, title: str, text: str, customs: Mapping[str, str], now: int) -> int:
    """The number of the version with this digest, which is entered where it is new."""
    statement = upsert(db.dialect.name, t.agreement_version).values(
        digest=digest, title=title, text=text, customs=dict(customs), entered_at=now
    )
    db.execute(statement.on_conflict_do_nothing(index_elements=["digest"]))
    number: int = db.execute(select(v.id).where(v.digest == digest).with_for_update()).scalar_one()
    return number


def version(db: Connection, number: int) -> RowMapping:
    """One version."""
    return db.execute(select(t.agreement_version).where(v.id == number)).mappings().one()


def sign(db: Connection, number: int, **values: Any) -> None:
    """Keep a signature."""
    db.execute(update(t.agreement_version).where(v.id == number).values(**values))


def sweeping(db: Connection, now: int) -> tuple[int, int] | None:
    """A version in force by which not all contacts were judged: its number, and the last contact that was."""
    query = (
        select(v.id, v.swept).where(v.in_force <= now, v.swept.is_not(None)).order_by(v.in_force.desc(), v.id).limit(1)
    )
    row = db.execute(query).one_or_none()
    return None if row is None else (row.id, row.swept)


def swept(db: Connection, number: int, upto: int | None) -> None:
    """All contacts up to ``upto`` were judged by it; None = all."""
    where = v.id == number
    if upto is None:  # and by whatever came before it
        where = v.in_force <= select(v.in_force).where(v.id == number).scalar_subquery()
    db.execute(update(t.agreement_version).where(where).values(swept=upto))


def some_contacts(db: Connection, after: int, limit: int) -> list[int]:
    """Contact ids behind ``after``."""
    query = select(t.contact.c.id).where(t.contact.c.id > after).order_by(t.contact.c.id).limit(limit)
    return list(db.execute(query).scalars())


def busy(db: Connection) -> bool:
    """Whether anything is to be worked out; a look that costs next to nothing."""
    if db.execute(select(r.contact_id).where(r.due_at <= NOW).limit(1)).first() is not None:
        return True
    if db.execute(select(l.contact_id).where(l.turns_at <= NOW).limit(1)).first() is not None:
        return True
    return db.execute(select(v.id).where(v.in_force <= NOW, v.swept.is_not(None)).limit(1)).first() is not None


# --- looking ----------------------------------------------------------------------------------------------------------


def listed(
    db: Connection,
    *,
    stage: str | None = None,
    status: str | None = None,
    owner: str | None = None,
    flag: str | None = None,
    flagged: bool = False,
    after: int = 0,
    limit: int = 50,
) -> list[RowMapping]:
    """Leads by contact number, behind ``after``.  Of several conditions the rarest goes by its index.

    No more than ``limit`` rows are looked at: what the other conditions leave out is for the caller.
    """
    query = select(t.lead).where(l.contact_id > after).order_by(l.contact_id).limit(limit)
    if flag is not None:
        query = query.where(l.flag == flag)
    elif flagged:
        query = query.where(l.flag.is_not(None))
    elif owner is not None:
        query = query.where(l.owner_email == owner)
    elif status is not None:
        query = query.where(l.status == status)
    elif stage is not None:
        query = query.where(l.stage == stage)
    return list(db.execute(query).mappings())


def counts(db: Connection) -> dict[str, int]:
    """How many leads there are at each stage."""
    query = select(l.stage, func.count()).where(l.stage.is_not(None)).group_by(l.stage)
    return {row[0]: row[1] for row in db.execute(query)}
