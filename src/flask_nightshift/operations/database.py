"""Create or update the tables."""

from __future__ import annotations

from ..services import Services


def migrate(services: Services) -> list[str]:
    """Apply the pending migrations to each of our databases; returns the revisions, oldest first of each.

    That is the history's database, and the app's own if it is another one, for the outbox. Raises
    ``DatabaseUnavailable``.
    """
    return [revision for store in services.outboxes for revision in store.migrate()]


__all__ = ["migrate"]
