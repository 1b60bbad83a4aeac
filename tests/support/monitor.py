"""Celery's events, as a monitor receives them."""

from __future__ import annotations

import threading
from typing import Any

from celery import Celery


class Monitor:
    """All events of a broker, as ``celery events`` gets them."""

    def __init__(self, url: str) -> None:
        self.app = Celery("monitor", broker=url, set_as_current=False)
        self.events: list[dict[str, Any]] = []
        self._connection = self.app.connection()
        self._listening = threading.Event()
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()
        assert self._listening.wait(20)

    def _listen(self) -> None:
        receiver = self.app.events.Receiver(self._connection, handlers={"*": self.events.append})
        ready = receiver.on_consume_ready

        def on_ready(*args: Any, **options: Any) -> None:
            ready(*args, **options)
            self._listening.set()

        receiver.on_consume_ready = on_ready
        self._receiver = receiver
        receiver.capture(limit=None, timeout=None, wakeup=False)

    def of_worker(self) -> list[dict[str, Any]]:
        return [event for event in list(self.events) if event["type"].startswith("worker-")]

    def of_job(self, job_id: str) -> list[dict[str, Any]]:
        return [event for event in list(self.events) if event.get("uuid") == job_id]

    def close(self) -> None:
        self._receiver.should_stop = True
        self._thread.join(10)
        self._connection.release()
        self.app.close()
