"""Tables of how far a connection is trusted: to whom it writes as a canary, and what a person approved."""

from __future__ import annotations

from sqlalchemy import BigInteger, Index, Table

from app.core._tables_base import big, key, metadata, words

# A contact that is written to although its connection is not live yet.
canary_contact = Table(
    "canary_contact",
    metadata,
    key("connection"),
    key("contact_id", BigInteger),
    big("at"),
)

# An order that a plan showed and a person approved, and what became of it.
approval = Table(
    "approval",
    metadata,
    key("connection"),
    key("contact_id", BigInteger),
    words("plan"),  # the plan's own id
    words("fingerprint"),  # of the order, the contact's version and the shadow
    words("status"),  # approved, written, moved, failed
    words("by"),
    big("at"),
    big("ended_at", null=True),
    Index("ix_approval_plan", "plan", "status"),
)
