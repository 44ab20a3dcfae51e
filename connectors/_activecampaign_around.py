"""ActiveCampaign's accounts and deals with who belongs to them, its users, and notes on contacts.  In: ids, cursors,
notes.  Out: records with their ties, receipts.

Who belongs to an account or a deal is asked for one by one: lists do not hold it.  Amounts come in hundredths.
Sources: developers.activecampaign.com/reference as of 2026-11: list-all-accounts, list-all-associations-1, list-all-
deals, list-all-secondary-contacts, list-all-users, create-a-note; the same in the OpenAPI form of github.com/
api-evangelist/activecampaign at 127b4364.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from connectors import _activecampaign_walk as walk
from connectors._activecampaign_calls import CONCURRENCY, PAGE, REFUSALS, Contacts
from connectors._activecampaign_wire import is_id, number, refusal, rows, time, total
from connectors._receipts import together
from connectors._timeline import mark
from connectors.contract import (
    Done,
    Failed,
    Gone,
    Kind,
    Note,
    Page,
    Property,
    Receipt,
    Record,
    Schema,
    Tie,
    TryLater,
)

NAMES: Final = {Kind.COMPANY: "accounts", Kind.DEAL: "deals"}
SIZE: Final = 25  # rows of a page whose people are asked for one by one, at three calls a second; ours
# ``updated_after`` of deals may count whole days, and in the account's zone: what was told before is left out here.
LOOK_BACK: Final = timedelta(hours=38)
STANDING: Final = "standing"
"""Ours: ``won`` or ``lost``, and the title of the stage of a deal that is neither."""
STATUSES: Final[Mapping[str, str]] = {"0": "open", "1": "won", "2": "lost"}  # "Deals", available values
_COMPANY: Final = ("name", "accountUrl", "owner", "createdTimestamp", "updatedTimestamp")
_DEAL: Final = ("title", "description", "currency", "group", "stage", "owner", "percent", "cdate", "mdate", "nextdate")
_REFERENCES: Final = frozenset({"owner", "group", "stage"})
_MODIFIED: Final = {Kind.COMPANY: "updatedTimestamp", Kind.DEAL: "mdate"}


class Stages:
    """The titles of deal stages, asked for when one is not known."""

    def __init__(self, contacts: Contacts) -> None:
        """No I/O."""
        self._contacts = contacts
        self._titles: Mapping[str, str] = {}
        self._lock = threading.Lock()

    def title(self, id_: str) -> str:
        """The title; the id where there is none."""
        with self._lock:
            if id_ not in self._titles:
                found = self._contacts.every("/dealStages")
                self._titles = {str(row.get("id")): str(row.get("title", "")) for row in found} | {
                    id_: next(
                        (str(row["title"]) for row in found if str(row.get("id")) == id_ and row.get("title")), id_
                    )
                }
            return self._titles[id_]


def read(contacts: Contacts, stages: Stages, kind: Kind, ids: Sequence[str]) -> list[Record]:
    """The records of these ids, one call each and one for who belongs to them."""

    def one(id_: str) -> Record | None:
        row = contacts.one(NAMES[kind], id_)
        return None if row is None else _tied(contacts, row, record(kind, row, stages))

    return [r for r in together(one, list(dict.fromkeys(ids)), CONCURRENCY) if r is not None]


def changed(contacts: Contacts, stages: Stages, kind: Kind, cursor: str | None) -> Page:
    """By offset; after the first walk those whose time says that they changed since.

    Accounts have no filter by time, so each poll goes through the list of all; only who changed is asked about.
    """
    state = walk.load_round(cursor)
    found = contacts.cut(NAMES[kind], _where(kind, state), state.offset, SIZE if state.since is None else PAGE)
    since = walk.before(state, walk.OVERLAP)
    told = [(row, record(kind, row, stages)) for row in found.rows]
    fresh = [(row, r) for row, r in told if since is None or r.modified is None or r.modified >= since]
    records = together(lambda pair: _tied(contacts, *pair), fresh, CONCURRENCY)
    newest = max((r.modified for _, r in told if r.modified is not None), default=None)
    size = SIZE if state.since is None else PAGE
    following, more = walk.onward(state, len(told), size, total=found.total, now=found.at, newest=newest)
    whole = found.total if state.since is None else None
    return Page(tuple(records), walk.dump_round(following), more=more, total=whole)


def _where(kind: Kind, state: walk.Round) -> dict[str, Any]:
    if kind is Kind.COMPANY:
        return {"orders[id]": "ASC"}
    since = walk.before(state, LOOK_BACK)
    order = {"orders[cdate]": "ASC"}
    return order if since is None else {**order, "filters[updated_after]": since.isoformat(timespec="seconds")}


def record(kind: Kind, row: Mapping[str, Any], stages: Stages) -> Record:
    """One account or deal.  TryLater for what is none."""
    id_ = str(row.get("id"))
    if not is_id(id_):
        raise TryLater(f"activecampaign: one of {NAMES[kind]} has no id")
    names = _COMPANY if kind is Kind.COMPANY else _DEAL
    fields: dict[str, Any] = {n: _ref(row[n]) if n in _REFERENCES else _text(row[n]) for n in names if n in row}
    if kind is Kind.DEAL:
        fields |= _money(row)
        if "status" in row:
            status = STATUSES.get(str(row["status"]), "open")
            at = _ref(row.get("stage"))
            title = stages.title(at) if status == "open" and at is not None else None
            fields |= {"status": status, STANDING: status if status != "open" else title}
    return Record(kind, id_, fields, time(row.get(_MODIFIED[kind])))


def _money(row: Mapping[str, Any]) -> dict[str, str | None]:
    """The value in whole units; it comes in hundredths of them."""
    if "value" not in row:
        return {}
    try:
        return {"value": str(Decimal(str(row["value"])) / 100)}
    except InvalidOperation:
        return {"value": None}


def _text(value: object) -> str | None:
    """No value is an empty text."""
    return None if value is None or value == "" else str(value)


def _ref(value: object) -> str | None:
    """The id of something; none is told as 0, too."""
    text = _text(value)
    return text if is_id(text) else None


def _tied(contacts: Contacts, row: Mapping[str, Any], found: Record) -> Record:
    """The record with who belongs to it."""
    if found.kind is Kind.COMPANY:
        people = contacts.every("/accountContacts", {"filters[account]": found.id})
        # A contact is of one account.
        ties = {str(p.get("contact")): Tie(str(p.get("contact")), True, _role(p)) for p in people if _of(p, found)}
        return replace(found, ties={Kind.CONTACT: tuple(ties.values())})
    if number(row.get("isDisabled")) or row.get("isDisabled") is True or "contact" not in row:
        return found  # in a pipeline that the key's user may not see: only its title is told
    main, account = _ref(row.get("contact")), _ref(row.get("account"))
    others = contacts.every("/contactDeals", {"filters[deal]": found.id})
    ids = [str(p.get("contact")) for p in others if str(p.get("deal")) == found.id and str(p.get("contact")) != main]
    first = [Tie(main, main=True)] if main is not None else []
    return replace(
        found,
        ties={
            Kind.CONTACT: (*first, *(Tie(i) for i in dict.fromkeys(ids))),
            Kind.COMPANY: () if account is None else (Tie(account, main=True),),
        },
    )


def _of(link: Mapping[str, Any], found: Record) -> bool:
    return str(link.get("account")) == found.id and is_id(str(link.get("contact")))


def _role(link: Mapping[str, Any]) -> str | None:
    title = link.get("jobTitle")
    return title if isinstance(title, str) and title else None


def schema(kind: Kind) -> Schema:
    """The fields that are read, all of them read only."""
    names = _COMPANY if kind is Kind.COMPANY else (*_DEAL, "value", "status", STANDING)
    return Schema(kind, {name: Property(name, "text", read_only=True) for name in names})


# --- users ------------------------------------------------------------------------------------------------------------


def users(contacts: Contacts, cursor: str | None) -> Page:
    """One page of the users.  Who was removed is in no list."""
    start = int(cursor) if cursor is not None and cursor.isascii() and cursor.isdigit() else 0
    found = contacts.cut("users", {}, start, PAGE)
    end = start + len(found.rows)
    more = bool(found.rows) and (len(found.rows) >= PAGE if found.total is None else end < found.total)
    return Page(tuple(_user(row) for row in found.rows if is_id(str(row.get("id")))), str(end) if more else "", more)


def _user(row: Mapping[str, Any]) -> Record:
    names = [str(row[n]).strip() for n in ("firstName", "lastName") if row.get(n)]
    fields = {
        "email": row.get("email"),
        "name": " ".join(names) if names else row.get("username"),
        "team": None,
        "active": True,
    }
    return Record(Kind.COLLEAGUE, str(row["id"]), fields)


# --- notes ------------------------------------------------------------------------------------------------------------


def note(contacts: Contacts, wanted: Note) -> Receipt:
    """Write one note.  Nothing would keep it from standing twice, so after a try one looks first.

    What a note to nobody is answered with is not said, so the contact's notes are asked for in any case.
    """
    nobody = Gone(wanted.key, "activecampaign: no contact of this id")
    there = _notes(contacts, wanted.id, whole=wanted.again)
    if there is None:
        return nobody
    if wanted.again and (known := next((i for i, text in there if mark(wanted.key) in text), None)) is not None:
        return Done(wanted.key, known)
    text = f"{wanted.text} {mark(wanted.key)}"
    body = {"note": {"note": text, "relid": int(wanted.id), "reltype": "Subscriber"}}
    response = contacts.send("POST", "/notes", json=body, take=REFUSALS)
    if response.status_code == 404:
        return nobody
    if response.status_code in REFUSALS:
        return Failed(wanted.key, refusal(response, body, {*contacts.secrets, wanted.text}))
    answer = contacts.json(response)
    made = answer.get("note") if isinstance(answer, Mapping) else None
    id_ = str(made.get("id")) if isinstance(made, Mapping) else None
    if not is_id(id_):
        raise TryLater("activecampaign: the answer to a note is no note", landed=True)
    return Done(wanted.key, str(id_))


def _notes(contacts: Contacts, id_: str, *, whole: bool) -> list[tuple[str, str]] | None:
    """Id and text of the contact's notes, all or the first few; None where there is no such contact."""
    if not is_id(id_):
        return None
    found: list[tuple[str, str]] = []
    while True:
        params = {"limit": PAGE if whole else 1, "offset": len(found)}
        response = contacts.send("GET", f"/contacts/{id_}/notes", params=params, take={404})
        if response.status_code == 404:
            return None
        body = contacts.json(response)
        here = rows(body, "notes")
        found += [(str(row.get("id")), str(row.get("note"))) for row in here]
        every = total(body)
        if not whole or not here or (len(here) < PAGE if every is None else len(found) >= every):
            return found
