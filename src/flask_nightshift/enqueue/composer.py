"""Turns a call into an envelope; Celery's ``create_task_message`` makes the message.

Nothing here talks to a broker. A ``Template`` makes the envelopes of jobs that differ only in their arguments. Any
other job, and each job while Celery's publish signals have receivers, takes two steps: ``compose`` and ``enveloped``.
Between them, receivers of ``before_task_publish`` may change the message.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from celery import Celery
from celery.app.amqp import task_message
from celery.utils.functional import maybe_list

from ..domain.job import utcnow
from ..message.arguments import Texts, texts_of
from ..message.codec import encode, is_plain, json_is_kombus, serialized
from ..message.envelope import Envelope
from ..message.headers import slim, slim_embed
from ..options.publish import checked_priority
from ..text.redaction import Redaction
from .call import Call, moment

MESSAGE_OPTIONS = frozenset(
    {
        "group_id", "group_index", "expires", "retries", "chord", "link", "link_error",
        "reply_to", "time_limit", "soft_time_limit", "root_id", "parent_id", "shadow", "chain",
        "replaced_task_nesting", "argsrepr", "kwargsrepr",
    }
)  # fmt: skip
"""Options that become part of the message."""


class Composer:
    """Composes the messages of one Celery app. ``redaction`` hides arguments in their short texts."""

    def __init__(self, app: Celery, redaction: Redaction) -> None:
        self._app = app
        self._redaction = redaction

    def compose(self, call: Call, job_id: str, parent: Any) -> Any:
        """The message of the job ``job_id``, a Celery ``task_message``: headers, properties, body.

        ``parent`` is the running task that enqueues the job, or None.
        """
        app, given, args, kwargs = self._app, call.options, call.args or (), call.kwargs or {}
        wanted = {key: given[key] for key in MESSAGE_OPTIONS & given.keys()}
        priority, texts = given.get("priority"), self.texts(call)
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
            argsrepr=wanted.pop("argsrepr", None) or texts.args(args),
            kwargsrepr=wanted.pop("kwargsrepr", None) or texts.kwargs(kwargs),
            **wanted,
        )
        message.headers.update(given.get("headers") or {})
        if priority is not None:
            message.properties["priority"] = priority
        if expires := moment(message.headers["expires"], app.timezone):
            message.properties["expiration"] = max(0.0, (expires - utcnow()).total_seconds())
        return message

    def template(self, call: Call) -> Template:
        """The template of jobs with the options of ``call``, enqueued outside of a job."""
        message = self.compose(call._replace(args=(), kwargs={}), "", None)
        return Template(message, self.serializer(call), self.texts(call))

    def texts(self, call: Call) -> Texts:
        """How the arguments of ``call`` are shown."""
        return texts_of(self._redaction, call.task)

    def serializer(self, call: Call) -> str:
        """The name of the serializer for the arguments of ``call``."""
        return call.options.get("serializer") or self._serializer

    @cached_property
    def _inherits_priority(self) -> bool:
        return bool(self._app.conf.task_inherit_parent_priority)

    @cached_property
    def _serializer(self) -> str:
        return str(self._app.conf.task_serializer)


class Template:
    """The message of jobs that differ only in their ids and arguments."""

    def __init__(self, message: Any, serializer: str, texts: Texts) -> None:
        self._message = message
        self._texts = texts
        self._headers = slim(message.headers)
        self._embed = slim_embed(message.body[2])
        self._serializer = serializer
        self._is_plain = _is_plain((message.headers, message.properties))

    def message(self, job_id: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """The whole message of one job, a Celery ``task_message``, for receivers of signals."""
        headers, properties = (
            self._filled(self._message.headers, job_id, args, kwargs),
            self._properties(job_id),
        )
        return task_message(headers, properties, (args, kwargs, self._message.body[2]), None)

    def envelope(self, job_id: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Envelope:
        """The encoded message of one job; raises kombu's errors for arguments that cannot be encoded."""
        headers, body = self._filled(self._headers, job_id, args, kwargs), (args, kwargs, self._embed)
        return _encoded(body, headers, self._properties(job_id), self._serializer, self._is_plain)

    def _properties(self, job_id: str) -> dict[str, Any]:
        return {**self._message.properties, "correlation_id": job_id}

    def _filled(
        self, shared: Mapping[str, Any], job_id: str, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> dict[str, Any]:
        texts = self._texts
        headers = {**shared, "id": job_id, "argsrepr": texts.args(args), "kwargsrepr": texts.kwargs(kwargs)}
        if not headers["root_id"]:
            headers["root_id"] = job_id
        return headers


def enveloped(message: Any, serializer: str) -> Envelope:
    """``message`` encoded for publishing; raises kombu's errors for a body that ``serializer`` cannot encode."""
    args, kwargs, embed = message.body
    body = args, kwargs, slim_embed(embed)
    return _encoded(body, slim(message.headers), message.properties, serializer, plain=False)


def _encoded(
    body: Any, headers: dict[str, Any], properties: dict[str, Any], serializer: str, plain: bool
) -> Envelope:
    if serializer == "json" and json_is_kombus():
        try:
            return Envelope(encode(body), headers, properties, plain=plain)
        except (TypeError, ValueError):
            pass  # kombu's own error follows below
    content_type, content_encoding, raw = serialized(body, serializer)
    return Envelope(raw, headers, properties, content_type, content_encoding, plain)


def _is_plain(value: Any) -> bool:
    try:
        return is_plain(value)
    except RecursionError:
        return False


__all__ = ["MESSAGE_OPTIONS", "Composer", "Template", "enveloped"]
