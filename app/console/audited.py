"""Audit: what people and programs did, to which ids, and how it ended.  Looking at it is an act, too."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Query, Request, Response

from app.console.menu import Entry
from app.console.shell import PAGE, ROOT, After, Shell
from app.ops.access.api import acts
from app.ops.access.permissions import ABOUT

ENTRY: Final = Entry("Audit", f"{ROOT}/audit", "Service", "u")
LOGIN: Final = "login"  # the one act that is no permission
ACTS: Final = {LOGIN: "Sign in, or fail to."} | {str(permission): about for permission, about in ABOUT.items()}


def routes(shell: Shell) -> APIRouter:
    """Its path."""
    router = shell.router()

    @router.get("/audit")
    def list_acts(
        request: Request,
        who: Annotated[str, Query(max_length=200)] = "",
        act: Annotated[str, Query(max_length=100)] = "",
        after: After = None,
    ) -> Response:
        # A browser sends what nobody filled in as an empty text.
        chosen = {"who": who if who != "" else None, "act": act if act != "" else None}
        with shell.database.read() as db:
            page = acts(db, PAGE, after, **chosen)
        return shell.page(request, "audit.html", page=page, chosen=chosen, known=ACTS)

    return router
