"""Erasing one person everywhere, and how far it is: ``/erasures``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

import structlog
from fastapi import APIRouter, Depends
from pydantic import Field, StringConstraints

from app.core.db import Database
from app.ops.auth import allowed
from app.ops.problems import known_query
from app.ops.shapes import Asked, By, Id, Moment, Shape
from app.repair import erasing
from app.sync.connection import Connections

log = structlog.get_logger(__name__)


class ErasureAsked(Asked):
    """Whom to erase, and who says so."""

    address: Annotated[str, StringConstraints(min_length=3, max_length=320, pattern=r"^[^\x00]*@[^\x00]*$")] = Field(
        description="Any address of the person, in any spelling.", examples=["ann@example.org"]
    )
    by: By = Field(description="Your name; it is kept.", examples=["Kim"])


class SystemShown(Shape):
    """One call to one vendor."""

    connection: str = Field(examples=["hubspot"])
    status: Literal["pending", "done", "by_hand", "refused"]
    attempts: int = Field(examples=[1])
    answer: str | None = Field(description="What came of it, in Tandem's words.", examples=["erased"])


class ErasureShown(Shape):
    """How an erasure stands.  Holds nothing of the person but a keyed hash."""

    id: int = Field(examples=[3])
    status: Literal["calling", "sweeping", "scrubbing", "done", "partly"] = Field(
        description="calling: vendors are asked.  sweeping, scrubbing: rows and bytes are removed here.  "
        "partly: through, and something is left to do by hand."
    )
    by: str = Field(examples=["Kim"])
    requested_at: Moment
    done_at: Moment | None
    systems: list[SystemShown]
    proof: dict[str, Any] | None = Field(description="Document and signature, once it is through.")


def erasures(database: Database, connections: Connections, wake: Callable[[], None]) -> APIRouter:
    """The routes."""
    router = APIRouter(prefix="/erasures", tags=["privacy"], dependencies=[Depends(allowed), Depends(known_query)])

    @router.post("", status_code=202, responses={404: {}})
    def start_erasure(asked: ErasureAsked) -> ErasureShown:
        """Erase a person at every vendor and here.  It cannot be undone; asked twice, it is one erasure."""

        def begin(db: Any) -> dict[str, Any]:
            return erasing.shown(db, erasing.start(db, connections, asked.address, asked.by))

        found = ErasureShown(**database.transact(begin))
        log.info("operator.erases", erasure=found.id)
        wake()
        return found

    @router.get("/{erasure_id}")
    def get_erasure(erasure_id: Id) -> ErasureShown:
        """Show how an erasure stands, and its proof once it is through."""
        with database.read() as db:
            return ErasureShown(**erasing.shown(db, erasure_id))

    return router
