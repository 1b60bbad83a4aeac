"""``celery.conf``: where Celery reads its settings, and where a user may still change them after ``init_app``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from celery.app.utils import Settings

Change = Callable[[Mapping[str, Any]], Mapping[str, Any]]
"""Told what a user sets; gives what is to be set, or raises ``ConfigurationError``."""


class JobSettings(Settings):
    """Celery's settings, with broker and result backend from nowhere else than our own configuration.

    Celery takes those from ``CELERY_BROKER_URL`` and the like first: a web process with that variable and a
    worker without it would work on two brokers.
    """

    @property
    def broker_url(self) -> Any:
        """That of ``NIGHTSHIFT_BROKER_URL``."""
        return self.get("broker_url")

    broker_read_url = broker_write_url = broker_url

    @property
    def result_backend(self) -> Any:
        """That of ``NIGHTSHIFT_RESULT_BACKEND``, or the one that fits the broker."""
        return self.get("result_backend")

    def guard(self, change: Change) -> None:
        """From now on, have ``change`` look at what is set."""
        self.__dict__["_change"] = change

    def put(self, settings: Mapping[str, Any]) -> None:
        """Set ``settings`` unlooked at."""
        super().update(dict(settings))

    def __setitem__(self, key: str, value: Any) -> None:
        self.update({key: value})

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Set several, as ``dict.update`` does."""
        given = dict(*args, **kwargs)
        change: Change | None = self.__dict__.get("_change")
        self.put(change(given) if change is not None else given)


__all__ = ["Change", "JobSettings"]
