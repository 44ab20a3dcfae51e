"""EspoCRM's accounts, opportunities, users and activities, and posts in the stream.  In: ids, cursors, notes.

Out: records with who belongs to them, acts, receipts.  Who is linked is asked for record by record, since lists do not
hold it.  Sources: github.com/espocrm/documentation, ``docs/development/api/crud.md`` (related records), ``stream.md``;
entity definitions of github.com/espocrm/espocrm (``Modules/Crm/Resources/metadata/entityDefs``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from connectors import _espocrm_walk as walk
from connectors import _timeline as timeline
from connectors._cursor import Turns
from connectors._espocrm_calls import CONCURRENCY, REFUSALS, Found, Records
from connectors._espocrm_wire import CREATED, MODIFIED, is_id, refusal, time
from connectors._receipts import together
from connectors.contract import (
    Act,
    ActPage,
    Doing,
    Done,
    Ending,
    Failed,
    Gone,
    Kind,
    Note,
    Page,
    Receipt,
    Record,
    Ref,
    Tie,
    TryLater,
)

ENTITIES: Final = {Kind.COMPANY: "Account", Kind.DEAL: "Opportunity"}
ALWAYS: Final = (MODIFIED, CREATED)
SIZE: Final = 50  # rows of a page whose links are asked for one by one; ours
USERS: Final = ("name", "userName", "emailAddress", "isActive", "type", "defaultTeamName")
_OURSELVES: Final = frozenset({"regular", "admin"})  # not api, portal, system
_COMMON: Final = ("name", "status", "parentType", "parentId", "assignedUserId")
ACTIVITIES: Final[Mapping[str, tuple[str, ...]]] = {
    "Call": (*_COMMON, "dateStart", "direction"),
    "Meeting": (*_COMMON, "dateStart"),
    "Task": (*_COMMON, "dateEnd", "dateCompleted", "contactId"),
}
_CALLS: Final = {"Planned": Ending.PLANNED, "Held": Ending.HELD, "Not Held": Ending.NO_ANSWER}
_MEETINGS: Final = {"Planned": Ending.PLANNED, "Held": Ending.HELD, "Not Held": Ending.CANCELLED}
_TASKS: Final = {"Completed": Ending.DONE, "Canceled": Ending.CANCELLED}


def tied(records: Records, kind: Kind, found: Sequence[Record]) -> list[Record]:
    """The accounts or opportunities with who belongs to them."""
    return together(lambda r: replace(r, ties=_ties(records, kind, r)), found, CONCURRENCY)


def _ties(records: Records, kind: Kind, found: Record) -> dict[Kind, tuple[Tie, ...]]:
    if kind is Kind.COMPANY:
        # A contact may be of several accounts; the one in its own field is the main one.
        people = records.related(found.id, "contacts", ["id", "accountId"])
        return {Kind.CONTACT: tuple(Tie(r["id"], r.get("accountId") == found.id) for r in people)}
    people = records.related(found.id, "contacts", ["id"])
    account = found.fields.get("accountId")
    return {
        Kind.CONTACT: tuple(Tie(r["id"], len(people) == 1) for r in people),
        Kind.COMPANY: (Tie(account, main=True),) if isinstance(account, str) else (),
    }


def users(records: Records, cursor: str | None) -> Page:
    """One page of the users, by id; API, portal and system users are none of us."""
    found = records.page([] if cursor is None else [("greaterThan", "id", cursor)], "id")
    people = tuple(_user(r) for r in found.records if r.fields.get("type") in _OURSELVES)
    return Page(people, walk.moved(cursor, found.records) if found.records else "", more=found.full)


def _user(found: Record) -> Record:
    f = found.fields
    fields = {
        "email": f.get("emailAddress"),
        "name": f.get("name") if f.get("name") else f.get("userName"),
        "team": f.get("defaultTeamName"),
        "active": f.get("isActive") is not False,
    }
    return Record(Kind.COLLEAGUE, found.id, fields)


# --- activities -------------------------------------------------------------------------------------------------------


_TURNS: Final = Turns("espocrm", ACTIVITIES, walk.Poll)


def acts(kinds: Mapping[str, Records], entity: str, cursor: str | None) -> ActPage:
    """One page of one kind of activity; the kinds take turns until none has more.  ``entity``: whose acts."""
    name, states = _TURNS.load(cursor)
    records = kinds[name]
    state = walk.begin(states[name] if name in states else walk.Poll(walk.stamp(None)))
    where, order = walk.query(state)
    found: Found = records.page(where, order)
    following, more = walk.advance(state, found.records, full=found.full, now=found.at)
    fresh = walk.fresh(state, found.records)
    told = together(lambda r: _of(records, name, entity, r), fresh, CONCURRENCY)
    cursor, more = _TURNS.dump(name, {**states, name: following}, more=more)
    return ActPage(tuple(act for of in told for act in of), cursor, more=more)


def _of(records: Records, name: str, entity: str, found: Record) -> list[Act]:
    """One activity as an act of each person of the entity that it is with."""
    f = found.fields
    if name == "Task":
        people = {f.get("contactId")} if entity == "Contact" else set()
    else:
        people = {row.get("id") for row in records.related(found.id, f"{entity.lower()}s", ["id"])}
    if f.get("parentType") == entity:
        people.add(f.get("parentId"))
    moment = time(f.get("dateStart")) if name != "Task" else _first(f, "dateCompleted", "dateEnd", CREATED)
    if moment is None:
        return []
    kind, channel, outcome, human = _kind(name, f)
    by = f.get("assignedUserId")
    return [
        Act(
            id=f"{name}:{found.id}:{who}",
            who=Ref(who),
            kind=kind,
            at=moment,
            human=human,
            by=Ref(by) if isinstance(by, str) else None,
            channel=channel,
            outcome=outcome,
            detail={"title": str(f["name"])} if f.get("name") else {},
        )
        for who in sorted(w for w in people if isinstance(w, str))
    ]


def _first(f: Mapping[str, Any], *names: str) -> Any:
    return next((at for n in names if (at := time(f.get(n))) is not None), None)


def _kind(name: str, f: Mapping[str, Any]) -> tuple[Doing, str | None, Ending | None, bool | None]:
    status = str(f.get("status"))
    if name == "Call":
        inbound = f.get("direction") == "Inbound"
        return (Doing.REPLY if inbound else Doing.CALL), "phone", _CALLS.get(status), True
    if name == "Meeting":
        return Doing.MEETING, "meeting", _MEETINGS.get(status), True
    return Doing.TASK, None, _TASKS.get(status, Ending.OPEN), None


# --- the stream -------------------------------------------------------------------------------------------------------


def write(people: Records, wanted: Sequence[Note]) -> list[Receipt]:
    """A post each.  EspoCRM has no key that would keep one from standing twice, so after a try one looks first."""
    return timeline.write(wanted, lambda note: _one(people, note))


def _one(people: Records, note: Note) -> Receipt:
    mark = timeline.mark(note.key)
    # A post to a record that is not there would be kept all the same, so the stream is asked for in any case.
    there = _stream(people, note.id) if is_id(note.id) else None
    if there is None:
        return Gone(note.key, "espocrm: no record has this id")
    if note.again and (known := next((r["id"] for r in there if mark in str(r.get("post"))), None)) is not None:
        return Done(note.key, str(known))
    body = {"type": "Post", "parentType": people.entity, "parentId": note.id, "post": f"{note.text} {mark}"}
    response = people.send("POST", "/Note", json=body, take=REFUSALS)
    if response.status_code == 404:
        return Gone(note.key, "espocrm: no record has this id")
    if response.status_code in REFUSALS:
        return Failed(note.key, refusal(response, {"post": note.text}, people.secrets))
    answer = people.json(response)
    if not isinstance(answer, Mapping) or not isinstance(answer.get("id"), str):
        raise TryLater("espocrm: the answer to a post is no note", landed=True)
    return Done(note.key, answer["id"])


def _stream(people: Records, id_: str) -> list[Mapping[str, Any]] | None:
    """The newest entries of a record's stream; None where it is not there."""
    response = people.send("GET", f"/{people.entity}/{id_}/stream", params={"maxSize": SIZE, "offset": 0}, take={404})
    if response.status_code == 404:
        return None
    body = people.json(response)
    found = body.get("list") if isinstance(body, Mapping) else None
    if not isinstance(found, list):
        raise TryLater("espocrm: the answer is no stream")
    return [row for row in found if isinstance(row, Mapping) and isinstance(row.get("id"), str)]
