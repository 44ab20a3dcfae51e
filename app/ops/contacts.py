"""People, and what is known of them: ``/contacts``.  Reads only; every answer is personal data.

What somebody agreed to is in ``app.ops.consents``, taking people apart in ``app.ops.merges``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Query
from pydantic import Field
from sqlalchemy import Connection as Db
from sqlalchemy import RowMapping, select

from app.core import tables as t
from app.core.clock import from_ms, to_ms
from app.core.db import Database
from app.core.errors import NotFound
from app.core.words import Fact, Writes
from app.ops import paging
from app.ops.auth import allowed
from app.ops.paging import After, Limit, Page
from app.ops.problems import known_query
from app.ops.shapes import Email, Id, Moment, Shape, Time, moment
from app.push import work
from app.records import merges, proposals
from app.sync.connection import Connections, spellings

HISTORY: Final = 100  # changes shown with a contact
UNDECIDED: Final = 50  # proposals named with a contact

c, n, k, w, h = t.contact.c, t.contact_key.c, t.link.c, t.work.c, t.history.c

UpdatedSince = Annotated[
    Time | None,
    Query(description="Only those updated at this moment or later.", examples=["2026-01-31T08:00:00Z"]),
]


class ContactSummary(Shape):
    """One person: the values that Tandem holds to be right."""

    id: int = Field(examples=[42])
    version: int = Field(description="Counts the changes.", examples=[3])
    values: dict[str, Any] = Field(
        description="By canonical field; null: known to have none.",
        examples=[{"email": "ann@example.org", "given_name": "Ann", "city": None}],
    )
    created_at: Moment
    updated_at: Moment
    merged_into: int | None = Field(
        default=None, description="The contact that stands for this one since the two were merged.", examples=[7]
    )


class FactShown(Shape):
    """One field's value, who said it, when, and why it was let in."""

    value: Any
    source: str = Field(description="The connection, or whoever said it.", examples=["hubspot"])
    at: Moment = Field(description="When, by the source's clock.")
    rule: str = Field(description="Why it was let in.", examples=["only they changed it"])
    event: int | None = Field(description="See /ops/events/{event_id}.")


class Pending(Shape):
    """Something to write."""

    since: Moment = Field(description="When the oldest change in it happened.")
    due_at: Moment | None = Field(description="It is tried from then on; null: once a person has ended the brake.")
    brake: Writes | None = Field(description="The brake that it waits for, see /ops/brakes.")
    in_hand: bool = Field(description="A worker is writing it.")
    attempts: int
    error: str | None = Field(description="Why the last try failed.")


class LinkShown(Shape):
    """The contact's record at one connection."""

    connection: str = Field(examples=["mailchimp"])
    kind: str = Field(examples=["contact"])
    remote_id: str
    shadow: dict[str, Any] = Field(description="What the record is known to hold, in canonical words.")
    altered: dict[str, Any] = Field(description="Values that the vendor keeps otherwise than they were sent.")
    warnings: list[dict[str, str]] = Field(description="Fields of the record that could not be used, and why.")
    likeness: float | None = Field(
        description="Bits by which likeness paired the record with the contact; null where an address or a person did."
    )
    modified_at: Moment | None = Field(description="By the vendor's clock.")
    written_at: Moment | None = Field(description="When Tandem's last write ended.")
    gone_at: Moment | None = Field(description="When the vendor said that the record is deleted.")
    created_at: Moment


class Change(Shape):
    """One change of one field."""

    id: int
    version: int = Field(description="Of the contact after it.")
    field: str = Field(examples=["city"])
    old: Any
    new: Any
    source: str = Field(examples=["hubspot"])
    actor: str | None = Field(description="The operator.", examples=["Kim"])
    run: int | None = Field(description="The operator's run that it was part of, see /ops/runs/{run_id}.")
    rule: str
    event: int | None
    at: Moment = Field(description="When it happened, by the source's clock.")
    stored_at: Moment


class ContactDetail(ContactSummary):
    """One person with everything that explains it."""

    stands_for: list[int] = Field(description="The contacts that were merged into this one.")
    facts: dict[str, FactShown]
    links: list[LinkShown]
    pending: dict[str, Pending] = Field(description="By connection: what is still to be written there.")
    undecided: list[int] = Field(
        description="Proposals about it that wait for a person, see /matches/{match_id}.", examples=[[3]]
    )
    history: list[Change] = Field(description=f"The newest {HISTORY} changes, the newest first.")
    history_next: str | None = Field(description="Path of the page behind them; null where these are all.")


def _summary(row: RowMapping, stand_ins: Mapping[int, int]) -> dict[str, Any]:
    return {
        "id": row["id"],
        "version": row["version"],
        "values": {name: Fact.from_json(data).value for name, data in row["facts"].items()},
        "created_at": from_ms(row["created_at"]),
        "updated_at": from_ms(row["updated_at"]),
        "merged_into": stand_ins.get(row["id"]),
    }


def listing(
    db: Db,
    connections: Connections,
    *,
    email: str | None,
    updated_since: datetime | None,
    after: str | None,
    limit: int,
) -> Page[ContactSummary]:
    """One page in the order of ids.  The time of an update has no index: it is looked at up to a bound."""
    position = paging.decode("contacts", after, 1)
    looked_at = limit + 1 if updated_since is None else paging.MOST
    least = to_ms(updated_since) if updated_since is not None else None
    query = select(c.id, c.updated_at)
    number = c.id
    if email is not None:
        number = n.contact_id
        query = (
            select(n.contact_id.label("id"), c.updated_at)
            .distinct()
            .join_from(t.contact_key, t.contact, c.id == n.contact_id)
            .where(n.key == "email", n.value.in_(spellings(connections, email)))
        )
    if position is not None:
        query = query.where(number > position[0])
    rows, following = paging.cut(
        db.execute(query.order_by(number).limit(looked_at)).mappings().all(),
        key=lambda row: (row["id"],),
        keep=lambda row: least is None or row["updated_at"] >= least,
        limit=limit,
        looked_at=looked_at,
    )
    return Page(items=chosen(db, [row["id"] for row in rows]), next=paging.encode("contacts", following))


def more_than(db: Db, limit: int) -> bool:
    """Whether there are more contacts than this; looks at so many rows."""
    return len(db.execute(select(c.id).order_by(c.id).limit(limit + 1)).all()) > limit


def chosen(db: Db, numbers: Sequence[int]) -> list[ContactSummary]:
    """These contacts, in the order of their numbers; who is not there is left out."""
    found = db.execute(select(t.contact).where(c.id.in_(numbers)).order_by(c.id)).mappings().all() if numbers else []
    stand_ins = merges.stand_ins(db, [row["id"] for row in found if row["merged_into"] is not None])
    return [ContactSummary(**_summary(row, stand_ins)) for row in found]


def _contact(db: Db, number: int) -> RowMapping:
    row = db.execute(select(t.contact).where(c.id == number)).mappings().one_or_none()
    if row is None:
        raise NotFound(f"there is no contact {number}")
    return row


def _fact(fact: Fact) -> FactShown:
    return FactShown(value=fact.value, source=fact.source, at=from_ms(fact.at), rule=fact.rule, event=fact.event)


def _link(row: RowMapping) -> LinkShown:
    return LinkShown(
        connection=row["connection"],
        kind=row["kind"],
        remote_id=row["remote_id"],
        shadow=row["shadow"],
        altered=row["altered"] if row["altered"] is not None else {},
        warnings=row["warnings"] if row["warnings"] is not None else [],
        likeness=row["likeness"],
        modified_at=moment(row["modified"]),
        written_at=from_ms(row["written_at"]) if row["written_at"] > 0 else None,
        gone_at=moment(row["gone_at"]),
        created_at=from_ms(row["created_at"]),
    )


def _pending(row: RowMapping) -> Pending:
    held = row["held"]
    return Pending(
        since=from_ms(row["since"]),
        due_at=from_ms(row["due_at"]) if row["due_at"] < work.FAR else None,
        brake=Writes(held) if held is not None and not held.startswith(work.LET) else None,
        in_hand=row["lease"] is not None,
        attempts=row["attempts"],
        error=row["error"],
    )


def history_of(db: Db, number: int, after: str | None, limit: int) -> Page[Change]:
    """One page of a contact's changes, the newest first."""
    position = paging.decode("history", after, 2)
    query = select(t.history).where(h.contact_id == number)
    if position is not None:
        query = query.where(paging.older(h.version, h.id, position))
    rows, following = paging.cut(
        db.execute(query.order_by(h.version.desc(), h.id.desc()).limit(limit + 1)).mappings().all(),
        key=lambda row: (row["version"], row["id"]),
        keep=lambda _row: True,
        limit=limit,
        looked_at=limit + 1,
    )
    items = [
        Change(
            id=row["id"],
            version=row["version"],
            field=row["field"],
            old=row["old"],
            new=row["new"],
            source=row["source"],
            actor=row["actor"],
            run=row["run"],
            rule=row["rule"],
            event=row["event"],
            at=from_ms(row["at"]),
            stored_at=from_ms(row["stored_at"]),
        )
        for row in rows
    ]
    return Page(items=items, next=paging.encode("history", following))


def explained(db: Db, connections: Connections, number: int) -> ContactDetail:
    """One contact with everything that explains it.  Raises NotFound."""
    row = _contact(db, number)
    links = db.execute(select(t.link).where(k.contact_id == number).order_by(k.connection, k.kind)).mappings()
    dirty = select(t.work).where(w.connection.in_(sorted(connections)), w.contact_id == number)
    history = history_of(db, number, None, HISTORY)
    return ContactDetail(
        **_summary(row, merges.stand_ins(db, [number])),
        stands_for=sorted(merges.absorbed(db, [number])),
        facts={name: _fact(Fact.from_json(data)) for name, data in row["facts"].items()},
        links=[_link(link) for link in links],
        pending={one["connection"]: _pending(one) for one in db.execute(dirty).mappings()},
        undecided=proposals.waiting_of(db, number, UNDECIDED),
        history=history.items,
        history_next=f"/contacts/{number}/history?after={history.next}" if history.next is not None else None,
    )


def contacts(database: Database, connections: Connections) -> APIRouter:
    """The routes."""
    router = APIRouter(tags=["contacts"], dependencies=[Depends(allowed), Depends(known_query)])

    @router.get("/contacts")
    def list_contacts(
        email: Email = None, updated_since: UpdatedSince = None, limit: Limit = 50, after: After = None
    ) -> Page[ContactSummary]:
        """List contacts in the order of their ids; further addresses of a person are found too."""
        with database.read() as db:
            return listing(db, connections, email=email, updated_since=updated_since, after=after, limit=limit)

    @router.get("/contacts/{contact_id}")
    def get_contact(contact_id: Id) -> ContactDetail:
        """Show one contact: each value with its origin, its records at the vendors, what waits, what changed.

        One that was merged names the contact that stands for it now.
        """
        with database.read() as db:
            return explained(db, connections, contact_id)

    @router.get("/contacts/{contact_id}/history")
    def get_history(contact_id: Id, limit: Limit = 50, after: After = None) -> Page[Change]:
        """List the changes of a contact, the newest first."""
        with database.read() as db:
            _contact(db, contact_id)
            return history_of(db, contact_id, after, limit)

    return router
