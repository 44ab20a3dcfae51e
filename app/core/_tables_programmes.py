"""The table of programmes: who is, or was, in which one."""

from __future__ import annotations

from sqlalchemy import Index, text
from sqlmodel import Field

from app.core._tables_base import Base, big, row_id, words


class ProgrammeMember(Base, table=True):
    """A time that somebody was enrolled in a programme.  Computed from all that happened."""

    __tablename__ = "programme_member"
    __table_args__ = (
        Index("uq_programme_member", "contact_id", "programme", "round", unique=True),
        Index("ix_programme_member_programme", "programme", "id"),
        Index(
            "ix_programme_member_current",
            "programme",
            "id",
            sqlite_where=text("ended_at IS NULL"),
            postgresql_where=text("ended_at IS NULL"),
        ),
    )
    id: int = row_id()
    contact_id: int = big()
    programme: str = words()
    round: int = Field(default=1)  # 1, and one more each time that the person came again
    version: str = words()  # digest of the version in force when it began
    enrolled_at: int = big()
    why: str = words()
    ended_at: int | None = big(null=True)
    ended_why: str | None = words(null=True)
    held_out: int = Field(default=0)  # 1: left without it, to compare with
    stage: str | None = words(null=True)  # that it is to bring about
    until: int | None = big(null=True)  # and by when
    reached_at: int | None = big(null=True)  # when it did
    stored_at: int = big()  # when it became known here
