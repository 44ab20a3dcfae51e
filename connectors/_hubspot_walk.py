"""How to read all changes from a search that gives 10,000 rows at most.  In: a cursor, one page.  Out: the next cursor.

The walk is by key, never by offset: each search asks for what changed at or after the last time seen, oldest first, and
takes its first page only.  So it cannot run into the cap of 10,000, and a record that changes meanwhile (it moves to
the end) pushes no other over a page border.  Where a whole page shares one time, that time is walked by record id.

Sources: developers.hubspot.com, "CRM search" (limits, operators, index lag; mirror of April 2026); equal times in bulk:
github.com/airbytehq/airbyte/issues/43317.  Pure: no I/O, no clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from connectors._cursor import Cursor
from connectors._hubspot_wire import MODIFIED, OTHERS_MODIFIED, millis, time
from connectors.contract import Kind, Record, TryLater

PAGE = 200  # rows of one search, "CRM search": at most 200
OVERLAP = 300_000  # ms re-read at each poll: new changes take "a few moments" to show in searches; ours
_ID = "hs_object_id"


@dataclass(frozen=True, slots=True)
class Listing:
    """The first walk over everything, by the list endpoint.  ``after``: where the next page starts."""

    since: int  # ms; newest change when the walk began: polling goes on from there
    clock: int | None  # ms; HubSpot's clock at that moment
    after: str | None = None
    total: int | None = None


@dataclass(frozen=True, slots=True)
class Poll:
    """Polling.  Between polls only the first three say something; the rest is the poll under way."""

    since: int  # ms; newest change read so far
    clock: int | None = None  # ms; HubSpot's clock when ``since`` was reached
    settled: bool = False  # the overlap before ``since`` has been read again after the index had its time
    start: int | None = None  # ms; the search asks for what changed at or after this
    top: int = 0  # ms; newest change of this poll
    began: int | None = None  # ms; HubSpot's clock at its first answer
    tie: str | None = None  # walking the records of the time ``start`` by id: the last id seen
    edge: tuple[str, ...] = ()  # ids at the time ``start`` that were handed out already


_CURSOR: Final = Cursor("hubspot", Listing, Poll)
load, dump = _CURSOR.load, _CURSOR.dump


def begin(state: Poll) -> Poll:
    """A poll that is under way: this one, or a new one that starts ``OVERLAP`` before the newest change known."""
    if state.start is not None:
        return state
    return replace(state, start=state.since if state.settled else max(0, state.since - OVERLAP), top=0, began=None)


def query(state: Poll, modified: str = MODIFIED) -> dict[str, Any]:
    """Filters and order of the next search; properties, limit and ``after`` are the caller's."""
    start = str(state.start)
    filters = [_filter(modified, "GTE", start)]
    by = modified
    if state.tie is not None:
        filters += [_filter(modified, "LTE", start), _filter(_ID, "GT", state.tie)]
        by = _ID
    return {"filterGroups": [{"filters": filters}], "sorts": [{"propertyName": by, "direction": "ASCENDING"}]}


def fresh(state: Poll, page: Sequence[Record]) -> tuple[Record, ...]:
    """The page without what was handed out at the border of the page before."""
    edge = set(state.edge)
    return tuple(r for r in page if not (r.id in edge and stamp(r) == state.start))


def advance(state: Poll, page: Sequence[Record], *, full: bool, now: datetime | None) -> tuple[Poll, bool]:
    """Where to go on after this page, and whether this poll goes on.  ``full``: the search may have more."""
    start = state.start if state.start is not None else 0
    seen = clock(now)
    stamps = [s for r in page if (s := stamp(r)) is not None]
    if full and not stamps:
        raise TryLater("hubspot: a full page of search results without a modified time")
    last = max(stamps, default=start)
    state = replace(state, top=max(state.top, last), began=state.began if state.began is not None else seen)
    if state.tie is not None:
        if not full:  # this time is done, on with the next millisecond
            return replace(state, start=start + 1, tie=None, edge=()), True
        highest = max((r.id for r in page), key=int)
        if int(highest) <= int(state.tie):
            raise TryLater("hubspot: a search by id does not move on")
        return replace(state, tie=highest), True
    if not full:
        return _end(state, seen), False
    if last > start:
        return replace(state, start=last, edge=tuple(r.id for r in page if stamp(r) == last)), True
    return replace(state, tie="0", edge=tuple(dict.fromkeys([*state.edge, *(r.id for r in page)]))), True


def stamp(found: Record) -> int | None:
    """The time by which searches filter and sort, in ms."""
    moment = time(found.fields.get(MODIFIED if found.kind is Kind.CONTACT else OTHERS_MODIFIED))
    moment = moment if moment is not None else found.modified
    return None if moment is None else millis(moment)


def clock(now: datetime | None) -> int | None:
    """HubSpot's clock in ms, where an answer told it."""
    return None if now is None else millis(now)


def _end(state: Poll, seen: int | None) -> Poll:
    if state.top > state.since:
        return Poll(since=state.top, clock=seen)
    # Nothing newer.  Once a poll that read the overlap began late enough for the index to have caught up, the overlap
    # need not be read again and again.  Both times are HubSpot's clock, so only its pace is trusted.
    ripe = state.clock is not None and state.began is not None and state.began - state.clock >= OVERLAP
    return Poll(
        since=state.since, clock=state.clock if state.clock is not None else seen, settled=state.settled or ripe
    )


def _filter(name: str, operator: str, value: str) -> dict[str, str]:
    return {"propertyName": name, "operator": operator, "value": value}
