"""Putting back what certain changes replaced: ``POST /undo``, which shows first and then does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import structlog
from fastapi import APIRouter, Depends, Response
from pydantic import Field, StringConstraints, model_validator

from app.core.clock import to_ms
from app.core.db import BIGGEST
from app.core.errors import NotPossible
from app.ops.auth import allowed
from app.ops.problems import known_query
from app.ops.shapes import Asked, By, NameText, Shape, Time
from app.repair.past import Which
from app.repair.undoing import SAMPLE, WHY_NOT, Change, Plan, Undo

log = structlog.get_logger(__name__)

Number = Annotated[int, Field(ge=1, le=BIGGEST)]
FieldText = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_:.]{0,99}$")]


class UndoAsked(Asked):
    """Which changes: all that fit everything that is said, of which a run, a contact, a field or a time is needed."""

    by: By = Field(description="The operator's name; it is kept.", examples=["Kim"])
    run: Number | None = Field(default=None, description="What this run changed: an undo, or a replay.", examples=[3])
    contact: Number | None = Field(default=None, description="Only of this contact.", examples=[42])
    field: FieldText | None = Field(default=None, description="Only of this field.", examples=["city"])
    since: Time | None = Field(default=None, description="Only what was stored at this moment or later.")
    connection: NameText | None = Field(default=None, description="Only what came from there.", examples=["hubspot"])
    dry_run: bool = Field(default=True, description="Only show what would be put back.")
    expect: Annotated[int, Field(ge=0)] | None = Field(
        default=None, description="`total` of the dry run: nothing is done where it is another by now.", examples=[200]
    )

    @model_validator(mode="after")
    def _some(self) -> UndoAsked:
        if self.run is None and self.contact is None and self.field is None and self.since is None:
            raise ValueError("say which changes: a run, a contact, a field or a time")
        return self

    @property
    def which(self) -> Which:
        """The same for the station."""
        since = to_ms(self.since) if self.since is not None else None
        return Which(self.run, self.contact, self.field, since, self.connection)


class PutBack(Shape):
    """One value that goes back."""

    contact_id: int = Field(examples=[42])
    field: str = Field(examples=["city"])
    now: Any
    then: Any


class Stuck(Shape):
    """One value that does not."""

    contact_id: int = Field(examples=[42])
    field: str = Field(examples=["city"])
    code: str = Field(examples=["changed_since"])
    words: str
    by: str | None = Field(description="Who changed it since.", examples=["mailchimp"])


class NotUndone(Shape):
    """How many are not put back, and why."""

    code: str = Field(examples=["changed_since"])
    words: str = Field(description="Why, and what would help.")
    count: int = Field(examples=[12])


class NotWritten(Shape):
    """Where the value that is put back here does not travel to."""

    connection: str = Field(examples=["mailchimp"])
    field: str = Field(examples=["city"])
    count: int = Field(examples=[12])


class UndoShown(Shape):
    """What is put back, or would be."""

    run: int | None = Field(description="The run that does it, see /ops/runs/{run_id}; null: a dry run.", examples=[3])
    total: int = Field(description="Values that go back.", examples=[200])
    fields: dict[str, int] = Field(description="The same by field.", examples=[{"city": 200}])
    samples: list[PutBack] = Field(description=f"The first {SAMPLE}.")
    not_undone: list[NotUndone]
    stuck: list[Stuck] = Field(description=f"The first {SAMPLE} of those.")
    not_written: list[NotWritten] = Field(
        description="Connections that only tell us the field, or are only observed: they keep what they have."
    )


def shown(plan: Plan, run: int | None = None) -> UndoShown:
    """A plan for people."""
    return UndoShown(
        run=run,
        total=plan.total,
        fields=dict(sorted(plan.fields.items())),
        samples=[PutBack(contact_id=c.contact, field=c.field, now=c.now, then=c.then) for c in plan.samples],
        not_undone=[
            NotUndone(code=code, words=WHY_NOT[code], count=n) for code, n in sorted(plan.not_possible.items())
        ],
        stuck=[_stuck(c) for c in plan.stuck],
        not_written=[NotWritten(connection=c, field=f, count=n) for (c, f), n in sorted(plan.not_written.items())],
    )


def _stuck(change: Change) -> Stuck:
    code = change.why_not if change.why_not is not None else ""
    return Stuck(contact_id=change.contact, field=change.field, code=code, words=WHY_NOT[code], by=change.by)


def undo(station: Undo, asked: UndoAsked) -> UndoShown:
    """Show, and where it is no dry run begin.  Raises NotFound, NotPossible."""
    plan = station.plan(asked.which)
    if asked.dry_run:
        return shown(plan)
    if asked.expect is not None and asked.expect != plan.total:
        raise NotPossible(f"{plan.total} values would go back, not {asked.expect}: look at the dry run again")
    if plan.total == 0:
        why = "; ".join(WHY_NOT[code] for code in sorted(plan.not_possible))
        raise NotPossible(f"nothing can be put back{f': {why}' if why else ': no change fits'}")
    return shown(plan, station.start(asked.which, asked.by, plan.total))


def undo_api(station: Undo, wake: Callable[[], None]) -> APIRouter:
    """The route."""
    router = APIRouter(tags=["runs"], dependencies=[Depends(allowed), Depends(known_query)])

    @router.post("/undo", responses={404: {}, 409: {}})
    def undo_changes(asked: UndoAsked, response: Response) -> UndoShown:
        """Put back what certain changes replaced, on all sides.  Shows it only, unless `dry_run` is false.

        It is done in the background by a run, which can be undone itself.
        """
        answer = undo(station, asked)
        if answer.run is not None:
            log.info("operator.undo", run=answer.run)
            response.headers["Location"] = f"/ops/runs/{answer.run}"
            wake()
        return answer

    return router
