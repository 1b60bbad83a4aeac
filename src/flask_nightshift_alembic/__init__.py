"""What keeps Alembic's autogenerate away from the tables of Flask-Nightshift: a plugin of Alembic 1.18 and later.

Autogenerate (``flask db migrate``, ``alembic revision --autogenerate``) drops every table that the app's models do not
know. Ours lie in the app's database by default, with the dead letters in them. Alembic loads this module by its entry
point in every process that imports Alembic, so nobody has to call or configure anything. It is a package of its own,
because ``flask_nightshift`` itself imports Alembic, and Celery, and much more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from alembic.autogenerate.api import AutogenContext
    from alembic.operations.ops import UpgradeOps
    from alembic.runtime.plugins import Plugin
    from alembic.util import PriorityDispatchResult

NAME = "alembic.autogenerate.nightshift"
"""Among Alembic's own comparators, all of which are used unless an ``env.py`` says otherwise."""
PREFIX = "nightshift_"
CELERYS = frozenset({"celery_taskmeta", "celery_tasksetmeta"})
"""The tables of Celery's result backend, which is our database when the broker is RabbitMQ."""


def setup(plugin: Plugin) -> None:
    """Called by Alembic."""
    from alembic.util import DispatchPriority

    plugin.add_autogenerate_comparator(look_away, "schema", priority=DispatchPriority.FIRST)


def look_away(
    context: AutogenContext,
    upgrade_ops: UpgradeOps,  # noqa: ARG001 - Alembic's signature
    schemas: set[str | None],  # noqa: ARG001
) -> PriorityDispatchResult:
    """Have ``context`` see none of our tables; one of such a name that is in the app's own models stays visible."""
    from alembic.util import PriorityDispatchResult

    theirs = {table.name for table in context.sorted_tables}
    asked_before = context.run_name_filters

    def run_name_filters(name: str | None, type_: Any, parent_names: Any) -> bool:
        if type_ == "table" and is_ours(name) and name not in theirs:
            return False
        return asked_before(name, type_, parent_names)

    context.run_name_filters = run_name_filters  # type: ignore[method-assign]
    return PriorityDispatchResult.CONTINUE


def is_ours(table: str | None) -> bool:
    """Whether a table of that name is Flask-Nightshift's."""
    return bool(table) and (str(table).startswith(PREFIX) or table in CELERYS)


__all__ = ["NAME", "is_ours", "look_away", "setup"]
