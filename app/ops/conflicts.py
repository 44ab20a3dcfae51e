"""Double edits that wait for a person, and what people said of all such: ``/conflicts``, ``/rulings``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

import structlog
from fastapi import APIRouter, Depends, Query
from pydantic import Field, model_validator
from sqlalchemy import Connection as Db
from sqlalchemy import RowMapping

from app.core.clock import from_ms
from app.core.db import BIGGEST, Database
from app.core.words import MISSING
from app.ops import paging
from app.ops.auth import allowed
from app.ops.paging import After, Limit, Page
from app.ops.problems import known_query
from app.ops.shapes import Asked, By, ByConnection, Id, Moment, NameText, Shape
from app.records import conflicts
from app.records import contacts as people
from app.repair import settling
from app.repair.settling import Choice, Decided
from app.sync.connection import Connections

log = structlog.get_logger(__name__)

ByContact = Annotated[int | None, Query(ge=1, le=BIGGEST, description="Only of this contact.", examples=[42])]


class ConflictShown(Shape):
    """A true double edit that a person has to decide."""

    id: int = Field(examples=[5])
    contact_id: int = Field(examples=[42])
    field: str = Field(examples=["job_title"])
    connection: str = Field(description="Whose value is not let in.", examples=["mailchimp"])
    ours: Any = Field(description="The value that Tandem held when it was asked.")
    theirs: Any = Field(description="The value at the connection.")
    event: int | None = Field(description="That brought theirs, see /ops/events/{event_id}.")
    at: Moment = Field(description="When it was asked.")


class Voice(Shape):
    """One of the two values, and who said it."""

    value: Any
    source: str = Field(description="The connection, or whoever said it.", examples=["hubspot"])
    actor: str | None = Field(description="The operator.", examples=["Kim"])
    at: Moment = Field(description="When.")
    event: int | None = Field(description="See /ops/events/{event_id}.")


class ConflictDetail(ConflictShown):
    """Both values, and who said them when."""

    ours_by: Voice | None = Field(description="What Tandem holds now; null: nobody has said anything.")
    theirs_by: Voice
    waiting: int = Field(description="How many double edits of this field wait at this connection.", examples=[12])


class Decision(Asked):
    """What a person chooses."""

    by: By = Field(description="The operator's name; it is kept.", examples=["Kim"])
    choose: Choice = Field(description="`ours`, `theirs`, or a `value` of your own.", examples=["theirs"])
    value: Any = Field(default=None, description="Where `choose` is `value`; null: empty.")
    always: bool = Field(default=False, description="Every double edit of this field at this connection from now on.")

    @model_validator(mode="after")
    def _fits(self) -> Decision:
        given = "value" in self.model_fields_set
        if given is not (self.choose == settling.OWN):
            raise ValueError("a value goes with the choice `value`, and only with it")
        if self.always and self.choose == settling.OWN:
            raise ValueError("a value of your own holds for one contact; `always` goes with ours or theirs")
        return self


class DecisionShown(Shape):
    """What holds now."""

    contact_id: int = Field(examples=[42])
    field: str = Field(examples=["job_title"])
    value: Any
    waiting: int = Field(description="Other double edits of the field at the connection still wait.", examples=[0])


class RulingShown(Shape):
    """What a person said of every double edit of a field at a connection."""

    connection: str = Field(examples=["mailchimp"])
    field: str = Field(examples=["job_title"])
    choice: Literal["ours", "theirs"] = Field(examples=["theirs"])
    by: str = Field(examples=["Kim"])
    at: Moment


class Rulings(Shape):
    """All of them."""

    items: list[RulingShown]


class RulingEnded(Asked):
    """Which one to forget."""

    by: By = Field(description="The operator's name; the log has it.", examples=["Kim"])
    connection: NameText = Field(examples=["mailchimp"])
    field: Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[a-z][a-z0-9_:.]*$", examples=["job_title"])]


def _shown(row: RowMapping) -> dict[str, Any]:
    return {**dict(row), "at": from_ms(row["at"])}


def listing(
    db: Db, *, limit: int, after: str | None = None, connection: str | None = None, contact: int | None = None
) -> Page[ConflictShown]:
    """One page of them, the newest first."""
    position = paging.decode("conflicts", after, 1)
    before = position[0] if position is not None else None
    rows = conflicts.listed(db, limit + 1, before, connection=connection, contact=contact)
    following = (rows[limit - 1]["id"],) if len(rows) > limit else None
    return Page(
        items=[ConflictShown(**_shown(row)) for row in rows[:limit]], next=paging.encode("conflicts", following)
    )


def detail(db: Db, number: int) -> ConflictDetail:
    """One of them with who said what when.  Raises NotFound."""
    row = conflicts.one(db, number)
    contact = people.load(db, [row["contact_id"]]).get(row["contact_id"])
    fact = contact.facts.get(row["field"]) if contact is not None else None
    ours = None
    if fact is not None:
        ours = Voice(value=fact.value, source=fact.source, actor=fact.actor, at=from_ms(fact.at), event=fact.event)
    theirs = Voice(value=row["theirs"], source=row["connection"], actor=None, at=from_ms(row["at"]), event=row["event"])
    waiting = conflicts.waiting(db, row["connection"], row["field"])
    return ConflictDetail(**_shown(row), ours_by=ours, theirs_by=theirs, waiting=waiting)


def rulings(db: Db) -> Rulings:
    """What people said of every double edit, by connection and field."""
    return Rulings(items=[RulingShown(**_shown(row)) for row in conflicts.all_rulings(db)])


def decide(database: Database, connections: Connections, number: int, asked: Decision) -> DecisionShown:
    """Decide one of them; what holds now.  Raises NotFound, NotPossible."""

    def work(db: Db) -> Decided:
        value = asked.value if asked.choose == settling.OWN else MISSING
        return settling.decide(db, connections, number, asked.choose, asked.by, value=value, always=asked.always)

    decided = database.transact(work)
    log.info("operator.decided", conflict=number, choice=asked.choose, always=asked.always)
    return DecisionShown(contact_id=decided.contact, field=decided.field, value=decided.value, waiting=decided.waiting)


def unrule(database: Database, asked: RulingEnded) -> Rulings:
    """Forget what was said of a field's double edits; what is left.  Raises NotFound."""
    with database.write() as db:
        conflicts.unrule(db, asked.connection, asked.field)
        left = rulings(db)
    log.info("operator.unruled", connection=asked.connection, field=asked.field)
    return left


def conflicts_api(database: Database, connections: Connections, wake: Callable[[], None]) -> APIRouter:
    """The routes."""
    router = APIRouter(tags=["conflicts"], dependencies=[Depends(allowed), Depends(known_query)])

    @router.get("/conflicts")
    def list_conflicts(
        connection: ByConnection = None, contact: ByContact = None, limit: Limit = 50, after: After = None
    ) -> Page[ConflictShown]:
        """List the double edits that wait for a person, the newest first."""
        with database.read() as db:
            return listing(db, limit=limit, after=after, connection=connection, contact=contact)

    @router.get("/conflicts/{conflict_id}")
    def get_conflict(conflict_id: Id) -> ConflictDetail:
        """Show one of them: both values, who said them, when, and through which event."""
        with database.read() as db:
            return detail(db, conflict_id)

    @router.post("/conflicts/{conflict_id}/decide", responses={409: {}})
    def decide_conflict(conflict_id: Id, asked: Decision) -> DecisionShown:
        """Decide one of them; what is chosen holds on all sides.  `always`: merging follows it from now on."""
        found = decide(database, connections, conflict_id, asked)
        wake()
        return found

    @router.get("/rulings")
    def list_rulings() -> Rulings:
        """List what people said of every double edit of a field at a connection."""
        with database.read() as db:
            return rulings(db)

    @router.post("/rulings/remove", responses={404: {}})
    def remove_ruling(asked: RulingEnded) -> Rulings:
        """Ask again from now on; the answer is what is left."""
        return unrule(database, asked)

    return router
