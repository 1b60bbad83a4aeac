"""The brokers. ``connect`` chooses one by the scheme of ``NIGHTSHIFT_BROKER_URL``."""

from __future__ import annotations

import importlib

from flask import Flask

from ..config.broker_url import BROKERS
from ..config.settings import Settings
from .base import Broker, require_shared
from .connections import Connection
from .failures import unavailable


def connect(settings: Settings, app: Flask) -> Broker:
    """The broker of ``app``; it opens no connection yet."""
    module = importlib.import_module(f".{BROKERS[settings.broker_url.partition('://')[0]]}", __package__)
    broker: Broker = module.make(settings, app)
    return broker


__all__ = ["Broker", "Connection", "connect", "require_shared", "unavailable"]
