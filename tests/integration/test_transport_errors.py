"""Different refusals of the server give different errors, in a web app that enqueues and in a worker that goes on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from servers import RedisServer, wait_for
from system import System, running
from transport_refusals import refused, who, works

SERVERS = ["valkey", "redis_server"]


@pytest.fixture(scope="module", params=SERVERS)
def server(request: pytest.FixtureRequest) -> RedisServer:
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="module")
def system(server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """Web and one worker; each test repairs what it breaks."""
    with running(tmp_path_factory.mktemp("errors"), server.fresh_url()) as made:
        made.web()
        made.worker("--concurrency", "1")
        yield made


def test_full_memory_refuses_publishes_and_lets_jobs_end(system: System, server: RedisServer) -> None:
    running, waiting = who(), who()
    system.enqueue("test.nap", running, 3)
    system.until(lambda: system.events(running) == ["begun"], 20, "it does not begin")
    system.enqueue("test.nap", waiting, 0)
    with server.client() as client:
        client.config_set("maxmemory", 1)
        try:
            refused(system, "maxmemory")
            system.until(lambda: system.events(waiting) == ["begun", "done"], 30, "work does not go on")
            system.until(lambda: not client.hlen("nightshift:leased"), 10, "not acknowledged")
        finally:
            client.config_set("maxmemory", 0)
    works(system)
    assert system.events(running) == ["begun", "done"]


def test_a_server_that_became_a_replica_is_left_and_found_again(system: System, server: RedisServer) -> None:
    running = who()
    system.enqueue("test.nap", running, 4)
    system.until(lambda: system.events(running) == ["begun"], 20, "it does not begin")
    with server.client() as client:
        client.replicaof("127.0.0.1", 1)
        try:
            refused(system, "(?i)read only|ReadOnly")
            system.until(lambda: "done" in system.events(running), 20, "it does not end")
        finally:
            client.replicaof("NO", "ONE")
        works(system)
        system.until(lambda: not client.hlen("nightshift:leased"), 20, "not acknowledged")
    assert system.events(running) == ["begun", "done"], "it ran twice"


def test_a_server_that_cannot_save_is_waited_for(system: System, server: RedisServer) -> None:
    in_the_way = server.home / "dump.rdb"
    with server.client() as client:
        client.config_set("save", "3600 1")
        in_the_way.unlink(missing_ok=True)
        (in_the_way / "x").mkdir(parents=True)
        try:
            client.bgsave()
            wait_for(
                lambda: client.info("persistence")["rdb_last_bgsave_status"] == "err", 10, "it could save"
            )
            refused(system, "(?i)MISCONF|persist")
        finally:
            client.config_set("save", "")
            (in_the_way / "x").rmdir()
            in_the_way.rmdir()
    works(system)
