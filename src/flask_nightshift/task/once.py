"""``jobs.once()`` and ``idempotency_key``: who asks, and what a job does while another one works on the same key."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from ..domain.context import current_job
from ..domain.job import utcnow
from ..errors import ConfigurationError, DatabaseUnavailable, PermanentFailure
from ..options.kinds import is_seconds
from .attempt_outcome import AttemptOutcome, Skipped, wait_for_other

if TYPE_CHECKING:
    from ..once.block import Terms
    from ..once.deciding import Marker
    from ..services import Services

TTL = 3600.0
"""Seconds for which the marker of a task's job keeps others away, if its time limit is not longer."""
MARGIN = 60.0
"""Seconds from a job's time limit to the end of its marker."""
NO_LIMIT = 86_400.0
"""Seconds for which the marker of a task without a time limit keeps others away."""
BEFORE = "its key was done before by"

logger = logging.getLogger("flask_nightshift.once")


def once(services: Services, key: str, session: Any, ttl: float) -> AbstractContextManager[bool]:
    """The block of ``jobs.once()`` for the running job, or for the process."""
    from ..once.block import ByItself, InTransaction
    from ..once.sessions import connection_of

    agreed = terms(services, checked_key(key), ttl)
    if session is None:
        return ByItself(agreed)
    connection = connection_of(session)
    if services.make_tables is not None:
        services.make_tables(connection)
    return InTransaction(agreed, connection)


def terms(services: Services, key: str, ttl: float, *, whole: bool = False) -> Terms:
    """What the block of ``key`` is about, for the running job or the process; ``whole``: it is a job's body."""
    from ..once.block import Terms
    from ..once.deciding import Owner

    if not is_seconds(ttl) or not ttl:
        raise ConfigurationError("ttl of jobs.once()", ttl, "give seconds, above 0")
    job = current_job.get()
    return Terms(
        key=key,
        owner=Owner(job.job_id, job.run) if job is not None else Owner(),
        ttl=timedelta(seconds=ttl),
        keep=timedelta(days=services.settings.keep_once_days),
        history=services.store,
        clock=utcnow,
        refusal=wait_for_other,
        whole=whole,
    )


def checked_key(key: object) -> str:
    """``key``; raises ``ConfigurationError`` if it is no text, or empty."""
    if not isinstance(key, str) or not key:
        raise ConfigurationError(
            "key of jobs.once()", key, "give text that says what is done, such as 'charge:42'"
        )
    return key


def run_once(task: Any, outcome: AttemptOutcome, args: Any, kwargs: Any, body: Callable[[], Any]) -> Any:
    """What ``body`` returns; None without a run of it if another job of ``task`` with the same key has succeeded.

    The marker belongs to the job: its retry runs, and a failed attempt releases it. If the database is away, the job
    waits as it waits for another one, because nobody can tell whether it is the first.
    """
    from ..once.block import ByItself

    key = f"{task.name}:{key_of(task, args, kwargs)}"
    limit = task.time_limit or NO_LIMIT
    block = ByItself(terms(task.nightshift, key, max(TTL, limit + MARGIN), whole=True))
    try:
        first = block.__enter__()
    except DatabaseUnavailable as exc:
        raise wait_for_other(exc) from exc
    if not first:
        outcome.skipped = _skipped(block.done)
        return None
    try:
        result = body()
        if outcome.asked is not None:
            raise outcome.asked  # for another attempt
    except BaseException as exc:
        block.__exit__(type(exc), exc, exc.__traceback__)
        raise
    try:
        block.__exit__(None, None, None)
    except DatabaseUnavailable as exc:  # the body has returned, and must not run again for that
        logger.error("once.not_finished", extra={"key": key, "error": str(exc)})
        if block.left is not None:
            task.nightshift.journal.later(block.left)
    return result


def key_of(task: Any, args: Any, kwargs: Any) -> str:
    """The text that ``idempotency_key`` makes of a job's arguments.

    Raises ``PermanentFailure`` if it is no text, and ``RuntimeError`` if the function raises.
    """
    option = f"idempotency_key of the task {task.name!r}"
    try:
        key = task.idempotency_key(*args, **kwargs)
    except Exception as exc:
        raise RuntimeError(f"{option} raised {type(exc).__name__}: {exc}") from exc
    if not isinstance(key, str) or not key:
        raise PermanentFailure(f"{option} returned {key!r}: let it return text, such as str(user_id)")
    return key


def _skipped(marker: Marker | None) -> Skipped | None:
    """Why the body does not run; None if this very run of the job is done already: it was delivered twice."""
    job = current_job.get()
    if marker is None or (job is not None and (marker.job_id, marker.run) == (job.job_id, job.run)):
        return None
    return Skipped(marker.job_id or "a process outside of any job", BEFORE)


__all__ = ["TTL", "checked_key", "key_of", "once", "run_once", "terms"]
