"""What somebody agreed to and objected to, and an operator's word about it: ``/contacts/{contact_id}/consent``.

Every answer is personal data.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

import structlog
from fastapi import APIRouter, Depends
from pydantic import Field, StringConstraints, model_validator
from sqlalchemy import Connection as Db
from sqlalchemy import RowMapping

from app.core.clock import from_ms
from app.core.db import Database
from app.core.errors import NotFound
from app.core.words import EVERYTHING, Channel, Status
from app.ops import paging
from app.ops.auth import allowed
from app.ops.paging import After, Limit
from app.ops.problems import known_query
from app.ops.shapes import Asked, By, Id, Moment, Shape
from app.records import contacts as people
from app.records import ledger, merges
from app.records.contacts import Contact
from app.repair import deciding
from app.repair.deciding import Word
from app.sync import consent
from app.sync.connection import Connections, spellings

log = structlog.get_logger(__name__)

Evidence = Annotated[
    str, StringConstraints(min_length=1, max_length=1000, strip_whitespace=True, pattern=r"^[^\x00]*$")
]
Purpose = Annotated[str, StringConstraints(pattern=r"^([a-z0-9][a-z0-9_.-]{0,60})?$")]


class Holding(Shape):
    """What holds now for one address, channel and purpose."""

    address: str = Field(examples=["ann@example.org"])
    channel: Channel = Field(description="How the person is reached.")
    purpose: str = Field(description="Empty: everything.", examples=["newsletter"])
    status: Status = Field(description="What holds, or is said.")
    allowed: bool = Field(
        description="Whether the person may be written to: they agreed, and nothing stands against it.",
        examples=[False],
    )
    proven: bool = Field(
        description="Whether that rests on evidence, so that other vendors are told.", examples=[False]
    )
    reason: str | None = Field(description="Why; null where nothing is known.", examples=["unsubscribe"])
    since: Moment | None = Field(description="When the line was said that decides.")
    source: str | None = Field(description="Who said it: a connection, an operator, or Tandem.", examples=["mailchimp"])
    actor: str | None = Field(description="The operator.", examples=["Kim"])


class LineShown(Shape):
    """One line of the ledger.  Lines are never changed."""

    id: int = Field(examples=[12])
    address: str = Field(examples=["ann@example.org"])
    channel: Channel = Field(description="How the person is reached.")
    purpose: str = Field(description="Empty: everything.", examples=["newsletter"])
    status: Status = Field(description="What holds, or is said.")
    reason: str = Field(examples=["unsubscribe"])
    source: str = Field(description="A connection, an operator, or Tandem.", examples=["mailchimp"])
    actor: str | None = Field(description="The operator.", examples=["Kim"])
    basis: str | None = Field(description="The lawful basis, as the source names it.")
    evidence: dict[str, Any] | None = Field(description="What it rests on.", examples=[{"form": "ip_opt=192.0.2.1"}])
    event: int | None = Field(description="See /ops/events/{event_id}.")
    at: Moment = Field(description="When it was said, by the source's clock.")
    received_at: Moment


class ConsentShown(Shape):
    """What holds, and every word that led to it."""

    contact_id: int | None = Field(description="Null: nobody here has the address.", examples=[42])
    merged_into: int | None = Field(description="The contact that stands for this one.", examples=[7])
    holds: list[Holding] = Field(description="By address, channel and purpose; the address in use comes first.")
    lines: list[LineShown] = Field(description="The ledger, the last stored first.")
    next: str | None = Field(description="Pass it as `after` for the lines before; null at the end.")


class WordAsked(Asked):
    """What an operator says about somebody's consent."""

    by: By = Field(description="The operator's name; it is kept.", examples=["Kim"])
    status: Literal["granted", "withdrawn"] = Field(examples=["withdrawn"])
    channel: Literal["email", "phone", "sms"] = Field(default="email", examples=["email"])
    purpose: Purpose = Field(default=EVERYTHING, description="Empty: everything.", examples=["newsletter"])
    evidence: Evidence | None = Field(
        default=None,
        description="Where, when and how the person said it.  A grant needs it.",
        examples=["signed form, trade fair, 4 May"],
    )

    @model_validator(mode="after")
    def _proven(self) -> WordAsked:
        if self.status == "granted" and self.evidence is None:
            raise ValueError("a grant needs evidence: where, when and how the person agreed")
        return self


def _addresses(values: Mapping[str, Any]) -> dict[Channel, list[str]]:
    """A contact's addresses by channel, the one in use first."""
    return {channel: consent.addresses(values, channel) for channel in (Channel.EMAIL, Channel.PHONE, Channel.SMS)}


def _holds(db: Db, connections: Connections, addresses: Mapping[Channel, list[str]]) -> list[Holding]:
    lines = ledger.of_addresses(db, {a for of in addresses.values() for a in of})
    found = []
    for channel, of in addresses.items():
        for n, address in enumerate(of):
            said = [e for e in lines.get(address, ()) if e.channel is channel]
            purposes = {e.purpose for e in said}
            if n == 0:  # of the address in use also what nobody has said anything about yet
                purposes |= connections.purposes(channel)
            found += [
                _holding(address, channel, purpose, consent.state(said, connections.may_grant, purpose))
                for purpose in sorted(purposes)
            ]
    return found


def _holding(address: str, channel: Channel, purpose: str, held: consent.State) -> Holding:
    entry = held.entry
    return Holding(
        address=address,
        channel=channel,
        purpose=purpose,
        status=held.status,
        allowed=held.status is Status.GRANTED,
        proven=consent.proven(held),
        reason=str(entry.reason) if entry is not None else None,
        since=from_ms(entry.at) if entry is not None else None,
        source=entry.source if entry is not None else None,
        actor=entry.actor if entry is not None else None,
    )


def _line(row: RowMapping) -> LineShown:
    data = {name: row[name] for name in LineShown.model_fields}
    return LineShown(**{**data, "at": from_ms(row["at"]), "received_at": from_ms(row["received_at"])})


def of_addresses(
    db: Db,
    connections: Connections,
    addresses: Mapping[Channel, list[str]],
    *,
    limit: int,
    after: str | None = None,
    contact: int | None = None,
    merged_into: int | None = None,
) -> ConsentShown:
    """What holds under these addresses, and a page of the ledger."""
    position = paging.decode("consent", after, 1)
    before = position[0] if position is not None else None
    rows = ledger.newest(db, {a for of in addresses.values() for a in of}, limit + 1, before)
    following = (rows[limit - 1]["id"],) if len(rows) > limit else None
    return ConsentShown(
        contact_id=contact,
        merged_into=merged_into,
        holds=_holds(db, connections, addresses),
        lines=[_line(row) for row in rows[:limit]],
        next=paging.encode("consent", following),
    )


def of_contact(db: Db, connections: Connections, number: int, *, limit: int, after: str | None = None) -> ConsentShown:
    """What holds for a contact, and a page of the ledger.  Raises NotFound."""
    contact = _contact(db, number)
    return of_addresses(
        db,
        connections,
        _addresses(contact.values()),
        limit=limit,
        after=after,
        contact=number,
        merged_into=merges.stand_ins(db, [number]).get(number),
    )


def of_address(db: Db, connections: Connections, address: str, *, limit: int) -> ConsentShown:
    """What holds under an address that is no contact's alone, in all spellings of it, and the newest lines."""
    if "@" in address:
        return of_addresses(db, connections, {Channel.EMAIL: spellings(connections, address)}, limit=limit)
    number = [address.strip()]
    return of_addresses(db, connections, {Channel.PHONE: number, Channel.SMS: number}, limit=limit)


def _contact(db: Db, number: int) -> Contact:
    found = people.load(db, [number]).get(number)
    if found is None:
        raise NotFound(f"there is no contact {number}")
    return found


def contacts_of(db: Db, connections: Connections, address: str) -> list[int]:
    """The contacts that have an e-mail address or phone number; only its owner, where it is somebody's own."""
    keys = [("email", a) for a in spellings(connections, address)] if "@" in address else [("phone", address.strip())]
    owners = {pair for having in people.owners(db, keys).values() for pair in having}
    strong = {contact for contact, is_strong in owners if is_strong}
    return sorted(strong if strong else {contact for contact, _ in owners})


def meant(db: Db, connections: Connections, address: str, channel: Channel, status: Status) -> list[str]:
    """The addresses that a word about the person of ``address`` is about; empty where there is none for the channel."""
    spelled = spellings(connections, address) if "@" in address else [address.strip()]
    having = contacts_of(db, connections, address)
    if len(having) == 1:
        contact = _contact(db, having[0])
        named = set(spelled) & set(_addresses(contact.values()).get(channel, ()))
        found = set(deciding.addresses_of(db, contact, channel, status))
        return sorted(named if named and status is Status.GRANTED else found | named)
    if ("@" in address) is not (channel is Channel.EMAIL):
        return []
    kept = ledger.of_addresses(db, spelled)
    return sorted(kept if kept else spelled)


def say(database: Database, connections: Connections, number: int, asked: WordAsked) -> ConsentShown:
    """Write down what a person told an operator; what holds now.  Raises NotFound, NotPossible."""

    def work(db: Db) -> ConsentShown:
        contact = _contact(db, number)
        channel, status = Channel(asked.channel), Status(asked.status)
        addresses = deciding.addresses_of(db, contact, channel, status)
        word = Word(addresses, channel, asked.purpose, status, asked.by, asked.evidence)
        deciding.decide(db, connections, word)
        return of_contact(db, connections, number, limit=50)

    found = database.transact(work)
    log.info("operator.consent", contact=number, channel=asked.channel, status=asked.status)
    return found


def consents_api(database: Database, connections: Connections, wake: Callable[[], None]) -> APIRouter:
    """The routes."""
    router = APIRouter(
        prefix="/contacts/{contact_id}/consent",
        tags=["contacts"],
        dependencies=[Depends(allowed), Depends(known_query)],
    )

    @router.get("")
    def get_consent(contact_id: Id, limit: Limit = 50, after: After = None) -> ConsentShown:
        """Show what somebody agreed to and objected to: what holds now, and every word that led to it."""
        with database.read() as db:
            return of_contact(db, connections, contact_id, limit=limit, after=after)

    @router.post("", responses={409: {}})
    def decide_consent(contact_id: Id, asked: WordAsked) -> ConsentShown:
        """Write down what the person told an operator, and let every vendor know.

        A withdrawal binds all addresses of the person and travels first.  A grant needs evidence, and lifts what an
        operator may lift.
        """
        found = say(database, connections, contact_id, asked)
        wake()
        return found

    return router
