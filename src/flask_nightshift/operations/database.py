"""Create or update the tables."""

from __future__ import annotations

from ..services import Services


def migrate(services: Services) -> list[str]:
    """Apply the pending migrations; returns their revisions, oldest first. Raises ``DatabaseUnavailable``."""
    return services.store.migrate()


__all__ = ["migrate"]
