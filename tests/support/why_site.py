"""A system of ``whyapp`` on a pair of a broker and a database, whose app is current in the test, too."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from unittest.mock import patch

import pytest

import whyapp
from system import System, running

PAIRS = [
    pytest.param(("valkey", None), id="valkey-sqlite"),
    pytest.param(
        ("rabbitmq", "postgres"), id="rabbitmq-postgres", marks=[pytest.mark.postgres, pytest.mark.rabbitmq]
    ),
]


@contextmanager
def why_system(request: pytest.FixtureRequest, folder: Path) -> Iterator[tuple[System, str]]:
    """The system, and the name of the broker, of the pair that ``request`` has as its parameter."""
    broker, database = request.param
    url = request.getfixturevalue(broker).fresh_url()
    history = request.getfixturevalue(database).fresh_url() if database else f"sqlite:///{folder}/h.sqlite3"
    with ExitStack() as stack:
        system = stack.enter_context(
            running(folder, url, FLASK_APP="whyapp", NIGHTSHIFT_DATABASE_URL=history)
        )
        stack.enter_context(patch.dict(os.environ, INSTANCE=system.env["INSTANCE"]))
        app = whyapp.create_app(NIGHTSHIFT_BROKER_URL=url, NIGHTSHIFT_DATABASE_URL=history)
        stack.callback(whyapp.jobs.close, app)
        stack.enter_context(app.app_context())
        yield system, broker


__all__ = ["PAIRS", "why_system"]
