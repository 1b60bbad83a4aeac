"""The part of the channel that publishes: to a ready list or to the delayed messages, in one script each."""

from __future__ import annotations

from collections.abc import Sequence
from time import time
from typing import Any

from kombu.transport import redis

from ....domain.tick import Claim, Tick
from ....message.codec import encode
from ....message.copies import copy_of, tell_duplicate
from ....message.envelope import Envelope
from ....message.unique import Held, Holders, Lock, lock_of, to_claim, unmarked
from ... import payload
from .keys import KeySpace
from .publishing import Once, PublishBatch, Publisher, next_tag
from .tick_publishing import publish_tick, publish_unique_tick
from .unique_publishing import Job, jobs_of, publish_unique


class PublishingChannel(redis.Channel):
    """kombu's channel, which publishes by our scripts. Its subclass makes ``keys`` and ``publisher``."""

    keys: KeySpace
    publisher: Publisher

    def _next_delivery_tag(self) -> str:
        """A unique one, for kombu's own consumers; a random one would cost a system call for each message."""
        return next_tag()

    def _put(self, queue: str, message: dict[str, Any], **kwargs: Any) -> None:
        due, step = payload.due(message) or 0.0, self._step_of(message)
        if (headers := unmarked(message.get("headers"))) is not None:
            message = {**message, "headers": headers}
            if (lock := lock_of(headers)) is not None:
                self._put_unique(queue, step, due, message, lock)
                return
        if (batch := kwargs.get("_publish_batch")) is not None:
            batch.ring(queue)
            if due > time():
                key = KeySpace().delayed(queue)  # kombu's pipeline adds the prefix
                batch.add("zadd", key, {b"%d|%s" % (step, encode(message)): due})
                return
        if batch is not None or (self._expires and queue in self._expires):
            super()._put(queue, message, **kwargs)
            return
        self.publisher.publish(queue, step, due, [encode(message)])

    def _put_unique(self, queue: str, step: int, due: float, message: dict[str, Any], lock: Lock) -> None:
        """Publish a unique job of Celery's producer; raises ``Held`` if another job holds its lock."""
        # a job that replaces itself has the same id, and is no repeated publish
        nesting = message["headers"].get("replaced_task_nesting") or 0
        once = f"job:{lock.job_id}:{nesting}", 0
        held, _ = publish_unique(self.publisher, queue, step, due, [Job(encode(message), lock)], once)
        if held:
            raise Held(held[lock.job_id])

    def publish_envelopes(
        self,
        envelopes: Sequence[Envelope],
        queue: str,
        once: Once,
        *,
        from_outbox: bool = False,
        held: Holders | None = None,
    ) -> None:
        """Publish up to some hundred messages to ``queue`` in one script, all or none.

        They have the same priority and due time. ``once`` makes a publish do nothing if it is repeated because its
        answer was lost. ``from_outbox``: what is a second publish of its attempt is dropped. ``held``: unique jobs
        claim their locks, and it gets the holders of those that were taken.
        """
        unique = list(jobs_of(envelopes, queue, from_outbox=from_outbox)) if held is not None else []
        if held is not None and unique:
            taken, second = publish_unique(self.publisher, queue, *self._when(envelopes[0]), unique, once)
            held.update(taken)
            for job in second:
                self._tell_second(job.lock.job_id, envelopes, queue)
            envelopes = [each for each in envelopes if not to_claim(each.headers)]
            if not envelopes:
                return
        step, due = self._when(envelopes[0])
        messages = [payload.written(envelope, queue, next_tag()) for envelope in envelopes]
        copies = [copy for each in envelopes if (copy := copy_of(each.headers))] if from_outbox else []
        if len(copies) < len(envelopes):
            copies = []  # one is not numbered, so it could not be recognised either
        for at in self.publisher.publish(queue, step, due, messages, once, copies):
            tell_duplicate(envelopes[at].headers, queue)

    def publish_tick(self, envelope: Envelope, queue: str, once: Once, tick: Tick, held: Holders) -> Claim:
        """Publish the job of ``tick`` to ``queue``, if the tick is free; ``held`` gets the holder of its taken lock."""
        step, due = self._when(envelope)
        message = payload.written(envelope, queue, next_tag())
        if (lock := to_claim(envelope.headers)) is None:
            return publish_tick(self.publisher, queue, step, due, message, once, tick)
        claim, taken = publish_unique_tick(self.publisher, queue, step, due, message, lock, once, tick)
        held.update(taken)
        return claim

    def _tell_second(self, job_id: str, envelopes: Sequence[Envelope], queue: str) -> None:
        for envelope in envelopes:
            if envelope.headers["id"] == job_id:
                tell_duplicate(envelope.headers, queue)

    def _when(self, envelope: Envelope) -> tuple[int, float]:
        """Its priority step, and when it is due in unix seconds (0: at once)."""
        headers, properties = envelope.headers, envelope.properties
        step = self._step_of({"properties": properties}) if properties.get("priority") else self.priority(0)
        return step, (payload.due({"headers": headers}) if headers.get("eta") else 0.0) or 0.0

    def create_publish_batch(self, max_size: int) -> PublishBatch:
        """Many publishes in one pipeline."""
        return PublishBatch(self, self.keys, max_size)

    def _step_of(self, message: dict[str, Any]) -> int:
        """The priority step of ``message``."""
        step: int = self.priority(self._get_message_priority(message, reverse=False))
        return step


__all__ = ["PublishingChannel"]
