"""Contacts that became one, and taking them apart again: ``/merges``, ``/contacts/{contact_id}/split``."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import structlog
from fastapi import APIRouter, Depends, Query
from pydantic import Field, model_validator
from sqlalchemy import Connection as Db

from app.core.clock import from_ms
from app.core.db import BIGGEST, Database
from app.core.errors import NotFound
from app.ops import paging
from app.ops.auth import allowed
from app.ops.paging import After, Limit, Page
from app.ops.problems import known_query
from app.ops.shapes import Asked, By, Id, Moment, NameText, Shape, moment
from app.records import contacts as people
from app.records import links, merges
from app.sync import splitting
from app.sync.connection import Connections
from app.sync.splitting import Apart

log = structlog.get_logger(__name__)

ByContact = Annotated[
    int | None, Query(ge=1, le=BIGGEST, description="Only those in which this contact stayed or went.", examples=[42])
]


class MergeShown(Shape):
    """Two contacts that became one, or that a wrong pairing had made one."""

    id: int = Field(examples=[3])
    winner: int = Field(description="The contact that stands for both.", examples=[42])
    loser: int = Field(description="The contact that it stands for.", examples=[57])
    by: str = Field(description="The connection whose vendor merged them, or paired them; or an operator.")
    at: Moment
    split_at: Moment | None = Field(description="When the two were taken apart; null: they are one.")
    split_by: str | None = Field(description="The operator.", examples=["Kim"])


class SplitAsked(Asked):
    """What to take apart: a merge, or the pairing with the record of one connection."""

    by: By = Field(description="The operator's name; it is kept.", examples=["Kim"])
    merge: Annotated[int, Field(ge=1, le=BIGGEST)] | None = Field(
        default=None, description="The number of the merge, see /merges.", examples=[3]
    )
    connection: NameText | None = Field(
        default=None, description="The connection whose record is another person's.", examples=["mailchimp"]
    )

    @model_validator(mode="after")
    def _one(self) -> SplitAsked:
        if (self.merge is None) is (self.connection is None):
            raise ValueError("say either merge or connection")
        return self


class SplitShown(Shape):
    """The two contacts that there are now."""

    stays: int = Field(examples=[42])
    leaves: int = Field(examples=[57])


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two contacts as a split would leave it."""

    id: int | None  # None: it would be made
    changes: dict[str, tuple[Any, Any]]  # field: value now, value then
    records: list[tuple[str, str]]  # connection, remote id


@dataclass(frozen=True, slots=True)
class Preview:
    """What a split would do here; the vendors are compared with it afterwards."""

    stays: Side
    leaves: Side


def split(
    db: Db, connections: Connections, contact: int, by: str, *, merge: int | None = None, connection: str | None = None
) -> Apart:
    """Take a contact apart: by the merge it is in, or by the record of a connection.  Raises NotFound, NotPossible."""
    if merge is not None:
        row = merges.one(db, merge)
        if contact not in {row["winner"], row["loser"]}:
            raise NotFound(f"merge {merge} is not about contact {contact} but about {row['winner']} and {row['loser']}")
        return splitting.merge(db, connections, merge, by)
    if connection is None:
        raise ValueError("neither a merge nor a connection")
    return splitting.pairing(db, connections, contact, connection, by)


class _Undo(Exception):
    """Ends the transaction of a rehearsal without a trace."""


def rehearse(
    database: Database,
    connections: Connections,
    contact: int,
    *,
    merge: int | None = None,
    connection: str | None = None,
) -> Preview:
    """What ``split`` would do: it is done, looked at, and rolled back.  Raises NotFound, NotPossible."""
    made: list[Preview] = []
    with contextlib.suppress(_Undo), database.write() as db:
        involved = {contact}
        if merge is not None:
            row = merges.one(db, merge)
            involved = {row["winner"], row["loser"]}
        before = {i: c.values() for i, c in people.load(db, involved).items()}
        apart = split(db, connections, contact, "nobody", merge=merge, connection=connection)
        made += [Preview(_side(db, apart.stays, before), _side(db, apart.leaves, before))]
        raise _Undo
    return made[0]


def _side(db: Db, number: int, before: dict[int, dict[str, Any]]) -> Side:
    after = people.load(db, [number])[number].values()
    was = before.get(number, {})
    changes = {
        name: (was.get(name), after.get(name)) for name in sorted({*was, *after}) if was.get(name) != after.get(name)
    }
    records = [(k.connection, k.remote_id) for k in links.of_contact(db, number) if k.gone_at is None]
    return Side(number if number in before else None, changes, records)


def shown(row: dict[str, Any]) -> MergeShown:
    """A row of ``app.records.merges.listed`` for people."""
    return MergeShown(**{**row, "at": from_ms(row["at"]), "split_at": moment(row["split_at"])})


def merges_api(database: Database, connections: Connections, wake: Callable[[], None]) -> APIRouter:
    """The routes."""
    router = APIRouter(tags=["merges"], dependencies=[Depends(allowed), Depends(known_query)])

    @router.get("/merges")
    def list_merges(contact: ByContact = None, limit: Limit = 50, after: After = None) -> Page[MergeShown]:
        """List merges, the newest first, those that were split included."""
        position = paging.decode("merges", after, 1)
        with database.read() as db:
            found = merges.listed(db, limit + 1, position[0] if position is not None else None, contact=contact)
        following = (found[limit - 1]["id"],) if len(found) > limit else None
        return Page(items=[shown(row) for row in found[:limit]], next=paging.encode("merges", following))

    @router.post("/contacts/{contact_id}/split", responses={409: {}})
    def split_contact(contact_id: Id, asked: SplitAsked) -> SplitShown:
        """Take two people apart that were taken for one; every vendor is then compared anew."""

        def work(db: Db) -> Apart:
            return split(db, connections, contact_id, asked.by, merge=asked.merge, connection=asked.connection)

        apart = database.transact(work)
        log.info("operator.split", stays=apart.stays, leaves=apart.leaves)
        wake()
        return SplitShown(stays=apart.stays, leaves=apart.leaves)

    return router
