"""How to read all changes from lists.  In: a cursor, the ids of one page.  Out: the next cursor.  Pure.

Every walk goes by id, upwards, with a condition and never by offset.  The first is over everybody; a poll over whom a
window of time names: the partners written in it, then the addresses whose entry in the blacklist was written in it,
since that moves no partner's ``write_date``.  Time is only ever a lower bound: the database keeps microseconds and
tells seconds, so a condition "the same time as the last one" finds nobody and loses people.

Sources: github.com/NangoHQ/integration-templates/pull/598 (rows that share a time), github.com/odoo/odoo/pull/257639
(a mark taken too early); github.com/odoo/odoo, ``addons/mail/models/mail_blacklist.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

from connectors._cursor import Cursor
from connectors._odoo_wire import MODIFIED, STAMP, time
from connectors.contract import NeedsHuman

# Read again at each poll: write_date is when the transaction began, and a worker may take limit_time_real (120 s by
# default) until it commits; ours.
OVERLAP: Final = timedelta(minutes=10)
FIRST: Final = "1970-01-01 00:00:00"
WRITTEN, OBJECTED = "written", "objected"


@dataclass(frozen=True, slots=True)
class Listing:
    """The first walk, over everybody."""

    since: str  # the server's clock when the walk began: polling goes on from there
    after: int = 0
    total: int | None = None
    begun: bool = False


@dataclass(frozen=True, slots=True)
class Poll:
    """Polling.  Between polls only the first says something."""

    since: str  # all that happened before this has been read
    start: str | None = None  # the window's beginning
    began: str | None = None  # the server's clock at the first answer
    phase: str = WRITTEN
    after: int = 0  # the last id of this phase
    top: int = 0  # the highest id ever seen, of a list that is only added to


_CURSOR: Final = Cursor(
    "odoo", Listing, Poll, lambda state: isinstance(state, Listing) or state.phase in {WRITTEN, OBJECTED}
)
load, dump = _CURSOR.load, _CURSOR.dump


def stamp(moment: datetime | None) -> str:
    """A time as conditions take it; that of the beginning where there is none."""
    return FIRST if moment is None else moment.strftime(STAMP)


def begin(state: Poll) -> Poll:
    """A poll that is under way: this one, or a new one that starts ``OVERLAP`` before what is known."""
    if state.start is not None:
        return state
    since = time(state.since)
    return replace(state, start=FIRST if since is None or state.since == FIRST else stamp(since - OVERLAP))


def query(state: Listing | Poll) -> list[Any]:
    """The conditions of the next list."""
    above = ["id", ">", state.after]
    return [above] if isinstance(state, Listing) else [[MODIFIED, ">=", state.start], above]


def advance(state: Poll, last: int | None, *, full: bool, now: datetime | None, newest: datetime | None) -> Poll:
    """Where to go on after a page, whose last id this is; a poll without ``start`` is at its end."""
    began = state.began
    if began is None and (now is not None or newest is not None):
        began = stamp(now if now is not None else newest)  # a server that tells no time
    if full and last is not None:
        return replace(state, began=began, after=last)
    if state.phase == WRITTEN:
        return replace(state, began=began, phase=OBJECTED, after=0)
    return Poll(state.since if began is None else max(state.since, began))


def moved(after: int, ids: Sequence[int]) -> int | None:
    """The last id of a page.  NeedsHuman where the page does not go upwards from ``after``: conditions are ignored."""
    if any(b <= a for a, b in zip([after, *ids], ids, strict=False)):
        raise NeedsHuman("odoo: the server ignores conditions or order of a list (docs/vendors/odoo.md)")
    return ids[-1] if ids else None
