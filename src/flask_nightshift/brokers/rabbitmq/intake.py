"""What RabbitMQ sends to a worker that looks ahead: for each queue one consumer of Celery's, several of RabbitMQ's.

Celery consumes, acknowledges and cancels as ever, under one consumer tag for each queue. Behind that, ``adjust`` begins
and cancels consumers as ``credit.py`` says, and never waits for an answer, since the event loop calls it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from math import inf
from time import monotonic
from types import SimpleNamespace
from typing import Any

from amqp import spec

from .credit import Change, change

CAUTIOUS = 1.0
"""Seconds in which the worker takes no more than one message for each child, after it had too many.

What it then has to give up, because it takes so few, does not make that time longer.
"""
ACTIVE = 1.0
"""Seconds from its last message until a queue gives up its share of what the worker takes ahead."""
QUIET = 0.05
"""Seconds from its last message after which nothing is on its way to a consumer."""
LEAVES_WITHIN = 0.5
"""Seconds within which the consumers of a paused queue end, also while something may be on its way to them."""
MOST_CONSUMERS = 4
"""Consumers of a queue; one more replaces all of them, once nothing is on its way to them."""


class _Consumer:
    """A consumer of RabbitMQ's: the tags of what it has delivered and is not settled, and how many it may hold."""

    __slots__ = ("count", "live", "tag", "tags")

    def __init__(self, tag: str, count: int) -> None:
        self.tag, self.count = tag, count
        self.tags: set[int] = set()
        self.live = True

    @property
    def room(self) -> int:
        """How many more it may deliver."""
        return max(0, self.count - len(self.tags)) if self.live else 0


class _Flow:
    """A queue's consumers; ``tag`` is the one that Celery knows."""

    def __init__(self, queue: str, tag: str, callback: Callable[[Any], Any], options: dict[str, Any]) -> None:
        self.queue, self.tag, self.callback, self.options = queue, tag, callback, options
        self.consumers: list[_Consumer] = []
        self.delivered_at = 0.0
        self.leaves_at = inf

    @property
    def live(self) -> list[_Consumer]:
        """Those that are not cancelled."""
        return [each for each in self.consumers if each.live]

    @property
    def room(self) -> int:
        """How many more may come."""
        return sum(each.room for each in self.consumers)

    @property
    def held(self) -> int:
        """How many of its messages the worker holds."""
        return sum(len(each.tags) for each in self.consumers)


class Intake:
    """The consumers of ``channel``, which is kombu's and consumes nothing yet.

    ``manages(queue)``: whether more or fewer messages may be taken from the queue of that name.
    """

    def __init__(self, channel: Any, manages: Callable[[str], bool]) -> None:
        self._channel, self._manages = channel, manages
        self._flows: dict[str, _Flow] = {}
        self._leaving: list[_Flow] = []
        self._by_delivery: dict[int, _Consumer] = {}
        self._numbers = itertools.count(1)
        self._usual = self._prefetch = 0
        self._cautious_until = 0.0
        self._kombu = SimpleNamespace(
            qos=channel.basic_qos,
            consume=channel.basic_consume,
            cancel=channel.basic_cancel,
            ack=channel.basic_ack,
            reject=channel.basic_reject,
        )
        channel.basic_qos, channel.basic_consume, channel.basic_cancel = (
            self._qos,
            self._consume,
            self._cancel,
        )
        channel.basic_ack, channel.basic_reject = self._ack, self._reject

    # -- as the channel's own methods ----------------------------------------------------------------------

    def _qos(self, prefetch_size: int, prefetch_count: int, a_global: bool, **options: Any) -> Any:
        if not a_global:
            self._usual = self._prefetch = prefetch_count
        return self._kombu.qos(prefetch_size, prefetch_count, a_global, **options)

    def _consume(
        self,
        queue: str = "",
        consumer_tag: str = "",
        *,
        callback: Any = None,
        nowait: bool = False,
        **more: Any,
    ) -> Any:
        self._have_prefetch(self._usual)
        if more.get("no_ack") or not consumer_tag or not self._manages(queue):
            return self._kombu.consume(queue, consumer_tag, callback=callback, nowait=nowait, **more)
        flow = self._flows[consumer_tag] = _Flow(queue, consumer_tag, callback, more)
        return self._begin(flow, consumer_tag, self._usual, nowait=nowait)

    def _cancel(self, consumer_tag: str, nowait: bool = False, **options: Any) -> Any:
        flow = self._flows.pop(consumer_tag, None)
        if flow is None:
            return self._kombu.cancel(consumer_tag, nowait, **options)
        for each in flow.live:
            each.live = False
            self._kombu.cancel(each.tag, nowait, **options)
        return None

    def leave(self, consumer_tag: str) -> None:
        """End the consumers behind a tag of Celery's soon: a queue is paused."""
        flow = self._flows.pop(consumer_tag, None)
        if flow is None:
            self._kombu.cancel(consumer_tag, nowait=True)
            return
        flow.leaves_at = monotonic() + LEAVES_WITHIN
        self._leaving.append(flow)
        self._end_leaving()

    def _end_leaving(self) -> None:
        for flow in self._leaving:
            self._end_all(flow, at_once=monotonic() >= flow.leaves_at)
        self._leaving = [flow for flow in self._leaving if flow.live]

    def _end_all(self, flow: _Flow, *, at_once: bool) -> None:
        quiet = flow.delivered_at + QUIET < monotonic()
        for each in flow.live:
            if at_once or quiet or not each.room:
                self._end(each)

    def _ack(self, delivery_tag: int, *args: Any, **options: Any) -> Any:
        self._settled(delivery_tag)
        return self._kombu.ack(delivery_tag, *args, **options)

    def _reject(self, delivery_tag: int, *args: Any, **options: Any) -> Any:
        self._settled(delivery_tag)
        return self._kombu.reject(delivery_tag, *args, **options)

    # -- more and less -------------------------------------------------------------------------------------

    def adjust(self, *, children: int, window: int, held: int) -> None:
        """Have the worker get messages until it holds ``window``; it holds ``held`` and has ``children``."""
        if self._channel.connection is None:
            return
        self._end_leaving()
        free = window - max(held, len(self._by_delivery))
        for flow, share in self._shares(children, window):
            flow.consumers = [each for each in flow.consumers if each.live or each.tags]
            want = max(children, share)
            decided = change(held=flow.held, room=flow.room, want=want, least=children, free=free)
            if decided is not None:
                if decided.cancel and not self._cautious:
                    self._be_cautious(flow)
                self._change(flow, decided)

    def _shares(self, children: int, window: int) -> list[tuple[_Flow, int]]:
        """How many messages of each queue the worker may hold: queues without messages leave theirs to the others."""
        now = monotonic()
        flows = list(self._flows.values())
        active = [each for each in flows if each.delivered_at + ACTIVE > now]
        if self._cautious:
            return [(each, children) for each in flows]
        if not active:  # all stays, until it is known who needs it
            return [(each, min(window, each.held + each.room)) for each in flows]
        share = (window - children * (len(flows) - len(active))) // len(active)
        return [(each, share if each in active else children) for each in flows]

    @property
    def _cautious(self) -> bool:
        return monotonic() < self._cautious_until

    def _be_cautious(self, flow: _Flow) -> None:
        if flow.held:
            self._cautious_until = monotonic() + CAUTIOUS

    def close(self, queues: Iterable[str]) -> None:
        """Have no more delivered from ``queues`` until ``adjust`` finds that the worker may take more."""
        for flow in list(self._flows.values()):
            if flow.queue in queues:
                self._be_cautious(flow)
                self._change(flow, Change(True, 0))

    def _change(self, flow: _Flow, decided: Change) -> None:
        live, count = flow.live, decided.begin
        quiet = flow.delivered_at + QUIET < monotonic()
        safe = [each for each in live if quiet or not each.room]
        if decided.cancel:
            count = count if len(safe) == len(live) else 0
        elif len(live) >= MOST_CONSUMERS and len(safe) == len(live):
            count += flow.room
        else:
            safe = []
        for each in safe:
            self._end(each)
        if count > 0:
            self._have_prefetch(count)
            self._begin(flow, f"{flow.tag}.{next(self._numbers)}", count, nowait=True)

    def _begin(self, flow: _Flow, tag: str, count: int, *, nowait: bool) -> Any:
        consumer = _Consumer(tag, count)
        flow.consumers.append(consumer)

        def delivered(message: Any) -> Any:
            info = message.delivery_info
            number = info["delivery_tag"]
            consumer.tags.add(number)
            flow.delivered_at = monotonic()
            self._by_delivery[number] = consumer
            info["consumer_tag"] = flow.tag
            if flow.leaves_at < inf:
                self._end_leaving()
            return flow.callback(message)

        return self._kombu.consume(flow.queue, tag, callback=delivered, nowait=nowait, **flow.options)

    def _end(self, consumer: _Consumer) -> None:
        """Cancel it; py-amqp forgets it with the answer, and what is on its way until then still arrives."""
        consumer.live = False
        self._channel.send_method(spec.Basic.Cancel, "sb", (consumer.tag, False))

    def _have_prefetch(self, count: int) -> None:
        if count != self._prefetch:
            self._prefetch = count
            self._channel.send_method(spec.Basic.Qos, "lBb", (0, count, False))

    def _settled(self, delivery_tag: int) -> None:
        consumer = self._by_delivery.pop(delivery_tag, None)
        if consumer is not None:
            consumer.tags.discard(delivery_tag)


__all__ = ["Intake"]
