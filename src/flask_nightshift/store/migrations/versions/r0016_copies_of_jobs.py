"""The arguments with which a dead letter was replayed, and the job of which another one is a copy."""

import sqlalchemy as sa
from alembic import op

from flask_nightshift.store.indexes import create_later

revision = "0016"
down_revision = "0015"

_LETTERS, _RELATIONS = "nightshift_dead_letters", "nightshift_relations"


def upgrade() -> None:
    """Add the columns; a worker of an earlier version leaves them empty."""
    op.add_column(_LETTERS, sa.Column("new_args", sa.Text))
    op.add_column(_LETTERS, sa.Column("new_kwargs", sa.Text))
    op.add_column(_RELATIONS, sa.Column("origin_id", sa.Text))
    create_later(f"{_RELATIONS}_origin", _RELATIONS, ["origin_id"])


def downgrade() -> None:
    """Drop them."""
    op.execute(f"DROP INDEX IF EXISTS {_RELATIONS}_origin")
    op.drop_column(_RELATIONS, "origin_id")
    op.drop_column(_LETTERS, "new_kwargs")
    op.drop_column(_LETTERS, "new_args")
