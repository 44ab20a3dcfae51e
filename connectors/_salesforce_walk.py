"""How to read all people and all changes in pages.  In: a cursor, one page.  Out: the next cursor.  Pure.

The first walk goes by id, object after object.  A poll goes by (SystemModstamp, Id), never by offset or query locator:
a locator lives two days and is lost in a restart, and what changes meanwhile pushes nothing over a page border.

Sources: developer.salesforce.com, "SOQL and SOSL Reference"; equal times at a page border:
github.com/supaglue-labs/supaglue/issues/532; changes that LastModifiedDate does not show:
github.com/bruin-data/ingestr/issues/695.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final

from connectors._cursor import Cursor
from connectors._salesforce_wire import CONTACT, ENTITIES, LEAD, MODIFIED, Row, quoted, stamp, time
from connectors.contract import TryLater

OVERLAP: Final = timedelta(minutes=5)  # re-read at each poll: a transaction may commit after the time it set; ours
FEED: Final = timedelta(days=14)  # how far back the delete feed is asked; it keeps 15 days ("Get Deleted")
ORDER: Final = (LEAD, CONTACT)  # of a poll: a conversion is told by the lead before its contact comes as somebody new
_FIRST: Final = "1970-01-01T00:00:00.000Z"


@dataclass(frozen=True, slots=True)
class Listing:
    """The first walk over everybody."""

    since: str  # the server's clock when it began: polling goes on from there
    entity: int = 0  # place in ENTITIES
    after: str | None = None
    total: int | None = None


@dataclass(frozen=True, slots=True)
class Poll:
    """Polling.  Between polls only the first says something; the rest is the poll under way."""

    since: str  # all that changed before this has been read
    entity: int = 0  # place in ORDER
    start: str | None = None  # the last time seen
    after: str | None = None  # the last id of that time
    began: str | None = None  # the server's clock at its first answer


_CURSOR: Final = Cursor("salesforce", Listing, Poll, lambda state: state.entity in range(len(ENTITIES)))
load, dump = _CURSOR.load, _CURSOR.dump


def listing(state: Listing, entities: Sequence[str] = ENTITIES) -> tuple[str, str, str]:
    """Object, condition and order of the next page of the first walk.  Converted leads are contacts by now."""
    entity = entities[min(state.entity, len(entities) - 1)]
    parts = [live(entity), f"Id > {quoted(state.after)}" if state.after is not None else ""]
    return entity, " AND ".join(p for p in parts if p), "Id"


def live(entity: str) -> str:
    """The condition for those who are people of their own."""
    return "IsConverted = false" if entity == LEAD else ""


def listed(
    state: Listing, page: Sequence[Row], *, full: bool, entities: Sequence[str] = ENTITIES
) -> tuple[Listing | Poll, bool]:
    """Where to go on after this page, and whether the walk goes on."""
    if full:
        return replace(state, after=page[-1].record.id), True
    if state.entity + 1 < len(entities):
        return replace(state, entity=state.entity + 1, after=None), True
    return Poll(state.since), False


def window(state: Poll) -> datetime:
    """Where this poll starts."""
    since = time(state.since)
    return since - OVERLAP if since is not None and state.since != _FIRST else datetime.fromtimestamp(0, UTC)


def query(state: Poll, order: Sequence[str] = ORDER, column: str = MODIFIED) -> tuple[str, str, str]:
    """Object, condition and order of the next page.  ``column``: the time that is walked by."""
    start = state.start if state.start is not None else stamp(window(state))
    where = f"{column} >= {start}"
    if state.after is not None:
        where += f" AND ({column} > {start} OR Id > {quoted(state.after)})"
    return order[min(state.entity, len(order) - 1)], where, f"{column}, Id"


def polled(
    state: Poll, page: Sequence[Row], *, full: bool, now: datetime | None, order: Sequence[str] = ORDER
) -> tuple[Poll, bool]:
    """Where to go on after this page, and whether this poll goes on."""
    began = state.began if state.began is not None or now is None else stamp(now)
    if full:
        at = page[-1].record.modified
        if at is None:
            raise TryLater(f"salesforce: a row without {MODIFIED}")
        return replace(state, start=stamp(at), after=page[-1].record.id, began=began), True
    if state.entity + 1 < len(order):
        return Poll(state.since, state.entity + 1, began=began), True
    # The server's clock; without it the next poll reads the same again.
    return Poll(max(state.since, began) if began is not None else state.since), False


def first(at: datetime | None) -> str:
    """When a walk began; the beginning of time where the server tells none."""
    return _FIRST if at is None else stamp(at)


def feed(state: Poll) -> tuple[datetime, datetime] | None:
    """From when to when the delete feed is asked; None where the server's clock is unknown."""
    end = time(state.began)
    return None if end is None else (min(max(window(state), end - FEED), end - OVERLAP), end)
