"""The public path of the lease transport for Celery's settings: ``flask_nightshift.transport:Transport``."""

from .brokers.redis.transport import SentinelTransport, Transport

__all__ = ["SentinelTransport", "Transport"]
