"""Celery signals that are sent once, delivered also to receivers that connect later.

``init_app`` configures the Celery app, so Celery sends ``on_after_configure`` before the user's code can connect a
receiver. We call such receivers when the app is finalized or when Beat starts: by then the tasks exist.
"""

from __future__ import annotations

from typing import Any

from celery.utils.dispatch import Signal
from celery.utils.log import get_logger

from ..errors import ConfigurationError

logger = get_logger("flask_nightshift.late_signals")


class LateSignal(Signal):
    """A signal that remembers that it was sent; ``send_late`` sends it to receivers that connected since.

    It holds strong references to receivers, because a function defined in an application factory has no other.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name=name)
        self._named: dict[str, Any] | None = None
        self._told: list[Any] = []

    def connect(self, *args: Any, **options: Any) -> Any:
        """As in Celery, but ``weak`` defaults to False."""
        if len(args) < 3:
            options.setdefault("weak", False)
        return super().connect(*args, **options)

    def send(self, sender: Any, **named: Any) -> list[tuple[Any, Any]]:
        """Call all receivers; returns ``(receiver, result)`` pairs.

        As in Celery, an error of a receiver is logged; but a ``ConfigurationError`` is raised.
        """
        self._named = named
        self._told.clear()
        return self.send_late(sender)

    def send_late(self, sender: Any) -> list[tuple[Any, Any]]:
        """Call the receivers that were not called yet, if the signal was sent; returns as ``send`` does."""
        if self._named is None:
            return []
        return [(receiver, self._tell(receiver, sender)) for receiver in self._untold(sender)]

    def _untold(self, sender: Any) -> list[Any]:
        return [found for found in self._live_receivers(sender) if found not in self._told]

    def _tell(self, receiver: Any, sender: Any) -> Any:
        self._told.append(receiver)  # before the call, which may finalize the app and come back here
        try:
            return receiver(signal=self, sender=sender, **(self._named or {}))
        except ConfigurationError:
            raise
        except Exception as exc:
            logger.exception("Signal handler %r raised: %r", receiver, exc)
            return exc


__all__ = ["LateSignal"]
