"""Plan: what would be written if everything were live, contact by contact, and how far the first reading is."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Query, Request, Response

from app.console.menu import Entry
from app.console.shell import PAGE, ROOT, After, Sent, Shell
from app.core.errors import NotPossible
from app.ops import contacts, plans
from app.ops.shapes import NameText
from app.push import survey
from app.repair.reading import readings

ENTRY: Final = Entry("Plan", f"{ROOT}/plan", "Service", "p")
LOOKED_AT: Final = 50  # contacts that one page looks at
COUNTED: Final = 5_000  # contacts that are planned while a person waits

Chosen = Annotated[NameText | None, Query()]


def routes(shell: Shell) -> APIRouter:
    """Its paths."""
    router = shell.router()
    database, connections = shell.database, shell.connections

    @router.get("/plan")
    def show_plan(request: Request, connection: Chosen = None, after: After = None) -> Response:
        names = plans.chosen(connections, connection)
        with database.read() as db:
            page = plans.planned(db, connections, connection, limit=PAGE, after=after, looked_at=LOOKED_AT)
            reading = [plans.reading_shown(one) for one in readings(db, connections, names)]
        return shell.page(request, "planned.html", page=page, reading=reading, connection=connection, figures=None)

    @router.post("/plan")
    def count_plan(request: Request, sent: Sent) -> Response:
        """The figures of all contacts, where they are few enough to wait for."""
        connection = sent.get("connection")
        names = plans.chosen(connections, connection)
        with database.read() as db:
            if contacts.more_than(db, COUNTED):
                raise NotPossible(f"more than {COUNTED} contacts: `tandem plan` counts them, in the background")
            reading = [plans.reading_shown(one) for one in readings(db, connections, names)]
            page = plans.planned(db, connections, connection, limit=PAGE, looked_at=LOOKED_AT)
        tallies = survey.survey(database, connections, names)
        figures = [plans.plan_shown(tally, connections[name]) for name, tally in tallies.items()]
        return shell.page(request, "planned.html", page=page, reading=reading, connection=connection, figures=figures)

    return router
