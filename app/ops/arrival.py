"""Where in the inbox a moment is.  The inbox has no index on time, which every delivery would pay for: its ids follow
the order of arrival closely enough to search in them.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from sqlalchemy import BindParameter, ColumnElement, and_, bindparam, select, text
from sqlalchemy import Connection as Db

from app.core import tables as t
from app.core.clock import to_ms
from app.core.db import BIGGEST

# Two events whose ids are in one order may have been received in the other, since replicas' clocks differ and a poll
# stores what it read a while ago; by less than this.
SLACK_MS: Final = 3_600_000
TROUBLE: Final = frozenset({"dead", "parked"})  # statuses with an index of their own

i = t.inbox.c


def being(status: str) -> ColumnElement[bool]:
    """The event has this status, one of ``TROUBLE``; said so that both databases use the index.

    SQLite takes a partial index only where the query repeats its condition (https://www.sqlite.org/partialindex.html),
    PostgreSQL only where it needs no placeholder's value to see that the condition holds.
    """
    written_out: BindParameter[str] = bindparam("b_status", status, literal_execute=True, unique=True)
    return and_(text("status IN ('parked', 'dead')"), i.status == written_out)


def span(db: Db, since: datetime | None, until: datetime | None) -> tuple[int, int]:
    """Ids [first, last) among which are all events received in [``since``, ``until``), and few others."""
    newest = db.execute(select(i.id).order_by(i.id.desc()).limit(1)).scalar()
    end = newest + 1 if newest is not None else 0
    first = _search(db, to_ms(since) - SLACK_MS, end) if since is not None else 0
    last = _search(db, to_ms(until) + SLACK_MS, end) if until is not None else min(end, BIGGEST)
    return first, last


def _search(db: Db, moment: int, end: int) -> int:
    """The id below which every event was received before ``moment``; as many look-ups as the ids have bits."""
    below, least = -1, end
    while least - below > 1:
        middle = (below + least) // 2
        query = select(i.id, i.received_at).where(i.id >= middle, i.id < least).order_by(i.id).limit(1)
        row = db.execute(query).one_or_none()
        if row is None or row.received_at >= moment:
            least = middle
        else:
            below = row.id
    return least
