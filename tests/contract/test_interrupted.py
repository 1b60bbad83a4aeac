"""A time limit or signal handler interrupts a publish: its late confirmation is not taken for another message's."""

from __future__ import annotations

import contextlib
import signal
import socket
import threading
from collections.abc import Callable, Iterator

import pytest
from flask import Flask

from broker_harness import Harness, make_harness
from resultsapp import add
from servers import RabbitMQ


class SoftLimit(Exception):
    """Like Celery's ``SoftTimeLimitExceeded``."""


class Timeout(BaseException):
    """Like gevent's."""


class Line:
    """A TCP line to a server. After ``hold()`` no answer comes over the connections that are open."""

    def __init__(self, port: int) -> None:
        self._server = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._connections = 0
        self._held = 0  # those up to this number
        self._muted = False
        self._released = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def hold(self) -> None:
        self._held = self._connections

    def mute(self) -> None:
        """What is said over them from now on does not arrive."""
        self._muted = True

    def release(self) -> None:
        """The answers come."""
        self._released.set()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._server))
                self._connections += 1
                for ends in ((client, server, False), (server, client, True)):
                    threading.Thread(target=self._pump, args=(*ends, self._connections), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket, answers: bool, number: int) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if number <= self._held and answers:
                    self._released.wait(30)
                elif number <= self._held and self._muted:
                    continue
                target.sendall(data)
        for each in (source, target):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def line(rabbitmq: RabbitMQ) -> Iterator[Line]:
    made = Line(rabbitmq.port)
    yield made
    made.close()


@pytest.fixture
def harness(rabbitmq: RabbitMQ, line: Line) -> Iterator[Harness]:
    url = rabbitmq.fresh_url().replace(str(rabbitmq.port), str(line.port))
    with make_harness("rabbitmq", rabbitmq, NIGHTSHIFT_BROKER_URL=url) as made:
        yield made


def interrupted(by: type[BaseException], call: Callable[[], object]) -> None:
    """``call()``, which is interrupted after half a second."""

    def interrupt(*_: object) -> None:
        raise by

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.5)
    try:
        with pytest.raises(by):
            call()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("by", [SoftLimit, Timeout])
def test_a_late_confirmation_is_not_taken_for_the_next_jobs(
    harness: Harness, app: Flask, line: Line, by: type[BaseException]
) -> None:
    add.delay(1, 1)
    line.hold()
    interrupted(by, lambda: add.delay(2, 2))
    line.mute()
    release = threading.Timer(0.5, line.release)
    release.start()
    add.delay(3, 3)
    release.join()

    with harness.consumer() as receive:
        got: list[int] = []
        while message := receive(10 if len(got) < 3 else 0.5):
            got.append(message.payload[0][0])
            message.ack()
    assert got == [1, 2, 3]
