"""Schedule entries keep the due time of their last tick, what operators ordered, and what they are."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"

_TIME = sa.DateTime(timezone=True)
_COLUMNS: dict[str, Any] = {
    "last_due_at": _TIME,
    "anchor": _TIME,
    "last_job_id": sa.Text,
    "next_at": _TIME,
    "paused_at": _TIME,
    "paused_by": sa.Text,
    "skip_until": _TIME,
    "task": sa.Text,
    "queue": sa.Text,
    "spec": sa.Text,
    "timezone": sa.Text,
}


def upgrade() -> None:
    """Add the columns; a Beat of an earlier version leaves them empty."""
    for name, kind in _COLUMNS.items():
        op.add_column("nightshift_schedules", sa.Column(name, kind))


def downgrade() -> None:
    """Drop the columns."""
    for name in reversed(_COLUMNS):
        op.drop_column("nightshift_schedules", name)
