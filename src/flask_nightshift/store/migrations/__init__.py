"""Alembic's environment; ``Store.migrate()`` runs it."""
