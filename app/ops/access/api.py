"""Access itself: ``/me``, ``/tokens``, ``/audit``."""

from __future__ import annotations

from typing import Annotated, Any

import structlog
from fastapi import APIRouter, Depends, Query
from pydantic import Field
from sqlalchemy import Connection as Db

from app.core.clock import from_ms
from app.core.db import Database
from app.ops import paging
from app.ops.access.permissions import Permission, Role
from app.ops.access.visitors import new_token
from app.ops.auth import allowed, caller
from app.ops.paging import After, Limit, Page
from app.ops.problems import known_query
from app.ops.shapes import Asked, By, Id, Moment, Shape, Text, moment
from app.records import apitokens, audit

log = structlog.get_logger(__name__)

LONGEST_DAYS = 3660


class Me(Shape):
    """Who the caller is, as far as Tandem knows."""

    kind: str = Field(
        description="person, token, installation (TANDEM_TOKEN), or local (this machine, nothing else set up).",
        examples=["token"],
    )
    name: str | None = Field(description="Under which acts are kept; null: whoever acts says a name.", examples=["n8n"])
    role: Role
    permissions: list[Permission] = Field(description="See docs/permissions.md.")
    masked: bool = Field(description="Whether values of people come masked.")


class ApiToken(Shape):
    """A program that may ask; never its token."""

    id: int = Field(examples=[3])
    name: str = Field(description="Under which its acts are kept.", examples=["n8n"])
    role: Role
    scopes: list[str] | None = Field(description="Permissions, of those of the role; null: all of them.")
    made_at: Moment
    made_by: str = Field(examples=["Kim"])
    expires_at: Moment | None = Field(description="null: it does not expire by itself.")
    used_at: Moment | None = Field(description="When it was used last, to the minute; null: never.")
    revoked_at: Moment | None
    revoked_by: str | None


class ApiTokenMade(ApiToken):
    """A new one."""

    token: str = Field(description="What the program sends.  Shown this once; Tandem keeps its hash only.")


class ApiTokenAsked(Asked):
    """What the token is to be."""

    by: By = Field(description="Your name; it is kept.", examples=["Kim"])
    name: Text = Field(min_length=1, max_length=apitokens.NAME_LENGTH, description="The program.", examples=["n8n"])
    role: Role = Field(description="What it is here.")
    scopes: list[Permission] | None = Field(
        default=None, description="Of the role's permissions only these; null: all."
    )
    days: float | None = Field(
        default=90, gt=0, le=LONGEST_DAYS, description="Until it expires; null: never.", examples=[90]
    )


class RevokeAsked(Asked):
    """Who revokes it."""

    by: By = Field(description="Your name; it is kept.", examples=["Kim"])


class Act(Shape):
    """One act: who did what, when, to which ids.  Holds nothing of the people it was about, and no secret."""

    id: int = Field(examples=[812])
    at: Moment
    kind: str = Field(
        description="person, token, installation, local, shell (a command), nobody (a login).", examples=["person"]
    )
    who: str | None = Field(description="The name that it is kept under.", examples=["kim"])
    key: int | None = Field(description="Id of the account or of the token.")
    act: str = Field(description="The permission, login, or the command.", examples=["operate"])
    what: str = Field(description="The route or the command.", examples=["POST /ops/connections/{name}/pause"])
    target: dict[str, Any] = Field(description="Ids and names.", examples=[{"name": "hubspot"}])
    made: dict[str, Any] | None = Field(description="Ids of what it made.", examples=[{"run": 7}])
    outcome: str | None = Field(description="The status, or a word; null: cut off, or not ended yet.", examples=["200"])
    ended_at: Moment | None


def token_shown(row: Any) -> ApiToken:
    """A row as it is answered."""
    return ApiToken(**_token(row))


def _token(row: Any) -> dict[str, Any]:
    data = {name: row[name] for name in ApiToken.model_fields}
    times = {name: moment(row[name]) for name in ("made_at", "expires_at", "used_at", "revoked_at")}
    return {**data, **times, "role": Role(row["role"])}


def act_shown(row: dict[str, Any]) -> Act:
    """A row of the audit log as it is answered."""
    data = {name: row[name] for name in ("id", "kind", "who", "key", "act", "what", "target", "made")}
    return Act(**data, at=from_ms(row["at"]), outcome=row["ended"], ended_at=moment(row["ended_at"]))


def acts(db: Db, limit: int, after: str | None, *, who: str | None, act: str | None) -> Page[Act]:
    """A page of the audit log, the newest first.  Raises what ``paging.decode`` does for a wrong cursor."""
    position = paging.decode("audit", after, 1)
    found = audit.listed(db, limit + 1, position[0] if position is not None else None, who=who, act=act)
    following = (found[limit - 1]["id"],) if len(found) > limit else None
    return Page(items=[act_shown(row) for row in found[:limit]], next=paging.encode("audit", following))


def access_api(database: Database) -> APIRouter:
    """The routes."""
    router = APIRouter(tags=["access"], dependencies=[Depends(allowed), Depends(known_query)])

    @router.get("/me")
    def show_me() -> Me:
        """Say who the caller is and what it may."""
        me = caller()
        masked = not me.may(Permission.PLAIN)
        return Me(kind=str(me.kind), name=me.name, role=me.role, permissions=me.permissions, masked=masked)

    @router.get("/tokens")
    def list_api_tokens(limit: Limit = 50, after: After = None) -> Page[ApiToken]:
        """List API tokens, the newest first; never what they are."""
        position = paging.decode("api_tokens", after, 1)
        with database.read() as db:
            found = apitokens.listed(db, limit + 1, position[0] if position is not None else None)
        following = (found[limit - 1]["id"],) if len(found) > limit else None
        return Page(items=[token_shown(row) for row in found[:limit]], next=paging.encode("api_tokens", following))

    @router.post("/tokens", status_code=201, responses={409: {}})
    def make_api_token(asked: ApiTokenAsked) -> ApiTokenMade:
        """Make an API token with a name, a role and an end.  Nobody gives more than they have."""
        row, secret = new_token(database, asked.name, asked.role, asked.scopes, asked.days, asked.by, caller())
        log.info("operator.token_made", token=row["id"])
        return ApiTokenMade(**_token(row), token=secret)

    @router.post("/tokens/{token_id}/revoke")
    def revoke_api_token(token_id: Id, asked: RevokeAsked) -> ApiToken:
        """End an API token from now on.  One that was revoked before stays as it was."""
        with database.write() as db:
            row = apitokens.revoke(db, token_id, asked.by)
        log.info("operator.token_revoked", token=token_id)
        return token_shown(row)

    @router.get("/audit")
    def list_acts(
        limit: Limit = 50,
        after: After = None,
        who: Annotated[Text | None, Query(max_length=200, description="Only of this name.", examples=["kim"])] = None,
        act: Annotated[
            Text | None, Query(max_length=100, description="Only acts of this kind.", examples=["operate"])
        ] = None,
    ) -> Page[Act]:
        """List what people and programs did, the newest first.  Reading this is an act, too."""
        with database.read() as db:
            return acts(db, limit, after, who=who, act=act)

    return router
