"""What calls with the same options share, kept for the next one: their checked options, their queue, their template.

Nearly every job is enqueued with its task's options alone. Checking them, finding the queue and composing the message
anew would cost as much as the round trip to the broker.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from ..lifetime.process import pid
from .by_name import NamedQueues
from .call import Call, Calls
from .composer import Composer, Template

_COMMON = frozenset(
    {"ignore_result", "queue", "result_cls", "serializer", "soft_time_limit", "task_type", "time_limit"}
)
"""Options that most jobs of a task share, or that do not become part of the message."""
_IN_MESSAGE = ("time_limit", "soft_time_limit", "ignore_result", "serializer", "queue")
_MOST_PLANS = 1000


class Plan(NamedTuple):
    """``call`` is the first call with these options; ``queue`` is a ``kombu.Queue``."""

    call: Call
    queue: Any
    template: Template


class Plans:
    """The plans of one Celery app. They last as long as its settings."""

    def __init__(self, calls: Calls, queues: NamedQueues, composer: Composer) -> None:
        self._calls = calls
        self._queues = queues
        self._composer = composer
        self._plans: dict[Any, Plan] = {}

    def of(self, name: str, args: Any, kwargs: Any, options: Mapping[str, Any]) -> Plan | None:
        """The plan for a call of the task ``name`` outside of a job; None if the call needs its own message.

        Raises ``InvalidOption`` for a wrong option.
        """
        task = options.get("task_type")
        if task is None or not self._queues.by_options_alone:
            return None
        if not isinstance(args or (), (tuple, list)) or not isinstance(kwargs or {}, dict):
            return None
        for option, value in options.items():
            if value is not None and option not in _COMMON:
                return None
        said = tuple(map(options.get, _IN_MESSAGE))
        own = (
            task.time_limit,
            task.soft_time_limit,
            getattr(task, "job_queue", None),
            getattr(task, "tags", ()),
        )
        # the process, which a message names; the types, because True is not 1
        key = pid(), name, id(task), said, own, tuple(map(type, said))
        try:
            found = self._plans.get(key)
        except TypeError:  # a value that is not hashable, and wrong
            return None
        if found is None and isinstance(options.get("queue"), str | None):
            found = self._made(name, args, kwargs, options)
            if found is not None:
                if len(self._plans) >= _MOST_PLANS:
                    self._plans.clear()
                self._plans[key] = found
        return found

    def _made(self, name: str, args: Any, kwargs: Any, options: Mapping[str, Any]) -> Plan | None:
        call = self._calls.checked(name, args, kwargs, options)
        queue = self._queues.of(call)
        return None if queue is None else Plan(call, queue, self._composer.template(call))


__all__ = ["Plan", "Plans"]
