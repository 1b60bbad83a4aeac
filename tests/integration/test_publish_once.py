"""A publish whose answer is cut off has happened, and does not happen again."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from broker_harness import a_job
from flask_nightshift import Nightshift
from flask_nightshift.message.copies import stamp_copy
from flask_nightshift.message.envelope import Envelope
from flask_nightshift.services import current

jobs = Nightshift()


@jobs.task(name="once.work")
def work(number: int) -> None: ...


class Line:
    """A TCP line to a server that can be cut between a request and its answer."""

    def __init__(self, port: int) -> None:
        self._server = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.cut_next_answer = False
        self.cuts = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._server))
                for source, target, answers in ((client, server, False), (server, client, True)):
                    threading.Thread(target=self._pump, args=(source, target, answers), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket, answers: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if answers and self.cut_next_answer:
                    self.cut_next_answer = False
                    self.cuts += 1
                    break
                target.sendall(data)
        for each in (source, target):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._listener.close()


@pytest.fixture(params=["valkey", "redis_server"])
def server(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue(request.param)


@pytest.fixture
def line(server: Any) -> Iterator[Line]:
    server.fresh_url()
    made = Line(server.port)
    yield made
    made.close()


@pytest.fixture
def app(server: Any, line: Line, tmp_path: Path) -> Iterator[Flask]:
    app = Flask("once", instance_path=str(tmp_path))
    app.config["NIGHTSHIFT_BROKER_URL"] = server.url.replace(str(server.port), str(line.port))
    jobs.init_app(app)
    with app.app_context():
        current().store.migrate()
        yield app
        current().broker.close()
        current().journal.close()


def test_a_job_whose_answer_was_cut_off_is_enqueued_once(server: Any, line: Line, app: Flask) -> None:
    work.delay(0)
    for number in range(1, 6):
        line.cut_next_answer = True
        assert work.delay(number).id
    assert line.cuts == 5
    with server.client() as client:
        assert client.llen("celery") == 6


def test_of_many_jobs_none_is_enqueued_twice(server: Any, line: Line, app: Flask) -> None:
    work.delay(0)
    line.cut_next_answer = True
    ids = work.enqueue_many([(number,) for number in range(700)])
    assert line.cuts == 1
    assert len(set(ids)) == 700
    with server.client() as client:
        assert client.llen("celery") == 701


def test_a_publish_from_an_outbox_whose_answer_was_cut_off_is_no_duplicate(
    server: Any, line: Line, app: Flask, caplog: pytest.LogCaptureFixture
) -> None:
    broker = current().broker
    known = Envelope(b"[[], {}, {}]", stamp_copy(a_job().headers, "row", 1))
    list(broker.publish_many([known], "celery", from_outbox=True))
    line.cut_next_answer = True
    again = Envelope(known.body, stamp_copy(known.headers, "row", 2))
    others = [Envelope(known.body, stamp_copy(a_job().headers, f"row {number}", 1)) for number in range(3)]
    list(broker.publish_many([*others, again], "celery", from_outbox=True))
    assert line.cuts == 1
    with server.client() as client:
        assert client.llen("celery") == 4
    duplicates = [record.msg.fields["job_id"] for record in caplog.records if hasattr(record.msg, "fields")]
    assert duplicates == [known.headers["id"]]


def test_the_record_of_a_publisher_expires(server: Any, line: Line, app: Flask) -> None:
    work.delay(0)
    with server.client() as client:
        (word,) = client.keys("nightshift:publisher:*")
        assert 0 < client.pttl(word) <= 10_000
