"""The tables.  Declared with SQLModel, used as SQLAlchemy Core tables (an ORM loop costs up to a hundred times more).

Hot and narrow apart from wide: ``work`` and ``inbox`` are the hot ones.  Times are milliseconds since 1970 UTC.
Names of constraints follow one convention, so that migrations can name them.
"""

from __future__ import annotations

from typing import Any, cast

from sqlalchemy import BigInteger, Column, Index, LargeBinary, Table, Text, text
from sqlmodel import Field, SQLModel

from app.core._tables_access import Account, ApiToken, Audit, BrowserSession, LoginAttempt
from app.core._tables_agreement import (
    AgreementVersion,
    Brief,
    Clock,
    ClockNotice,
    ClockWord,
    Disposition,
    Lead,
    LeadStep,
    Refold,
)
from app.core._tables_base import Base, Big, big, json, row_id, words
from app.core._tables_care import (
    Alias,
    Brake,
    BrakeCount,
    Consent,
    Erasure,
    ErasureStep,
    Merge,
    Proposal,
    Tombstone,
    Withheld,
)
from app.core._tables_objects import (
    Belonging,
    Colleague,
    Company,
    Deal,
    DealStep,
    Engagement,
    EngagementSum,
    Entry,
    ObjectLink,
    SummaryDue,
    Survey,
)
from app.core._tables_programmes import ProgrammeMember
from app.core._tables_replicas import CallBudget, Flight
from app.core._tables_score import Journey, LeadRound, Score
from app.core._tables_tokens import Consenting, Token
from app.core._tables_trust import Approval, CanaryContact
from app.core._tables_watch import (
    Alarm,
    AlarmNotice,
    Described,
    Disagreement,
    Drift,
    Landed,
    Rhythm,
    Sighting,
    Suspended,
)
from app.core._tables_why import Refusal, Ruling


class Delivery(Base, table=True):
    """The raw bytes of a delivery that brought something new; kept for replay until retention prunes them."""

    __tablename__ = "delivery"
    id: int = Field(default=None, sa_column=Column(Big, primary_key=True, autoincrement=False))  # grows with time
    connection: str = words()
    received_at: int = big()
    method: str = words()
    path: str = words()  # without the query, which may hold a secret
    content_type: str = words()
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
    id: int = row_id()
    connection: str = words()
    dedupe: str = words()
    delivery: int | None = big(null=True)
    kind: str = words()
    action: str = words()
    ref_key: str = words()
    ref_value: str = words()
    losers: list[str] | None = json(null=True)
    record: dict[str, Any] | None = json(null=True)  # where the event carries the complete record
    occurred_at: int | None = big(null=True)
    received_at: int = big()
    status: str = words()  # pending, done, ignored, parked (unreadable), dead
    lane: int = Field(default=1)  # 0 is looked at first
    due_at: int = big()
    attempts: int = Field(default=0)
    first_failed_at: int | None = big(null=True)
    error: str | None = words(null=True)
    done_at: int | None = big(null=True)


class Contact(Base, table=True):
    """The canonical person."""

    __tablename__ = "contact"
    __table_args__ = (
        Index(
            "ix_contact_merged_into",
            "merged_into",
            sqlite_where=text("merged_into IS NOT NULL"),
            postgresql_where=text("merged_into IS NOT NULL"),
        ),
    )
    id: int = row_id()
    version: int = big()
    facts: dict[str, Any] = json()  # field -> Fact.to_json()
    created_at: int = big()
    updated_at: int = big()
    merged_into: int | None = big(null=True)  # the contact that stands for it; kept, so that a merge can be split


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


class Block(Base, table=True):
    """Hashed keys under which a contact is found when no address says who it is; most contacts have a dozen."""

    __tablename__ = "block"
    __table_args__ = ({"sqlite_with_rowid": False},)
    key: int = Field(primary_key=True, sa_type=BigInteger)
    contact_id: int = Field(primary_key=True, sa_type=BigInteger)


class Link(Base, table=True):
    """Contact ↔ record, unique in both directions, with the shadow."""

    __tablename__ = "link"
    __table_args__ = (
        Index("uq_link_contact", "contact_id", "connection", "kind", unique=True),
        Index(
            "ix_link_address_of",
            "address_of",
            "connection",
            postgresql_where=text("address_of IS NOT NULL"),
            sqlite_where=text("address_of IS NOT NULL"),
        ),
    )
    connection: str = Field(primary_key=True, sa_type=Text)
    kind: str = Field(primary_key=True, sa_type=Text)
    remote_id: str = Field(primary_key=True, sa_type=Text)
    contact_id: int = big()
    shadow: dict[str, Any] = json()
    rev: int = big()  # + 1 whenever the shadow moves; a push that finds it moved does not trust its own view
    modified: int | None = big(null=True)  # the record's modified time by the vendor's clock, newest seen
    written_at: int = big()  # when our last write ended, by the database's clock; 0 = never
    gone_at: int | None = big(null=True)  # the vendor said the record is deleted
    altered: dict[str, Any] | None = json(null=True)  # field -> value we sent that the vendor keeps otherwise
    landed: dict[str, int] | None = json(null=True)  # field -> when our last write of it landed
    warnings: list[dict[str, str]] | None = json(null=True)  # fields of the last claim that were dropped, and why
    origin: dict[str, Any] | None = json(null=True)  # what the record said when it was paired with a known contact
    address_of: int | None = big(null=True)  # the contact whose own address the record holds, where that is another one
    second_at: int | None = big(null=True)  # when it was found to be a second record of somebody: told objections only
    created_at: int = big()


class Work(Base, table=True):
    """One dirty link: something to write to ``connection`` for ``contact_id``.  Hot and narrow; deleted when done."""

    __tablename__ = "work"
    __table_args__ = (
        Index("ix_work_due", "connection", "lane", "due_at"),
        Index(
            "ix_work_held",
            "connection",
            "held",
            sqlite_where=text("held IS NOT NULL"),
            postgresql_where=text("held IS NOT NULL"),
        ),
    )
    connection: str = Field(primary_key=True, sa_type=Text)
    contact_id: int = Field(primary_key=True, sa_type=BigInteger)
    lane: int = Field(default=1)  # 0 travels first
    gen: int = big()  # + 1 per change; done only if it is still the leased one
    taken: int | None = big(null=True)  # the gen that the lease holder saw
    lease: str | None = words(null=True)  # fencing token
    due_at: int = big()  # eligible from; a lease or a retry pushes it forward
    since: int = big()  # when the oldest change in it happened, for freshness
    attempts: int = Field(default=0)
    first_failed_at: int | None = big(null=True)
    error: str | None = words(null=True)
    held: str | None = words(null=True)  # the brake it waits for, or "+" and the brake that it was let through


class History(Base, table=True):
    """One change of one field."""

    __tablename__ = "history"
    __table_args__ = (
        Index("ix_history_contact", "contact_id", "version"),
        Index(
            "ix_history_run",
            "run",
            "id",
            sqlite_where=text("run IS NOT NULL"),
            postgresql_where=text("run IS NOT NULL"),
        ),
    )
    id: int = row_id()
    contact_id: int = big()
    version: int = big()
    field: str = words()
    old: Any = json(null=True)
    new: Any = json(null=True)
    source: str = words()
    rule: str = words()
    event: int | None = big(null=True)
    actor: str | None = words(null=True)  # the operator
    run: int | None = big(null=True)  # of the operator's
    at: int = big()  # when it happened, by the source's clock
    stored_at: int = big()


class Conflict(Base, table=True):
    """A true double edit of an ``ask`` field, waiting for a person."""

    __tablename__ = "conflict"
    __table_args__ = (Index("uq_conflict_open", "contact_id", "field", "connection", unique=True),)
    id: int = row_id()
    contact_id: int = big()
    field: str = words()
    connection: str = words()  # whose claim is not let in
    ours: Any = json(null=True)
    theirs: Any = json(null=True)
    event: int | None = big(null=True)
    at: int = big()


class Dead(Base, table=True):
    """A dead letter: what was given up, why, and what would help."""

    __tablename__ = "dead"
    __table_args__ = (
        Index("ix_dead_connection", "connection", "id"),
        Index("ix_dead_contact", "contact_id", "connection"),
        Index("ix_dead_event", "event"),
    )
    id: int = row_id()
    station: str = words()  # sync or push
    connection: str = words()
    contact_id: int | None = big(null=True)
    event: int | None = big(null=True)
    code: str = words()
    reason: str = words()
    next_step: str = words()
    field: str | None = words(null=True)
    attempts: int = Field(default=0)
    at: int = big()


class ConnectionState(Base, table=True):
    """What is known of one connection, shared by all replicas."""

    __tablename__ = "connection_state"
    name: str = Field(primary_key=True, sa_type=Text)
    next_at: int = big()  # the next push may start then: fairness and pace
    paused: int = Field(default=0)
    paused_why: str | None = words(null=True)
    paused_by: str | None = words(null=True)  # "tandem" or an operator
    paused_at: int | None = big(null=True)
    polled_at: int | None = big(null=True)
    poll_due_at: int = big()
    cursor: str | None = words(null=True)
    walked_at: int | None = big(null=True)  # the first complete walk ended
    walk_began_at: int | None = big(null=True)
    walk_read: int = Field(default=0)  # records that the first walk brought so far
    walk_total: int | None = big(null=True)  # how many there are, where the vendor says so
    first_read_at: int | None = big(null=True)  # all of the first walk has gone through the chain
    failing_since: int | None = big(null=True)
    failure: str | None = words(null=True)
    last_event_at: int | None = big(null=True)
    last_push_at: int | None = big(null=True)
    fetched_at: int = Field(default=0, sa_type=BigInteger)  # a batch of events was taken last: fairness


class Lease(Base, table=True):
    """A named right that one worker holds at a time."""

    __tablename__ = "lease"
    name: str = Field(primary_key=True, sa_type=Text)
    token: str = words()
    until: int = big()


class Worker(Base, table=True):
    """A running worker process."""

    __tablename__ = "worker"
    id: str = Field(primary_key=True, sa_type=Text)
    host: str = words()
    pid: int = Field()
    started_at: int = big()
    beat_at: int = big()


class Run(Base, table=True):
    """A long piece of work that an operator asked for."""

    __tablename__ = "run"
    id: int = row_id()
    kind: str = words()
    params: dict[str, Any] = json()
    status: str = words()  # running, done, failed
    total: int = Field(default=0)
    done: int = Field(default=0)
    error: str | None = words(null=True)
    started_at: int = big()
    ended_at: int | None = big(null=True)


class Meta(Base, table=True):
    """What this installation made up once and has to keep."""

    __tablename__ = "meta"
    key: str = Field(primary_key=True, sa_type=Text)
    value: str = words()


def _table(model: type[SQLModel]) -> Table:
    return cast("Table", model.__table__)  # type: ignore[attr-defined]  # SQLModel adds it at run time


metadata = Base.metadata
delivery = _table(Delivery)
inbox = _table(Inbox)
contact = _table(Contact)
contact_key = _table(ContactKey)
block = _table(Block)
link = _table(Link)
work = _table(Work)
withheld = _table(Withheld)
canary_contact = _table(CanaryContact)
approval = _table(Approval)
brake_count = _table(BrakeCount)
brake = _table(Brake)
merge = _table(Merge)
alias = _table(Alias)
proposal = _table(Proposal)
history = _table(History)
conflict = _table(Conflict)
refusal = _table(Refusal)
ruling = _table(Ruling)
consent = _table(Consent)
dead = _table(Dead)
connection_state = _table(ConnectionState)
lease = _table(Lease)
call_budget = _table(CallBudget)
flight = _table(Flight)
token = _table(Token)
consenting = _table(Consenting)
account = _table(Account)
session = _table(BrowserSession)
api_token = _table(ApiToken)
audit = _table(Audit)
login_attempt = _table(LoginAttempt)
worker = _table(Worker)
run = _table(Run)
tombstone = _table(Tombstone)
meta = _table(Meta)
erasure = _table(Erasure)
erasure_step = _table(ErasureStep)
alarm = _table(Alarm)
alarm_notice = _table(AlarmNotice)
suspended = _table(Suspended)
described = _table(Described)
disagreement = _table(Disagreement)
sighting = _table(Sighting)
drift = _table(Drift)
landed = _table(Landed)
rhythm = _table(Rhythm)
company = _table(Company)
deal = _table(Deal)
deal_step = _table(DealStep)
object_link = _table(ObjectLink)
belonging = _table(Belonging)
colleague = _table(Colleague)
engagement = _table(Engagement)
engagement_sum = _table(EngagementSum)
summary_due = _table(SummaryDue)
survey = _table(Survey)
timeline_entry = _table(Entry)
agreement_version = _table(AgreementVersion)
lead = _table(Lead)
lead_step = _table(LeadStep)
programme_member = _table(ProgrammeMember)
disposition = _table(Disposition)
refold = _table(Refold)
journey = _table(Journey)
lead_round = _table(LeadRound)
score = _table(Score)
brief = _table(Brief)
clock = _table(Clock)
clock_notice = _table(ClockNotice)
clock_word = _table(ClockWord)
