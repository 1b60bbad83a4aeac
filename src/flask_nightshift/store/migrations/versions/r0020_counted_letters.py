"""Indexes that count and list dead letters by incident, task, reason and time without reading other letters."""

from alembic import op

from flask_nightshift.store.indexes import create_later

revision = "0020"
down_revision = "0019"

_TABLE = "nightshift_dead_letters"
_INDEXES = {
    "incident": ("status", "fingerprint", "at"),
    "task": ("status", "task", "at", "reason"),
    "reason": ("status", "reason", "at"),
    "at": ("at", "id"),
}


def upgrade() -> None:
    """Create them; processes of an earlier version do without."""
    for name, columns in _INDEXES.items():
        create_later(f"{_TABLE}_{name}", _TABLE, columns)


def downgrade() -> None:
    """Drop them."""
    for name in _INDEXES:
        op.drop_index(f"{_TABLE}_{name}", _TABLE, if_exists=True)
