"""Tables of how far a connection is trusted: to whom it writes as a canary, and what a person approved."""

from __future__ import annotations

from sqlalchemy import BigInteger, Index, Text
from sqlmodel import Field

from app.core._tables_base import Base, big, words


class CanaryContact(Base, table=True):
    """A contact that is written to although its connection is not live yet."""

    __tablename__ = "canary_contact"
    connection: str = Field(primary_key=True, sa_type=Text)
    contact_id: int = Field(primary_key=True, sa_type=BigInteger)
    at: int = big()


class Approval(Base, table=True):
    """An order that a plan showed and a person approved, and what became of it."""

    __tablename__ = "approval"
    __table_args__ = (Index("ix_approval_plan", "plan", "status"),)
    connection: str = Field(primary_key=True, sa_type=Text)
    contact_id: int = Field(primary_key=True, sa_type=BigInteger)
    plan: str = words()  # the plan's own id
    fingerprint: str = words()  # of the order, the contact's version and the shadow
    status: str = words()  # approved, written, moved, failed
    by: str = words()
    at: int = big()
    ended_at: int | None = big(null=True)
