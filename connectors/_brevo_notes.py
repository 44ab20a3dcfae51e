"""Notes on a contact in Brevo's CRM.  In: notes.  Out: receipts.

Brevo has no key that would keep a note from standing twice, and gives it the time at which it was written: so the text
begins with the time of the act and ends in a mark, by which it is known again after a try whose answer was lost.
Source: the contract (see ``_brevo_wire``), ``notes``.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from datetime import UTC
from typing import Any, Final

from connectors import _timeline as timeline
from connectors._brevo_calls import OTHER, Contacts
from connectors._brevo_wire import is_id, refusal
from connectors.contract import Done, Failed, Gone, Note, Receipt, TryLater

PATH: Final = "/crm/notes"
NEWEST: Final = 50  # notes of a contact that are looked through: one page


def write(contacts: Contacts, notes: Sequence[Note]) -> list[Receipt]:
    """One after the other: each takes a call of the hundred that Brevo allows in an hour."""
    return timeline.write(notes, lambda note: _one(contacts, note))


def _one(contacts: Contacts, note: Note) -> Receipt:
    # What Brevo makes of a note for nobody is not documented.
    if not is_id(note.id) or contacts.get(note.id) is None:
        return Gone(note.key, "brevo: no contact has this id")
    if note.again and (there := _standing(contacts, note)) is not None:
        return Done(note.key, there)
    text = f"{note.at.astimezone(UTC):%Y-%m-%d %H:%M} UTC: {note.text} {timeline.mark(note.key)}"
    body = {"text": html.escape(text, quote=False).replace("\n", "<br>"), "contactIds": [int(note.id)]}
    response = contacts.send("POST", PATH, json=body, take={400, 404}, family=OTHER)
    if response.status_code == 404:
        return Gone(note.key, "brevo: no contact has this id")
    if response.status_code == 400:
        return Failed(note.key, refusal(response, {"text": note.text, "html": body["text"]}, contacts.secrets))
    answer = contacts.json(response)
    id_ = answer.get("id") if isinstance(answer, Mapping) else None
    if not isinstance(id_, str) or not id_:
        raise TryLater("brevo: the answer to a note is no note", landed=True)
    return Done(note.key, id_)


def _standing(contacts: Contacts, note: Note) -> str | None:
    """The note of an earlier try, among the newest of the contact."""
    params: dict[str, Any] = {"entity": "contacts", "entityIds": note.id, "sort": "desc", "limit": NEWEST}
    answer = contacts.json(contacts.send("GET", PATH, params=params, family=OTHER))
    if not isinstance(answer, list):
        raise TryLater("brevo: the answer is no list of notes")
    found = (row for row in answer if isinstance(row, Mapping) and timeline.mark(note.key) in str(row.get("text")))
    return next((str(row["id"]) for row in found if row.get("id")), None)
