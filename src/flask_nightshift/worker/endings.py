"""Announces the ends of jobs that never became an attempt here, as Celery announces the ends of its own.

Such a job is a message that no worker could run, or a dead letter that the broker made (RabbitMQ: expired, or delivered
too often; the lease transport: delivered too often). Its result, chord and errbacks wait like any other's
(invariant 12).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

from billiard.exceptions import WorkerLostError
from celery import signals
from celery.app.task import Context
from celery.exceptions import NotRegistered, Reject
from kombu.serialization import loads, prepare_accept_content

from ..domain.job import DeadLetter, Reason
from ..message import headers as message_headers
from . import hooks
from .delivery import Delivery

EXPIRED = "expired"
Tell = Callable[[Any, Callable[[], None]], None]
"""Has a call made that tells the result backend about a request."""

logger = logging.getLogger(__name__)


def unrunnable(consumer: Any, message: Any, reason: Reason, exc: Exception) -> None:
    """Send Celery's signals and store the result for ``message``, buried because no worker can run it."""
    app, headers = consumer.app, message.headers
    name, job_id = _of(headers, "task"), _of(headers, "id")
    if reason is Reason.UNKNOWN_TASK:
        signals.task_unknown.send(sender=consumer, message=message, exc=exc, name=name, id=job_id)
    elif reason is not Reason.DELIVERY_LIMIT:
        signals.task_rejected.send(sender=consumer, message=message, exc=exc)
    if job_id:
        body = message.body, message.content_type, message.content_encoding
        request = _request(app, headers, *body, message.properties)
        error = NotRegistered(name) if reason is Reason.UNKNOWN_TASK else exc
        hooks.tell(request, hooks.failure_of(request, error))
        if reason is Reason.DELIVERY_LIMIT:
            _signal_failure(request, exc)


def buried_by_the_broker(app: Any, letter: DeadLetter) -> None:
    """Send Celery's signals and store the result for ``letter``, which the broker buried without a worker."""
    if not letter.job_id or not letter.task:
        return
    request = _request(
        app, letter.headers, letter.body, letter.content_type, letter.content_encoding, letter.properties
    )
    if letter.reason is Reason.EXPIRED:
        _revoke(request, EXPIRED, hooks.tell)
        return
    why = letter.failure.message if letter.failure else f"the broker buried it: {letter.reason}"
    killed = letter.reason is Reason.DELIVERY_LIMIT
    exc = WorkerLostError(why) if killed else Reject(why, requeue=False)
    hooks.tell(request, hooks.failure_of(request, exc))
    _signal_failure(request, exc)


def is_dropped(app: Any, letter: DeadLetter) -> bool:
    """Whether ``letter``, which the broker buried because it had expired, is not kept (``on_expired="drop"``)."""
    task = app.tasks.get(letter.task) if letter.task else None
    return letter.reason is Reason.EXPIRED and message_headers.drops_expired(letter.headers, task)


def cancelled(app: Any, message: Any, why: str, tell: Tell = hooks.tell) -> None:
    """Send Celery's signal and store the result for ``message`` (an ``Envelope`` or a message), whose job was cancelled
    and never becomes an attempt.
    """
    request = _request(
        app,
        message.headers,
        message.body,
        message.content_type,
        message.content_encoding,
        message.properties,
    )
    _revoke(request, why, tell)


def _revoke(request: Any, why: str, tell: Tell) -> None:
    tell(request, hooks.revocation_of(request, why))
    if request.known:
        signals.task_revoked.send(
            request.task, request=request._context, terminated=False, signum=None, expired=why == EXPIRED  # noqa: SLF001
        )  # fmt: skip


def _signal_failure(request: Any, exc: Exception) -> None:
    if request.known:
        einfo = hooks.info(exc)
        signals.task_failure.send(
            sender=request.task, task_id=request.id, exception=exc, args=request.args, kwargs=request.kwargs,
            traceback=einfo.traceback, einfo=einfo,
        )  # fmt: skip


def _request(
    app: Any, headers: Any, body: Any, content_type: Any, content_encoding: Any, properties: Any
) -> Any:
    """Celery's request for a message that may be no job, filled with what can be read."""
    headers = dict(headers)
    headers.setdefault("task", "unknown")
    payload = _payload(app, body, content_type, content_encoding)
    task = app.tasks.get(headers["task"])
    known = task is not None and payload is not None
    args, kwargs, embed = payload or ((), {}, {})
    if known:
        message = SimpleNamespace(
            headers=headers, body=body, payload=payload, content_type=None, content_encoding=None,
            delivery_info={}, properties=dict(properties or {}),
        )  # fmt: skip
        try:
            request: Any = Delivery(message, app=app, task=task)
        except Exception:  # noqa: BLE001 - a header that Celery cannot read; its end can be announced all the same
            known = False
    if not known:
        request = _bare(app, headers, args, kwargs, embed, task, properties)
    request.known = known
    return request


def _bare(
    app: Any, headers: dict[str, Any], args: Any, kwargs: Any, embed: Any, task: Any, properties: Any
) -> Any:
    """The part of a request that the result backend reads, for an unknown task or an unreadable body."""
    context = {**headers, "args": args, "kwargs": kwargs, "delivery_info": {}, **embed}
    context["reply_to"] = (properties or {}).get("reply_to")
    return SimpleNamespace(
        app=app, id=headers["id"], type=headers["task"], args=args, kwargs=kwargs,
        task=task or SimpleNamespace(backend=app.backend), ignore_result=bool(headers.get("ignore_result")),
        store_errors=not headers.get("ignore_result"), _context=Context(context),
    )  # fmt: skip


def _payload(app: Any, body: Any, content_type: Any, content_encoding: Any) -> tuple[Any, Any, Any] | None:
    """``(args, kwargs, embed)`` of a protocol 2 body; None if it is not one."""
    try:
        accept = prepare_accept_content(app.conf.accept_content)
        args, kwargs, embed = loads(body, content_type, content_encoding, accept=accept)
    except Exception:  # noqa: BLE001 - bytes of unknown origin
        return None
    if not isinstance(args, (list, tuple)) or not isinstance(kwargs, Mapping):
        return None
    return args, kwargs, embed if isinstance(embed, Mapping) else {}


def _of(headers: Any, name: str) -> str | None:
    value = headers.get(name) if isinstance(headers, Mapping) else None
    return value if isinstance(value, str) and value else None
