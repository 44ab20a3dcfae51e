"""What the account's lists and its sales staff tell of contacts, as acts.  In: a cursor.  Out: acts.

Two walks take turns.  That over contacts with their states on lists tells who came by a form, who unsubscribed by a
campaign, whose mail came back.  That over tasks tells calls, meetings, mails and what else is planned with a contact or
a deal.  Who opened or clicked is told by no list of the API, only contact by contact or by webhook: so it is not here.

Sources: developers.activecampaign.com/reference as of 2026-11: list-all-contacts (``contactLists``), list-all-tasks,
list-all-deal-task-types, retrieve-a-campaign, list-contact-activities; in the OpenAPI form of github.com/
api-evangelist/activecampaign at 127b4364.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from connectors import _activecampaign_walk as walk
from connectors._activecampaign_calls import CONCURRENCY, PAGE, Contacts
from connectors._activecampaign_consent import OFF
from connectors._activecampaign_wire import is_id, number, time
from connectors._cursor import Turns
from connectors._receipts import together
from connectors.contract import Act, ActPage, Doing, Ending, Ref

WATCHED: Final = timedelta(days=60)  # how long after it was due a task is looked at for changes; ours
LISTS, TASKS = "lists", "tasks"
_BOUNCED: Final = "3"
_HIDDEN: Final = frozenset({403})  # a name that the key's user may not see is none
_KEPT: Final = 5_000  # names of campaigns that are remembered
# Words in the title of a task type; the titles are the account's own, these those that it begins with and their like.
_TYPES: Final = (
    (Doing.CALL, ("call", "phone", "anruf", "appel", "llamada")),
    (Doing.MEETING, ("meeting", "demo", "lunch", "termin", "visit")),
    (Doing.MAIL, ("mail",)),
)
_CHANNELS: Final = {Doing.CALL: "phone", Doing.MEETING: "meeting", Doing.MAIL: "email"}
_DONE: Final = {Doing.CALL: Ending.HELD, Doing.MEETING: Ending.HELD, Doing.MAIL: Ending.SENT, Doing.TASK: Ending.DONE}


@dataclass(frozen=True, slots=True)
class Place:
    """Where one of the walks stands, as its own cursor."""

    at: str | None = None


_TURNS: Final = Turns("activecampaign", (LISTS, TASKS), Place)


@dataclass(frozen=True, slots=True)
class _Campaign:
    name: str
    split: bool


class Names:
    """Names of campaigns, forms and task types, remembered; none where the user may not see them."""

    def __init__(self, contacts: Contacts) -> None:
        """No I/O."""
        self._contacts = contacts
        self._campaigns: dict[str, _Campaign | None] = {}
        self._forms: dict[str, str | None] = {}
        self._types: Mapping[str, str] = {}
        self._lock = threading.Lock()

    def campaign(self, id_: str) -> _Campaign | None:
        """None for one that is not there."""
        with self._lock:
            if len(self._campaigns) >= _KEPT:
                self._campaigns.clear()
            if id_ not in self._campaigns:
                row = self._contacts.one("campaigns", id_, hidden=_HIDDEN)
                split = row is not None and row.get("split_type") not in (None, "")
                self._campaigns[id_] = None if row is None else _Campaign(str(row.get("name")), split)
            return self._campaigns[id_]

    def form(self, id_: str) -> str | None:
        """The name of a form; None for one that is not there."""
        with self._lock:
            if id_ not in self._forms:
                row = self._contacts.one("forms", id_, hidden=_HIDDEN)
                self._forms[id_] = str(row["name"]) if row is not None and row.get("name") else None
            return self._forms[id_]

    def type(self, id_: str) -> str:
        """The title of a task type; empty for one that is not there."""
        with self._lock:
            if id_ not in self._types:
                found = self._contacts.every("/dealTasktypes")
                self._types = {id_: "", **{str(row.get("id")): str(row.get("title", "")) for row in found}}
            return self._types[id_]


def acts(contacts: Contacts, names: Names, cursor: str | None) -> ActPage:
    """One page of one of the walks."""
    turn, places = _TURNS.load(cursor)
    at = places[turn].at if turn in places else None
    told, following, more = (_lists if turn == LISTS else _tasks)(contacts, names, at)
    cursor, more = _TURNS.dump(turn, {**places, turn: Place(following)}, more=more)
    return ActPage(tuple(told), cursor, more=more)


# --- lists ------------------------------------------------------------------------------------------------------------


def _lists(contacts: Contacts, names: Names, at: str | None) -> tuple[list[Act], str, bool]:
    """As contacts are walked for changes, with those who were stopped now and then."""
    state = walk.load(at)
    found = contacts.page(walk.query(state, contacts.list_id), state.after)
    known = [t for t in (time(state.since), time(state.swept)) if t is not None]
    since = min(known) - walk.OVERLAP if known else None
    told = [act for row in found.lists for act in _of_list(names, row) if since is None or act.at >= since]
    following, more = walk.advance(state, found.records, found.last, more=found.more, now=found.at, zone=found.zone)
    return told, walk.dump(following), more


def _of_list(names: Names, row: Mapping[str, Any]) -> list[Act]:
    """What one state on a list tells: a form that was filled in, an opt-out that a campaign led to, a bounce."""
    contact, status = str(row.get("contact")), str(row.get("status"))
    came, changed = time(row.get("sdate")), time(row.get("udate"))
    if not is_id(contact):
        return []
    own, made = f"contactList:{row.get('id')}", []
    channel = "sms" if str(row.get("channel", "")).lower() == "sms" else "email"
    if is_id(str(row.get("form"))) and came is not None:
        title = names.form(str(row["form"]))
        detail = {"title": title} if title is not None else {}
        made.append(Act(f"{own}:form", Ref(contact), Doing.FORM, came, channel="web", detail=detail))
    reason = row.get("unsubreason")
    # The API takes people off too, and ours is not their word: an act is what a campaign led to, or has a reason.
    led = is_id(str(row.get("campaign"))) or (isinstance(reason, str) and bool(reason.strip()))
    if changed is not None and (status == _BOUNCED or (status == OFF and led)):
        campaign = names.campaign(str(row["campaign"])) if is_id(str(row.get("campaign"))) else None
        split = campaign is not None and campaign.split and is_id(str(row.get("message")))
        made.append(
            Act(
                id=f"{own}:{status}:{changed.isoformat()}",
                who=Ref(contact),
                kind=Doing.BOUNCE if status == _BOUNCED else Doing.UNSUBSCRIBE,
                at=changed,
                campaign=campaign.name if campaign is not None else None,
                variant=str(row["message"]) if split else None,
                channel=channel,
                outcome=Ending.HARD if status == _BOUNCED else None,
                detail={"reason": reason.strip()} if isinstance(reason, str) and reason.strip() else {},
            )
        )
    return made


# --- tasks ------------------------------------------------------------------------------------------------------------


def _tasks(contacts: Contacts, names: Names, at: str | None) -> tuple[list[Act], str, bool]:
    """By offset: all there are at first, then those that are due or were due lately, of which those that changed."""
    state = walk.load_round(at)
    due = walk.before(state, WATCHED)
    where = {} if due is None else {"filters[due_after]": due.isoformat(timespec="seconds")}
    found = contacts.cut("dealTasks", where, state.offset, PAGE)
    since = walk.before(state, walk.OVERLAP)
    times = [time(row.get("udate")) for row in found.rows]
    fresh = [row for row, t in zip(found.rows, times, strict=True) if since is None or t is None or t >= since]
    newest = max((t for t in times if t is not None), default=None)
    following, more = walk.onward(state, len(found.rows), PAGE, total=found.total, now=found.at, newest=newest)
    people = _people(contacts, fresh)
    told = [act for row in fresh if (act := _task(names, row, people)) is not None]
    return told, walk.dump_round(following), more


def _people(contacts: Contacts, found: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """The main contacts of the deals that these tasks are about."""
    deals = sorted({str(row.get("relid")) for row in found if row.get("reltype") == "Deal"})
    rows = together(lambda id_: contacts.one("deals", id_), deals, CONCURRENCY)
    return {id_: str(row["contact"]) for id_, row in zip(deals, rows, strict=True) if row and row.get("contact")}


def _task(names: Names, row: Mapping[str, Any], people: Mapping[str, str]) -> Act | None:
    """One task as an act of the contact that it is with, or of the deal's main contact; None where there is none."""
    about, id_ = row.get("reltype"), str(row.get("relid"))
    deal = id_ if about == "Deal" else None
    who = people.get(id_) if about == "Deal" else id_ if about == "Subscriber" else None
    at: datetime | None = next((t for n in ("duedate", "udate", "cdate") if (t := time(row.get(n))) is not None), None)
    if who is None or not is_id(who) or at is None:
        return None
    title = names.type(str(row.get("dealTasktype"))).lower()
    kind = next((kind for kind, words in _TYPES if any(word in title for word in words)), Doing.TASK)
    by = next((str(row[n]) for n in ("assignee", "user") if is_id(str(row.get(n)))), None)
    done = number(row.get("status")) > 0
    return Act(
        id=f"dealTask:{row.get('id')}",
        who=Ref(who),
        kind=kind,
        at=at,
        human=None if kind is Doing.TASK else True,
        by=Ref(by) if by is not None else None,
        channel=_CHANNELS.get(kind),
        outcome=_DONE[kind] if done else Ending.OPEN if kind is Doing.TASK else Ending.PLANNED,
        deal=deal,
        detail={"title": str(row["title"])} if row.get("title") else {},
    )
