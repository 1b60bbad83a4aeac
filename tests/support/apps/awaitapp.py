"""An app with async views that wait for the results of their jobs, for ``test_aget.py``."""

from __future__ import annotations

import asyncio
import os
import time
from typing import Any

from celery.exceptions import TimeoutError as NotThereYet
from celery.result import allow_join_result
from flask import Flask

from flask_nightshift import Nightshift

jobs = Nightshift()
KEEPS: dict[str, Any] = {"ignore_result": False, "max_retries": 0}


@jobs.task(name="await.add", **KEEPS)
def add(a: int, b: int) -> int:
    return a + b


@jobs.task(name="await.total", **KEEPS)
def total(numbers: list[int]) -> int:
    return sum(numbers)


@jobs.task(name="await.sleep", **KEEPS)
def sleep(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


@jobs.task(name="await.until", **KEEPS)
def until(path: str, value: int) -> int:
    """Wait until somebody has made the file."""
    while not os.path.exists(path):
        time.sleep(0.05)
    return value


@jobs.task(name="await.fails", **KEEPS)
def fails(said: str) -> None:
    raise ValueError(said)


@jobs.task(name="await.waits", **KEEPS)
async def waits(allowed: bool) -> int | str:
    """Wait for another job inside a job."""
    job = await add.adelay(1, 1)
    try:
        if not allowed:
            return await job.aget(20)
        with allow_join_result():
            return await job.aget(20)
    except RuntimeError as exc:
        return str(exc)


async def longest_turn(ended: asyncio.Event) -> float:
    """The seconds of the loop's longest turn until ``ended``."""
    longest = 0.0
    while not ended.is_set():
        began = time.monotonic()
        await asyncio.sleep(0.005)
        longest = max(longest, time.monotonic() - began)
    return longest


def create_app(instance: str | None = None, **config: object) -> Flask:
    app = Flask("awaitapp", instance_path=instance or os.environ["INSTANCE"])
    app.config.update(config)
    jobs.init_app(app)

    @app.get("/sleep/<seconds>/<timeout>")
    async def sleeping(seconds: str, timeout: str) -> Any:
        ended = asyncio.Event()
        turns = asyncio.create_task(longest_turn(ended))
        job = await sleep.adelay(float(seconds))
        try:
            return {"result": await job.aget(float(timeout))}
        except NotThereYet as exc:
            return {"late": str(exc)}, 504
        finally:
            ended.set()
            assert await turns < 1

    @app.get("/add/<int:several>")
    async def adding(several: int) -> Any:
        made = await asyncio.gather(*(add.adelay(n, 1) for n in range(several)))
        return {"results": await asyncio.gather(*(each.aget(30) for each in made))}

    return app
