"""Pause and resume queues, for all workers of the cluster.

Jobs that run finish. On RabbitMQ a worker also finishes the few jobs that it holds already.
"""

from __future__ import annotations

import getpass
import logging
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..config.queue_names import queue_name
from ..domain.job import utcnow
from ..domain.orders import Pause
from ..errors import ConfigurationError, DatabaseUnavailable
from ..journal import waiting_queues
from ..observe.unheard import near
from ..services import Services
from ..store import heartbeats
from ..text.lines import Line
from .orders import announce
from .partly import telling

LONGEST_REASON = 500
"""Characters of a reason."""

logger = logging.getLogger("flask_nightshift.operations")


@dataclass(frozen=True, slots=True)
class Change:
    """The pause of ``queue`` after an order and before it. ``doubt``: why the name may be wrong, or an empty text."""

    queue: str
    now: Pause | None
    before: Pause | None
    doubt: str = ""

    def as_dict(self) -> dict[str, Any]:
        """The change in plain JSON types."""
        now, before = (pause.as_dict() if pause else None for pause in (self.now, self.before))
        return {"queue": self.queue, "paused": now, "before": before, "doubt": self.doubt or None}


def pause(
    services: Services, queues: Sequence[str], *, reason: str | None = None, by: str | None = None
) -> list[Change]:
    """Have no worker begin a job of ``queues`` until ``resume``; ``by`` defaults to the user of this process.

    A queue that is paused already gets the new reason. An unknown queue is paused too, because it may come later.
    Raises ``ConfigurationError``, ``BrokerUnavailable`` or ``DatabaseUnavailable``.
    """
    reason = (reason or "").strip() or None
    if reason is not None and len(reason) > LONGEST_REASON:
        raise ConfigurationError("reason", f"{reason[:40]}…", f"use at most {LONGEST_REASON} characters")
    names = [queue_name("queue", name) for name in dict.fromkeys(queues)]
    known, who = _known(services), by or operator()
    changes: dict[str, Change] = {}
    with telling(changes, "queue", "paused"):
        for name in names:
            ordered = Pause(name, utcnow(), who, reason)
            before = services.orders.pause(ordered)
            changes[name] = Change(name, ordered, before, _doubt(name, known))
            logger.info(Line("queue.pause_ordered", queue=name, by=who, reason=reason))
    announce(services)
    return list(changes.values())


def resume(services: Services, queues: Sequence[str] = (), *, by: str | None = None) -> list[Change]:
    """End the pauses of ``queues``, or of all paused ones if there are none; raises as ``pause``."""
    names = [queue_name("queue", name) for name in dict.fromkeys(queues)] or list(services.orders.pauses())
    known, who = _known(services), by or operator()
    changes: dict[str, Change] = {}
    with telling(changes, "queue", "resumed"):
        for name in names:
            before = services.orders.resume(name)
            changes[name] = Change(name, None, before, "" if before else _doubt(name, known))
            if before:
                logger.info(Line("queue.resume_ordered", queue=name, by=who))
    announce(services)
    return list(changes.values())


def operator() -> str:
    """The user and the host of this process."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # a container may run as a user without a name
        user = "someone"
    return f"{user}@{socket.gethostname()}"


def _known(services: Services) -> set[str]:
    """The queues that the configuration, a task, a worker or a waiting job names."""
    known = set(services.queues())
    try:
        known |= {name for worker in heartbeats.workers(services.store, utcnow()) for name in worker.queues}
        known |= set(waiting_queues(services.store))
    except DatabaseUnavailable as exc:
        logger.debug(Line("queue.names_unknown", "only the configured queues are known", why=str(exc)))
    return known


def _doubt(name: str, known: set[str]) -> str:
    if name in known:
        return ""
    hint = near(name, known) or f" The queues are {', '.join(sorted(known)[:20])}."
    return f"no task, setting, worker or waiting job names the queue {name!r}.{hint}"


__all__ = ["Change", "operator", "pause", "resume"]
