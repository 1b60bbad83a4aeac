"""A Flask app and its broker: ``delay()``, canvas and results."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from celery import chain, chord, group
from celery.contrib.testing.worker import start_worker
from celery.exceptions import TimeoutError as NotThereYet
from flask import Flask

from broker_harness import Harness
from flask_nightshift.brokers.base import PUBLISH_TIMEOUT
from flask_nightshift.errors import BrokerUnavailable
from flask_nightshift.services import current
from places import APPS
from resultsapp import add, create_app, total
from servers import wait_for


def refused(call: Callable[[], object]) -> str:
    started = time.monotonic()
    with pytest.raises(BrokerUnavailable) as caught:
        call()
    assert time.monotonic() - started < PUBLISH_TIMEOUT
    return str(caught.value)


@pytest.mark.parametrize("trouble", ["stop", "freeze"])
def test_delay_returns_in_time_while_the_broker_is_down(harness: Harness, app: Flask, trouble: str) -> None:
    add.delay(1, 1)
    getattr(harness.server, trouble)()

    said = [
        refused(lambda: add.delay(1, 2)),
        refused(lambda: add.apply_async((1, 2), countdown=60)),
        refused(lambda: group(add.s(1, 1), add.s(2, 2)).apply_async()),
    ]
    assert "s3cret" not in "".join(said)

    harness.server.ensure()
    wait_for(lambda: add.delay(1, 1), 20, "a job")


def test_many_threads_all_get_their_answer_in_time(harness: Harness, app: Flask) -> None:
    """More threads than a pool of connections would have: nobody queues for a connection."""
    add.delay(1, 1)
    harness.server.freeze()

    def one(_: int) -> str:
        with app.app_context():
            return refused(lambda: add.delay(1, 2))

    with ThreadPoolExecutor(24) as pool:
        assert len(list(pool.map(one, range(24)))) == 24


@contextmanager
def worker(app: Flask, tmp_path: Path) -> Iterator[None]:
    """``flask jobs worker`` with this app's settings, until the block ends; or one in a thread of this process."""
    if not current(app).broker.capabilities.shared:
        with start_worker(current(app).celery, 2, "threads", perform_ping_check=False):
            yield
        return
    environment = {key: str(value) for key, value in app.config.items() if key.startswith("NIGHTSHIFT_")}
    log = tmp_path / "worker.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "flask", "--app", "resultsapp", "jobs", "worker", "--concurrency", "2"],
            cwd=APPS,
            env={**os.environ, **environment, "INSTANCE": app.instance_path},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        yield
    except BaseException:
        print(log.read_text())
        raise
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(40)


def test_results_and_canvas_work_with_the_default_result_backend(
    harness: Harness, app: Flask, tmp_path: Path
) -> None:
    with worker(app, tmp_path):
        assert add.delay(20, 22).get(timeout=60) == 42
        assert chain(add.s(1, 2), add.s(3)).apply_async().get(timeout=30) == 6
        assert chord(add.s(n, n) for n in range(5))(total.s()).get(timeout=30) == 20


def test_a_result_is_subscribed_to_while_somebody_waits_for_it(
    harness: Harness, app: Flask, tmp_path: Path
) -> None:
    consumer = getattr(current(app).celery.backend, "result_consumer", None)
    if consumer is None:
        pytest.skip("results are in the database, where nobody subscribes")
    early = add.delay(1, 1)
    with pytest.raises(NotThereYet):
        early.get(timeout=0.2)
    assert len(consumer.subscribed_to) == 1, "no worker yet"
    with worker(app, tmp_path):
        add.delay(1, 2)  # nobody keeps this one
        assert early.get(timeout=60) == 2
        assert add.delay(20, 22).get(timeout=30) == 42
        assert not consumer.subscribed_to

        given_up = add.apply_async((1, 3), countdown=60)
        given_up.then(print, weak=True)
        assert len(consumer.subscribed_to) == 1
        del given_up
        gc.collect()
        assert not consumer.subscribed_to


def test_transport_options_of_the_user_join_ours(harness: Harness, tmp_path: Path) -> None:
    given: dict[str, Any]
    if harness.name == "memory":
        given, ours = {"client_name": "shop"}, "delivery_limit"
    elif harness.name == "rabbitmq":
        given, ours = {"client_properties": {"connection_name": "shop"}}, "confirm_publish"
    else:
        given, ours = {"client_name": "shop"}, "socket_connect_timeout"
    config = {key: value for key, value in harness.app.config.items() if key.startswith("NIGHTSHIFT_")}
    config["NIGHTSHIFT_CELERY"] = {"broker_transport_options": given, "worker_prefetch_multiplier": 7}

    app = create_app(
        harness.app.instance_path, NIGHTSHIFT_DATABASE_URL=f"sqlite:///{tmp_path}/h.sqlite3", **config
    )

    conf = app.extensions["celery"].conf
    assert conf.broker_transport_options.items() >= given.items()
    assert ours in conf.broker_transport_options
    assert conf.worker_prefetch_multiplier == 7
    with app.app_context():
        current().store.migrate()
        assert add.delay(1, 2)
        current().journal.close()
