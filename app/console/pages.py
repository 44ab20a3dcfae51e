"""The pages.  In: the store and the connections.  Out: ``/``, and in a demo ``/demo/…``, as HTML that needs no script.

Everything is escaped by the templates; scripts and styles come from this service alone, said by the content security
policy (https://www.w3.org/TR/CSP3/).  A page that lives follows ``/demo/state``, which answers 304 while nothing
changed.
"""

from __future__ import annotations

import hashlib
from importlib.resources import files
from typing import Annotated, Any, Final
from urllib.parse import urlencode

import jinja2
import orjson
from fastapi import APIRouter, Depends, HTTPException, Query, Request, Response

from app.console import edit, view
from app.core.db import Database
from app.ops.auth import Guard, admits
from app.sync.connection import Connections

# https://cheatsheetseries.owasp.org/cheatsheets/HTTP_Headers_Cheat_Sheet.html
HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
STATIC: Final = {
    "console.css": "text/css; charset=utf-8",
    "console.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}

Id = Annotated[int, Query(ge=0, le=2**63 - 1)]
Words = Annotated[str, Query(max_length=200)]


class Pages:
    """Renders."""

    def __init__(self, database: Database, connections: Connections) -> None:
        self._database = database
        self._connections = connections
        self._templates = jinja2.Environment(
            loader=jinja2.PackageLoader("app.console"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.filters["ago"] = view.ago

    def render(self, template: str, **values: Any) -> str:
        """A template's text."""
        return self._templates.get_template(template).render(**values)

    def answer(self, template: str, *, status: int = 200, **values: Any) -> Response:
        """A whole page."""
        return Response(self.render(template, **values), status, media_type="text/html", headers=HEADERS)

    def overview(self) -> Response:
        """The page of a service in use: connections, no people."""
        with self._database.read() as db:
            cards = view.cards(db, self._connections)
        return self.answer("overview.html", cards=cards)

    def gather(self, person: int, after: int, q: str) -> dict[str, Any]:
        """What the demo page shows."""
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


def console(database: Database, connections: Connections, *, demo: bool) -> APIRouter:
    """The routes of the pages; those that show and edit people only in a demo."""
    router = APIRouter(include_in_schema=False)
    pages = Pages(database, connections)
    texts = {name: files("app.console").joinpath("static", name).read_bytes() for name in STATIC}

    @router.get("/static/{name}")
    def static(name: str) -> Response:
        if name not in texts:
            raise HTTPException(404, "no such file")
        return Response(texts[name], media_type=STATIC[name], headers={**HEADERS, "Cache-Control": "no-cache"})

    @router.get("/robots.txt")
    def robots() -> Response:
        return Response("User-agent: *\nDisallow: /\n", media_type="text/plain", headers=HEADERS)

    if demo:
        _demo(router, pages, edit.Editor(database, connections))
    else:

        @router.get("/")
        def overview(request: Request) -> Response:
            return pages.overview() if admits(request) else pages.answer("stranger.html", status=401)

    return router


def _visitor(request: Request) -> None:
    """Lets a browser on this machine look at the demo's people, who are made up; nobody else."""
    refused = Guard(None).refusal(request)
    if refused is not None:
        raise refused


def _demo(router: APIRouter, pages: Pages, editor: edit.Editor) -> None:
    @router.get("/", dependencies=[Depends(_visitor)])
    def page(person: Id = 0, after: Id = 0, q: Words = "", said: Words = "") -> Response:
        values = pages.gather(person, after, q)
        forms = editor.forms(values["detail"])
        return pages.answer("demo.html", **values, forms=forms, said=said)

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


def _link(person: int, after: int = 0, q: str = "", **more: str) -> str:
    values = {"person": person, "after": after, "q": q, **more}
    return "/?" + urlencode({name: value for name, value in values.items() if value})
