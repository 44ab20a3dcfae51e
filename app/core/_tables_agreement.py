"""Tables of the agreement between sales and marketing: its versions, and how each lead stands under them."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Index, Table, text

from app.core._tables_base import big, json, key, metadata, row_id, small, words

# One version of the agreement.  It is judged by once both have signed.
agreement_version = Table(
    "agreement_version",
    metadata,
    row_id(),
    words("digest"),  # of what it says, comments aside
    words("title"),
    words("text"),
    json("customs"),  # custom fields that its conditions were checked with: name -> type
    big("entered_at"),
    big("wished", null=True),  # from when on it is to hold
    words("sales_by", null=True),
    big("sales_at", null=True),
    words("marketing_by", null=True),
    big("marketing_at", null=True),
    big("in_force", null=True),  # from when on it holds; None = not signed by both
    big("swept", null=True),  # contacts up to this one were judged by it; None = all
    Index("uq_agreement_version_digest", "digest", unique=True),
)

# How a contact stands.  Computed from all that happened; who has no stage has no row.
lead = Table(
    "lead",
    metadata,
    key("contact_id", BigInteger),
    words("stage", null=True),
    big("since", null=True),
    words("reason", null=True),  # why it came to this stage
    words("status", null=True),  # app.agreement.words.Standing
    big("status_since", null=True),
    words("version"),  # digest of the version that the last step was judged by
    big("handed_at", null=True),
    big("accepted_at", null=True),
    words("given_reason", null=True),  # why sales gave it back
    words("flag", null=True),  # what is not as agreed
    words("flag_why", null=True),
    small("recycled", default=0),
    small("requalified", default=0),
    big("recycled_at", null=True),
    big("rest_until", null=True),
    small("attempts", default=0),
    small("by_machine", default=0),  # attempts of machines
    json("channels", null=True),
    words("owner_email", null=True),
    words("persona", null=True),
    words("profile", null=True),
    big("turns_at", null=True),  # when time alone may change it
    big("judged_at"),
    json("seal", null=True),  # all that was known at a moment before which history was removed
    Index("ix_lead_stage", "stage", "contact_id"),
    Index("ix_lead_status", "status", "contact_id"),
    Index(
        "ix_lead_owner",
        "owner_email",
        "contact_id",
        sqlite_where=text("owner_email IS NOT NULL"),
        postgresql_where=text("owner_email IS NOT NULL"),
    ),
    Index(
        "ix_lead_flag",
        "flag",
        "contact_id",
        sqlite_where=text("flag IS NOT NULL"),
        postgresql_where=text("flag IS NOT NULL"),
    ),
    Index(
        "ix_lead_turns_at",
        "turns_at",
        sqlite_where=text("turns_at IS NOT NULL"),
        postgresql_where=text("turns_at IS NOT NULL"),
    ),
)

# One step of a lead.  Append-only: a step that later news showed to be wrong is void, and stays.
lead_step = Table(
    "lead_step",
    metadata,
    row_id(),
    big("contact_id"),
    big("at"),
    words("what"),  # stage, status, flag
    words("before", null=True),
    words("after", null=True),
    words("why"),
    json("facts", null=True),  # that made it true
    words("by", null=True),
    words("version"),
    big("stored_at"),
    big("void_at", null=True),
    Index("ix_lead_step_contact", "contact_id", "at"),
    Index(
        "ix_lead_step_to",
        "what",
        "after",
        "at",
        sqlite_where=text("void_at IS NULL"),
        postgresql_where=text("void_at IS NULL"),
    ),
)

# What somebody said about a lead, as it was said: by a person here, or by a vendor's field.
disposition = Table(
    "disposition",
    metadata,
    row_id(),
    big("contact_id"),
    big("at"),
    big("received_at"),
    words("word"),  # app.agreement.words.Word
    words("value", null=True),
    words("reason", null=True),
    words("team", null=True),
    words("source"),  # connection, or "operator"
    words("by", null=True),  # the operator
    big("event", null=True),
    words("finding", null=True),  # what the agreement made of it; None = not judged yet
    words("why", null=True),
    Index("ix_disposition_contact", "contact_id", "at"),
)

# A contact whose lead has to be worked out anew.  Hot and narrow; deleted when done.
refold = Table(
    "refold",
    metadata,
    key("contact_id", BigInteger),
    big("gen"),  # + 1 per change; done only if it is still the one that was worked from
    big("due_at"),
    Index("ix_refold_due", "due_at"),
    sqlite_with_rowid=False,
)

_OPEN: Any = {"sqlite_where": text("ended_at IS NULL"), "postgresql_where": text("ended_at IS NULL")}

# One round of one clock of a lead, as it stands since its last mark.  Computed from all that happened.
clock = Table(
    "clock",
    metadata,
    row_id(),
    big("contact_id"),
    words("name"),
    big("started_at"),
    small("round", default=1),
    words("owner", null=True),
    words("team", null=True),
    words("state"),  # app.agreement.clocks.State
    words("version"),  # digest
    words("calendar"),
    big("due_at", null=True),  # None = paused before it was due
    big("rank_at"),  # ``due_at``, or far in the future
    big("next_at", null=True),  # when it changes by itself
    big("breached_at", null=True),
    big("ended_at", null=True),  # when it was met, or taken back
    big("elapsed"),  # ms of business time when it ended, else at its last mark
    big("target"),  # ms of business time
    big("paused"),  # ms of business time that pauses took
    json("paused_for", null=True),  # why it stands now
    Index("uq_clock_round", "contact_id", "name", "started_at", unique=True),
    Index("ix_clock_open", "rank_at", "id", **_OPEN),
    Index("ix_clock_state", "state", "rank_at", "id"),
    Index("ix_clock_owner", "owner", "rank_at", "id", **_OPEN),
    Index("ix_clock_team", "team", "rank_at", "id", **_OPEN),
)

# A moment of a clock of which somebody is to hear: once for each, whatever is worked out anew.
clock_notice = Table(
    "clock_notice",
    metadata,
    row_id(),
    big("contact_id"),
    words("name"),
    big("started_at"),
    small("leg", default=1),
    words("mark"),  # app.agreement.clocks.Mark
    big("planned"),
    words("to"),  # who hears of it; "" = the owner
    big("at"),
    words("owner", null=True),
    small("reassign", default=0),
    big("stored_at"),
    big("void_at", null=True),  # later news showed that it never came to it
    Index(
        *("uq_clock_notice_moment", "contact_id", "name", "started_at", "leg", "mark", "planned", "to"),
        unique=True,
    ),
    Index("ix_clock_notice_at", "at"),
)

# What a named person did to the clocks of a lead: paused, resumed, or gave the lead to somebody else.
clock_word = Table(
    "clock_word",
    metadata,
    row_id(),
    big("contact_id"),
    big("at"),
    words("what"),  # paused, resumed, reassigned
    words("clock", null=True),  # None = all of the lead
    words("reason", null=True),
    words("owner", null=True),  # the new one
    words("by"),
    Index("ix_clock_word_contact", "contact_id", "at"),
)

# A page for the joint meeting, as it was handed out: figures, colleagues; no contact but by number.
brief = Table(
    "brief",
    metadata,
    row_id(),
    big("start_at"),
    big("end_at"),  # belongs to the next one
    big("made_at"),
    words("by"),
    json("body"),  # app.agreement.briefing.Body
    Index("ix_brief_end", "end_at", "id"),
)
