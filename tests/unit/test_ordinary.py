"""Which jobs may run without Celery's tracer, and why others may not."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import celery
import pytest
from celery import signals
from celery.app import trace
from celery.backends.base import DisabledBackend
from flask import Flask

from flask_nightshift import Nightshift
from flask_nightshift.logs import duplicates
from flask_nightshift.worker import ordinary
from flask_nightshift.worker.ordinary import Ordinary, Refusal

BODY: Any = ([1], {}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None})
REQUEST = {"id": "1", "task": "plain", "ignore_result": True, "stamped_headers": None, "stamps": {}}


class Hooked(celery.Task):
    abstract = True

    def after_return(self, *args: Any) -> None: ...


class Failing(celery.Task):
    abstract = True

    def on_failure(self, *args: Any) -> None: ...

    def on_retry(self, *args: Any) -> None: ...


class Called(celery.Task):
    abstract = True

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return super().__call__(*args, **kwargs)


def body(number: int) -> int:
    return number


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A Celery app, in a process that is set up as a worker's."""
    jobs = Nightshift()
    for name, base in {"plain": None, "hooked": Hooked, "failing": Failing, "called": Called}.items():
        jobs.task(name=name, **({"base": base} if base else {}))(body)
    flask = Flask("ordinary", instance_path=str(tmp_path))
    flask.config.update(NIGHTSHIFT_BROKER_URL="memory://", NIGHTSHIFT_RESULT_BACKEND=f"file://{tmp_path}")
    jobs.init_app(flask)
    made: Any = jobs.celery
    monkeypatch.setattr(trace.logger, "level", logging.WARNING)
    trace.logger.manager._clear_cache()
    trace.setup_worker_optimizations(made, "worker@test")
    for task in made.tasks.values():
        task.__trace__ = trace.build_tracer(task.name, task, app=made)
    yield made
    trace.reset_worker_optimizations(made)
    trace._localized[:] = []
    monkeypatch.undo()
    trace.logger.manager._clear_cache()


Asked = Callable[..., Refusal | None]


@pytest.fixture
def asked(app: Any) -> Asked:
    """Ask about a job of a task, of which some headers or parts of the body are changed."""
    decides = Ordinary()

    def ask(
        name: str = "plain", body: Any = BODY, content_type: Any = None, **headers: Any
    ) -> Refusal | None:
        return decides.refusal(app.tasks[name], {**REQUEST, **headers}, body, content_type)

    return ask


def test_a_plain_job_is_ordinary(asked: Asked) -> None:
    assert asked() is None
    assert asked(body=([1], {}, {})) is None
    assert asked("failing") is None  # the tracer calls these hooks


@pytest.mark.parametrize(
    ("headers", "refusal"),
    [
        ({"ignore_result": False}, Refusal.RESULT),
        ({"group": "g"}, Refusal.CANVAS),
        ({"stamps": {"who": "me"}}, Refusal.STAMPED),
        ({"stamped_headers": ["who"]}, Refusal.STAMPED),
        ({"content_type": "application/json"}, Refusal.ARGUMENTS),
        ({"body": b"[]"}, Refusal.ARGUMENTS),
        ({"body": ([1], [], {})}, Refusal.ARGUMENTS),
        ({"body": ([1], {}, {"callbacks": [{}]})}, Refusal.CANVAS),
        ({"body": ([1], {}, {"chain": [{}]})}, Refusal.CANVAS),
        ({"body": ([1], {}, {"chord": {}})}, None),
        ({"body": ([1], {}, {"chord": {"task": "x"}})}, Refusal.CANVAS),
        ({"body": ([1], {}, {"errbacks": [{}]})}, None),
        ({"name": "hooked"}, Refusal.HOOK),
        ({"name": "called"}, Refusal.CALL),
    ],
)
def test_other_jobs_are_refused(asked: Asked, headers: dict[str, Any], refusal: Refusal | None) -> None:
    assert asked(**headers) is refusal


def test_a_task_that_keeps_results_is_refused_unless_nothing_keeps_them(
    app: Any, asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(app.tasks["plain"]), "ignore_result", False)
    assert asked(ignore_result=None) is Refusal.RESULT
    assert asked(ignore_result=True) is None
    disabled = DisabledBackend(app=app)
    monkeypatch.setattr(type(app.tasks["plain"]), "backend", disabled)
    assert asked(ignore_result=None) is None


@pytest.mark.parametrize("name", ["task_prerun", "task_postrun", "task_success"])
def test_receivers_are_looked_for_at_each_job(asked: Asked, name: str) -> None:
    def receiver(**_: Any) -> None: ...

    assert asked() is None
    signal = getattr(signals, name)
    signal.connect(receiver)
    assert asked() is Refusal.RECEIVER
    signal.disconnect(receiver)
    assert asked() is None


@pytest.mark.parametrize("name", ["build_tracer", "fast_trace_task"])
def test_a_replaced_function_of_the_tracer_is_seen(
    asked: Asked, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert asked() is None
    monkeypatch.setattr(trace, name, _wrapped(getattr(trace, name)))
    assert asked() is Refusal.REPLACED


def test_a_wrapped_tracer_or_call_is_seen(app: Any, asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    task = app.tasks["plain"]
    assert asked() is None
    with monkeypatch.context() as patched:
        patched.setattr(task, "__trace__", _wrapped(task.__trace__))
        assert asked() is Refusal.REPLACED
    with monkeypatch.context() as patched:  # as a task has it that is a copy of another one
        patched.setattr(task, "__trace__", app.tasks["failing"].__trace__)
        assert asked() is Refusal.REPLACED
    assert asked() is None
    with monkeypatch.context() as patched:
        patched.setattr(celery.Task, "__call__", _wrapped(celery.Task.__call__))
        assert asked() is Refusal.REPLACED
    with monkeypatch.context() as patched:
        patched.setattr(type(task), "__call__", _wrapped(type(task).__call__))
        assert asked() is Refusal.CALL
    assert asked() is None


def test_the_app_and_its_result_backend_may_hear_of_each_job(
    app: Any, asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(type(app.backend), "process_cleanup", lambda self: None, raising=False)
        assert ordinary.of_task(app.tasks["plain"]) is Refusal.BACKEND
    with monkeypatch.context() as patched:
        patched.setattr(type(app.loader), "on_task_init", lambda self, *args: None, raising=False)
        assert ordinary.of_task(app.tasks["plain"]) is Refusal.LOADER
    with monkeypatch.context() as patched:
        patched.setitem(app.conf, "worker_deduplicate_successful_tasks", True)
        assert ordinary.of_task(app.tasks["plain"]) is Refusal.DEDUPLICATED
    with monkeypatch.context() as patched:
        patched.setattr(trace, "_localized", [])
        assert ordinary.of_task(app.tasks["plain"]) is Refusal.NO_WORKER
    with monkeypatch.context() as patched:
        patched.setattr(ordinary, "celerys_way_only", True)
        assert asked() is Refusal.FORCED


def test_celery_s_line_about_a_success_is_written_where_somebody_reads_it(
    asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert asked() is None
    monkeypatch.setattr(trace.logger, "filters", [])
    trace.logger.setLevel(logging.INFO)
    assert asked() is Refusal.LOGGED
    trace.logger.addFilter(duplicates.NotADuplicate())
    assert asked() is None


def _wrapped(function: Any) -> Any:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper
