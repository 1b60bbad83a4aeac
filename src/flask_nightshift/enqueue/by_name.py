"""Decides whether a job can be published by the name of its queue, or needs Celery's producer."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from celery import Celery, signals
from celery.app.amqp import _callback_publish_retry

from ..brokers.base import Publisher
from ..options.publish import InvalidOption
from .call import Call
from .composer import MESSAGE_OPTIONS

_ORDINARY = MESSAGE_OPTIONS | {
    "add_to_parent", "headers", "ignore_result", "priority", "queue", "result_cls", "serializer", "task_id",
    "task_type",
}  # fmt: skip
_REMEDY = "give queue= with the name of an ordinary queue, or enqueue it without the transaction"


class NeedsProducer(InvalidOption):
    """The job can only be published by Celery's producer."""


class NamedQueues:
    """The queues of one Celery app that can be published to by name."""

    def __init__(self, app: Celery, broker: Publisher) -> None:
        self._app = app
        self._broker = broker
        self._known: dict[str, Any] = {}

    def of(self, call: Call) -> Any | None:
        """The ``kombu.Queue`` that the job goes to; None if the job needs Celery's producer.

        It does if a publish by name would not reach the queue, or if the caller or a setting asks for more: an
        exchange, stamps, a producer, an event.
        """
        return self._queue(call) if call.options.keys() <= _ORDINARY and self._is_ordinary(call) else None

    def required(self, call: Call) -> Any:
        """The ``kombu.Queue`` of a job that must be published by name, because its message waits for a transaction.

        Raises ``NeedsProducer`` if the job needs Celery's producer. A job enqueued by its task's name does not.
        """
        if "task_type" not in call.options:
            call = call._replace(options={"task_type": call.task, **call.options})
        queue = self.of(call)
        if queue is not None:
            return queue
        for option in sorted(call.options.keys() - _ORDINARY):
            raise NeedsProducer(
                option, call.options[option], f"a job that waits for a transaction cannot have it; {_REMEDY}"
            )
        raise NeedsProducer(
            "queue",
            call.options.get("queue"),
            f"the job {call.name!r} needs Celery's producer, because of its queue, its route, or a setting such as "
            f"task_send_sent_event, so it cannot wait for a transaction; {_REMEDY}",
        )

    @property
    def by_options_alone(self) -> bool:
        """Whether, for now, the task and the options of a call decide where it goes, and not its arguments."""
        return not (_callback_publish_retry.get() or signals.task_sent.receivers) and self._routed_by_task

    def _is_ordinary(self, call: Call) -> bool:
        if (
            "task_type" not in call.options
            or _callback_publish_retry.get()
            or signals.task_sent.receivers
            or not self._plain_settings
        ):
            return False
        return bool(call.options.get("ignore_result")) or not self._backend_needs_producer

    def _queue(self, call: Call) -> Any | None:
        wanted = call.options.get("queue")
        if wanted is None and self._routed_by_task:
            wanted = getattr(call.task, "job_queue", None) or self._default_queue
        elif wanted is None:
            route = self._app.amqp.router.route({}, call.name, call.args, call.kwargs, call.task)
            if route.keys() - {"queue"}:
                return None
            wanted = route.get("queue")
        if not isinstance(wanted, str):
            declaration, wanted = wanted, getattr(wanted, "name", None) or self._default_queue
            if declaration is not None and self._app.amqp.queues.get(wanted) is not declaration:
                return None  # a queue of the caller's own, which the app does not list
        if wanted not in self._known:
            queue = self._app.amqp.queues[wanted]
            self._known[wanted] = queue if self._broker.reaches(queue) else None
        return self._known[wanted]

    @cached_property
    def _plain_settings(self) -> bool:
        conf = self._app.conf
        return conf.task_protocol == 2 and not (conf.task_send_sent_event or conf.task_compression)

    @cached_property
    def _backend_needs_producer(self) -> bool:
        """Whether the result backend declares its reply queue when Celery's producer publishes (``rpc://``)."""
        return type(self._app.backend).__module__ == "celery.backends.rpc"

    @cached_property
    def _default_queue(self) -> str:
        return str(self._app.conf.task_default_queue)

    @cached_property
    def _routed_by_task(self) -> bool:
        """Whether the app has no ``task_routes``, so the task alone decides its queue."""
        return not self._app.conf.task_routes.given


__all__ = ["NamedQueues", "NeedsProducer"]
