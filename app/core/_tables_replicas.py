"""Tables by which the processes that share one database agree: calls made, results that all need.  No people's data."""

from __future__ import annotations

from sqlalchemy import Text
from sqlmodel import Field

from app.core._tables_base import Base, big, words


class CallBudget(Base, table=True):
    """The calls that all processes drew for one connection.  Hot: one row, replaced in place, no index but its key."""

    __tablename__ = "call_budget"
    connection: str = Field(primary_key=True, sa_type=Text)
    state: str = words()  # written and read by connectors._shared_budget
    at: int = big()


class Flight(Base, table=True):
    """The result of one call that all processes need, until it is no longer good."""

    __tablename__ = "flight"
    name: str = Field(primary_key=True, sa_type=Text)
    value: str = words()  # sealed by whoever made it, where it is a secret
    good_until: int = big()
