"""Salesforce's activities as acts, and notes as completed tasks.  In: cursors, notes.  Out: acts, receipts.

Tasks, events, e-mails and notes are walked by modified time, and events once more by their beginning: nothing in an
event says that it took place, so one that lies ahead is planned, and is told again once it has begun.  Archived rows
are read, too.  A mail that has a record of its own is told by that, not by its task.

Sources: developer.salesforce.com, "Object Reference" (Task, TaskRelation, TaskStatus, Event, EventRelation,
EmailMessage, EmailMessageRelation, ContentNote, ContentDocumentLink).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

from connectors import _salesforce_walk as walk
from connectors._cursor import Turns
from connectors._salesforce_around import Objects
from connectors._salesforce_calls import BATCH, Records
from connectors._salesforce_wire import MODIFIED, Row, entity_of, fault, full_id, id_of, listed, refusal, time
from connectors._salesforce_write import AWAY, LATER, NOBODY
from connectors.contract import (
    Act,
    ActPage,
    Doing,
    Done,
    Ending,
    Failed,
    Gone,
    Kind,
    NeedsHuman,
    Note,
    Receipt,
    Record,
    Ref,
    Refused,
    TryLater,
)

_ACTIVITY: Final = ("Subject", "Type", "ActivityDate", "WhoId", "WhatId", "OwnerId", "IsRecurrence")
_TASK: Final = (*(*_ACTIVITY, "Status", "IsClosed", "TaskSubtype", "CallType", "CallDisposition", "CompletedDateTime"),)
_EVENT: Final = (*_ACTIVITY, "StartDateTime", "IsChild")
_MAIL: Final = ("Subject", "Incoming", "Status", "MessageDate", "RelatedToId", "IsBounced")
_NOTE: Final = ("Title", "OwnerId")
_CHANGED: Final = "LastModifiedDate"  # of a note, which has no other
_LINK: Final = "ContentDocumentLink"
_DRAFT: Final = "5"  # of EmailMessage.Status
_SENDER: Final = "FromAddress"  # of EmailMessageRelation.RelationType

# "Type" is a picklist of the org's own; these are the values that a new org has.
_TYPES: Final = {"Call": Doing.CALL, "Email": Doing.MAIL, "Meeting": Doing.MEETING}
_SUBTYPES: Final = {
    "Call": Doing.CALL,
    "Email": Doing.MAIL,
    "ListEmail": Doing.SEND,
    "LinkedIn": Doing.MESSAGE,
    "Cadence": Doing.TASK,
}
_CHANNELS: Final = {
    Doing.CALL: "phone",
    Doing.REPLY: "phone",
    Doing.MAIL: "email",
    Doing.SEND: "email",
    Doing.MEETING: "meeting",
    Doing.MESSAGE: "social",
}
# CallDisposition is free text; what is not here says nothing.
_DISPOSITIONS: Final = {
    "connected": Ending.CONNECTED,
    "meaningful connect": Ending.CONNECTED,
    "no answer": Ending.NO_ANSWER,
    "busy": Ending.BUSY,
    "left voicemail": Ending.LEFT_MESSAGE,
    "left message": Ending.LEFT_MESSAGE,
    "wrong number": Ending.WRONG_NUMBER,
}


@dataclass(frozen=True, slots=True)
class _Person:
    """Somebody an activity is with.  ``id``: of the act; the main person's stays when a lead is converted."""

    who: str
    id: str
    declined: bool = False
    sender: bool = False


@dataclass(frozen=True, slots=True)
class _Walked:
    """One way to walk an object.  ``tell``: the acts of a page."""

    entity: str
    fields: tuple[str, ...]
    tell: Callable[[Objects, Sequence[Row], datetime | None], list[Act]]
    column: str = MODIFIED
    optional: bool = False  # whether there are orgs without the object


def acts(objects: Objects, cursor: str | None) -> ActPage:
    """One page of one walk; they take turns until none has more."""
    name, states = _TURNS.load(cursor)
    walked = _WALKS[name]
    if not objects.there(walked.entity) and not walked.optional:
        raise NeedsHuman(f"salesforce: the user cannot see {walked.entity}: allow it in its profile")
    if not objects.there(walked.entity) or (name == _BEGUN and _EVENTS not in states):
        cursor, more = _TURNS.dump(name, states, more=False)
        return ActPage((), cursor, more=more)
    state = states.get(name, states[_EVENTS] if name == _BEGUN else walk.Poll(_FIRST))
    entity, where, order = walk.query(state, (walked.entity,), walked.column)
    names = ["Id", *objects.has(entity, (walked.column, "CreatedDate", *walked.fields))]
    said, full, now = objects.page(entity, names, f"IsDeleted = false AND {where}", order, removed=True)
    rows = [_row(r, walked.column) for r in said]
    if name == _BEGUN:
        begun = [r for r in rows if now is not None and r.record.modified is not None and r.record.modified <= now]
        full, rows = full and len(begun) == len(rows), begun
    following, more = walk.polled(state, rows, full=full, now=now, order=(walked.entity,))
    told = walked.tell(objects, [r for r in rows if not _ours(r)], now)
    cursor, more = _TURNS.dump(name, {**states, name: following}, more=more)
    return ActPage(tuple(told), cursor, more=more)


def _row(said: Mapping[str, Any], column: str) -> Row:
    record = Record(Kind.CONTACT, id_of(said), dict(said), time(said.get(column)))
    return Row(record, deleted=False, converted=False, into=None)


# --- what was done ----------------------------------------------------------------------------------------------------


def _tasks(objects: Objects, rows: Sequence[Row], _now: datetime | None) -> list[Act]:
    rows = [r for r in rows if r.record.fields.get("IsRecurrence") is not True]  # a series; its tasks come, too
    mails = [r.record.id for r in rows if _doing(r.record.fields, Doing.TASK) in {Doing.MAIL, Doing.SEND}]
    known: set[str | None] = set()
    if mails and objects.there(_MAILS):
        known = {_id(m.get("ActivityId")) for m in objects.of(_MAILS, ["ActivityId"], "ActivityId", mails)}
    rows = [r for r in rows if r.record.id not in known]
    people = _people(objects, "Task", rows)
    return [_task(r, person) for r in rows for person in people.get(r.record.id, ())]


def _task(row: Row, person: _Person) -> Act:
    f = row.record.fields
    kind = _doing(f, Doing.TASK)
    closed = f.get("IsClosed") is True
    done = time(f.get("CompletedDateTime")) if closed else None
    outcome = Ending.DONE if closed else Ending.OPEN
    if kind is not Doing.TASK:
        outcome = Ending.SENT if closed else Ending.PLANNED
    if kind is Doing.MEETING and closed:
        outcome = Ending.HELD
    ended: Ending | None = outcome
    human = True if kind in {Doing.CALL, Doing.MEETING} else None  # a sequence mails in a person's name
    if kind is Doing.CALL and closed:
        said = f.get("CallDisposition")
        ended = _DISPOSITIONS.get(said.strip().lower()) if isinstance(said, str) and said.strip() else Ending.HELD
    if kind is Doing.CALL and f.get("CallType") == "Inbound":
        kind = Doing.REPLY
    return _act(f, person, kind, done if done is not None else _day(f), human, ended)


def _events(objects: Objects, rows: Sequence[Row], now: datetime | None) -> list[Act]:
    # A series, and the copies that invited users have.
    rows = [r for r in rows if not any(r.record.fields.get(n) is True for n in ("IsRecurrence", "IsChild"))]
    people = _people(objects, "Event", rows)
    found = []
    for row in rows:
        f = row.record.fields
        begin = time(f.get("StartDateTime"))
        at = begin if begin is not None else _day(f)
        for person in people.get(row.record.id, ()):
            outcome = Ending.PLANNED if now is not None and at > now else None
            outcome = Ending.CANCELLED if person.declined else outcome
            found.append(_act(f, person, _doing(f, Doing.MEETING), at, True, outcome))
    return found


def _sent(objects: Objects, rows: Sequence[Row], _now: datetime | None) -> list[Act]:
    rows = [r for r in rows if str(r.record.fields.get("Status")) != _DRAFT]
    ids = [r.record.id for r in rows]
    related: dict[str, list[Mapping[str, Any]]] = {}
    if objects.there("EmailMessageRelation"):
        names = ["EmailMessageId", "RelationId", "RelationType"]
        for one in objects.of("EmailMessageRelation", names, "EmailMessageId", ids):
            related.setdefault(str(_id(one.get("EmailMessageId"))), []).append(one)
    return [act for r in rows for act in _mail(r, related.get(r.record.id, []))]


def _mail(row: Row, related: Sequence[Mapping[str, Any]]) -> list[Act]:
    f = row.record.fields
    sent = time(f.get("MessageDate"))
    at = sent if sent is not None else _day(f)
    incoming = f.get("Incoming") is True
    who: dict[str, bool] = {}
    for one in related:  # somebody may be its sender and get a copy
        i = _id(one.get("RelationId"))
        if i is not None and (entity_of(i) is not None or i.startswith(_OURS)):
            who[i] = who.get(i, False) or one.get("RelationType") == _SENDER
    us = next((i for i, sender in who.items() if sender and i.startswith(_OURS)), None)
    said = {**f, "OwnerId": us, "WhatId": f.get("RelatedToId")}
    acts: list[Act] = []
    for i, sender in sorted(who.items()):
        # Of a mail that came in, whoever else was written to did nothing.
        if entity_of(i) is None or sender is not incoming:
            continue
        person = _Person(i, f"EmailMessage:{row.record.id}:{i}")
        outcome = Ending.FAILED if f.get("IsBounced") is True else Ending.SENT
        kind, human, ended = (Doing.REPLY, True, Ending.RECEIVED) if incoming else (Doing.MAIL, None, outcome)
        acts.append(replace(_act(said, person, kind, at, human, ended), channel="email"))
    return acts


def _noted(objects: Objects, rows: Sequence[Row], _now: datetime | None) -> list[Act]:
    notes = {r.record.id: r.record.fields for r in rows}
    who: set[tuple[str, str]] = set()
    if notes and objects.there(_LINK):
        of = "ContentDocumentId"  # without a condition on it Salesforce answers no query of links
        for one in objects.of(_LINK, [of, "LinkedEntityId"], of, list(notes)):
            note, linked = _id(one.get(of)), _id(one.get("LinkedEntityId"))
            if note is not None and note in notes and linked is not None and entity_of(linked) is not None:
                who.add((note, linked))
    found = []
    for note, who_id in sorted(who):
        said = {**notes[note], "Subject": notes[note].get("Title")}
        person = _Person(who_id, f"ContentNote:{note}:{who_id}")
        found.append(_act(said, person, Doing.NOTE, _day(said), None, None))
    return found


_OURS: Final = "005"  # a user
_DEAL: Final = "006"  # an opportunity


def _act(
    f: Mapping[str, Any], person: _Person, kind: Doing, at: datetime, human: bool | None, outcome: Ending | None
) -> Act:
    owner, about, title = _id(f.get("OwnerId")), _id(f.get("WhatId")), f.get("Subject")
    return Act(
        id=person.id,
        who=Ref(person.who),
        kind=kind,
        at=at,
        human=human,
        by=Ref(owner) if owner is not None and owner.startswith(_OURS) else None,  # a queue acts not
        channel=_CHANNELS.get(kind),
        outcome=outcome,
        deal=about if about is not None and about.startswith(_DEAL) else None,
        detail={"title": title} if isinstance(title, str) and title.strip() else {},
    )


def _doing(f: Mapping[str, Any], otherwise: Doing) -> Doing:
    """What kind of act it is: by the subtype, which Salesforce sets; a plain one by its type."""
    subtype = _SUBTYPES.get(str(f.get("TaskSubtype")))
    return subtype if subtype is not None else _TYPES.get(str(f.get("Type")), otherwise)


def _day(f: Mapping[str, Any]) -> datetime:
    """The day of an activity, its midnight in UTC; when it was entered, where it has none.  TryLater without both."""
    day, made = f.get("ActivityDate"), time(f.get("CreatedDate"))
    try:
        at = datetime.fromisoformat(day).replace(tzinfo=UTC) if isinstance(day, str) else made
    except ValueError:
        at = made
    if at is None:
        raise TryLater("salesforce: an activity without CreatedDate")
    return at


def _people(objects: Objects, entity: str, rows: Sequence[Row]) -> dict[str, list[_Person]]:
    """With whom: the record's own person, and whoever else is related or invited."""
    found: dict[str, dict[str, _Person]] = {}
    for row in rows:
        own = _id(row.record.fields.get("WhoId"))
        if own is not None and entity_of(own) is not None:
            found[row.record.id] = {own: _Person(own, f"{entity}:{row.record.id}")}
    relation = {"Task": "TaskRelation", "Event": "EventRelation"}[entity]
    if rows and objects.there(relation):
        of = f"{entity}Id"
        names = [of, "RelationId", *objects.has(relation, ["Status"])]
        for one in objects.of(relation, names, of, [r.record.id for r in rows]):
            activity, who = _id(one.get(of)), _id(one.get("RelationId"))
            if activity is None or who is None or entity_of(who) is None:
                continue
            here = found.setdefault(activity, {})
            person = here.get(who, _Person(who, f"{entity}:{activity}:{who}"))
            here[who] = replace(person, declined=person.declined or one.get("Status") == "Declined")
    return {i: [here[w] for w in sorted(here)] for i, here in found.items()}


def _id(value: object) -> str | None:
    return full_id(value) if isinstance(value, str) else None


_EVENTS, _BEGUN, _MAILS, _NOTES = "Event", "Begun", "EmailMessage", "ContentNote"
_FIRST: Final = walk.first(None)
_WALKS: Final[Mapping[str, _Walked]] = {
    "Task": _Walked("Task", _TASK, _tasks),
    _EVENTS: _Walked("Event", _EVENT, _events),
    _BEGUN: _Walked("Event", _EVENT, _events, "StartDateTime"),  # after the events, whose beginning it takes over
    _MAILS: _Walked(_MAILS, _MAIL, _sent, optional=True),
    _NOTES: _Walked(_NOTES, _NOTE, _noted, _CHANGED, optional=True),
}
_TURNS: Final = Turns("salesforce", _WALKS, walk.Poll)


# --- notes ------------------------------------------------------------------------------------------------------------

_SUBJECT: Final = 80  # characters; ours: 255 are allowed, but they are looked up by a URL of at most 16,384 bytes
_MARK: Final = "(Tandem "


def subject(note: Note) -> str:
    """The first line, and a mark by which the task is known again; it says nothing about anybody."""
    mark = f" {_MARK}{hashlib.sha256(note.key.encode()).hexdigest()[:16]})"
    line = next((x for x in map(str.strip, note.text.splitlines()) if x), "")
    return line[: _SUBJECT - len(mark)].rstrip() + mark


def _ours(row: Row) -> bool:
    title = row.record.fields.get("Subject")
    return isinstance(title, str) and _MARK in title[-len(_MARK) - 20 :]


class Notes:
    """Writes completed tasks.  No key keeps one from standing twice, so after a try one looks first."""

    def __init__(self, records: Records, objects: Objects) -> None:
        """``records``: by which calls are made."""
        self._records, self._objects = records, objects
        self._closed: str | None = None

    def write(self, wanted: Sequence[Note]) -> list[Receipt]:
        """A receipt per note, in their order; one call for all of them."""
        receipts: dict[int, Receipt] = {}
        try:
            standing = self._standing([n for n in wanted if n.again])
            for at, note in enumerate(wanted):
                there = standing.get(subject(note)) if note.again else None
                if there is not None:
                    receipts[at] = Done(note.key, there)
                elif entity_of(note.id) is None:
                    receipts[at] = Gone(note.key, NOBODY)
            left = [at for at in range(len(wanted)) if at not in receipts]
            if left:
                rows = [self._task(wanted[at]) for at in left]
                for at, result in zip(left, self._records.save("POST", rows), strict=True):
                    receipts[at] = _receipt(wanted[at], result)
        except (Refused, TryLater, NeedsHuman) as problem:
            for at, note in enumerate(wanted):
                receipts.setdefault(at, Failed(note.key, problem))
        return [receipts[at] for at in range(len(wanted))]

    def _task(self, note: Note) -> dict[str, Any]:
        if self._closed is None:
            where = "IsClosed = true"
            said, _, _ = self._objects.page("TaskStatus", ("Id", "ApiName"), where, "SortOrder", size=1)
            name = said[0].get("ApiName") if said else None
            if not isinstance(name, str):
                raise TryLater("salesforce: no status of tasks is a closed one")
            self._closed = name
        return {
            "attributes": {"type": "Task"},
            "WhoId": note.id,
            "Subject": subject(note),
            "Description": note.text,
            "Status": self._closed,
            "ActivityDate": note.at.astimezone(UTC).date().isoformat(),
        }

    def _standing(self, tried: Sequence[Note]) -> dict[str, str]:
        """The tasks of earlier tries, by their subject; a person who was merged or converted took them along."""
        found: dict[str, str] = {}
        for start in range(0, len(tried), _LOOK):
            part = tried[start : start + _LOOK]
            where = f"CreatedDate = {_RECENT} AND Subject IN {listed(map(subject, part))}"
            said, _, _ = self._objects.page("Task", ("Id", "Subject"), where, "Id", size=BATCH)
            found |= {str(r.get("Subject")): id_of(r) for r in said}
        return found


_RECENT: Final = "LAST_N_DAYS:30"  # ours: tries end after a week, and there is an index on the time but not on subjects
_LOOK: Final = 20  # subjects of one condition; ours: each may take 600 bytes of a URL


def _receipt(note: Note, result: Mapping[str, Any]) -> Receipt:
    id_ = result.get("id")
    if result.get("success") is True and isinstance(id_, str):
        return Done(note.key, id_)
    code, fields = fault(result)
    if code in AWAY:
        return Gone(note.key, NOBODY)
    if code in LATER:
        return Failed(note.key, TryLater(f"salesforce: {code}"))
    return Failed(note.key, refusal("Task", code, fields))
