"""What all pages of the console share: rendering, who may look, forms, errors as pages.

A page is a module with ``ENTRY`` (its place in the navigation) and ``routes(shell)``.  It reads through the functions
that the API and the command line use, and renders.  Nothing on a page needs a script: htmx replaces parts of it where
there is one (https://htmx.org/docs/).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import parse_qsl, urlencode

import jinja2
from fastapi import APIRouter, Depends, HTTPException, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError

from app.console import who
from app.console.charts import bars, line
from app.console.menu import Entry, grouped
from app.console.words import ago, coded, count, label, moment, number, seconds, share, text
from app.core import clock
from app.core.db import Database
from app.core.errors import ConfigError, NotFound, NotPossible
from app.ops.auth import Guard, admits
from app.ops.health import Examiner
from app.repair.connecting import Connecting
from app.sync.connection import Connections

# https://cheatsheetseries.owasp.org/cheatsheets/HTTP_Headers_Cheat_Sheet.html
HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    # Not "no-referrer": with it a browser says "null" as the origin of our own forms, too.
    # https://fetch.spec.whatwg.org/#append-a-request-origin-header
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}
STATIC: Final = {
    "agreement.css": "text/css; charset=utf-8",
    "console.css": "text/css; charset=utf-8",
    "console.js": "text/javascript; charset=utf-8",
    "demo.js": "text/javascript; charset=utf-8",
    "htmx.min.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
ROOT: Final = "/console"
FORM_BYTES: Final = 64 * 1024
FORM_FIELDS: Final = 500
PAGE: Final = 25  # rows of a list

ERRORS: Final = (HTTPException, NotFound, NotPossible, ConfigError, ValidationError, RequestValidationError)
"""What a person is told on a page of its own; anything else is a defect, which the API's shield answers."""

After = Annotated[str | None, Query(max_length=200)]


def static_files() -> dict[str, bytes]:
    """The files that pages load, by name."""
    at = files("app.console").joinpath("static")
    return {n: at.joinpath(*(("vendor", n) if n.startswith("htmx") else (n,))).read_bytes() for n in STATIC}


@dataclass(frozen=True, slots=True)
class Form:
    """What a form sent."""

    fields: Mapping[str, str]

    def get(self, name: str) -> str | None:
        """A field; None where it is absent or empty, as browsers send what nobody filled in."""
        value = self.fields.get(name, "").strip()
        return value if value else None

    def starting(self, prefix: str) -> dict[str, str]:
        """The fields whose names begin so, without the prefix."""
        return {name.removeprefix(prefix): value for name, value in self.fields.items() if name.startswith(prefix)}


async def form(request: Request) -> Form:
    """Dependency: the form of a request.  Raises HTTPException 413, 415 or 422."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip()
    if kind != "application/x-www-form-urlencoded":
        raise HTTPException(415, "a form is application/x-www-form-urlencoded")
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > FORM_BYTES:
            raise HTTPException(413, f"a form may have {FORM_BYTES} bytes")
    try:
        return Form(dict(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=FORM_FIELDS)))
    except ValueError:
        raise HTTPException(422, "the form cannot be read: reload the page and send it again") from None


Sent = Annotated[Form, Depends(form)]


@dataclass(frozen=True, slots=True)
class Shell:
    """What a page is given."""

    database: Database
    connections: Connections
    wake: Callable[[], None]
    examiner: Examiner
    connecting: Connecting
    public_url: str | None  # under which vendors reach us; None: not said
    demo: bool  # the people are made up: a browser on this machine sees them without a token
    entries: Sequence[Entry]
    templates: jinja2.Environment
    agreement: Path | None = None  # the file of the draft

    def page(self, request: Request, template: str, *, status: int = 200, **values: Any) -> Response:
        """A whole page; htmx takes out of it what it shows anew (``hx-select``)."""
        body = self.templates.get_template(template).render({**values, **self.around(request)})
        return Response(body, status, media_type="text/html", headers=HEADERS)

    def around(self, request: Request) -> dict[str, Any]:
        """What the frame of every page shows."""
        return {
            "menu": grouped(self.entries),
            "here": request.url.path,
            "person": who.person(request),
            "csrf_token": who.csrf(request),
            "demo": self.demo,
            "now": clock.now(),
            "query": dict(request.query_params),
            "link": link,
            "sides": [(one.name, str(one.side)) for one in self.connections.values()],
        }

    def router(self) -> APIRouter:
        """A router whose paths ask who is there and whose errors are pages."""
        shell = self

        class Route(APIRoute):
            """Answers an error with a page."""

            def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
                handle = super().get_route_handler()

                async def handled(request: Request) -> Response:
                    try:
                        return await handle(request)
                    except ERRORS as problem:
                        return shell.problem(request, problem)

                return handled

        return APIRouter(prefix=ROOT, include_in_schema=False, route_class=Route, dependencies=[Depends(self.admit)])

    def admit(self, request: Request) -> None:
        """Dependency: only who may see everything; in a demo, a browser on this machine."""
        if self.demo:
            refused = Guard(None).refusal(request)
            if refused is not None:
                raise refused
        elif not admits(request):
            raise HTTPException(401, "the console answers to operators")

    def problem(self, request: Request, problem: Exception) -> Response:
        """An error as a page: what is wrong, and the way back."""
        status, words = told(problem)
        if status in {401, 403} and isinstance(problem, HTTPException):
            body = self.templates.get_template("stranger.html").render()
            return Response(body, status, media_type="text/html", headers=HEADERS)
        return self.page(request, "problem.html", status=status, words=words, code=status)

    def done(self, path: str, said: str, *, by: str | None = None, **more: Any) -> Response:
        """Back to a page after something was done; ``said``: a key of the template's table of messages."""
        response = Response(status_code=303, headers={**HEADERS, "Location": link(path, said=said, **more)})
        if by is not None:
            who.remember(response, by)
        return response


def told(problem: Exception) -> tuple[int, str]:
    """The status and the words of an error."""
    match problem:
        case HTTPException():
            return problem.status_code, str(problem.detail)
        case NotFound():
            return 404, str(problem)
        case ValidationError() | RequestValidationError():
            wrong = [f"{'.'.join(str(p) for p in one['loc'])}: {one['msg']}" for one in problem.errors()]
            return 422, "; ".join(wrong).replace("Value error, ", "")
    return 409, str(problem)


def link(path: str, **query: Any) -> str:
    """A path with the parameters that say something."""
    said = {name: value for name, value in query.items() if value is not None and value not in ("", False)}
    return f"{path}?{urlencode(said)}" if said else path


def shape(kind: type[BaseModel], **values: Any) -> Any:
    """A body of the API made of a form; what is None was not filled in.  Raises ValidationError."""
    return kind.model_validate({name: value for name, value in values.items() if value is not None})


def environment(texts: Mapping[str, bytes]) -> jinja2.Environment:
    """The templates: everything is escaped, and a name that nobody gave is an error."""
    made = jinja2.Environment(
        loader=jinja2.PackageLoader("app.console"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    tags = {name: hashlib.sha256(body).hexdigest()[:12] for name, body in texts.items()}

    def static(name: str) -> str:
        return f"/static/{name}?v={tags[name]}"

    def since(at: datetime | None) -> str:
        return ago(None if at is None else max(0, clock.to_ms(clock.now()) - clock.to_ms(at)))

    made.filters |= {
        "ago": ago,
        "coded": coded,
        "text": text,
        "label": label,
        "moment": moment,
        "number": number,
        "seconds": seconds,
        "share": share,
        "count": count,
        "since": since,
    }
    made.globals |= {"static": static, "bars": bars, "line": line}
    return made
