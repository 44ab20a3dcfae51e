"""Who is not to be made again, and taking that back: ``/ops/tombstones``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import structlog
from fastapi import APIRouter, Depends, HTTPException
from pydantic import Field
from sqlalchemy import RowMapping

from app.core.clock import from_ms
from app.core.db import Database
from app.ops import paging
from app.ops.auth import allowed
from app.ops.paging import After, Limit, Page
from app.ops.problems import known_query
from app.ops.shapes import Asked, By, Id, Moment, Shape, moment
from app.records import tombstones

log = structlog.get_logger(__name__)


class Tombstone(Shape):
    """Somebody who is not made again by any sync.  Holds no personal data but the vendor's id of a deleted record."""

    id: int = Field(examples=[7])
    connection: str = Field(description="Whose record was deleted; empty: everywhere.", examples=["hubspot"])
    remote_id: str | None = Field(description="The deleted record.")
    reason: Literal["deleted", "erased"]
    actor: str = Field(description="The connection or the operator that said it.", examples=["hubspot"])
    at: Moment
    lifted_at: Moment | None
    lifted_by: str | None = Field(description="The operator; `vendor`: the record was there again.")


class LiftAsked(Asked):
    """Who lifts it."""

    by: By = Field(description="The operator's name; it is kept.", examples=["Kim"])


def _shown(row: RowMapping | dict[str, object]) -> Tombstone:
    data = {name: row[name] for name in Tombstone.model_fields}
    return Tombstone(**{**data, "at": from_ms(row["at"]), "lifted_at": moment(row["lifted_at"])})  # type: ignore[arg-type]


def tombstones_api(database: Database, wake: Callable[[], None]) -> APIRouter:
    """The routes."""
    router = APIRouter(
        prefix="/ops/tombstones", tags=["privacy"], dependencies=[Depends(allowed), Depends(known_query)]
    )

    @router.get("")
    def list_tombstones(limit: Limit = 50, after: After = None) -> Page[Tombstone]:
        """List tombstones, the newest first."""
        position = paging.decode("tombstones", after, 1)
        with database.read() as db:
            found = tombstones.listed(db, limit + 1, position[0] if position is not None else None)
        following = (found[limit - 1]["id"],) if len(found) > limit else None
        return Page(items=[_shown(row) for row in found[:limit]], next=paging.encode("tombstones", following))

    @router.post("/{tombstone_id}/lift", responses={409: {}})
    def lift_tombstone(tombstone_id: Id, asked: LiftAsked) -> Tombstone:
        """Let the person be made again.  What was refused after a deletion comes again by a replay."""
        with database.write() as db:
            lifted = tombstones.lift(db, tombstone_id, asked.by)
            row = tombstones.one(db, tombstone_id)
        if not lifted:
            raise HTTPException(409, f"tombstone {tombstone_id} was lifted before")
        log.info("operator.lifted", tombstone=tombstone_id)
        wake()
        return _shown(row)

    return router
