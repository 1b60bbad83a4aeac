"""``site`` is a broker and its server; a test that takes it runs once on each kind."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sites import NAMES, Embedded, Site, make_site


@pytest.fixture(scope="session")
def embedded() -> Iterator[Embedded]:
    server = Embedded()
    server.start()
    yield server
    server.close()


@pytest.fixture(params=NAMES)
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    name = request.param
    fixture = {
        "embedded": "embedded",
        "redis": "redis_server",
        "kombu": "redis_server",
        "rabbitmq": "rabbitmq",
    }
    server = request.getfixturevalue(fixture[name])
    with make_site(name, server) as made:
        yield made
