"""``flask jobs worker``: start a Celery worker with our defaults and wait for its end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from celery.apps.worker import Worker
from celery.concurrency import get_implementation
from celery.concurrency.prefork import TaskPool

from ..runtime import Runtime
from .boot import default_name
from .pool import JobPool


class JobWorker(Worker):
    """Celery's worker with our pool of processes, however it was started."""

    def on_init_blueprint(self) -> None:
        """Called when the options are settled and before any part is made."""
        super().on_init_blueprint()
        if self.pool_cls is TaskPool:  # type: ignore[has-type]
            self.pool_cls = JobPool


def run(
    runtime: Runtime,
    *,
    queues: Sequence[str] = (),
    concurrency: int | None = None,
    pool: str = "prefork",
    name: str | None = None,
    log_level: str | None = None,
    max_jobs_per_child: int | None = None,
) -> int:
    """Work until told to stop; returns the exit code.

    ``queues``: the queues to consume (default: all that the configuration or a task names);
    ``concurrency``: child processes or threads (default: one per core); ``max_jobs_per_child``: attempts
    after which a child process is replaced, against leaks.
    """
    app = runtime.celery
    app.set_default()
    app.loader.import_default_modules()
    app.finalize()
    options: dict[str, Any] = {
        "hostname": name or default_name(),
        "pool_cls": get_implementation(pool),
        "loglevel": log_level or runtime.settings.log_level,
        "concurrency": concurrency,
        "queues": list(queues) or None,
        "max_tasks_per_child": max_jobs_per_child,
        "without_gossip": True,
        "without_mingle": True,
        "without_heartbeat": True,
        "quiet": True,
    }
    worker = app.Worker(**options)
    worker.start()
    return int(worker.exitcode or 0)
