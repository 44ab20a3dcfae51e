"""Tables of the scorecard: what each lead adds to the counters, its ways to a deal, and the counters."""

from __future__ import annotations

from sqlalchemy import BigInteger, Index, LargeBinary, Text
from sqlmodel import Field

from app.core._tables_base import Base, big, words


class Journey(Base, table=True):
    """What one lead adds to the counters, so that exactly this can be taken away again; and where it came from."""

    __tablename__ = "journey"
    contact_id: int = Field(primary_key=True, sa_type=BigInteger)
    team: str | None = words(null=True)  # whose touch was the first
    channel: str | None = words(null=True)
    campaign: str | None = words(null=True)
    variant: str | None = words(null=True)
    persona: str | None = words(null=True)
    profile: str | None = words(null=True)
    first_touch_at: int | None = big(null=True)
    last_touch_at: int | None = big(null=True)
    counted: bytes = Field(sa_type=LargeBinary)  # app.agreement.counting.packed
    kept: bytes | None = Field(default=None, sa_type=LargeBinary)  # acts that retention removed, in their shortest form
    kept_to: int | None = big(null=True)  # acts before this moment are those of ``kept``


class LeadRound(Base, table=True):
    """One way of a lead from its handover to a won deal, or until it ended; who comes again begins another one."""

    __tablename__ = "lead_round"
    __table_args__ = (
        # One for each step of the supply chain: it reads the rounds that came to it within some days.
        Index("ix_lead_round_lead", "lead_at"),
        Index("ix_lead_round_mql", "mql_at"),
        Index("ix_lead_round_sal", "sal_at"),
        Index("ix_lead_round_sql", "sql_at"),
        Index("ix_lead_round_opportunity", "opportunity_at"),
        Index("ix_lead_round_won", "won_at"),
        Index("ix_lead_round_ended", "ended_at"),
        {"sqlite_with_rowid": False},
    )
    contact_id: int = Field(primary_key=True, sa_type=BigInteger)
    number: int = Field(primary_key=True)
    begins: str = words()  # lead, mql, sql, opportunity
    lead_at: int | None = big(null=True)
    mql_at: int | None = big(null=True)
    sal_at: int | None = big(null=True)
    sql_at: int | None = big(null=True)
    opportunity_at: int | None = big(null=True)
    won_at: int | None = big(null=True)
    feedback_at: int | None = big(null=True)
    ended_at: int | None = big(null=True)
    ended: str | None = words(null=True)  # recycled, rejected, lost, again
    why: str | None = words(null=True)
    tried_at: int | None = big(null=True)  # the first attempt of a person in sales
    tries: int = Field(default=0)
    channels: int = Field(default=0)  # on so many
    kept: int | None = Field(default=None)  # 1: as many attempts, on as many channels, as agreed


class Score(Base, table=True):
    """How much of an indicator there was on a day, in all and by each value of each dimension.  Counts no people."""

    __tablename__ = "score"
    __table_args__ = ({"sqlite_with_rowid": False},)
    dimension: str = Field(primary_key=True, sa_type=Text)  # "" = all
    value: str = Field(primary_key=True, sa_type=Text)
    indicator: str = Field(primary_key=True, sa_type=Text)
    day: int = Field(primary_key=True, sa_type=BigInteger)  # days since 1970 UTC
    n: int = big()  # how many; of money and of shares ten thousandths
