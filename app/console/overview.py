"""The overview, which says whether both sides are telling the same story."""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter, Request, Response

from app.console.menu import Entry
from app.console.shell import ROOT, Shell
from app.ops.overview import overview

ENTRY: Final = Entry("Overview", ROOT, "Now", "o")


def routes(shell: Shell) -> APIRouter:
    """Its path."""
    router = shell.router()

    @router.get("")
    def show_overview(request: Request) -> Response:
        ready = shell.examiner.examine()
        if ready.database is None or not ready.database.migrated:
            return shell.page(request, "overview.html", status=503, ready=ready, found=None)
        with shell.database.read() as db:
            found = overview(db, shell.connections)
        return shell.page(request, "overview.html", ready=ready, found=found)

    return router
