"""What each sink was told about alarms.  In: sinks and their wishes.  Out: what to tell now; then what came of it.

Level-triggered: not a queue of messages, but the difference between what is so and what was told.  An alarm that comes
and goes while a sink is away is one message, or none.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, TypeAlias

from sqlalchemy import ColumnElement, Connection, and_, delete, func, literal, or_, select, update

from app.core import tables as t
from app.core.db import clock_of, now_ms, upsert

NOW = now_ms()
a, n = t.alarm.c, t.alarm_notice.c
MOST: Final = 500  # open alarms that are looked at; beyond that somebody has long been told

Key: TypeAlias = tuple[str, str, str]
"""Kind, connection, subject."""


class Says(StrEnum):
    """What is told about an alarm."""

    RAISED = "raised"
    STILL = "still"
    OVER = "over"


@dataclass(frozen=True, slots=True)
class Notice:
    """One alarm that a sink has to be told about."""

    key: Key
    says: Says
    words: str
    since: int  # ms since 1970
    over_at: int | None = None
    attempts: int = 0  # that failed
    told_at: int | None = None  # the last time: tells a repetition from another try


@dataclass(frozen=True, slots=True)
class Wish:
    """What a sink wants.  ``kinds``: () = all; ``repeat``: ms, None = never; ``settle``: ms."""

    sink: str
    kinds: Collection[str] = ()
    repeat: int | None = None
    settle: int = 0


def plan(db: Connection, wishes: Iterable[Wish], limit: int) -> dict[str, list[Notice]]:
    """What each sink is to be told now, the oldest first, at most ``limit`` for each."""
    now = clock_of(db)
    rows = db.execute(select(t.alarm).where(a.cleared_at.is_(None)).order_by(a.since, a.id).limit(MOST)).mappings()
    open_ = {(row["kind"], row["connection"], row["subject"]): row for row in rows}
    told: dict[str, dict[Key, Any]] = {}
    for row in db.execute(select(t.alarm_notice)).mappings():
        told.setdefault(row["sink"], {})[(row["kind"], row["connection"], row["subject"])] = row
    found: dict[str, list[Notice]] = {}
    for wish in wishes:
        known = told.get(wish.sink, {})
        wanted = []
        for key, row in open_.items():
            says = None if wish.kinds and key[0] not in wish.kinds else _says(known.get(key), wish, now)
            if says is not None:
                attempts, told_at = (known[key]["attempts"], known[key]["told_at"]) if key in known else (0, None)
                wanted.append(Notice(key, says, row["words"], row["since"], None, attempts, told_at))
        gone = [k for k, row in known.items() if k not in open_ and row["told_at"] is not None and row["due_at"] <= now]
        for key in sorted(gone)[:limit]:
            last = _last(db, key)
            if last is None or now - last["cleared_at"] >= wish.settle:
                words, since, over = (
                    ("", now, now) if last is None else (last["words"], last["since"], last["cleared_at"])
                )
                wanted.append(Notice(key, Says.OVER, words, since, over, known[key]["attempts"]))
        if wanted:
            found[wish.sink] = sorted(wanted, key=lambda one: (one.since, one.key))[:limit]
    return found


def _says(row: Any, wish: Wish, now: int) -> Says | None:
    """What to tell about an alarm that is open; None: nothing, now."""
    if row is None:
        return Says.RAISED
    if row["due_at"] > now:
        return None
    if row["told_at"] is None:
        return Says.RAISED
    return Says.STILL if wish.repeat is not None and now - row["told_at"] >= wish.repeat else None


def _last(db: Connection, key: Key) -> Any:
    """The newest alarm of this kind, connection and subject, which is over; None where it was removed since."""
    same = (a.kind == key[0], a.connection == key[1], a.subject == key[2], a.cleared_at.is_not(None))
    return db.execute(select(t.alarm).where(*same).order_by(a.id.desc()).limit(1)).mappings().first()


def told(db: Connection, sink: str, notices: Collection[Notice]) -> None:
    """A message about these got through."""
    for one in notices:
        if one.says is Says.OVER:
            db.execute(delete(t.alarm_notice).where(*_same(sink, one.key)))
        else:
            _keep(db, sink, one.key, told_at=NOW, attempts=0, due_at=0, error=None)


def failed(db: Connection, sink: str, notices: Collection[Notice], delay_ms: int, error: str) -> None:
    """A message about these did not get through: again after ``delay_ms``."""
    for one in notices:
        _keep(db, sink, one.key, attempts=one.attempts + 1, due_at=NOW + delay_ms, error=error[:500])


def _same(sink: str, key: Key) -> tuple[Any, ...]:
    return n.sink == sink, n.kind == key[0], n.connection == key[1], n.subject == key[2]


def _keep(db: Connection, sink: str, key: Key, **values: Any) -> None:
    names = {"sink": sink, "kind": key[0], "connection": key[1], "subject": key[2]}
    new = upsert(db.dialect.name, t.alarm_notice).values(**names, **values)
    db.execute(new.on_conflict_do_update(index_elements=list(names), set_=values))


def _owed_nobody(sinks: Collection[str]) -> ColumnElement[bool]:
    """Rows of sinks that are configured no more, and of alarms that were over before anybody heard of them."""
    open_ = select(literal(1)).where(
        a.kind == n.kind, a.connection == n.connection, a.subject == n.subject, a.cleared_at.is_(None)
    )
    return or_(n.sink.not_in(sorted(sinks)), and_(n.told_at.is_(None), ~open_.exists()))


def untidy(db: Connection, sinks: Collection[str]) -> bool:
    """Whether ``tidy`` would find something."""
    return db.execute(select(literal(1)).where(_owed_nobody(sinks)).limit(1)).first() is not None


def tidy(db: Connection, sinks: Collection[str]) -> None:
    """Forget what is owed to nobody."""
    db.execute(delete(t.alarm_notice).where(_owed_nobody(sinks)))


def standing(db: Connection) -> dict[str, tuple[int, int, str | None]]:
    """Per sink that was told something: alarms it knows of, messages that did not get through, and the last error."""
    query = select(n.sink, func.count(), func.max(n.attempts), func.max(n.error)).group_by(n.sink)
    return {row[0]: (int(row[1]), int(row[2]), row[3]) for row in db.execute(query)}


def again(db: Connection, sink: str) -> None:
    """A test got through: what failed before is due at once."""
    db.execute(update(t.alarm_notice).where(n.sink == sink, n.attempts > 0).values(due_at=0))
