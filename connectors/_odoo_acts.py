"""Odoo's messages and meetings as acts, and internal notes on a contact.  In: cursors, notes.  Out: acts, receipts.

What was done stands among the messages of the contact or of the opportunity: mails both ways, notes, and activities,
which Odoo deletes once they are done.  Meetings are events of the calendar; nobody changes one because it took place,
so those that have ended since are read beside those that were changed.

Sources: github.com/odoo/odoo, ``addons/mail/models/mail_message.py``, ``mail_thread.py`` (``message_post``),
``mail_activity.py``, ``addons/calendar/models/calendar_event.py``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from connectors import _odoo_around as around
from connectors import _odoo_walk as walk
from connectors import _timeline as timeline
from connectors._cursor import Turns
from connectors._odoo_calls import PARTNER, Found, Partners
from connectors._odoo_wire import MODIFIED, PEOPLE_FIELDS, link, person, time
from connectors.contract import Act, ActPage, Doing, Done, Ending, Gone, Note, Receipt, Ref, Refused

MESSAGE, EVENT = "mail.message", "calendar.event"
MESSAGES, MEETINGS, ENDED = "messages", "meetings", "ended"
BACK: Final = 20_000
"""Ids below the last one that are looked at again: a transaction may end late.  Without a bound each poll would go
through all messages there are, for neither time of theirs has an index.  Ours."""

_TYPES: Final = ("comment", "email", "email_outgoing", "sms")
_MESSAGE: Final = (
    *("model", "res_id", "date", "author_id", "message_type", "subtype_id", "mail_activity_type_id", "subject"),
    *("create_uid", MODIFIED),
)
_WHOSE: Final[Sequence[Any]] = (
    ["model", "in", [PARTNER, around.LEAD]],
    "|",
    ["mail_activity_type_id", "!=", False],
    ["message_type", "in", list(_TYPES)],
    ["body", "not ilike", timeline.OURS],
)
_EVENT: Final = ("name", "start", "stop", "partner_ids", "user_id", "opportunity_id", "active", MODIFIED)
_TURNS: Final = Turns("odoo", (MESSAGES, MEETINGS, ENDED), walk.Poll)

Row = Mapping[str, Any]


def acts(partners: Partners, objects: around.Around, cursor: str | None) -> ActPage:
    """One page of messages or meetings, which take turns until none has more."""
    name, states = _TURNS.load(cursor)
    until = states[MESSAGES].since if MESSAGES in states else walk.FIRST  # the server's clock, moments ago
    first = walk.Poll(until if name == ENDED else walk.FIRST)
    state = around.alone(states.get(name, first))
    if name == MESSAGES:
        found = partners.listed(MESSAGE, [*_WHOSE, *walk.query(state)], state.after, _MESSAGE)
        told = _Messages(partners, found.rows).acts()
        # Odoo leaves out what the user may not see after it has counted the page: a short one need not be the last.
        following = around.moved(state, found, bool(found.rows))
        top = max(state.top, found.last if found.last is not None else 0)
        following = replace(following, top=top)
        if following.start is None:
            following = replace(following, after=max(0, top - BACK))
    else:
        columns = [n for n in _EVENT if n in objects.facts(EVENT)]
        query = walk.query(state)
        if name == ENDED:
            query = [["stop", ">=", state.start], ["stop", "<", until], ["id", ">", state.after]]
        found = partners.listed(EVENT, query, state.after, columns)
        told = _meetings(partners, found)
        # What ended after ``until`` is for the next poll.
        following = around.moved(state, found if name == MEETINGS else replace(found, at=time(until)), found.full)
    states[name] = following
    cursor, more = _TURNS.dump(name, states, more=following.start is not None)
    return ActPage(tuple(told), cursor, more=more)


# --- messages ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _What:
    """What a message was."""

    kind: Doing
    channel: str | None = None
    outcome: Ending | None = None
    human: bool | None = None
    theirs: bool = False  # the author's, not one of us


class _Messages:
    """A page of messages, with what is to be known to tell what they are."""

    def __init__(self, partners: Partners, rows: Sequence[Row]) -> None:
        self._rows = rows
        leads = _ids(row.get("res_id") for row in rows if row.get("model") == around.LEAD)
        about = {r["id"]: link(r.get("partner_id")) for r in partners.having(around.LEAD, "id", leads, ["partner_id"])}
        self._of_lead = {lead: at[0] for lead, at in about.items() if at is not None}
        own = [row.get("res_id") for row in rows if row.get("model") == PARTNER]
        self._people = _persons(partners, [*own, *self._of_lead.values(), *(_number(r.get("author_id")) for r in rows)])
        types = _ids(_number(row.get("mail_activity_type_id")) for row in rows)
        known = partners.having("mail.activity.type", "id", types, ["category", "icon"])
        self._types = {row["id"]: _activity(row) for row in known}
        subtypes = _ids(_number(row.get("subtype_id")) for row in rows if row.get("message_type") == "comment")
        hidden = partners.having("mail.message.subtype", "id", subtypes, ["internal"])
        self._internal = {row["id"] for row in hidden if row.get("internal") is True}

    def acts(self) -> list[Act]:
        """The messages that are acts of somebody."""
        return [act for row in self._rows if (act := self._act(row)) is not None]

    def _act(self, row: Row) -> Act | None:
        lead = row["res_id"] if row.get("model") == around.LEAD else None
        what = self._what(row)
        whose = self._of_lead.get(lead) if lead is not None else row.get("res_id")
        who = _number(row.get("author_id")) if what.theirs else whose
        at, by = time(row.get("date")), _number(row.get("create_uid"))
        if who not in self._people or at is None:
            return None
        return Act(
            id=f"{MESSAGES}:{row['id']}",
            who=Ref(str(who)),
            kind=what.kind,
            at=at,
            human=what.human,
            # What comes by mail is filed by Odoo itself.
            by=None if by is None or row.get("message_type") == "email" else Ref(str(by)),
            channel=what.channel,
            outcome=what.outcome,
            deal=None if lead is None else str(lead),
            detail={"title": row["subject"]} if row.get("subject") else {},
        )

    def _what(self, row: Row) -> _What:
        type_ = _number(row.get("mail_activity_type_id"))
        if type_ is not None:
            return self._types.get(type_, _What(Doing.TASK, outcome=Ending.DONE))
        author = _number(row.get("author_id"))
        match row.get("message_type"):
            case "email" | "comment" as how if author in self._people:
                channel = "email" if how == "email" else "web"  # a comment of theirs is from the portal
                return _What(Doing.REPLY, channel, Ending.RECEIVED, human=True, theirs=True)
            case "comment" if _number(row.get("subtype_id")) in self._internal:
                return _What(Doing.NOTE)
            case "sms":
                return _What(Doing.MESSAGE, "sms", Ending.SENT)
            case "email_outgoing":  # by the composer or by a template: who did it is not said
                return _What(Doing.MAIL, "email", Ending.SENT)
        return _What(Doing.MAIL, "email", Ending.SENT, human=True)


def _activity(row: Row) -> _What:
    """An activity that was done, by its type's category; mails have none of their own but their symbol."""
    if row.get("category") == "phonecall":
        return _What(Doing.CALL, "phone", Ending.HELD, human=True)
    if row.get("category") == "meeting":
        return _What(Doing.MEETING, "meeting", Ending.HELD, human=True)
    if row.get("icon") == "fa-envelope":
        return _What(Doing.MAIL, "email", Ending.SENT, human=True)
    return _What(Doing.TASK, outcome=Ending.DONE)


# --- meetings ---------------------------------------------------------------------------------------------------------


def _meetings(partners: Partners, found: Found) -> list[Act]:
    """Events as an act of each person who is invited; one of colleagues alone is nobody's."""
    invited = {row["id"]: _list(row.get("partner_ids")) for row in found.rows}
    people = _persons(partners, [i for ids in invited.values() for i in ids])
    made = []
    for row in found.rows:
        at, by, deal = time(row.get("start")), _number(row.get("user_id")), _number(row.get("opportunity_id"))
        for who in [i for i in invited[row["id"]] if i in people] if at is not None else []:
            assert at is not None  # noqa: S101 - said above
            made.append(
                Act(
                    id=f"{MEETINGS}:{row['id']}:{who}",
                    who=Ref(str(who)),
                    kind=Doing.MEETING,
                    at=at,
                    human=True,
                    by=None if by is None else Ref(str(by)),
                    channel="meeting",
                    outcome=_ending(row, found.at),
                    deal=None if deal is None else str(deal),
                    detail={"title": row["name"]} if row.get("name") else {},
                )
            )
    return made


def _ending(row: Row, now: datetime | None) -> Ending | None:
    """Cancelled, planned, or held once its time is over: Odoo does not ask whether it was."""
    stop = time(row.get("stop"))
    if row.get("active") is False:
        return Ending.CANCELLED
    if now is None or stop is None:
        return None
    return Ending.HELD if stop <= now else Ending.PLANNED


# --- notes ------------------------------------------------------------------------------------------------------------


def write(partners: Partners, wanted: Sequence[Note]) -> list[Receipt]:
    """One call each.  Odoo has no key that keeps a note from standing twice, so after a try one looks first."""

    def one(note: Note) -> Receipt:
        # Whether a message may be posted on what is not there differs by version, so a list is asked.
        if note.id not in partners.read([note.id]):
            return Gone(note.key, "odoo: no contact has this id")
        if note.again and (there := _standing(partners, note)) is not None:
            return Done(note.key, there)
        # Odoo takes the text as HTML before version 17 and as text from then on: it is the same either way.
        text = note.text.translate({ord("<"): "\u2039", ord(">"): "\u203a"})
        try:
            return Done(note.key, str(partners.post(note.id, f"{text} {timeline.mark(note.key)}")))
        except Refused as refused:
            if refused.code == "missing":
                return Gone(note.key, "odoo: no contact has this id")
            raise

    return timeline.write(wanted, one)


def _standing(partners: Partners, note: Note) -> str | None:
    """The note of an earlier try."""
    condition = [["model", "=", PARTNER], ["res_id", "=", int(note.id)], ["body", "ilike", timeline.mark(note.key)]]
    found = partners.listed(MESSAGE, [*condition, ["id", ">", 0]], 0, ["res_id"])
    return next((str(row["id"]) for row in found.rows), None)


def _persons(partners: Partners, ids: Iterable[Any]) -> set[int]:
    """Which of these partners are people of ours to keep."""
    rows = partners.having(PARTNER, "id", _ids(ids), PEOPLE_FIELDS)
    return {row["id"] for row in rows if person(row)}


def _ids(values: Iterable[Any]) -> list[int]:
    return sorted({v for v in values if isinstance(v, int) and not isinstance(v, bool) and v > 0})


def _number(value: object) -> int | None:
    at = link(value)
    return None if at is None else at[0]


def _list(value: object) -> list[int]:
    return _ids(value) if isinstance(value, list) else []
