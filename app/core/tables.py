"""The tables of SQLAlchemy Core (an ORM loop costs up to a hundred times more).

Hot and narrow apart from wide: ``work`` and ``inbox`` are the hot ones.  Times are milliseconds since 1970 UTC.
Names of constraints follow one convention, so that migrations can name them.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Float, Index, LargeBinary, Table, text

from app.core._tables_access import account, api_token, audit, login_attempt, session
from app.core._tables_agreement import (
    agreement_version,
    brief,
    clock,
    clock_notice,
    clock_word,
    disposition,
    lead,
    lead_step,
    refold,
)
from app.core._tables_base import Big, big, column, json, key, metadata, row_id, small, words
from app.core._tables_care import (
    alias,
    brake,
    brake_count,
    consent,
    erasure,
    erasure_step,
    merge,
    proposal,
    tombstone,
    withheld,
)
from app.core._tables_objects import (
    belonging,
    colleague,
    company,
    deal,
    deal_step,
    engagement,
    engagement_sum,
    object_link,
    summary_due,
    survey,
    timeline_entry,
)
from app.core._tables_programmes import programme_member
from app.core._tables_replicas import call_budget, flight
from app.core._tables_score import journey, lead_round, score
from app.core._tables_tokens import consenting, token
from app.core._tables_trust import approval, canary_contact
from app.core._tables_watch import (
    alarm,
    alarm_notice,
    described,
    disagreement,
    drift,
    landed,
    rhythm,
    sighting,
    suspended,
)
from app.core._tables_why import refusal, ruling

__all__ = [
    "account",
    "agreement_version",
    "alarm",
    "alarm_notice",
    "alias",
    "api_token",
    "approval",
    "audit",
    "belonging",
    "block",
    "brake",
    "brake_count",
    "brief",
    "call_budget",
    "canary_contact",
    "clock",
    "clock_notice",
    "clock_word",
    "colleague",
    "company",
    "conflict",
    "connection_state",
    "consent",
    "consenting",
    "contact",
    "contact_key",
    "dead",
    "deal",
    "deal_step",
    "delivery",
    "described",
    "disagreement",
    "disposition",
    "drift",
    "engagement",
    "engagement_sum",
    "erasure",
    "erasure_step",
    "flight",
    "history",
    "inbox",
    "journey",
    "landed",
    "lead",
    "lead_round",
    "lead_step",
    "lease",
    "link",
    "login_attempt",
    "merge",
    "meta",
    "metadata",
    "object_link",
    "programme_member",
    "proposal",
    "refold",
    "refusal",
    "rhythm",
    "ruling",
    "run",
    "score",
    "session",
    "sighting",
    "summary_due",
    "survey",
    "suspended",
    "timeline_entry",
    "token",
    "tombstone",
    "withheld",
    "work",
    "worker",
]

# The raw bytes of a delivery that brought something new; kept for replay until retention prunes them.
delivery = Table(
    "delivery",
    metadata,
    column("id", Big, primary_key=True, autoincrement=False),  # grows with time
    words("connection"),
    big("received_at"),
    words("method"),
    words("path"),  # without the query, which may hold a secret
    words("content_type"),
    column("body", LargeBinary, nullable=False),
)

# One event: what a delivery or a poll says happened to one record.
inbox = Table(
    "inbox",
    metadata,
    row_id(),
    words("connection"),
    words("dedupe"),
    big("delivery", null=True),
    words("kind"),
    words("action"),
    words("ref_key"),
    words("ref_value"),
    json("losers", null=True),
    json("record", null=True),  # where the event carries the complete record
    big("occurred_at", null=True),
    big("received_at"),
    words("status"),  # pending, done, ignored, parked (unreadable), dead
    small("lane", default=1),  # 0 is looked at first
    big("due_at"),
    small("attempts", default=0),
    big("first_failed_at", null=True),
    words("error", null=True),
    big("done_at", null=True),
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

# The canonical person.
contact = Table(
    "contact",
    metadata,
    row_id(),
    big("version"),
    json("facts"),  # field -> Fact.to_json()
    big("created_at"),
    big("updated_at"),
    big("merged_into", null=True),  # the contact that stands for it; kept, so that a merge can be split
    Index(
        "ix_contact_merged_into",
        "merged_into",
        sqlite_where=text("merged_into IS NOT NULL"),
        postgresql_where=text("merged_into IS NOT NULL"),
    ),
)

# Keys under which a contact is found.  A strong key belongs to one contact only.
contact_key = Table(
    "contact_key",
    metadata,
    key("key"),
    key("value"),
    key("contact_id", BigInteger),
    small("strong", default=0),
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

# Hashed keys under which a contact is found when no address says who it is; most contacts have a dozen.
block = Table(
    "block",
    metadata,
    key("key", BigInteger),
    key("contact_id", BigInteger),
    sqlite_with_rowid=False,
)

# Contact ↔ record, unique in both directions, with the shadow.
link = Table(
    "link",
    metadata,
    key("connection"),
    key("kind"),
    key("remote_id"),
    big("contact_id"),
    json("shadow"),
    big("rev"),  # + 1 whenever the shadow moves; a push that finds it moved does not trust its own view
    big("modified", null=True),  # the record's modified time by the vendor's clock, newest seen
    big("written_at"),  # when our last write ended, by the database's clock; 0 = never
    big("gone_at", null=True),  # the vendor said the record is deleted
    json("altered", null=True),  # field -> value we sent that the vendor keeps otherwise
    json("landed", null=True),  # field -> when our last write of it landed
    json("warnings", null=True),  # fields of the last claim that were dropped, and why
    json("origin", null=True),  # what the record said when it was paired with a known contact
    column("likeness", Float, nullable=True),  # log-odds, base 2, by which it was paired; null: not by likeness
    big("address_of", null=True),  # the contact whose own address the record holds, where that is another one
    big("second_at", null=True),  # when it was found to be a second record of somebody: told objections only
    big("created_at"),
    Index("uq_link_contact", "contact_id", "connection", "kind", unique=True),
    Index(
        "ix_link_address_of",
        "address_of",
        "connection",
        postgresql_where=text("address_of IS NOT NULL"),
        sqlite_where=text("address_of IS NOT NULL"),
    ),
)

# One dirty link: something to write to ``connection`` for ``contact_id``.  Hot and narrow; deleted when done.
work = Table(
    "work",
    metadata,
    key("connection"),
    key("contact_id", BigInteger),
    small("lane", default=1),  # 0 travels first
    big("gen"),  # + 1 per change; done only if it is still the leased one
    big("taken", null=True),  # the gen that the lease holder saw
    words("lease", null=True),  # fencing token
    big("due_at"),  # eligible from; a lease or a retry pushes it forward
    big("since"),  # when the oldest change in it happened, for freshness
    small("attempts", default=0),
    big("first_failed_at", null=True),
    words("error", null=True),
    words("held", null=True),  # the brake it waits for, or "+" and the brake that it was let through
    Index("ix_work_due", "connection", "lane", "due_at"),
    Index(
        "ix_work_held",
        "connection",
        "held",
        sqlite_where=text("held IS NOT NULL"),
        postgresql_where=text("held IS NOT NULL"),
    ),
)

# One change of one field.
history = Table(
    "history",
    metadata,
    row_id(),
    big("contact_id"),
    big("version"),
    words("field"),
    json("old", null=True),
    json("new", null=True),
    words("source"),
    words("rule"),
    big("event", null=True),
    words("actor", null=True),  # the operator
    big("run", null=True),  # of the operator's
    big("at"),  # when it happened, by the source's clock
    big("stored_at"),
    Index("ix_history_contact", "contact_id", "version"),
    Index(
        "ix_history_run",
        "run",
        "id",
        sqlite_where=text("run IS NOT NULL"),
        postgresql_where=text("run IS NOT NULL"),
    ),
)

# A true double edit of an ``ask`` field, waiting for a person.
conflict = Table(
    "conflict",
    metadata,
    row_id(),
    big("contact_id"),
    words("field"),
    words("connection"),  # whose claim is not let in
    json("ours", null=True),
    json("theirs", null=True),
    big("event", null=True),
    big("at"),
    Index("uq_conflict_open", "contact_id", "field", "connection", unique=True),
)

# A dead letter: what was given up, why, and what would help.
dead = Table(
    "dead",
    metadata,
    row_id(),
    words("station"),  # sync or push
    words("connection"),
    big("contact_id", null=True),
    big("event", null=True),
    words("code"),
    words("reason"),
    words("next_step"),
    words("field", null=True),
    small("attempts", default=0),
    big("at"),
    Index("ix_dead_connection", "connection", "id"),
    Index("ix_dead_contact", "contact_id", "connection"),
    Index("ix_dead_event", "event"),
)

# What is known of one connection, shared by all replicas.
connection_state = Table(
    "connection_state",
    metadata,
    key("name"),
    big("next_at"),  # the next push may start then: fairness and pace
    small("paused", default=0),
    words("paused_why", null=True),
    words("paused_by", null=True),  # "tandem" or an operator
    big("paused_at", null=True),
    big("polled_at", null=True),
    big("poll_due_at"),
    words("cursor", null=True),
    big("walked_at", null=True),  # the first complete walk ended
    big("walk_began_at", null=True),
    small("walk_read", default=0),  # records that the first walk brought so far
    big("walk_total", null=True),  # how many there are, where the vendor says so
    big("first_read_at", null=True),  # all of the first walk has gone through the chain
    big("failing_since", null=True),
    words("failure", null=True),
    big("last_event_at", null=True),
    big("last_push_at", null=True),
    big("fetched_at", default=0),  # a batch of events was taken last: fairness
)

# A named right that one worker holds at a time.
lease = Table(
    "lease",
    metadata,
    key("name"),
    words("token"),
    big("until"),
)

# A running worker process.
worker = Table(
    "worker",
    metadata,
    key("id"),
    words("host"),
    small("pid"),
    big("started_at"),
    big("beat_at"),
)

# A long piece of work that an operator asked for.
run = Table(
    "run",
    metadata,
    row_id(),
    words("kind"),
    json("params"),
    words("status"),  # running, done, failed
    small("total", default=0),
    small("done", default=0),
    words("error", null=True),
    big("started_at"),
    big("ended_at", null=True),
)

# What this installation made up once and has to keep.
meta = Table(
    "meta",
    metadata,
    key("key"),
    words("value"),
)
