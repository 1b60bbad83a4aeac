"""``flask jobs worker``: starts a Celery worker with our defaults and waits for its end."""

from __future__ import annotations

import gc
import logging
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from celery.apps.worker import Worker

from ..brokers import require_shared
from ..compat import check
from ..domain.look_ahead import ByTime
from ..errors import BrokerUnavailable, ConfigurationError, IncompatibleLibrary
from ..services import Services
from ..task.app_context import need_server_name
from ..text.lines import Line
from . import names
from .boot import collect_seldom, settle_memory
from .monitoring import HEARTBEAT_SECONDS
from .pools import fitting, implementation, pool_of

logger = logging.getLogger(__name__)

START_PATIENCE = 1.0
"""Seconds that a start waits until the broker reports what it is."""
OUR_STEPS = {"celery.worker.components:Beat": "flask_nightshift.worker.embedded_beat:EmbeddedBeat"}
"""Celery's bootsteps and the ones that replace them."""


class JobWorker(Worker):
    """Celery's worker with our pools and our Beat, however it was started."""

    class Blueprint(Worker.Blueprint):  # type: ignore[misc,unused-ignore]
        """The bootsteps of a worker."""

        default_steps = frozenset(OUR_STEPS.get(step, step) for step in Worker.Blueprint.default_steps)

    def __init__(self, *args: Any, **options: Any) -> None:
        if broken := check.broken():
            remedy = "Install the versions that Flask-Nightshift requires: pip install Flask-Nightshift"
            raise IncompatibleLibrary("\n".join([*map(str, broken), remedy]))
        self._need_reachable_broker(options.get("pool_cls"))  # before Celery sets up the process
        super().__init__(*args, **options)

    def _need_reachable_broker(self, pool: Any) -> None:
        """Raise ``ConfigurationError`` if jobs would run in child processes, which cannot reach the broker's queues."""
        kind = implementation(pool or self.app.conf.worker_pool)
        broker = self.app.services.broker
        if pool_of(kind).forks and not broker.capabilities.shared:
            allowed = "its jobs run in this process: use --pool solo or threads"
            raise ConfigurationError("NIGHTSHIFT_BROKER_URL", broker.url, allowed)

    def setup_defaults(self, *args: Any, prefetch_multiplier: Any = None, **options: Any) -> None:
        """Note whether the prefetch multiplier is our default, before Celery converts it."""
        given = prefetch_multiplier or self.app.conf.worker_prefetch_multiplier
        self.looks_ahead_by_time = isinstance(given, ByTime)
        super().setup_defaults(*args, prefetch_multiplier=prefetch_multiplier, **options)

    def on_start(self) -> None:
        """Freeze what the worker has loaded, before its pool forks.

        Celery collects garbage before each fork. A collection writes to every object that it looks at, so each child
        would get a copy of nearly all memory; it does not look at frozen objects.
        """
        super().on_start()
        gc.collect()
        settle_memory()
        if pool_of(self.pool_cls).forks:
            collect_seldom()

    def on_init_blueprint(self) -> None:
        """Check libraries and broker, and choose the pool, before Celery makes any part of the worker.

        Raises ``ConfigurationError`` for a broker that can never serve, and if tasks need ``SERVER_NAME``; the worker
        waits for a broker that is away.
        """
        super().on_init_blueprint()
        for each in check.unchecked():
            fields = {"library": each.library, "installed": each.installed, "checked": each.checked}
            logger.warning(Line("library.unchecked", str(each), **fields))
        check.forget()
        services = self.app.services
        need_server_name(services.app, [task.name for task in services.tasks() if task.request_context])
        with suppress(BrokerUnavailable):
            self.app.services.broker.health(START_PATIENCE)
        self.pool_cls: Any = fitting(implementation(self.pool_cls), self)
        if pool_of(self.pool_cls).one_job:
            self.concurrency = 1  # Celery would prefetch a job per core and run one at a time


def run(
    services: Services,
    *,
    queues: Sequence[str] = (),
    concurrency: int | None = None,
    pool: str | None = None,
    name: str | None = None,
    log_level: str | None = None,
    max_jobs_per_child: int | None = None,
    task_events: bool = False,
    beat: bool = False,
) -> int:
    """Run a worker until a signal stops it; returns the exit code.

    ``queues``: the queues to consume (default: all that the configuration or a task names).
    ``concurrency``: child processes or threads (default: one per core). ``max_jobs_per_child``: attempts after which a
    child process is replaced, against memory leaks. ``name``: as Celery's ``-n`` (default: the first free name of
    ``worker@HOST``, ``worker2@HOST``, …). ``task_events``: send an event of each job to monitors such as Flower, as
    Celery's ``-E`` does (default: Celery's ``worker_send_task_events``). ``beat``: run Beat in a thread of this worker;
    raises ``ConfigurationError`` for an unusable schedule.
    """
    require_shared(services.broker)
    app = services.celery
    app.set_default()
    app.loader.import_default_modules()
    app.finalize()
    options: dict[str, Any] = {
        "hostname": names.full(name) if name else names.free(services.broker.url),
        "pool_cls": pool or app.conf.worker_pool,
        "loglevel": log_level or services.settings.log_level,
        "concurrency": concurrency,
        "queues": list(queues) or None,
        "max_tasks_per_child": max_jobs_per_child,
        "without_gossip": True,
        "without_mingle": True,
        "heartbeat_interval": HEARTBEAT_SECONDS,
        "task_events": task_events or None,
        "beat": beat,
        "quiet": True,
    }
    worker = app.Worker(**options)
    try:
        worker.start()
    finally:
        names.release()
    return int(worker.exitcode or 0)
