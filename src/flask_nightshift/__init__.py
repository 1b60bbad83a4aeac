"""Background jobs for Flask, on Celery, that do not get lost."""

from .domain.job import JobState, Reason
from .domain.record import JobRecord
from .errors import (
    BrokerUnavailable,
    ConfigurationError,
    DatabaseUnavailable,
    DeadLetterNotFound,
    EmbeddedBrokerDown,
    NightshiftError,
    PermanentFailure,
)
from .extension import Nightshift

__all__ = [
    "BrokerUnavailable",
    "ConfigurationError",
    "DatabaseUnavailable",
    "DeadLetterNotFound",
    "EmbeddedBrokerDown",
    "JobRecord",
    "JobState",
    "Nightshift",
    "NightshiftError",
    "PermanentFailure",
    "Reason",
]
