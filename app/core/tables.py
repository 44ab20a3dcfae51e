"""The tables.  Declared with SQLModel, used as SQLAlchemy Core tables (an ORM loop costs up to a hundred times more).

Hot and narrow apart from wide: ``work`` and ``inbox`` are the hot ones.  Times are milliseconds since 1970 UTC.
Names of constraints follow one convention, so that migrations can name them.
"""

from __future__ import annotations

from typing import Any, cast

from sqlalchemy import JSON, BigInteger, Column, Index, Integer, LargeBinary, MetaData, Table, Text, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field, SQLModel

Big = BigInteger().with_variant(Integer, "sqlite")  # SQLite counts rows by INTEGER PRIMARY KEY only
Json = JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")

CONVENTION = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}


class Base(SQLModel):
    """Base of every table."""

    metadata = MetaData(naming_convention=CONVENTION)


def _id() -> Any:
    return Field(default=None, sa_column=Column(Big, primary_key=True, autoincrement=True))


def _big(*, null: bool = False) -> Any:
    return Field(default=None, sa_type=BigInteger, nullable=null)


def _json(*, null: bool = False) -> Any:
    return Field(default=None, sa_type=cast("Any", Json), nullable=null)


def _text(*, null: bool = False) -> Any:
    return Field(default=None, sa_type=Text, nullable=null)


class Delivery(Base, table=True):
    """The raw bytes of a delivery that brought something new; kept for replay until retention prunes them."""

    __tablename__ = "delivery"
    id: int = Field(default=None, sa_column=Column(Big, primary_key=True, autoincrement=False))  # grows with time
    connection: str = _text()
    received_at: int = _big()
    method: str = _text()
    path: str = _text()  # without the query, which may hold a secret
    content_type: str = _text()
    body: bytes = Field(sa_type=LargeBinary)


class Inbox(Base, table=True):
    """One event: what a delivery or a poll says happened to one record."""

    __tablename__ = "inbox"
    __table_args__ = (
        Index("uq_inbox_connection_dedupe", "connection", "dedupe", unique=True),
        Index(
            "ix_inbox_pending",
            "connection",
            "lane",
            "due_at",
            sqlite_where=text("status = 'pending'"),
            postgresql_where=text("status = 'pending'"),
        ),
        Index(
            "ix_inbox_trouble",
            "status",
            "id",
            sqlite_where=text("status IN ('parked', 'dead')"),
            postgresql_where=text("status IN ('parked', 'dead')"),
        ),
    )
    id: int = _id()
    connection: str = _text()
    dedupe: str = _text()
    delivery: int | None = _big(null=True)
    kind: str = _text()
    action: str = _text()
    ref_key: str = _text()
    ref_value: str = _text()
    losers: list[str] | None = _json(null=True)
    record: dict[str, Any] | None = _json(null=True)  # where the event carries the complete record
    occurred_at: int | None = _big(null=True)
    received_at: int = _big()
    status: str = _text()  # pending, done, ignored, parked (unreadable), dead
    lane: int = Field(default=1)  # 0 is looked at first
    due_at: int = _big()
    attempts: int = Field(default=0)
    first_failed_at: int | None = _big(null=True)
    error: str | None = _text(null=True)
    done_at: int | None = _big(null=True)


class Contact(Base, table=True):
    """The canonical person."""

    __tablename__ = "contact"
    id: int = _id()
    version: int = _big()
    facts: dict[str, Any] = _json()  # field -> Fact.to_json()
    created_at: int = _big()
    updated_at: int = _big()


class ContactKey(Base, table=True):
    """Keys under which a contact is found.  A strong key belongs to one contact only."""

    __tablename__ = "contact_key"
    __table_args__ = (
        Index("ix_contact_key_contact", "contact_id"),
        Index(
            "uq_contact_key_strong",
            "key",
            "value",
            unique=True,
            sqlite_where=text("strong = 1"),
            postgresql_where=text("strong = 1"),
        ),
    )
    key: str = Field(primary_key=True, sa_type=Text)
    value: str = Field(primary_key=True, sa_type=Text)
    contact_id: int = Field(primary_key=True, sa_type=BigInteger)
    strong: int = Field(default=0)


class Link(Base, table=True):
    """Contact ↔ record, unique in both directions, with the shadow."""

    __tablename__ = "link"
    __table_args__ = (Index("uq_link_contact", "contact_id", "connection", "kind", unique=True),)
    connection: str = Field(primary_key=True, sa_type=Text)
    kind: str = Field(primary_key=True, sa_type=Text)
    remote_id: str = Field(primary_key=True, sa_type=Text)
    contact_id: int = _big()
    shadow: dict[str, Any] = _json()
    rev: int = _big()  # + 1 whenever the shadow moves; a push that finds it moved does not trust its own view
    modified: int | None = _big(null=True)  # the record's modified time by the vendor's clock, newest seen
    written_at: int = _big()  # when our last write ended, by the database's clock; 0 = never
    gone_at: int | None = _big(null=True)  # the vendor said the record is deleted
    altered: dict[str, Any] | None = _json(null=True)  # field -> value we sent that the vendor keeps otherwise
    warnings: list[dict[str, str]] | None = _json(null=True)  # fields of the last claim that were dropped, and why
    created_at: int = _big()


class Work(Base, table=True):
    """One dirty link: something to write to ``connection`` for ``contact_id``.  Hot and narrow; deleted when done."""

    __tablename__ = "work"
    __table_args__ = (Index("ix_work_due", "connection", "lane", "due_at"),)
    connection: str = Field(primary_key=True, sa_type=Text)
    contact_id: int = Field(primary_key=True, sa_type=BigInteger)
    lane: int = Field(default=1)  # 0 travels first
    gen: int = _big()  # + 1 per change; done only if it is still the leased one
    taken: int | None = _big(null=True)  # the gen that the lease holder saw
    lease: str | None = _text(null=True)  # fencing token
    due_at: int = _big()  # eligible from; a lease or a retry pushes it forward
    since: int = _big()  # when the oldest change in it happened, for freshness
    attempts: int = Field(default=0)
    first_failed_at: int | None = _big(null=True)
    error: str | None = _text(null=True)


class History(Base, table=True):
    """One change of one field."""

    __tablename__ = "history"
    __table_args__ = (Index("ix_history_contact", "contact_id", "version"),)
    id: int = _id()
    contact_id: int = _big()
    version: int = _big()
    field: str = _text()
    old: Any = _json(null=True)
    new: Any = _json(null=True)
    source: str = _text()
    rule: str = _text()
    event: int | None = _big(null=True)
    at: int = _big()  # when it happened, by the source's clock
    stored_at: int = _big()


class Conflict(Base, table=True):
    """A true double edit of an ``ask`` field, waiting for a person."""

    __tablename__ = "conflict"
    __table_args__ = (Index("uq_conflict_open", "contact_id", "field", "connection", unique=True),)
    id: int = _id()
    contact_id: int = _big()
    field: str = _text()
    connection: str = _text()  # whose claim is not let in
    ours: Any = _json(null=True)
    theirs: Any = _json(null=True)
    event: int | None = _big(null=True)
    at: int = _big()


class Consent(Base, table=True):
    """One line of the consent ledger.  Append-only: what holds now is computed from the lines of an address."""

    __tablename__ = "consent"
    __table_args__ = (
        Index("ix_consent_address", "address", "channel"),
        Index("uq_consent_digest", "digest", unique=True),
    )
    id: int = _id()
    address: str = _text()
    channel: str = _text()
    purpose: str = _text()  # "" = everything
    status: str = _text()
    reason: str = _text()
    basis: str | None = _text(null=True)
    source: str = _text()
    actor: str | None = _text(null=True)
    evidence: dict[str, Any] | None = _json(null=True)
    event: int | None = _big(null=True)
    at: int = _big()  # by the source's clock
    received_at: int = _big()
    digest: str = _text()  # the same line twice is one line


class Dead(Base, table=True):
    """A dead letter: what was given up, why, and what would help."""

    __tablename__ = "dead"
    __table_args__ = (
        Index("ix_dead_connection", "connection", "id"),
        Index("ix_dead_contact", "contact_id", "connection"),
        Index("ix_dead_event", "event"),
    )
    id: int = _id()
    station: str = _text()  # sync or push
    connection: str = _text()
    contact_id: int | None = _big(null=True)
    event: int | None = _big(null=True)
    code: str = _text()
    reason: str = _text()
    next_step: str = _text()
    field: str | None = _text(null=True)
    attempts: int = Field(default=0)
    at: int = _big()


class ConnectionState(Base, table=True):
    """What is known of one connection, shared by all replicas."""

    __tablename__ = "connection_state"
    name: str = Field(primary_key=True, sa_type=Text)
    next_at: int = _big()  # the next push may start then: fairness and pace
    paused: int = Field(default=0)
    paused_why: str | None = _text(null=True)
    paused_by: str | None = _text(null=True)  # "tandem" or an operator
    paused_at: int | None = _big(null=True)
    polled_at: int | None = _big(null=True)
    poll_due_at: int = _big()
    cursor: str | None = _text(null=True)
    walked_at: int | None = _big(null=True)  # the first complete walk ended
    failing_since: int | None = _big(null=True)
    failure: str | None = _text(null=True)
    last_event_at: int | None = _big(null=True)
    last_push_at: int | None = _big(null=True)


class Lease(Base, table=True):
    """A named right that one worker holds at a time."""

    __tablename__ = "lease"
    name: str = Field(primary_key=True, sa_type=Text)
    token: str = _text()
    until: int = _big()


class Worker(Base, table=True):
    """A running worker process."""

    __tablename__ = "worker"
    id: str = Field(primary_key=True, sa_type=Text)
    host: str = _text()
    pid: int = Field()
    started_at: int = _big()
    beat_at: int = _big()


class Run(Base, table=True):
    """A long piece of work that an operator asked for."""

    __tablename__ = "run"
    id: int = _id()
    kind: str = _text()
    params: dict[str, Any] = _json()
    status: str = _text()  # running, done, failed
    total: int = Field(default=0)
    done: int = Field(default=0)
    error: str | None = _text(null=True)
    started_at: int = _big()
    ended_at: int | None = _big(null=True)


class Tombstone(Base, table=True):
    """Somebody who is not to be made again: by the record that was deleted, and by the keyed hash of the address."""

    __tablename__ = "tombstone"
    __table_args__ = (
        Index("ix_tombstone_key_hash", "key_hash"),
        Index("ix_tombstone_record", "connection", "remote_id"),
    )
    id: int = _id()
    connection: str = _text()  # "" = everywhere
    remote_id: str | None = _text(null=True)
    key_hash: str | None = _text(null=True)
    reason: str = _text()  # deleted, erased
    actor: str = _text()  # the connection that said it, or the operator
    at: int = _big()
    lifted_at: int | None = _big(null=True)
    lifted_by: str | None = _text(null=True)


class Erasure(Base, table=True):
    """One person's erasure.  Keeps nothing of the person but a keyed hash once it is through."""

    __tablename__ = "erasure"
    id: int = _id()
    key_hash: str = _text()
    requested_at: int = _big()
    by: str = _text()
    status: str = _text()  # calling, sweeping, scrubbing, done, partly
    due_at: int = _big()
    subject: dict[str, Any] | None = _json(null=True)  # addresses, contacts, records; None once they are removed
    removed: dict[str, Any] | None = _json(null=True)  # table -> how many rows
    proof: dict[str, Any] | None = _json(null=True)  # document, signature
    done_at: int | None = _big(null=True)


class ErasureStep(Base, table=True):
    """One call of an erasure, to one vendor."""

    __tablename__ = "erasure_step"
    __table_args__ = (Index("ix_erasure_step_erasure", "erasure_id"), Index("ix_erasure_step_due", "status", "due_at"))
    id: int = _id()
    erasure_id: int = _big()
    connection: str = _text()
    remote_id: str | None = _text(null=True)  # None: look for the address there; or forgotten, since it is through
    status: str = _text()  # pending, done, by_hand, refused
    attempts: int = Field(default=0)
    due_at: int = _big()
    answer: str | None = _text(null=True)  # in our words
    answered_at: int | None = _big(null=True)


class Meta(Base, table=True):
    """What this installation made up once and has to keep."""

    __tablename__ = "meta"
    key: str = Field(primary_key=True, sa_type=Text)
    value: str = _text()


def _table(model: type[SQLModel]) -> Table:
    return cast("Table", model.__table__)  # type: ignore[attr-defined]  # SQLModel adds it at run time


metadata = Base.metadata
delivery = _table(Delivery)
inbox = _table(Inbox)
contact = _table(Contact)
contact_key = _table(ContactKey)
link = _table(Link)
work = _table(Work)
history = _table(History)
conflict = _table(Conflict)
consent = _table(Consent)
dead = _table(Dead)
connection_state = _table(ConnectionState)
lease = _table(Lease)
worker = _table(Worker)
run = _table(Run)
tombstone = _table(Tombstone)
meta = _table(Meta)
erasure = _table(Erasure)
erasure_step = _table(ErasureStep)
