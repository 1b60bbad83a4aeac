"""The lease transport: a kombu transport for Redis and Valkey that loses no message.

It runs no message twice while its worker lives. ``Transport`` serves ``redis://``, ``rediss://`` and
``redis+socket://``, ``SentinelTransport`` serves ``sentinel://``, and ``ClusterTransport`` a Redis Cluster. To make
Celery use it::

    app.conf.broker_transport = "flask_nightshift.transport:Transport"

Read in this order: ``keys`` (what is on the server), ``lua/`` (every atomic step), ``publishing``, ``lease`` and
``renewal`` (what a consumer holds, and how it keeps it), ``consuming`` (with ``claiming``, ``polling``, ``intake``,
``deliveries``: from a claim to a settled message), ``channel`` (what kombu calls), ``queues`` (what operators see).
"""

from .connecting import ClusterTransport, SentinelTransport, Transport

__all__ = ["ClusterTransport", "SentinelTransport", "Transport"]
