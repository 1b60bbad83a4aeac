"""The tasks of ``waysapp.py``: one for each thing that Celery's tracer does, or that a body can see."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from typing import Any

import celery
from celery import Task, signals
from celery.exceptions import Ignore, Reject, Retry, SoftTimeLimitExceeded
from celery.utils.log import get_task_logger
from flask import g, has_app_context

from flask_nightshift import PermanentFailure
from waynotes import jobs, key_of, note, seen_by

BACKOFF = 1.0 if os.environ["NIGHTSHIFT_BROKER_URL"].startswith("amqp") else 0.05
"""Seconds. RabbitMQ delays for whole seconds, and a retry that is due before it is published goes past its delay, which
a body sees in the message's headers.
"""
FAST = {"max_retries": 1, "retry_backoff": BACKOFF, "retry_jitter": False}
logger = get_task_logger("ways")

# -- ordinary jobs -----------------------------------------------------------------------------------------


@jobs.task(name="plain", **FAST)
def plain(key: str, value: Any = None) -> Any:
    note(key, "body", value=value)
    return value


@jobs.task(name="seeing", bind=True, **FAST)
def seeing(self: Any, key: str, *args: Any, **kwargs: Any) -> None:
    g.mark = key
    note(key, "body", args=args, kwargs=kwargs, **seen_by(self))


@jobs.task(name="says", **FAST)
def says(key: str) -> None:
    print("printed", key)
    print("no end of line", end="")
    logger.warning("a warning of %s", key)
    logging.getLogger("other").error("an error of %s", key)


@jobs.task(name="shares", bind=True, **FAST)
def shares(self: Any, key: str) -> None:
    self.update_state(state="PROGRESS", meta={"half": 1})
    self.progress(1, 2, "half")
    note(key, "body", state=self.AsyncResult(self.request.id).state)


@jobs.task(name="nests", bind=True, **FAST)
def nests(self: Any, key: str, depth: int = 0) -> list[Any]:
    if depth == 1:
        return [
            self.request.id,
            self.request.called_directly,
            len(self.request_stack),
            list(self.request.args),
        ]
    inner = self(key, 1), self.run(key, 1), self.apply((key, 1)).result, plain(key, "called")
    note(key, "body", inner=inner, **seen_by(self))
    sent = plain.apply_async((key, "sent"), queue=self.request.delivery_info["queue"])
    note(key, "sent", children=[child.id == sent.id for child in self.request.children or ()])
    return list(inner)


@jobs.task(name="sleeps", **FAST)
async def sleeps(key: str, fail: bool = False) -> str:
    await asyncio.sleep(0.01)
    note(
        key, "body", task=celery.current_task.name if celery.current_task else None, context=has_app_context()
    )
    if fail:
        raise LookupError("in a coroutine")
    return key


@jobs.task(name="generates", **FAST)
def generates(key: str) -> Any:
    return (part for part in key)


@jobs.task(name="forks", **FAST)
def forks(key: str) -> None:
    if pid := os.fork():
        os.waitpid(pid, 0)
        note(key, "body")


class Odd:
    def __repr__(self) -> str:
        raise ValueError("no repr")


@jobs.task(name="odd", **FAST)
def odd(key: str, keep: bool = False) -> Any:
    return Odd() if not keep else {"a": {1, 2}}


# -- ends --------------------------------------------------------------------------------------------------


class Unpicklable(Exception):
    def __init__(self, one: str, two: str) -> None:
        super().__init__(one)
        self.lock = lambda: two


ERRORS: dict[str, Any] = {
    "value": lambda: ValueError("wrong", 1),
    "permanent": lambda: PermanentFailure("for good"),
    "unpicklable": lambda: Unpicklable("strange", "stranger"),
    "reject": lambda: Reject("no", requeue=False),
    "ignore": lambda: Ignore(),
    "exit": lambda: SystemExit(3),
    "keyboard": lambda: KeyboardInterrupt(),
    "memory": lambda: MemoryError("none left"),
    "assertion": lambda: AssertionError(),
    "soft": lambda: SoftTimeLimitExceeded(),
}


@jobs.task(name="fails", bind=True, **FAST)
def fails(self: Any, key: str, error: str, times: int = 9) -> str:
    note(key, "body", **seen_by(self))
    if self.request.retries < times:
        raise ERRORS[error]()
    return key


@jobs.task(name="expects", throws=(KeyError,), dont_autoretry_for=(KeyError,))
def expects(key: str) -> None:
    raise KeyError("expected")


@jobs.task(name="chains_errors", max_retries=0)
def chains_errors(key: str) -> None:
    try:
        raise KeyError("first")
    except KeyError as exc:
        raise RuntimeError("second") from exc


@jobs.task(name="retries", bind=True, **FAST)
def retries(self: Any, key: str, how: str, again: bool = False) -> str:
    note(key, "body", again=again, retries=self.request.retries)
    if self.request.retries:
        return "done"
    if how == "raised":
        raise self.retry(args=(key, how), kwargs={"again": True}, countdown=0)
    if how == "with error":
        try:
            raise OSError("the cause")
        except OSError as exc:
            raise self.retry(exc=exc, countdown=0) from exc
    if how == "not thrown":
        self.retry(countdown=0, throw=False)
        return "goes on"
    try:
        self.retry(countdown=0)
    except Retry:
        note(key, "caught")
    return "caught it"


@jobs.task(name="returned", bind=True)
def returned(self: Any, key: str) -> None:
    note(key, "body")
    if not os.path.exists(f"{os.environ['LEDGER']}.{os.environ['WAY']}.returned"):
        open(f"{os.environ['LEDGER']}.{os.environ['WAY']}.returned", "w").close()
        raise Reject("later", requeue=True)


@jobs.task(name="lingers", soft_time_limit=1, time_limit=3, max_retries=0)
def lingers(key: str, how: str) -> str:
    end = time.monotonic() + 20
    while time.monotonic() < end:
        try:
            time.sleep(20)
        except SoftTimeLimitExceeded:
            note(key, "soft limit")
            if how == "raises":
                raise
            if how == "returns":
                return "in time"
    return "late"


@jobs.task(name="wrong_arguments", max_retries=0, typing=False)
def wrong_arguments(key: str) -> None:
    note(key, "body")


# -- canvas, hooks, classes --------------------------------------------------------------------------------


@jobs.task(name="replaces", bind=True, **FAST)
def replaces(self: Any, key: str) -> Any:
    raise self.replace(plain.si(key, "replacement").set(queue=self.request.delivery_info["queue"]))


@jobs.task(name="appends", bind=True, **FAST)
def appends(self: Any, key: str) -> str:
    """Adds what follows it while it runs."""
    self.request.callbacks = [plain.si(key, "appended").set(queue=self.request.delivery_info["queue"])]
    return "appends"


@jobs.task(name="errback")
def errback(request: Any, exc: Any, traceback: Any) -> None:
    note(key_of(request), "errback", error=repr(exc), traceback=str(traceback), id=request.id)


@jobs.task(name="old_errback")
def old_errback(job_id: str) -> None:
    note(job_id, "old errback")


class Hooked(Task):
    abstract = True

    def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
        note(key_of(self.request), "before_start", args=args, context=has_app_context())

    def on_success(self, retval: Any, task_id: str, args: Any, kwargs: Any) -> None:
        note(key_of(self.request), "on_success", value=retval)

    def after_return(self, status: str, retval: Any, *rest: Any) -> None:
        note(key_of(self.request), "after_return", status=status, value=retval)


class HookedFailures(Task):
    abstract = True

    def on_failure(self, exc: Any, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        note(key_of(self.request), "on_failure", error=repr(exc), args=args, kwargs=kwargs,
             traceback=str(einfo.traceback), **seen_by(self))  # fmt: skip

    def on_retry(self, exc: Any, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        note(key_of(self.request), "on_retry", error=repr(exc), mark=getattr(self.request, "mark", None))


class Called(Task):
    abstract = True

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        note(args[0], "called")
        return super().__call__(*args, **kwargs)


@jobs.task(name="hooked", base=Hooked, **FAST)
def hooked(key: str, fail: bool = False) -> str:
    if fail:
        raise ValueError("hooked")
    return key


@jobs.task(name="hooked_failures", base=HookedFailures, bind=True, **FAST)
def hooked_failures(self: Any, key: str, times: int = 9) -> str:
    self.request.mark = "by the body"
    if self.request.retries < times:
        raise ValueError("hooked")
    return key


@jobs.task(name="called", base=Called, **FAST)
def called(key: str, fail: bool = False) -> str:
    note(key, "body")
    if fail:
        raise ValueError("called")
    return key


@jobs.task(name="early", acks_late=False, max_retries=0)
def early(key: str, fail: bool = False) -> None:
    note(key, "body")
    if fail:
        raise ValueError("early")


@jobs.task(name="stores_errors", store_errors_even_if_ignored=True, max_retries=0)
def stores_errors(key: str) -> None:
    raise ValueError("stored")


@jobs.task(name="tracked", track_started=True, ignore_result=False, **FAST)
def tracked(key: str) -> str:
    return key


@jobs.task(name="short_repr", resultrepr_maxsize=3)
def short_repr(key: str, value: Any = None) -> Any:
    return value


@jobs.task(name="connects")
def connects(key: str, signal: str) -> str:
    """Connects a receiver while it runs, which hears of its own end."""

    def receiver(sender: Any, **told: Any) -> None:
        getattr(signals, signal).disconnect(receiver)
        note(key, signal, state=told.get("state"), value=told.get("retval", told.get("result")))

    getattr(signals, signal).connect(receiver, weak=False)
    return key


@jobs.task(name="tears", max_retries=0)
def tears(key: str, how: str) -> None:
    g.tears = key, how
