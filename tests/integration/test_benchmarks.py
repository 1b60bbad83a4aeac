"""The harness of ``make bench`` works; no test judges its figures."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from servers import wait_for

ROOT = Path(__file__).parents[2]


def bench(**parameters: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "benchmarks"],
        cwd=ROOT,
        env={**os.environ, "WAIT": "0", **parameters},
        text=True,
        capture_output=True,
        timeout=120,
    )


def test_the_smallest_run_prints_a_table_and_writes_nothing() -> None:
    before = (ROOT / "docs").stat().st_mtime_ns
    done = bench(ONLY="enqueue", PEERS="by-hand", ROUNDS="1", SERVER="valkey")
    assert done.returncode == 0, done.stderr
    assert "| by-hand" in done.stdout
    assert (ROOT / "docs").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [("ONLY", "speed", "enqueue, drain"), ("PEERS", "sidekiq", "dramatiq"), ("SERVER", "kafka", "valkey"),
     ("ROUNDS", "many", "from 1 to"), ("OUT", "README.md", "a folder"), ("WAIT", "long", "from 0 to"),
     ("BASE", "nowhere", "git log"), ("PEERS", "nightshift-base", "BASE=COMMIT")],
)  # fmt: skip
def test_a_wrong_parameter_is_named_with_what_is_allowed(key: str, value: str, allowed: str) -> None:
    done = bench(**{key: value})
    assert done.returncode == 2
    assert f"{key}={value}" in done.stderr
    assert allowed in done.stderr


def test_nightshift_as_it_comes_drains_and_is_compared_with_another_commit() -> None:
    done = bench(ONLY="drain", PEERS="nightshift-default", ROUNDS="1", SERVER="redis", BASE="HEAD")
    assert done.returncode == 0, done.stderr + done.stdout
    assert "| nightshift-base" in done.stdout
    assert "drain of nightshift-default, against " in done.stdout


@pytest.mark.thorough
def test_imports_are_measured_without_a_server() -> None:
    done = bench(ONLY="import", PEERS="nightshift-default", ROUNDS="1", SERVER="valkey")
    assert done.returncode == 0, done.stderr
    assert "| none | import time of `flask_nightshift`" in done.stdout


def test_no_process_or_file_is_left_after_an_interrupt() -> None:
    parameters = {"ONLY": "enqueue", "PEERS": "by-hand", "ROUNDS": "50", "SERVER": "valkey", "WAIT": "0"}
    environment = {**os.environ, **parameters}
    run = subprocess.Popen(
        [sys.executable, "-m", "benchmarks"], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
    )
    try:
        assert run.stdout is not None
        assert "round 1" in run.stdout.readline()
        # between two rounds there are none
        family = wait_for(lambda: psutil.Process(run.pid).children(recursive=True), 20, "it has no processes")
        run.send_signal(signal.SIGINT)
        output, _ = run.communicate(timeout=60)
        assert run.returncode == 130
        assert "| by-hand" in output
        wait_for(lambda: not any(process.is_running() for process in family), 20, "processes are left")
    finally:
        run.kill()


def test_the_proxy_delays_and_keeps_the_order() -> None:
    with socket.create_server(("127.0.0.1", 0)) as echo:
        threading.Thread(target=_echo, args=(echo,), daemon=True).start()
        words = [sys.executable, "-m", "benchmarks.proxy", str(echo.getsockname()[1])]
        with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True) as proxy:
            try:
                assert proxy.stdout is not None
                port = int(proxy.stdout.readline())
                with socket.create_connection(("127.0.0.1", port)) as client:
                    begun = time.monotonic()
                    client.sendall(b"one")
                    assert client.recv(3) == b"one"
                    assert time.monotonic() - begun >= 0.002
                    sent = b"".join(b"%08d" % number for number in range(50_000))
                    threading.Thread(target=client.sendall, args=(sent,), daemon=True).start()
                    assert _read(client, len(sent)) == sent
            finally:
                proxy.kill()


def _echo(server: socket.socket) -> None:
    connection, _ = server.accept()
    with connection:
        while data := connection.recv(65_536):
            connection.sendall(data)


def _read(client: socket.socket, size: int) -> bytes:
    client.settimeout(60)
    found = b""
    while len(found) < size:
        found += client.recv(65_536)
    return found
