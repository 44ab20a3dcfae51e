"""Tables of what keeps people from harm: consent, tombstones, erasures, brakes, merges that can be split again."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Index, Text, text
from sqlmodel import Field

from app.core._tables_base import Base, big, json, row_id, words


class Consent(Base, table=True):
    """One line of the consent ledger.  Append-only: what holds now is computed from the lines of an address."""

    __tablename__ = "consent"
    __table_args__ = (
        Index("ix_consent_address", "address", "channel"),
        Index("uq_consent_digest", "digest", unique=True),
    )
    id: int = row_id()
    address: str = words()
    channel: str = words()
    purpose: str = words()  # "" = everything
    status: str = words()
    reason: str = words()
    basis: str | None = words(null=True)
    source: str = words()
    actor: str | None = words(null=True)
    evidence: dict[str, Any] | None = json(null=True)
    event: int | None = big(null=True)
    at: int = big()  # by the source's clock
    received_at: int = big()
    digest: str = words()  # the same line twice is one line


class Tombstone(Base, table=True):
    """Somebody who is not to be made again: by the record that was deleted, and by the keyed hash of the address."""

    __tablename__ = "tombstone"
    __table_args__ = (
        Index(
            "ix_tombstone_key_hash",
            "key_hash",
            sqlite_where=text("lifted_at IS NULL"),
            postgresql_where=text("lifted_at IS NULL"),
        ),
        Index("ix_tombstone_record", "connection", "remote_id"),
    )
    id: int = row_id()
    connection: str = words()  # "" = everywhere
    remote_id: str | None = words(null=True)
    key_hash: str | None = words(null=True)
    reason: str = words()  # deleted, erased
    actor: str = words()  # the connection that said it, or the operator
    at: int = big()
    lifted_at: int | None = big(null=True)
    lifted_by: str | None = words(null=True)


class Erasure(Base, table=True):
    """One person's erasure.  Keeps nothing of the person but a keyed hash once it is through."""

    __tablename__ = "erasure"
    id: int = row_id()
    key_hash: str = words()
    requested_at: int = big()
    by: str = words()
    status: str = words()  # calling, sweeping, scrubbing, done, partly
    due_at: int = big()
    subject: dict[str, Any] | None = json(null=True)  # addresses, contacts, records; None once they are removed
    removed: dict[str, Any] | None = json(null=True)  # table -> how many rows
    proof: dict[str, Any] | None = json(null=True)  # document, signature
    done_at: int | None = big(null=True)


class ErasureStep(Base, table=True):
    """One call of an erasure, to one vendor."""

    __tablename__ = "erasure_step"
    __table_args__ = (Index("ix_erasure_step_erasure", "erasure_id"), Index("ix_erasure_step_due", "status", "due_at"))
    id: int = row_id()
    erasure_id: int = big()
    connection: str = words()
    remote_id: str | None = words(null=True)  # None: look for the address there; or forgotten, since it is through
    status: str = words()  # pending, done, by_hand, refused
    attempts: int = Field(default=0)
    due_at: int = big()
    answer: str | None = words(null=True)  # in our words
    answered_at: int | None = big(null=True)


class Withheld(Base, table=True):
    """What a person decided not to write to a connection: a value of a field, a creation, an archiving."""

    __tablename__ = "withheld"
    connection: str = Field(primary_key=True, sa_type=Text)
    contact_id: int = Field(primary_key=True, sa_type=BigInteger)
    field: str = Field(primary_key=True, sa_type=Text)
    value: Any = json(null=True)
    by: str = words()
    at: int = big()


class BrakeCount(Base, table=True):
    """How many writes of a kind began in one slice of the brake's window."""

    __tablename__ = "brake_count"
    connection: str = Field(primary_key=True, sa_type=Text)
    kind: str = Field(primary_key=True, sa_type=Text)
    slice: int = Field(primary_key=True, sa_type=BigInteger)
    n: int = Field(default=0)


class Brake(Base, table=True):
    """A brake that went on: since when and why, and who ended it how."""

    __tablename__ = "brake"
    __table_args__ = (
        Index(
            "uq_brake_on",
            "connection",
            "kind",
            unique=True,
            sqlite_where=text("ended_at IS NULL"),
            postgresql_where=text("ended_at IS NULL"),
        ),
    )
    id: int = row_id()
    connection: str = words()
    kind: str = words()
    since: int = big()
    why: str = words()
    seen: int = big()  # writes within the window, the one that went too far included
    known: int = big()  # records known at the connection then
    ended_at: int | None = big(null=True)
    ended_by: str | None = words(null=True)
    ending: str | None = words(null=True)  # released, discarded


class Merge(Base, table=True):
    """Two contacts that became one, with all that it takes to split them again."""

    __tablename__ = "merge"
    __table_args__ = (Index("ix_merge_winner", "winner"), Index("ix_merge_loser", "loser"))
    id: int = row_id()
    winner: int = big()
    loser: int = big()
    by: str = words()  # the connection that said it, or the operator
    before: dict[str, Any] = json()  # what the winner held in the fields that it took from the loser
    links: list[list[str]] = json()  # the loser's records that moved: connection, kind, remote id
    at: int = big()
    split_at: int | None = big(null=True)
    split_by: str | None = words(null=True)


class Alias(Base, table=True):
    """An id under which a vendor knew a record before it merged it into another one."""

    __tablename__ = "alias"
    __table_args__ = (Index("ix_alias_record", "connection", "kind", "remote_id"),)
    connection: str = Field(primary_key=True, sa_type=Text)
    kind: str = Field(primary_key=True, sa_type=Text)
    former: str = Field(primary_key=True, sa_type=Text)
    remote_id: str = words()
    at: int = big()


class Proposal(Base, table=True):
    """Two contacts that may be one person, what speaks for it, and what a person decided."""

    __tablename__ = "proposal"
    __table_args__ = (
        Index("uq_proposal_pair", "older", "newer", unique=True),
        Index("ix_proposal_newer", "newer"),
        Index(
            "ix_proposal_waiting",
            "id",
            sqlite_where=text("status IN ('open', 'later')"),
            postgresql_where=text("status IN ('open', 'later')"),
        ),
    )
    id: int = row_id()
    older: int = big()
    newer: int = big()
    score: float = Field()  # log-odds, base 2
    reasons: list[dict[str, Any]] = json()
    contradiction: str | None = words(null=True)
    source: str = words()  # record, sweep, operator
    status: str = words()  # open, later, same, different
    at: int = big()
    decided_at: int | None = big(null=True)
    decided_by: str | None = words(null=True)
