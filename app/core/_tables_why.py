"""Tables of why things are as they are: claims that were not let in, and what people decided for all such cases."""

from __future__ import annotations

from sqlalchemy import BigInteger, Index, Table

from app.core._tables_base import big, json, key, metadata, words

# The newest claim of a connection about a field that was not let in, and why; never more than one of each.
refusal = Table(
    "refusal",
    metadata,
    key("connection"),
    key("contact_id", BigInteger),
    key("field"),  # "" = the whole record
    json("value", null=True),  # what was claimed
    words("code"),  # the rule of merging that kept ours; or stale, tombstone, belongs_to_another
    big("event", null=True),
    big("at"),  # by the source's clock
    big("stored_at"),
    Index("ix_refusal_contact", "contact_id"),
    Index("ix_refusal_stored", "stored_at"),
)

# A person's word about every double edit of one field at one connection: ``ours`` or ``theirs``.
ruling = Table(
    "ruling",
    metadata,
    key("connection"),
    key("field"),
    words("choice"),
    words("by"),
    big("at"),
)
