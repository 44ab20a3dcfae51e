"""The demo's front page: two vendors and the contacts between them, live, and edits at either.

It follows ``/demo/state``, which answers 304 while nothing changed.  Mounted in a demo only, where people are made up.
"""

from __future__ import annotations

import hashlib
from typing import Annotated, Any
from urllib.parse import urlencode

import orjson
from fastapi import APIRouter, Depends, Query, Request, Response

from app.console import edit, view
from app.console.shell import HEADERS, Shell
from app.core.db import BIGGEST
from app.ops.auth import Guard

Id = Annotated[int, Query(ge=0, le=BIGGEST)]
Words = Annotated[str, Query(max_length=200)]


class Live:
    """Gathers and renders."""

    def __init__(self, shell: Shell) -> None:
        self._database = shell.database
        self._connections = shell.connections
        self._templates = shell.templates

    def render(self, template: str, **values: Any) -> str:
        """A template's text."""
        return self._templates.get_template(template).render(**values)

    def gather(self, person: int, after: int, q: str) -> dict[str, Any]:
        """What the page shows."""
        with self._database.read() as db:
            people, following = view.listing(db, self._connections, after=after, query=q)
            if not person and people:
                person = people[0].id
            return {
                "cards": view.cards(db, self._connections),
                "people": people,
                "detail": view.detail(db, self._connections, person) if person else None,
                "changes": view.changes(db),
                "sides": [(one.name, str(one.side)) for one in self._connections.values()],
                "person": person,
                "after": after,
                "following": following,
                "q": q,
                "link": _link,
            }


def _visitor(request: Request) -> None:
    """Lets a browser on this machine look at the demo's people, who are made up; nobody else."""
    refused = Guard(None).refusal(request)
    if refused is not None:
        raise refused


def demo_routes(shell: Shell, editor: edit.Editor) -> APIRouter:
    """The paths of the demo."""
    router = APIRouter(include_in_schema=False)
    pages = Live(shell)

    @router.get("/", dependencies=[Depends(_visitor)])
    def page(person: Id = 0, after: Id = 0, q: Words = "", said: Words = "") -> Response:
        values = pages.gather(person, after, q)
        forms = editor.forms(values["detail"])
        body = pages.render("demo.html", **values, forms=forms, said=said)
        return Response(body, media_type="text/html", headers=HEADERS)

    @router.get("/demo/state", dependencies=[Depends(_visitor)])
    def state(request: Request, person: Id = 0, after: Id = 0, q: Words = "") -> Response:
        values = pages.gather(person, after, q)
        regions = {name: pages.render(f"_{name}.html", **values) for name in ("cards", "people", "detail", "changes")}
        body = orjson.dumps(regions)
        tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
        headers = {**HEADERS, "ETag": tag}
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        return Response(body, media_type="application/json", headers=headers)

    @router.get("/demo/forms", dependencies=[Depends(_visitor)])
    def forms(person: Id) -> Response:
        detail = pages.gather(person, 0, "")["detail"]
        made = {form.connection: pages.render("_form.html", form=form) for form in editor.forms(detail)}
        return Response(orjson.dumps(made), media_type="application/json", headers=HEADERS)

    @router.post("/demo/edit", dependencies=[Depends(_visitor)])
    def change(asked: Annotated[edit.Asked, Depends(edit.asked)]) -> Response:
        said = editor.change(asked)
        if asked.json:
            return Response(orjson.dumps({"done": said}), media_type="application/json", headers=HEADERS)
        back = _link(asked.person, asked.after, asked.q, said=said)
        return Response(status_code=303, headers={**HEADERS, "Location": back})

    return router


def _link(person: int, after: int = 0, q: str = "", **more: str) -> str:
    values = {"person": person, "after": after, "q": q, **more}
    return "/?" + urlencode({name: value for name, value in values.items() if value})
