"""Drift and what was found of it: ``/ops/drift``, ``/ops/reconcile``; fields that are suspended; freshness; alarms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Final, Literal

import structlog
from fastapi import APIRouter, Depends, Query
from pydantic import Field
from sqlalchemy import Connection as Db
from sqlalchemy import RowMapping

from app.core.clock import from_ms
from app.core.db import Database
from app.ops import paging
from app.ops.access.principal import own_name
from app.ops.auth import allowed
from app.ops.paging import After, Limit, Page
from app.ops.problems import known_query
from app.ops.shapes import Asked, By, ByConnection, Id, Moment, NameText, Shape, Text, moment
from app.records import drift
from app.repair import runs
from app.repair.runs import Plan
from app.sync.connection import Connections

log = structlog.get_logger(__name__)

LATEST: Final = 50

Why = Literal["unseen", "unwritten", "held", "extra", "missing"]
ByField = Annotated[
    Text | None,
    Query(min_length=1, max_length=200, description="Only of this field.", examples=["city"]),
]


class ReconcileAsked(Asked):
    """What to compare."""

    connection: NameText | None = Field(default=None, description="Only this one; null: all.", examples=["hubspot"])
    repair: bool = Field(default=False, description="Hand what disagrees to the usual path, then compare it again.")
    by: By | None = Field(default=None, description="Who asks; kept with the run.", examples=["Kim"])


class ReconcileStarted(Shape):
    """The runs that were begun, or were under way."""

    runs: list[int] = Field(description="Ask for each under /ops/reconcile/{run}.", examples=[[7]])


class RunShown(Shape):
    """One complete compare of a connection."""

    id: int = Field(examples=[7])
    connection: str = Field(examples=["hubspot"])
    repair: bool
    by: str | None
    status: Literal["running", "done", "failed"]
    phase: str = Field(
        description="walk: the vendor's list is read.  lacked: what it lacked is looked for.  repair.  again: what was "
        "repaired is compared once more.  done.",
        examples=["walk"],
    )
    error: str | None
    doubt: str | None = Field(description="Why the read was not believed: then nothing was concluded or repaired.")
    known: int = Field(description="Records known here when it began.", examples=[12000])
    seen: int = Field(description="Records the vendor's list has shown so far.", examples=[4200])
    in_flight: int = Field(description="Records with changes on their way, not counted as drift.")
    missing: int = Field(description="Records known here that the vendor has no more.  Reported, never deleted.")
    repaired: int = Field(description="Records handed to the usual path.")
    hidden: list[str] = Field(description="Vendor fields that no record showed any more: suspended, not cleared.")
    started_at: Moment
    ended_at: Moment | None


class FieldDrift(Shape):
    """One field of one connection, at the last complete compare."""

    field: str = Field(examples=["city"])
    compared: int = Field(examples=[12000])
    mismatched: int = Field(examples=[3])
    drift: float = Field(description="mismatched / compared", examples=[0.00025])
    oldest: Moment | None = Field(description="When the oldest of the disagreements was first seen.")


class ConnectionDrift(Shape):
    """How far a connection and this store are apart."""

    connection: str = Field(examples=["hubspot"])
    drift: float | None = Field(description="Of all fields together; null: never compared.", examples=[0.0001])
    compared: int
    mismatched: int
    missing: int = Field(description="Records known here that the vendor has no more.")
    extra: int = Field(description="Records at the vendor that belong to nobody here.")
    oldest: Moment | None
    at: Moment | None = Field(description="When it was last compared completely.")
    fields: list[FieldDrift]


class DriftList(Shape):
    """All connections.  There are as many as the configuration names, so they are not paged."""

    items: list[ConnectionDrift]


class DisagreementShown(Shape):
    """One value on which the two disagree, or a record that one of them lacks.  Without the values."""

    connection: str = Field(examples=["hubspot"])
    remote_id: str
    contact_id: int | None = Field(description="null: nobody here.", examples=[42])
    field: str | None = Field(description="null: the record itself.", examples=["city"])
    why: Why = Field(
        description="unseen: the vendor holds what was never read.  unwritten: it lacks what it should hold.  held: a "
        "brake or a person has to decide.  extra, missing: of records."
    )
    first_seen: Moment
    last_seen: Moment


def run_shown(row: RowMapping) -> RunShown:
    """A run for people."""
    plan = Plan.from_json(row["params"])
    return RunShown(
        id=row["id"],
        connection=plan.connection,
        repair=plan.repair,
        by=plan.by,
        status=row["status"],
        phase=plan.phase,
        error=row["error"],
        doubt=plan.doubt,
        known=row["total"],
        seen=plan.seen,
        in_flight=plan.in_flight,
        missing=plan.missing,
        repaired=plan.repaired,
        hidden=list(plan.hidden),
        started_at=from_ms(row["started_at"]),
        ended_at=moment(row["ended_at"]),
    )


def drift_of(db: Db, connections: Connections) -> list[ConnectionDrift]:
    """How far each connection and this store are apart."""
    rows, records, at = drift.measured(db), drift.of_records(db), drift.compared_at(db)
    found = []
    for name in connections:
        fields = [row for row in rows if row["connection"] == name]
        compared, mismatched = (sum(row[what] for row in fields) for what in ("compared", "mismatched"))
        first = [row["oldest"] for row in fields if row["oldest"] is not None]
        found.append(
            ConnectionDrift(
                connection=name,
                drift=_share(mismatched, compared) if name in at else None,
                compared=compared,
                mismatched=mismatched,
                missing=records.get(name, {}).get(drift.MISSING, 0),
                extra=records.get(name, {}).get(drift.EXTRA, 0),
                oldest=moment(min(first, default=None)),
                at=moment(at.get(name)),
                fields=[
                    FieldDrift(
                        field=row["field"],
                        compared=row["compared"],
                        mismatched=row["mismatched"],
                        drift=_share(row["mismatched"], row["compared"]),
                        oldest=moment(row["oldest"]),
                    )
                    for row in fields
                ],
            )
        )
    return found


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def disagreements(
    db: Db, connection: str | None, field: str | None, limit: int, after: str | None = None
) -> Page[DisagreementShown]:
    """One page of disagreements, in the order in which they were found."""
    position = paging.decode("drift", after, 1)
    rows = drift.listed(db, connection, field, limit + 1, position[0] if position is not None else None)
    items = [
        DisagreementShown(
            connection=row["connection"],
            remote_id=row["remote_id"],
            contact_id=row["contact_id"],
            field=row["field"] if row["field"] != drift.RECORD else None,
            why=row["why"],
            first_seen=from_ms(row["first_seen"]),
            last_seen=from_ms(row["last_seen"]),
        )
        for row in rows[:limit]
    ]
    following = (rows[limit - 1]["id"],) if len(rows) > limit else None
    return Page(items=items, next=paging.encode("drift", following))


def drift_api(database: Database, connections: Connections, wake: Callable[[], None]) -> APIRouter:
    """The routes."""
    router = APIRouter(prefix="/ops", tags=["drift"], dependencies=[Depends(allowed), Depends(known_query)])

    @router.post("/reconcile", status_code=202, responses={404: {}, 409: {}})
    def start_reconcile(asked: ReconcileAsked | None = None) -> ReconcileStarted:
        """Compare every record of a connection, or of all, with what is held here.

        Runs in the background, at the ordinary share of the vendor's rate.  With `repair`, what disagrees is handed to
        the usual path: read, merged and written by the mapping's rules, never overwritten blindly.
        """
        asked = ReconcileAsked() if asked is None else asked
        numbers = database.transact(
            lambda db: runs.start(db, connections, asked.connection, repair=asked.repair, by=own_name(asked.by))
        )
        wake()
        return ReconcileStarted(runs=numbers)

    @router.get("/reconcile/{run_id}")
    def get_reconcile(run_id: Id) -> RunShown:
        """Show how far a compare is."""
        with database.read() as db:
            return run_shown(runs.one(db, run_id))

    @router.get("/drift")
    def get_drift() -> DriftList:
        """Show how far each connection and this store were apart when they were last compared completely."""
        with database.read() as db:
            return DriftList(items=drift_of(db, connections))

    @router.get("/drift/disagreements")
    def list_disagreements(
        connection: ByConnection = None, field: ByField = None, limit: Limit = 50, after: After = None
    ) -> Page[DisagreementShown]:
        """List the values on which the two sides disagree, without the values."""
        with database.read() as db:
            return disagreements(db, connection, field, limit, after)

    return router
