"""Tables of why things are as they are: claims that were not let in, and what people decided for all such cases."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Index, Text
from sqlmodel import Field

from app.core._tables_base import Base, big, json, words


class Refusal(Base, table=True):
    """The newest claim of a connection about a field that was not let in, and why; never more than one of each."""

    __tablename__ = "refusal"
    __table_args__ = (Index("ix_refusal_contact", "contact_id"), Index("ix_refusal_stored", "stored_at"))
    connection: str = Field(primary_key=True, sa_type=Text)
    contact_id: int = Field(primary_key=True, sa_type=BigInteger)
    field: str = Field(primary_key=True, sa_type=Text)  # "" = the whole record
    value: Any = json(null=True)  # what was claimed
    code: str = words()  # the rule of merging that kept ours; or stale, tombstone, belongs_to_another
    event: int | None = big(null=True)
    at: int = big()  # by the source's clock
    stored_at: int = big()


class Ruling(Base, table=True):
    """A person's word about every double edit of one field at one connection: ``ours`` or ``theirs``."""

    __tablename__ = "ruling"
    connection: str = Field(primary_key=True, sa_type=Text)
    field: str = Field(primary_key=True, sa_type=Text)
    choice: str = words()
    by: str = words()
    at: int = big()
