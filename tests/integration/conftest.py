"""A system per broker: one for a whole module, and fresh ones for tests that break something."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from flask_nightshift.store import Store
from servers import Server
from system import System, running

DATABASES = ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)]
BROKERS = ["valkey", "redis_server", "rabbitmq"]


@pytest.fixture(params=BROKERS, scope="module")
def broker(request: pytest.FixtureRequest) -> Any:
    """Each broker in turn: a server of ``servers.py``."""
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="module")
def shared_system(broker: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """Web and one worker, for tests that leave them as they were."""
    with running(tmp_path_factory.mktemp("system"), broker.fresh_url()) as system:
        system.web()
        system.worker("--concurrency", "2")
        yield system


@pytest.fixture
def new_system(broker: Any, tmp_path: Path) -> Iterator[Callable[..., System]]:
    """A factory of systems of one's own, without processes yet."""
    with ExitStack() as stack:

        def make(**settings: str) -> System:
            return stack.enter_context(running(tmp_path, broker.fresh_url(), **settings))

        yield make


@pytest.fixture
def at(tmp_path: Path) -> Iterator[Callable[..., System]]:
    """Start a web app on the broker of a URL."""
    with ExitStack() as stack:

        def system(url: str, **settings: str) -> System:
            made = stack.enter_context(running(tmp_path, url, **settings))
            made.web()
            return made

        yield system


@pytest.fixture
def started() -> Iterator[Any]:
    """Start a server that is closed after the test."""
    servers: list[Server] = []

    def start(server: Server) -> Any:
        servers.append(server)
        return server.start()

    yield start
    for server in servers:
        server.close()


@pytest.fixture(params=DATABASES)
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Each kind of database in turn: the URL of a new one, not migrated."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/history/nightshift.sqlite3"
    return str(request.getfixturevalue("postgres").fresh_url())


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    """A migrated store on each kind of database."""
    made = Store(database_url)
    made.migrate()
    yield made
    made.close()
