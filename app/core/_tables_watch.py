"""Tables of what watches over the rest: alarms, drift, fields that are suspended, freshness, the rhythm of webhooks."""

from __future__ import annotations

from sqlalchemy import BigInteger, Index, Table, text

from app.core._tables_base import big, json, key, metadata, row_id, small, words

# Something that a person should look at.  Open until what raised it finds it mended.
alarm = Table(
    "alarm",
    metadata,
    row_id(),
    words("kind"),
    words("connection"),
    words("subject"),  # what it is about, e.g. a vendor's field; "" = the connection; never a person
    big("since"),
    big("last_seen"),
    big("cleared_at", null=True),
    words("words"),  # what is wrong, and what to do
    Index(
        "uq_alarm_open",
        "kind",
        "connection",
        "subject",
        unique=True,
        sqlite_where=text("cleared_at IS NULL"),
        postgresql_where=text("cleared_at IS NULL"),
    ),
)

# What one sink was told about one alarm, or is to be told; gone when it was told that the alarm is over.
alarm_notice = Table(
    "alarm_notice",
    metadata,
    key("sink"),
    key("kind"),
    key("connection"),
    key("subject"),
    big("told_at", null=True),  # last; None: no message got through yet
    small("attempts", default=0),  # since the last one that got through
    big("due_at"),
    words("error", null=True),
)

# A vendor's field that is neither read nor written until it is back, or a person says so.
suspended = Table(
    "suspended",
    metadata,
    key("connection"),
    key("field"),  # in the vendor's words
    words("why"),
    big("since"),
    big("resumed_at", null=True),  # a person's word: the same reason does not suspend it again
    words("resumed_by", null=True),
)

# The fields of a connection as its vendor last described them: what a later description is compared with.
described = Table(
    "described",
    metadata,
    key("connection"),
    json("properties"),
    big("at"),
    big("due_at"),
)

# One field of one record of which a vendor and Tandem say different things; or a record that one of them lacks.
disagreement = Table(
    "disagreement",
    metadata,
    row_id(),
    words("connection"),
    words("remote_id"),
    words("field"),  # canonical; "" = the record itself
    words("why"),
    big("contact_id", null=True),
    big("first_seen"),
    big("last_seen"),
    big("run"),
    Index("uq_disagreement_field", "connection", "remote_id", "field", unique=True),
    Index("ix_disagreement_contact", "contact_id"),
    Index("ix_disagreement_field", "connection", "field", "first_seen"),
)

# A record that the run under way has seen; gone when the run ends.
sighting = Table(
    "sighting",
    metadata,
    key("connection"),
    key("remote_id"),
)

# What the last complete compare of a connection found, by field.
drift = Table(
    "drift",
    metadata,
    key("connection"),
    key("field"),
    big("compared"),
    big("mismatched"),
    big("run"),
    big("at"),
)

# How many changes landed at a connection within one slice of time, by how old they were.
landed = Table(
    "landed",
    metadata,
    key("connection"),
    key("slice", BigInteger),
    key("bucket", BigInteger),
    small("n", default=0),
)

# How often the webhooks of a connection usually come, and how often it is polled.
rhythm = Table(
    "rhythm",
    metadata,
    key("connection"),
    json("state"),  # app.repair.rhythm
    big("read_to"),  # deliveries up to this id are counted
    big("poll_gap", null=True),  # ms between polls, as adapted
    small("missed", default=0),  # changes that a poll found and no webhook had told
    big("hooks_due_at"),  # when the vendor's subscription is looked at next
)
