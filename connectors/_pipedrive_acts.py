"""Pipedrive's activities, notes and last mails as acts, and notes on a person's timeline.  In: cursors, notes.  Out:
acts, receipts.

Activities and notes are walked by the time of their change.  Of mails a list tells no more than when the last one came
from a person and went to a person, so each poll tells of those two at most.  Call logs are not read: their list shows
those of one user, and knows no time of change.

Sources: the vendor's OpenAPI documents of API v2 (``/activities``, ``/persons``: ``include_fields``) and v1
(``/notes``).
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from connectors import _pipedrive_around as around
from connectors import _pipedrive_walk as walk
from connectors import _timeline as timeline
from connectors._cursor import Turns
from connectors._pipedrive_calls import GONE, REFUSALS, Found, Persons, walked
from connectors._pipedrive_wire import UPDATED, id_of, is_id, moment, refusal, rows
from connectors.contract import (
    Act,
    ActPage,
    Doing,
    Done,
    Ending,
    Failed,
    Gone,
    Note,
    Receipt,
    Ref,
    Refused,
    TryLater,
)

ACTIVITIES, NOTES, MAILS = "activities", "notes", "mails"
SIZE: Final = 200  # rows of a page; notes come with their whole text, persons with all their fields; ours
LOOKED_AT: Final = 100  # newest notes of a person among which one of an earlier try is looked for; ours
KINDS: Final[Mapping[str, Doing]] = {  # types that every account begins with; ``activity_types`` says what others are
    "call": Doing.CALL,
    "meeting": Doing.MEETING,
    "lunch": Doing.MEETING,
    "email": Doing.MAIL,
    "task": Doing.TASK,
    "deadline": Doing.TASK,
}
OWN: Final[Mapping[str, Doing]] = {str(d): d for d in (Doing.CALL, Doing.MEETING, Doing.MAIL, Doing.TASK)}
"""What a type of one's own may stand for."""
_CHANNELS: Final = {Doing.CALL: "phone", Doing.MEETING: "meeting", Doing.MAIL: "email"}
_ENDS: Final = {  # (not done, done)
    Doing.CALL: (Ending.PLANNED, Ending.HELD),
    Doing.MEETING: (Ending.PLANNED, Ending.HELD),
    Doing.MAIL: (Ending.PLANNED, Ending.SENT),
    Doing.TASK: (Ending.OPEN, Ending.DONE),
}
_LAST: Final = {"last_incoming_mail_time": "in", "last_outgoing_mail_time": "out"}
_TURNS: Final = Turns("pipedrive", (ACTIVITIES, NOTES, MAILS), walk.Poll)

Row = Mapping[str, Any]


def acts(persons: Persons, kinds: Mapping[str, Doing], cursor: str | None) -> ActPage:
    """One page of activities, notes or mails, which take turns until none has more; notes rarely."""
    name, states = _TURNS.load(cursor)
    state: walk.Listing | walk.Poll = walk.begin(states[name] if name in states else walk.Poll(walk.FIRST))
    if name == NOTES:
        assert isinstance(state, walk.Poll)  # noqa: S101 - said above
        found = _notes(persons, state)
    elif name == ACTIVITIES:
        found, state = walked(lambda query: persons.listed("/v2/activities", query, size=SIZE), state)
    else:
        more = {"include_fields": ",".join(_LAST)}
        found, state = walked(lambda query: persons.listed("/v2/persons", {**query, **more}, size=SIZE), state)
    times = [at for row in found.rows if (at := moment(row.get(UPDATED))) is not None]
    following, again = walk.advance(state, times, found.following, found.at)
    assert isinstance(following, walk.Poll)  # noqa: S101 - a poll goes on as one
    states[name] = following
    told: list[Act] = []
    for row in found.rows:
        if row.get("is_deleted") is not True:
            told += _activity(row, kinds) if name == ACTIVITIES else _note(row) if name == NOTES else _mails(row)
    cursor, again = _TURNS.dump(name, states, more=again, skip=around.resting(states, {NOTES}, found.at))
    return ActPage(tuple(told), cursor, more=again)


def _notes(persons: Persons, state: walk.Poll) -> Found:
    """One page of notes.  API v1 pages by offset alone, so the page goes on at the newest time that was seen.

    An offset is counted within one second only, where a page holds nothing else.
    """
    given = state.at if state.at is not None else f"{state.start}|0"
    since, _, offset = given.partition("|")
    if not offset.isdecimal():
        raise Refused("pipedrive: this cursor was not made here; start again without one", code="cursor")
    params: dict[str, Any] = {"sort": "update_time ASC", "start": int(offset), "limit": SIZE}
    if since != walk.FIRST:
        params["updated_since"] = since
    body, at = persons.asked("/v1/notes", params)
    found = rows(body)
    newest = max((at for row in found if (at := moment(row.get(UPDATED))) is not None), default=None)
    top = since if newest is None else newest.strftime(walk.STAMP)
    following = f"{top}|0" if top > since else f"{since}|{int(offset) + len(found)}"
    return Found(tuple(found), following if found and around.goes_on(body) else None, at)


def _activity(row: Row, kinds: Mapping[str, Doing]) -> list[Act]:
    """An activity as an act of each person who takes part."""
    id_, at = id_of(row.get("id")), _moment(row, kinds)
    if id_ is None or at is None:
        return []
    given = row.get("participants")
    people = [p.get("person_id") for p in given if isinstance(p, Mapping)] if isinstance(given, list) else []
    kind, done = _kind(row, kinds), row.get("done") is True
    every = (id_of(p) for p in [row.get("person_id"), *people])
    title, by = row.get("subject"), id_of(row.get("owner_id"))
    return [
        Act(
            id=f"{ACTIVITIES}:{id_}:{who}",
            who=Ref(who),
            kind=kind,
            at=at,
            human=True if kind in {Doing.CALL, Doing.MEETING} else None,
            by=Ref(by) if by is not None else None,
            channel=_CHANNELS.get(kind),
            outcome=_ENDS[kind][done],
            deal=id_of(row.get("deal_id")),
            detail={"title": str(title)} if title else {},
        )
        for who in dict.fromkeys(i for i in every if i is not None)
    ]


def _kind(row: Row, kinds: Mapping[str, Doing]) -> Doing:
    type_ = str(row.get("type"))
    return kinds.get(type_, KINDS.get(type_, Doing.TASK))


def _moment(row: Row, kinds: Mapping[str, Doing]) -> datetime | None:
    """When it was, or is to be: a meeting at its hour, anything else when it was marked as done."""
    day, hour = row.get("due_date"), row.get("due_time")
    due = moment(f"{day} {hour if isinstance(hour, str) and hour else '00:00'}")  # in UTC
    done = moment(row.get("marked_as_done_time")) if row.get("done") is True else None
    first = (due, done) if _kind(row, kinds) is Doing.MEETING else (done, due)
    return next((at for at in (*first, moment(row.get("add_time"))) if at is not None), None)


def _note(row: Row) -> list[Act]:
    """A note on a person; one on a deal or an organization alone is about nobody in particular."""
    id_, who, by = (id_of(row.get(n)) for n in ("id", "person_id", "user_id"))
    at = moment(row.get("add_time"))
    if (
        id_ is None
        or who is None
        or at is None
        or row.get("active_flag") is False
        or timeline.OURS in str(row.get("content"))
    ):
        return []
    deal = id_of(row.get("deal_id"))
    return [Act(f"{NOTES}:{id_}:{who}", Ref(who), Doing.NOTE, at, by=Ref(by) if by is not None else None, deal=deal)]


def _mails(row: Row) -> list[Act]:
    """The last mails from and to a person.  One to them may be a sequence's: who did it is not said."""
    who = id_of(row.get("id"))
    told = {way: moment(row.get(name)) for name, way in _LAST.items()}
    made = []
    for way, at in told.items():
        if who is not None and at is not None:
            theirs = way == "in"
            made.append(
                Act(
                    id=f"{MAILS}:{who}:{way}:{at:%Y%m%d%H%M%S}",
                    who=Ref(who),
                    kind=Doing.REPLY if theirs else Doing.MAIL,
                    at=at,
                    human=True if theirs else None,
                    channel="email",
                    outcome=Ending.RECEIVED if theirs else Ending.SENT,
                )
            )
    return made


# --- notes ------------------------------------------------------------------------------------------------------------


def write(persons: Persons, wanted: Sequence[Note]) -> list[Receipt]:
    """One call each.  Pipedrive has no key that keeps a note from standing twice, so after a try one looks first."""
    return timeline.write(wanted, lambda note: _one(persons, note))


def _one(persons: Persons, note: Note) -> Receipt:
    if not is_id(note.id):
        return Gone(note.key, "pipedrive: no person has this id")
    if note.again and (there := _standing(persons, note)) is not None:
        return Done(note.key, there)
    text = html.escape(f"{note.text} {timeline.mark(note.key)}", quote=False).replace("\n", "<br>")
    body = {"content": text, "person_id": int(note.id), "add_time": f"{note.at:%Y-%m-%d %H:%M:%S}"}
    response = persons.send("POST", "/v1/notes", json=body, take=REFUSALS)
    if response.status_code >= 400:
        # Which answer an unknown person gets is not documented, so a list is asked.
        if not persons.rows([note.id]):
            return Gone(note.key, "pipedrive: no person has this id")
        if response.status_code in GONE:
            raise TryLater("pipedrive: 404 for a person that is there")
        return Failed(note.key, refusal(response, {**body, "text": note.text}, persons.secrets))
    return Done(note.key, str(persons.shown(response)["id"]))


def _standing(persons: Persons, note: Note) -> str | None:
    """The note of an earlier try, among the newest of the person."""
    params = {"person_id": note.id, "sort": "id DESC", "start": 0, "limit": LOOKED_AT}
    found = rows(persons.ask("/v1/notes", params))
    return next(
        (i for r in found if timeline.mark(note.key) in str(r.get("content")) and (i := id_of(r.get("id")))), None
    )
