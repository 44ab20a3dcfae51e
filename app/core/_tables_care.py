"""Tables of what keeps people from harm: consent, tombstones, erasures, brakes, merges that can be split again."""

from __future__ import annotations

from sqlalchemy import BigInteger, Float, Index, Table, text

from app.core._tables_base import big, column, json, key, metadata, row_id, small, words

# One line of the consent ledger.  Append-only: what holds now is computed from the lines of an address.
consent = Table(
    "consent",
    metadata,
    row_id(),
    words("address"),
    words("channel"),
    words("purpose"),  # "" = everything
    words("status"),
    words("reason"),
    words("basis", null=True),
    words("source"),
    words("actor", null=True),
    json("evidence", null=True),
    big("event", null=True),
    big("at"),  # by the source's clock
    big("received_at"),
    words("digest"),  # the same line twice is one line
    Index("ix_consent_address", "address", "channel"),
    Index("uq_consent_digest", "digest", unique=True),
)

# Somebody who is not to be made again: by the record that was deleted, and by the keyed hash of the address.
tombstone = Table(
    "tombstone",
    metadata,
    row_id(),
    words("connection"),  # "" = everywhere
    words("remote_id", null=True),
    words("key_hash", null=True),
    words("reason"),  # deleted, erased
    words("actor"),  # the connection that said it, or the operator
    big("at"),
    big("lifted_at", null=True),
    words("lifted_by", null=True),
    Index(
        "ix_tombstone_key_hash",
        "key_hash",
        sqlite_where=text("lifted_at IS NULL"),
        postgresql_where=text("lifted_at IS NULL"),
    ),
    Index("ix_tombstone_record", "connection", "remote_id"),
)

# One person's erasure.  Keeps nothing of the person but a keyed hash once it is through.
erasure = Table(
    "erasure",
    metadata,
    row_id(),
    words("key_hash"),
    big("requested_at"),
    words("by"),
    words("status"),  # calling, sweeping, scrubbing, done, partly
    big("due_at"),
    json("subject", null=True),  # addresses, contacts, records; None once they are removed
    json("removed", null=True),  # table -> how many rows
    json("proof", null=True),  # document, signature
    big("done_at", null=True),
)

# One call of an erasure, to one vendor.
erasure_step = Table(
    "erasure_step",
    metadata,
    row_id(),
    big("erasure_id"),
    words("connection"),
    words("remote_id", null=True),  # None: look for the address there; or forgotten, since it is through
    words("status"),  # pending, done, by_hand, refused
    small("attempts", default=0),
    big("due_at"),
    words("answer", null=True),  # in our words
    big("answered_at", null=True),
    Index("ix_erasure_step_erasure", "erasure_id"),
    Index("ix_erasure_step_due", "status", "due_at"),
)

# What a person decided not to write to a connection: a value of a field, a creation, an archiving.
withheld = Table(
    "withheld",
    metadata,
    key("connection"),
    key("contact_id", BigInteger),
    key("field"),
    json("value", null=True),
    words("by"),
    big("at"),
)

# How many writes of a kind began in one slice of the brake's window.
brake_count = Table(
    "brake_count",
    metadata,
    key("connection"),
    key("kind"),
    key("slice", BigInteger),
    small("n", default=0),
)

# A brake that went on: since when and why, and who ended it how.
brake = Table(
    "brake",
    metadata,
    row_id(),
    words("connection"),
    words("kind"),
    big("since"),
    words("why"),
    big("seen"),  # writes within the window, the one that went too far included
    big("known"),  # records known at the connection then
    big("ended_at", null=True),
    words("ended_by", null=True),
    words("ending", null=True),  # released, discarded
    Index(
        "uq_brake_on",
        "connection",
        "kind",
        unique=True,
        sqlite_where=text("ended_at IS NULL"),
        postgresql_where=text("ended_at IS NULL"),
    ),
)

# Two contacts that became one, with all that it takes to split them again.
merge = Table(
    "merge",
    metadata,
    row_id(),
    big("winner"),
    big("loser"),
    words("by"),  # the connection that said it, or the operator
    json("before"),  # what the winner held in the fields that it took from the loser
    json("links"),  # the loser's records that moved: connection, kind, remote id
    big("at"),
    big("split_at", null=True),
    words("split_by", null=True),
    Index("ix_merge_winner", "winner"),
    Index("ix_merge_loser", "loser"),
)

# An id under which a vendor knew a record before it merged it into another one.
alias = Table(
    "alias",
    metadata,
    key("connection"),
    key("kind"),
    key("former"),
    words("remote_id"),
    big("at"),
    Index("ix_alias_record", "connection", "kind", "remote_id"),
)

# Two contacts that may be one person, what speaks for it, and what a person decided.
proposal = Table(
    "proposal",
    metadata,
    row_id(),
    big("older"),
    big("newer"),
    column("score", Float, nullable=False),  # log-odds, base 2
    json("reasons"),
    words("contradiction", null=True),
    words("source"),  # record, sweep, operator
    words("status"),  # open, later, same, different
    big("at"),
    big("decided_at", null=True),
    words("decided_by", null=True),
    Index("uq_proposal_pair", "older", "newer", unique=True),
    Index("ix_proposal_newer", "newer"),
    Index(
        "ix_proposal_waiting",
        "id",
        sqlite_where=text("status IN ('open', 'later')"),
        postgresql_where=text("status IN ('open', 'later')"),
    ),
)
