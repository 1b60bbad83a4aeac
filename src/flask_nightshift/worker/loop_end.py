"""The end of the worker's event loop (kombu's)."""

from __future__ import annotations

import logging
from typing import Any

from ..text.lines import Line

logger = logging.getLogger(__name__)


def finish(hub: Any) -> None:
    """Before ``hub`` closes: make the calls that it was to make soon.

    kombu makes them, too, and the first error ends it with a traceback, although the worker stops as it should. One of
    them may be the reader of a connection that the worker has just closed.
    """
    for call in hub._pop_ready():  # noqa: SLF001 - kombu has no public name for it
        try:
            call()
        except Exception as exc:  # noqa: BLE001 - the loop ends
            logger.debug(Line("worker.last_call_failed", repr(exc), why=repr(exc)))


__all__ = ["finish"]
