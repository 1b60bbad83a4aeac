"""The first publish of a process declares what is missing, in few round trips and within the usual time limit."""

from __future__ import annotations

import queue
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

import pytest

from broker_harness import a_job, make_harness
from flask_nightshift.brokers.failures import PATIENCE, STEP
from flask_nightshift.brokers.rabbitmq import topology
from flask_nightshift.brokers.rabbitmq.broker import RabbitMQBroker
from flask_nightshift.domain.job import utcnow
from flask_nightshift.errors import BrokerUnavailable
from servers import RabbitMQ, wait_for

pytestmark = pytest.mark.rabbitmq


class LongRoad:
    """A TCP proxy that takes ``seconds`` each way, as a distant server does; bytes keep their order.

    ``round_trips`` counts how often the client sent something after an answer had reached it.
    """

    def __init__(self, port: int, seconds: float) -> None:
        self.round_trips = 0
        self._answered = True
        self._target, self._seconds = port, seconds
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._sockets = [self._listening]
        self.port = self._listening.getsockname()[1]
        self._start(self._accept)

    def _accept(self) -> None:
        while True:
            client, _ = self._listening.accept()
            server = socket.create_connection(("127.0.0.1", self._target))
            self._sockets += [client, server]
            for here, there in ((client, server), (server, client)):
                waiting: queue.SimpleQueue[tuple[float, bytes]] = queue.SimpleQueue()
                self._start(self._read, here, waiting, here is client)
                self._start(self._write, there, waiting, there is client)

    def _read(self, here: socket.socket, waiting: Any, from_client: bool) -> None:
        while data := here.recv(65536):
            if from_client and self._answered:
                self.round_trips += 1
                self._answered = False
            waiting.put((time.monotonic() + self._seconds, data))
        waiting.put((0, b""))

    def _write(self, there: socket.socket, waiting: Any, to_client: bool) -> None:
        while (item := waiting.get())[1]:
            time.sleep(max(0.0, item[0] - time.monotonic()))
            if to_client:
                self._answered = True
            there.sendall(item[1])
        there.close()

    def _start(self, run: Any, *args: Any) -> None:
        def quietly() -> None:
            with suppress(OSError):
                run(*args)

        threading.Thread(target=quietly, daemon=True).start()

    def close(self) -> None:
        for sock in self._sockets:
            sock.close()


@contextmanager
def far_away(server: RabbitMQ, seconds: float) -> Iterator[tuple[str, LongRoad]]:
    road = LongRoad(server.port, seconds)
    try:
        yield server.fresh_url().replace(f":{server.port}/", f":{road.port}/"), road
    finally:
        road.close()


def test_the_first_job_in_an_empty_vhost_of_a_distant_server_takes_few_round_trips(
    rabbitmq: RabbitMQ,
) -> None:
    with (
        far_away(rabbitmq, 0.005) as (url, road),
        make_harness("rabbitmq", rabbitmq, NIGHTSHIFT_BROKER_URL=url) as harness,
    ):
        harness.broker.publish(a_job(), harness.queue, due=utcnow() + timedelta(seconds=1))
        assert road.round_trips <= 25  # for about 140 commands
        wait_for(lambda: harness.broker.depths([harness.queue])[0].ready == 1, 20, "the delayed job")


def test_a_first_job_that_would_come_too_late_is_refused_in_time(
    rabbitmq: RabbitMQ,
) -> None:
    round_trip = 0.5
    with (
        far_away(rabbitmq, round_trip / 2) as (url, road),
        make_harness("rabbitmq", rabbitmq, NIGHTSHIFT_BROKER_URL=url) as harness,
    ):
        with pytest.raises(BrokerUnavailable):
            harness.broker.publish(a_job(), harness.queue)
        began_last = (road.round_trips - 1) * round_trip
        assert began_last < PATIENCE + STEP


def test_threads_that_wait_for_the_first_declaration_get_their_answer_in_time(
    rabbitmq: RabbitMQ, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The broker freezes while one thread declares and five have connected and wait for it."""
    threads, waiting = 6, threading.Semaphore(0)
    with make_harness("rabbitmq", rabbitmq, NIGHTSHIFT_BROKER_URL=rabbitmq.fresh_url()) as harness:
        assert isinstance(harness.broker, RabbitMQBroker)
        declarations = harness.broker._declarations
        declaring, foundation = declarations._declaring, topology.declare_shared

        def counted(name: str) -> Any:
            waiting.release()
            return declaring(name)

        def frozen(connection: Any, **options: Any) -> None:
            if not harness.server.frozen:
                for _ in range(threads):
                    assert waiting.acquire(timeout=0.5)
                harness.server.freeze()
            foundation(connection, **options)

        monkeypatch.setattr(declarations, "_declaring", counted)
        monkeypatch.setattr(topology, "declare_shared", frozen)

        def late(_: int) -> float:
            began = time.monotonic()
            with pytest.raises(BrokerUnavailable):
                harness.broker.publish(a_job(), harness.queue)
            return time.monotonic() - began

        with ThreadPoolExecutor(threads) as pool:
            assert max(pool.map(late, range(threads))) < PATIENCE + 2 * STEP, "a thread waited a second time"
