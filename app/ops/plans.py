"""What would be written if all were live, and how far the first reading is: ``/ops/plan``, ``/ops/backfill``."""

from __future__ import annotations

from typing import Any, Literal

from fastapi import APIRouter, Depends
from pydantic import Field
from sqlalchemy import Connection as Db

from app.core.db import Database
from app.ops import paging
from app.ops.auth import allowed
from app.ops.paging import After, Limit, Page
from app.ops.problems import known_query
from app.ops.shapes import Asked, ByConnection, Moment, NameText, Shape, moment
from app.push import survey
from app.push.survey import Line, Tally
from app.repair.reading import Reading, readings
from app.sync.connection import Connection, Connections

LOOKED_AT = 400  # contacts that one page looks at


class ChangeShown(Shape):
    """One field of an order."""

    field: str = Field(description="In canonical words; `consent:…` for consent.", examples=["city"])
    old: Any = Field(description="What the record is known to hold; null: nothing, or not known.")
    new: Any = Field(description="What it would hold.")


class LineShown(Shape):
    """What would become of a contact at a connection."""

    connection: str = Field(examples=["mailchimp"])
    contact_id: int = Field(description="See /contacts/{contact_id}.", examples=[42])
    what: Literal["create", "update", "archive", "merge", "reject", "conflict"]
    changes: list[ChangeShown]
    code: str | None = Field(description="Why nothing is written; of a reject.", examples=["incomplete"])
    reason: str | None


class RejectShown(Shape):
    """Records or fields that are not written, by reason."""

    code: str = Field(examples=["incomplete"])
    reason: str = Field(description="Of one of them.")
    count: int


class BrakeForeseen(Shape):
    """A brake that would go on."""

    kind: str = Field(examples=["creates"])
    why: str


class PlanShown(Shape):
    """The plan of one connection in figures."""

    connection: str = Field(examples=["mailchimp"])
    mode: str = Field(description="observe, canary or live", examples=["observe"])
    contacts: int = Field(description="Contacts that were looked at.")
    known: int = Field(description="Records known there.")
    creates: int
    updates: int
    archives: int
    merges: int
    fields: dict[str, int] = Field(description="How many updates change which field.")
    conflicts: int = Field(description="Fields that wait for a person.")
    rejects: list[RejectShown]
    withdrawals: int = Field(description="Objections that the vendor would be told.")
    grants: int = Field(description="Consents that the vendor would be told; each rests on evidence.")
    pending: int = Field(description="Consents that were asked for and are not confirmed.")
    brakes: list[BrakeForeseen] = Field(description="Those that would go on, were all written within one window.")
    calls: int = Field(description="About how many calls it takes: full batches, and one for each word about consent.")
    seconds: float | None = Field(description="How long that takes within our part of the vendor's rate; null: no rate")
    unread: list[str] = Field(description="Connections whose first reading goes on: the plan is not final.")


class PlanList(Shape):
    """The plan of each connection."""

    items: list[PlanShown]


class PlanAsked(Asked):
    """What to plan."""

    connection: NameText | None = Field(default=None, description="Only this one; null: all.", examples=["mailchimp"])


class ReadingShown(Shape):
    """The first complete reading of a connection."""

    connection: str = Field(examples=["hubspot"])
    state: Literal["waiting", "reading", "storing", "done", "paused", "none"] = Field(
        description="storing: all is read, and not all of it stored.  none: it cannot be read completely."
    )
    read: int = Field(description="Records so far.")
    total: int | None = Field(description="How many there are; null: the vendor does not say.")
    pending: int = Field(description="Events that wait to be stored.")
    began_at: Moment | None
    walked_at: Moment | None = Field(description="When all was read.")
    done_at: Moment | None = Field(description="When all was stored.  Nobody is created before that is so everywhere.")
    rate: float | None = Field(description="Records a second since the beginning.")
    ends_at: Moment | None = Field(description="When reading ends at this rate; null: not known.")


class ReadingList(Shape):
    """The first reading of each connection."""

    items: list[ReadingShown]


def plan_shown(tally: Tally, connection: Connection) -> PlanShown:
    """The figures for people and programs."""
    return PlanShown(
        connection=tally.connection,
        mode=str(connection.mode),
        contacts=tally.contacts,
        known=tally.known,
        creates=tally.orders["create"],
        updates=tally.orders["update"],
        archives=tally.orders["archive"],
        merges=tally.orders["merge"],
        fields=dict(sorted(tally.fields.items())),
        conflicts=tally.conflicts,
        rejects=[RejectShown(code=c, reason=tally.reasons[c], count=n) for c, n in tally.rejects.most_common()],
        withdrawals=tally.consent["withdrawals"],
        grants=tally.consent["grants"],
        pending=tally.consent["pending"],
        brakes=[BrakeForeseen(kind=kind, why=why) for kind, why in tally.brakes(connection).items()],
        calls=tally.calls(connection),
        seconds=tally.seconds(connection),
        unread=list(tally.unread),
    )


def line_shown(line: Line) -> LineShown:
    """One line for people and programs."""
    data = {
        "connection": line.connection,
        "contact_id": line.contact,
        "what": line.what,
        "changes": [ChangeShown(field=c.name, old=c.old, new=c.new) for c in line.changes],
        "code": line.code,
        "reason": line.reason,
    }
    return LineShown.model_validate(data)


def reading_shown(reading: Reading) -> ReadingShown:
    """One reading for people and programs."""
    data = {
        name: moment(getattr(reading, name)) if name.endswith("_at") else getattr(reading, name)
        for name in ReadingShown.model_fields
    }
    return ReadingShown.model_validate(data)


def chosen(connections: Connections, name: str | None) -> list[str]:
    """The named connection, or all.  Raises NotFound."""
    return list(connections) if name is None else [connections[name].name]


def planned(
    db: Db,
    connections: Connections,
    name: str | None,
    *,
    limit: int,
    after: str | None = None,
    looked_at: int = LOOKED_AT,
) -> Page[LineShown]:
    """One page of what would be written, contact by contact; ``looked_at``: contacts at most.  Raises NotFound."""
    position = paging.decode("plan", after, 1)
    start = position[0] if position is not None else 0
    ids = survey.numbers(db, start, looked_at)
    names = chosen(connections, name)
    found = [line for one in names for line in survey.lines(db, connections[one], connections, ids)]
    found.sort(key=lambda line: line.contact)
    last = ids[-1] if ids else start
    if len(found) > limit:
        last = found[limit - 1].contact
        found = [line for line in found if line.contact <= last]
    more = bool(ids) and (len(ids) == looked_at or last < ids[-1])
    return Page(items=[line_shown(line) for line in found], next=paging.encode("plan", (last,)) if more else None)


def plans_api(database: Database, connections: Connections) -> APIRouter:
    """The routes."""
    router = APIRouter(prefix="/ops", tags=["plan"], dependencies=[Depends(allowed), Depends(known_query)])

    @router.get("/plan")
    def list_planned(connection: ByConnection = None, limit: Limit = 50, after: After = None) -> Page[LineShown]:
        """List what would be written if all were live, contact by contact, in the order of their ids.

        A page looks at 400 contacts at most, and ends with a whole contact: it may be empty, or a little longer than
        `limit`.  These are personal data.
        """
        with database.read() as db:
            return planned(db, connections, connection, limit=limit, after=after)

    @router.post("/plan")
    def summarise_plan(asked: PlanAsked | None = None) -> PlanList:
        """Plan all contacts and answer with the figures; nothing is written.

        Takes some seconds for each ten thousand contacts and connection; for large stores use `tandem plan`.
        """
        names = chosen(connections, asked.connection if asked is not None else None)
        tallies = survey.survey(database, connections, names)
        return PlanList(items=[plan_shown(tally, connections[name]) for name, tally in tallies.items()])

    @router.get("/backfill")
    def show_backfill(connection: ByConnection = None) -> ReadingList:
        """Show how far the first complete reading of each connection is."""
        names = chosen(connections, connection)
        with database.read() as db:
            return ReadingList(items=[reading_shown(one) for one in readings(db, connections, names)])

    return router
