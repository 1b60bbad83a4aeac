"""A plugin of Alembic 1.20.1 and later that hides Flask-Nightshift's tables from autogenerate.

Autogenerate (``flask db migrate``, ``alembic revision --autogenerate``) drops every table that the app's models do not
define. By default our tables, and the dead letters in them, are in the app's database. Alembic loads this module by its
entry point in every process that imports Alembic, so users need not call or configure anything. It is a separate
package, because ``flask_nightshift`` itself imports Flask.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from alembic.autogenerate.api import AutogenContext
    from alembic.operations.ops import UpgradeOps
    from alembic.runtime.plugins import Plugin
    from alembic.util import PriorityDispatchResult

NAME = "alembic.autogenerate.nightshift"
"""The plugin's name. Alembic uses all plugins below ``alembic.autogenerate`` unless an ``env.py`` says otherwise."""
PREFIX = "nightshift_"
CELERYS = frozenset({"celery_taskmeta", "celery_tasksetmeta"})
"""The tables of Celery's result backend; with RabbitMQ as broker, it uses our database."""


def setup(plugin: Plugin) -> None:
    """Set up the plugin; Alembic calls this function."""
    from alembic.util import DispatchPriority

    plugin.add_autogenerate_comparator(look_away, "schema", priority=DispatchPriority.FIRST)


def look_away(
    context: AutogenContext,
    upgrade_ops: UpgradeOps,  # noqa: ARG001 - Alembic's signature
    schemas: set[str | None],  # noqa: ARG001
) -> PriorityDispatchResult:
    """Hide our tables from ``context``, except a table of the same name that the app's own models define."""
    from alembic.util import PriorityDispatchResult

    theirs = {table.name for table in context.sorted_tables}
    asked_before = context.run_name_filters

    def run_name_filters(name: str | None, type_: Any, parent_names: Any) -> bool:
        if type_ == "table" and is_ours(name) and name not in theirs:
            return False
        return asked_before(name, type_, parent_names)

    context.run_name_filters = run_name_filters  # type: ignore[method-assign]
    # SQLAlchemy reads the indexes of all tables of a SQLite file, and warns of those on an expression
    warnings.filterwarnings("ignore", f"Skipped unsupported reflection of expression-based index {PREFIX}")
    return PriorityDispatchResult.CONTINUE


def is_ours(table: str | None) -> bool:
    """Whether a table of that name is Flask-Nightshift's."""
    return bool(table) and (str(table).startswith(PREFIX) or table in CELERYS)


__all__ = ["NAME", "is_ours", "look_away", "setup"]
