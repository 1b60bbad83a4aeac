"""Tasks from every kind of function, and one task in two apps: declared, called, run in the caller's process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import celery
import pytest
from celery import shared_task
from celery.app.task import Task
from flask import Flask, current_app

from flask_nightshift import ConfigurationError, Nightshift
from flask_nightshift.task.base import JobTask


class Base(celery.Task):
    """As people write it: of plain Celery, with something of its own, and options in its body."""

    autoretry_for = (KeyError,)
    max_retries = 2
    time_limit = None
    owner = "billing"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return [self.owner, super().__call__(*args, **kwargs)]


def nothing() -> None: ...


Made = Callable[..., Flask]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Made]:
    """Make an app of a name, with a Nightshift of its own or the one given."""
    with ExitStack() as stack:

        def made(name: str, jobs: Nightshift | None = None, **config: Any) -> Flask:
            app = Flask(name, instance_path=str(tmp_path))
            app.config.update(config)
            (jobs or Nightshift()).init_app(app)
            stack.callback(app.extensions["nightshift"].journal.close)
            return app

        yield made


def test_two_apps_share_a_task_and_each_runs_it_in_its_own_context(make: Made) -> None:
    @shared_task(name="bodies.shared", base=Base)
    def shared() -> str:
        return current_app.name

    one = make("one", NIGHTSHIFT_TASK_DEFAULTS={"retry_backoff_max": 60})
    two = make("two", NIGHTSHIFT_TASK_DEFAULTS={"soft_time_limit": 10})
    tasks = [app.extensions["celery"].tasks["bodies.shared"] for app in (one, two)]
    assert [task() for task in tasks] == [["billing", "one"], ["billing", "two"]]
    assert [task.apply().get() for task in tasks] == [["billing", "one"], ["billing", "two"]]
    for task in tasks:  # what its class says, then the app, then we
        assert isinstance(task, (Base, JobTask))
        assert (task.max_retries, task.time_limit, task.acks_late) == (2, None, True)
        assert task.retriable(KeyError())
        assert not task.retriable(OSError())
    assert [(task.retry_backoff_max, task.soft_time_limit) for task in tasks] == [(60, 300), (600, 10)]
    assert not Task.__bound__, "celery.Task itself belongs to no app"


def test_a_task_of_a_factory_is_that_apps_alone(make: Made) -> None:
    def create(name: str) -> Any:
        app = make(name)

        class ContextTask(app.extensions["celery"].Task):  # type: ignore[misc]
            def __call__(self, *args: Any, **kwargs: Any) -> Any:
                with app.app_context():
                    return self.run(*args, **kwargs)

        @app.extensions["celery"].task(name="bodies.made", base=ContextTask)
        def made() -> tuple[str, str]:
            return name, current_app.name

        return app.extensions["celery"]

    names = [f"app-{number}" for number in range(6)]
    apps = [create(name) for name in names]
    assert [app.tasks["bodies.made"]() for app in apps] == [(name, name) for name in names]


def test_an_object_of_a_class_can_be_registered_with_two_apps(make: Made) -> None:
    class Whole(celery.Task):
        def run(self, number: int) -> tuple[str, int]:
            return current_app.name, number + 1

    task = Whole()
    made = [make(name).extensions["celery"].register_task(task, max_retries=1) for name in ("one", "two")]
    assert made[0] is task
    assert [each(1) for each in made] == [("one", 2), ("two", 2)]
    assert [each.max_retries for each in made] == [1, 1]


def test_tasks_in_the_registry_are_protected_however_they_came_there(make: Made) -> None:
    class Old(celery.Task):
        name = "bodies.old"

        def run(self) -> str:
            return current_app.name

    app = make("one").extensions["celery"]
    app.task_cls = Base
    assert app.task(name="bodies.by_task_cls", shared=False, lazy=False)(nothing)() == ["billing", None]
    app.tasks.register(Old())
    assert (app.tasks["bodies.old"](), app.tasks["bodies.old"].max_retries) == ("one", 5)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"max_retries": "3"}, "max_retries of the task 'bodies.wrong' = '3' is not usable"),
        ({"max_retrys": 3}, "did you mean 'max_retries'"),
        ({"soft_time_limit": 40, "time_limit": 30}, "it must not be above time_limit=30"),
        ({"retry_kwargs": {"countdown": "1"}}, "is not usable: give seconds"),
    ],
)
def test_wrong_options_are_refused_in_every_kind_of_declaration(
    make: Made, said: dict[str, Any], message: str
) -> None:
    def of_class(app: Any) -> None:
        app.register_task(
            type("Wrong", (celery.Task,), {"name": "bodies.wrong", "run": lambda self: None, **said})
        )

    def of_base(app: Any) -> None:
        base = type("Wrong", (celery.Task,), said)
        app.task(name="bodies.wrong", base=base, shared=False, lazy=False)(nothing)

    def of_registration(app: Any) -> None:
        app.register_task(
            type("Right", (celery.Task,), {"name": "bodies.wrong", "run": lambda self: None}), **said
        )

    def of_decorator(app: Any) -> None:
        app.task(name="bodies.wrong", shared=False, lazy=False, **said)(nothing)

    def of_annotation(app: Any) -> None:
        app.conf.task_annotations = {"bodies.wrong": said}
        app.task(name="bodies.wrong", shared=False, lazy=False)(nothing)

    for declare in (of_class, of_base, of_registration, of_decorator, of_annotation):
        with pytest.raises(ConfigurationError, match=message):
            declare(make("one").extensions["celery"])


def test_a_task_that_is_refused_is_refused_at_every_use(make: Made) -> None:
    app = make("one").extensions["celery"]
    app.finalized = False
    declared = app.task(name="bodies.wrong", shared=False, max_retries="3")(nothing)
    for _ in range(2):
        with pytest.raises(ConfigurationError, match=r"max_retries of the task 'bodies\.wrong'"):
            declared.delay()


def test_generators_are_refused_where_they_are_declared(make: Made) -> None:
    def generator() -> Iterator[int]:
        yield 1

    async def stream() -> Any:
        yield 1

    app = make("one").extensions["celery"]
    for function in (generator, stream):
        with pytest.raises(
            TypeError, match=r"the task 'bodies\.gen' is a generator function.*: return a list"
        ):
            Nightshift().task(name="bodies.gen")(function)
        with pytest.raises(TypeError, match=r"the task 'bodies\.gen' is a generator function"):
            app.task(name="bodies.gen", shared=False, lazy=False)(function)
        with pytest.raises(TypeError, match=r"the task 'bodies\.gen' is a generator function"):
            app.register_task(
                type("Gen", (celery.Task,), {"name": "bodies.gen", "run": staticmethod(function)})
            )

    def returns() -> Any:
        return generator()

    made = app.task(name="bodies.returns", shared=False, lazy=False)(returns)
    assert "whose body nobody would run" in str(made.apply().result)


def test_a_coroutine_is_run_or_awaited(make: Made) -> None:
    jobs = Nightshift()

    @jobs.task(name="bodies.coroutine", bind=True)
    async def coroutine(self: Any, number: int) -> tuple[str, int, bool]:
        await asyncio.sleep(0)
        return current_app.name, number, bool(self.request.id)

    async def view() -> Any:
        return await coroutine(2), coroutine.apply((3,)).get()

    with make("one", jobs).app_context():
        assert coroutine(1) == ("one", 1, False)
        assert coroutine.apply((1,)).get() == ("one", 1, True)
        assert asyncio.run(view()) == (("one", 2, False), ("one", 3, True))


def test_the_app_s_own_way_to_run_coroutines_is_used(make: Made, tmp_path: Path) -> None:
    class Own(Flask):
        def async_to_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
            return lambda *args: ["own", asyncio.run(func(*args))]

    app = Own("own", instance_path=str(tmp_path))
    jobs = Nightshift(app)

    @jobs.task(name="bodies.own")
    async def coroutine() -> str:
        return current_app.name

    assert coroutine() == ["own", "own"]
    app.extensions["nightshift"].journal.close()


def test_a_retry_that_an_eager_body_swallows_happens(make: Made) -> None:
    jobs, ran = Nightshift(), []

    @jobs.task(name="bodies.swallow", bind=True)
    def swallow(self: Any) -> str:
        ran.append(self.request.retries)
        if not self.request.retries:
            try:
                self.retry(countdown=0)
            except Exception:  # noqa: BLE001 - what it is about
                return "swallowed"
        return "done"

    with make("one", jobs).app_context():
        assert swallow.apply().get() == "done"
    assert ran == [0, 1]
