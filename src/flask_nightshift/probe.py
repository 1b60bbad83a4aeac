"""Ask several sources at once, each bounded in time, so that one that hangs cannot hang the rest.

A call that does not answer in time is left behind in its daemon thread and reported as failed. As long as it
hangs no second one is started for it, so a frozen server costs one thread and not one per question.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from flask import Flask

from .config import hide_password

KEY = "nightshift_probe"


@dataclass(frozen=True, slots=True)
class Reading:
    """What one source said. ``error`` is None if it answered; ``latency`` in seconds; ``at`` is monotonic."""

    value: Any
    error: str | None
    latency: float
    at: float

    @property
    def ok(self) -> bool:
        """Whether the source answered."""
        return self.error is None


@dataclass(slots=True)
class _Call:
    started: float
    done: threading.Event = field(default_factory=threading.Event)
    reading: Reading | None = None


class Probe:
    """Runs named questions in threads; shares the answer between all who ask at the same time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls: dict[str, _Call] = {}

    def gather(
        self, questions: Mapping[str, Callable[[], Any]], *, timeout: float, max_age: float = 0.0
    ) -> dict[str, Reading]:
        """Ask all ``questions`` at once and wait ``timeout`` seconds at most; never raises.

        An answer that is younger than ``max_age`` seconds is used again.
        """
        calls = {name: self._start(name, question, max_age) for name, question in questions.items()}
        return {name: self._wait(call, timeout) for name, call in calls.items()}

    def _start(self, name: str, question: Callable[[], Any], max_age: float) -> _Call:
        with self._lock:
            call = self._calls.get(name)
            if call is not None and (call.reading is None or time.monotonic() - call.reading.at < max_age):
                return call
            call = self._calls[name] = _Call(time.monotonic())
        threading.Thread(target=_ask, args=(call, question), name=f"nightshift-{name}", daemon=True).start()
        return call

    def _wait(self, call: _Call, timeout: float) -> Reading:
        call.done.wait(max(0.0, call.started + timeout - time.monotonic()))
        now = time.monotonic()
        return call.reading or Reading(
            None, f"no answer within {now - call.started:.1f} s", now - call.started, now
        )


def _ask(call: _Call, question: Callable[[], Any]) -> None:
    value, error = None, None
    try:
        value = question()
    except Exception as exc:  # noqa: BLE001 - whatever the source's trouble is, it is the answer
        error = hide_password(" ".join(str(exc).split()) or type(exc).__name__)
    now = time.monotonic()
    call.reading = Reading(value, error, now - call.started, now)
    call.done.set()


def of(app: Flask) -> Probe:
    """The probe of ``app`` in this process (threads do not survive a fork)."""
    pid, probe = app.extensions.get(KEY, (0, None))
    if probe is None or pid != os.getpid():
        probe = Probe()
        app.extensions[KEY] = (os.getpid(), probe)
    return probe


__all__ = ["Probe", "Reading", "of"]
