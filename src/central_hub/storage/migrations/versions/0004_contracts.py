"""Which schemas of consumers count: pinned, retired, and what changed since somebody looked."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    when = sa.TIMESTAMP(timezone=True)
    op.add_column("consumer_schemas", sa.Column("pinned_at", when))
    op.add_column("consumer_schemas", sa.Column("retired_at", when))
    op.add_column("consumer_schemas", sa.Column("changed_in", sa.BigInteger, nullable=False, server_default="0"))
