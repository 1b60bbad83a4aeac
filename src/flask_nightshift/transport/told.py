"""What the transport says of jobs in the log: a line for each, with the job it is about.

The worker tells of what it settles (``logs/wording.py``). These are the ends and returns that no worker sees.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from ..lines import LOGGER, Line, job_fields
from ..message import ref

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


def returned(fields: Mapping[str, Any], *, why: str, worker: str) -> None:
    """A leased message went back to its queue."""
    jobs.warning(Line("job.returned", f"back to its queue: {why}", **fields, worker=worker, why=why))


__all__ = ["buried", "came_too_late", "jobs", "of", "returned"]
