"""The walk over changed contacts.  In: a cursor, pages.  Out: the next cursor.  Pure.

Brevo sorts by creation only and pages by offset.  Who changes during a walk comes into it where he stands, which moves
the rest forward: they come twice, and he comes with the next walk, as it begins where this one began.  Who is deleted
moves the rest back: each page begins a little before the end of the last one, and where nobody of its end is met again,
the walk goes back until it meets them.

Source: the contract (see ``_brevo_wire``), ``get_contacts``.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from connectors._brevo_wire import time
from connectors.contract import Record, Refused

KEPT: Final = 5  # how many of a page's end the next one has to show again one of; ours
OVERLAP: Final = timedelta(minutes=5)  # each walk looks back so far: a change may become visible late; ours


@dataclass(frozen=True, slots=True)
class Walk:
    """Where a walk stands.

    ``since``: changes from then on, None = everybody.  ``start``: when it began, by the vendor's clock.  ``last``: the
    end of the last page.
    """

    since: str | None = None
    start: str | None = None
    offset: int = 0
    last: tuple[str, ...] = ()

    @property
    def bound(self) -> datetime | None:
        """From when on contacts are asked for."""
        since = time(self.since)
        return None if since is None else since - OVERLAP


def advance(
    walk: Walk, records: Sequence[Record], *, size: int, count: int | None, now: datetime | None
) -> tuple[Walk, bool]:
    """The walk after this page, and whether it goes on."""
    start = walk.start
    if start is None:
        newest = max((r.modified for r in records if r.modified is not None), default=None)
        at = now if now is not None else newest
        start = at.isoformat() if at is not None else walk.since
    ids = [r.id for r in records]
    if walk.offset and walk.last and not set(walk.last) & set(ids):
        return replace(walk, start=start, offset=max(0, walk.offset - size)), True
    # Whether `count` is that of the filter is not documented: it alone prolongs no walk that meets nobody new.
    end = walk.offset + len(ids)
    fresh = set(ids) - set(walk.last)
    if fresh and (len(ids) >= size or (count is not None and end < count)):
        kept = min(KEPT, len(ids) - 1)
        return Walk(walk.since, start, end - kept, tuple(ids[len(ids) - kept :])), True
    return Walk(since=start), False


def dump(walk: Walk) -> str:
    """As text."""
    return json.dumps({name: value for name, value in asdict(walk).items() if value})


def load(cursor: str) -> Walk:
    """From text.  Refused for what is no cursor of ours."""
    try:
        saved = json.loads(cursor)
        since, start = saved.get("since"), saved.get("start")
        if any(text is not None and time(text) is None for text in (since, start)):
            raise ValueError
        return Walk(since, start, int(saved.get("offset", 0)), tuple(map(str, saved.get("last", ()))))
    except (ValueError, TypeError, AttributeError):
        raise Refused("brevo: this is not a cursor of ours: start again without one", code="cursor") from None
