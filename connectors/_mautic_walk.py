"""How to read all changes from lists.  In: a cursor, the ids of one page.  Out: the next cursor.  Pure.

Every walk goes by id, upwards, with a condition and never by offset: ids do not change, so nothing that happens
meanwhile pushes anybody over a page border.  The first walk is over everybody; a poll over whom a window of time
names: changed or made in it, then whose do-not-contact was set in it, then who was deleted in it.  The window is
closed by nothing but the next one, which begins where the server's clock stood when this one began.

Sources: github.com/mautic/mautic at 24271492, ``CoreBundle/Entity/CommonRepository.php`` (conditions);
github.com/mautic/developer-documentation-new, ``docs/rest_api/stats.rst`` (tables and their columns).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

from connectors._cursor import Cursor
from connectors._mautic_wire import STAMP, time
from connectors.contract import NeedsHuman

OVERLAP: Final = timedelta(minutes=5)  # read again at each poll: a transaction may commit after the time it set; ours
FIRST: Final = "1970-01-01 00:00:00"
CHANGED, OBJECTED, TIED, DELETED = "changed", "objected", "tied", "deleted"
CONTACTS: Final = (CHANGED, OBJECTED, DELETED)
COMPANIES: Final = (CHANGED, TIED, DELETED)
ACTS: Final = (CHANGED,)
_PHASES: Final = frozenset({*CONTACTS, *COMPANIES})

Where = tuple[str, str, Any]
"""(column, expression, value) of one condition; the value of ``orX`` is a list of them, without a column."""


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
    phase: str = CHANGED
    after: int = 0  # the last id of this phase


_CURSOR: Final = Cursor("mautic", Listing, Poll, lambda state: isinstance(state, Listing) or state.phase in _PHASES)
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


def query(state: Poll, of: str = "lead") -> list[Where]:
    """The conditions of the next list of this phase, besides that on the id.  ``of``: as the audit log names it."""
    start = state.start if state.start is not None else FIRST
    if state.phase == CHANGED:  # whoever was never changed has no time of change
        either: list[Where] = [("dateModified", "gte", start), ("dateAdded", "gte", start)]
        return [("", "orX", either)]
    if state.phase in {OBJECTED, TIED}:
        return [("date_added", "gte", start)]
    row: list[Where] = [("bundle", "eq", "lead"), ("object", "eq", of), ("action", "eq", "delete")]
    return [*row, ("date_added", "gte", start)]


def advance(
    state: Poll,
    last: int | None,
    *,
    full: bool,
    now: datetime | None,
    newest: datetime | None,
    phases: Sequence[str] = CONTACTS,
) -> Poll:
    """Where to go on after a page, whose last id this is; a poll without ``start`` is at its end."""
    began = state.began if state.began is not None or now is None else stamp(now)
    if began is None and newest is not None:  # a server that tells no time
        began = stamp(newest)
    if full and last is not None:
        return replace(state, began=began, after=last)
    place = phases.index(state.phase) + 1
    if place < len(phases):
        return replace(state, began=began, phase=phases[place], after=0)
    return Poll(state.since if began is None else max(state.since, began))


def on(
    state: Listing, last: int | None, *, full: bool, now: datetime | None, newest: datetime | None, total: int | None
) -> Listing | Poll:
    """Where to go on after a page of the first walk, whose last id this is; its first page tells time and total."""
    since = state.since if state.begun else stamp(now if now is not None else newest)
    total = state.total if state.begun else total
    return Listing(since, last, total, begun=True) if full and last is not None else Poll(since)


def moved(after: int, ids: Sequence[int]) -> int | None:
    """The last id of a page.  NeedsHuman where the page does not go upwards from ``after``: conditions are ignored."""
    if any(b <= a for a, b in zip([after, *ids], ids, strict=False)):
        raise NeedsHuman("mautic: the server ignores conditions or order; update Mautic (docs/vendors/mautic.md)")
    return ids[-1] if ids else None
