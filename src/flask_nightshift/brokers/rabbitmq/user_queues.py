"""The queues that a user declares in Celery's settings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from kombu import Queue


def declared(queues: object) -> Iterator[Queue]:
    """The declarations in Celery's ``task_queues``, which is a list of ``kombu.Queue`` or a mapping by name."""
    if isinstance(queues, Mapping):
        for name, queue in queues.items():
            yield (
                queue if isinstance(queue, Queue) else Queue.from_dict(name, **{"routing_key": name, **queue})
            )
    elif isinstance(queues, (list, tuple, set, frozenset)):
        yield from (queue for queue in queues if isinstance(queue, Queue))
