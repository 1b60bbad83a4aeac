"""Which modules a process has imported."""

from __future__ import annotations

from collections.abc import Collection, Iterable

NEVER_IN_A_WORKER = (
    "alembic", "mako", "prometheus_client", "rich", "sqlalchemy.dialects.mssql",
    "sqlalchemy.dialects.postgresql", "flask_nightshift.cli.audit", "flask_nightshift.cli.dead",
    "flask_nightshift.cli.listing", "flask_nightshift.cli.watch", "flask_nightshift.observe.doctor",
    "flask_nightshift.observe.metrics", "flask_nightshift.operations.bulk",
    "flask_nightshift.operations.dropping", "flask_nightshift.operations.ids",
    "flask_nightshift.store.migration", "flask_nightshift.up",
)  # fmt: skip
"""Packages and modules that only commands, web endpoints and migrations need (the history is in SQLite)."""


def loaded(names: Iterable[str], modules: Collection[str]) -> list[str]:
    """Those of ``names`` that are among ``modules``, the names of imported modules."""
    return [name for name in names if name in modules]
