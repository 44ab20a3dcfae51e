"""Mapping: each field both ways, on a real record; what does not fit; and trying a changed mapping on that record."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Query, Request, Response

from app.console.menu import Entry
from app.console.shell import ROOT, Sent, Shell
from app.core.db import BIGGEST
from app.core.errors import NotFound, NotPossible
from app.ops import alarms, mapped
from app.ops.mapped import Sample
from app.ops.shapes import Name
from app.sync.mapping import MappingError

ENTRY: Final = Entry("Mapping", f"{ROOT}/mapping", "Service", "m")

Contact = Annotated[int | None, Query(ge=1, le=BIGGEST)]


def routes(shell: Shell) -> APIRouter:
    """Its paths."""
    router = shell.router()
    database, connections = shell.database, shell.connections

    def sample(name: str, contact: int | None) -> tuple[Sample | None, str | None]:
        """A real record, or why there is none to show."""
        try:
            with database.read() as db:
                number, remote_id, values = mapped.record_of(db, connections, name, contact)
            return mapped.sample_of(connections[name], number, remote_id, values), None
        except (NotFound, NotPossible) as problem:
            return None, str(problem)

    @router.get("/mapping")
    def list_mappings(request: Request) -> Response:
        with database.read() as db:
            suspended = alarms.fields_of(db)
        found = [(one.name, str(one.side), one.map) for one in connections.values()]
        return shell.page(request, "mappings.html", found=found, suspended=suspended)

    @router.get("/mapping/{name}")
    def show_mapping(request: Request, name: Name, contact: Contact = None) -> Response:
        one = connections[name]
        shown, why = sample(name, contact)
        return shell.page(
            request,
            "mapping.html",
            name=name,
            map=one.map,
            rows=mapped.fields_of(one.map, shown),
            sample=shown,
            why=why,
            source=mapped.text_of(one.map),
            text=None,
            problems=None,
        )

    @router.get("/mapping/{name}/problems")
    def show_problems(request: Request, name: Name) -> Response:
        """Asks the vendor which fields there are, so a page of its own."""
        one = connections[name]
        with database.read() as db:
            suspended = [field for field in alarms.fields_of(db) if field.connection == name]
        found = mapped.problems_of(one, one.map)
        return shell.page(request, "mapping_problems.html", name=name, found=found, suspended=suspended)

    @router.post("/mapping/{name}")
    def try_mapping(request: Request, name: Name, sent: Sent) -> Response:
        """A changed mapping on the same record; nothing is kept."""
        one = connections[name]
        text = sent.fields.get("text", "").replace("\r\n", "\n")
        number = sent.get("contact")
        shown, why = sample(name, int(number) if number is not None and number.isdecimal() else None)
        try:
            map_, problems = mapped.tried(one, text), []
        except MappingError as error:
            map_, problems = one.map, list(error.problems)
        return shell.page(
            request,
            "mapping.html",
            name=name,
            map=map_,
            rows=mapped.fields_of(map_, shown),
            sample=shown,
            why=why,
            source=mapped.text_of(one.map),
            text=text,
            problems=problems,
        )

    return router
