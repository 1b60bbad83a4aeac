"""The brokers. ``connect`` chooses one by the scheme of ``NIGHTSHIFT_BROKER_URL``."""

from __future__ import annotations

from flask import Flask

from ..config.settings import Settings
from .base import Broker, require_shared
from .connections import Connection
from .failures import unavailable


def connect(settings: Settings, app: Flask) -> Broker:
    """The broker of ``app``; it opens no connection yet."""
    scheme = settings.broker_url.partition("://")[0]
    if scheme == "embedded":
        from .redis.embedded import EmbeddedBroker

        return EmbeddedBroker(settings, app.instance_path)
    if scheme in ("amqp", "amqps", "pyamqp"):
        from .rabbitmq.broker import RabbitMQBroker

        return RabbitMQBroker(settings)
    if scheme == "memory":
        from .memory.broker import MemoryBroker

        return MemoryBroker(settings)
    from .redis.broker import RedisBroker

    return RedisBroker(settings)


__all__ = ["Broker", "Connection", "connect", "require_shared", "unavailable"]
