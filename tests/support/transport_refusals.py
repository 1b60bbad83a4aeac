"""Checks of a web app and its worker while the server refuses them."""

from __future__ import annotations

import re
import time
import uuid
from typing import Any

from system import System


def who() -> str:
    return uuid.uuid4().hex[:12]


def refused(system: System, text: str) -> str:
    """Check that enqueueing fails in time with ``text`` in the error."""
    assert system.http is not None
    began = time.monotonic()
    response = system.http.post("/enqueue/test.nap", json={"args": ["refused", 0]})
    assert time.monotonic() - began < 3.5
    assert response.status_code == 503, response.text
    assert re.search(text, response.text), response.text
    assert "s3cret" not in response.text
    assert "begun" not in system.events("refused")
    return response.text


def works(system: System) -> None:
    """Check that a job can be enqueued and runs once."""
    assert system.http is not None
    http, name = system.http, who()
    body: dict[str, Any] = {"args": [name, 0]}
    system.until(lambda: http.post("/enqueue/test.nap", json=body).status_code == 202, 30, "not enqueued")
    system.until(lambda: system.events(name) == ["begun", "done"], 40, "it does not run")
