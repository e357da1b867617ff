"""Which instances an operator took out of routing, and who, when and why."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("instances", sa.Column("drained_at", sa.TIMESTAMP(timezone=True)))
    op.add_column("instances", sa.Column("drained_by", sa.Text))
    op.add_column("instances", sa.Column("drain_reason", sa.Text))
