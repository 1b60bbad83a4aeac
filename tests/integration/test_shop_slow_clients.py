"""The web app as the container runs it: clients that send single bytes do not block others."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import httpx
import pytest

from servers import Valkey, free_port, wait_for
from shop_app import make_app
from shop_stack import ROOT

CLIENTS = 60
SECONDS = 4
BODY = b"POST /signup HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 5000\r\n\r\n"
HEAD = b"POST /signup HTTP/1.1\r\nHost: x\r\nX-Slow: "


@pytest.fixture
def web(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, valkey: Valkey) -> Iterator[tuple[int, Path]]:
    """The port of the web app and its log."""
    broker = valkey.fresh_url()
    make_app(tmp_path, monkeypatch, NIGHTSHIFT_BROKER_URL=broker)
    port, log = free_port(), tmp_path / "web.log"
    environ = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT / "examples"), os.environ.get("PYTHONPATH")])),
        "SHOP_INSTANCE": str(tmp_path),
        "NIGHTSHIFT_BROKER_URL": broker,
        "WEB_REQUEST_SECONDS": str(SECONDS),
    }
    command = [sys.executable, "-m", "gunicorn", "--config", str(ROOT / "docker" / "gunicorn.conf.py")]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, f"--bind=127.0.0.1:{port}", "shop:create_app()"],
            env=environ, cwd=tmp_path, stdout=output, stderr=output,
        )  # fmt: skip
    try:
        wait_for(
            lambda: httpx.get(f"http://127.0.0.1:{port}/health/live").status_code == 200, 30, "no answer"
        )
        yield port, log
    finally:
        process.terminate()
        process.wait(40)


class SlowClients(threading.Thread):
    """Connections that send a byte every half second; ``closed`` has how long each lasted."""

    def __init__(self, port: int, heads: list[bytes]) -> None:
        super().__init__(daemon=True)
        self.closed: list[float] = []
        self.begun = time.monotonic()
        self._open = selectors.DefaultSelector()
        for head in heads:
            client = socket.create_connection(("127.0.0.1", port))
            client.sendall(head)
            client.setblocking(False)
            self._open.register(client, selectors.EVENT_READ)

    def run(self) -> None:
        while clients := [cast("socket.socket", key.fileobj) for key in self._open.get_map().values()]:
            ended = {key.fileobj for key, _ in self._open.select(0.5)}
            for client in clients:
                with contextlib.suppress(OSError):
                    client.send(b"a")
                if client in ended:
                    self._open.unregister(client)
                    client.close()
                    self.closed.append(time.monotonic() - self.begun)


def test_others_are_served_and_the_slow_are_sent_away(web: tuple[int, Path]) -> None:
    port, log = web
    slow = SlowClients(port, [BODY, HEAD] * (CLIENTS // 2))
    slow.start()
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=3) as client:
        for number in range(5):
            answer = client.post("/signup", json={"name": "Ada", "email": f"ada{number}@example.org"})
            assert answer.status_code == 202
        client.get("/hello/s3cret-token?q=s3cret-query")
    wait_for(lambda: len(slow.closed) == CLIENTS, 20, "slow clients are kept")
    assert max(slow.closed) < 12

    lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    assert [line["path"] for line in lines if line.get("path", "").startswith("/hello")] == ["/hello/…"]
    assert "s3cret" not in log.read_text()
    assert "Traceback" not in log.read_text()
