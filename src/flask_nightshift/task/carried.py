"""Calls in another thread that find there what surrounds them here: context variables and Celery's globals.

Celery keeps its current app, the running task and its request for each thread. Without them a job that is enqueued from
another thread would not know its parent, and a ``@shared_task`` would belong to another app.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import copy_context
from typing import Any, TypeVar

from celery import _state

T = TypeVar("T")


def carried(call: Callable[[], T], task: Any = None) -> Callable[[], T]:
    """``call`` for another thread; ``task`` is one whose ``self.request`` is to be there, too."""
    context, app, running = copy_context(), _state.get_current_app(), list(_state._task_stack.stack)  # noqa: SLF001
    requests = [(each.request_stack, each.request_stack.top) for each in running]
    if task is not None and task not in running:
        requests.append((task.request_stack, task.request_stack.top))

    def there() -> T:
        with _globals_of_celery(app, running, requests):
            return call()

    return lambda: context.run(there)


@contextmanager
def _globals_of_celery(app: Any, running: list[Any], requests: list[tuple[Any, Any]]) -> Iterator[None]:
    before = _state._tls.current_app  # noqa: SLF001 - Celery has no getter that tells None
    _state._set_current_app(app)  # noqa: SLF001
    for task in running:
        _state._task_stack.push(task)  # noqa: SLF001
    for stack, request in requests:
        stack.push(request)
    try:
        yield
    finally:
        for stack, _ in requests:
            stack.pop()
        for _ in running:
            _state._task_stack.pop()  # noqa: SLF001
        _state._set_current_app(before)  # noqa: SLF001


__all__ = ["carried"]
