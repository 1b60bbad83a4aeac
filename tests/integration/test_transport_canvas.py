"""Canvas, results and retries on the lease transport, with the results on the same server."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery, chain, chord, group
from celery.contrib.testing.worker import start_worker

from transport_support import TRANSPORT, Harness


class SilentCelery(Celery):
    """A Celery app whose collected results do not unsubscribe; if the server is gone, that takes 20 seconds."""

    def _get_backend(self) -> Any:
        backend = super()._get_backend()
        backend.result_consumer.cancel_for = lambda task_id: None
        return backend


@pytest.fixture(scope="module", params=["valkey", "redis_server"])
def app(request: pytest.FixtureRequest) -> Iterator[Celery]:
    """An app with a worker in a thread, started by Celery's own test support."""
    harness = Harness(request.getfixturevalue(request.param))
    app = SilentCelery("canvas", broker=harness.url, backend=harness.url, set_as_current=False)
    app.conf.update(
        broker_transport=TRANSPORT,
        broker_transport_options={"socket_timeout": 5, "socket_connect_timeout": 2},
        task_acks_late=True,
        result_extended=True,
        result_expires=300,
        result_backend_transport_options={"retry_policy": {"max_retries": 1, "interval_start": 0.0}},
    )
    _declare(app)
    with start_worker(app, pool="threads", concurrency=3, perform_ping_check=False, shutdown_timeout=30):
        yield app
    app.backend.result_consumer.stop()
    app.close()
    harness.close()


def _declare(app: Celery) -> None:
    @app.task(name="add", shared=False)
    def add(*numbers: Any) -> Any:
        return sum(sum(each) if isinstance(each, list) else each for each in numbers)

    @app.task(name="again", bind=True, shared=False, max_retries=3)
    def again(self: Any) -> int:
        if self.request.retries < 2:
            raise self.retry(countdown=0.2)
        return int(self.request.retries)

    @app.task(name="eta", bind=True, shared=False)
    def eta(self: Any) -> Any:
        return self.request.eta

    @app.task(name="fail", shared=False)
    def fail(*_: Any) -> None:
        raise LookupError("on purpose")

    @app.task(name="silent", ignore_result=True, shared=False)
    def silent() -> int:
        return 1

    @app.task(name="replaced", bind=True, shared=False)
    def replaced(self: Any, number: int) -> Any:
        raise self.replace(app.signature("add", args=(number, 1)))


def s(app: Celery, name: str, *args: Any) -> Any:
    return app.signature(name, args=args)


def test_chains_groups_and_chords(app: Celery) -> None:
    def add(*args: Any) -> Any:
        return s(app, "add", *args)

    asked = [
        (chain(add(1, 1), add(2), add(3)), 7),
        (group(add(n, n) for n in range(5)), [0, 2, 4, 6, 8]),
        (chord([add(n, n) for n in range(10)], add()), 90),
        (chain(add(1), group(add(n) for n in range(3)), add(10)), 16),  # becomes a chord in a chain
        (chain(add(1), chord([add(n) for n in range(3)], add()), add(100)), 106),
        (group(chain(add(n), add(n)) for n in range(3)), [0, 2, 4]),
        (chord([chord([add(1), add(2)], add()), add(3)], add()), 6),
    ]
    results = [canvas.apply_async() for canvas, _ in asked]
    assert [result.get(timeout=60) for result in results] == [wanted for _, wanted in asked]


def test_a_chord_with_a_large_header(app: Celery) -> None:
    header = [s(app, "add", n, n) for n in range(150)]
    assert chord(header, s(app, "add")).apply_async().get(timeout=60) == 150 * 149


def test_the_error_of_a_chord_reaches_its_body(app: Celery) -> None:
    result = chord([s(app, "add", 1, 1), s(app, "fail")], s(app, "add")).apply_async()
    with pytest.raises(Exception, match="on purpose"):
        result.get(timeout=60)


def test_countdown_eta_and_expires(app: Celery) -> None:
    began = time.time()
    result = s(app, "add", 1, 2).apply_async(countdown=1)
    assert result.get(timeout=30) == 3
    assert time.time() - began >= 1
    assert s(app, "eta").apply_async(countdown=0.3).get(timeout=30) is None  # served; no timer of Celery's
    expired = s(app, "add", 1, 2).apply_async(countdown=1, expires=0.3)
    with pytest.raises(Exception, match="expired"):
        expired.get(timeout=30)


def test_a_delayed_chain_and_a_delayed_chord(app: Celery) -> None:
    began = time.time()
    chained = chain(s(app, "add", 1, 1), s(app, "add", 2)).apply_async(countdown=1)
    chorded = chord([s(app, "add", 1, 1).set(countdown=1)], s(app, "add", 5)).apply_async()
    assert (chained.get(timeout=30), chorded.get(timeout=30)) == (4, 7)
    assert time.time() - began >= 1


def test_retries_results_and_their_absence(app: Celery) -> None:
    assert s(app, "again").apply_async().get(timeout=30) == 2
    with pytest.raises(LookupError, match="on purpose"):
        s(app, "fail").apply_async().get(timeout=30)
    silent = s(app, "silent").apply_async()
    with contextlib.suppress(Exception):
        silent.get(timeout=0.5)
    assert app.backend.get_task_meta(silent.id)["result"] is None
    assert s(app, "replaced", 4).apply_async().get(timeout=30) == 5
