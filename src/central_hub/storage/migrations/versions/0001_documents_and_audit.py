"""Documents, the audit log that is also the outbox, tokens, replicas."""

import uuid

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    when = sa.TIMESTAMP(timezone=True)
    hub_state = op.create_table(
        "hub_state",
        sa.Column("id", sa.Integer, sa.CheckConstraint("id = 1"), primary_key=True),
        sa.Column("hub_id", sa.Text, nullable=False),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("audit_head", sa.Text, nullable=False),
        sa.Column("tokens_version", sa.BigInteger, nullable=False),
        sa.Column("system_identifier", sa.Text),
        sa.Column("timeline", sa.BigInteger),
    )
    op.bulk_insert(
        hub_state,
        [{"id": 1, "hub_id": str(uuid.uuid4()), "epoch": 1, "revision": 0, "audit_head": "sha256:" + "0" * 64, "tokens_version": 0}],
    )
    op.create_table(
        "service_configs",
        sa.Column("service", sa.Text, primary_key=True),
        sa.Column("environment", sa.Text, primary_key=True),
        sa.Column("content", sa.Text),
        sa.Column("version", sa.Text, nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("previous_revision", sa.BigInteger),
        sa.Column("changed_at", when, nullable=False),
        sa.Column("changed_by", sa.Text, nullable=False),
    )
    op.create_table(
        "config_audit_log",
        sa.Column("revision", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("ordinal", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("service", sa.Text, nullable=False),
        sa.Column("environment", sa.Text, nullable=False),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("version", sa.Text, nullable=False),
        sa.Column("changed_at", when, nullable=False),
        sa.Column("changed_by", sa.Text, nullable=False),
        sa.Column("reason", sa.Text),
        sa.Column("content_hash", sa.Text, nullable=False),
        sa.Column("previous_hash", sa.Text, nullable=False),
        sa.Column("entry_hash", sa.Text, nullable=False),
    )
    op.create_index(
        "config_audit_log_by_document", "config_audit_log", ["service", "environment", sa.text("revision DESC")]
    )
    op.create_index("config_audit_log_by_time", "config_audit_log", ["changed_at"])
    to_audit_row = sa.ForeignKeyConstraint
    op.create_table(
        "config_contents",
        sa.Column("revision", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("ordinal", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("salt", sa.LargeBinary),
        sa.Column("content", sa.Text),
        sa.Column("changes", sa.Text),
        to_audit_row(["revision", "ordinal"], ["config_audit_log.revision", "config_audit_log.ordinal"]),
    )
    op.create_table(
        "redactions",
        sa.Column("revision", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("ordinal", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("redacted_at", when, nullable=False),
        sa.Column("redacted_by", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        to_audit_row(["revision", "ordinal"], ["config_audit_log.revision", "config_audit_log.ordinal"]),
    )
    op.create_table(
        "tokens",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("sha256", sa.LargeBinary, nullable=False, unique=True),
        sa.Column("verbs", sa.ARRAY(sa.Text), nullable=False),
        sa.Column("services", sa.ARRAY(sa.Text), nullable=False),
        sa.Column("environments", sa.ARRAY(sa.Text), nullable=False),
        sa.Column("created_at", when, nullable=False),
        sa.Column("created_by", sa.Text, nullable=False),
        sa.Column("expires_at", when),
        sa.Column("revoked_at", when),
        sa.Column("revoked_by", sa.Text),
    )
    op.create_table(
        "idempotency_keys",
        sa.Column("token_id", sa.Text, primary_key=True),
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("request_hash", sa.Text, nullable=False),
        sa.Column("revision", sa.BigInteger),
        sa.Column("response", sa.Text, nullable=False),
        sa.Column("etag", sa.Text, nullable=False),
        sa.Column("created_at", when, nullable=False),
    )
    op.create_index("idempotency_keys_by_age", "idempotency_keys", ["created_at"])
    op.create_table(
        "replicas",
        sa.Column("key_id", sa.Text, primary_key=True),
        sa.Column("public_key", sa.LargeBinary, nullable=False),
        sa.Column("started_at", when, nullable=False),
        sa.Column("seen_at", when, nullable=False),
    )
