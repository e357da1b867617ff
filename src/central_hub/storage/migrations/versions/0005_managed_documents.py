"""Who looks after a document or schema from outside: the name under which files are applied."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for table in ("service_configs", "service_schemas"):
        op.add_column(table, sa.Column("managed_by", sa.Text))
