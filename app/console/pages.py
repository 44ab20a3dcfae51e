"""The routes of the pages.  In: the store and the connections.  Out: ``/console/…``; ``/`` leads there, or is the demo.

Everything is escaped by the templates; scripts and styles come from this service alone, said by the content security
policy (https://www.w3.org/TR/CSP3/).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Final, Protocol

from fastapi import APIRouter, HTTPException, Query, Request, Response

from app.console import (
    accounts,
    audited,
    board,
    brief,
    dead,
    flow,
    leads,
    mapped,
    overview,
    people,
    planned,
    programmes,
    review,
    scorecard,
    supply,
)
from app.console import agreement as agreements
from app.console.edit import Editor
from app.console.live import demo_routes
from app.console.login import login_routes
from app.console.menu import Entry
from app.console.shell import HEADERS, ROOT, STATIC, Shell, environment, static_files
from app.core.db import Database
from app.ops.access.auditing import Auditing
from app.ops.access.oidc import Provider
from app.ops.access.visitors import Visitors
from app.ops.auth import admits
from app.ops.health import Examiner
from app.repair.connecting import Connecting
from app.sync.connection import Connections


class Page(Protocol):
    """A module of this room that is a page."""

    ENTRY: Entry

    def routes(self, shell: Shell) -> APIRouter:
        """Its paths."""


PAGES: Final[tuple[Page, ...]] = (
    overview, flow, people, review, dead, scorecard, board, supply, leads, programmes, agreements, brief,
    accounts, planned, mapped, audited,
)  # fmt: skip
"""The pages in the order of the navigation: a new one is one line here."""


def console(
    database: Database,
    connections: Connections,
    *,
    demo: bool,
    wake: Callable[[], None] = lambda: None,
    worker_expected: bool = False,
    connecting: Connecting | None = None,
    visitors: Visitors | None = None,
    provider: Provider | None = None,
    agreement: Path | None = None,
    public_url: str | None = None,
) -> APIRouter:
    """The routes of the pages.

    ``demo``: ``/`` shows and edits two simulated vendors, and the people are made up.  ``wake`` is called after
    everything that gives the workers something to do.  ``connecting``: of the connections that use OAuth.
    ``visitors``: who may sign in; ``provider``: the identity provider.
    ``agreement``: the file of the draft.  ``public_url``: under which vendors reach this service.
    """
    router = APIRouter(include_in_schema=False)
    texts = static_files()
    shell = Shell(
        database,
        connections,
        wake,
        Examiner(database, connections, worker_expected=worker_expected),
        connecting if connecting is not None else Connecting(database, {}, public_url=""),
        public_url,
        demo,
        [page.ENTRY for page in PAGES],
        environment(texts),
        agreement,
    )

    @router.get("/static/{name}")
    def static(name: str, v: Annotated[str, Query(max_length=40)] = "") -> Response:
        if name not in texts:
            raise HTTPException(404, "no such file")
        # A name with its version never changes: https://www.rfc-editor.org/rfc/rfc8246
        kept = "public, max-age=31536000, immutable" if v else "no-cache"
        return Response(texts[name], media_type=STATIC[name], headers={**HEADERS, "Cache-Control": kept})

    @router.get("/robots.txt")
    def robots() -> Response:
        return Response("User-agent: *\nDisallow: /\n", media_type="text/plain", headers=HEADERS)

    if demo:
        router.include_router(demo_routes(shell, Editor(database, connections)))
    else:

        @router.get("/")
        def front(request: Request) -> Response:
            if admits(request):
                return Response(status_code=303, headers={**HEADERS, "Location": ROOT})
            body = shell.templates.get_template("stranger.html").render()
            return Response(body, 401, media_type="text/html", headers=HEADERS)

    known = visitors if visitors is not None else Visitors(database, secure=False)
    router.include_router(login_routes(known, Auditing(database), provider, shell.templates))
    for page in PAGES:
        router.include_router(page.routes(shell))
    return router
