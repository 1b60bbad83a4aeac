"""Create or update the tables."""

from __future__ import annotations

from ..services import Services


def migrate(services: Services) -> dict[str, list[str]]:
    """Apply the pending migrations to each of our databases; returns their revisions, oldest first, by its URL.

    That is the history's database, and the app's own if it is another one, for the outbox. The URLs are without
    passwords. Raises ``DatabaseUnavailable``.
    """
    return {store.url: store.migrate() for store in services.outboxes}


__all__ = ["migrate"]
