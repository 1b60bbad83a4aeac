"""``site`` is a broker and its server; a test that uses it runs once for each kind of broker."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask

from flask_nightshift.services import current
from resultsapp import create_app
from sites import NAMES, Embedded, InProcess, Site, make_site


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
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    name = request.param
    fixture = {
        "embedded": "embedded",
        "redis": "redis_server",
        "kombu": "redis_server",
        "rabbitmq": "rabbitmq",
        "memory": "in_process",
    }
    server = request.getfixturevalue(fixture[name])
    with make_site(name, server) as made:
        yield made


@pytest.fixture
def app(site: Site, tmp_path: Path) -> Iterator[Flask]:
    """The site's app with jobs that keep results."""
    config = {key: value for key, value in site.app.config.items() if key.startswith("NIGHTSHIFT_")}
    instance = site.app.instance_path
    app = create_app(
        instance,
        NIGHTSHIFT_DATABASE_URL=f"sqlite:///{tmp_path}/history.sqlite3",
        NIGHTSHIFT_DEFAULT_QUEUE=site.queue,
        **config,
    )
    with app.app_context():
        current().store.migrate()
        yield app
        current().journal.close()
