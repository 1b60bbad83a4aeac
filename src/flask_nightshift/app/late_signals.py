"""Celery's signals that are sent once, for receivers that connect afterwards.

``init_app`` configures the Celery app, so ``on_after_configure`` has been sent before any code of the user's can
connect to it. Such receivers are told when the app is finalized, or when Beat starts: by then the tasks exist.
"""

from __future__ import annotations

from typing import Any

from celery.utils.dispatch import Signal
from celery.utils.log import get_logger

from ..errors import ConfigurationError

logger = get_logger("flask_nightshift.late_signals")


class LateSignal(Signal):
    """A signal that remembers being sent; ``tell_late`` sends it to those who connected since.

    Receivers are held, not referred to weakly: a function made in an application factory would be gone.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name=name)
        self._named: dict[str, Any] | None = None
        self._told: list[Any] = []

    def connect(self, *args: Any, **options: Any) -> Any:
        """As in Celery, but ``weak`` is False unless it is given."""
        if len(args) < 3:
            options.setdefault("weak", False)
        return super().connect(*args, **options)

    def send(self, sender: Any, **named: Any) -> list[tuple[Any, Any]]:
        """Tell all receivers; their errors are logged, as in Celery, but for a ``ConfigurationError``."""
        self._named = named
        self._told.clear()
        return self.tell_late(sender)

    def tell_late(self, sender: Any) -> list[tuple[Any, Any]]:
        """Tell the receivers that have not been told, if the signal was sent."""
        if self._named is None:
            return []
        return [(receiver, self._tell(receiver, sender)) for receiver in self._untold(sender)]

    def _untold(self, sender: Any) -> list[Any]:
        return [found for found in self._live_receivers(sender) if found not in self._told]

    def _tell(self, receiver: Any, sender: Any) -> Any:
        self._told.append(receiver)  # before it is called: it may come back here
        try:
            return receiver(signal=self, sender=sender, **(self._named or {}))
        except ConfigurationError:
            raise
        except Exception as exc:
            logger.exception("Signal handler %r raised: %r", receiver, exc)
            return exc


__all__ = ["LateSignal"]
