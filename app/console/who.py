"""Who sits in front of the console: the one place that the pages ask.

Whoever is signed in acts under their own name.  Where several share what opened the door (this machine, the
installation's token), whoever decides something types a name, as ``--by`` takes it on the command line; the browser
keeps it in a cookie, so that it is typed once.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import quote, unquote

from fastapi import Request, Response

from app.ops.access.permissions import needed
from app.ops.access.principal import CALLER
from app.ops.access.visitors import form_token

COOKIE: Final = "tandem-name"
LONGEST: Final = 100  # characters, as ``app.ops.shapes.By`` allows
YEAR_SECONDS: Final = 365 * 86_400


def person(request: Request) -> str:
    """The name of the person; empty where it is not known yet."""
    caller = CALLER.get()
    if caller is not None and caller.name is not None:
        return caller.name
    name = unquote(request.cookies.get(COOKIE, "")).strip()
    return name if len(name) <= LONGEST and name.isprintable() else ""


def signed_in() -> bool:
    """Whether there is a session, which can be ended."""
    caller = CALLER.get()
    return caller is not None and caller.session is not None


def named() -> bool:
    """Whether acts are kept under the caller's own name, so that nobody types one."""
    caller = CALLER.get()
    return caller is not None and caller.name is not None


def may_open(path: str) -> bool:
    """Whether a page of the navigation is for the caller."""
    caller, permission = CALLER.get(), needed("GET", path)
    return caller is None or permission is None or caller.may(permission)


def remember(response: Response, name: str) -> None:
    """Let the browser keep the name for the next decision."""
    response.set_cookie(
        COOKIE, quote(name), max_age=YEAR_SECONDS, path="/console", httponly=True, samesite="strict", secure=False
    )


def csrf(request: Request) -> str | None:  # noqa: ARG001 - the caller says it
    """What a form carries to prove that it is ours; None: the origin of the request is what proves it."""
    caller = CALLER.get()
    return form_token(caller.session) if caller is not None and caller.session is not None else None
