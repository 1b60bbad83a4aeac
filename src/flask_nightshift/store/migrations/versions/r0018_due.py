"""An index of the jobs that wait for their time."""

from alembic import op
from sqlalchemy import text

revision = "0018"
down_revision = "0017"

_INDEX = "nightshift_jobs_due"


def upgrade() -> None:
    """Create it; on PostgreSQL ``indexes.build`` does that after the migration, because jobs may have many rows."""
    if op.get_bind().dialect.name != "postgresql":
        where = text("due_at IS NOT NULL")
        op.create_index(_INDEX, "nightshift_jobs", ["due_at", "id"], sqlite_where=where)


def downgrade() -> None:
    """Drop it."""
    op.drop_index(_INDEX, "nightshift_jobs", if_exists=True)
