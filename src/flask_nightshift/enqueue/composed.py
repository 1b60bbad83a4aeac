"""A job whose message is finished, and where it goes from there: into the broker, or to whoever collects it.

A caller that enqueues with a transaction collects. Whatever it calls meanwhile (``apply_async``, a chain, a group) ends
in ``JobPublisher``, which gives the finished jobs away instead of publishing them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from datetime import datetime
from typing import Any, NamedTuple

from ..domain.relations import Relations
from ..message.envelope import Envelope
from ..message.unique import Holders


class Composed(NamedTuple):
    """A job whose options are checked and whose message is encoded.

    ``at`` is when it was enqueued, ``due`` when it may start (None: at once). ``entities`` are declared before the
    publish, and ``after`` is called when the broker has confirmed it; both serve receivers of Celery's publish signals.
    ``relations`` connect it with other jobs.
    """

    envelope: Envelope
    queue: str
    at: datetime
    due: datetime | None = None
    entities: Sequence[Any] = ()
    after: Callable[[], object] | None = None
    relations: Relations | None = None

    @property
    def job_id(self) -> str:
        """The id of the job."""
        return str(self.envelope.headers["id"])


Taker = Callable[[Sequence[Composed]], Holders | None]
"""Takes finished jobs instead of the broker; returns the holders of the locks of those that are not enqueued."""

_collecting: ContextVar[Taker | None] = ContextVar("nightshift_collecting", default=None)


@contextlib.contextmanager
def collected() -> Iterator[list[Composed]]:
    """Within this block, in this thread or greenlet, jobs are collected in the list that it returns."""
    jobs: list[Composed] = []
    token = _collecting.set(jobs.extend)
    try:
        yield jobs
    finally:
        _collecting.reset(token)


def taker() -> Taker | None:
    """Who collects jobs now; None if they are to be published."""
    return _collecting.get()


__all__ = ["Composed", "Taker", "collected", "taker"]
