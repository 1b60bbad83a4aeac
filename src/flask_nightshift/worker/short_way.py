"""The short way to run a job: what Celery's tracer does for an ordinary job, and nothing else.

``ordinary.py`` decides which jobs go this way. The body sees the same: ``current_task``, ``self.request``, the app
context. Whatever else an end needs, the tracer does: it gets the end in place of another run (``BodyEnd``), so a body
never runs twice, and hooks, errbacks, signals and log lines of a failure are Celery's own.
"""

from __future__ import annotations

from typing import Any

from celery._state import _task_stack
from celery.app.task import Context

from ..task.attempt_outcome import AttemptOutcome, BodyEnd
from ..task.protection import run_body
from .ordinary import has_late_receivers
from .stacks import entered, left

_NAMED = frozenset({*vars(Context), "argsrepr", "compression", "kwargsrepr", "lang", "task"})
"""What Celery does not take for a header of the caller's own."""


def run(task: Any, request: dict[str, Any], body: Any, hostname: str, outcome: AttemptOutcome) -> BodyEnd:
    """Run the body of an ordinary job. ``request`` is what it shows of its message, and becomes ``self.request``."""
    args, kwargs, embed = body
    context = _context(request, embed, args, kwargs, hostname)
    try:
        entered(_task_stack, task)
        entered(task.request_stack, context)
        return BodyEnd(task, context, run_body(task, outcome, context, args, kwargs))
    except BaseException as exc:  # noqa: BLE001 - the tracer gets it
        return BodyEnd(task, context, error=exc)
    finally:
        left(_task_stack)
        left(task.request_stack)


def is_complete(end: BodyEnd) -> bool:
    """Whether nothing is left to do after the body, which may have connected a receiver or added a callback."""
    request = end.request
    return end.error is None and not (
        request.callbacks or request.chain or request.chord or has_late_receivers()
    )


def _context(request: dict[str, Any], embed: Any, args: Any, kwargs: Any, hostname: str) -> Context:
    """``self.request`` as the tracer makes it. Celery's own ``Context()`` takes three times as long."""
    request["hostname"], request["is_eager"] = hostname, False
    request.update(embed or ())
    request["args"], request["kwargs"], request["called_directly"] = args, kwargs, False
    if "timelimit" in request:
        limits = request["timelimit"]
        known = isinstance(limits, (list, tuple)) and len(limits) >= 2
        request["time_limit"], request["soft_time_limit"] = limits[:2] if known else (None, None)
    if request.get("headers") is None:
        plain = _NAMED.issuperset(request)
        own = None if plain else {name: request[name] for name in request if name not in _NAMED}
        request["headers"] = own or None
    context = Context.__new__(Context)
    vars(context).update(request)
    return context


__all__ = ["is_complete", "run"]
