"""The public path of the lease transport for Celery's settings: ``flask_nightshift.transport:Transport``."""

from .brokers.redis.transport import ClusterTransport, SentinelTransport, Transport

__all__ = ["ClusterTransport", "SentinelTransport", "Transport"]
