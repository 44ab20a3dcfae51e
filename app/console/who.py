"""Who sits in front of the console: the one place that the pages ask.

Until people sign in, whoever decides something types a name, as ``--by`` takes it on the command line; the browser
keeps it in a cookie, so that it is typed once.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import quote, unquote

from fastapi import Request, Response

COOKIE: Final = "tandem-name"
LONGEST: Final = 100  # characters, as ``app.ops.shapes.By`` allows
YEAR_SECONDS: Final = 365 * 86_400


def person(request: Request) -> str:
    """The name of the person; empty where it is not known yet."""
    name = unquote(request.cookies.get(COOKIE, "")).strip()
    return name if len(name) <= LONGEST and name.isprintable() else ""


def remember(response: Response, name: str) -> None:
    """Let the browser keep the name for the next decision."""
    response.set_cookie(
        COOKIE, quote(name), max_age=YEAR_SECONDS, path="/console", httponly=True, samesite="strict", secure=False
    )


def csrf(request: Request) -> str | None:  # noqa: ARG001 - a session will bind it
    """What a form carries to prove that it is ours; None: the origin of the request is what proves it."""
    return None
