"""Spans of producers.

``send``: one for each publish, also of a relay, a replay or Beat. A message that carries no context yet gets that of
its ``send`` span. ``create``: for each job that is published later, or with others; the message carries its context, so
a job's attempts follow the call that enqueued it, and its ``send`` span links to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from time import perf_counter
from typing import Any

from msgspec.structs import replace
from opentelemetry.trace import Span, SpanKind

from ..brokers.base import Broker
from ..brokers.ticks import Ticks
from ..domain.job import Failure
from ..domain.tick import Claim, Tick, Verdict
from ..enqueue.call import Call
from ..enqueue.composed import Composed, Taker
from ..enqueue.destination import Destination, destination
from ..enqueue.publisher import JobPublisher
from ..message.envelope import Envelope
from ..message.unique import Holders
from . import convention as names
from .tracing import Instruments, Tracing, carried, current, failed, harmless, injected, links_to

BEATS = "celery_beat_task"
"""A header of Beat's jobs. Several Beats compose the job of a tick, and one sends it, so only that has a span."""

RoutingKey = Callable[[str, datetime | None], str]
"""``Publisher.routing_key``."""


class Sending:
    """One ``send`` span, and the metrics beside it."""

    def __init__(
        self,
        tracing: Tracing,
        made: Instruments,
        queue: str,
        messages: Sequence[Mapping[str, Any]],
        routing_key: str = "",
    ) -> None:
        self._made = made
        self._attributes = tracing.place.of(queue, names.SEND)
        self._wanted = len(messages)
        self._sent = 0
        self._began = perf_counter()
        told: dict[str, Any] = self._attributes | tracing.place.routed_by(routing_key)
        if self._wanted == 1:
            told |= about(messages[0])
        else:
            told[names.BATCH_COUNT] = self._wanted
        created = [each for each in messages if carried(each)]
        self.span: Span = made.tracer.start_span(
            f"{names.SEND} {queue}",
            kind=SpanKind.CLIENT if len(created) == self._wanted else SpanKind.PRODUCER,
            attributes=told,
            links=links_to(created),
        )

    def confirmed(self, count: int) -> None:
        """The broker has taken ``count`` further messages."""
        self._sent += count

    def skipped(self, count: int) -> None:
        """``count`` of the confirmed messages were not sent, because other jobs hold their locks."""
        self._sent -= count
        self._wanted -= count

    def end(self, error: BaseException | None = None) -> None:
        """The publish has ended; the rest was tried, too."""
        with harmless():
            self._end(error)

    def _end(self, error: BaseException | None) -> None:
        seconds, told = perf_counter() - self._began, dict(self._attributes)
        self._count(self._sent, told)
        if error is not None:
            failure = Failure.of(error)
            failed(self.span, failure)
            told[names.ERROR_TYPE] = failure.error
            self._count(self._wanted - self._sent, told)
        self._made.operation.record(seconds, told)
        self.span.end()

    def _count(self, messages: int, told: dict[str, Any]) -> None:
        if messages > 0:
            counted = {name: value for name, value in told.items() if name != names.OPERATION_TYPE}
            self._made.sent.add(messages, counted)


def _begun(
    tracing: Tracing, queue: str, messages: Sequence[Mapping[str, Any]], routing_key: str = ""
) -> Sending | None:
    """The span of a publish; None if it cannot be reported."""
    made = tracing.instruments()
    if made is not None:
        with harmless():
            return Sending(tracing, made, queue, messages, routing_key)
    return None


@contextmanager
def sending(
    tracing: Tracing, queue: str, message: Mapping[str, Any], routing_key: str = ""
) -> Iterator[Sending | None]:
    """A ``send`` span around the block, which sends one message with these headers."""
    send = _begun(tracing, queue, [message], routing_key)
    if send is None:
        yield None
        return
    try:
        with current(send.span):
            yield send
    except BaseException as exc:
        send.end(exc)
        raise
    send.confirmed(1)
    send.end()


def about(headers: Mapping[str, Any]) -> dict[str, Any]:
    """The attributes of one message."""
    job_id, root = str(headers.get("id")), headers.get("root_id")
    told: dict[str, Any] = {names.MESSAGE_ID: job_id, names.TASK: str(headers.get("task"))}
    if isinstance(root, str) and root and root != job_id:
        told[names.CONVERSATION_ID] = root
    return told


def created(
    tracing: Tracing, jobs: Sequence[Composed], routing_key: RoutingKey = lambda *_: ""
) -> Sequence[Composed]:
    """``jobs``, each with the context of a ``create`` span; a job that carries a context keeps it."""
    made = tracing.instruments()
    if made is None:
        return jobs
    return [_created(tracing, made, job, routing_key) for job in jobs]


def _created(tracing: Tracing, made: Instruments, job: Composed, routing_key: RoutingKey) -> Composed:
    headers = job.envelope.headers
    with harmless():
        if carried(headers) or BEATS in headers:
            return job
        span = made.tracer.start_span(
            f"{names.CREATE} {job.queue}",
            kind=SpanKind.PRODUCER,
            attributes={
                **tracing.place.of(job.queue, names.CREATE),
                **tracing.place.routed_by(routing_key(job.queue, job.due)),
                **about(headers),
            },
        )
        carrying = job._replace(envelope=_with(job.envelope, injected(span)))
        with harmless():
            span.end()
        return carrying
    return job


def _with(envelope: Envelope, carrier: Mapping[str, str]) -> Envelope:
    return replace(envelope, headers={**envelope.headers, **carrier}) if carrier else envelope


def _carrying(envelope: Envelope, send: Sending | None) -> Envelope:
    """``envelope``, with the context of ``send`` if it carries none."""
    with harmless():
        if send is not None and not carried(envelope.headers):
            return _with(envelope, injected(send.span))
    return envelope


class TracedPublisher(JobPublisher):
    """A publisher whose jobs carry a context."""

    def _hand(self, jobs: Sequence[Composed], held: Holders, into: Taker | None) -> None:
        tracing: Any = self._app.services.tracing
        if tracing is not None and (into is not None or len(jobs) > 1):
            jobs = created(tracing, jobs, self._app.services.broker.routing_key)
        super()._hand(jobs, held, into)

    def _publish_by_celery(self, call: Call, job_id: str) -> Any:
        tracing: Any = self._app.services.tracing
        if tracing is None:
            return super()._publish_by_celery(call, job_id)
        given = dict(call.options.get("headers") or {})
        told = {**given, "id": job_id, "task": call.name, "root_id": call.options.get("root_id")}
        to = destination(self._app, call)
        with sending(tracing, to.name, told, self._routing_key(to, call)) as send:
            with harmless():
                if send is not None and not carried(given):
                    given |= injected(send.span)
            options = {**call.options, "headers": given} if given else call.options
            return super()._publish_by_celery(call._replace(options=options), job_id)

    def _routing_key(self, to: Destination, call: Call) -> str:
        if call.due is None or to.queue is None:
            return to.routing_key
        key: str = self._app.services.broker.routing_key(to.queue.name, call.due)
        return key


class TracedBroker:
    """A broker with a ``send`` span for each publish; all else is the broker's own."""

    def __init__(self, broker: Broker, tracing: Tracing) -> None:
        self._broker = broker
        self._tracing = tracing

    def __getattr__(self, name: str) -> Any:
        return getattr(self._broker, name)

    def publish(
        self, envelope: Envelope, queue: str, *, due: datetime | None = None, held: Holders | None = None
    ) -> None:
        """As ``Publisher.publish``."""
        key = self._broker.routing_key(queue, due)
        with sending(self._tracing, queue, envelope.headers, key) as send:
            before = len(held or ())
            self._broker.publish(_carrying(envelope, send), queue, due=due, held=held)
            if send is not None:
                send.skipped(len(held or ()) - before)

    def publish_many(
        self, envelopes: Sequence[Envelope], queue: str, *, held: Holders | None = None, **options: Any
    ) -> Iterator[int]:
        """As ``Publisher.publish_many``; the span is current only while the broker works."""
        key = self._broker.routing_key(queue, options.get("due"))
        send, before = (
            _begun(self._tracing, queue, [each.headers for each in envelopes], key),
            len(held or ()),
        )
        if send is None:
            yield from self._broker.publish_many(envelopes, queue, held=held, **options)
            return
        carrying = [_carrying(each, send) for each in envelopes]
        steps = iter(self._broker.publish_many(carrying, queue, held=held, **options))
        try:
            while True:
                with current(send.span):
                    count = next(steps, None)
                if count is None:
                    break
                send.confirmed(count)
                yield count
        except BaseException as exc:
            send.end(exc)
            raise
        send.skipped(len(held or ()) - before)
        send.end()

    def ticks(self) -> Ticks | None:
        """As ``Publisher.ticks``."""
        found = self._broker.ticks()
        return None if found is None else TracedTicks(found, self._tracing)


class TracedTicks:
    """Ticks with a ``send`` span for each job that is enqueued."""

    def __init__(self, ticks: Ticks, tracing: Tracing) -> None:
        self._ticks = ticks
        self._tracing = tracing

    def last(self, queue: str, entry: str) -> datetime | None:
        """As ``Ticks.last``."""
        return self._ticks.last(queue, entry)

    def publish(
        self, envelope: Envelope, queue: str, tick: Tick, *, due: datetime | None, held: Holders
    ) -> Claim:
        """As ``Ticks.publish``. A span that does not end is not reported: another Beat has sent that job."""
        send = _begun(self._tracing, queue, [envelope.headers])
        if send is None:
            return self._ticks.publish(envelope, queue, tick, due=due, held=held)
        try:
            with current(send.span):
                claim = self._ticks.publish(_carrying(envelope, send), queue, tick, due=due, held=held)
        except BaseException as exc:
            send.end(exc)
            raise
        if claim.verdict is Verdict.CLAIMED and not held:
            send.confirmed(1)
            send.end()
        return claim


__all__ = ["TracedBroker", "TracedPublisher", "about", "created", "sending"]
