"""The lease transport: Redis and Valkey without a lost job and without a visibility timeout.

A kombu transport. Ready lists are kombu's own, so plain Celery producers and tools go on working. A message
that a worker took is leased to it, for as long as the worker lives and not longer (invariants 1, 3, 5, 6).
"""

from .connecting import SentinelTransport, Transport

__all__ = ["SentinelTransport", "Transport"]
