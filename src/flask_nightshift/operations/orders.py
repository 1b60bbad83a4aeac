"""Tell the workers that something was ordered."""

from __future__ import annotations

import contextlib
import threading

from ..domain.orders import COMMAND
from ..services import Services

ANNOUNCE_SECONDS = 1.0
"""Seconds after which the announcement is left to itself."""


def announce(services: Services) -> None:
    """Have the workers ask at once what is ordered; without that they ask within a second. Never raises."""

    def tell() -> None:
        with contextlib.suppress(Exception):
            services.celery.control.broadcast(COMMAND)

    thread = threading.Thread(
        target=tell, name="nightshift-announce", daemon=True
    )  # it may wait for the broker
    thread.start()
    thread.join(ANNOUNCE_SECONDS)


__all__ = ["announce"]
