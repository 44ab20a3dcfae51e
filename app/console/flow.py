"""Flow: what came in, what was decided, what went out; live."""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter, Request, Response

from app.console.menu import Entry
from app.console.shell import ROOT, Shell
from app.ops.flow import flow
from app.ops.provenance import words_of

ENTRY: Final = Entry("Flow", f"{ROOT}/flow", "Now", "f")


def routes(shell: Shell) -> APIRouter:
    """Its path."""
    router = shell.router()

    @router.get("/flow")
    def show_flow(request: Request) -> Response:
        with shell.database.read() as db:
            found = flow(db, shell.connections)
        return shell.page(request, "flow.html", found=found, words_of=words_of)

    return router
