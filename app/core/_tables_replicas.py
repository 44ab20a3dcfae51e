"""Tables by which the processes that share one database agree: calls made, results that all need.  No people's data."""

from __future__ import annotations

from sqlalchemy import Table

from app.core._tables_base import big, key, metadata, words

# The calls that all processes drew for one connection.  Hot: one row, replaced in place, no index but its key.
call_budget = Table(
    "call_budget",
    metadata,
    key("connection"),
    words("state"),  # written and read by connectors._shared_budget
    big("at"),
)

# The result of one call that all processes need, until it is no longer good.
flight = Table(
    "flight",
    metadata,
    key("name"),
    words("value"),  # sealed by whoever made it, where it is a secret
    big("good_until"),
)
