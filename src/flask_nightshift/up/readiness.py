"""When the parts of an app are ready: the broker first, then all of it, as its own health page says."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request

from ..brokers.base import Broker
from ..errors import BrokerUnavailable

START_SECONDS = 60.0
"""How long all of it may take to become ready before it is said that something is not."""


def await_broker(broker: Broker) -> None:
    """Return when ``broker`` answers, or when it did not for ``START_SECONDS``."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        try:
            broker.health(1.0)
        except BrokerUnavailable:
            time.sleep(0.05)
        else:
            return


def await_ready(url: str) -> tuple[bool, str]:
    """Ask the page ``url`` for ``START_SECONDS`` at most: whether it says that all is ready, and what it said last."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        ready, said = _ask(url)
        if ready or time.monotonic() > deadline:
            return ready, said
        time.sleep(0.2)


def _ask(url: str) -> tuple[bool, str]:
    """Whether ``url`` answers 200, and what it or its absence says."""
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
