"""The first step of a job's life: from a call of ``delay()`` to a message in the broker.

Every way to enqueue a job ends in ``JobPublisher``: ``delay``, ``apply_async``, canvas, ``send_task`` by name and Beat
in ``one``, ``enqueue_many`` in ``many``. It checks the call, stamps the message, publishes it over a wire, translates
errors of the broker, and emits ``JobEnqueued``.

There are two wires. ``Publisher.publish`` takes nearly every job, as an envelope and the name of a queue.
``Celery.send_task`` takes the jobs that need Celery's producer (``by_name.py`` decides). It needs twice the time,
because it routes twice, copies the queue's declaration and uses two pools.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from celery import Celery
from kombu.exceptions import EncodeError

from ..brokers.base import Broker
from ..brokers.failures import unavailable
from ..domain.events import JobEnqueued
from ..domain.job import JobRef, is_celery_internal, utcnow
from ..errors import BrokerUnavailable
from ..lifetime.forks import reset_if_forked
from ..message.arguments import brief
from ..message.envelope import Envelope
from ..message.headers import HISTORY, stamp
from ..options.call import unencodable_argument
from ..options.publish import unencodable_header
from .by_name import NamedQueues
from .call import Call, Calls, moment
from .celery_producer import CeleryProducer
from .composer import Composer, Template, enveloped
from .destination import destination
from .ids import new_id, new_ids
from .items import Arguments
from .plans import Plan, Plans
from .publish_signals import PublishSignals, wanted
from .request_id import request_id

Wire = Callable[[Sequence[Envelope], str, datetime | None], Iterator[int]]
"""Publishes envelopes to a queue, given by name, at once or delayed until a time.

After each step it yields how many envelopes the broker has confirmed in that step, in their order.
"""


class JobPublisher:
    """Publishes the jobs of one Celery app.

    It calls ``emit`` for each job that the broker has confirmed. ``send_task`` is Celery's own.
    """

    def __init__(
        self,
        app: Celery,
        broker: Broker,
        emit: Callable[[JobEnqueued], object],
        send_task: Callable[..., Any],
    ) -> None:
        self._app = app
        self._broker = broker
        self._emit = emit
        self._calls = Calls(app)
        self._queues = NamedQueues(app, broker)
        self._composer = Composer(app)
        self._plans = Plans(self._calls, self._queues, self._composer)
        self._celery = CeleryProducer(app, broker, send_task)

    def one(self, name: str, args: Any, kwargs: Any, options: Mapping[str, Any]) -> Any:
        """Publish a job; returns its ``AsyncResult``. ``options`` are those of ``Celery.send_task``.

        Raises ``BrokerUnavailable``, ``InvalidOption`` for a wrong option, ``UnencodableArgument`` for an argument that
        cannot be encoded, and Celery's errors for other arguments that make no message.
        """
        reset_if_forked()
        job_id = options.get("task_id") or new_id()
        parent = self._app.current_worker_task
        plan = self._plans.of(name, args, kwargs, options) if parent is None and not wanted() else None
        if plan is not None:
            self._publish_by_plan(plan, job_id, args or (), kwargs or {})
        else:
            call = self._calls.checked(name, args, kwargs, options)
            queue = self._queues.of(call)
            if queue is None:
                return self._publish_by_celery(call, job_id)
            message = self._composer.compose(call, job_id, parent)
            self._publish(call, queue, [message], _stamp(message.headers, queue.name))
        result = (options.get("result_cls") or self._app.AsyncResult)(job_id)
        result.ignored = options.get("ignore_result")
        if parent and options.get("add_to_parent") is not False:
            parent.add_trail(result)
        return result

    def many(self, task: Any, items: Sequence[Arguments], options: Mapping[str, Any]) -> list[str] | None:
        """Publish one job of ``task`` for each of ``items``; returns the job ids in the order of ``items``.

        Returns None, without publishing, if the jobs need Celery's producer. Raises what ``one`` raises; a
        ``BrokerUnavailable`` lists the ids of the jobs that are enqueued (``enqueued``).
        """
        reset_if_forked()
        options = {"task_type": task, **_options_of(task), **options}
        call = self._calls.checked(task.name, (), {}, options)
        queue = self._queues.of(call)
        if queue is None:
            return None
        first = self._composer.compose(call, "", self._app.current_worker_task)
        at = _stamp(first.headers, queue.name)
        template = Template(first, self._composer.serializer(call))
        ids = new_ids(len(items))
        jobs = list(zip(ids, items, strict=True))
        if wanted():
            messages = [template.message(job_id, *each) for job_id, each in jobs]
            self._publish(call, queue, messages, at)
        else:
            envelopes = [self._filled(call, template, job_id, *each) for job_id, each in jobs]
            self._send(call.name, queue.name, envelopes, at, call.due)
        return ids

    def _publish_by_plan(self, plan: Plan, job_id: str, args: Any, kwargs: Any) -> None:
        envelope = self._filled(plan.call, plan.template, job_id, args, kwargs)
        envelope.properties["reply_to"] = self._app.thread_oid
        at = _stamp(envelope.headers, plan.queue.name)
        self._send(plan.call.name, plan.queue.name, (envelope,), at, None)

    def _publish(self, call: Call, queue: Any, messages: Sequence[Any], at: datetime) -> None:
        """Publish ``messages`` to ``queue`` (a ``kombu.Queue``) by name."""
        signals = PublishSignals(call.name, *self._broker.address(queue), messages)
        entities = signals.before(queue)
        envelopes = [self._enveloped(call, message) for message in messages]
        due = moment(messages[0].headers.get("eta"), self._app.timezone)  # a receiver may have changed it
        self._send(call.name, queue.name, envelopes, at, due, entities, signals.after)

    def _send(
        self,
        task: str,
        queue: str,
        envelopes: Sequence[Envelope],
        at: datetime,
        due: datetime | None,
        entities: Sequence[Any] = (),
        after: Callable[[int], object] | None = None,
    ) -> None:
        """Publish ``envelopes``, and tell of each that the broker has confirmed, first by ``after(its index)``."""
        done = 0
        try:
            self._declare(entities)
            for count in self._by_name(envelopes, queue, due):
                done += count
        except BrokerUnavailable as exc:
            exc.enqueued = tuple(envelope.headers["id"] for envelope in envelopes[:done])
            raise
        except Exception as exc:
            self._explain(exc, envelopes[0].headers)
            raise
        finally:
            for index, envelope in enumerate(envelopes[:done]):
                if after is not None:
                    after(index)
                self._tell(task, envelope.headers, queue, at, due)

    def _by_name(self, envelopes: Sequence[Envelope], queue: str, due: datetime | None) -> Iterator[int]:
        """The ``Wire`` of the broker."""
        if len(envelopes) == 1:
            self._broker.publish(envelopes[0], queue, due=due)
            yield 1
        else:
            yield from self._broker.publish_many(envelopes, queue, due=due)

    def _publish_by_celery(self, call: Call, job_id: str) -> Any:
        to = destination(self._app, call)
        headers = dict(call.options.get("headers") or {})
        at = _stamp(headers, to.name)
        try:
            result = self._celery.publish(call, job_id, to, headers)
        except EncodeError as exc:
            self._raise_unencodable(call, call.args, call.kwargs, exc)
            raise
        except Exception as exc:
            self._explain(exc, headers)
            raise
        told = {
            "id": job_id,
            "retries": call.options.get("retries"),
            "argsrepr": call.options.get("argsrepr") or brief(call.args or ()),
            "kwargsrepr": call.options.get("kwargsrepr") or brief(call.kwargs or {}),
            HISTORY: headers[HISTORY],
        }
        self._tell(call.name, told, to.name, at, call.due)
        return result

    def _enveloped(self, call: Call, message: Any) -> Envelope:
        try:
            return enveloped(message, self._composer.serializer(call))
        except Exception as exc:
            self._raise_unencodable(call, message.body[0], message.body[1], exc)
            raise

    def _filled(self, call: Call, template: Template, job_id: str, args: Any, kwargs: Any) -> Envelope:
        try:
            return template.envelope(job_id, args, kwargs)
        except Exception as exc:
            self._raise_unencodable(call, args, kwargs, exc)
            raise

    def _raise_unencodable(self, call: Call, args: Any, kwargs: Any, exc: Exception) -> None:
        """Raise ``UnencodableArgument`` from ``exc`` for the first argument that cannot be encoded; else return."""
        serializer = self._composer.serializer(call)
        found = unencodable_argument(call.name, getattr(call.task, "run", None), args, kwargs, serializer)
        if found is not None:
            raise found from exc

    def _explain(self, exc: Exception, headers: Mapping[str, Any]) -> None:
        """Translate ``exc``, raised by a wire: raise our error for it, or return if its cause is unknown.

        Raises ``InvalidOption`` for a header that no broker can encode, ``BrokerUnavailable`` for an error of the
        broker's.
        """
        if isinstance(exc, (TypeError, ValueError)):
            if (found := unencodable_header(headers)) is not None:
                raise found from exc
        elif isinstance(exc, self._broker.errors):
            raise unavailable(exc, self._broker.url) from exc

    def _declare(self, entities: Sequence[Any]) -> None:
        """Declare the entities that receivers of ``before_task_publish`` asked for."""
        if entities:
            with self._app.producer_or_acquire() as producer:
                for entity in entities:
                    producer.maybe_declare(entity)

    def _tell(
        self, task: str, headers: Mapping[str, Any], queue: str, at: datetime, due: datetime | None
    ) -> None:
        if is_celery_internal(task):
            return
        attempt = int(headers.get("retries") or 0) + 1
        job = JobRef(headers["id"], task, queue, attempt, headers[HISTORY].get("request_id"), at)
        self._emit(JobEnqueued(job, at, headers["argsrepr"], headers["kwargsrepr"], due))


def _stamp(headers: dict[str, Any], queue: str) -> datetime:
    """Add the history header; returns when the job was first enqueued, which may be earlier than now."""
    return stamp(headers, queue=queue, at=utcnow(), request_id=request_id())


def _options_of(task: Any) -> dict[str, Any]:
    """The publish options that ``task`` sets for all its jobs, as ``Task.apply_async`` uses them."""
    return {**task._get_exec_options(), "ignore_result": task.ignore_result}  # noqa: SLF001 - Celery's own place


__all__ = ["JobPublisher", "Wire"]
