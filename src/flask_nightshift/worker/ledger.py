"""Asks the ledger, before each attempt of a durable job, whether this run of the job may start.

While the database is away, the job runs unchecked (invariant 7).
"""

from __future__ import annotations

import logging
from typing import Any

from ..domain.job import JobRef, utcnow
from ..errors import DatabaseUnavailable
from ..services import Services
from ..store import ledger

WHY = "the ledger of durable jobs names"

logger = logging.getLogger("flask_nightshift.worker.ledger")


def refusal(services: Services, job: JobRef, worker: Any) -> tuple[str, str] | None:
    """By what the attempt of the durable ``job`` is superseded, and why; None if it may begin."""
    try:
        by = ledger.begin(services.outboxes, job, str(worker or ""), utcnow())
    except DatabaseUnavailable as exc:
        logger.warning("ledger.unchecked", extra={"job_id": job.job_id, "task": job.task, "why": str(exc)})
        return None
    except Exception:
        logger.exception("ledger.check_failed", extra={"job_id": job.job_id, "task": job.task})
        return None
    return (by, WHY) if by else None


__all__ = ["refusal"]
