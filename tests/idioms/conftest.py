"""A workshop for each idiom, on each broker."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from workshop import Workshop

collect_ignore = ["apps"]
"""Suites that tests run in processes of their own."""

BROKERS = [
    pytest.param("redis_server", marks=pytest.mark.redis),
    pytest.param("rabbitmq", marks=pytest.mark.rabbitmq),
]


@pytest.fixture(params=BROKERS)
def broker_url(request: pytest.FixtureRequest) -> str:
    """The URL of an empty broker: by default of each kind in turn."""
    server: Any = request.getfixturevalue(request.param)
    return str(server.fresh_url())


@pytest.fixture
def workshop(tmp_path: Path, broker_url: str) -> Iterator[Callable[..., Workshop]]:
    """``workshop("module", **environment)``: the idiom's app in a place of its own."""
    made: list[Workshop] = []

    def make(app: str, **env: str) -> Workshop:
        made.append(Workshop(tmp_path, broker_url, app, **env))
        return made[-1]

    yield make
    for one in made:
        one.close()
