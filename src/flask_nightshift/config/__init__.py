"""Configuration: ``NIGHTSHIFT_*`` and Celery's settings, each taken, merged, or refused by name."""

from .settings import Settings

__all__ = ["Settings"]
