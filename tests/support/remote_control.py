"""Celery's remote control for tests, and jobs that run until the test releases them."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from opsapp import Ops, opened
from system import System, running


@contextmanager
def remote_control(folder: Path, broker_url: str, **celery: Any) -> Iterator[RemoteControl]:
    """A ``RemoteControl`` without workers; ``celery`` are settings of Celery's.

    If the test succeeds, the workers are stopped at its end, and no worker may return a job.
    """
    with (
        running(folder, broker_url, NIGHTSHIFT_CELERY=json.dumps(celery)) as system,
        opened(folder, broker_url, migrate=False) as ops,
    ):
        control = RemoteControl(system, ops)
        yield control
        for worker in system.processes:
            assert worker.popen.poll() == 0 or worker.stop() == 0
        left = {queue: control.ready(queue) for queue in control.queues if control.ready(queue)}
        assert not left, "jobs were not settled"
        assert not ops.services.broker.delayed()


class RemoteControl:
    """Controls the workers of ``system`` through an app in this process, ``ops``, which also enqueues the jobs."""

    def __init__(self, system: System, ops: Ops) -> None:
        self.system, self.ops = system, ops
        self.queues: set[str] = set()

    def ask(self, command: str, worker: str = "worker@test", **arguments: Any) -> Any:
        """Send a command to a worker; returns its answer."""
        answers = self.ops.services.celery.control.broadcast(
            command, arguments=arguments, destination=[worker], reply=True, timeout=20, limit=1
        )
        assert answers, f"no answer to {command}"
        return answers[0][worker]

    def ids(self, command: str) -> set[str]:
        """The ids of the jobs that the ``inspect`` command lists."""
        return {job["id"] for job in self.ask(command)}

    def send(self, task: str, *args: Any, **options: Any) -> Job:
        """Enqueue ``test.<task>`` with a marker as its first argument."""
        self.queues.add(options.get("queue", "celery"))
        return Job(self, task, args, options)

    def hold(self, count: int, **options: Any) -> list[Job]:
        """Start ``count`` jobs; each ends when the test calls ``go_on()``, or after half a minute."""
        held = [self.send("progress", **options) for _ in range(count)]
        self.until(lambda: all(job.begun for job in held), "they do not run at the same time", 20)
        return held

    def ready(self, queue: str = "celery") -> int:
        """The number of ready jobs in ``queue``."""
        return self.ops.services.broker.depths([queue])[0].ready

    def until(self, check: Any, what: str, seconds: float = 40) -> Any:
        return self.system.until(check, seconds, what)


class Job:
    """One job; its creation enqueues it."""

    def __init__(
        self, control: RemoteControl, task: str, args: tuple[Any, ...], options: dict[str, Any]
    ) -> None:
        self.control, self.marker = control, uuid.uuid4().hex[:12]
        sent = control.ops.services.celery.send_task(f"test.{task}", [self.marker, *args], **options)
        self.id: str = sent.id

    @property
    def events(self) -> list[str]:
        return self.control.system.events(self.marker)

    @property
    def begun(self) -> int:
        return self.events.count("begun")

    @property
    def state(self) -> str:
        return str(self.control.ops.jobs.job(self.id).state)

    def go_on(self) -> None:
        """Release a held job, so that it ends."""
        self.control.system.ledger.with_name(f"ledger.{self.marker}").touch()

    def ran_once(self) -> None:
        self.control.until(lambda: self.state == "succeeded", "it does not succeed")
        assert self.begun == 1
        assert self.control.ops.jobs.job(self.id).attempts == 1

    def was_revoked(self, *, begun: int) -> None:
        self.control.until(lambda: self.state == "cancelled", "it is not cancelled")
        assert self.begun == begun
        assert "done" not in self.events
        assert self.control.ops.jobs.job(self.id).attempts == begun
        assert not self.letters()

    def died(self, reason: str) -> None:
        self.control.until(lambda: self.state == "dead", "it is not dead")
        self.control.until(lambda: [x["reason"] for x in self.letters()] == [reason], "it is no dead letter")

    def letters(self) -> list[dict[str, Any]]:
        return [x for x in self.control.ops.json("dead", "list") if x["job_id"] == self.id]

    def replay(self) -> None:
        (letter,) = self.letters()
        self.control.ops.ok("dead", "replay", letter["id"])
