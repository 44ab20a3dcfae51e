"""How to read all changes from lists of 200 rows.  In: a cursor, one page.  Out: the next cursor.  Pure.

The first walk goes by id.  A poll goes by modified time, never by offset: each list asks for what changed at or after
the last time seen, oldest first.  So what changes meanwhile (it moves to the end) pushes nothing over a page border.
Times are whole seconds and many records share one: where a whole page does, that second is walked by id.

Sources: github.com/espocrm/documentation, ``docs/development/api-search-params.md`` and ``docs/api/spec.json``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

from connectors._cursor import Cursor
from connectors._espocrm_wire import MODIFIED, STAMP, time
from connectors.contract import NeedsHuman, Record, TryLater

OVERLAP: Final = timedelta(minutes=5)  # re-read at each poll: a transaction may commit after the time it set; ours
_FIRST: Final = "1970-01-01 00:00:00"
_IGNORED: Final = "espocrm: the server ignores whereGroup; update EspoCRM (docs/vendors/espocrm.md)"

Where = tuple[str, str, Any]
"""(type, attribute, value) of one condition."""


@dataclass(frozen=True, slots=True)
class Listing:
    """The first walk over everything, by id."""

    since: str  # the server's clock when the walk began: polling goes on from there
    after: str | None = None
    total: int | None = None


@dataclass(frozen=True, slots=True)
class Poll:
    """Polling.  Between polls only the first says something; the rest is the poll under way.

    Times are texts as EspoCRM writes them; they sort as times do.
    """

    since: str  # all that changed before this has been read
    start: str | None = None  # the list asks for what changed at or after this
    began: str | None = None  # the server's clock at its first answer
    top: str = _FIRST  # the newest change of this poll
    tie: str | None = None  # walking the second ``start`` by id: the last id seen, "" before the first
    edge: tuple[str, ...] = ()  # ids of the second ``start`` that were handed out already


_CURSOR: Final = Cursor("espocrm", Listing, Poll)
load, dump = _CURSOR.load, _CURSOR.dump


def stamp(moment: datetime | None) -> str:
    """A time as EspoCRM writes it; that of the beginning where there is none."""
    return _FIRST if moment is None else moment.strftime(STAMP)


def begin(state: Poll) -> Poll:
    """A poll that is under way: this one, or a new one that starts ``OVERLAP`` before what is known."""
    if state.start is not None:
        return state
    since = time(state.since)
    return replace(state, start=_FIRST if since is None or state.since == _FIRST else stamp(since - OVERLAP))


def query(state: Poll) -> tuple[list[Where], str]:
    """Conditions and order of the next list."""
    if state.tie is None:
        return [("greaterThanOrEquals", MODIFIED, state.start)], MODIFIED
    second: list[Where] = [("greaterThanOrEquals", MODIFIED, state.start), ("lessThanOrEquals", MODIFIED, state.start)]
    return [*second, *([("greaterThan", "id", state.tie)] if state.tie else [])], "id"


def fresh(state: Poll, page: Sequence[Record]) -> tuple[Record, ...]:
    """The page without what was handed out at the border of the page before."""
    edge = set(state.edge)
    return tuple(r for r in page if not (r.id in edge and _at(r) == state.start))


def advance(state: Poll, page: Sequence[Record], *, full: bool, now: datetime | None) -> tuple[Poll, bool]:
    """Where to go on after this page, and whether this poll goes on.  NeedsHuman where conditions are ignored."""
    start = state.start if state.start is not None else _FIRST
    times = [_at(r) for r in page]
    if any(t < start or (state.tie is not None and t != start) for t in times):
        raise NeedsHuman(_IGNORED)
    last = max(times, default=start)
    began = state.began if state.began is not None or now is None else stamp(now)
    state = replace(state, top=max(state.top, last), began=began)
    if state.tie is not None:
        if not full:  # this second is done, on with the next
            following = time(start)
            if following is None:
                raise TryLater("espocrm: a full page of records without a modified time")
            return replace(state, start=stamp(following + timedelta(seconds=1)), tie=None, edge=()), True
        return replace(state, tie=moved(state.tie, page)), True
    if not full:
        # The server's clock, since a second that is not over may still get more; its newest change where it tells none.
        return Poll(max(state.since, state.began if state.began is not None else state.top)), False
    if last > start:
        return replace(state, start=last, edge=tuple(r.id for r in page if _at(r) == last)), True
    return replace(state, tie="", edge=tuple(dict.fromkeys([*state.edge, *(r.id for r in page)]))), True


def moved(after: str | None, page: Sequence[Record]) -> str:
    """The last id of a page by id.  NeedsHuman where the page does not go on from ``after``.

    How ids sort is the database's affair, so they are only told apart.
    """
    if after in {r.id for r in page}:
        raise NeedsHuman(_IGNORED)
    return page[-1].id


def _at(found: Record) -> str:
    at = found.fields.get(MODIFIED)
    return at if isinstance(at, str) else _FIRST
