"""A worker that has nothing to do asks its broker little, however many queues it has, and misses nothing.

The server itself counts (``MONITOR``): what clients request, and what scripts do inside it.
"""

from __future__ import annotations

import contextlib
import json
import re
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from system import HERE, System, running

from servers import RedisServer, wait_for

SECONDS = 10.0
"""For which is counted."""
MOST = 2.0
"""Requests of an idle worker in a second."""
LINE = re.compile(rb'\+([\d.]+) \[\d+ (\S+)\] "(\w+)"')
SENDER = """
import sys
from celery import Celery
app = Celery(broker=sys.argv[1], backend=None)
with app.connection_for_write() as connection:
    connection.connect()
    print("ready", flush=True)
    for name in sys.stdin:
        app.send_task("test.succeed", [name.strip()], queue=sys.argv[2], connection=connection)
"""


@pytest.fixture
def servers() -> Iterator[tuple[RedisServer, RedisServer]]:
    """Of our own: the requests of others are not to be counted."""
    made = RedisServer(), RedisServer()
    for server in made:
        server.start()
    yield made
    for server in made:
        server.close()


def counted_when_idle(server: RedisServer) -> tuple[Counter[str], Counter[str]]:
    """What clients request, and what scripts do, in ``SECONDS`` of a worker that has been idle as long before."""
    with server.client() as client:
        wait_for(lambda: any(c["cmd"] == "blpop" for c in client.client_list()), 20, "it does not wait")
    begin = time.time() + SECONDS
    with socket.create_connection(("127.0.0.1", server.port)) as sock:
        sock.sendall(f"AUTH {server.password}\r\nMONITOR\r\n".encode())
        sock.settimeout(0.2)
        data = b""
        while time.time() < begin + SECONDS:
            try:
                data += sock.recv(1 << 20)
            except TimeoutError:
                continue
    found = [match.groups() for match in map(LINE.match, data.splitlines()) if match]
    found = [(who, name.decode()) for at, who, name in found if float(at) >= begin]
    by_clients = Counter(name for who, name in found if who != b"lua")
    return by_clients, Counter(name for who, name in found if who == b"lua")


def test_an_idle_worker_asks_little_however_many_queues_it_has(
    servers: tuple[RedisServer, RedisServer], tmp_path: Path
) -> None:
    few, many = servers
    with _working(tmp_path / "few", few, 1), _working(tmp_path / "many", many, 400) as system:
        with ThreadPoolExecutor() as threads:
            (asked, done), (asked_of_many, done_of_many) = threads.map(counted_when_idle, servers)
        assert sum(asked.values()) <= MOST * SECONDS, asked
        assert sum(asked_of_many.values()) <= MOST * SECONDS, asked_of_many
        assert sum(done_of_many.values()) <= 2 * sum(done.values()), (done, done_of_many)
        assert sum(done_of_many.values()) <= 20 * SECONDS, done_of_many
        _woken_by_a_plain_producer(many, system)
        _archives_what_others_bury(many, system)
        _serves_what_is_delayed(many, system)


@contextlib.contextmanager
def _working(folder: Path, server: RedisServer, queues: int) -> Iterator[System]:
    folder.mkdir()
    with running(folder, server.url) as system:
        system.worker("-Q", ",".join(f"q{n}" for n in range(queues)), "--concurrency", "2")
        yield system


def _woken_by_a_plain_producer(server: RedisServer, system: System) -> None:
    """Celery without Nightshift, which rings no bell."""
    sender = subprocess.Popen(
        [sys.executable, "-c", SENDER, server.url, "q399"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=HERE,
    )  # fmt: skip
    assert sender.stdin is not None
    assert sender.stdout is not None
    sender.stdout.readline()
    for name in ("stranger1", "stranger2", "stranger3"):
        sent = time.monotonic()
        print(name, file=sender.stdin, flush=True)
        system.until(lambda name=name: system.events(name), 10, "it does not start")
        assert time.monotonic() - sent < 2.0
    sender.stdin.close()
    assert sender.wait(10) == 0


def _archives_what_others_bury(server: RedisServer, system: System) -> None:
    buried = time.monotonic()
    with server.client() as client:
        client.lpush("nightshift.dead", json.dumps({"body": "", "headers": {"id": "j", "task": "t"}}))
        system.until(lambda: not client.exists("nightshift.dead"), 10, "it is not archived")
    assert time.monotonic() - buried < 7


def _serves_what_is_delayed(server: RedisServer, system: System) -> None:
    """Also a message whose ring another worker heard, that is gone now."""
    with server.client() as client:
        due = time.time() + 1
        message = _message("delayed", "q7")
        client.zadd("nightshift:delayed:q7", {f"0|{message}": due})
        system.until(lambda: system.events("delayed"), 10, "it does not start")
        assert -0.01 <= time.time() - due < 2.0


def _message(marker: str, queue: str) -> str:
    from celery import Celery

    app = Celery(broker="memory://")
    with app.connection_for_write() as connection:
        channel = connection.default_channel
        channel.queue_declare(queue)
        app.send_task("test.succeed", [marker], queue=queue, connection=connection)
        sent: Any = channel._get(queue)
    return json.dumps(sent)
