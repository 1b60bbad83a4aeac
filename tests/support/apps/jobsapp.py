"""The app of the system tests, which run it as separate web, worker and Beat processes; it has a job for every ending.

Each attempt writes lines ``<marker> <event>`` to the ledger (the file ``LEDGER``), so a test knows how often a job
began and finished, even if its process died.
"""

from __future__ import annotations

import os
import signal
import time
from typing import Any

from celery import shared_task, signals
from celery.exceptions import Reject, SoftTimeLimitExceeded
from celery.worker import loops
from flask import Flask, current_app, jsonify, request

from flask_nightshift import BrokerUnavailable, Nightshift, PermanentFailure
from flask_nightshift.domain.events import JobSucceeded

jobs = Nightshift()
FAST = {"retry_backoff": 0.2, "retry_backoff_max": 1, "retry_jitter": False}


def note(marker: str, event: str) -> None:
    """Write a line to the ledger; short appends of several processes do not interleave."""
    with open(os.environ["LEDGER"], "a", encoding="utf-8") as ledger:
        ledger.write(f"{marker} {event}\n")


def begun(marker: str) -> int:
    """The number of starts of the job ``marker``."""
    with open(os.environ["LEDGER"], encoding="utf-8") as ledger:
        return sum(line.split() == [marker, "begun"] for line in ledger)


@jobs.task(name="test.succeed", ignore_result=False, **FAST)
def succeed(marker: str, seconds: float = 0) -> str:
    note(marker, "begun")
    time.sleep(seconds)
    note(marker, f"done-in-{current_app.name}")
    note(marker, "done")
    return marker


@shared_task(name="test.shared")
def shared(marker: str) -> None:
    note(marker, "begun")
    note(marker, f"done-in-{current_app.name}")


@jobs.task(name="test.flaky", max_retries=5, **FAST)
def flaky(marker: str, failures: int) -> None:
    note(marker, "begun")
    if begun(marker) <= failures:
        raise ConnectionError(f"the partner of {marker} is down")
    note(marker, "done")


@jobs.task(name="test.broken_until_repaired", max_retries=1, **FAST)
def broken_until_repaired(marker: str) -> None:
    note(marker, "begun")
    if not os.path.exists(os.environ["LEDGER"] + ".repaired"):
        raise ConnectionError("not repaired yet")
    note(marker, "done")


@jobs.task(name="test.permanent", **FAST)
def permanent(marker: str) -> None:
    note(marker, "begun")
    raise PermanentFailure("there is no such account")


@jobs.task(name="test.never_again", dont_autoretry_for=(KeyError,), **FAST)
def never_again(marker: str) -> None:
    note(marker, "begun")
    raise KeyError("gone")


class Unpicklable(Exception):
    """An exception that cannot be pickled, and cannot be created from its ``args``."""

    def __init__(self, one: str, two: str) -> None:
        super().__init__(one)
        self.lock = lambda: two


@jobs.task(name="test.unpicklable", max_retries=1, **FAST)
def unpicklable(marker: str) -> None:
    note(marker, "begun")
    raise Unpicklable("strange", "stranger")


@jobs.task(name="test.hang_softly", soft_time_limit=1, time_limit=30, max_retries=1, **FAST)
def hang_softly(marker: str) -> None:
    note(marker, "begun")
    time.sleep(60)


@jobs.task(name="test.hang", soft_time_limit=1, time_limit=2, max_retries=1, **FAST)
def hang(marker: str) -> None:
    note(marker, "begun")
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            time.sleep(60)
        except SoftTimeLimitExceeded:
            note(marker, "ignored-the-soft-limit")


@jobs.task(name="test.kill_child", max_retries=3, **FAST)
def kill_child(marker: str, times: int) -> None:
    note(marker, "begun")
    if begun(marker) <= times:
        os.kill(os.getpid(), signal.SIGKILL)
    note(marker, "done")


@jobs.task(name="test.exit", max_retries=1, **FAST)
def leave(marker: str) -> None:
    note(marker, "begun")
    raise SystemExit(3)


@jobs.task(name="test.ask", bind=True, max_retries=3)
def ask(self: Any, marker: str, answer: int = 0) -> int:
    note(marker, "begun")
    if answer < 2:
        raise self.retry(args=(marker,), kwargs={"answer": answer + 1}, countdown=0.2)
    note(marker, "done")
    return answer


@jobs.task(name="test.progress", bind=True, ignore_result=False)
def progress(self: Any, marker: str) -> dict[str, Any]:
    note(marker, "begun")
    self.progress(1, 4, "a quarter")
    wait_for_file(os.environ["LEDGER"] + "." + marker)
    note(marker, "done")
    return {"marker": marker}


@jobs.task(name="test.pid", **FAST)
def pid(marker: str) -> None:
    note(marker, f"in-{os.getpid()}")


@jobs.task(name="test.nap")
def nap(marker: str, seconds: float) -> None:
    note(marker, "begun")
    time.sleep(seconds)
    note(marker, "done")


@jobs.task(name="test.turned_down")
def turned_down(marker: str, seconds: float) -> None:
    """Ask once to be returned."""
    note(marker, "begun")
    if begun(marker) == 1:
        time.sleep(seconds)
        note(marker, "rejects")
        raise Reject("not now", requeue=True)
    note(marker, "done")


@jobs.task(name="test.refused")
def refused(marker: str) -> None:
    note(marker, "begun")
    raise Reject("never", requeue=False)


@jobs.task(name="test.early", acks_late=False, max_retries=2, **FAST)
def early(marker: str, failures: int = 0, seconds: float = 0) -> None:
    note(marker, "begun")
    time.sleep(seconds)
    if begun(marker) <= failures:
        note(marker, "fails")
        raise ConnectionError(f"the partner of {marker} is down")
    note(marker, "done")


@jobs.task(name="test.early_end", acks_late=False, max_retries=1, **FAST)
def early_end(marker: str, how: str) -> None:
    note(marker, "begun")
    if how == "reject":
        raise Reject("not now", requeue=True)
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)


@jobs.task(name="test.queue", queue="other")
def other_queue(marker: str) -> None:
    note(marker, "begun")
    note(marker, "done")


@jobs.task(name="test.tick")
def tick() -> None:
    note("tick", "done")


def wait_for_file(path: str, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not os.path.exists(path):
        if time.monotonic() > deadline:
            raise TimeoutError(path)
        time.sleep(0.05)


@signals.worker_ready.connect
def lose_the_connection(sender: Any, **_: Any) -> None:
    """Cut the connection right ``before`` or ``after`` the one read by Celery that drops the error."""
    moment = os.environ.pop("LOSE_CONNECTION", "")
    if not moment:
        return
    lose, read = sender.connection.connection.collect, loops._quick_drain

    def lose_and_read(connection: Any) -> None:
        lose()
        read(connection)

    if moment == "before":
        loops._quick_drain = lose_and_read
    else:
        sender.hub.call_soon(sender.hub.call_soon, lose)


@signals.task_received.connect
def hold_the_loop(request: Any, **_: Any) -> None:
    """Delay the reading of the children's reports."""
    if request.args == ["HOLD-THE-LOOP"]:
        time.sleep(3)


def freeze(event: Any) -> None:
    """An observer that stops the worker's main process (SIGSTOP), once."""
    if isinstance(event, JobSucceeded) and os.environ.pop("FREEZE_AFTER_A_JOB", ""):
        os.kill(os.getpid(), signal.SIGSTOP)


@signals.task_received.connect
def crash_the_loop(sender: Any, request: Any, **_: Any) -> None:
    """Raise in the event loop, which no message should be able to cause."""
    if request.args == ["CRASH-THE-LOOP"]:
        sender.controller.semaphore.value = 0  # the job does not begin
        sender.hub.call_soon(lambda: 1 / 0)


def create_app() -> Flask:
    """The app; its settings come from the environment."""
    app = Flask("jobsapp", instance_path=os.environ["INSTANCE"])
    if os.environ.get("WITH_SCHEDULE"):
        app.config["NIGHTSHIFT_SCHEDULE"] = {"every-second": {"task": "test.tick", "schedule": 1}}
    jobs.init_app(app)
    if os.environ.get("FREEZE_AFTER_A_JOB"):
        app.extensions["nightshift"].events.subscribe(freeze)

    @app.post("/enqueue/<name>")
    def enqueue(name: str) -> Any:
        wanted = request.get_json()
        result = jobs.celery.send_task(
            name, wanted.get("args", []), wanted.get("kwargs"), **wanted.get("options", {})
        )
        return jsonify(id=result.id), 202

    @app.get("/jobs/<job_id>")
    def job(job_id: str) -> Any:
        return jsonify(jobs.job(job_id).as_dict())

    @app.errorhandler(BrokerUnavailable)
    def away(exc: BrokerUnavailable) -> Any:
        return jsonify(error=str(exc)), 503, {"Retry-After": str(exc.retry_after)}

    return app
