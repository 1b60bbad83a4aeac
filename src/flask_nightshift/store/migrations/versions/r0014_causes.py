"""Dead letters by their cause: where the error was raised, and an index that counts them by fingerprint and time."""

import sqlalchemy as sa
from alembic import op

from flask_nightshift.store.indexes import create_later

revision = "0014"
down_revision = "0013"

_LETTERS = "nightshift_dead_letters"


def upgrade() -> None:
    """Add the column; ``causes.fill`` fills it afterwards, and gives old rows their new fingerprint."""
    op.add_column(_LETTERS, sa.Column("place", sa.Text))
    create_later(f"{_LETTERS}_cause", _LETTERS, ["fingerprint", "at", "status"])


def downgrade() -> None:
    """Drop both; the fingerprints stay."""
    op.execute(f"DROP INDEX IF EXISTS {_LETTERS}_cause")
    op.drop_column(_LETTERS, "place")
