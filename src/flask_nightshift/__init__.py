"""Background jobs for Flask, on Celery, that do not get lost."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .domain.actor import Actor
from .domain.job import JobState, Reason
from .domain.notice import DeadLetterNotice
from .domain.record import JobRecord
from .errors import (
    AlreadyInProgress,
    BrokerUnavailable,
    Cancelled,
    ConfigurationError,
    DatabaseUnavailable,
    DeadLetterNotFound,
    DuplicateJob,
    EmbeddedBrokerDown,
    NightshiftError,
    PermanentFailure,
)
from .extension import Nightshift

__all__ = [
    "Actor",
    "AlreadyInProgress",
    "BrokerUnavailable",
    "Cancelled",
    "ConfigurationError",
    "DatabaseUnavailable",
    "DeadLetterNotFound",
    "DeadLetterNotice",
    "DuplicateJob",
    "EmbeddedBrokerDown",
    "JobRecord",
    "JobState",
    "Nightshift",
    "NightshiftError",
    "PermanentFailure",
    "Reason",
]

if not TYPE_CHECKING:  # type checkers would take every name for an attribute

    def __getattr__(name: str) -> Any:
        """Import ``flask_nightshift.logs`` or ``otel`` at its first use, because it needs Celery."""
        if name in ("logs", "otel"):
            return import_module(f".{name}", __name__)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
