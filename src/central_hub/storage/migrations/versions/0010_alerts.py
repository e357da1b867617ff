"""Alerts: what is amiss, who is told of it, and who does not want to be."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    when = sa.TIMESTAMP(timezone=True)
    op.create_table(
        "duties",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("holder", sa.Text, nullable=False),
        sa.Column("until", when, nullable=False),
    )
    op.create_table(
        "alerts",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("fingerprint", sa.Text, nullable=False),
        sa.Column("rule", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("environment", sa.Text, nullable=False),
        sa.Column("severity", sa.Text, nullable=False),
        sa.Column("summary", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("labels", sa.Text, nullable=False),
        sa.Column("notify", sa.ARRAY(sa.Text), nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("since", when, nullable=False),
        sa.Column("fired_at", when),
        sa.Column("resolved_at", when),
        sa.Column("notified_at", when),
        sa.Column("is_told", sa.Boolean, nullable=False),
        sa.Column("absent_since", when),
        sa.Column("caused_by", sa.ARRAY(sa.Text), nullable=False),
        sa.Column("freed_at", when),
        sa.Column("affected", sa.Text, nullable=False),
        sa.Column("acknowledged_at", when),
        sa.Column("acknowledged_by", sa.Text),
        sa.Column("acknowledgement", sa.Text),
        sa.Column("replica", sa.Text, nullable=False),
        sa.Column("change", sa.BigInteger, nullable=False),
    )
    op.create_index("alerts_open", "alerts", ["fingerprint"], unique=True, postgresql_where=sa.text("state <> 'resolved'"))
    op.create_index("alerts_by_time", "alerts", [sa.text("since DESC")])
    op.create_table(
        "silences",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("rule", sa.Text),
        sa.Column("subject", sa.Text),
        sa.Column("environment", sa.Text),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("created_at", when, nullable=False),
        sa.Column("created_by", sa.Text, nullable=False),
        sa.Column("until", when, nullable=False),
        sa.Column("ended_at", when),
    )
    op.create_table(
        "notifications",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("channel", sa.Text, nullable=False),
        sa.Column("payload", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("created_at", when, nullable=False),
        sa.Column("due_at", when, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("claimed_by", sa.Text),
        sa.Column("claimed_until", when),
        sa.Column("error", sa.Text),
        sa.Column("ended_at", when),
    )
    op.create_index("notifications_due", "notifications", ["due_at"], postgresql_where=sa.text("state = 'due'"))
