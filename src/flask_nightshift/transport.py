"""The name by which Celery's settings know the lease transport: ``flask_nightshift.transport:Transport``."""

from .brokers.redis.transport import SentinelTransport, Transport

__all__ = ["SentinelTransport", "Transport"]
