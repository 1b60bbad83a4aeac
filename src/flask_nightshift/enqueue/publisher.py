"""The first step of a job's life: from a call of ``delay()`` to a message in the broker.

Every way to enqueue a job ends in ``JobPublisher``: ``delay``, ``apply_async``, canvas, ``send_task`` by name and Beat
in ``one``, ``enqueue_many`` in ``many``. It checks the call, stamps the message, publishes it over a wire, translates
errors of the broker, and emits ``JobEnqueued``.

There are two wires. ``Publisher.publish`` takes nearly every job, as an envelope and the name of a queue.
``Celery.send_task`` takes the jobs that need Celery's producer (``by_name.py`` decides). It needs twice the time,
because it routes twice, copies the queue's declaration and uses two pools.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any

from celery import Celery
from kombu.exceptions import EncodeError

from ..brokers.base import Broker
from ..brokers.locks import Locks
from ..domain.events import JobEvent
from ..domain.job import utcnow
from ..errors import Unsupported
from ..lifetime.forks import reset_if_forked
from ..message.envelope import Envelope
from ..message.headers import DURABLE, HISTORY, ON_EXPIRED, stamp
from ..message.relations import relations_of
from ..message.unique import Held, Holders
from ..options.call import unencodable_argument
from ..text.redaction import Redaction
from .by_name import NamedQueues
from .call import Call, Calls, moment
from .celery_producer import CeleryProducer
from .composed import Composed, Taker, taker
from .composer import Composer, Template, enveloped
from .destination import destination
from .ids import new_id, new_ids
from .items import Arguments
from .plans import Plan, Plans
from .publish_signals import PublishSignals, wanted
from .relations import relations_of_call
from .request_id import request_id
from .sending import Sender
from .unique_jobs import UniqueJobs


class JobPublisher:
    """Publishes the jobs of one Celery app.

    It calls ``emit`` for each job that the broker has confirmed. ``send_task`` is Celery's own. ``redaction`` hides
    arguments where they are shown. ``keep`` tells who takes durable jobs: it writes and publishes them.
    """

    def __init__(
        self,
        app: Celery,
        broker: Broker,
        locks: Locks,
        emit: Callable[[JobEvent], object],
        send_task: Callable[..., Any],
        redaction: Redaction,
        on_commit: Callable[[], Taker | None] | None = None,
        keep: Callable[[], Taker] | None = None,
    ) -> None:
        self._app = app
        self._redaction = redaction
        self._keep = keep
        self._on_commit = on_commit
        self._broker = broker
        self._calls = Calls(app, redaction)
        self._queues = NamedQueues(app, broker)
        self._composer = Composer(app, redaction)
        self._plans = Plans(self._calls, self._queues, self._composer)
        self._celery = CeleryProducer(app, broker, send_task)
        self._unique = UniqueJobs(broker, locks, emit)
        self.sender = Sender(app, broker, self._unique, emit)
        """Publishes finished jobs."""

    def one(self, name: str, args: Any, kwargs: Any, options: Mapping[str, Any]) -> Any:
        """Publish a job; returns its ``AsyncResult``. ``options`` are those of ``Celery.send_task``.

        Raises ``BrokerUnavailable``, ``InvalidOption`` for a wrong option, ``UnencodableArgument`` for an argument that
        cannot be encoded, and Celery's errors for other arguments that make no message.
        """
        reset_if_forked()
        job_id = options.get("task_id") or new_id()
        held: Holders = {}
        parent = self._app.current_worker_task
        into = self._taker(options)
        plan = self._plan(parent, into, name, args, kwargs, options)
        if plan is None or plan.call.durable:
            into = into or self._keeper(name, options)
            if into is not None:
                options = self._to_wait(name, options)
                plan = self._plan(parent, None, name, args, kwargs, options)
        if plan is not None:
            call = plan.call
            jobs = [self._by_plan(plan, job_id, args or (), kwargs or {})]
        else:
            call = self._calls.checked(name, args, kwargs, options)
            queue = self._queues.of(call) if into is None else self._queues.required(call)
            if queue is None:
                return self._publish_by_celery(call, job_id)
            message = self._composer.compose(call, job_id, parent)
            at = _stamp(message.headers, queue.name, call)
            self._unique.lock(call, message.headers, args, kwargs)
            jobs = self._with_signals(call, queue, [message], at)
        self._hand(jobs, held, into)
        if held:
            job_id = self._skipped(call, jobs[0].envelope.headers, held, known=bool(options.get("task_id")))
        result = (options.get("result_cls") or self._app.AsyncResult)(job_id)
        result.ignored = options.get("ignore_result")
        if parent and options.get("add_to_parent") is not False:
            parent.add_trail(result)
        return result

    def many(self, task: Any, items: Sequence[Arguments], options: Mapping[str, Any]) -> list[str] | None:
        """Publish one job of ``task`` for each of ``items``; returns the job ids in the order of ``items``.

        Returns None, without publishing, if the jobs need Celery's producer. Raises what ``one`` raises; a
        ``BrokerUnavailable`` or a ``DuplicateJob`` lists the ids of the jobs that are enqueued (``enqueued``).
        """
        reset_if_forked()
        options = {"task_type": task, **_options_of(task), **options}
        call = self._calls.checked(task.name, (), {}, options)
        into = self._taker(options) or self._keeper(task.name, options)
        queue = self._queues.of(call) if into is None else self._queues.required(call)
        if queue is None:
            return None
        first = self._composer.compose(call, "", self._app.current_worker_task)
        at = _stamp(first.headers, queue.name, call)
        template = Template(first, self._composer.serializer(call), self._composer.texts(call))
        ids = new_ids(len(items))
        jobs = list(zip(ids, items, strict=True))
        held: Holders = {}
        if wanted():
            messages = [template.message(job_id, *each) for job_id, each in jobs]
            self._unique.lock_each(call, [message.headers for message in messages], items)
            composed = self._with_signals(call, queue, messages, at)
        else:
            shared = relations_of(first.headers, first.body[2])
            composed = [
                Composed(
                    self._filled(call, template, job_id, *each), queue.name, at, call.due, relations=shared
                )
                for job_id, each in jobs
            ]
            self._unique.lock_each(call, [job.envelope.headers for job in composed], items)
        self._hand(composed, held, into)
        if not held:
            return ids
        return self._unique.skipped_among(call, [job.envelope.headers for job in composed], held)

    def _plan(
        self, parent: Any, into: Taker | None, name: str, args: Any, kwargs: Any, options: Mapping[str, Any]
    ) -> Plan | None:
        """The plan for a call outside of a job that the broker gets at once; None if there is none."""
        if parent is not None or into is not None or wanted():
            return None
        return self._plans.of(name, args, kwargs, options)

    def _taker(self, options: Mapping[str, Any]) -> Taker | None:
        """Who takes the jobs of this call, durable or not, instead of the broker; None if they are to be published."""
        collecting = taker()
        if collecting is not None:
            if options.get("chord"):
                raise Unsupported(
                    "A chord cannot wait for a transaction: its counter is in the result backend."
                )
            return collecting
        # replace() ends its job, whatever becomes of the transaction
        if self._on_commit is None or options.get("replaced_task_nesting"):
            return None
        return self._on_commit()

    def _keeper(self, name: str, options: Mapping[str, Any]) -> Taker | None:
        """Who takes the jobs of this call if they are durable."""
        return self._keep() if self._keep is not None and self._is_durable(name, options) else None

    def _is_durable(self, name: str, options: Mapping[str, Any]) -> bool:
        """Whether the job of a call is durable, before its options are checked."""
        said = options.get(DURABLE)
        if said is None:
            task = options.get("task_type") or self._app._tasks.get(name)  # noqa: SLF001 - as Celery
            return bool(getattr(task, DURABLE, False))
        return bool(said)

    def _to_wait(self, name: str, options: Mapping[str, Any]) -> Mapping[str, Any]:
        """``options`` of a job that is published later, by somebody else.

        A group's producer goes: no connection is needed now. A job that is enqueued by the name of its task gets the
        options of the task, as Celery merges them.
        """
        options = {key: value for key, value in options.items() if key != "producer"}
        if "task_type" in options or (task := self._app._tasks.get(name)) is None:  # noqa: SLF001 - as Celery
            return options
        own = {key: value for key, value in (task._get_exec_options() or {}).items() if value is not None}  # noqa: SLF001
        return {"task_type": task, **own, **options}

    def _hand(self, jobs: Sequence[Composed], held: Holders, into: Taker | None) -> None:
        """Publish finished jobs of one call, or give them away."""
        if into is None:
            self.sender.send(jobs, held)
        else:
            held |= into(jobs) or {}

    def _by_plan(self, plan: Plan, job_id: str, args: Any, kwargs: Any) -> Composed:
        envelope = self._filled(plan.call, plan.template, job_id, args, kwargs)
        envelope.properties["reply_to"] = self._app.thread_oid
        at = _stamp(envelope.headers, plan.queue.name, plan.call)
        if plan.call.unique is not None:
            self._unique.lock(plan.call, envelope.headers, args, kwargs)
        return Composed(envelope, plan.queue.name, at)

    def _with_signals(self, call: Call, queue: Any, messages: Sequence[Any], at: datetime) -> list[Composed]:
        """The jobs of ``messages`` for ``queue`` (a ``kombu.Queue``), after receivers may have changed them."""
        signals = PublishSignals(call.name, *self._broker.address(queue), messages)
        entities = signals.before(queue)
        due = moment(messages[0].headers.get("eta"), self._app.timezone)  # a receiver may have changed it
        return [
            Composed(
                self._enveloped(call, message),
                queue.name,
                at,
                due,
                entities,
                partial(signals.after, index),
                relations_of(message.headers, message.body[2]),
            )
            for index, message in enumerate(messages)
        ]

    def _publish_by_celery(self, call: Call, job_id: str) -> Any:
        call, to = self._hiding(call), destination(self._app, call)
        headers = dict(call.options.get("headers") or {})
        at = _stamp(headers, to.name, call._replace(durable=False))
        named = {**headers, "id": job_id, "task": call.name}
        self._unique.lock(call, named, call.args, call.kwargs)
        headers[HISTORY] = named[HISTORY]
        try:
            with self._unique.around(named, call.due) as mark:
                result = self._celery.publish(call, job_id, to, mark(headers))
        except Held as exc:
            known = bool(call.options.get("task_id"))
            return self._app.AsyncResult(self._skipped(call, named, {job_id: exc.holder}, known=known))
        except EncodeError as exc:
            self._raise_unencodable(call, call.args, call.kwargs, exc)
            raise
        except Exception as exc:
            self.sender.explain(exc, headers)
            raise
        texts = self._composer.texts(call)
        told = {
            "id": job_id,
            "task": call.name,
            "retries": call.options.get("retries"),
            "argsrepr": call.options.get("argsrepr") or texts.args(call.args or ()),
            "kwargsrepr": call.options.get("kwargsrepr") or texts.kwargs(call.kwargs or {}),
            HISTORY: headers[HISTORY],
        }
        self.sender.tell(
            told, to.name, at, call.due, relations_of_call(call, job_id, self._app.current_worker_task)
        )
        return result

    def _hiding(self, call: Call) -> Call:
        """``call`` with short texts of its arguments, if something in them is hidden; else Celery makes them."""
        args, kwargs, texts = call.args or (), call.kwargs or {}, self._composer.texts(call)
        shown = texts.shown(args, kwargs)
        if shown[0] is args and shown[1] is kwargs:
            return call
        made = {"argsrepr": texts.args(args), "kwargsrepr": texts.kwargs(kwargs)}
        return call._replace(options={**made, **call.options})

    def _skipped(self, call: Call, headers: Mapping[str, Any], held: Holders, *, known: bool) -> str:
        return self._unique.skipped(call, headers, held[headers["id"]], known=known)

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
        run = getattr(call.task, "run", None)
        found = unencodable_argument(call.name, run, args, kwargs, serializer, self._redaction)
        if found is not None:
            raise found from exc


def _stamp(headers: dict[str, Any], queue: str, call: Call) -> datetime:
    """Add the history header; returns when the job was first enqueued, which may be earlier than now."""
    at = stamp(headers, queue=queue, at=utcnow(), request_id=request_id(), tags=call.tags)
    if call.durable:
        headers[HISTORY] = {**headers[HISTORY], DURABLE: True}  # the outbox names the row
    if call.on_expired:
        headers[HISTORY] = {**headers[HISTORY], ON_EXPIRED: call.on_expired}
    return at


def _options_of(task: Any) -> dict[str, Any]:
    """The publish options that ``task`` sets for all its jobs, as ``Task.apply_async`` uses them."""
    return {**task._get_exec_options(), "ignore_result": task.ignore_result}  # noqa: SLF001 - Celery's own place


__all__ = ["JobPublisher"]
