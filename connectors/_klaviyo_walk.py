"""How to read all changes from pages of 100 profiles.  In: a cursor, one page.  Out: the next cursor.  Pure.

``updated`` can be asked for "greater than" only, and whether a cursor of Klaviyo's counts rows or remembers a place is
not said.  So each page asks again from the second before the last time seen, and a cursor is followed only within a
second that has more profiles than a page.  What changes meanwhile moves to the end and pushes nothing out of sight.

Whether a change of consent moves ``updated`` is not said either: each poll first asks for suppressions by their own
time.  Source: Klaviyo's OpenAPI document 2026-07-15, ``GET /api/profiles``: filters, sorts.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from connectors._klaviyo_wire import time
from connectors.contract import Record, Refused, TryLater

OVERLAP: Final = timedelta(minutes=5)  # each poll looks back so far: a change may be listed late; ours
STAMP: Final = "%Y-%m-%dT%H:%M:%SZ"  # with an offset the plus sign was read as a blank (klaviyo-api-python, issue 3)
_UPDATED: Final = "updated"
_STOPPED: Final = "subscriptions.email.marketing.suppression.timestamp"
_SECOND: Final = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Walk:
    """Where a walk stands.  Between polls only ``since`` says something."""

    since: str | None = None  # all that changed before this was read; None: the first walk
    part: str = ""  # of a poll under way: "stops", then "changes"
    start: str | None = None  # the list asks for what changed after this
    began: str | None = None  # the server's clock at the first page
    top: str | None = None  # the newest change seen
    cursor: str | None = None  # of Klaviyo, within one second
    edge: tuple[str, ...] = ()  # what was handed out and comes again: id and time


def load(cursor: str | None) -> Walk:
    """A cursor's text back into its state; Refused for a text that is not ours."""
    if cursor is None:
        return Walk(part="changes")
    try:
        walk = Walk(**json.loads(cursor))
        if walk.part not in {"", "stops", "changes"} or (not walk.part and time(walk.since) is None):
            raise ValueError(cursor)
    except (ValueError, TypeError):
        raise Refused("klaviyo: this cursor was not made here; start again without one", code="cursor") from None
    if walk.part:
        return replace(walk, edge=tuple(walk.edge))
    since = time(walk.since)
    return Walk(walk.since, "stops", start=stamp(since - OVERLAP) if since is not None else None)


def dump(walk: Walk) -> str:
    """The state as text."""
    return json.dumps({name: value for name, value in asdict(walk).items() if value}, separators=(",", ":"))


def stamp(moment: datetime) -> str:
    """A time as filters take it."""
    return moment.strftime(STAMP)


def query(walk: Walk) -> tuple[str | None, str]:
    """Filter and order of the next page."""
    if walk.part == "stops":
        return f"greater-or-equal({_STOPPED},{walk.start})", _STOPPED
    return (None if walk.start is None else f"greater-than({_UPDATED},{walk.start})"), _UPDATED


def fresh(walk: Walk, page: Sequence[Record]) -> tuple[Record, ...]:
    """The page without what was handed out just before."""
    edge = set(walk.edge)
    return tuple(r for r in page if _mark(r) not in edge)


def advance(walk: Walk, page: Sequence[Record], following: str | None, now: datetime | None) -> tuple[Walk, bool]:
    """Where to go on after this page, and whether the walk goes on."""
    if following is not None and following == walk.cursor:
        raise TryLater("klaviyo: the next page is this page")
    times = [r.modified for r in page if r.modified is not None]
    last = max(times, default=None)
    seen = [t for t in (walk.top, stamp(last) if last is not None else None) if t is not None]
    began = walk.began if walk.began is not None or now is None else stamp(now)
    walk = replace(walk, began=began, top=max(seen, default=None))
    if walk.part == "stops":
        if following is not None:
            return replace(walk, cursor=following), True
        return replace(walk, part="changes", cursor=None), True
    if following is None:
        # The server's clock, as a second that is not over may still get more; its newest change where it tells none.
        known = [t for t in (walk.since, walk.began if walk.began is not None else walk.top) if t is not None]
        return Walk(max(known, default="1970-01-01T00:00:00Z")), False
    start = stamp(last - _SECOND) if last is not None else None
    if start is None or (walk.start is not None and start <= walk.start):
        return replace(walk, cursor=following, edge=()), True
    edge = tuple(_mark(r) for r in page if r.modified is not None and stamp(r.modified) > start)
    return replace(walk, start=start, cursor=None, edge=edge), True


def _mark(found: Record) -> str:
    return f"{found.id} {found.modified.isoformat() if found.modified is not None else ''}"
