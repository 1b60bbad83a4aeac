"""Ask several sources at once, each within a time limit, so that one that hangs does not delay the others.

Each question has its own thread, which keeps its connections from one call to the next and ends when it was idle for a
while. A call that takes too long is reported as failed. While it hangs, no second call is made for that question, so a
frozen server costs one thread for each question, however often it is asked.
"""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..services import Services
from ..text.passwords import hide_password

KEY = "nightshift_bounded_calls"
ERROR_KEPT = 2.0
"""Seconds after which a question that failed is asked again."""
IDLE = 90.0
"""Seconds without a call after which a thread ends."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer of one source. ``error`` is None if it answered; ``latency`` is in seconds; ``at`` is monotonic."""

    value: Any
    error: str | None
    latency: float
    at: float

    @property
    def ok(self) -> bool:
        """Whether the source answered."""
        return self.error is None

    def is_younger_than(self, seconds: float) -> bool:
        """Whether the answer can be used again for ``seconds``; an error can for ``ERROR_KEPT`` at most."""
        return time.monotonic() - self.at < (seconds if self.ok else min(seconds, ERROR_KEPT))


@dataclass(slots=True)
class _Call:
    question: Callable[[], Any] | None
    started: float = field(default_factory=time.monotonic)
    done: threading.Event = field(default_factory=threading.Event)
    answer: Answer | None = None
    last: Answer | None = None  # of an earlier call that was answered

    def run(self) -> None:
        value, error = None, None
        question, self.question = self.question, None  # it refers to the app, and this call is kept
        try:
            value = question() if question is not None else None
        except Exception as exc:  # noqa: BLE001 - any error is the answer
            error = hide_password(" ".join(str(exc).split()) or type(exc).__name__)
        now = time.monotonic()
        self.answer = Answer(value, error, now - self.started, now)
        self.done.set()

    def wait(self, timeout: float) -> Answer:
        self.done.wait(max(0.0, self.started + timeout - time.monotonic()))
        if self.answer is not None:
            return self.answer
        now = time.monotonic()
        return Answer(None, f"no answer within {now - self.started:.1f} s", now - self.started, now)


class BoundedCalls:
    """Asks named questions in threads, and shares each answer among those who ask at the same time.

    A thread calls ``on_idle`` before it ends, to close its connections.
    """

    def __init__(self, on_idle: Callable[[], None]) -> None:
        self._on_idle = on_idle
        self._lock = threading.Lock()
        self._calls: dict[str, _Call] = {}
        self._threads: dict[str, queue.SimpleQueue[_Call | None]] = {}

    def gather(
        self, questions: Mapping[str, Callable[[], Any]], *, timeout: float, max_age: float = 0.0
    ) -> dict[str, Answer]:
        """Ask all ``questions`` at once, and wait up to ``timeout`` seconds; never raises.

        An answer younger than ``max_age`` seconds is used again.
        """
        calls = {name: self._ask(name, question, max_age) for name, question in questions.items()}
        return {name: call.wait(timeout) for name, call in calls.items()}

    def kept(self, name: str, question: Callable[[], Any], *, timeout: float, max_age: float) -> Answer:
        """The last answer to ``question``; if it is older than ``max_age`` seconds, a new one is on its way.

        Only without an earlier answer this waits, up to ``timeout`` seconds.
        """
        call = self._ask(name, question, max_age)
        if call.last is not None and (call.answer is None or not call.answer.ok):
            return call.last
        return call.wait(timeout)

    def was_asked(self, name: str) -> bool:
        """Whether the question ``name`` was asked before."""
        return name in self._calls

    def _ask(self, name: str, question: Callable[[], Any], max_age: float) -> _Call:
        with self._lock:
            call = self._calls.get(name)
            if call is not None and (call.answer is None or call.answer.is_younger_than(max_age)):
                return call
            call = self._calls[name] = _Call(question, last=_last(call))
            if name not in self._threads:
                waiting = self._threads[name] = queue.SimpleQueue()
                threading.Thread(
                    target=self._work, args=(name, waiting), name=f"nightshift-{name}", daemon=True
                ).start()
            self._threads[name].put(call)
            return call

    def close(self) -> None:
        """End the idle threads now, and the others when they have their answers."""
        with self._lock:
            queues, self._threads = self._threads, {}
            self._calls.clear()
        for waiting in queues.values():
            waiting.put(None)

    def _work(self, name: str, waiting: queue.SimpleQueue[_Call | None]) -> None:
        while True:
            try:
                call = waiting.get(timeout=IDLE)
            except queue.Empty:
                with self._lock:
                    if not waiting.empty():
                        continue
                    if self._threads.get(name) is waiting:
                        del self._threads[name]
                    break
            if call is None:
                break
            call.run()
            del call
        self._on_idle()


def _last(call: _Call | None) -> Answer | None:
    if call is None:
        return None
    return call.answer if call.answer is not None and call.answer.ok else call.last


def of(services: Services) -> BoundedCalls:
    """The calls of ``services`` in this process, because threads do not survive a fork."""
    pid, calls = services.app.extensions.get(KEY, (0, None))
    if calls is None or pid != os.getpid():
        calls = BoundedCalls(services.broker.close)
        services.holdings.add("bounded_calls", calls.close)
        services.app.extensions[KEY] = (os.getpid(), calls)
    return calls


__all__ = ["Answer", "BoundedCalls", "of"]
