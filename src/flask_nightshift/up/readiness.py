"""Waits for the broker, and then for the whole app, as its health page reports it."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request

from ..brokers.base import Broker
from ..errors import BrokerUnavailable

START_SECONDS = 60.0
"""Seconds to wait for the broker, and for the app, before ``flask jobs up`` goes on or reports that it is not ready."""


def await_broker(broker: Broker) -> None:
    """Return when ``broker`` answers, or after ``START_SECONDS``."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        try:
            broker.health(1.0)
        except BrokerUnavailable:
            time.sleep(0.05)
        else:
            return


def await_ready(url: str) -> tuple[bool, str]:
    """Ask the health page ``url`` for up to ``START_SECONDS``; returns whether it is ready, and its last answer."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        ready, said = _ask(url)
        if ready or time.monotonic() > deadline:
            return ready, said
        time.sleep(0.2)


def _ask(url: str) -> tuple[bool, str]:
    """Whether ``url`` answers with success, and the answer or the error as text."""
    try:
        with urllib.request.urlopen(url, timeout=3) as response:  # noqa: S310 - our own http URL
            return True, response.read().decode()
    except urllib.error.HTTPError as exc:
        return False, _short(exc.read())
    except (OSError, ValueError) as exc:
        return False, f"{url}: {exc}"


def _short(body: bytes) -> str:
    try:
        return json.dumps(json.loads(body))
    except ValueError:
        return body[:300].decode("utf-8", "replace")


__all__ = ["START_SECONDS", "await_broker", "await_ready"]
