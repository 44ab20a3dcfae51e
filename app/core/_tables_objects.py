"""Tables of what gives contacts their meaning: companies, deals, engagements, colleagues, timelines."""

from __future__ import annotations

from sqlalchemy import BigInteger, Index, Table, text

from app.core._tables_base import big, json, key, metadata, row_id, small, words

# The canonical company, found by its domain.
company = Table(
    "company",
    metadata,
    row_id(),
    big("version"),
    words("domain", null=True),  # the registrable one, lower case; never that of a mail provider
    json("facts"),  # field -> Fact.to_json()
    big("created_at"),
    big("updated_at"),
    big("merged_into", null=True),
    big("gone_at", null=True),  # every record of it was deleted
    Index("ix_company_domain", "domain"),
    Index("ix_company_updated", "updated_at", "id"),
)

# The canonical deal.  What reports group by stands in columns of its own beside the facts.
deal = Table(
    "deal",
    metadata,
    row_id(),
    big("version"),
    json("facts"),
    big("company_id", null=True),
    words("status"),  # open, won, lost
    words("stage", null=True),  # as the vendor names it
    words("amount", null=True),  # plain decimal
    words("currency", null=True),  # ISO 4217
    words("owner_email", null=True),
    words("lost_reason", null=True),
    big("created_at"),  # by the vendor's clock
    big("closed_at", null=True),
    big("updated_at"),
    big("gone_at", null=True),
    Index("ix_deal_company", "company_id"),
    Index("ix_deal_created", "created_at", "id"),
    Index("ix_deal_closed", "closed_at", "id"),
)

# How a deal came to where it is.  Append-only.
deal_step = Table(
    "deal_step",
    metadata,
    row_id(),
    big("deal_id"),
    big("at"),  # by the vendor's clock where it says one
    words("status"),
    words("stage", null=True),
    words("amount", null=True),
    words("currency", null=True),
    big("event", null=True),
    Index("ix_deal_step_deal", "deal_id", "at"),
    Index("ix_deal_step_at", "at", "id"),
)

# Which record at which connection is which company or deal, with what both last agreed on.
object_link = Table(
    "object_link",
    metadata,
    row_id(),
    words("connection"),
    words("kind"),  # company, deal
    words("remote_id"),
    big("object_id"),
    json("shadow"),  # what the record says, in canonical words
    words("company_ref", null=True),  # of a deal: the vendor's id of its company
    big("modified", null=True),  # of the record as last read
    big("seen_at"),
    big("gone_at", null=True),
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

# Who belongs to which company or deal, as one connection says it, by its ids; and whom we know by them.
belonging = Table(
    "belonging",
    metadata,
    key("connection"),
    key("kind"),  # company, deal
    key("remote_id"),  # the company's or deal's there
    key("who"),  # the person's record there
    big("contact_id", null=True),  # None: not read yet
    big("object_id", null=True),  # None: not read yet
    small("main", default=0),  # the person's main company; the deal's main contact
    words("role", null=True),
    big("since"),
    Index("ix_belonging_contact", "contact_id", "kind"),
    Index("ix_belonging_object", "kind", "object_id"),
    Index("ix_belonging_who", "connection", "who"),
    sqlite_with_rowid=False,
)

# One of our own people, as a connection's user directory knows them.
colleague = Table(
    "colleague",
    metadata,
    row_id(),
    words("connection"),
    words("remote_id"),
    words("email", null=True),
    words("name", null=True),
    words("team", null=True),
    small("active", default=1),
    big("seen_at"),
    Index("uq_colleague_record", "connection", "remote_id", unique=True),
    Index("ix_colleague_email", "email"),
)

# One dated act of or with a contact, stored once by the vendor's id.
engagement = Table(
    "engagement",
    metadata,
    row_id(),
    words("connection"),
    words("remote_id"),  # the vendor's id, or one made of what the vendor says where it gives none
    big("contact_id", null=True),  # None: of a record that is not read yet
    big("origin_id", null=True),  # the contact that it was of before merges
    words("who_key"),  # id: ``who`` is the vendor's id of the record; email: an address
    words("who"),  # whose act it is, as the vendor says it
    words("kind"),  # connectors.contract.Doing
    big("at"),  # by the vendor's clock
    big("received_at"),
    small("human", null=True),  # 1 a person did it, 0 a machine (sequence, scanner), None not said
    words("by", null=True),  # address of the colleague who acted; the vendor's id until it is known
    words("campaign", null=True),
    words("variant", null=True),  # of an A/B test
    words("channel", null=True),  # email, phone, sms, post, web, meeting, ads …
    words("outcome", null=True),  # connectors.contract.Ending
    big("deal_id", null=True),
    json("detail", null=True),  # title, URL, form, answers; no message bodies
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

# How often a contact did what, kept up with each engagement, so that nobody has to count.
#
# What is only planned, was cancelled or is still open does not count.
engagement_sum = Table(
    "engagement_sum",
    metadata,
    key("contact_id", BigInteger),
    key("kind"),
    key("human", BigInteger),  # as of the engagement; -1 not said
    big("number"),
    big("first_at"),
    big("last_at"),
    sqlite_with_rowid=False,
)

# Contacts whose summary (engagement, company, deals) has to be made anew.
summary_due = Table(
    "summary_due",
    metadata,
    key("contact_id", BigInteger),
    big("gen"),  # one more with each mark
    big("since"),  # of the oldest mark
)

# How far one kind of object, or the acts, of one connection are read.
survey = Table(
    "survey",
    metadata,
    key("connection"),
    key("kind"),  # company, deal, colleague, act
    words("cursor", null=True),
    big("due_at"),
    big("walked_at", null=True),  # the first complete walk ended
    big("whole_at", null=True),  # when the last walk over everything began
    big("failing_since", null=True),
    words("failure", null=True),
)

# An engagement that is to be, or is, an entry of the timeline at a connection.
timeline_entry = Table(
    "timeline_entry",
    metadata,
    key("connection"),
    key("engagement_id", BigInteger),
    big("contact_id"),
    big("due_at", null=True),  # None: written, or given up
    small("attempts", default=0),
    words("remote_id", null=True),
    words("error", null=True),
    big("written_at", null=True),
    Index("ix_timeline_entry_due", "connection", "due_at"),
    Index("ix_timeline_entry_contact", "contact_id"),
    sqlite_with_rowid=False,
)
