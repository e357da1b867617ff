"""The fleet: instances with their leases and reports, and the schemas of what they run."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    when = sa.TIMESTAMP(timezone=True)
    op.create_table(
        "instances",
        sa.Column("service", sa.Text, primary_key=True),
        sa.Column("environment", sa.Text, primary_key=True),
        sa.Column("instance_id", sa.Text, primary_key=True),
        sa.Column("generation", sa.BigInteger, nullable=False),
        sa.Column("secret_sha256", sa.LargeBinary, nullable=False),
        sa.Column("host", sa.Text),
        sa.Column("port", sa.Integer),
        sa.Column("protocol", sa.Text),
        sa.Column("health_endpoint", sa.Text),
        sa.Column("version", sa.Text),
        sa.Column("build", sa.Text),
        sa.Column("capabilities", sa.ARRAY(sa.Text), nullable=False),
        sa.Column("labels", sa.Text, nullable=False),
        sa.Column("metadata", sa.Text, nullable=False),
        sa.Column("weight", sa.Integer, nullable=False),
        sa.Column("zone", sa.Text),
        sa.Column("schema_hash", sa.Text),
        sa.Column("lease_seconds", sa.Integer, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("registered_at", when, nullable=False),
        sa.Column("seen_at", when, nullable=False),
        sa.Column("deregistered_at", when),
        sa.Column("applied_epoch", sa.BigInteger),
        sa.Column("applied_revision", sa.BigInteger),
        sa.Column("rejected_epoch", sa.BigInteger),
        sa.Column("rejected_revision", sa.BigInteger),
        sa.Column("rejected_reason", sa.Text),
        sa.Column("report", sa.Text, nullable=False),
        sa.Column("change", sa.BigInteger, nullable=False),
        sa.Column("changed_in", sa.BigInteger, nullable=False),
    )
    # Heartbeats rewrite rows all the time: with room in the page and no index on what they touch, they leave no
    # garbage that only a vacuum removes.
    op.execute("ALTER TABLE instances SET (fillfactor = 60)")
    op.create_table(
        "consumer_schemas",
        sa.Column("service", sa.Text, primary_key=True),
        sa.Column("environment", sa.Text, primary_key=True),
        sa.Column("build", sa.Text, primary_key=True),
        sa.Column("schema_hash", sa.Text, primary_key=True),
        sa.Column("content", sa.Text, nullable=False),
        sa.Column("first_seen_at", when, nullable=False),
        sa.Column("last_seen_at", when, nullable=False),
    )
