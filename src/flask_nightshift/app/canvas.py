"""``delay_on_commit``, ``adelay`` and their like of signatures, chains and groups.

Celery has one class of signatures for all apps, so the methods are added to it. They have names of their own and change
nothing else.
"""

from __future__ import annotations

from typing import Any

from celery.canvas import Signature

from ..errors import Unsupported
from ..task.awaited import awaited

_REMEDY = "let a task that is enqueued on commit start it"


def delay_on_commit(self: Any, *partial_args: Any, **partial_kwargs: Any) -> Any:
    """As ``delay``, with the transaction of Flask-SQLAlchemy's session."""
    return apply_async_on_commit(self, partial_args, partial_kwargs)


def apply_async_on_commit(
    self: Any, args: Any = None, kwargs: Any = None, *, session: Any = None, **options: Any
) -> Any:
    """As ``apply_async``, with the transaction of ``session`` (default: Flask-SQLAlchemy's).

    Raises ``Unsupported`` for a chord, and what ``apply_async_on_commit`` of a task raises.
    """
    _refuse_chord(self)
    return _services(self).outbox.on_commit(
        self.apply_async, args or (), kwargs or {}, session=session, **options
    )


async def adelay(self: Any, *partial_args: Any, **partial_kwargs: Any) -> Any:
    """As ``delay``, for coroutines: the event loop goes on meanwhile."""
    return await aapply_async(self, partial_args, partial_kwargs)


async def aapply_async(self: Any, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
    """As ``apply_async``, for coroutines: the event loop goes on meanwhile."""
    return await awaited(_services(self), lambda: self.apply_async(args or (), kwargs or {}, **options))


def _services(signature: Any) -> Any:
    services = getattr(signature.app, "services", None)
    if services is None:
        raise RuntimeError(
            f"{signature!r} belongs to the Celery app {signature.app!r}, which has no Nightshift: use the signature of "
            "a task of an app with Nightshift, inside app.app_context()."
        )
    return services


def _refuse_chord(signature: Any) -> None:
    """Raise ``Unsupported`` if ``apply_async`` would start a chord; one that a worker starts later is no problem."""
    kind, tasks = signature.get("subtask_type"), getattr(signature, "tasks", None)
    tasks = list(tasks) if isinstance(tasks, (list, tuple)) else []
    if kind == "chord" or (kind == "chain" and len(tasks) > 1 and tasks[0].get("subtask_type") == "group"):
        raise Unsupported(
            "A chord, or a chain that begins with a group, cannot wait for a transaction, because its counter is in "
            f"the result backend, which a rollback does not reach: {_REMEDY}."
        )
    for task in tasks if kind == "group" else tasks[:1]:
        _refuse_chord(task)


def extend() -> None:
    """Give all signatures the methods."""
    Signature.adelay = adelay
    Signature.aapply_async = aapply_async
    Signature.delay_on_commit = delay_on_commit
    Signature.apply_async_on_commit = apply_async_on_commit


__all__ = ["aapply_async", "adelay", "apply_async_on_commit", "delay_on_commit", "extend"]
