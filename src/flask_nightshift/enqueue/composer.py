"""Turns a call into an envelope; Celery's ``create_task_message`` makes the message.

Nothing here talks to a broker. There are two steps, ``compose`` and ``enveloped``. Between them, receivers of Celery's
signal ``before_task_publish`` may change the message.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from celery import Celery, signals
from celery.app.amqp import task_message
from celery.utils.functional import maybe_list

from ..domain.job import utcnow
from ..message.arguments import brief
from ..message.codec import encode, serialized
from ..message.envelope import Envelope
from ..options.publish import checked_priority
from .call import Call, moment

MESSAGE_OPTIONS = frozenset(
    {
        "group_id", "group_index", "expires", "retries", "chord", "link", "link_error",
        "reply_to", "time_limit", "soft_time_limit", "root_id", "parent_id", "shadow", "chain",
        "replaced_task_nesting", "argsrepr", "kwargsrepr",
    }
)  # fmt: skip
"""Options that become part of the message."""
_COMMON = frozenset(
    {"add_to_parent", "ignore_result", "queue", "result_cls", "serializer", "soft_time_limit", "task_id", "task_type",
     "time_limit"}
)  # fmt: skip
"""Options that most jobs of a task share, or that do not become part of the message."""
_MOST_TEMPLATES = 1000


class Composer:
    """Composes the messages of one Celery app."""

    def __init__(self, app: Celery) -> None:
        self._app = app
        self._templates: dict[Any, Any] = {}

    def compose(self, call: Call, job_id: str, parent: Any) -> Any:
        """The message of the job ``job_id``, a Celery ``task_message``: headers, properties, body.

        ``parent`` is the running task that enqueues the job, or None. Jobs that differ only in their arguments share a
        template.
        """
        if parent is None and call.due is None and call.options.keys() <= _COMMON:
            args, kwargs = call.args or (), call.kwargs or {}
            if isinstance(args, (tuple, list)) and isinstance(kwargs, dict):
                message = with_arguments(self._template(call), job_id, args, kwargs)
                message.properties["reply_to"] = self._app.thread_oid
                return message
        return self._made(call, job_id, call.args or (), call.kwargs or {}, parent)

    def template(self, call: Call, parent: Any) -> Any:
        """A message for ``call`` without the job's id and arguments."""
        return self._made(call, "", (), {}, parent)

    def _template(self, call: Call) -> Any:
        """The cached template for ``call``; not cached if receivers of ``before_task_publish`` might change it."""
        if signals.before_task_publish.receivers:
            return self.template(call, None)
        options = call.options
        common = options.get("time_limit"), options.get("soft_time_limit"), options.get("ignore_result")
        # repr(), because a caller's value need not be hashable; the process id, because a message names its origin
        key = (os.getpid(), call.name, repr(common))
        found = self._templates.get(key)
        if found is None:
            if len(self._templates) >= _MOST_TEMPLATES:
                self._templates.clear()
            found = self._templates[key] = self.template(call, None)
        return found

    def _made(self, call: Call, job_id: str, args: Any, kwargs: Any, parent: Any) -> Any:
        app, given = self._app, call.options
        wanted = {key: given[key] for key in MESSAGE_OPTIONS & given.keys()}
        priority = given.get("priority")
        if parent:
            wanted.setdefault("root_id", parent.request.root_id or parent.request.id)
            wanted.setdefault("parent_id", parent.request.id)
            inherited = parent.request.delivery_info.get("priority") if self._inherits_priority else None
            if priority is None and inherited is not None:
                priority = checked_priority(inherited)
        message = app.amqp.create_task_message(
            job_id,
            call.name,
            args,
            kwargs,
            eta=call.due,
            callbacks=maybe_list(wanted.pop("link", None)),
            errbacks=maybe_list(wanted.pop("link_error", None)),
            reply_to=wanted.pop("reply_to", None) or app.thread_oid,
            ignore_result=given.get("ignore_result"),
            argsrepr=wanted.pop("argsrepr", None) or brief(args),
            kwargsrepr=wanted.pop("kwargsrepr", None) or brief(kwargs),
            **wanted,
        )
        message.headers.update(given.get("headers") or {})
        if priority is not None:
            message.properties["priority"] = priority
        if expires := moment(message.headers["expires"], app.timezone):
            message.properties["expiration"] = max(0.0, (expires - utcnow()).total_seconds())
        return message

    @cached_property
    def _inherits_priority(self) -> bool:
        return bool(self._app.conf.task_inherit_parent_priority)


def with_arguments(message: Any, job_id: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """A copy of ``message`` with another job id and other arguments."""
    headers = {**message.headers, "id": job_id, "argsrepr": brief(args), "kwargsrepr": brief(kwargs)}
    headers["root_id"] = message.headers["root_id"] or job_id
    properties = {**message.properties, "correlation_id": job_id}
    return task_message(headers, properties, (args, kwargs, message.body[2]), None)


def enveloped(message: Any, serializer: str) -> Envelope:
    """``message`` encoded for publishing; raises kombu's errors for a body that ``serializer`` cannot encode."""
    if serializer == "json":
        try:
            return Envelope(encode(message.body), message.headers, message.properties)
        except (TypeError, ValueError):
            pass  # kombu's own error follows below
    content_type, content_encoding, body = serialized(message.body, serializer)
    return Envelope(body, message.headers, message.properties, content_type, content_encoding)


__all__ = ["MESSAGE_OPTIONS", "Composer", "enveloped", "with_arguments"]
