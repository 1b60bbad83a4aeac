"""Closing an app, from any thread, changes nothing else in the process."""

from __future__ import annotations

import socket

import pytest
from flask import Flask

from broker_harness import Harness
from flask_nightshift.services import current
from resultsapp import add


def test_closing_changes_no_timeout_of_new_sockets(
    harness: Harness, app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    add.apply_async((1, 2), delivery_mode=2)  # by way of the app's pool of connections
    assert current(app).celery.pool.connection is not None
    set_to: list[float | None] = []
    monkeypatch.setattr(socket, "setdefaulttimeout", set_to.append)
    current(app).close()
    assert set(set_to) <= {socket.getdefaulttimeout()}
