"""The infrastructure that is probed: how each target is, and how it came to be so."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    when = sa.TIMESTAMP(timezone=True)
    op.create_table(
        "targets",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("since", when, nullable=False),
        sa.Column("against", sa.Integer, nullable=False),
        sa.Column("turns", sa.Text, nullable=False),
        sa.Column("reason", sa.Text),
        sa.Column("latency_ms", sa.Double),
        sa.Column("probed_at", when, nullable=False),
        sa.Column("probed_by", sa.Text, nullable=False),
        sa.Column("change", sa.BigInteger, nullable=False),
        sa.Column("changed_in", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "target_transitions",
        sa.Column("target", sa.Text, primary_key=True),
        sa.Column("at", when, primary_key=True),
        sa.Column("from_state", sa.Text, nullable=False),
        sa.Column("to_state", sa.Text, nullable=False),
        sa.Column("reason", sa.Text),
    )
