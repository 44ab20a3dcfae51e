"""The audit log: who did what, when, to which ids.  Append-only: rows are added here, and removed by age alone.

An act is written before it is carried out, and refused where that is not possible, so that none goes unrecorded; how it
ended is a second row.  Nothing of a person stands here, and no secret: ids, names of connections, names of colleagues.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import Connection as Db
from sqlalchemy import delete, insert, select

from app.core import tables as t
from app.core.db import now_ms

u = t.audit.c
LONGEST: Final = 200  # characters of a name or an id


def act(
    db: Db, kind: str, who: str | None, key: int | None, act: str, what: str, target: Mapping[str, str | int]
) -> int:
    """Enter an act that is about to be carried out; its id."""
    new = insert(t.audit).values(
        at=now_ms(),
        kind=kind,
        who=who[:LONGEST] if who is not None else None,
        key=key,
        act=act,
        what=what,
        target={name: value[:LONGEST] if isinstance(value, str) else value for name, value in target.items()},
    )
    number: int = db.execute(new.returning(u.id)).scalar_one()
    return number


def end(db: Db, number: int, outcome: str, made: Mapping[str, str | int] | None = None) -> None:
    """Enter how an act ended; ``made``: ids of what it made."""
    row = db.execute(select(u.kind, u.who, u.key, u.act, u.what).where(u.id == number)).mappings().one()
    target = dict(made) if made is not None else {}
    db.execute(insert(t.audit).values(**row, at=now_ms(), act_id=number, target=target, outcome=outcome))


def listed(
    db: Db, limit: int, before: int | None = None, *, who: str | None = None, act: str | None = None
) -> list[dict[str, Any]]:
    """Acts with how they ended, the newest first, below the id ``before``."""
    ended = t.audit.alias()
    query = (
        select(t.audit, ended.c.outcome.label("ended"), ended.c.at.label("ended_at"), ended.c.target.label("made"))
        .outerjoin(ended, ended.c.act_id == u.id)
        .where(u.act_id.is_(None))
        .order_by(u.id.desc())
        .limit(limit)
    )
    if before is not None:
        query = query.where(u.id < before)
    if who is not None:
        query = query.where(u.who == who)
    if act is not None:
        query = query.where(u.act == act)
    return [dict(row) for row in db.execute(query).mappings()]


def forget(db: Db, cutoff: int, batch: int) -> int:
    """Remove a batch of what is older than ``cutoff`` (ms); how many.  The one way out, by retention alone."""
    old = list(db.execute(select(u.id).where(u.at < cutoff).order_by(u.id).limit(batch)).scalars())
    if old:
        db.execute(delete(t.audit).where(u.id.in_(old)))
    return len(old)
