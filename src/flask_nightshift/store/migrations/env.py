"""Alembic runs this file: it migrates over the connection that ``store.migration`` passes."""

from alembic import context

from flask_nightshift.store import tables
from flask_nightshift.store.migration import VERSION_TABLE

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=tables.metadata,
    version_table=VERSION_TABLE,
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
