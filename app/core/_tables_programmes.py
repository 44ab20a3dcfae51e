"""The table of programmes: who is, or was, in which one."""

from __future__ import annotations

from sqlalchemy import Index, Table, text

from app.core._tables_base import big, metadata, row_id, small, words

# A time that somebody was enrolled in a programme.  Computed from all that happened.
programme_member = Table(
    "programme_member",
    metadata,
    row_id(),
    big("contact_id"),
    words("programme"),
    small("round", default=1),  # 1, and one more each time that the person came again
    words("version"),  # digest of the version in force when it began
    big("enrolled_at"),
    words("why"),
    big("ended_at", null=True),
    words("ended_why", null=True),
    small("held_out", default=0),  # 1: left without it, to compare with
    words("stage", null=True),  # that it is to bring about
    big("until", null=True),  # and by when
    big("reached_at", null=True),  # when it did
    big("stored_at"),  # when it became known here
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
