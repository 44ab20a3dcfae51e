"""How to read all changes from Pipedrive's lists.  In: a cursor, one page.  Out: the next cursor.  Pure.

The first walk goes by id.  A poll asks for what changed at or after the last time seen, oldest first.  Between pages
the vendor's own cursor leads on; it names the last record, not an offset, so what changes meanwhile pushes nobody over
a page border.  A cursor that the vendor does not take any more starts its walk again: a poll from the newest change
that it had seen.

Source: the vendor's OpenAPI document of API v2, ``GET /persons``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

from connectors._cursor import Cursor
from connectors._pipedrive_wire import time

OVERLAP: Final = timedelta(minutes=5)  # re-read at each poll: a change may become visible late; ours
RESTARTS: Final = 3  # how often a walk starts again before a person is asked; ours
STAMP: Final = "%Y-%m-%dT%H:%M:%SZ"
FIRST: Final = "1970-01-01T00:00:00Z"


@dataclass(frozen=True, slots=True)
class Listing:
    """The first walk over everything, by id."""

    since: str = ""  # when it began, by the server's clock: polling goes on from there
    at: str | None = None  # the vendor's cursor
    restarts: int = 0


@dataclass(frozen=True, slots=True)
class Poll:
    """Polling.  Between polls only the first says something; the rest is the poll under way."""

    since: str  # all that changed before this has been read
    start: str | None = None  # the lists ask for what changed at or after this
    began: str | None = None  # the server's clock at its first answer
    top: str = FIRST  # the newest change of this poll
    at: str | None = None  # the vendor's cursor
    restarts: int = 0


_CURSOR: Final = Cursor("pipedrive", Listing, Poll)
dump = _CURSOR.dump


def load(cursor: str | None) -> Listing | Poll:
    """Where to go on; Refused for a text that is not ours."""
    if cursor is None:
        return Listing()
    state = _CURSOR.load(cursor)
    return begin(state) if isinstance(state, Poll) else state


def begin(state: Poll) -> Poll:
    """A poll that is under way: this one, or a new one that starts ``OVERLAP`` before what is known."""
    return state if state.start is not None else replace(state, start=_earlier(state.since))


def again(state: Listing | Poll) -> Listing | Poll | None:
    """The walk without the vendor's cursor, which it refused; None where there was none, or it happens all the time."""
    if state.at is None or state.restarts >= RESTARTS:
        return None
    if isinstance(state, Listing):
        return replace(state, at=None, restarts=state.restarts + 1)
    start = max(_earlier(state.top), state.start if state.start is not None else FIRST)
    return replace(state, start=start, at=None, restarts=state.restarts + 1)


def query(state: Listing | Poll) -> dict[str, Any]:
    """The parameters of the next list."""
    made: dict[str, Any] = {"sort_by": "id", "sort_direction": "asc"}
    if isinstance(state, Poll):
        made["sort_by"] = "update_time"
        if state.start != FIRST:  # from the beginning on, those without a time come, too
            made["updated_since"] = state.start
    return made if state.at is None else {**made, "cursor": state.at}


def advance(
    state: Listing | Poll, changed: Iterable[datetime], following: str | None, now: datetime | None
) -> tuple[Listing | Poll, bool]:
    """Where to go on after this page, and whether this walk goes on.

    ``changed``: when the page's records changed.  ``following``: the vendor's next cursor.  ``now``: its clock.
    """
    newest = max(changed, default=None)
    if isinstance(state, Listing):
        # Whatever changes after the first page was asked for is newer than all that it shows.
        since = state.since if state.since else _stamp(now if now is not None else newest)
        return (Poll(since), False) if following is None else (replace(state, since=since, at=following), True)
    began = state.began if state.began is not None or now is None else _stamp(now)
    state = replace(state, top=max(state.top, _stamp(newest)), began=began)
    if following is not None:
        return replace(state, at=following), True
    # The server's clock, since a second that is not over may still get more; its newest change where it tells none.
    return Poll(max(state.since, state.began if state.began is not None else state.top)), False


def _stamp(moment: datetime | None) -> str:
    return FIRST if moment is None else moment.strftime(STAMP)


def _earlier(text: str) -> str:
    at = time(text)
    return FIRST if at is None or text == FIRST else _stamp(at - OVERLAP)
