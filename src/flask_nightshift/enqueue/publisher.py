"""The first step of a job's life: from a call of ``delay()`` to a message in the broker.

Celery's way there is long: it routes twice, copies the queue's declaration, takes a producer from a pool of
pools, and looks up its settings one by one. Here the same message is made (by Celery's own
``create_task_message``), the same signals are sent, and ``Broker.publish`` carries it. What is out of the
ordinary (an exchange of one's own, stamps, a producer of the caller's) is left to Celery: ``one`` and ``many``
then give None.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from contextvars import copy_context
from datetime import datetime
from functools import cached_property
from itertools import repeat
from typing import Any

from celery import Celery, signals
from celery.app.amqp import _callback_publish_retry
from celery.utils.functional import maybe_list
from celery.utils.time import maybe_iso8601, maybe_make_aware

from ..domain.job import new_id, new_ids, utcnow
from ..errors import BrokerUnavailable
from ..message.envelope import Envelope
from ..options.call import checked_call, unsendable, with_limits
from ..options.publish import check_serializer, checked_priority, checked_queue, culprit
from .draft import Draft, brief

_MESSAGE_OPTIONS = frozenset(
    {
        "countdown", "eta", "group_id", "group_index", "expires", "retries", "chord", "link", "link_error",
        "reply_to", "time_limit", "soft_time_limit", "root_id", "parent_id", "shadow", "chain",
        "replaced_task_nesting", "argsrepr", "kwargsrepr",
    }
)  # fmt: skip
_ORDINARY = _MESSAGE_OPTIONS | {
    "add_to_parent", "headers", "ignore_result", "priority", "queue", "result_cls", "serializer", "task_id",
    "task_type",
}  # fmt: skip
_MANY = frozenset(
    {"countdown", "eta", "expires", "headers", "ignore_result", "link", "link_error", "priority", "queue",
     "serializer", "soft_time_limit", "time_limit"}
)  # fmt: skip
_PLAIN = frozenset(
    {"add_to_parent", "ignore_result", "queue", "result_cls", "serializer", "soft_time_limit", "task_id", "task_type",
     "time_limit"}
)  # fmt: skip
"""Options that most jobs of a task have in common, or that are no part of the message."""
_MOST_MODELS = 1000
Arguments = tuple[Sequence[Any], Mapping[str, Any]]
"""Positional and keyword arguments of one job."""


class Enqueuer:
    """Publishes the jobs of one Celery app."""

    def __init__(self, app: Celery) -> None:
        self._app = app
        self._queues: dict[str, Any] = {}
        self._models: dict[Any, Draft] = {}

    # -- one -----------------------------------------------------------------------------------------------

    def one(self, name: str, args: Any, kwargs: Any, options: Mapping[str, Any]) -> Any | None:
        """Publish a job and give its ``AsyncResult``; None if that is for Celery to do.

        ``options`` are ``Celery.send_task``'s. Raises ``BrokerUnavailable``, or what Celery raises for
        arguments that make no message.
        """
        given = {key: value for key, value in options.items() if value is not None}
        if not (given.keys() <= _ORDINARY and self._is_ordinary(given)):
            return None
        given = with_limits(given, given["task_type"])
        queue = self._queue(name, args, kwargs, given)
        if queue is None:
            return None
        job_id = given.get("task_id") or new_id()
        parent = self._app.current_worker_task
        args, kwargs = args or (), kwargs or {}
        if (
            parent is None
            and given.keys() <= _PLAIN
            and isinstance(args, (tuple, list))
            and isinstance(kwargs, dict)
        ):
            job = self._model(name, given, queue.name).like(job_id, args, kwargs)
            job.properties["reply_to"] = self._app.thread_oid
        else:
            job = self._job(job_id, name, args, kwargs, given, parent)
        job.stamp(queue.name)
        self._publish(name, queue, given.get("serializer"), [job])
        result = (given.get("result_cls") or self._app.AsyncResult)(job_id)
        result.ignored = given.get("ignore_result")
        if parent and given.get("add_to_parent", True):
            parent.add_trail(result)
        return result

    # -- many ----------------------------------------------------------------------------------------------

    def many(self, task: Any, calls: Sequence[Arguments], options: Mapping[str, Any]) -> list[str] | None:
        """Publish one job of ``task`` for each of ``calls``; their ids, or None if that is for Celery to do."""
        given = {"task_type": task, **_options_of(task), **options}
        given = {key: value for key, value in given.items() if value is not None}
        if not (given.keys() <= _ORDINARY and self._is_ordinary(given)):
            return None
        given = with_limits(given, task)
        queue = self._queue(task.name, (), {}, given)
        if queue is None:
            return None
        parent = self._app.current_worker_task
        first = self._job("", task.name, (), {}, given, parent)
        first.stamp(queue.name)
        jobs = [first.like(job_id, *call) for job_id, call in zip(new_ids(len(calls)), calls, strict=True)]
        self._publish(task.name, queue, given.get("serializer"), jobs)
        return [job.id for job in jobs]

    # -- how -----------------------------------------------------------------------------------------------

    def _is_ordinary(self, given: Mapping[str, Any]) -> bool:
        """Whether nothing else is expected of a publish than that our message gets there."""
        if "task_type" not in given or _callback_publish_retry.get() or signals.task_sent.receivers:
            return False
        return self._plain_settings and (given.get("ignore_result") or not self._backend_listens)

    @cached_property
    def _plain_settings(self) -> bool:
        conf = self._app.conf
        return conf.task_protocol == 2 and not (conf.task_send_sent_event or conf.task_compression)

    @cached_property
    def _backend_listens(self) -> bool:
        """Whether the result backend must be told of a job by way of Celery's producer."""
        return type(self._app.backend).__module__ == "celery.backends.rpc"

    @cached_property
    def _inherits_priority(self) -> bool:
        return bool(self._app.conf.task_inherit_parent_priority)

    @cached_property
    def _serializer(self) -> str:
        return str(self._app.conf.task_serializer)

    @cached_property
    def _default_queue(self) -> str:
        return str(self._app.conf.task_default_queue)

    @cached_property
    def _routed_by_task(self) -> bool:
        """Whether nobody routes but the task itself."""
        return not self._app.conf.task_routes.given

    def _queue(self, name: str, args: Any, kwargs: Any, given: Mapping[str, Any]) -> Any | None:
        """The ``kombu.Queue`` that the job goes to; None if a publish by name would not reach it."""
        wanted = given.get("queue")
        if wanted is None and self._routed_by_task:
            wanted = getattr(given["task_type"], "job_queue", None) or self._default_queue
        elif wanted is None:
            route = self._app.amqp.router.route({}, name, args, kwargs, given["task_type"])
            if route.keys() - {"queue"}:
                return None
            wanted = route.get("queue")
        if not isinstance(wanted, str):
            declaration, wanted = wanted, getattr(wanted, "name", None) or self._default_queue
            if declaration is not None and self._app.amqp.queues.get(wanted) is not declaration:
                return None  # one that only this caller knows
        if wanted not in self._queues:
            checked_queue(wanted)
            queue = self._app.amqp.queues[wanted]
            self._queues[wanted] = queue if self._app.runtime.broker.reaches(queue) else None
        return self._queues[wanted]

    def _model(self, name: str, given: Mapping[str, Any], queue: str) -> Draft:
        """A job like all that have these options, made once; without receivers that might change it."""
        if signals.before_task_publish.receivers:
            return self._job("", name, (), {}, given, None)
        options = given.get("time_limit"), given.get("soft_time_limit"), given.get("ignore_result")
        # as text, since a caller's value need not be hashable; the process, since a message says which it is from
        key = (os.getpid(), name, queue, repr(options))
        model = self._models.get(key)
        if model is None:
            if len(self._models) >= _MOST_MODELS:
                self._models.clear()
            model = self._models[key] = self._job("", name, (), {}, given, None)
        return model

    def _job(
        self, job_id: str, name: str, args: Any, kwargs: Any, given: Mapping[str, Any], parent: Any
    ) -> Draft:
        app, given = self._app, checked_call(given)
        wanted = {key: given[key] for key in _MESSAGE_OPTIONS & given.keys()}
        priority = given.get("priority")
        if parent:
            wanted.setdefault("root_id", parent.request.root_id or parent.request.id)
            wanted.setdefault("parent_id", parent.request.id)
            if self._inherits_priority and priority is None:
                priority = parent.request.delivery_info.get("priority")
        headers, properties, body, _ = app.amqp.create_task_message(
            job_id,
            name,
            args,
            kwargs,
            callbacks=maybe_list(wanted.pop("link", None)),
            errbacks=maybe_list(wanted.pop("link_error", None)),
            reply_to=wanted.pop("reply_to", None) or app.thread_oid,
            ignore_result=given.get("ignore_result"),
            argsrepr=wanted.pop("argsrepr", None) or brief(args),
            kwargsrepr=wanted.pop("kwargsrepr", None) or brief(kwargs),
            **wanted,
        )
        headers.update(given.get("headers") or {})
        if priority is not None:
            properties["priority"] = checked_priority(priority)
        if headers["expires"]:
            moment = maybe_make_aware(maybe_iso8601(headers["expires"]), app.timezone)
            properties["expiration"] = max(0.0, (moment - utcnow()).total_seconds())
        return Draft(job_id, utcnow(), headers, properties, body)

    def _publish(self, name: str, queue: Any, serializer: str | None, jobs: Sequence[Draft]) -> None:
        broker = self._app.runtime.broker
        exchange, routing_key = broker.address(queue)
        declare = [queue]
        told = {"sender": name, "exchange": exchange, "routing_key": routing_key}
        # each job's two signals in a context of its own: a tracer opens a span in the first, to close it in the second
        contexts = [copy_context() for _ in jobs] if signals.before_task_publish.receivers else []
        for context, job in zip(contexts, jobs, strict=False):
            context.run(
                signals.before_task_publish.send,
                body=job.body, declare=declare, headers=job.headers, properties=job.properties,
                retry_policy={}, **told,
            )  # fmt: skip
        if len(declare) > 1:
            self._declare(declare[1:])
        if serializer and serializer != "json":
            check_serializer(serializer, self._app.conf.accept_content)
        envelopes = [self._encoded(job, name, serializer or self._serializer) for job in jobs]
        due = self._due(jobs[0])
        done = 0
        try:
            if len(jobs) == 1:
                broker.publish(envelopes[0], queue.name, due=due)
                done = 1
            else:
                for count in broker.publish_many(envelopes, queue.name, due=due):
                    done += count
        except BrokerUnavailable as exc:
            exc.enqueued = tuple(job.id for job in jobs[:done])
            raise
        except (TypeError, ValueError) as exc:
            found = culprit(jobs[0].headers)
            if found is None:
                raise
            raise found from exc
        finally:
            for context, job in zip(contexts or repeat(copy_context()), jobs[:done], strict=False):
                if signals.after_task_publish.receivers:
                    context.run(signals.after_task_publish.send, body=job.body, headers=job.headers, **told)
                if not name.startswith("celery."):  # plumbing, not anybody's jobs
                    self._app.runtime.events.emit(job.enqueued(name, queue.name, due))

    def _encoded(self, job: Draft, name: str, serializer: str) -> Envelope:
        try:
            return job.envelope(serializer)
        except Exception as exc:
            run = getattr(self._app._tasks.get(name), "run", None)  # noqa: SLF001 - as Celery, without finalizing
            found = unsendable(name, run, job.body[0], job.body[1], serializer)
            if found is None:
                raise
            raise found from exc

    def _due(self, job: Draft) -> datetime | None:
        eta = job.headers.get("eta")
        return maybe_make_aware(maybe_iso8601(eta), self._app.timezone) if eta else None

    def _declare(self, entities: Sequence[Any]) -> None:
        """What a receiver of ``before_task_publish`` wants to exist."""
        with self._app.producer_or_acquire() as producer:
            for entity in entities:
                producer.maybe_declare(entity)


def arguments_of(task: Any, items: Iterable[Any], options: Iterable[str]) -> list[Arguments]:
    """The arguments of each job of an ``enqueue_many``; raises ``TypeError`` for an item that is none."""
    if unknown := sorted(set(options) - _MANY):
        raise TypeError(
            f"enqueue_many() does not take {', '.join(unknown)}; it takes {', '.join(sorted(_MANY))}"
        )
    return [_call(task, at, item) for at, item in enumerate(items)]


def _options_of(task: Any) -> dict[str, Any]:
    """The options of a publish that ``task`` sets for all its jobs, as ``Task.apply_async`` takes them."""
    return {**task._get_exec_options(), "ignore_result": task.ignore_result}  # noqa: SLF001 - Celery's own place


def _call(task: Any, at: int, item: Any) -> Arguments:
    """The arguments of one job, checked against the task's signature as ``delay()`` does."""
    args: Sequence[Any] = ()
    kwargs: Mapping[str, Any] = {}
    if isinstance(item, Mapping):
        kwargs = item
    elif isinstance(item, (tuple, list)):
        args = item
    else:
        raise TypeError(
            f"item {at} of enqueue_many() is {brief(item, 80)}: "
            "give a tuple of positional or a dict of keyword arguments"
        )
    header = getattr(task, "__header__", None)  # a task that is a class has none
    if task.typing and header is not None:
        try:
            header(*args, **kwargs)
        except TypeError as exc:
            raise TypeError(f"item {at} of enqueue_many(), {brief(item, 80)}: {exc}") from None
    return args, kwargs


__all__ = ["Arguments", "Enqueuer", "arguments_of"]
