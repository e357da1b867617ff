"""What the hub finds out when it asks the health endpoints of instances."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("instances", sa.Column("check_state", sa.Text))
    op.add_column("instances", sa.Column("check_against", sa.Integer))
    op.add_column("instances", sa.Column("check_reason", sa.Text))
    op.add_column("instances", sa.Column("check_at", sa.TIMESTAMP(timezone=True)))
    op.add_column("instances", sa.Column("check_latency_ms", sa.Double))
