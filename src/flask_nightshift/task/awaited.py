"""``await task.adelay(…)``: a job is enqueued while the event loop goes on.

``delay()`` takes less time than the way to a thread and back as long as the broker answers at once. It may take three
seconds when the broker is away, and then it would hold up every request of the loop. So a thread of ours makes the
call. asyncio's own threads are not used: they resolve host names, which must not wait for a broker.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, cast

from ..config.settings import ON_COMMIT
from ..enqueue.composed import taker
from ..lifetime import greenlets
from .carried import carried

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, Future

    from ..services import Services

T = TypeVar("T")


async def awaited(services: Services, call: Callable[[], T]) -> T:
    """Make ``call``, which enqueues jobs, and return what it returns; the event loop goes on meanwhile.

    If the call only writes into a transaction or into this process's memory, it is made at once, in this thread: a
    session belongs to the thread that uses it. If the caller is cancelled, a call that has begun goes on. Raises what
    the call raises, and ``RuntimeError`` outside of an asyncio event loop.
    """
    import asyncio

    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        raise RuntimeError(
            "await adelay() in a coroutine that asyncio runs; elsewhere call delay()"
        ) from None
    celery = services.celery
    answered = carried(lambda: cast("T", celery.answering_coroutines(call)))
    if greenlets.away():
        return await _at_home(loop, answered)
    if _is_quick(services):
        return cast("T", celery.answering_coroutines(call))
    return await loop.run_in_executor(services.enqueuing_threads.get(), answered)


async def _at_home(loop: AbstractEventLoop, call: Callable[[], T]) -> T:
    """``call()``, made by a greenlet of the worker, whose connections it may use."""
    ended: Future[T] = loop.create_future()

    def there() -> None:
        try:
            value = call()
        except BaseException as exc:  # noqa: BLE001 - the coroutine raises it
            tell = partial(_unless_done, ended, ended.set_exception, exc)
        else:
            tell = partial(_unless_done, ended, ended.set_result, value)
        with suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(tell)

    greenlets.at_home(there)
    return await ended


def _unless_done(future: Future[T], settle: Callable[[Any], object], value: Any) -> None:
    if not future.done():
        settle(value)


def _is_quick(services: Services) -> bool:
    return (
        greenlets.patched()  # only this coroutine's thread waits
        or not services.broker.capabilities.shared
        or services.celery.always_eager
        or taker() is not None
        or (services.settings.enqueue == ON_COMMIT and services.holds_jobs() is not None)
    )


__all__ = ["awaited"]
