"""The app of ``jobsapp.py`` with tasks as other people write them: base classes, hooks, requests, coroutines."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import time
from typing import Any

import celery
from celery import shared_task
from celery.worker.request import Request
from flask import Flask, current_app, g, has_app_context

import jobsapp
from flask_nightshift import PermanentFailure
from flask_nightshift.domain.context import current_job
from flask_nightshift.task.base import JobTask
from jobsapp import begun, jobs, note

ONCE = {"max_retries": 1}


def attempt(marker: str, fail: bool = False) -> str:
    """The body of several tasks: record where it runs, and fail finally with ``fail``."""
    note(marker, "begun")
    note(marker, f"in-{current_app.name if has_app_context() else 'no-app'}")
    if fail:
        raise ConnectionError("always")
    note(marker, "done")
    return marker


# -- base classes ----------------------------------------------------------------------------------------------


class FlaskTask(celery.Task):
    """As in Flask's documentation."""

    max_retries = 1

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        note(args[0], "called")
        with jobs.services.app.app_context():
            return self.run(*args, **kwargs)


class SuperTask(celery.Task):
    """Calls ``super().__call__``, and sets its options in the class body."""

    autoretry_for = (OSError,)
    retry_kwargs = {"max_retries": 1, "countdown": 0}  # noqa: RUF012 - as people write it

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        note(args[0], "called")
        return super().__call__(*args, **kwargs)


class OurTask(JobTask):
    """Derives from our own class."""

    max_retries = 1


class ByClass(celery.Task):
    name = "idiom.by_class"
    max_retries = 1

    def run(self, marker: str, fail: bool = False) -> str:
        return attempt(marker, fail)


class ByInstance(celery.Task):
    max_retries = 1

    def run(self, marker: str, fail: bool = False) -> str:
        return attempt(marker, fail)


@shared_task(name="idiom.shared", base=FlaskTask)
def shared(marker: str, fail: bool = False) -> str:
    return attempt(marker, fail)


@shared_task(name="idiom.super", base=SuperTask, bind=True)
def with_super(self: Any, marker: str, fail: bool = False) -> str:
    note(marker, f"retries-{self.request.retries}")
    return attempt(marker, fail)


@jobs.task(name="idiom.ours", base=OurTask)
def ours(marker: str, fail: bool = False) -> str:
    return attempt(marker, fail)


@jobs.task(name="idiom.plain", base=FlaskTask)
def plain(marker: str, fail: bool = False) -> str:
    return attempt(marker, fail)


class Watched(Request):
    """The example of Celery's documentation, with the job's first argument."""

    def on_timeout(self, soft: bool, timeout: float) -> None:
        super().on_timeout(soft, timeout)
        if not soft:
            note(self.args[0], f"hard-limit-{timeout}")

    def on_failure(self, exc_info: Any, send_failed_event: bool = True, return_ok: bool = False) -> None:
        super().on_failure(exc_info, send_failed_event=send_failed_event, return_ok=return_ok)
        note(self.args[0], "request-failed")


class WatchedTask(celery.Task):
    Request = Watched


class Forgetful(Request):
    """Does not call the methods that it overrides."""

    def on_failure(self, exc_info: Any, send_failed_event: bool = True, return_ok: bool = False) -> None:
        note(self.args[0], exc_info.type.__name__)

    def on_success(self, failed__retval__runtime: Any, **_: Any) -> None:
        note(self.args[0], "told")


class ForgetfulTask(celery.Task):
    Request = Forgetful


@shared_task(name="idiom.forgetful", base=ForgetfulTask, **ONCE)
def forgetful(marker: str, how: str = "") -> None:
    note(marker, "begun")
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "fail":
        raise ConnectionError("always")


@shared_task(name="idiom.request", base=WatchedTask, time_limit=1, soft_time_limit=None, **ONCE)
def with_request(marker: str, seconds: float = 0) -> str:
    note(marker, "begun")
    if not seconds:
        raise ConnectionError("always")
    time.sleep(seconds)
    return marker


# -- hooks -----------------------------------------------------------------------------------------------------


class Hooked(celery.Task):
    """Each hook records whether it has an app, and that it does not share the body's session."""

    max_retries = 1

    def note(self, args: Any, hook: str) -> None:
        where = current_app.name if has_app_context() else "no-app"
        note(args[0], f"{hook}-in-{where}{'-of-the-body' if has_app_context() and 'body' in g else ''}")

    def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
        self.note(args, "before_start")

    def on_success(self, retval: Any, task_id: str, args: Any, kwargs: Any) -> None:
        self.note(args, "on_success")

    def on_failure(self, exc: Any, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        self.note(args, "on_failure")

    def on_retry(self, exc: Any, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        self.note(args, "on_retry")

    def after_return(
        self, status: str, retval: Any, task_id: str, args: Any, kwargs: Any, einfo: Any
    ) -> None:
        self.note(args, f"after_return-{status}")


@shared_task(name="idiom.hooked", base=Hooked, time_limit=2, soft_time_limit=None)
def hooked(marker: str, how: str = "well") -> None:
    g.body = True
    note(marker, "begun")
    if how == "fails":
        raise ConnectionError("always")
    if how == "hangs":
        time.sleep(60)
    if how == "kills":
        os.kill(os.getpid(), signal.SIGKILL)


@jobs.task(name="idiom.prints")
def prints(marker: str) -> None:
    print(marker, 1, [2], sep=" ")
    print(marker, "ends", 3, end="!\n")
    print(f"{marker} line\n{marker} line")


# -- retries that the body swallows ----------------------------------------------------------------------------


@jobs.task(name="idiom.swallow", bind=True, **ONCE)
def swallow(self: Any, marker: str, how: str) -> str | None:
    note(marker, "begun")
    if self.request.retries:
        note(marker, "done")
        return marker
    if how == "except":
        try:
            self.retry(countdown=0)
        except Exception:  # noqa: BLE001 - the purpose of this task
            return "swallowed"
    if how == "suppress":
        with contextlib.suppress(Exception):
            self.retry(countdown=0)
    if how == "finally":
        try:
            self.retry(countdown=0)
        finally:
            return "swallowed"  # noqa: B012 - the purpose of this task
    if how == "another":
        try:
            self.retry(countdown=0)
        except Exception:  # noqa: BLE001
            raise PermanentFailure("what came of it") from None
    return None


# -- coroutines ------------------------------------------------------------------------------------------------


@jobs.task(name="idiom.async", bind=True, soft_time_limit=1, time_limit=20, ignore_result=False, **ONCE)
async def wait_for_it(self: Any, marker: str, seconds: float = 0, fail: bool = False) -> dict[str, Any]:
    try:
        await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        note(marker, "cancelled")
        raise
    attempt(marker, fail)
    job = current_job.get()
    return {"id": self.request.id, "job": job.job_id if job else None}


@jobs.task(name="idiom.async_retry", bind=True, **ONCE)
async def ask_again(self: Any, marker: str) -> None:
    note(marker, "begun")
    await asyncio.sleep(0)
    if not self.request.retries:
        raise self.retry(countdown=0)
    note(marker, "done")


# -- the message as a task sees it -----------------------------------------------------------------------------


@jobs.task(name="idiom.headers", bind=True, **ONCE)
def headers(self: Any, marker: str) -> None:
    """Record the headers, retry once, then publish itself again in two ways."""
    request = self.request
    note(marker, "headers " + json.dumps(request.headers, sort_keys=True))
    note(marker, f"ours {[name for name in vars(request) if 'nightshift' in name]}")
    if (request.headers or {}).get("generation") == "2":
        note(marker, "done")
        return
    if not request.retries:
        raise self.retry(countdown=0.5)
    self.signature_from_request(retries=0, headers={**request.headers, "generation": "2"}).apply_async()
    self.apply_async((marker,), headers={**request.headers, "generation": "2"})


def create_app() -> Flask:
    app = jobsapp.create_app()
    app_celery = app.extensions["celery"]
    app_celery.register_task(ByClass)
    app_celery.register_task(ByInstance())

    class ContextTask(app_celery.Task):  # type: ignore[name-defined]  # made by the app
        """The class from older versions of Flask's documentation."""

        max_retries = 1

        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            note(args[0], "called")
            with app.app_context():
                return self.run(*args, **kwargs)

    before, app_celery.Task = app_celery.Task, ContextTask

    @app_celery.task(name="idiom.context", shared=False, lazy=False)
    def with_context(marker: str, fail: bool = False) -> str:
        return attempt(marker, fail)

    app_celery.Task = before

    @app_celery.task(name="idiom.factory", base=FlaskTask, shared=False)
    def in_factory(marker: str, fail: bool = False) -> str:
        return attempt(marker, fail)

    return app


__all__ = ["begun", "create_app"]
