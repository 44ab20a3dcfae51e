"""Mautic's companies with their contacts, its users, and notes on contacts.  In: ids, cursors, notes.

Out: records with who belongs to them, receipts.  Who belongs to whom is a table of statistics; a change of it moves no
company's time, so its log is polled beside the companies.

Sources: github.com/mautic/developer-documentation-new, ``docs/rest_api/companies.rst``, ``users.rst``, ``notes.rst``,
``stats.rst`` (``companies_leads``, ``lead_companies_change_log``); github.com/mautic/mautic, ``LeadBundle/Controller/
Api/NoteApiController.php`` and ``LeadApiController.php`` (notes), ``LeadBundle/EventListener/CompanySubscriber.php``
(audit log).
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from connectors import _mautic_walk as walk
from connectors._mautic_calls import BATCH, Contacts
from connectors._mautic_wire import fault, flat, is_id, number, properties, refusal, time, yes
from connectors._timeline import mark
from connectors.contract import (
    Done,
    Failed,
    Gone,
    Kind,
    NeedsHuman,
    Note,
    Page,
    Property,
    Receipt,
    Record,
    Schema,
    Tie,
    TryLater,
)

OWNER: Final = "owner"
TIES: Final = 500  # rows of one call for who belongs to whom; a row takes some 150 bytes; ours
USERS: Final = 100
NOTES: Final = 100  # the newest of a contact, among which one of ours is looked for
_NOTED: Final = frozenset({400, 403, 404, 422})


# --- companies --------------------------------------------------------------------------------------------------------


def record(row: Mapping[str, Any]) -> Record:
    """One company.  TryLater for what is none."""
    id_ = number(row, "id")
    if id_ is None or "fields" not in row:
        raise TryLater("mautic: a company without id or fields")
    fields = flat(row)
    if OWNER in row:  # not every version shows it
        owner = row[OWNER]
        whose = number(owner, "id") if isinstance(owner, Mapping) else number(row, OWNER)
        fields[OWNER] = None if whose is None else str(whose)
    modified = time(row.get("dateModified"))
    return Record(Kind.COMPANY, str(id_), fields, modified if modified is not None else time(row.get("dateAdded")))


def read(contacts: Contacts, ids: Iterable[str]) -> list[Record]:
    """The companies of these ids, in lists, with who belongs to them."""
    asked = list(dict.fromkeys(i for i in ids if is_id(i)))
    found: dict[str, Record] = {}
    for start in range(0, len(asked), BATCH):
        part = asked[start : start + BATCH]
        told = [record(row) for row in contacts.listed("companies", [("id", "in", ",".join(part))], 0, BATCH).rows]
        found |= {one.id: one for one in tied(contacts, [r for r in told if r.id in part])}
    return list(found.values())


def tied(contacts: Contacts, found: Sequence[Record]) -> list[Record]:
    """The companies with who belongs to them; not said where the user may not see it."""
    ties = _ties(contacts, [r.id for r in found]) if found else {}
    if ties is None:
        return list(found)
    return [replace(r, ties={Kind.CONTACT: tuple(ties[r.id].values())}) for r in found]


def _ties(contacts: Contacts, ids: Sequence[str]) -> dict[str, dict[int, Tie]] | None:
    """The contacts of these companies, by contact upwards; None where the user may not see them."""
    found: dict[str, dict[int, Tie]] = {i: {} for i in ids}
    asked: list[walk.Where] = [("company_id", "in", ",".join(ids))]
    after = 0
    while True:
        page = contacts.stats("companies_leads", asked, after, size=TIES, key="lead_id")
        if page is None:
            return None
        for row in page.rows:
            company, lead = str(number(row, "company_id")), number(row, "lead_id")
            if company in found and lead is not None and not yes(row, "manually_removed"):
                found[company][lead] = Tie(str(lead), main=yes(row, "is_primary"))
        if not page.full or page.last is None:
            return found
        after = page.last


def changed(contacts: Contacts, cursor: str | None) -> Page:
    """First all companies by id; then, of a window of time, the changed, those whose people changed, the deleted."""
    state = walk.Listing("") if cursor is None else walk.load(cursor)
    if isinstance(state, walk.Listing):
        return _listed(contacts, state)
    state = walk.begin(state)
    where = walk.query(state, "company")
    if state.phase == walk.CHANGED:
        found = contacts.listed("companies", where, state.after)
        records = [record(row) for row in found.rows]
        newest = max((r.modified for r in records if r.modified is not None), default=None)
        following = _advance(state, found.last, full=found.full, now=found.at, newest=newest)
        return Page(tuple(tied(contacts, records)), walk.dump(following), more=True)
    table, name = (
        ("lead_companies_change_log", "company_id") if state.phase == walk.TIED else ("audit_log", "object_id")
    )
    stats = contacts.stats(table, where, state.after)
    if stats is None:  # not for this user
        following = _advance(state, None, full=False, now=None, newest=None)
        return Page((), walk.dump(following), more=following.start is not None)
    following = _advance(state, stats.last, full=stats.full, now=stats.at, newest=None)
    ids = list(dict.fromkeys(str(i) for row in stats.rows if (i := number(row, name)) is not None))
    more = following.start is not None
    if state.phase == walk.TIED:
        return Page(tuple(read(contacts, ids)), walk.dump(following), more=more)
    return Page((), walk.dump(following), more=more, deleted=tuple(ids))


def _listed(contacts: Contacts, state: walk.Listing) -> Page:
    found = contacts.listed("companies", [], state.after)
    records = [record(row) for row in found.rows]
    newest = max((r.modified for r in records if r.modified is not None), default=None)
    following = walk.on(state, found.last, full=found.full, now=found.at, newest=newest, total=found.total)
    total = state.total if state.begun else found.total
    return Page(tuple(tied(contacts, records)), walk.dump(following), more=found.full, total=total)


def _advance(state: walk.Poll, last: int | None, *, full: bool, now: Any, newest: Any) -> walk.Poll:
    return walk.advance(state, last, full=full, now=now, newest=newest, phases=walk.COMPANIES)


def schema(contacts: Contacts) -> Schema:
    """The fields of companies."""
    own = {OWNER: Property(OWNER, "system", "Id of the user", read_only=True)}
    return Schema(Kind.COMPANY, {**own, **properties(contacts.definitions("company"))})


# --- users ------------------------------------------------------------------------------------------------------------


def users(contacts: Contacts, cursor: str | None) -> Page:
    """One page of the users, by id.  Mautic has no teams; who may not sign in any more is told as not active."""
    after = 0 if cursor is None or not is_id(cursor) else int(cursor)
    found = contacts.listed("users", [], after, USERS)
    following = str(found.last) if found.full and found.last is not None else ""
    return Page(tuple(map(_user, found.rows)), following, more=bool(following))


def _user(row: Mapping[str, Any]) -> Record:
    names = [str(row[n]).strip() for n in ("firstName", "lastName") if row.get(n)]
    fields = {
        "email": row.get("email"),
        "name": " ".join(names) if names else row.get("username"),
        "team": None,
        "active": row.get("isPublished") is not False,
    }
    return Record(Kind.COLLEAGUE, str(number(row, "id")), fields)


# --- notes ------------------------------------------------------------------------------------------------------------


def note(contacts: Contacts, wanted: Note) -> Receipt:
    """Write one note.  Mautic has no key that would keep it from standing twice, so after a try one looks first."""
    if not is_id(wanted.id):
        return Gone(wanted.key, "mautic: no contact of this id")
    if wanted.again and (there := _standing(contacts, wanted)) is not None:
        return Done(wanted.key, there)
    body = {
        "lead": int(wanted.id),
        "text": html.escape(f"{wanted.text} {mark(wanted.key)}", quote=False),  # notes are HTML
        "type": "general",
        "dateTime": wanted.at.isoformat(),
    }
    response = contacts.send("POST", "/notes/new", json=body, take=_NOTED)
    if response.status_code == 403:
        raise NeedsHuman("mautic: 403, the API user's role does not let it write notes (Contacts: notes, create)")
    if response.status_code == 404:
        return Gone(wanted.key, "mautic: no contact of this id")
    if response.status_code in _NOTED:
        return Failed(wanted.key, refusal(fault(response), body, {*contacts.secrets, wanted.text}))
    answer = contacts.json(response)
    made = answer.get("note") if isinstance(answer, Mapping) else None
    id_ = number(made, "id") if isinstance(made, Mapping) else None
    if id_ is None:
        raise TryLater("mautic: the answer to a note is no note", landed=True)
    return Done(wanted.key, str(id_))


def _standing(contacts: Contacts, wanted: Note) -> str | None:
    """The note of an earlier try, among the newest of the contact, which come first."""
    response = contacts.send("GET", f"/contacts/{wanted.id}/notes", params={"start": 0, "limit": NOTES}, take={404})
    if response.status_code == 404:
        return None
    body = contacts.json(response)
    found = body.get("notes") if isinstance(body, Mapping) else None
    if isinstance(found, Mapping):
        found = list(found.values())
    if not isinstance(found, list):
        raise TryLater("mautic: the answer holds no notes")
    ours = [row for row in found if isinstance(row, Mapping) and mark(wanted.key) in str(row.get("text"))]
    return str(number(ours[0], "id")) if ours else None
