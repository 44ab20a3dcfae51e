"""Dead letters: what was given up, grouped by why, with what would help, and trying it again."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Query, Request, Response

from app.console.menu import Entry
from app.console.shell import PAGE, ROOT, After, Sent, Shell, shape
from app.ops import deadletters
from app.ops.deadletters import RetryAsked
from app.ops.shapes import Id, Station

ENTRY: Final = Entry("Dead letters", f"{ROOT}/dead", "Service", "d")

Text = Annotated[str | None, Query(max_length=100)]


def routes(shell: Shell) -> APIRouter:
    """Its paths."""
    router = shell.router()

    @router.get("/dead")
    def list_causes(
        request: Request,
        connection: Text = None,
        code: Text = None,
        station: Annotated[Station | None, Query()] = None,
        after: After = None,
    ) -> Response:
        chosen = {"connection": connection, "code": code, "station": station}
        with shell.database.read() as db:
            groups, total = deadletters.causes(db)
            page = (
                deadletters.listing(db, connection=connection, code=code, station=station, after=after, limit=PAGE)
                if connection is not None or code is not None or station is not None
                else None
            )
        return shell.page(request, "dead.html", groups=groups, total=total, letters=page, chosen=chosen)

    @router.post("/dead/retry")
    def retry_cause(sent: Sent) -> Response:
        """Tries a whole group again, as far as one request reaches."""
        asked = shape(RetryAsked, connection=sent.get("connection"), code=sent.get("code"))
        found = deadletters.retry_many(shell.database, shell.connections, asked, sent.get("after"))
        shell.wake()
        return shell.done(
            ENTRY.path, "retried", n=found.retried, kept=found.kept, more="yes" if found.next is not None else ""
        )

    @router.post("/dead/{letter_id}/retry")
    def retry_one(letter_id: Id) -> Response:
        found = deadletters.retry_letter(shell.database, shell.connections, letter_id)
        shell.wake()
        return shell.done(ENTRY.path, "retried", n=found.retried)

    return router
