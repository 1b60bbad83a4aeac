"""What the transport says of jobs in the log: a line for each, with the job it is about.

The worker tells of what it settles (``logs/wording.py``). These are the ends and returns that no worker sees.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from ....message.headers import ref
from ....text.lines import LOGGER, Line, job_fields

logger = logging.getLogger("flask_nightshift.transport")
jobs = logging.getLogger(LOGGER)


def of(headers: Any, queue: str) -> dict[str, Any]:
    """The fields of the job whose message has these headers; what is no job has a queue alone."""
    if not isinstance(headers, Mapping) or not headers.get("id"):
        return {"queue": queue}
    return job_fields(ref(headers, queue))


def buried(headers: Any, queue: str, *, reason: str, why: str, worker: str | None) -> None:
    """A message went to the dead-letter queue without having been settled."""
    text = f"buried as a dead letter ({reason}): {why}"
    jobs.error(Line("job.dead", text, **of(headers, queue), reason=reason, error_message=why, worker=worker))


def came_too_late(what: str, headers: Any, queue: str, *, worker: str) -> None:
    """Another consumer has the message now, so what this one says of it changes nothing."""
    text = f"{what} came too late: another worker has the job now, and runs it (again)"
    jobs.warning(Line("job.lease_lost", text, **of(headers, queue), worker=worker))


def lost(worker: str) -> None:
    """The consumer ``worker`` seemed to be gone, and another took over what it had."""
    text = "another worker has taken over the messages of this one, which seemed to be gone"
    jobs.warning(Line("job.lease_lost", text, worker=worker))


def taken_over(worker: str, returned: int, begun: Sequence[str]) -> None:
    """A consumer is gone; ``begun`` are queue, job id and task of each job that it had begun, one after the other."""
    why = "its worker is gone"
    for queue, job_id, task in zip(begun[::3], begun[1::3], begun[2::3], strict=True):
        fields = {"job_id": job_id or None, "task": task or None, "queue": queue}
        jobs.warning(Line("job.returned", f"back to its queue: {why}", **fields, worker=worker, why=why))
    text = f"{returned} messages of {worker} are back in their queues"
    logger.warning(Line("worker.gone", text, worker=worker, messages=returned, begun=len(begun) // 3))


def cut_off(worker: str, returned: int) -> None:
    """The connection broke: what had not begun went back, uncounted."""
    text = f"{returned} messages that had not begun are back in their queues: the connection was lost"
    logger.info(Line("worker.cut_off", text, worker=worker, messages=returned))


__all__ = ["buried", "came_too_late", "cut_off", "lost", "of", "taken_over"]
