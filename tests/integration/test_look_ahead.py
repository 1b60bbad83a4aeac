"""A worker takes short jobs ahead, and none of them waits in a busy worker while another worker is idle."""

from __future__ import annotations

import base64
import contextlib
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import pytest
from kombu import Connection

from aheads import enqueue, ledger
from flask_nightshift.message.headers import deliveries
from servers import RabbitMQ
from system import System, running

SLOW = 60.0
"""Seconds; no short job may wait for it."""
PROMISE = 0.2
"""Seconds for which a short job may wait while a child is free."""
POOLS = ("prefork", "threads", "solo", "gevent")


class Sample(NamedTuple):
    """At a moment of the monotonic clock: how long processes have waited for a processor, in seconds, all together."""

    at: float
    waited: float


class Scarcity(threading.Thread):
    """Samples how long the processes of a system wait for a processor, as the kernel counts it for each thread."""

    def __init__(self, *roots: int) -> None:
        super().__init__(daemon=True)
        family = [psutil.Process(pid) for pid in roots]
        family += [child for parent in family for child in parent.children(recursive=True)]
        self._folders = [Path(f"/proc/{each.pid}/task") for each in family]
        self._samples: list[Sample] = []
        self._ended = threading.Event()

    def run(self) -> None:
        while not self._ended.wait(0.02):
            at = time.monotonic()
            self._samples.append(Sample(at, sum(map(_waited, self._folders))))

    def between(self, begin: float, end: float) -> float:
        """How long they waited from ``begin`` to ``end``."""
        before = [each for each in self._samples if each.at <= begin][-1:] or self._samples[:1]
        after = [each for each in self._samples if each.at >= end][:1] or self._samples[-1:]
        return after[0].waited - before[0].waited

    def __enter__(self) -> Scarcity:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        time.sleep(0.05)
        self._ended.set()
        self.join()


def _waited(folder: Path) -> float:
    waited = 0
    for thread in folder.glob("*/schedstat"):
        with contextlib.suppress(OSError):  # it has just ended
            waited += int(thread.read_text().split()[1])
    return waited / 1e9


def waits_are_short(system: System, broker: Any) -> None:
    """Three of four children run slow jobs, and short ones are enqueued with them: no short one waits for longer than
    ``PROMISE`` while the fourth child has nothing to do.

    What processes wait for a processor comes on top, and a child that gets none seems stuck to its worker. So on a busy
    machine one round of three has to show it.
    """
    rounds, short, slow, seconds = 3, 40, 3, 1.5
    system.ledger.unlink()
    with Scarcity(broker.process.pid, *(process.popen.pid for process in system.processes)) as scarcity:
        said = system.python(
            "import aheadapp; aheadapp.create_app();"
            f"aheadapp.enqueue_rounds({rounds}, {short}, {slow}, {seconds})"
        )
        system.until(lambda: len(ledger(system)) == rounds * (short + slow), 20, "they do not end")
    found = []
    for number, at in enumerate(map(float, said.split()[-rounds:]), 1):
        its = [ran for job, ran in ledger(system).items() if job // 1000 == number and job % 1000 >= slow]
        free_since, longest = at, 0.0
        for ran in sorted(its, key=lambda each: each["began"]):
            idle = ran["began"] - free_since
            longest = max(
                longest, idle - scarcity.between(free_since, ran["began"]) if idle > PROMISE else 0.0
            )
            free_since = max(free_since, ran["ended"])
        found.append(longest)
    assert min(found) <= PROMISE, f"a child was free while short jobs waited, for so many seconds: {found}"


@pytest.mark.parametrize(
    ("broker", "pool"),
    [
        ("valkey", "prefork"),
        ("valkey", "threads"),
        ("rabbitmq", "prefork"),
        *(
            pytest.param(broker, pool, marks=pytest.mark.thorough)
            for broker, pool in (("valkey", "solo"), ("valkey", "gevent"), ("rabbitmq", "threads"))
        ),
    ],
    indirect=["broker"],
)
def test_no_short_job_waits_in_a_busy_worker_while_a_child_is_free(
    broker: Any, new_system: Callable[..., System], pool: str
) -> None:
    system = new_system(FLASK_APP="aheadapp")
    children = 1 if pool == "solo" else 2
    for number in range(4 // children):
        system.worker("--pool", pool, "--concurrency", str(children), name=f"worker{number}")
    enqueue(system, 200, {})  # all have measured it
    system.until(lambda: len(ledger(system)) == 200, 30, "they do not end")
    waits_are_short(system, broker)
    slow = dict.fromkeys((0, 1, 2), SLOW)  # one worker gets them, with others behind them
    system.ledger.unlink()
    enqueue(system, 1200, slow)
    system.until(lambda: len(ledger(system)) >= 1200 - len(slow), 40, "short jobs wait for long ones")
    assert not ledger(system).keys() & slow.keys()


@pytest.mark.parametrize("broker", ["valkey"], indirect=True)
@pytest.mark.parametrize("pool", POOLS)
def test_what_a_busy_worker_took_ahead_goes_back_in_order_and_uncounted(
    broker: Any, new_system: Callable[..., System], pool: str
) -> None:
    system = new_system(FLASK_APP="aheadapp")
    system.worker("--pool", pool, "--concurrency", "1")
    enqueue(system, 50, {})
    system.until(lambda: len(ledger(system)) == 50, 30, "they do not end")
    with broker.client() as client:
        enqueue(system, 30, {0: SLOW})

        def ready() -> list[dict[str, Any]]:
            return [json.loads(raw) for raw in reversed(client.lrange("celery", 0, -1))]

        system.until(lambda: len(ready()) == 29, 30, "they do not go back")
        messages = ready()
    bodies = [json.loads(base64.b64decode(message["body"])) for message in messages]
    assert [args[0] for args, _, _ in bodies] == list(range(1, 30))
    assert not any("x-delivery-count" in message for message in messages)


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_a_worker_that_stops_returns_what_has_not_begun_uncounted_to_rabbitmq(
    rabbitmq: RabbitMQ, tmp_path: Path, pool: str
) -> None:
    url, settings = rabbitmq.fresh_url(), json.dumps({"worker_prefetch_multiplier": 16})
    with running(tmp_path, url, FLASK_APP="aheadapp", NIGHTSHIFT_CELERY=settings) as system:
        worker = system.worker("--pool", pool, "--concurrency", "1")
        enqueue(system, 30, {0: 3.0})
        system.until(lambda: worker.lines("job.started"), 20, "none begins")
        assert worker.stop() == 0
        done = ledger(system).keys()
        assert 0 in done
        with Connection(url) as connection, connection.channel() as channel:
            left = [channel.basic_get("celery") for _ in range(30 - len(done))]
            assert not any(deliveries(each.headers) or each.delivery_info["redelivered"] for each in left)
            assert channel.basic_get("celery") is None


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_more_consumers_take_short_jobs_ahead_from_rabbitmq(
    rabbitmq: RabbitMQ, tmp_path: Path, pool: str
) -> None:
    url = rabbitmq.fresh_url()
    with running(tmp_path, url, FLASK_APP="aheadapp") as system, Connection(url) as connection:
        system.worker("--pool", pool, "--concurrency", "2")
        channel = connection.default_channel

        def consumers() -> int:
            return int(channel.queue_declare("celery", passive=True).consumer_count)

        assert consumers() == 1
        enqueue(system, 300, {})
        system.until(lambda: len(ledger(system)) == 300, 30, "they do not end")
        assert consumers() > 1
