"""``celery.conf``: Celery reads its settings there, and users may change them there after ``init_app``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from celery.app.utils import Settings

Change = Callable[[Mapping[str, Any]], Mapping[str, Any]]
"""Takes the settings that a user sets; returns the settings to store, or raises ``ConfigurationError``."""


class JobSettings(Settings):
    """Celery's settings; the broker and the result backend come only from our own configuration.

    Celery would prefer environment variables such as ``CELERY_BROKER_URL``: a web process with that variable and a
    worker without it would use two brokers.
    """

    @property
    def broker_url(self) -> Any:
        """The URL from ``NIGHTSHIFT_BROKER_URL``."""
        return self.get("broker_url")

    broker_read_url = broker_write_url = broker_url

    @property
    def result_backend(self) -> Any:
        """The URL from ``NIGHTSHIFT_RESULT_BACKEND``, or the default for the broker."""
        return self.get("result_backend")

    def guard(self, change: Change) -> None:
        """From now on, pass all new settings through ``change``."""
        self.__dict__["_change"] = change

    def put(self, settings: Mapping[str, Any]) -> None:
        """Store ``settings`` without a check."""
        super().update(dict(settings))

    def __setitem__(self, key: str, value: Any) -> None:
        self.update({key: value})

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Set several settings, as ``dict.update`` does; raises ``ConfigurationError``."""
        given = dict(*args, **kwargs)
        change: Change | None = self.__dict__.get("_change")
        self.put(change(given) if change is not None else given)


__all__ = ["Change", "JobSettings"]
