"""Attributes set on the proxy of a declared task are set on the app's task, and restored there."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import patch

import pytest
from celery.exceptions import Retry
from flask import Flask

from flask_nightshift import Nightshift

shop = ModuleType("shop_of_a_test")
jobs = Nightshift()
ran: list[int] = []


@jobs.task(name="stand_in.send", bind=True, max_retries=3)
def send(self: Any, order: int) -> None:
    ran.append(self.request.retries)
    raise self.retry(exc=ConnectionError("always"), countdown=0)


shop.send = send  # type: ignore[attr-defined]


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Flask]:
    app = Flask("stand-in", instance_path=str(tmp_path))
    jobs.init_app(app)
    ran.clear()
    sys.modules[shop.__name__] = shop
    with app.app_context():
        yield app
        app.extensions["nightshift"].journal.close()
    del sys.modules[shop.__name__]


def test_a_patched_retry_is_what_the_body_calls(app: Flask) -> None:
    """The example of Celery's testing guide."""
    task = app.extensions["celery"].tasks["stand_in.send"]
    with patch("shop_of_a_test.send.retry") as retry:
        retry.side_effect = Retry()
        with pytest.raises(Retry):
            send(1)
        retry.assert_called_once()
        assert task.retry is retry
    assert "retry" not in vars(task)
    with pytest.raises(ConnectionError):
        send(1)


def test_a_patched_apply_async_is_what_delay_calls(app: Flask) -> None:
    with patch.object(send, "apply_async") as apply_async:
        send.delay(7)
    apply_async.assert_called_once_with((7,), {})
    assert "apply_async" not in vars(app.extensions["celery"].tasks["stand_in.send"])


def test_an_attribute_that_is_set_is_the_tasks(app: Flask) -> None:
    send.max_retries = 1
    assert send.apply((1,)).state == "FAILURE"
    assert ran == [0, 1]
    del send.max_retries
    with patch.object(send, "max_retries", 0):
        ran.clear()
        send.apply((1,))
        assert ran == [0]
    assert send.max_retries == 3


def test_dunder_attributes_stay_on_the_proxy(app: Flask) -> None:
    send.__doc__ = "Send an order."
    assert send.__doc__ == "Send an order."
    assert send.__name__ == "send"


def test_without_an_app_there_is_nothing_to_set_it_on() -> None:
    with pytest.raises(RuntimeError, match=r"call jobs\.init_app\(app\) before"):
        Nightshift().task(lambda: None).max_retries = 3


def test_a_queue_of_the_tasks_own_stands_beside_routes_that_are_set_later(app: Flask) -> None:
    @jobs.task(name="stand_in.queued", queue="own")
    def queued() -> None: ...

    celery = app.extensions["celery"]
    celery.conf.task_routes = {"stand_in.other": {"queue": "other"}}
    route = celery.amqp.router.route
    assert route({}, "stand_in.queued", (), {}, celery.tasks["stand_in.queued"])["queue"].name == "own"
    assert route({}, "stand_in.other", (), {}, None)["queue"].name == "other"
