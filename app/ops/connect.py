"""Connecting accounts by OAuth: ``/ops/tokens``, ``/connections/{name}/authorize``, and the way back from the vendor.

Whoever asks where to go has to be allowed.  Who comes back need not be, as a vendor's redirect carries no header of
ours: the state is what lets him in, and the page that he sees says nothing but how it ended.
"""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from typing import Annotated, Any, Final

import structlog
from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from pydantic import Field
from sqlalchemy import RowMapping

from app.core.db import Database
from app.core.errors import NotFound, NotPossible
from app.ops.access.principal import own_name
from app.ops.auth import allowed, own_page
from app.ops.problems import known_query
from app.ops.shapes import By, Moment, Name, Shape, moment
from app.records import tokens
from app.repair.connecting import Connecting
from connectors.contract import NeedsHuman, TryLater

log = structlog.get_logger(__name__)

_SHOWN: Final = 2000  # characters of a parameter that a vendor's redirect may have; codes are a tenth of that
_PAGE: Final = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Tandem: {title}</title>
<h1>{title}</h1><p>{words}</p><p>You can close this page.</p></html>
"""


class Consent(Shape):
    """Where a person agrees that Tandem may use an account."""

    url: str = Field(description="To be opened in a browser, once.  Keep it to yourself: it lets one person connect.")
    redirect_uri: str = Field(
        description="Where the vendor sends the browser back to; the vendor's app has to be registered with it.",
        examples=["https://tandem.example.com/connections/hubspot/callback"],
    )
    until: Moment = Field(description="Until when the browser may come back.")


class TokenStanding(Shape):
    """The tokens of one connection; nothing secret."""

    connection: str = Field(examples=["hubspot"])
    connected: bool = Field(description="Whether there are tokens and the vendor took them last.")
    grant: str | None = Field(description="By what right they were had.", examples=["authorization_code"])
    renews: bool = Field(description="Whether Tandem gets the next token without a person.")
    expires_at: Moment | None = Field(description="Of the present access token; null: it does not expire, or none.")
    refreshed_at: Moment | None = Field(description="When the vendor gave it.")
    connected_at: Moment | None
    connected_by: str | None = Field(description="Who connected it.", examples=["Kim"])
    lost_at: Moment | None = Field(description="Since when the vendor takes it no more; null: it does.")
    scopes: list[str] = Field(description="What the vendor allowed, where it says so.")
    account: str | None = Field(description="Whose account it is, in the vendor's words.", examples=["62515"])
    key: str | None = Field(description="Id of the encryption key that seals them.", examples=["1f8ac10f"])


class TokenList(Shape):
    """All connections that use OAuth.  They are as many as the configuration names, so they are not paged."""

    items: list[TokenStanding]


def standings(database: Database, connecting: Connecting) -> list[TokenStanding]:
    """How the tokens of all connections that use OAuth stand."""
    with database.read() as db:
        rows = {row["connection"]: row for row in tokens.listed(db)}
    return [_standing(name, rows.get(name)) for name in connecting.names]


def _standing(name: str, row: RowMapping | None) -> TokenStanding:
    known: dict[str, Any] = {str(key): value for key, value in row.items()} if row is not None else {}
    return TokenStanding(
        connection=name,
        connected=row is not None and row["lost_at"] is None,
        grant=known.get("grant"),
        renews=bool(known.get("renews")) or (row is not None and row["grant"] != "authorization_code"),
        expires_at=moment(known.get("expires_at")),
        refreshed_at=moment(known.get("refreshed_at")),
        connected_at=moment(known.get("connected_at")),
        connected_by=known.get("connected_by"),
        lost_at=moment(known.get("lost_at")),
        scopes=known.get("scopes", []),
        account=known.get("account"),
        key=known.get("key_id"),
    )


def connect_api(database: Database, connecting: Connecting, wake: Callable[[], None]) -> APIRouter:
    """The routes."""
    router = APIRouter(tags=["connections"])

    @router.get("/ops/tokens", dependencies=[Depends(allowed), Depends(known_query)])
    def list_tokens() -> TokenList:
        """List the OAuth tokens of all connections that have any: until when they are good, never what they are."""
        return TokenList(items=standings(database, connecting))

    @router.get(
        "/connections/{name}/authorize",
        dependencies=[Depends(allowed), Depends(own_page), Depends(known_query)],
        response_model=Consent,
        responses={303: {"description": "A browser is sent there."}, 404: {}, 409: {}},
    )
    def authorize_connection(
        request: Request,
        name: Name,
        by: Annotated[By | None, Query(description="Who connects; it is kept.", examples=["Kim"])] = None,
    ) -> Consent | Response:
        """Begin to connect an account by OAuth: where a person agrees at the vendor.

        Who takes HTML is sent there at once.  Good for ten minutes and one return.  409 where the connection gets its
        tokens without a person.
        """
        begun = connecting.begin(name, own_name(by))
        if "text/html" in request.headers.get("accept", ""):
            return RedirectResponse(begun.url, 303)
        return Consent(url=begun.url, redirect_uri=begun.redirect_uri, until=begun.until)

    # For browsers that a vendor sends, with whatever parameters it likes: no part of the API that others call.
    @router.get("/connections/{name}/callback", include_in_schema=False)
    def connection_callback(request: Request, name: Name) -> Response:
        """Somebody comes back from the vendor."""
        query = {key: value for key, value in request.query_params.items() if len(value) <= _SHOWN}
        try:
            found = connecting.finish(name, query)
        except NotFound as problem:
            return _page(404, "not connected", str(problem))
        except NotPossible as problem:
            return _page(400, "not connected", str(problem))
        except NeedsHuman as problem:
            return _page(400, "not connected", f"{name}: {problem}")
        except TryLater as problem:
            return _page(502, "not connected", f"{name}: {problem}; begin again")
        wake()
        whose = f" to account {found.account}" if found.account is not None else ""
        return _page(200, "connected", f"{found.connection} is connected{whose}.")

    return router


def _page(status: int, title: str, words: str) -> Response:
    return HTMLResponse(_PAGE.format(title=title, words=escape(words)), status)
