"""Programmes: whom both teams look after together, who is in each and why, and what it brings about."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Query, Request, Response

from app.agreement.leads import Known
from app.console.agreeing import Asked, names_of
from app.console.menu import Entry
from app.console.shell import PAGE, ROOT, Shell
from app.ops import paging, programmes
from app.ops.programmes import Named

PATH: Final = f"{ROOT}/programmes"
ENTRY: Final = Entry("Programmes", PATH, "Agreement", "q")


class ProgrammesAsked(Asked):
    """What the list is asked."""


class MembersAsked(Asked):
    """What the page of one programme is asked.  ``ever``: also those who were in it."""

    ever: bool = False
    after: Annotated[str | None, Query(max_length=200)] = None


def routes(shell: Shell) -> APIRouter:
    """Its paths."""
    router = shell.router()
    known = Known()

    @router.get("/programmes")
    def show_programmes(request: Request, asked: Annotated[ProgrammesAsked, Query()]) -> Response:
        with shell.database.read() as db:
            found = programmes.listed(db, shell.connections, known)
        return shell.page(request, "programmes.html", asked=asked, path=PATH, found=found)

    @router.get("/programmes/{name}")
    def show_programme(request: Request, name: Named, asked: Annotated[MembersAsked, Query()]) -> Response:
        position = paging.decode("members", asked.after, 1)
        with shell.database.read() as db:
            one = programmes.one(db, shell.connections, known, name)
            members, following = programmes.members(
                db, name, current=not asked.ever, before=position[0] if position is not None else None, limit=PAGE
            )
            names = names_of(db, [member.contact_id for member in members])
        return shell.page(
            request,
            "programme.html",
            asked=asked,
            path=f"{PATH}/{name}",
            one=one,
            members=members,
            names=names,
            next=paging.encode("members", (following,) if following is not None else None),
        )

    return router
