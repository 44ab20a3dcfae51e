"""Tables of the scorecard: what each lead adds to the counters, its ways to a deal, and the counters."""

from __future__ import annotations

from sqlalchemy import BigInteger, Index, Integer, LargeBinary, Table

from app.core._tables_base import big, column, key, metadata, small, words

# What one lead adds to the counters, so that exactly this can be taken away again; and where it came from.
journey = Table(
    "journey",
    metadata,
    key("contact_id", BigInteger),
    words("team", null=True),  # whose touch was the first
    words("channel", null=True),
    words("campaign", null=True),
    words("variant", null=True),
    words("persona", null=True),
    words("profile", null=True),
    big("first_touch_at", null=True),
    big("last_touch_at", null=True),
    column("counted", LargeBinary, nullable=False),  # app.agreement.counting.packed
    column("kept", LargeBinary, nullable=True),  # acts that retention removed, in their shortest form
    big("kept_to", null=True),  # acts before this moment are those of ``kept``
)

# One way of a lead from its handover to a won deal, or until it ended; who comes again begins another one.
lead_round = Table(
    "lead_round",
    metadata,
    key("contact_id", BigInteger),
    key("number", Integer),
    words("begins"),  # lead, mql, sql, opportunity
    big("lead_at", null=True),
    big("mql_at", null=True),
    big("sal_at", null=True),
    big("sql_at", null=True),
    big("opportunity_at", null=True),
    big("won_at", null=True),
    big("feedback_at", null=True),
    big("ended_at", null=True),
    words("ended", null=True),  # recycled, rejected, lost, again
    words("why", null=True),
    big("tried_at", null=True),  # the first attempt of a person in sales
    small("tries", default=0),
    small("channels", default=0),  # on so many
    small("kept", null=True),  # 1: as many attempts, on as many channels, as agreed
    # One for each step of the supply chain: it reads the rounds that came to it within some days.
    Index("ix_lead_round_lead", "lead_at"),
    Index("ix_lead_round_mql", "mql_at"),
    Index("ix_lead_round_sal", "sal_at"),
    Index("ix_lead_round_sql", "sql_at"),
    Index("ix_lead_round_opportunity", "opportunity_at"),
    Index("ix_lead_round_won", "won_at"),
    Index("ix_lead_round_ended", "ended_at"),
    sqlite_with_rowid=False,
)

# How much of an indicator there was on a day, in all and by each value of each dimension.  Counts no people.
score = Table(
    "score",
    metadata,
    key("dimension"),  # "" = all
    key("value"),
    key("indicator"),
    key("day", BigInteger),  # days since 1970 UTC
    big("n"),  # how many; of money and of shares ten thousandths
    sqlite_with_rowid=False,
)
