"""How to read all changes from pages of contacts.  In: a cursor, one page.  Out: the next cursor.  Pure.

Every walk goes upwards by id within fixed bounds: what changes meanwhile moves nobody, and comes with the next walk.

``filters[updated_after]`` may compare with the account's own time and overlook an offset, which is not said.  So the
bound is written in the account's zone, as its contacts show it: then either reading is right, but for the hour by which
clocks are set back, which the overlap covers.

Whether a change of a state on a list moves a contact's time is not said either.  So every few hours those who are
unsubscribed from or bounced on the list that speaks for consent are walked over as well.

Accounts, deals and tasks have no such bound by id: they are walked by offset (``Round``).  What is deleted meanwhile
moves the rest forward, which the total shows: then the walk goes back by as many.
Source: developers.activecampaign.com/reference/list-all-contacts (``id_greater``, ``status``, ``listid``, filters).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, Final

from pydantic import TypeAdapter

from connectors._activecampaign_wire import time
from connectors.contract import Record, Refused

OVERLAP: Final = timedelta(minutes=65)  # an hour for clocks that are set back, five minutes for late ones; ours
FARTHEST: Final = timedelta(hours=12)  # the zone farthest to the west, while the account's is not known
SWEEP: Final = timedelta(hours=6)  # between two walks over all who were stopped; ours
EVERYBODY: Final = "everybody"
CHANGES: Final = "changes"
STOPS: Final = "stops"
BOUNCES: Final = "bounces"
_STATUS: Final = {STOPS: 2, BOUNCES: 3}
_NOT_OURS: Final = "activecampaign: this cursor was not made here; start again without one"
_PARTS: Final = frozenset({"", EVERYBODY, CHANGES, STOPS, BOUNCES})


@dataclass(frozen=True, slots=True)
class Walk:
    """Where a walk stands.  Between polls it has no ``part``."""

    since: str | None = None  # all that changed before this was read
    swept: str | None = None  # when those who were stopped were last walked over
    zone: int | None = None  # of the account, in minutes
    part: str = ""
    after: int = 0  # the id to go on from
    began: str | None = None  # the server's clock at the first page


def load(cursor: str | None) -> Walk:
    """A cursor's text back into its state; Refused for a text that is not ours."""
    if cursor is None:
        return Walk(part=EVERYBODY)
    try:
        walk = Walk(**json.loads(cursor))
        if walk.part not in _PARTS or walk.after < 0 or (walk.part != EVERYBODY and time(walk.since) is None):
            raise ValueError(walk.part)
    except (ValueError, TypeError):
        raise Refused(_NOT_OURS, code="cursor") from None
    return walk if walk.part else replace(walk, part=CHANGES)


def dump(walk: Walk) -> str:
    """The state as text."""
    return json.dumps({k: v for k, v in asdict(walk).items() if v not in (None, "", 0) or k == "zone"})


def query(walk: Walk, list_id: str) -> dict[str, Any]:
    """What the next page asks for, beside its place."""
    if walk.part in _STATUS:
        return {"listid": list_id, "status": _STATUS[walk.part]}
    if walk.part == EVERYBODY:
        return {"status": -1}
    return {"status": -1, "filters[updated_after]": bound(walk)}


def bound(walk: Walk) -> str:
    """The time after which changes are asked for."""
    since = time(walk.since)
    if since is None:
        raise Refused("activecampaign: a cursor without a time", code="cursor")
    if walk.zone is None:
        return (since - OVERLAP - FARTHEST).isoformat(timespec="seconds")
    return (since - OVERLAP).astimezone(timezone(timedelta(minutes=walk.zone))).isoformat(timespec="seconds")


def advance(
    walk: Walk, page: Sequence[Record], last: int | None, *, more: bool, now: datetime | None, zone: int | None
) -> tuple[Walk, bool]:
    """Where to go on after this page, and whether the walk goes on."""
    walk = replace(walk, zone=walk.zone if zone is None else zone)
    if walk.began is None and now is not None:
        walk = replace(walk, began=_text(now))
    if walk.began is None:  # no clock: the newest change seen so far, which gives some again
        newest = max((one.modified for one in page if one.modified is not None), default=None)
        began = newest if newest is not None else time(walk.since)
        walk = replace(walk, began=_text(began if began is not None else datetime(1970, 1, 1, tzinfo=UTC)))
    if more and last is not None:
        return replace(walk, after=last), True
    began = time(walk.began)
    swept = time(walk.swept)
    if walk.part == CHANGES and (swept is None or began is None or began - swept >= SWEEP):
        return replace(walk, part=STOPS, after=0), True
    if walk.part == STOPS:
        return replace(walk, part=BOUNCES, after=0), True
    seen = walk.swept if walk.part == CHANGES else walk.began
    known = [text for text in (walk.since, walk.began) if text is not None]
    return Walk(since=max(known, default=None), swept=seen, zone=walk.zone), False


def _text(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="seconds")


# --- by offset --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Round:
    """Where a walk by offset stands.  Between walks only ``since`` says something."""

    since: str | None = None  # all that changed before this was read
    began: str | None = None  # the server's clock at the first page
    offset: int = 0
    total: int | None = None


_ROUNDS: Final = TypeAdapter(Round)


def load_round(cursor: str | None) -> Round:
    """As ``load``."""
    if cursor is None:
        return Round()
    try:
        found = _ROUNDS.validate_json(cursor)
        if found.offset < 0 or (found.since is not None and time(found.since) is None):
            raise ValueError(cursor)
    except ValueError:
        raise Refused(_NOT_OURS, code="cursor") from None
    return found


def dump_round(state: Round) -> str:
    """As ``dump``."""
    return json.dumps({k: v for k, v in asdict(state).items() if v not in (None, 0)})


def before(state: Round, span: timedelta) -> datetime | None:
    """So long before what is known; None in the walk over all."""
    since = time(state.since)
    return None if since is None else since - span


def onward(
    state: Round, count: int, size: int, *, total: int | None, now: datetime | None, newest: datetime | None
) -> tuple[Round, bool]:
    """Where to go on after a page of so many, and whether the walk goes on."""
    at = now if now is not None else newest  # no clock: the newest change, which gives some again
    began = state.began if state.began is not None or at is None else _text(at)
    gone = 0 if state.total is None or total is None else max(0, state.total - total)
    offset = max(0, state.offset - gone) if gone else state.offset + count
    if (gone > 0 or count > 0) and (count >= size if total is None else offset < total):
        return Round(state.since, began, offset, total), True
    return Round(since=max([at for at in (state.since, began) if at is not None], default=None)), False
