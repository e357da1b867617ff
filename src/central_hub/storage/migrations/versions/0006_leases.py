"""Leases that wait while no hub listens: from when each runs, and when the fleet was heard last."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    when = sa.TIMESTAMP(timezone=True)
    op.add_column("instances", sa.Column("leased_at", when))
    op.execute("UPDATE instances SET leased_at = seen_at")
    op.alter_column("instances", "leased_at", nullable=False)
    op.create_table(
        "hearing",
        sa.Column("id", sa.Integer, sa.CheckConstraint("id = 1"), primary_key=True),
        sa.Column("heard_at", when, nullable=False),
    )
