"""Tables of what gives contacts their meaning: companies, deals, engagements, colleagues, timelines."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Index, Text, text
from sqlmodel import Field

from app.core._tables_base import Base, big, json, row_id, words


class Company(Base, table=True):
    """The canonical company, found by its domain."""

    __tablename__ = "company"
    __table_args__ = (
        Index("ix_company_domain", "domain"),
        Index("ix_company_updated", "updated_at", "id"),
    )
    id: int = row_id()
    version: int = big()
    domain: str | None = words(null=True)  # the registrable one, lower case; never that of a mail provider
    facts: dict[str, Any] = json()  # field -> Fact.to_json()
    created_at: int = big()
    updated_at: int = big()
    merged_into: int | None = big(null=True)
    gone_at: int | None = big(null=True)  # every record of it was deleted


class Deal(Base, table=True):
    """The canonical deal.  What reports group by stands in columns of its own beside the facts."""

    __tablename__ = "deal"
    __table_args__ = (
        Index("ix_deal_company", "company_id"),
        Index("ix_deal_created", "created_at", "id"),
        Index("ix_deal_closed", "closed_at", "id"),
    )
    id: int = row_id()
    version: int = big()
    facts: dict[str, Any] = json()
    company_id: int | None = big(null=True)
    status: str = words()  # open, won, lost
    stage: str | None = words(null=True)  # as the vendor names it
    amount: str | None = words(null=True)  # plain decimal
    currency: str | None = words(null=True)  # ISO 4217
    owner_email: str | None = words(null=True)
    lost_reason: str | None = words(null=True)
    created_at: int = big()  # by the vendor's clock
    closed_at: int | None = big(null=True)
    updated_at: int = big()
    gone_at: int | None = big(null=True)


class DealStep(Base, table=True):
    """How a deal came to where it is.  Append-only."""

    __tablename__ = "deal_step"
    __table_args__ = (Index("ix_deal_step_deal", "deal_id", "at"), Index("ix_deal_step_at", "at", "id"))
    id: int = row_id()
    deal_id: int = big()
    at: int = big()  # by the vendor's clock where it says one
    status: str = words()
    stage: str | None = words(null=True)
    amount: str | None = words(null=True)
    currency: str | None = words(null=True)
    event: int | None = big(null=True)


class ObjectLink(Base, table=True):
    """Which record at which connection is which company or deal, with what both last agreed on."""

    __tablename__ = "object_link"
    __table_args__ = (
        Index("uq_object_link_record", "connection", "kind", "remote_id", unique=True),
        Index("ix_object_link_object", "kind", "object_id"),
        Index(
            "ix_object_link_company",
            "connection",
            "company_ref",
            sqlite_where=text("company_ref IS NOT NULL"),
            postgresql_where=text("company_ref IS NOT NULL"),
        ),
    )
    id: int = row_id()
    connection: str = words()
    kind: str = words()  # company, deal
    remote_id: str = words()
    object_id: int = big()
    shadow: dict[str, Any] = json()  # what the record says, in canonical words
    company_ref: str | None = words(null=True)  # of a deal: the vendor's id of its company
    modified: int | None = big(null=True)  # of the record as last read
    seen_at: int = big()
    gone_at: int | None = big(null=True)


class Belonging(Base, table=True):
    """Who belongs to which company or deal, as one connection says it, by its ids; and whom we know by them."""

    __tablename__ = "belonging"
    __table_args__ = (
        Index("ix_belonging_contact", "contact_id", "kind"),
        Index("ix_belonging_object", "kind", "object_id"),
        Index("ix_belonging_who", "connection", "who"),
        {"sqlite_with_rowid": False},
    )
    connection: str = Field(primary_key=True, sa_type=Text)
    kind: str = Field(primary_key=True, sa_type=Text)  # company, deal
    remote_id: str = Field(primary_key=True, sa_type=Text)  # the company's or deal's there
    who: str = Field(primary_key=True, sa_type=Text)  # the person's record there
    contact_id: int | None = big(null=True)  # None: not read yet
    object_id: int | None = big(null=True)  # None: not read yet
    main: int = Field(default=0)  # the person's main company; the deal's main contact
    role: str | None = words(null=True)
    since: int = big()


class Colleague(Base, table=True):
    """One of our own people, as a connection's user directory knows them."""

    __tablename__ = "colleague"
    __table_args__ = (
        Index("uq_colleague_record", "connection", "remote_id", unique=True),
        Index("ix_colleague_email", "email"),
    )
    id: int = row_id()
    connection: str = words()
    remote_id: str = words()
    email: str | None = words(null=True)
    name: str | None = words(null=True)
    team: str | None = words(null=True)
    active: int = Field(default=1)
    seen_at: int = big()


class Engagement(Base, table=True):
    """One dated act of or with a contact, stored once by the vendor's id."""

    __tablename__ = "engagement"
    __table_args__ = (
        Index("uq_engagement_record", "connection", "remote_id", unique=True),
        Index("ix_engagement_contact", "contact_id", "at"),
        Index("ix_engagement_at", "at", "id"),
        Index(
            "ix_engagement_unclaimed",
            "connection",
            "who_key",
            "who",
            sqlite_where=text("contact_id IS NULL"),
            postgresql_where=text("contact_id IS NULL"),
        ),
    )
    id: int = row_id()
    connection: str = words()
    remote_id: str = words()  # the vendor's id, or one made of what the vendor says where it gives none
    contact_id: int | None = big(null=True)  # None: of a record that is not read yet
    origin_id: int | None = big(null=True)  # the contact that it was of before merges
    who_key: str = words()  # id: ``who`` is the vendor's id of the record; email: an address
    who: str = words()  # whose act it is, as the vendor says it
    kind: str = words()  # connectors.contract.Doing
    at: int = big()  # by the vendor's clock
    received_at: int = big()
    human: int | None = Field(default=None)  # 1 a person did it, 0 a machine (sequence, scanner), None not said
    by: str | None = words(null=True)  # address of the colleague who acted; the vendor's id until it is known
    campaign: str | None = words(null=True)
    variant: str | None = words(null=True)  # of an A/B test
    channel: str | None = words(null=True)  # email, phone, sms, post, web, meeting, ads …
    outcome: str | None = words(null=True)  # connectors.contract.Ending
    deal_id: int | None = big(null=True)
    detail: dict[str, Any] | None = json(null=True)  # title, URL, form, answers; no message bodies


class EngagementSum(Base, table=True):
    """How often a contact did what, kept up with each engagement, so that nobody has to count.

    What is only planned, was cancelled or is still open does not count.
    """

    __tablename__ = "engagement_sum"
    __table_args__ = ({"sqlite_with_rowid": False},)
    contact_id: int = Field(primary_key=True, sa_type=BigInteger)
    kind: str = Field(primary_key=True, sa_type=Text)
    human: int = Field(primary_key=True, sa_type=BigInteger)  # as of the engagement; -1 not said
    number: int = big()
    first_at: int = big()
    last_at: int = big()


class SummaryDue(Base, table=True):
    """Contacts whose summary (engagement, company, deals) has to be made anew."""

    __tablename__ = "summary_due"
    contact_id: int = Field(primary_key=True, sa_type=BigInteger)
    gen: int = big()  # one more with each mark
    since: int = big()  # of the oldest mark


class Survey(Base, table=True):
    """How far one kind of object, or the acts, of one connection are read."""

    __tablename__ = "survey"
    connection: str = Field(primary_key=True, sa_type=Text)
    kind: str = Field(primary_key=True, sa_type=Text)  # company, deal, colleague, act
    cursor: str | None = words(null=True)
    due_at: int = big()
    walked_at: int | None = big(null=True)  # the first complete walk ended
    whole_at: int | None = big(null=True)  # when the last walk over everything began
    failing_since: int | None = big(null=True)
    failure: str | None = words(null=True)


class Entry(Base, table=True):
    """An engagement that is to be, or is, an entry of the timeline at a connection."""

    __tablename__ = "timeline_entry"
    __table_args__ = (
        Index("ix_timeline_entry_due", "connection", "due_at"),
        Index("ix_timeline_entry_contact", "contact_id"),
        {"sqlite_with_rowid": False},
    )
    connection: str = Field(primary_key=True, sa_type=Text)
    engagement_id: int = Field(primary_key=True, sa_type=BigInteger)
    contact_id: int = big()
    due_at: int | None = big(null=True)  # None: written, or given up
    attempts: int = Field(default=0)
    remote_id: str | None = words(null=True)
    error: str | None = words(null=True)
    written_at: int | None = big(null=True)
