"""``harness`` is a broker and its server; a test that uses it runs once for each kind of broker."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask

from broker_harness import FIXTURES, NAMES, Embedded, Harness, InProcess, make_harness
from declared_keys import declared_keys
from flask_nightshift.services import current
from redis_servers import Managed
from resultsapp import create_app

__all__ = ["declared_keys"]


@pytest.fixture(autouse=True)
def _scripts_declare_their_keys(request: pytest.FixtureRequest) -> None:
    """The scripts of Redis and Valkey are checked in all tests of the contract."""
    if {"embedded", "redis", "valkey", "redis_server"} & {*request.fixturenames, *_parameters(request)}:
        request.getfixturevalue("declared_keys")


def _parameters(request: pytest.FixtureRequest) -> list[str]:
    found = getattr(request.node, "callspec", None)
    return [str(value) for value in found.params.values()] if found else []


@pytest.fixture(scope="session")
def embedded() -> Iterator[Embedded]:
    server = Embedded()
    server.start()
    yield server
    server.close()


@pytest.fixture
def in_process() -> InProcess:
    return InProcess()


@pytest.fixture(params=NAMES)
def harness(request: pytest.FixtureRequest) -> Iterator[Harness]:
    name = request.param
    server = request.getfixturevalue(FIXTURES[name])
    if isinstance(server, Managed):
        server.forget()
    with make_harness(name, server) as made:
        yield made
    if isinstance(server, Managed):
        assert server.refused() == set(), "the published user lacks a permission"


@pytest.fixture
def app(harness: Harness, tmp_path: Path) -> Iterator[Flask]:
    """The harness's app with jobs that keep results."""
    config = {key: value for key, value in harness.app.config.items() if key.startswith("NIGHTSHIFT_")}
    instance = harness.app.instance_path
    app = create_app(
        instance,
        NIGHTSHIFT_DATABASE_URL=f"sqlite:///{tmp_path}/history.sqlite3",
        NIGHTSHIFT_DEFAULT_QUEUE=harness.queue,
        **config,
    )
    with app.app_context():
        current().store.migrate()
        yield app
        current().journal.close()
