"""Tables of the agreement between sales and marketing: its versions, and how each lead stands under them."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Index, text
from sqlmodel import Field

from app.core._tables_base import Base, big, json, row_id, words


class AgreementVersion(Base, table=True):
    """One version of the agreement.  It is judged by once both have signed."""

    __tablename__ = "agreement_version"
    __table_args__ = (Index("uq_agreement_version_digest", "digest", unique=True),)
    id: int = row_id()
    digest: str = words()  # of what it says, comments aside
    title: str = words()
    text: str = words()
    customs: dict[str, Any] = json()  # custom fields that its conditions were checked with: name -> type
    entered_at: int = big()
    wished: int | None = big(null=True)  # from when on it is to hold
    sales_by: str | None = words(null=True)
    sales_at: int | None = big(null=True)
    marketing_by: str | None = words(null=True)
    marketing_at: int | None = big(null=True)
    in_force: int | None = big(null=True)  # from when on it holds; None = not signed by both
    swept: int | None = big(null=True)  # contacts up to this one were judged by it; None = all


class Lead(Base, table=True):
    """How a contact stands.  Computed from all that happened; who has no stage has no row."""

    __tablename__ = "lead"
    __table_args__ = (
        Index("ix_lead_stage", "stage", "contact_id"),
        Index("ix_lead_status", "status", "contact_id"),
        Index(
            "ix_lead_owner",
            "owner_email",
            "contact_id",
            sqlite_where=text("owner_email IS NOT NULL"),
            postgresql_where=text("owner_email IS NOT NULL"),
        ),
        Index(
            "ix_lead_flag",
            "flag",
            "contact_id",
            sqlite_where=text("flag IS NOT NULL"),
            postgresql_where=text("flag IS NOT NULL"),
        ),
        Index(
            "ix_lead_turns_at",
            "turns_at",
            sqlite_where=text("turns_at IS NOT NULL"),
            postgresql_where=text("turns_at IS NOT NULL"),
        ),
    )
    contact_id: int = Field(primary_key=True, sa_type=BigInteger)
    stage: str | None = words(null=True)
    since: int | None = big(null=True)
    reason: str | None = words(null=True)  # why it came to this stage
    status: str | None = words(null=True)  # app.agreement.words.Standing
    status_since: int | None = big(null=True)
    version: str = words()  # digest of the version that the last step was judged by
    handed_at: int | None = big(null=True)
    accepted_at: int | None = big(null=True)
    given_reason: str | None = words(null=True)  # why sales gave it back
    flag: str | None = words(null=True)  # what is not as agreed
    flag_why: str | None = words(null=True)
    recycled: int = Field(default=0)
    requalified: int = Field(default=0)
    recycled_at: int | None = big(null=True)
    rest_until: int | None = big(null=True)
    attempts: int = Field(default=0)
    channels: list[str] | None = json(null=True)
    owner_email: str | None = words(null=True)
    persona: str | None = words(null=True)
    profile: str | None = words(null=True)
    turns_at: int | None = big(null=True)  # when time alone may change it
    judged_at: int = big()
    seal: dict[str, Any] | None = json(null=True)  # all that was known at a moment before which history was removed


class LeadStep(Base, table=True):
    """One step of a lead.  Append-only: a step that later news showed to be wrong is void, and stays."""

    __tablename__ = "lead_step"
    __table_args__ = (
        Index("ix_lead_step_contact", "contact_id", "at"),
        Index(
            "ix_lead_step_to",
            "what",
            "after",
            "at",
            sqlite_where=text("void_at IS NULL"),
            postgresql_where=text("void_at IS NULL"),
        ),
    )
    id: int = row_id()
    contact_id: int = big()
    at: int = big()
    what: str = words()  # stage, status, flag
    before: str | None = words(null=True)
    after: str | None = words(null=True)
    why: str = words()
    facts: dict[str, Any] | None = json(null=True)  # that made it true
    by: str | None = words(null=True)
    version: str = words()
    stored_at: int = big()
    void_at: int | None = big(null=True)


class Disposition(Base, table=True):
    """What somebody said about a lead, as it was said: by a person here, or by a vendor's field."""

    __tablename__ = "disposition"
    __table_args__ = (Index("ix_disposition_contact", "contact_id", "at"),)
    id: int = row_id()
    contact_id: int = big()
    at: int = big()
    received_at: int = big()
    word: str = words()  # app.agreement.words.Word
    value: str | None = words(null=True)
    reason: str | None = words(null=True)
    team: str | None = words(null=True)
    source: str = words()  # connection, or "operator"
    by: str | None = words(null=True)  # the operator
    event: int | None = big(null=True)
    finding: str | None = words(null=True)  # what the agreement made of it; None = not judged yet
    why: str | None = words(null=True)


class Refold(Base, table=True):
    """A contact whose lead has to be worked out anew.  Hot and narrow; deleted when done."""

    __tablename__ = "refold"
    __table_args__ = (Index("ix_refold_due", "due_at"), {"sqlite_with_rowid": False})
    contact_id: int = Field(primary_key=True, sa_type=BigInteger)
    gen: int = big()  # + 1 per change; done only if it is still the one that was worked from
    due_at: int = big()
