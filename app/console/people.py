"""Contacts: everybody, one of them between both sides, why each value is there, and putting a value back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request, Response

from app.console.menu import Entry
from app.console.shell import PAGE, ROOT, After, Sent, Shell, shape
from app.ops import consents, contacts, objects, provenance, searching
from app.ops.contacts import Change
from app.ops.objects import Engagement
from app.ops.shapes import Id
from app.ops.undo import UndoAsked, undo
from app.repair.undoing import Undo

ENTRY: Final = Entry("Contacts", f"{ROOT}/contacts", "People", "c")
LINES: Final = 20  # of the timeline, and of the ledger

Words = Annotated[str, Query(max_length=200)]


@dataclass(frozen=True, slots=True)
class Moment:
    """One line of the timeline: a change of a value, or an act."""

    at: datetime
    change: Change | None = None
    act: Engagement | None = None


def timeline(changes: Sequence[Change], acts: Sequence[Engagement]) -> list[Moment]:
    """Changes and acts together, the newest first, ``LINES`` of them."""
    lines = [*(Moment(one.at, change=one) for one in changes), *(Moment(one.at, act=one) for one in acts)]
    return sorted(lines, key=lambda line: line.at, reverse=True)[:LINES]


def name_of(values: dict[str, Any]) -> str:
    """What a contact is called: the name, else the address."""
    parts = [values.get(part) for part in ("given_name", "family_name")]
    named = " ".join(str(part) for part in parts if part not in {None, ""})
    email = values.get("email")
    return named if named else "no name" if email is None else str(email)


def routes(shell: Shell) -> APIRouter:
    """Its paths."""
    router = shell.router()
    shell.templates.filters["name_of"] = name_of

    @router.get("/contacts")
    def list_contacts(request: Request, after: After = None, q: Words = "") -> Response:
        with shell.database.read() as db:
            if q.strip():
                items, following = searching.found(db, shell.connections, q), None
            else:
                page = contacts.listing(db, shell.connections, email=None, updated_since=None, after=after, limit=PAGE)
                items, following = page.items, page.next
        return shell.page(request, "contacts.html", people=items, following=following, q=q)

    @router.get("/contacts/{contact_id}")
    def show_contact(request: Request, contact_id: Id, after: After = None) -> Response:
        with shell.database.read() as db:
            detail = contacts.explained(db, shell.connections, contact_id)
            why = provenance.why(db, shell.connections, contact_id)
            consent = consents.of_contact(db, shell.connections, contact_id, limit=LINES)
            acts = objects.engaged(db, contact_id, None, LINES).items
            older = contacts.history_of(db, contact_id, after, LINES) if after is not None else None
        lines = timeline(detail.history, acts) if older is None else timeline(older.items, ())
        following = older.next if older is not None else None
        return shell.page(
            request,
            "contact.html",
            one=detail,
            name=name_of(detail.values),
            why=why,
            consent=consent,
            lines=lines,
            following=following,
        )

    @router.post("/contacts/{contact_id}/undo")
    def undo_values(request: Request, contact_id: Id, sent: Sent) -> Response:
        """Show what would go back; with ``expect``, what was shown is done."""
        expect = sent.get("expect")
        asked = shape(
            UndoAsked,
            by=sent.get("by"),
            contact=contact_id,
            field=sent.get("field"),
            dry_run=expect is None,
            expect=expect,
        )
        answer = undo(Undo(shell.database, shell.connections), asked)
        if answer.run is None:
            return shell.page(request, "undo.html", shown=answer, contact_id=contact_id, field=asked.field, by=asked.by)
        shell.wake()
        return shell.done(f"{ENTRY.path}/{contact_id}", "undone", by=asked.by)

    @router.post("/contacts/{contact_id}/consent")
    def say_consent(contact_id: Id, sent: Sent) -> Response:
        asked = shape(
            consents.WordAsked,
            by=sent.get("by"),
            status=sent.get("status"),
            channel=sent.get("channel"),
            purpose=sent.get("purpose"),
            evidence=sent.get("evidence"),
        )
        consents.say(shell.database, shell.connections, contact_id, asked)
        shell.wake()
        return shell.done(f"{ENTRY.path}/{contact_id}", "said", by=asked.by)

    return router
