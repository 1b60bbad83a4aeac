"""A worker that runs one job when it is told to, in the thread of the test.

It is Celery's worker with our consumer, our settlement and the pool ``solo``. It has no event loop and no thread.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import Context
from typing import Any

from billiard.exceptions import TimeLimitExceeded
from celery import bootsteps
from celery.concurrency.base import BasePool
from celery.utils.timer2 import Timer
from celery.worker.worker import WorkController

from ..brokers.memory.broker import MemoryBroker
from ..dead_letters import Archiver
from ..services import Services
from ..task.attempt_outcome import raised
from ..task.board import board
from ..task.coroutines import close_loops
from ..worker.attempt import Report, ended, over_time
from ..worker.endings import buried_by_the_broker, is_dropped
from ..worker.orders import OrderWatch
from ..worker.pools.solo import JobSolo
from .limits import Killed, Passed, passed
from .process import as_in_worker

NAME = "tests@localhost"
"""The name of the worker, in log lines and in the history."""


class Companions(bootsteps.Step):
    """What a worker has beside its consumer, without threads."""

    requires = ("celery.worker.components:Pool",)

    def __init__(self, controller: Any, **options: Any) -> None:
        super().__init__(controller, **options)
        controller.orders = OrderWatch(controller.app.services)
        board.open()


class StillTimer(Timer):
    """Celery's timer, which makes the calls that are due when it is told to."""

    def ensure_started(self) -> None:
        """Do nothing: it has no thread."""

    def fire(self) -> None:
        """Make the calls that are due."""
        for _, entry in self.schedule:
            if entry is None:
                return
            self.schedule.apply_entry(entry)


class Announcer:
    """Tells the result backend how a job ended, at once."""

    def tell(self, job_id: str, task: str, call: Callable[[], object]) -> None:  # noqa: ARG002 - as the worker's
        """Make the call."""
        call()


class Solo(JobSolo):
    """The pool; it keeps what must not be lost in a settlement: the end of the test itself."""

    interruption: BaseException | None = None

    def __init__(self, *args: Any, **options: Any) -> None:
        # not Celery's: it sends the signal worker_process_init, but this process is the test's
        BasePool.__init__(self, *args, **options)
        self.limit = 1
        self.set_up()

    def _apply(self, target: Callable[..., Any], *args: Any, **options: Any) -> None:
        def work(*given: Any) -> Any:
            try:
                return target(*given)
            except Exception:
                raise
            except SystemExit:  # as in a worker: the job's process ends
                raise
            except Killed as exc:  # as in gevent's pool, which settles it as a killed process
                if (noted := raised.get()) is not None:
                    noted.append(TimeLimitExceeded(exc.seconds))
                return ended(Report("failed", exc.seconds, failure=over_time(exc.seconds)))
            except BaseException as exc:
                self.interruption = exc
                raise

        super()._apply(work, *args, **options)


class Controller(WorkController):
    """Celery's worker, with no bootsteps of the user's."""

    looks_ahead_by_time = False

    class Blueprint(WorkController.Blueprint):  # type: ignore[misc,unused-ignore]
        """The bootsteps."""

        def __init__(self, steps: Any = None, **options: Any) -> None:  # noqa: ARG002 - the app's
            super().__init__(steps={Companions}, **options)


class Worker:
    """Runs the jobs of ``services``, whose broker is a ``MemoryBroker``."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._celery = services.celery
        with as_in_worker(self._celery, NAME):
            self._celery.backend  # noqa: B018 - loads it
            self._controller = Controller(
                app=self._celery,
                hostname=NAME,
                pool_cls=Solo,
                concurrency=1,
                timer_cls=StillTimer,
                loglevel="INFO",
                without_gossip=True,
                without_mingle=True,
                without_heartbeat=True,
                disable_rate_limits=True,
            )
            self._controller.pool.start()
            self._consumer = self._controller.consumer
            self._consumer.loop = _begin
            self._celery.announcer = Announcer()
            self._consumer.blueprint.start(self._consumer)
        services.journal.worker = NAME
        self._archiver = Archiver(
            services.broker,
            services.store,
            worker=NAME,
            texts=services.texts,
            known=self._celery.tasks.__contains__,
            tell=lambda letter: buried_by_the_broker(self._celery, letter),
            drops=lambda letter: is_dropped(self._celery, letter),
            ended=services.has_ended,
            stored=services.notices.tell_now,
        )

    def run(self, queue: str) -> list[Exception]:
        """Run the next job of ``queue``; returns what bodies raised meanwhile.

        It runs outside of the test's app context, because a worker has none. Raises what ends the test itself
        (``KeyboardInterrupt``, ``pytest.fail()``).
        """
        pool: Solo = self._controller.pool
        errors: list[Exception] = Context().run(self._run, queue)
        interruption, pool.interruption = pool.interruption, None
        if interruption is not None:
            raise interruption
        return errors

    def _run(self, queue: str) -> list[Exception]:
        errors: list[Exception] = []
        raised.set(errors)
        passed.set(Passed())
        with as_in_worker(self._celery, NAME):
            self._learn_new_tasks()
            self._controller.orders.read_now()
            if queue not in self._celery.amqp.queues.consume_from:
                self._consumer.add_task_queue(queue)
            transport, channel = self._consumer.connection.transport, self._consumer.task_consumer.channel
            transport.deliver_next(channel, queue)
            self._consumer.perform_pending_operations()
            self._controller.timer.fire()
            self._archiver.run_once()
        return errors

    def archive(self) -> None:
        """Move dead letters into the table."""
        self._archiver.run_once()

    def close(self) -> None:
        """Close its connection, and the event loop of its coroutines."""
        close_loops()
        self._consumer.connection.close()
        self._controller.pool.stop()

    def _learn_new_tasks(self) -> None:
        """Take in the tasks that were declared since the worker began."""
        if self._celery.tasks.keys() - self._consumer.strategies.keys():
            self._consumer.update_strategies()


def broker_of(services: Services) -> MemoryBroker:
    """The broker of ``services``, in this process."""
    assert isinstance(services.broker, MemoryBroker)  # noqa: S101 - the kit made it
    return services.broker


def _begin(consumer: Any, connection: Any, task_consumer: Any, *_: Any) -> None:  # noqa: ARG001 - Celery's loop
    """Celery's event loop, until its first turn."""
    task_consumer.on_message = consumer.create_task_handler()
    task_consumer.consume()
    consumer.on_ready()


__all__ = ["NAME", "Worker", "broker_of"]
