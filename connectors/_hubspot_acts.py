"""HubSpot's activities as acts, and notes on its timeline.  In: cursors, notes.  Out: acts, receipts.

Calls, meetings, e-mails, notes and tasks are objects like others, each walked by modified time.  One with several
contacts is an act of each.  Sources: developers.hubspot.com, "Activities" (calls, meetings, email, notes, tasks; mirror
of April 2026), "Associate records" (type ids).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from connectors import _hubspot_around as around
from connectors import _hubspot_walk as walk
from connectors import _timeline as timeline
from connectors._cursor import Turns
from connectors._hubspot_calls import REFUSALS, Contacts
from connectors._hubspot_wire import fault_of, problem, time
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
    Record,
    Ref,
    TryLater,
)

PROPERTIES: Final[Mapping[str, tuple[str, ...]]] = {
    "calls": ("hs_call_title", "hs_call_direction", "hs_call_status", "hs_call_disposition"),
    "meetings": ("hs_meeting_title", "hs_meeting_start_time", "hs_meeting_outcome"),
    "emails": ("hs_email_subject", "hs_email_direction", "hs_email_status"),
    "notes": ("hs_note_body",),
    "tasks": ("hs_task_subject", "hs_task_status"),
}
COMMON: Final = ("hs_timestamp", "hubspot_owner_id")
NOTE_TO_CONTACT: Final = 202  # "Associate records"

# Outcomes of calls are GUIDs, the same in every account ("Calls").
_DISPOSITIONS: Final[Mapping[str, Ending]] = {
    "9d9162e7-6cf3-4944-bf63-4dff82258764": Ending.BUSY,
    "f240bbac-87c9-4f6e-bf70-924b57d47db7": Ending.CONNECTED,
    "a4c4c377-d246-4b32-a13b-75a56a4cd0ff": Ending.LEFT_MESSAGE,
    "b2cf5968-551e-4856-9783-52b3da59a7d0": Ending.LEFT_MESSAGE,
    "73a0d17f-1163-4015-bdd5-ec830791da20": Ending.NO_ANSWER,
    "17b47fee-58de-441e-a44c-c6300d46f273": Ending.WRONG_NUMBER,
}
_CALLS: Final[Mapping[str, Ending]] = {
    "BUSY": Ending.BUSY,
    "CANCELED": Ending.CANCELLED,
    "COMPLETED": Ending.HELD,
    "FAILED": Ending.FAILED,
    "NO_ANSWER": Ending.NO_ANSWER,
    **dict.fromkeys(("CALLING_CRM_USER", "CONNECTING", "IN_PROGRESS", "QUEUED", "RINGING"), Ending.PLANNED),
}
_MEETINGS: Final[Mapping[str, Ending]] = {
    "SCHEDULED": Ending.PLANNED,
    "RESCHEDULED": Ending.PLANNED,
    "COMPLETED": Ending.HELD,
    "NO_SHOW": Ending.NO_SHOW,
    "CANCELED": Ending.CANCELLED,
}
_MAILS: Final[Mapping[str, Ending]] = {
    "BOUNCED": Ending.FAILED,
    "FAILED": Ending.FAILED,
    "SCHEDULED": Ending.PLANNED,
    "SENDING": Ending.PLANNED,
    "SENT": Ending.SENT,
}


_TURNS: Final = Turns("hubspot", PROPERTIES, walk.Poll)


def acts(kinds: Mapping[str, Contacts], cursor: str | None) -> ActPage:
    """One page of one kind of activity; the kinds take turns until none has more."""
    name, states = _TURNS.load(cursor)
    state = walk.begin(states[name] if name in states else walk.Poll(0))
    records = kinds[name]
    found = records.search(walk.query(state, records.modified), limit=walk.PAGE)
    following, more = walk.advance(state, found.records, full=found.full, now=found.at)
    fresh = [r for r in walk.fresh(state, found.records) if not _ours(r)]
    people = around.associated(records, name, "contacts", [r.id for r in fresh]) if fresh else {}
    told = [act for r in fresh for tie in people.get(r.id, ()) if (act := _act(name, r, tie.id)) is not None]
    cursor, more = _TURNS.dump(name, {**states, name: following}, more=more)
    return ActPage(tuple(told), cursor, more=more)


def _act(name: str, found: Record, contact: str) -> Act | None:
    """One activity as an act of one contact; None where it has no time."""
    f = found.fields
    moment = time(f.get("hs_meeting_start_time")) if name == "meetings" else None
    moment = moment if moment is not None else time(f.get("hs_timestamp"))
    if moment is None:
        return None
    kind, channel, outcome, human = _kind(name, f)
    owner = f.get("hubspot_owner_id")
    title = next((f[n] for n in PROPERTIES[name] if n.endswith(("_title", "_subject")) and f.get(n)), None)
    return Act(
        id=f"{name}:{found.id}:{contact}",
        who=Ref(contact),
        kind=kind,
        at=moment,
        human=human,
        by=Ref(str(owner)) if owner is not None else None,
        channel=channel,
        outcome=outcome,
        detail={"title": str(title)} if title is not None else {},
    )


def _kind(name: str, f: Mapping[str, Any]) -> tuple[Doing, str | None, Ending | None, bool | None]:
    if name == "calls":
        status = _CALLS.get(str(f.get("hs_call_status")))
        outcome = _DISPOSITIONS.get(str(f.get("hs_call_disposition")), status)
        inbound = f.get("hs_call_direction") == "INBOUND"
        return (Doing.REPLY if inbound else Doing.CALL), "phone", outcome, True
    if name == "meetings":
        return Doing.MEETING, "meeting", _MEETINGS.get(str(f.get("hs_meeting_outcome"))), True
    if name == "emails":
        if f.get("hs_email_direction") == "INCOMING_EMAIL":
            return Doing.REPLY, "email", Ending.RECEIVED, True
        # A sequence sends in a person's name: who did it is not said.
        return Doing.MAIL, "email", _MAILS.get(str(f.get("hs_email_status"))), None
    if name == "notes":
        return Doing.NOTE, None, None, None
    return Doing.TASK, None, Ending.DONE if f.get("hs_task_status") == "COMPLETED" else Ending.OPEN, None


# --- notes ------------------------------------------------------------------------------------------------------------


def _ours(found: Record) -> bool:
    return timeline.OURS in str(found.fields.get("hs_note_body"))


def write(notes: Contacts, wanted: Sequence[Note]) -> list[Receipt]:
    """One call each.  HubSpot has no key that would keep a note from standing twice, so after a try one looks first."""
    return timeline.write(wanted, lambda note: _one(notes, note))


def _one(notes: Contacts, note: Note) -> Receipt:
    if note.again and (there := _standing(notes, note)) is not None:
        return Done(note.key, there)
    response = notes.create_one(
        {"hs_timestamp": note.at.isoformat(), "hs_note_body": f"{note.text} {timeline.mark(note.key)}"},
        [_to(note.id)],
    )
    if response.status_code == 404:
        return Gone(note.key, "hubspot: no contact has this id")
    if response.status_code in REFUSALS:
        return Failed(note.key, problem(fault_of(response), [*notes.secrets, note.text], status=response.status_code))
    answer = notes.json(response)
    if not isinstance(answer, Mapping) or answer.get("id") is None:
        raise TryLater("hubspot: the answer to a note is no note", landed=True)
    return Done(note.key, str(answer["id"]))


def _to(contact: str) -> dict[str, Any]:
    type_ = {"associationCategory": "HUBSPOT_DEFINED", "associationTypeId": NOTE_TO_CONTACT}
    return {"to": {"id": contact}, "types": [type_]}


def _standing(notes: Contacts, note: Note) -> str | None:
    """The note of an earlier try, among those of the contact."""
    ids = [tie.id for tie in around.associated(notes, "contacts", "notes", [note.id]).get(note.id, ())]
    return next(
        (r.id for r in _newest(notes, ids) if timeline.mark(note.key) in str(r.fields.get("hs_note_body"))), None
    )


def _newest(notes: Contacts, ids: Sequence[str]) -> Iterable[Record]:
    """Ids grow, and what we tried is new."""
    return notes.by(None, sorted(ids, key=int, reverse=True)[:100])
