"""An app that comes with celery-singleton's base class: its locks work, and ``flask jobs doctor`` names them."""

from __future__ import annotations

from pathlib import Path

import pytest
import redis
from celery_singleton import Singleton
from celery_singleton.exceptions import DuplicateTaskError
from flask import Flask

import singletonapp
from flask_nightshift import Nightshift
from flask_nightshift.errors import ConfigurationError
from servers import Server
from system import running


@pytest.mark.parametrize("broker", ["valkey", pytest.param("rabbitmq", marks=pytest.mark.rabbitmq)])
def test_its_locks_work_and_are_named(broker: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    server: Server = request.getfixturevalue(broker)
    locks = request.getfixturevalue("valkey").fresh_url()
    url = locks if broker == "valkey" else server.fresh_url()
    settings = {"FLASK_APP": "singletonapp", "NIGHTSHIFT_RESULT_BACKEND": locks}
    with running(tmp_path, url, **settings) as system, redis.Redis.from_url(locks) as client:
        app = singletonapp.create_app(
            NIGHTSHIFT_BROKER_URL=url, NIGHTSHIFT_RESULT_BACKEND=locks,
            NIGHTSHIFT_DATABASE_URL=system.database_url,
        )  # fmt: skip

        def held() -> list[bytes]:
            return list(client.scan_iter("SINGLETONLOCK_*"))

        with app.app_context():
            first = singletonapp.works.delay("one")
            assert singletonapp.works.delay("one").id == first.id
            assert singletonapp.works.delay("another").id != first.id
            assert len(held()) == 2
            singletonapp.options.delay("options", 1)
            with pytest.raises(DuplicateTaskError):
                singletonapp.options.delay("options", 2)
            system.worker("--concurrency", "2")
            assert first.get(timeout=40) == "one"
            assert system.events("one") == ["ran"]
            system.until(lambda: not held(), 20, "a lock stays after the job")

            for task in (singletonapp.fails, singletonapp.dies):
                task.delay(task.name)
                assert len(held()) == 1
                system.until(lambda: not held(), 40, "a lock stays after the failure")
            assert system.events("single.fails") == ["ran"] * 2
            system.until(lambda: len(system.archived()) == 2, 30, "no dead letters")
        singletonapp.jobs.close(app)
        said = system.cli("doctor", ok=False).stdout
    words = " ".join(said.split())
    assert "Singleton of celery-singleton locks" in words
    assert "unique='until_done'" in words


def test_two_locks_for_one_task_are_refused_by_name(tmp_path: Path) -> None:
    app = Flask("two", instance_path=str(tmp_path))
    jobs = Nightshift()

    @jobs.task(name="two.locks", base=Singleton, unique="until_done")
    def locks() -> None: ...

    with pytest.raises(
        ConfigurationError, match=r"on_duplicate of the task 'two.locks'.*leave out that class"
    ):
        _start(app, jobs)


def test_a_misspelt_option_of_a_task_with_such_a_base_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="did you mean 'max_retries'"):
        Nightshift().task(name="two.typo", base=Singleton, max_retry=1)(lambda: None)


def _start(app: Flask, jobs: Nightshift) -> None:
    jobs.init_app(app)
    app.extensions["celery"].finalize()
