"""The first tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_HASH = sa.Text().with_variant(sa.Uuid(as_uuid=False), "postgresql")


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "contact_days",
        sa.Column("contact", _HASH, nullable=False),
        sa.Column("day", sa.Integer(), nullable=False),
        sa.Column("asked", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("contact", "day"),
    )
    op.create_index("contact_days_day", "contact_days", ["day"], unique=False)
    op.create_table(
        "conversations",
        sa.Column(
            "number", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False
        ),
        sa.Column("key", _HASH, nullable=False),
        sa.Column("route", sa.Text(), nullable=False),
        sa.Column("contact_id", sa.Text(), nullable=False),
        sa.Column("thread_id", sa.Text(), nullable=True),
        sa.Column("external_id", sa.Text(), nullable=False),
        sa.Column("project_id", sa.BigInteger(), nullable=True),
        sa.Column("session_id", sa.Text(), nullable=True),
        sa.Column("conversation_id", sa.BigInteger(), nullable=True),
        sa.Column("highest_message_id", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("create_intent_at", sa.Double(), nullable=True),
        sa.Column("forgotten_session_ids", sa.Text(), server_default="[]", nullable=False),
        sa.Column("epoch", sa.Integer(), server_default="0", nullable=False),
        sa.Column("creates", sa.Integer(), server_default="0", nullable=False),
        sa.Column("heal_at", sa.Double(), nullable=True),
        sa.Column("heal_looks", sa.Integer(), server_default="0", nullable=False),
        sa.Column("is_blocked", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("lease_token", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("lease_until", sa.Double(), server_default="0", nullable=False),
        sa.Column("owner", sa.Text(), nullable=True),
        sa.Column("due_at", sa.Double(), nullable=True),
        sa.Column("ended_at", sa.Double(), nullable=True),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("quiet_since", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("number"),
        sa.UniqueConstraint("key"),
    )
    op.create_index(
        "conversations_due",
        "conversations",
        ["due_at", "number"],
        unique=False,
        postgresql_where=sa.text("due_at IS NOT NULL"),
        sqlite_where=sa.text("due_at IS NOT NULL"),
    )
    op.create_index(
        "conversations_heal",
        "conversations",
        ["heal_at"],
        unique=False,
        postgresql_where=sa.text("heal_at IS NOT NULL"),
        sqlite_where=sa.text("heal_at IS NOT NULL"),
    )
    op.create_index(
        "conversations_leased",
        "conversations",
        ["lease_until"],
        unique=False,
        postgresql_where=sa.text("lease_until > 0"),
        sqlite_where=sa.text("lease_until > 0"),
    )
    op.create_index(
        "conversations_quiet",
        "conversations",
        ["quiet_since"],
        unique=False,
        postgresql_where=sa.text("quiet_since IS NOT NULL"),
        sqlite_where=sa.text("quiet_since IS NOT NULL"),
    )
    op.create_table(
        "erased",
        sa.Column("event_hash", _HASH, nullable=False),
        sa.Column("finished_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("event_hash"),
    )
    op.create_index("erased_finished", "erased", ["finished_at"], unique=False)
    op.create_table(
        "gates",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("closed_until", sa.Double(), server_default="0", nullable=False),
        sa.Column("failures", sa.Integer(), server_default="0", nullable=False),
        sa.Column("probe", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("buckets", sa.Text(), server_default="{}", nullable=False),
        sa.Column("even_at", sa.Double(), server_default="0", nullable=False),
        sa.Column("posts_since_read", sa.Integer(), server_default="0", nullable=False),
        sa.Column("posts_wait_until", sa.Double(), server_default="0", nullable=False),
        sa.Column("reads_wait_until", sa.Double(), server_default="0", nullable=False),
        sa.Column("healer", sa.Text(), nullable=True),
        sa.Column("healer_until", sa.Double(), server_default="0", nullable=False),
        sa.Column("fresh_until", sa.Double(), server_default="0", nullable=False),
        sa.Column("is_altering", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.PrimaryKeyConstraint("key"),
    )
    op.create_table(
        "identity",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("ledger_id", sa.Text(), nullable=False),
        sa.Column("log_key", sa.Text(), nullable=False),
        sa.Column("boot_id", sa.Text(), nullable=True),
        sa.Column("clock_base", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "questions",
        sa.Column(
            "number", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False
        ),
        sa.Column("event_hash", _HASH, nullable=False),
        sa.Column("data_hash", _HASH, nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("reply_id", sa.Text(), nullable=False),
        sa.Column("conversation", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("state", sa.Text(), server_default="waiting", nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("received_at", sa.Double(), nullable=False),
        sa.Column("expires_at", sa.Double(), nullable=True),
        sa.Column("is_redelivered", sa.Boolean(), nullable=False),
        sa.Column("is_over_limit", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("posts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("expired_leases", sa.Integer(), server_default="0", nullable=False),
        sa.Column("intent_at", sa.Double(), nullable=True),
        sa.Column("intent_session_id", sa.Text(), nullable=True),
        sa.Column("baseline_message_id", sa.BigInteger(), nullable=True),
        sa.Column("first_baseline_message_id", sa.BigInteger(), nullable=True),
        sa.Column("looks", sa.Integer(), server_default="0", nullable=False),
        sa.Column("has_ended", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("is_accepted", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("session_id", sa.Text(), nullable=True),
        sa.Column("message_id", sa.BigInteger(), nullable=True),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.Column("code", sa.Text(), nullable=True),
        sa.Column("detail", sa.Text(), nullable=True),
        sa.Column("finished_at", sa.Double(), nullable=True),
        sa.Column("second_look_at", sa.Double(), nullable=True),
        sa.Column("duplicate_message_id", sa.BigInteger(), nullable=True),
        sa.Column("late_post_at", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("number"),
        sa.UniqueConstraint("event_hash"),
    )
    op.create_index(
        "questions_finished",
        "questions",
        ["finished_at"],
        unique=False,
        postgresql_where=sa.text("finished_at IS NOT NULL"),
        sqlite_where=sa.text("finished_at IS NOT NULL"),
    )
    op.create_index(
        "questions_message",
        "questions",
        ["message_id", "session_id"],
        unique=True,
        postgresql_where=sa.text("message_id is not null"),
        sqlite_where=sa.text("message_id is not null"),
    )
    op.create_index(
        "questions_open",
        "questions",
        ["conversation", "state", "number"],
        unique=False,
        postgresql_where=sa.text("state in ('waiting', 'posting')"),
        sqlite_where=sa.text("state in ('waiting', 'posting')"),
    )
    op.create_index(
        "questions_posting",
        "questions",
        ["intent_at"],
        unique=False,
        postgresql_where=sa.text("state = 'posting'"),
        sqlite_where=sa.text("state = 'posting'"),
    )
    op.create_index(
        "questions_second_look",
        "questions",
        ["second_look_at"],
        unique=False,
        postgresql_where=sa.text("second_look_at IS NOT NULL"),
        sqlite_where=sa.text("second_look_at IS NOT NULL"),
    )
    op.create_index(
        "questions_suspect",
        "questions",
        ["number"],
        unique=False,
        postgresql_where=sa.text("duplicate_message_id is not null or late_post_at is not null"),
        sqlite_where=sa.text("duplicate_message_id is not null or late_post_at is not null"),
    )
    op.create_table(
        "replies",
        sa.Column(
            "number", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False
        ),
        sa.Column("question", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("conversation", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("headers", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), server_default="waiting", nullable=False),
        sa.Column("owner", sa.Text(), nullable=True),
        sa.Column("due_at", sa.Double(), nullable=True),
        sa.Column("tries", sa.Integer(), server_default="0", nullable=False),
        sa.Column("code", sa.Text(), nullable=True),
        sa.Column("recorded_at", sa.Double(), nullable=False),
        sa.Column("published_at", sa.Double(), nullable=True),
        sa.Column("repeated_at", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("number"),
    )
    op.create_index(
        "replies_due",
        "replies",
        ["due_at"],
        unique=False,
        postgresql_where=sa.text("due_at IS NOT NULL"),
        sqlite_where=sa.text("due_at IS NOT NULL"),
    )
    op.create_index("replies_question", "replies", ["question"], unique=False)
    op.create_index(
        "replies_unpublished",
        "replies",
        ["conversation", "number"],
        unique=False,
        postgresql_where=sa.text("state <> 'published'"),
        sqlite_where=sa.text("state <> 'published'"),
    )
    op.create_table(
        "ratings",
        sa.Column(
            "question",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column("rating", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("due_at", sa.Double(), nullable=True),
        sa.Column("tries", sa.Integer(), server_default="0", nullable=False),
        sa.Column("code", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("question"),
    )
    op.create_index(
        "ratings_due",
        "ratings",
        ["due_at"],
        unique=False,
        postgresql_where=sa.text("due_at IS NOT NULL"),
        sqlite_where=sa.text("due_at IS NOT NULL"),
    )
    op.create_table(
        "rating_events",
        sa.Column("event_hash", _HASH, nullable=False),
        sa.Column("data_hash", _HASH, nullable=False),
        sa.Column("received_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("event_hash"),
    )
    op.create_index("rating_events_received", "rating_events", ["received_at"], unique=False)
    op.create_table(
        "mirrors",
        sa.Column(
            "number", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False
        ),
        sa.Column("conversation", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("session_id", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("unsure_version", sa.Integer(), nullable=True),
        sa.Column("due_at", sa.Double(), nullable=True),
        sa.Column("tries", sa.Integer(), server_default="0", nullable=False),
        sa.Column("code", sa.Text(), nullable=True),
        sa.Column("is_partial", sa.Boolean(), nullable=False),
        sa.Column("answered_at", sa.Double(), nullable=False),
        sa.Column("mirrored_at", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("number"),
        sa.UniqueConstraint("conversation", "session_id"),
    )
    op.create_index(
        "mirrors_due",
        "mirrors",
        ["due_at"],
        unique=False,
        postgresql_where=sa.text("due_at IS NOT NULL"),
        sqlite_where=sa.text("due_at IS NOT NULL"),
    )
    op.create_index(
        "mirrors_failed",
        "mirrors",
        ["number"],
        unique=False,
        postgresql_where=sa.text("code IS NOT NULL"),
        sqlite_where=sa.text("code IS NOT NULL"),
    )
    op.create_index("mirrors_answered", "mirrors", ["answered_at"], unique=False)
    op.create_table(
        "mirror_answers",
        sa.Column(
            "question",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column("mirror", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.PrimaryKeyConstraint("question"),
    )
    op.create_index("mirror_answers_mirror", "mirror_answers", ["mirror", "question"], unique=False)
    op.create_table(
        "commit_marks",
        sa.Column("marker", sa.Text(), nullable=False),
        sa.Column("mark", sa.BigInteger(), nullable=False),
        sa.Column("marked_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("marker"),
    )
    op.create_table(
        "workers",
        sa.Column("worker_id", sa.Text(), nullable=False),
        sa.Column("started_at", sa.Double(), nullable=False),
        sa.Column("seen_at", sa.Double(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("worker_id"),
    )
