"""The pytest plugin of Flask-Nightshift: the fixture ``nightshift_jobs``.

pytest loads it by its entry point in every run. It is a separate package, because ``flask_nightshift`` itself imports
Flask: a suite that does not use the fixture imports nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from flask import Flask

    from flask_nightshift.testing import Jobs


@pytest.fixture
def nightshift_app(request: pytest.FixtureRequest) -> Flask:
    """The Flask app whose jobs ``nightshift_jobs`` has: your fixture ``app``. Override it for another one."""
    try:
        found: Flask = request.getfixturevalue("app")
    except pytest.FixtureLookupError as exc:
        if exc.argname != "app":
            raise
        raise RuntimeError(
            "the fixture nightshift_jobs needs your Flask app: write a fixture 'app' that returns it, "
            "or override the fixture 'nightshift_app'"
        ) from None
    return found


@pytest.fixture
def nightshift_jobs(request: pytest.FixtureRequest, nightshift_app: Flask) -> Iterator[Jobs]:
    """The jobs of the app in this test: what is enqueued, and methods that run it."""
    from flask_nightshift.testing.kit import opened

    failed = request.session.testsfailed
    with opened(nightshift_app) as jobs:
        yield jobs
        if request.session.testsfailed == failed:  # a test that failed has one reason already
            jobs.check()
