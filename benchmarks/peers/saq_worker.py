"""What SAQ's workers import."""

from __future__ import annotations

import asyncio
from typing import Any

from saq import Queue

from .. import jobs
from .base import AT_ONCE


async def noop(context: dict[str, Any], *, argument: int) -> None:  # noqa: ARG001 - SAQ passes the context
    """As the others' job."""
    jobs.noop(argument)


async def pause(context: dict[str, Any], *, argument: int) -> None:  # noqa: ARG001
    """Wait for 5 ms without blocking other jobs, then count."""
    jobs.pass_gate()
    await asyncio.sleep(jobs.PAUSE_SECONDS)
    jobs.count()


async def stamp(context: dict[str, Any], *, argument: int) -> None:  # noqa: ARG001
    """As the others' job."""
    jobs.stamp(argument)


settings: dict[str, Any] = {
    "queue": Queue.from_url(jobs.broker_url()),
    "functions": [noop, pause, stamp],
    "concurrency": AT_ONCE,
}
