"""What was given up, and trying it again: ``/ops/dead``."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Annotated, Final

import structlog
from fastapi import APIRouter, Depends, HTTPException, Query
from pydantic import Field
from sqlalchemy import Connection as Db
from sqlalchemy import RowMapping, delete, func, select

from app.core import tables as t
from app.core.clock import from_ms
from app.core.db import Database
from app.core.errors import NotFound
from app.ops import paging
from app.ops.auth import allowed
from app.ops.paging import After, Limit, Page
from app.ops.problems import known_query
from app.ops.replay import obstacle, requeue
from app.ops.shapes import (
    COUNTED,
    Asked,
    ByCode,
    ByConnection,
    CodeText,
    Count,
    Id,
    Moment,
    NameText,
    Shape,
    Station,
    clock,
    counted,
)
from app.push import work
from app.sync.connection import Connections

log = structlog.get_logger(__name__)

BATCH: Final = 500  # letters tried again in one transaction
ROUNDS: Final = 20  # transactions in one request

i, d = t.inbox.c, t.dead.c


class DeadLetter(Shape):
    """Something that was given up."""

    id: int = Field(examples=[4])
    station: Station = Field(description="sync: a record that came in.  push: a write to the connection.")
    connection: str = Field(examples=["mailchimp"])
    code: str = Field(description="Why, in one word.", examples=["conflict"])
    reason: str = Field(description="Why, as the vendor or Tandem said it.")
    next_step: str = Field(description="What would help.", examples=["correct the value at its source, then retry"])
    field: str | None = Field(description="The vendor's field that it is about.")
    contact_id: int | None = Field(description="See /contacts/{contact_id}.")
    event: int | None = Field(description="See /ops/events/{event_id}.")
    attempts: int = Field(examples=[1])
    at: Moment = Field(description="When it was given up.")


class RetryAsked(Asked):
    """Which dead letters to try again: all, or fewer."""

    connection: NameText | None = Field(default=None, description="Only of this connection.", examples=["mailchimp"])
    code: CodeText | None = Field(default=None, description="Only with this code.", examples=["conflict"])


class Retried(Shape):
    """What became of the dead letters."""

    retried: int = Field(description="Tried again now; their letters are gone.", examples=[12])
    kept: int = Field(
        description="Cannot be tried again: the connection or the event is gone.  Ask for one to read why."
    )
    next: str | None = Field(
        default=None,
        description=f"Not all were reached: ask again with it as `after`.  One request takes {BATCH * ROUNDS}.",
    )


def shown(row: RowMapping) -> DeadLetter:
    return DeadLetter(**{**dict(row), "at": from_ms(row["at"])})


def listing(
    db: Db, *, connection: str | None, code: str | None, station: str | None, after: str | None, limit: int
) -> Page[DeadLetter]:
    """One page, the newest first; the index serves the connection, the rest is looked at up to a bound."""
    position = paging.decode("dead", after, 1)
    looked_at = limit + 1 if code is None and station is None else paging.MOST
    query = select(d.id, d.code, d.station).order_by(d.id.desc()).limit(looked_at)
    if connection is not None:
        query = query.where(d.connection == connection)
    if position is not None:
        query = query.where(d.id < position[0])
    rows, following = paging.cut(
        db.execute(query).mappings().all(),
        key=lambda row: (row["id"],),
        keep=lambda row: code in {None, row["code"]} and station in {None, row["station"]},
        limit=limit,
        looked_at=looked_at,
    )
    wanted = select(t.dead).where(d.id.in_([row["id"] for row in rows])).order_by(d.id.desc())
    return Page(
        items=[shown(row) for row in db.execute(wanted).mappings()] if rows else [],
        next=paging.encode("dead", following),
    )


class CauseShown(Shape):
    """Dead letters of one cause."""

    station: Station
    connection: str = Field(examples=["mailchimp"])
    code: str = Field(description="Why, in one word.", examples=["conflict"])
    letters: int = Field(description="How many of the newest ones.")
    reason: str = Field(description="Of the newest.")
    next_step: str = Field(description="What would help.")
    newest: Moment
    oldest: Moment


def causes(db: Db) -> tuple[list[CauseShown], Count]:
    """The newest letters grouped by why they are there, the largest group first; and how many letters there are."""
    some = select(d.id, d.station, d.connection, d.code, d.at).order_by(d.id.desc()).limit(COUNTED + 1).subquery()
    by = (some.c.station, some.c.connection, some.c.code)
    query = select(*by, func.count().label("n"), func.max(some.c.id).label("last"), func.min(some.c.at).label("first"))
    groups = db.execute(query.group_by(*by)).mappings().all()
    wanted = select(d.id, d.reason, d.next_step, d.at).where(d.id.in_([one["last"] for one in groups]))
    last = {row["id"]: row for row in db.execute(wanted).mappings()} if groups else {}
    found = [
        CauseShown(
            station=one["station"],
            connection=one["connection"],
            code=one["code"],
            letters=one["n"],
            reason=last[one["last"]]["reason"],
            next_step=last[one["last"]]["next_step"],
            newest=from_ms(last[one["last"]]["at"]),
            oldest=from_ms(one["first"]),
        )
        for one in groups
    ]
    found.sort(key=lambda one: (-one.letters, one.connection, one.code))
    return found, counted(sum(one.letters for one in found))


def retry(db: Db, connections: Connections, letters: Sequence[RowMapping]) -> dict[int, str]:
    """Try again what these letters gave up, and take them away; those that cannot be tried again stay, with why."""
    stuck: dict[int, str] = {}
    pushes: dict[str, dict[int, int]] = defaultdict(dict)
    now = clock(db)
    numbers = sorted({one["event"] for one in letters if one["station"] == "sync" and one["event"] is not None})
    columns = (i.id, i.connection, i.status, i.ref_key)
    known = {row["id"]: row for row in db.execute(select(*columns).where(i.id.in_(numbers))).mappings()}
    for one in letters:
        if one["connection"] not in connections:
            stuck[one["id"]] = f"its connection {one['connection']} is not configured any more"
        elif one["station"] == "push":
            if one["contact_id"] is None:
                stuck[one["id"]] = "it names no contact"
            else:
                pushes[one["connection"]][one["contact_id"]] = now
        elif one["event"] not in known:
            stuck[one["id"]] = "its event is no longer kept; the next change of the record brings it again"
        elif known[one["event"]]["status"] != "pending":  # a pending one is on its way already
            reason = obstacle(connections, known[one["event"]])
            if reason is not None:
                stuck[one["id"]] = f"event {one['event']}: {reason}"
    for name in sorted(pushes):
        work.mark(db, name, pushes[name])
    good = [one for one in letters if one["id"] not in stuck]
    requeue(db, [one["event"] for one in good if one["station"] == "sync"], letters=False)
    if good:
        db.execute(delete(t.dead).where(d.id.in_([one["id"] for one in good])))
    return stuck


def retry_letter(database: Database, connections: Connections, number: int) -> Retried:
    """Try again one.  Raises NotFound; HTTPException 409 where it cannot be, with why."""

    def again(db: Db) -> str | None:
        return retry(db, connections, [letter_of(db, number)]).get(number)

    reason = database.transact(again)
    if reason is not None:
        raise HTTPException(409, f"dead letter {number} cannot be tried again: {reason}")
    log.info("operator.retried", letter=number)
    return Retried(retried=1, kept=0)


def retry_many(database: Database, connections: Connections, asked: RetryAsked, after: str | None) -> Retried:
    """Oldest first, up to the newest there was at the beginning: what fails again is not tried again here."""
    position = paging.decode("retry", after, 2)
    if position is None:
        with database.read() as db:
            newest = db.execute(select(func.max(d.id))).scalar()
        position = (0, newest if newest is not None else 0)
    last, newest = position
    retried = kept = 0
    for _ in range(ROUNDS):

        def batch(db: Db, last: int = last) -> tuple[int, int, int | None]:
            query = select(t.dead).where(d.id > last, d.id <= newest).order_by(d.id).limit(BATCH)
            if asked.connection is not None:
                query = query.where(d.connection == asked.connection)
            rows = db.execute(query).mappings().all()
            wanted = [row for row in rows if asked.code in {None, row["code"]}]
            stuck = retry(db, connections, wanted)
            return len(wanted) - len(stuck), len(stuck), rows[-1]["id"] if len(rows) == BATCH else None

        good, stuck, end = database.transact(batch)
        retried, kept = retried + good, kept + stuck
        if end is None:
            return Retried(retried=retried, kept=kept)
        last = end
    return Retried(retried=retried, kept=kept, next=paging.encode("retry", (last, newest)))


def deadletters(database: Database, connections: Connections, wake: Callable[[], None]) -> APIRouter:
    """The routes."""
    router = APIRouter(prefix="/ops/dead", tags=["dead letters"], dependencies=[Depends(allowed), Depends(known_query)])

    @router.get("")
    def list_dead(
        connection: ByConnection = None,
        code: ByCode = None,
        station: Annotated[Station | None, Query(description="Only of this station.")] = None,
        limit: Limit = 50,
        after: After = None,
    ) -> Page[DeadLetter]:
        """List dead letters, the newest first."""
        with database.read() as db:
            return listing(db, connection=connection, code=code, station=station, after=after, limit=limit)

    # Before the one below, whose pattern fits its path: what a wrong method is told has to name POST.
    @router.post("/retry", status_code=202, responses={404: {}})
    def retry_dead(asked: RetryAsked, after: After = None) -> Retried:
        """Try again many dead letters, for instance after a mapping or a scope was corrected."""
        if asked.connection is not None:
            connections[asked.connection]  # raises NotFound
        found = retry_many(database, connections, asked, after)
        log.info("operator.retried", connection=asked.connection, code=asked.code, letters=found.retried)
        wake()
        return found

    @router.get("/{letter_id}")
    def get_dead(letter_id: Id) -> DeadLetter:
        """Show one dead letter."""
        with database.read() as db:
            return shown(letter_of(db, letter_id))

    @router.post("/{letter_id}/retry", status_code=202, responses={409: {}})
    def retry_one(letter_id: Id) -> Retried:
        """Try again one dead letter: the write is marked, or the event replayed, and the letter goes."""
        found = retry_letter(database, connections, letter_id)
        wake()
        return found

    return router


def letter_of(db: Db, number: int) -> RowMapping:
    row = db.execute(select(t.dead).where(d.id == number)).mappings().one_or_none()
    if row is None:
        raise NotFound(f"there is no dead letter {number}; it goes once it is tried again or settled")
    return row
