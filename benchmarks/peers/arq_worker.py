"""What arq's workers import."""

from __future__ import annotations

import asyncio
from typing import Any

from arq.connections import RedisSettings

from .. import jobs
from .base import AT_ONCE


async def noop(context: dict[str, Any], number: int) -> None:  # noqa: ARG001 - arq passes the context
    """As the others' job."""
    jobs.noop(number)


async def pause(context: dict[str, Any], number: int) -> None:  # noqa: ARG001
    """Wait for 5 ms without blocking other jobs, then count."""
    jobs.pass_gate()
    await asyncio.sleep(jobs.PAUSE_SECONDS)
    jobs.count()


async def stamp(context: dict[str, Any], sent_ns: int) -> None:  # noqa: ARG001
    """As the others' job."""
    jobs.stamp(sent_ns)


class WorkerSettings:
    """arq's settings."""

    functions = (noop, pause, stamp)
    redis_settings = RedisSettings.from_dsn(jobs.broker_url())
    max_jobs = AT_ONCE
    keep_result = 0
    log_results = False
    poll_delay = 0.02
