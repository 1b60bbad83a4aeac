"""Real workers and a server that forgets its scripts, is loading, or needs another password."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis

from servers import RedisServer, Valkey, wait_for
from system import System, running
from transport_cluster import Cluster
from transport_refusals import refused, works
from transport_support import Harness


@pytest.fixture(params=["valkey", "redis_server"])
def server(request: pytest.FixtureRequest) -> RedisServer:
    return request.getfixturevalue(request.param)


def test_forgotten_scripts_are_sent_again_in_mid_work(server: RedisServer) -> None:
    with cluster(server) as made:
        made.worker("threads").until_ready()
        names = [f"job-{n}" for n in range(300)]
        over = threading.Event()

        def forget() -> None:
            with server.client() as client:
                while not over.wait(0.1):
                    client.script_flush()

        flusher = threading.Thread(target=forget)
        flusher.start()
        try:
            made.enqueue(*names[:150])
            made.enqueue(*names[150:], countdown=0.5)
            made.wait(lambda: len(made.finished()) == 300)
        finally:
            over.set()
            flusher.join()
        assert set(made.started().values()) == {1}


@pytest.mark.parametrize("kind", [Valkey, RedisServer])
def test_a_server_that_is_loading_is_waited_for(kind: type[RedisServer], tmp_path: Path) -> None:
    class SlowLoader(kind):  # type: ignore[misc, valid-type]
        """Half a second per thousand keys, answering ``LOADING`` meanwhile."""

        start_seconds = 40

        def command(self) -> list[str]:
            slow = ["--key-load-delay", "1000", "--loading-process-events-interval-bytes", "1024"]
            return [*super().command(), *slow]

    server = SlowLoader()
    server.start()
    try:
        _fill(server, 6000)
        with running(tmp_path, server.url) as system:
            system.web()
            worker = system.worker("--concurrency", "1")
            works(system)
            server.stop()
            seen: list[str] = []
            meanwhile = threading.Thread(target=lambda: seen.append(_refused_while_loading(server, system)))
            meanwhile.start()
            server.start()  # not in the thread: the server dies with the thread that started it
            meanwhile.join()
            assert "loading" in seen[0]
            assert worker.popen.poll() is None
            works(system)
    finally:
        server.close()


def test_a_wrong_password_ends_a_worker_and_says_so(server: RedisServer, tmp_path: Path) -> None:
    url = server.fresh_url()
    with running(tmp_path, url.replace(server.password, "s3cret-wrong")) as system:
        system.web()
        worker = system.worker(wait=False)
        assert worker.popen.wait(60) == 1
        assert "refuses the user or password" in worker.log
        assert "s3cret" not in worker.log
        refused(system, "refuses the user or password")

    with cluster(server) as made, server.client() as client:  # plain Celery, and a password that is changed
        plain = made.worker("solo").until_ready()
        client.config_set("requirepass", "another")
        try:
            client.client_kill_filter(_type="normal", skipme=True)
            assert plain.popen.wait(60) == 1
            assert "refuses the user or password" in plain.log
        finally:
            client.config_set("requirepass", server.password)


@contextmanager
def cluster(server: RedisServer) -> Iterator[Cluster]:
    made = Cluster(Harness(server))
    try:
        yield made
    finally:
        made.close()


def _fill(server: RedisServer, keys: int) -> None:
    with server.client() as client:
        with client.pipeline(transaction=False) as pipe:
            for number in range(keys):
                pipe.set(f"ballast:{number}", "x" * 100)
            pipe.execute()
        client.bgrewriteaof()
        wait_for(lambda: not client.info("persistence")["aof_rewrite_in_progress"], 20, "it rewrites")


def _refused_while_loading(server: RedisServer, system: System) -> str:
    wait_for(lambda: _is_loading(server), 20, "it does not load")
    return refused(system, "(?i)loading")


def _is_loading(server: RedisServer) -> bool:
    with server.client() as client:
        try:
            client.ping()
        except redis.exceptions.BusyLoadingError:
            return True
    return False
