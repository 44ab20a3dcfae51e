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
    by_machine: int = Field(default=0)  # attempts of machines
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


_OPEN: Any = {"sqlite_where": text("ended_at IS NULL"), "postgresql_where": text("ended_at IS NULL")}


class Clock(Base, table=True):
    """One round of one clock of a lead, as it stands since its last mark.  Computed from all that happened."""

    __tablename__ = "clock"
    __table_args__ = (
        Index("uq_clock_round", "contact_id", "name", "started_at", unique=True),
        Index("ix_clock_open", "rank_at", "id", **_OPEN),
        Index("ix_clock_state", "state", "rank_at", "id"),
        Index("ix_clock_owner", "owner", "rank_at", "id", **_OPEN),
        Index("ix_clock_team", "team", "rank_at", "id", **_OPEN),
    )
    id: int = row_id()
    contact_id: int = big()
    name: str = words()
    started_at: int = big()
    round: int = Field(default=1)
    owner: str | None = words(null=True)
    team: str | None = words(null=True)
    state: str = words()  # app.agreement.clocks.State
    version: str = words()  # digest
    calendar: str = words()
    due_at: int | None = big(null=True)  # None = paused before it was due
    rank_at: int = big()  # ``due_at``, or far in the future
    next_at: int | None = big(null=True)  # when it changes by itself
    breached_at: int | None = big(null=True)
    ended_at: int | None = big(null=True)  # when it was met, or taken back
    elapsed: int = big()  # ms of business time when it ended, else at its last mark
    target: int = big()  # ms of business time
    paused: int = big()  # ms of business time that pauses took
    paused_for: list[str] | None = json(null=True)  # why it stands now


class ClockNotice(Base, table=True):
    """A moment of a clock of which somebody is to hear: once for each, whatever is worked out anew."""

    __tablename__ = "clock_notice"
    __table_args__ = (
        Index(
            *("uq_clock_notice_moment", "contact_id", "name", "started_at", "leg", "mark", "planned", "to"),
            unique=True,
        ),
        Index("ix_clock_notice_at", "at"),
    )
    id: int = row_id()
    contact_id: int = big()
    name: str = words()
    started_at: int = big()
    leg: int = Field(default=1)
    mark: str = words()  # app.agreement.clocks.Mark
    planned: int = big()
    to: str = words()  # who hears of it; "" = the owner
    at: int = big()
    owner: str | None = words(null=True)
    reassign: int = Field(default=0)
    stored_at: int = big()
    void_at: int | None = big(null=True)  # later news showed that it never came to it


class ClockWord(Base, table=True):
    """What a named person did to the clocks of a lead: paused, resumed, or gave the lead to somebody else."""

    __tablename__ = "clock_word"
    __table_args__ = (Index("ix_clock_word_contact", "contact_id", "at"),)
    id: int = row_id()
    contact_id: int = big()
    at: int = big()
    what: str = words()  # paused, resumed, reassigned
    clock: str | None = words(null=True)  # None = all of the lead
    reason: str | None = words(null=True)
    owner: str | None = words(null=True)  # the new one
    by: str = words()


class Brief(Base, table=True):
    """A page for the joint meeting, as it was handed out: figures, colleagues; no contact but by number."""

    __tablename__ = "brief"
    __table_args__ = (Index("ix_brief_end", "end_at", "id"),)
    id: int = row_id()
    start_at: int = big()
    end_at: int = big()  # belongs to the next one
    made_at: int = big()
    by: str = words()
    body: dict[str, Any] = json()  # app.agreement.briefing.Body
