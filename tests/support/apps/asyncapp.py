"""The app of ``jobsapp.py`` with coroutines that wait, hang and leave things behind, and with request contexts."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import threading
import time
from collections.abc import AsyncIterator
from typing import Any

import celery
from flask import Flask, current_app, g, request, session, url_for

import jobsapp
from flask_nightshift import PermanentFailure
from flask_nightshift.domain.context import current_job
from jobsapp import jobs, note

ONCE = {"max_retries": 0}
_kept: dict[int, AsyncIterator[int]] = {}


class Called(celery.Task):
    """A job of this class goes through Celery's tracer."""

    abstract = True

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.run(*args, **kwargs)


async def ending(marker: str) -> AsyncIterator[int]:
    try:
        yield 1
        yield 2
    finally:
        await asyncio.sleep(0)
        note(marker, "generator-ended")


@jobs.task(name="async.where", **ONCE)
async def where(marker: str) -> None:
    """Note in which loop it runs, and keep an asynchronous generator open."""
    loop = asyncio.get_running_loop()
    await asyncio.sleep(0)
    if id(loop) not in _kept:
        _kept[id(loop)] = ending(marker)
        await anext(_kept[id(loop)])
    note(marker, f"{os.getpid()}-{threading.get_native_id()} {id(loop)}")


@jobs.task(name="async.busy", soft_time_limit=0.5, time_limit=20, **ONCE)
async def busy(marker: str) -> None:
    """Keep the loop busy, so that a signal nearly always arrives in its own code."""
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: note(marker, f"loop {context}"))

    async def turn() -> None:
        while True:
            await asyncio.sleep(0)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(20):
                group.create_task(turn())
    except asyncio.CancelledError:
        await asyncio.sleep(0.01)
        note(marker, "cancelled")
        raise


@jobs.task(name="async.catches", soft_time_limit=0.5, time_limit=20, ignore_result=False, **ONCE)
async def catches(marker: str) -> str:
    try:
        await asyncio.sleep(30)
    except asyncio.CancelledError:
        return "what there is"
    return "all"


@jobs.task(name="async.stubborn", soft_time_limit=0.4, time_limit=1, **ONCE)
async def stubborn(marker: str) -> None:
    note(marker, "begun")
    while True:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(30)


@jobs.task(name="async.waits", soft_time_limit=60, time_limit=90, max_retries=3, retry_backoff=0.1)
async def waits(marker: str, swallow: bool = False) -> None:
    note(marker, "begun")
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        note(marker, f"cancelled-{jobs.current.cancelled}")
        if not swallow:
            raise


@jobs.task(name="async.leaves", ignore_result=False, **ONCE)
async def leaves(marker: str) -> str:
    async def left_behind() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            note(marker, "left-ended")

    leaves.kept = asyncio.create_task(left_behind())
    await asyncio.sleep(0)
    return "left"


@jobs.task(name="async.fails", max_retries=1, retry_backoff=0.1)
async def fails(marker: str, how: str) -> None:
    note(marker, "begun")
    await asyncio.sleep(0)
    if how == "cancels itself":
        raise asyncio.CancelledError
    if how == "group":
        async with asyncio.TaskGroup() as group:
            group.create_task(_raises(PermanentFailure("in a group")))
    if how == "exits":
        async with asyncio.TaskGroup() as group:
            group.create_task(_raises(SystemExit(3)))
    raise OSError(how)


async def _raises(error: BaseException) -> None:
    raise error


@jobs.task(name="async.adds", ignore_result=False, **ONCE)
async def adds(numbers: list[int], more: int = 0) -> int:
    await asyncio.sleep(0.01)
    return sum(numbers) + more


@jobs.task(name="async.enqueues", bind=True, **ONCE)
async def enqueues(self: Any, marker: str) -> None:
    """Enqueue from a coroutine in each way, while the loop turns."""
    result = await adds.adelay([1])
    await adds.aapply_async(([2],), {"more": 1})
    ids = await adds.aenqueue_many([([3],), ([4],)])
    await adds.s([5]).adelay()
    job = current_job.get()
    note(
        marker,
        json.dumps({"me": self.request.id, "job": job.job_id if job else "", "ids": [result.id, *ids]}),
    )


def seen() -> dict[str, Any]:
    return {
        "root": url_for("item", number=3),
        "external": url_for("item", number=3, _external=True),
        "url": request.url,
        "secure": request.is_secure,
        "session": dict(session),
        "app": current_app.name,
    }


@jobs.task(name="request.short", request_context=True, **ONCE)
def in_request(marker: str, fail: bool = False) -> None:
    g.marker = marker
    note(marker, json.dumps(seen()))
    if fail:
        raise ValueError("in a request context")


@jobs.task(name="request.called", request_context=True, base=Called, **ONCE)
def called_in_request(marker: str) -> None:
    g.marker = marker
    note(marker, json.dumps(seen()))


@jobs.task(name="request.async", request_context=True, **ONCE)
async def async_in_request(marker: str) -> None:
    g.marker = marker
    await asyncio.sleep(0)
    note(marker, json.dumps(seen()))


@jobs.task(name="async.sleeps", **ONCE)
async def blocks(marker: str, seconds: float) -> None:
    time.sleep(seconds)
    note(marker, "done")


def create_app() -> Flask:
    app = jobsapp.create_app()
    app.secret_key = "a test"
    if host := os.environ.get("HOST", "www.example.com"):
        app.config |= {"SERVER_NAME": host, "PREFERRED_URL_SCHEME": "https", "APPLICATION_ROOT": "/shop"}

    @app.get("/items/<int:number>")
    def item(number: int) -> str:
        return str(number)

    @app.before_request
    def before() -> None:
        g.before = True

    @app.teardown_request
    def teardown(exc: BaseException | None) -> None:
        if "marker" in g:
            note(g.marker, f"teardown {type(exc).__name__} {g.get('before')}")

    return app
