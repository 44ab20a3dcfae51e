"""All tables of the first release."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001_first"
down_revision = None
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
JSON = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")

# Rows of these tables live for seconds: vacuum them by number, not by share, and leave room for updates in place.
# https://www.postgresql.org/docs/current/runtime-config-autovacuum.html
HOT = (
    "fillfactor = 70, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, "
    "autovacuum_vacuum_cost_delay = 0"
)


def upgrade() -> None:
    """Create them."""
    op.create_table(
        "account",
        sa.Column("id", ID, autoincrement=True, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("password", sa.Text(), nullable=True),
        sa.Column("issuer", sa.Text(), nullable=True),
        sa.Column("subject", sa.Text(), nullable=True),
        sa.Column("made_at", sa.BigInteger(), nullable=False),
        sa.Column("made_by", sa.Text(), nullable=False),
        sa.Column("signed_in_at", sa.BigInteger(), nullable=True),
        sa.Column("disabled_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_account")),
    )
    op.create_index("uq_account_name", "account", ["name"], unique=True)
    op.create_index(
        "uq_account_subject",
        "account",
        ["issuer", "subject"],
        unique=True,
        sqlite_where=sa.text("subject IS NOT NULL"),
        postgresql_where=sa.text("subject IS NOT NULL"),
    )
    op.create_table(
        "agreement_version",
        sa.Column("id", ID, autoincrement=True, nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("customs", JSON, nullable=False),
        sa.Column("entered_at", sa.BigInteger(), nullable=False),
        sa.Column("wished", sa.BigInteger(), nullable=True),
        sa.Column("sales_by", sa.Text(), nullable=True),
        sa.Column("sales_at", sa.BigInteger(), nullable=True),
        sa.Column("marketing_by", sa.Text(), nullable=True),
        sa.Column("marketing_at", sa.BigInteger(), nullable=True),
        sa.Column("in_force", sa.BigInteger(), nullable=True),
        sa.Column("swept", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_agreement_version")),
    )
    op.create_index("uq_agreement_version_digest", "agreement_version", ["digest"], unique=True)
    op.create_table(
        "alarm",
        sa.Column("id", ID, autoincrement=True, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("connection", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.Column("last_seen", sa.BigInteger(), nullable=False),
        sa.Column("cleared_at", sa.BigInteger(), nullable=True),
        sa.Column("words", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_alarm")),
    )
    op.create_index(
        "uq_alarm_open",
        "alarm",
        ["kind", "connection", "subject"],
        unique=True,
        sqlite_where=sa.text("cleared_at IS NULL"),
        postgresql_where=sa.text("cleared_at IS NULL"),
    )
    op.create_table(
        "alarm_notice",
        sa.Column("sink", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("connection", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("told_at", sa.BigInteger(), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("due_at", sa.BigInteger(), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("sink", "kind", "connection", "subject", name=op.f("pk_alarm_notice")),
    )
    op.create_table(
        "alias",
        sa.Column("connection", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("former", sa.Text(), nullable=False),
        sa.Column("remote_id", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("connection", "kind", "former", name=op.f("pk_alias")),
    )
    op.create_index("ix_alias_record", "alias", ["connection", "kind", "remote_id"], unique=False)
    op.create_table(
        "api_token",
        sa.Column("id", ID, autoincrement=True, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("scopes", JSON, nullable=True),
        sa.Column("made_at", sa.BigInteger(), nullable=False),
        sa.Column("made_by", sa.Text(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=True),
        sa.Column("used_at", sa.BigInteger(), nullable=True),
        sa.Column("revoked_at", sa.BigInteger(), nullable=True),
        sa.Column("revoked_by", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_token")),
    )
    op.create_index("uq_api_token_hash", "api_token", ["hash"], unique=True)
    op.create_index(
        "uq_api_token_name",
        "api_token",
        ["name"],
        unique=True,
        sqlite_where=sa.text("revoked_at IS NULL"),
        postgresql_where=sa.text("revoked_at IS NULL"),
    )
    op.create_table(
        "approval",
        sa.Column("connection", sa.Text(), nullable=False),
        sa.Column("contact_id", sa.BigInteger(), nullable=False),
        sa.Column("plan", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("connection", "contact_id", name=op.f("pk_approval")),
    )
    op.create_index("ix_approval_plan", "approval", ["plan", "status"], unique=False)
    op.create_table(
        "audit",
        sa.Column("id", ID, autoincrement=True, nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("act_id", sa.BigInteger(), nullable=True),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("who", sa.Text(), nullable=True),
        sa.Column("key", sa.BigInteger(), nullable=True),
        sa.Column("act", sa.Text(), nullable=False),
        sa.Column("what", sa.Text(), nullable=False),
        sa.Column("target", JSON, nullable=False),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit")),
    )
    op.create_index(
        "ix_audit_act",
        "audit",
        ["act_id"],
        unique=False,
        sqlite_where=sa.text("act_id IS NOT NULL"),
        postgresql_where=sa.text("act_id IS NOT NULL"),
    )
    op.create_table(
        "belonging",
        sa.Column("connection", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("remote_id", sa.Text(), nullable=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("contact_id", sa.BigInteger(), nullable=True),
        sa.Column("object_id", sa.BigInteger(), nullable=True),
        sa.Column("main", sa.Integer(), nullable=False),
        sa.Column("role", sa.Text(), nullable=True),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("connection", "kind", "remote_id", "who", name=op.f("pk_belonging")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_belonging_contact", "belonging", ["contact_id", "kind"], unique=False)
    op.create_index("ix_belonging_object", "belonging", ["kind", "object_id"], unique=False)
    op.create_index("ix_belonging_who", "belonging", ["connection", "who"], unique=False)
    op.create_table(
        "block",
        sa.Column("key", sa.BigInteger(), nullable=False),
        sa.Column("contact_id", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("key", "contact_id", name=op.f("pk_block")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "brake",
        sa.Column("id", ID, autoincrement=True, nullable=False),
        sa.Column("connection", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("seen", sa.BigInteger(), nullable=False),
        sa.Column("known", sa.BigInteger(), nullable=False),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.Column("ended_by", sa.Text(), nullable=True),
        sa.Column("ending", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_brake")),
    )
    op.create_index(
        "uq_brake_on",
        "brake",
        ["connection", "kind"],
        unique=True,
        sqlite_where=sa.text("ended_at IS NULL"),
        postgresql_where=sa.text("ended_at IS NULL"),
    )
    op.create_table(
        "brake_count",
        sa.Column("connection", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("slice", sa.BigInteger(), nullable=False),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("connection", "kind", "slice", name=op.f("pk_brake_count")),
    )
    op.create_table(
        "brief",
        sa.Column("id", ID, autoincrement=True, nullable=False),
        sa.Column("start_at", sa.BigInteger(), nullable=False),
        sa.Column("end_at", sa.BigInteger(), nullable=False),
        sa.Column("made_at", sa.BigInteger(), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("body", JSON, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_brief")),
    )
    op.create_index("ix_brief_end", "brief", ["end_at", "id"], unique=False)
    op.create_table(
        "call_budget",
        sa.Column("connection", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("connection", name=op.f("pk_call_budget")),
    )
    op.create_table(
        "canary_contact",
        sa.Column("connection", sa.Text(), nullable=False),
        sa.Column("contact_id", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("connection", "contact_id", name=op.f("pk_canary_contact")),
    )
    op.create_table(
        "clock",
        sa.Column("id", ID, autoincrement=True, nullable=False),
        sa.Column("contact_id", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=True),
        sa.Column("team", sa.Text(), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("calendar", sa.Text(), nullable=False),
        sa.Column("due_at", sa.BigInteger(), nullable=True),
        sa.Column("rank_at", sa.BigInteger(), nullable=False),
        sa.Column("next_at", sa.BigInteger(), nullable=True),
        sa.Column("breached_at", sa.BigInteger(), nullable=True),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.Column("elapsed", sa.BigInteger(), nullable=False),
        sa.Column("target", sa.BigInteger(), nullable=False),
        sa.Column("paused", sa.BigInteger(), nullable=False),
        sa.Column("paused_for", JSON, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_clock")),
    )
    op.create_index(
        "ix_clock_open",
        "clock",
        ["rank_at", "id"],
        unique=False,
        sqlite_where=sa.text("ended_at IS NULL"),
        postgresql_where=sa.text("ended_at IS NULL"),
    )
    op.create_index(
        "ix_clock_owner",
        "clock",
        ["owner", "rank_at", "id"],
        unique=False,
        sqlite_where=sa.text("ended_at IS NULL"),
        postgresql_where=sa.text("ended_at IS NULL"),
    )
    op.create_index("ix_clock_state", "clock", ["state", "rank_at", "id"], unique=False)
    op.create_index(
        "ix_clock_team",
        "clock",
        ["team", "rank_at", "id"],
        unique=False,
        sqlite_where=sa.text("ended_at IS NULL"),
        postgresql_where=sa.text("ended_at IS NULL"),
    )
    op.create_index("uq_clock_round", "clock", ["contact_id", "name", "started_at"], unique=True)
    op.create_table(
        "clock_notice",
        sa.Column("id", ID, autoincrement=True, nullable=False),
        sa.Column("contact_id", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=False),
        sa.Column("leg", sa.Integer(), nullable=False),
        sa.Column("mark", sa.Text(), nullable=False),
        sa.Column("planned", sa.BigInteger(), nullable=False),
        sa.Column("to", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=True),
        sa.Column("reassign", sa.Integer(), nullable=False),
        sa.Column("stored_at", sa.BigInteger(), nullable=False),
        sa.Column("void_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_clock_notice")),
    )
    op.create_index("ix_clock_notice_at", "clock_notice", ["at"], unique=False)
    op.create_index(
        "uq_clock_notice_moment",
        "clock_notice",
        ["contact_id", "name", "started_at", "leg", "mark", "planned", "to"],
        unique=True,
    )
    op.create_table(
        "clock_word",
        sa.Column("id", ID, autoincrement=True, nullable=False),
        sa.Column("contact_id", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("what", sa.Text(), nullable=False),
        sa.Column("clock", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("owner", sa.Text(), nullable=True),
        sa.Column("by", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_clock_word")),
    )
    op.create_index("ix_clock_word_contact", "clock_word", ["contact_id", "at"], unique=False)
    op.create_table(
        "colleague",
        sa.Column("id", ID, autoincrement=True, nullable=False),
        sa.Column("connection", sa.Text(), nullable=False),
        sa.Column("remote_id", sa.Text(), nullable=False),
        sa.Column("email", sa.Text(), nullable=True),
        sa.Column("name", sa.Text(), nullable=True),
        sa.Column("team", sa.Text(), nullable=True),
        sa.Column("active", sa.Integer(), nullable=False),
        sa.Column("seen_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_colleague")),
    )
    op.create_index("ix_colleague_email", "colleague", ["email"], unique=False)
    op.create_index("uq_colleague_record", "colleague", ["connection", "remote_id"], unique=True)
    op.create_table(
        "company",
        sa.Column("id", ID, autoincrement=True, nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("domain", sa.Text(), nullable=True),
        sa.Column("facts", JSON, nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.Column("merged_into", sa.BigInteger(), nullable=True),
        sa.Column("gone_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_company")),
    )
    op.create_index("ix_company_domain", "company", ["domain"], unique=False)
    op.create_index("ix_company_updated", "company", ["updated_at", "id"], unique=False)
    op.create_table(
        "conflict",
        sa.Column("id", ID, autoincrement=True, nullable=False),
        sa.Column("contact_id", sa.BigInteger(), nullable=False),
        sa.Column("field", sa.Text(), nullable=False),
        sa.Column("connection", sa.Text(), nullable=False),
        sa.Column("ours", JSON, nullable=True),
        sa.Column("theirs", JSON, nullable=True),
        sa.Column("event", sa.BigInteger(), nullable=True),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_conflict")),
    )
    op.create_index("uq_conflict_open", "conflict", ["contact_id", "field", "connection"], unique=True)
    op.create_table(
        "connection_state",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("next_at", sa.BigInteger(), nullable=False),
        sa.Column("paused", sa.Integer(), nullable=False),
        sa.Column("paused_why", sa.Text(), nullable=True),
        sa.Column("paused_by", sa.Text(), nullable=True),
        sa.Column("paused_at", sa.BigInteger(), nullable=True),
        sa.Column("polled_at", sa.BigInteger(), nullable=True),
        sa.Column("poll_due_at", sa.BigInteger(), nullable=False),
        sa.Column("cursor", sa.Text(), nullable=True),
        sa.Column("walked_at", sa.BigInteger(), nullable=True),
        sa.Column("walk_began_at", sa.BigInteger(), nullable=True),
        sa.Column("walk_read", sa.Integer(), nullable=False),
        sa.Column("walk_total", sa.BigInteger(), nullable=True),
        sa.Column("first_read_at", sa.BigInteger(), nullable=True),
        sa.Column("failing_since", sa.BigInteger(), nullable=True),
        sa.Column("failure", sa.Text(), nullable=True),
        sa.Column("last_event_at", sa.BigInteger(), nullable=True),
        sa.Column("last_push_at", sa.BigInteger(), nullable=True),
        sa.Column("fetched_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_connection_state")),
    )
    op.create_table(
        "consent",
        sa.Column("id", ID, autoincrement=True, nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("basis", sa.Text(), nullable=True),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=True),
        sa.Column("evidence", JSON, nullable=True),
        sa.Column("event", sa.BigInteger(), nullable=True),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("received_at", sa.BigInteger(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_consent")),
    )
    op.create_index("ix_consent_address", "consent", ["address", "channel"], unique=False)
    op.create_index("uq_consent_digest", "consent", ["digest"], unique=True)
    op.create_table(
        "consenting",
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("connection", sa.Text(), nullable=False),
        sa.Column("verifier", sa.Text(), nullable=False),
        sa.Column("redirect_uri", sa.Text(), nullable=False),
        sa.Column("by", sa.Text(), nullable=True),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("state", name=op.f("pk_consenting")),
    )
    op.create_table(
        "contact",
        sa.Column("id", ID, autoincrement=True, nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("facts", JSON, nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.Column("merged_into", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_contact")),
    )
    op.create_index(
        "ix_contact_merged_into",
        "contact",
        ["merged_into"],
        unique=False,
        sqlite_where=sa.text("merged_into IS NOT NULL"),
        postgresql_where=sa.text("merged_into IS NOT NULL"),
    )
    op.create_table(
        "contact_key",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("contact_id", sa.BigInteger(), nullable=False),
        sa.Column("strong", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("key", "value", "contact_id", name=op.f("pk_contact_key")),
    )
    op.create_index("ix_contact_key_contact", "contact_key", ["contact_id"], unique=False)
    op.create_index(
        "uq_contact_key_strong",
        "contact_key",
        ["key", "value"],
        unique=True,
        sqlite_where=sa.text("strong = 1"),
        postgresql_where=sa.text("strong = 1"),
    )
    op.create_table(
        "dead",
        sa.Column("id", ID, autoincrement=True, nullable=False),
        sa.Column("station", sa.Text(), nullable=False),
        sa.Column("connection", sa.Text(), nullable=False),
        sa.Column("contact_id", sa.BigInteger(), nullable=True),
        sa.Column("event", sa.BigInteger(), nullable=True),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("next_step", sa.Text(), nullable=False),
        sa.Column("field", sa.Text(), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_dead")),
    )
    op.create_index("ix_dead_connection", "dead", ["connection", "id"], unique=False)
    op.create_index("ix_dead_contact", "dead", ["contact_id", "connection"], unique=False)
    op.create_index("ix_dead_event", "dead", ["event"], unique=False)
    op.create_table(
        "deal",
        sa.Column("id", ID, autoincrement=True, nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("facts", JSON, nullable=False),
        sa.Column("company_id", sa.BigInteger(), nullable=True),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("stage", sa.Text(), nullable=True),
        sa.Column("amount", sa.Text(), nullable=True),
        sa.Column("currency", sa.Text(), nullable=True),
        sa.Column("owner_email", sa.Text(), nullable=True),
        sa.Column("lost_reason", sa.Text(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("closed_at", sa.BigInteger(), nullable=True),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.Column("gone_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_deal")),
    )
    op.create_index("ix_deal_closed", "deal", ["closed_at", "id"], unique=False)
    op.create_index("ix_deal_company", "deal", ["company_id"], unique=False)
    op.create_index("ix_deal_created", "deal", ["created_at", "id"], unique=False)
    op.create_table(
        "deal_step",
        sa.Column("id", ID, autoincrement=True, nullable=False),
        sa.Column("deal_id", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("stage", sa.Text(), nullable=True),
        sa.Column("amount", sa.Text(), nullable=True),
        sa.Column("currency", sa.Text(), nullable=True),
        sa.Column("event", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_deal_step")),
    )
    op.create_index("ix_deal_step_at", "deal_step", ["at", "id"], unique=False)
    op.create_index("ix_deal_step_deal", "deal_step", ["deal_id", "at"], unique=False)
    op.create_table(
        "delivery",
        sa.Column("id", ID, autoincrement=False, nullable=False),
        sa.Column("connection", sa.Text(), nullable=False),
        sa.Column("received_at", sa.BigInteger(), nullable=False),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("content_type", sa.Text(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_delivery")),
    )
    op.create_table(
        "described",
        sa.Column("connection", sa.Text(), nullable=False),
        sa.Column("properties", JSON, nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("due_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("connection", name=op.f("pk_described")),
    )
    op.create_table(
        "disagreement",
        sa.Column("id", ID, autoincrement=True, nullable=False),
        sa.Column("connection", sa.Text(), nullable=False),
        sa.Column("remote_id", sa.Text(), nullable=False),
        sa.Column("field", sa.Text(), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("contact_id", sa.BigInteger(), nullable=True),
        sa.Column("first_seen", sa.BigInteger(), nullable=False),
        sa.Column("last_seen", sa.BigInteger(), nullable=False),
        sa.Column("run", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_disagreement")),
    )
    op.create_index("ix_disagreement_contact", "disagreement", ["contact_id"], unique=False)
    op.create_index("ix_disagreement_field", "disagreement", ["connection", "field", "first_seen"], unique=False)
    op.create_index("uq_disagreement_field", "disagreement", ["connection", "remote_id", "field"], unique=True)
    op.create_table(
        "disposition",
        sa.Column("id", ID, autoincrement=True, nullable=False),
        sa.Column("contact_id", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("received_at", sa.BigInteger(), nullable=False),
        sa.Column("word", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("team", sa.Text(), nullable=True),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("by", sa.Text(), nullable=True),
        sa.Column("event", sa.BigInteger(), nullable=True),
        sa.Column("finding", sa.Text(), nullable=True),
        sa.Column("why", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_disposition")),
    )
    op.create_index("ix_disposition_contact", "disposition", ["contact_id", "at"], unique=False)
    op.create_table(
        "drift",
        sa.Column("connection", sa.Text(), nullable=False),
        sa.Column("field", sa.Text(), nullable=False),
        sa.Column("compared", sa.BigInteger(), nullable=False),
        sa.Column("mismatched", sa.BigInteger(), nullable=False),
        sa.Column("run", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("connection", "field", name=op.f("pk_drift")),
    )
    op.create_table(
        "engagement",
        sa.Column("id", ID, autoincrement=True, nullable=False),
        sa.Column("connection", sa.Text(), nullable=False),
        sa.Column("remote_id", sa.Text(), nullable=False),
        sa.Column("contact_id", sa.BigInteger(), nullable=True),
        sa.Column("origin_id", sa.BigInteger(), nullable=True),
        sa.Column("who_key", sa.Text(), nullable=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("received_at", sa.BigInteger(), nullable=False),
        sa.Column("human", sa.Integer(), nullable=True),
        sa.Column("by", sa.Text(), nullable=True),
        sa.Column("campaign", sa.Text(), nullable=True),
        sa.Column("variant", sa.Text(), nullable=True),
        sa.Column("channel", sa.Text(), nullable=True),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.Column("deal_id", sa.BigInteger(), nullable=True),
        sa.Column("detail", JSON, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_engagement")),
    )
    op.create_index("ix_engagement_at", "engagement", ["at", "id"], unique=False)
    op.create_index("ix_engagement_contact", "engagement", ["contact_id", "at"], unique=False)
    op.create_index(
        "ix_engagement_unclaimed",
        "engagement",
        ["connection", "who_key", "who"],
        unique=False,
        sqlite_where=sa.text("contact_id IS NULL"),
        postgresql_where=sa.text("contact_id IS NULL"),
    )
    op.create_index("uq_engagement_record", "engagement", ["connection", "remote_id"], unique=True)
    op.create_table(
        "engagement_sum",
        sa.Column("contact_id", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("human", sa.BigInteger(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("first_at", sa.BigInteger(), nullable=False),
        sa.Column("last_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("contact_id", "kind", "human", name=op.f("pk_engagement_sum")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "erasure",
        sa.Column("id", ID, autoincrement=True, nullable=False),
        sa.Column("key_hash", sa.Text(), nullable=False),
        sa.Column("requested_at", sa.BigInteger(), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("due_at", sa.BigInteger(), nullable=False),
        sa.Column("subject", JSON, nullable=True),
        sa.Column("removed", JSON, nullable=True),
        sa.Column("proof", JSON, nullable=True),
        sa.Column("done_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_erasure")),
    )
    op.create_table(
        "erasure_step",
        sa.Column("id", ID, autoincrement=True, nullable=False),
        sa.Column("erasure_id", sa.BigInteger(), nullable=False),
        sa.Column("connection", sa.Text(), nullable=False),
        sa.Column("remote_id", sa.Text(), nullable=True),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("due_at", sa.BigInteger(), nullable=False),
        sa.Column("answer", sa.Text(), nullable=True),
        sa.Column("answered_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_erasure_step")),
    )
    op.create_index("ix_erasure_step_due", "erasure_step", ["status", "due_at"], unique=False)
    op.create_index("ix_erasure_step_erasure", "erasure_step", ["erasure_id"], unique=False)
    op.create_table(
        "flight",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("good_until", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_flight")),
    )
    op.create_table(
        "history",
        sa.Column("id", ID, autoincrement=True, nullable=False),
        sa.Column("contact_id", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("field", sa.Text(), nullable=False),
        sa.Column("old", JSON, nullable=True),
        sa.Column("new", JSON, nullable=True),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("rule", sa.Text(), nullable=False),
        sa.Column("event", sa.BigInteger(), nullable=True),
        sa.Column("actor", sa.Text(), nullable=True),
        sa.Column("run", sa.BigInteger(), nullable=True),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("stored_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_history")),
    )
    op.create_index("ix_history_contact", "history", ["contact_id", "version"], unique=False)
    op.create_index(
        "ix_history_run",
        "history",
        ["run", "id"],
        unique=False,
        sqlite_where=sa.text("run IS NOT NULL"),
        postgresql_where=sa.text("run IS NOT NULL"),
    )
    op.create_table(
        "inbox",
        sa.Column("id", ID, autoincrement=True, nullable=False),
        sa.Column("connection", sa.Text(), nullable=False),
        sa.Column("dedupe", sa.Text(), nullable=False),
        sa.Column("delivery", sa.BigInteger(), nullable=True),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("ref_key", sa.Text(), nullable=False),
        sa.Column("ref_value", sa.Text(), nullable=False),
        sa.Column("losers", JSON, nullable=True),
        sa.Column("record", JSON, nullable=True),
        sa.Column("occurred_at", sa.BigInteger(), nullable=True),
        sa.Column("received_at", sa.BigInteger(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("lane", sa.Integer(), nullable=False),
        sa.Column("due_at", sa.BigInteger(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("first_failed_at", sa.BigInteger(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("done_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_inbox")),
    )
    op.create_index(
        "ix_inbox_pending",
        "inbox",
        ["connection", "lane", "due_at"],
        unique=False,
        sqlite_where=sa.text("status = 'pending'"),
        postgresql_where=sa.text("status = 'pending'"),
    )
    op.create_index(
        "ix_inbox_trouble",
        "inbox",
        ["status", "id"],
        unique=False,
        sqlite_where=sa.text("status IN ('parked', 'dead')"),
        postgresql_where=sa.text("status IN ('parked', 'dead')"),
    )
    op.create_index("uq_inbox_connection_dedupe", "inbox", ["connection", "dedupe"], unique=True)
    op.create_table(
        "journey",
        sa.Column("contact_id", sa.BigInteger(), nullable=False),
        sa.Column("team", sa.Text(), nullable=True),
        sa.Column("channel", sa.Text(), nullable=True),
        sa.Column("campaign", sa.Text(), nullable=True),
        sa.Column("variant", sa.Text(), nullable=True),
        sa.Column("persona", sa.Text(), nullable=True),
        sa.Column("profile", sa.Text(), nullable=True),
        sa.Column("first_touch_at", sa.BigInteger(), nullable=True),
        sa.Column("last_touch_at", sa.BigInteger(), nullable=True),
        sa.Column("counted", sa.LargeBinary(), nullable=False),
        sa.Column("kept", sa.LargeBinary(), nullable=True),
        sa.Column("kept_to", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("contact_id", name=op.f("pk_journey")),
    )
    op.create_table(
        "landed",
        sa.Column("connection", sa.Text(), nullable=False),
        sa.Column("slice", sa.BigInteger(), nullable=False),
        sa.Column("bucket", sa.BigInteger(), nullable=False),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("connection", "slice", "bucket", name=op.f("pk_landed")),
    )
    op.create_table(
        "lead",
        sa.Column("contact_id", sa.BigInteger(), nullable=False),
        sa.Column("stage", sa.Text(), nullable=True),
        sa.Column("since", sa.BigInteger(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("status", sa.Text(), nullable=True),
        sa.Column("status_since", sa.BigInteger(), nullable=True),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("handed_at", sa.BigInteger(), nullable=True),
        sa.Column("accepted_at", sa.BigInteger(), nullable=True),
        sa.Column("given_reason", sa.Text(), nullable=True),
        sa.Column("flag", sa.Text(), nullable=True),
        sa.Column("flag_why", sa.Text(), nullable=True),
        sa.Column("recycled", sa.Integer(), nullable=False),
        sa.Column("requalified", sa.Integer(), nullable=False),
        sa.Column("recycled_at", sa.BigInteger(), nullable=True),
        sa.Column("rest_until", sa.BigInteger(), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("by_machine", sa.Integer(), nullable=False),
        sa.Column("channels", JSON, nullable=True),
        sa.Column("owner_email", sa.Text(), nullable=True),
        sa.Column("persona", sa.Text(), nullable=True),
        sa.Column("profile", sa.Text(), nullable=True),
        sa.Column("turns_at", sa.BigInteger(), nullable=True),
        sa.Column("judged_at", sa.BigInteger(), nullable=False),
        sa.Column("seal", JSON, nullable=True),
        sa.PrimaryKeyConstraint("contact_id", name=op.f("pk_lead")),
    )
    op.create_index(
        "ix_lead_flag",
        "lead",
        ["flag", "contact_id"],
        unique=False,
        sqlite_where=sa.text("flag IS NOT NULL"),
        postgresql_where=sa.text("flag IS NOT NULL"),
    )
    op.create_index(
        "ix_lead_owner",
        "lead",
        ["owner_email", "contact_id"],
        unique=False,
        sqlite_where=sa.text("owner_email IS NOT NULL"),
        postgresql_where=sa.text("owner_email IS NOT NULL"),
    )
    op.create_index("ix_lead_stage", "lead", ["stage", "contact_id"], unique=False)
    op.create_index("ix_lead_status", "lead", ["status", "contact_id"], unique=False)
    op.create_index(
        "ix_lead_turns_at",
        "lead",
        ["turns_at"],
        unique=False,
        sqlite_where=sa.text("turns_at IS NOT NULL"),
        postgresql_where=sa.text("turns_at IS NOT NULL"),
    )
    op.create_table(
        "lead_round",
        sa.Column("contact_id", sa.BigInteger(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("begins", sa.Text(), nullable=False),
        sa.Column("lead_at", sa.BigInteger(), nullable=True),
        sa.Column("mql_at", sa.BigInteger(), nullable=True),
        sa.Column("sal_at", sa.BigInteger(), nullable=True),
        sa.Column("sql_at", sa.BigInteger(), nullable=True),
        sa.Column("opportunity_at", sa.BigInteger(), nullable=True),
        sa.Column("won_at", sa.BigInteger(), nullable=True),
        sa.Column("feedback_at", sa.BigInteger(), nullable=True),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.Column("ended", sa.Text(), nullable=True),
        sa.Column("why", sa.Text(), nullable=True),
        sa.Column("tried_at", sa.BigInteger(), nullable=True),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("channels", sa.Integer(), nullable=False),
        sa.Column("kept", sa.Integer(), nullable=True),
        sa.PrimaryKeyConstraint("contact_id", "number", name=op.f("pk_lead_round")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_lead_round_ended", "lead_round", ["ended_at"], unique=False)
    op.create_index("ix_lead_round_lead", "lead_round", ["lead_at"], unique=False)
    op.create_index("ix_lead_round_mql", "lead_round", ["mql_at"], unique=False)
    op.create_index("ix_lead_round_opportunity", "lead_round", ["opportunity_at"], unique=False)
    op.create_index("ix_lead_round_sal", "lead_round", ["sal_at"], unique=False)
    op.create_index("ix_lead_round_sql", "lead_round", ["sql_at"], unique=False)
    op.create_index("ix_lead_round_won", "lead_round", ["won_at"], unique=False)
    op.create_table(
        "lead_step",
        sa.Column("id", ID, autoincrement=True, nullable=False),
        sa.Column("contact_id", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("what", sa.Text(), nullable=False),
        sa.Column("before", sa.Text(), nullable=True),
        sa.Column("after", sa.Text(), nullable=True),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("facts", JSON, nullable=True),
        sa.Column("by", sa.Text(), nullable=True),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("stored_at", sa.BigInteger(), nullable=False),
        sa.Column("void_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_lead_step")),
    )
    op.create_index("ix_lead_step_contact", "lead_step", ["contact_id", "at"], unique=False)
    op.create_index(
        "ix_lead_step_to",
        "lead_step",
        ["what", "after", "at"],
        unique=False,
        sqlite_where=sa.text("void_at IS NULL"),
        postgresql_where=sa.text("void_at IS NULL"),
    )
    op.create_table(
        "lease",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("token", sa.Text(), nullable=False),
        sa.Column("until", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_lease")),
    )
    op.create_table(
        "link",
        sa.Column("connection", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("remote_id", sa.Text(), nullable=False),
        sa.Column("contact_id", sa.BigInteger(), nullable=False),
        sa.Column("shadow", JSON, nullable=False),
        sa.Column("rev", sa.BigInteger(), nullable=False),
        sa.Column("modified", sa.BigInteger(), nullable=True),
        sa.Column("written_at", sa.BigInteger(), nullable=False),
        sa.Column("gone_at", sa.BigInteger(), nullable=True),
        sa.Column("altered", JSON, nullable=True),
        sa.Column("landed", JSON, nullable=True),
        sa.Column("warnings", JSON, nullable=True),
        sa.Column("origin", JSON, nullable=True),
        sa.Column("likeness", sa.Float(), nullable=True),
        sa.Column("address_of", sa.BigInteger(), nullable=True),
        sa.Column("second_at", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("connection", "kind", "remote_id", name=op.f("pk_link")),
    )
    op.create_index(
        "ix_link_address_of",
        "link",
        ["address_of", "connection"],
        unique=False,
        postgresql_where=sa.text("address_of IS NOT NULL"),
        sqlite_where=sa.text("address_of IS NOT NULL"),
    )
    op.create_index("uq_link_contact", "link", ["contact_id", "connection", "kind"], unique=True)
    op.create_table(
        "login_attempt",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_login_attempt")),
    )
    op.create_table(
        "merge",
        sa.Column("id", ID, autoincrement=True, nullable=False),
        sa.Column("winner", sa.BigInteger(), nullable=False),
        sa.Column("loser", sa.BigInteger(), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("before", JSON, nullable=False),
        sa.Column("links", JSON, nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("split_at", sa.BigInteger(), nullable=True),
        sa.Column("split_by", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_merge")),
    )
    op.create_index("ix_merge_loser", "merge", ["loser"], unique=False)
    op.create_index("ix_merge_winner", "merge", ["winner"], unique=False)
    op.create_table(
        "meta",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_meta")),
    )
    op.create_table(
        "object_link",
        sa.Column("id", ID, autoincrement=True, nullable=False),
        sa.Column("connection", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("remote_id", sa.Text(), nullable=False),
        sa.Column("object_id", sa.BigInteger(), nullable=False),
        sa.Column("shadow", JSON, nullable=False),
        sa.Column("company_ref", sa.Text(), nullable=True),
        sa.Column("modified", sa.BigInteger(), nullable=True),
        sa.Column("seen_at", sa.BigInteger(), nullable=False),
        sa.Column("gone_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_object_link")),
    )
    op.create_index(
        "ix_object_link_company",
        "object_link",
        ["connection", "company_ref"],
        unique=False,
        sqlite_where=sa.text("company_ref IS NOT NULL"),
        postgresql_where=sa.text("company_ref IS NOT NULL"),
    )
    op.create_index("ix_object_link_object", "object_link", ["kind", "object_id"], unique=False)
    op.create_index("uq_object_link_record", "object_link", ["connection", "kind", "remote_id"], unique=True)
    op.create_table(
        "programme_member",
        sa.Column("id", ID, autoincrement=True, nullable=False),
        sa.Column("contact_id", sa.BigInteger(), nullable=False),
        sa.Column("programme", sa.Text(), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("enrolled_at", sa.BigInteger(), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.Column("ended_why", sa.Text(), nullable=True),
        sa.Column("held_out", sa.Integer(), nullable=False),
        sa.Column("stage", sa.Text(), nullable=True),
        sa.Column("until", sa.BigInteger(), nullable=True),
        sa.Column("reached_at", sa.BigInteger(), nullable=True),
        sa.Column("stored_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_programme_member")),
    )
    op.create_index(
        "ix_programme_member_current",
        "programme_member",
        ["programme", "id"],
        unique=False,
        sqlite_where=sa.text("ended_at IS NULL"),
        postgresql_where=sa.text("ended_at IS NULL"),
    )
    op.create_index("ix_programme_member_programme", "programme_member", ["programme", "id"], unique=False)
    op.create_index("uq_programme_member", "programme_member", ["contact_id", "programme", "round"], unique=True)
    op.create_table(
        "proposal",
        sa.Column("id", ID, autoincrement=True, nullable=False),
        sa.Column("older", sa.BigInteger(), nullable=False),
        sa.Column("newer", sa.BigInteger(), nullable=False),
        sa.Column("score", sa.Float(), nullable=False),
        sa.Column("reasons", JSON, nullable=False),
        sa.Column("contradiction", sa.Text(), nullable=True),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("decided_at", sa.BigInteger(), nullable=True),
        sa.Column("decided_by", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_proposal")),
    )
    op.create_index("ix_proposal_newer", "proposal", ["newer"], unique=False)
    op.create_index(
        "ix_proposal_waiting",
        "proposal",
        ["id"],
        unique=False,
        sqlite_where=sa.text("status IN ('open', 'later')"),
        postgresql_where=sa.text("status IN ('open', 'later')"),
    )
    op.create_index("uq_proposal_pair", "proposal", ["older", "newer"], unique=True)
    op.create_table(
        "refold",
        sa.Column("contact_id", sa.BigInteger(), nullable=False),
        sa.Column("gen", sa.BigInteger(), nullable=False),
        sa.Column("due_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("contact_id", name=op.f("pk_refold")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_refold_due", "refold", ["due_at"], unique=False)
    op.create_table(
        "refusal",
        sa.Column("connection", sa.Text(), nullable=False),
        sa.Column("contact_id", sa.BigInteger(), nullable=False),
        sa.Column("field", sa.Text(), nullable=False),
        sa.Column("value", JSON, nullable=True),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("event", sa.BigInteger(), nullable=True),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("stored_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("connection", "contact_id", "field", name=op.f("pk_refusal")),
    )
    op.create_index("ix_refusal_contact", "refusal", ["contact_id"], unique=False)
    op.create_index("ix_refusal_stored", "refusal", ["stored_at"], unique=False)
    op.create_table(
        "rhythm",
        sa.Column("connection", sa.Text(), nullable=False),
        sa.Column("state", JSON, nullable=False),
        sa.Column("read_to", sa.BigInteger(), nullable=False),
        sa.Column("poll_gap", sa.BigInteger(), nullable=True),
        sa.Column("missed", sa.Integer(), nullable=False),
        sa.Column("hooks_due_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("connection", name=op.f("pk_rhythm")),
    )
    op.create_table(
        "ruling",
        sa.Column("connection", sa.Text(), nullable=False),
        sa.Column("field", sa.Text(), nullable=False),
        sa.Column("choice", sa.Text(), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("connection", "field", name=op.f("pk_ruling")),
    )
    op.create_table(
        "run",
        sa.Column("id", ID, autoincrement=True, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("params", JSON, nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("total", sa.Integer(), nullable=False),
        sa.Column("done", sa.Integer(), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("started_at", sa.BigInteger(), nullable=False),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_run")),
    )
    op.create_table(
        "score",
        sa.Column("dimension", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("indicator", sa.Text(), nullable=False),
        sa.Column("day", sa.BigInteger(), nullable=False),
        sa.Column("n", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("dimension", "value", "indicator", "day", name=op.f("pk_score")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "session",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("account_id", sa.BigInteger(), nullable=True),
        sa.Column("token_hash", sa.Text(), nullable=True),
        sa.Column("made_at", sa.BigInteger(), nullable=False),
        sa.Column("seen_at", sa.BigInteger(), nullable=False),
        sa.Column("ends_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_session")),
    )
    op.create_index("ix_session_account", "session", ["account_id"], unique=False)
    op.create_index("ix_session_ends", "session", ["ends_at"], unique=False)
    op.create_table(
        "sighting",
        sa.Column("connection", sa.Text(), nullable=False),
        sa.Column("remote_id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("connection", "remote_id", name=op.f("pk_sighting")),
    )
    op.create_table(
        "summary_due",
        sa.Column("contact_id", sa.BigInteger(), nullable=False),
        sa.Column("gen", sa.BigInteger(), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("contact_id", name=op.f("pk_summary_due")),
    )
    op.create_table(
        "survey",
        sa.Column("connection", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("cursor", sa.Text(), nullable=True),
        sa.Column("due_at", sa.BigInteger(), nullable=False),
        sa.Column("walked_at", sa.BigInteger(), nullable=True),
        sa.Column("whole_at", sa.BigInteger(), nullable=True),
        sa.Column("failing_since", sa.BigInteger(), nullable=True),
        sa.Column("failure", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("connection", "kind", name=op.f("pk_survey")),
    )
    op.create_table(
        "suspended",
        sa.Column("connection", sa.Text(), nullable=False),
        sa.Column("field", sa.Text(), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.Column("resumed_at", sa.BigInteger(), nullable=True),
        sa.Column("resumed_by", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("connection", "field", name=op.f("pk_suspended")),
    )
    op.create_table(
        "timeline_entry",
        sa.Column("connection", sa.Text(), nullable=False),
        sa.Column("engagement_id", sa.BigInteger(), nullable=False),
        sa.Column("contact_id", sa.BigInteger(), nullable=False),
        sa.Column("due_at", sa.BigInteger(), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("remote_id", sa.Text(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("written_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("connection", "engagement_id", name=op.f("pk_timeline_entry")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_timeline_entry_contact", "timeline_entry", ["contact_id"], unique=False)
    op.create_index("ix_timeline_entry_due", "timeline_entry", ["connection", "due_at"], unique=False)
    op.create_table(
        "token",
        sa.Column("connection", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("sealed", sa.Text(), nullable=False),
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("grant", sa.Text(), nullable=False),
        sa.Column("renews", sa.Integer(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=True),
        sa.Column("scopes", JSON, nullable=False),
        sa.Column("place", sa.Text(), nullable=True),
        sa.Column("account", sa.Text(), nullable=True),
        sa.Column("connected_at", sa.BigInteger(), nullable=False),
        sa.Column("connected_by", sa.Text(), nullable=True),
        sa.Column("refreshed_at", sa.BigInteger(), nullable=False),
        sa.Column("trying_at", sa.BigInteger(), nullable=True),
        sa.Column("lost_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("connection", name=op.f("pk_token")),
    )
    op.create_table(
        "tombstone",
        sa.Column("id", ID, autoincrement=True, nullable=False),
        sa.Column("connection", sa.Text(), nullable=False),
        sa.Column("remote_id", sa.Text(), nullable=True),
        sa.Column("key_hash", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("lifted_at", sa.BigInteger(), nullable=True),
        sa.Column("lifted_by", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tombstone")),
    )
    op.create_index(
        "ix_tombstone_key_hash",
        "tombstone",
        ["key_hash"],
        unique=False,
        sqlite_where=sa.text("lifted_at IS NULL"),
        postgresql_where=sa.text("lifted_at IS NULL"),
    )
    op.create_index("ix_tombstone_record", "tombstone", ["connection", "remote_id"], unique=False)
    op.create_table(
        "withheld",
        sa.Column("connection", sa.Text(), nullable=False),
        sa.Column("contact_id", sa.BigInteger(), nullable=False),
        sa.Column("field", sa.Text(), nullable=False),
        sa.Column("value", JSON, nullable=True),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("connection", "contact_id", "field", name=op.f("pk_withheld")),
    )
    op.create_table(
        "work",
        sa.Column("connection", sa.Text(), nullable=False),
        sa.Column("contact_id", sa.BigInteger(), nullable=False),
        sa.Column("lane", sa.Integer(), nullable=False),
        sa.Column("gen", sa.BigInteger(), nullable=False),
        sa.Column("taken", sa.BigInteger(), nullable=True),
        sa.Column("lease", sa.Text(), nullable=True),
        sa.Column("due_at", sa.BigInteger(), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("first_failed_at", sa.BigInteger(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("held", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("connection", "contact_id", name=op.f("pk_work")),
    )
    op.create_index("ix_work_due", "work", ["connection", "lane", "due_at"], unique=False)
    op.create_index(
        "ix_work_held",
        "work",
        ["connection", "held"],
        unique=False,
        sqlite_where=sa.text("held IS NOT NULL"),
        postgresql_where=sa.text("held IS NOT NULL"),
    )
    op.create_table(
        "worker",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=False),
        sa.Column("beat_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_worker")),
    )

    if op.get_bind().dialect.name == "postgresql":
        op.execute(f"ALTER TABLE work SET ({HOT})")
        op.execute("ALTER TABLE inbox SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000)")
