"""Which jobs were revoked, as Celery's remote control notes them in this process."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from celery.utils.functional import maybe_list
from celery.worker.state import revoked, revoked_stamps


def revocations() -> tuple[int, int]:
    """How many jobs and how many stamps were revoked."""
    return len(revoked), sum(len(maybe_list(values)) for values in revoked_stamps.values())


def is_revoked(job_id: str | None, stamps: Mapping[str, Any]) -> bool:
    """Whether the job of that id and with these stamps was revoked."""
    return job_id in revoked or any(
        value in maybe_list(revoked_stamps.get(stamp) or ())
        for stamp, values in stamps.items()
        for value in maybe_list(values) or ()
    )


__all__ = ["is_revoked", "revocations"]
