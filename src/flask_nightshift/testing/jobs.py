"""Jobs as a test sees them: what waits, what ran, what became a dead letter."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from inspect import Signature
from typing import Any

from celery import Celery
from kombu.serialization import loads, prepare_accept_content

from ..brokers.memory.stored import Stored
from ..brokers.payload import Undecodable, parse
from ..dead_letters import ArchivedLetter
from ..domain.job import utcnow
from ..message.envelope import Envelope

MOST_LISTED = 20
"""Jobs that one list in a message shows."""
Arguments = tuple[list[Any], dict[str, Any]]


@dataclass(frozen=True)
class EnqueuedJob:
    """A job that waits. ``args`` and ``kwargs`` are decoded from its message: they are what the body will get.

    ``due`` is when it may start; None: at once. ``attempt`` is the number of its next attempt.
    """

    id: str
    task: str
    args: list[Any]
    kwargs: dict[str, Any]
    queue: str
    due: datetime | None = None
    attempt: int = 1
    headers: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    def __str__(self) -> str:
        return call_of(self.task, self.args, self.kwargs) + f" in the queue {self.queue!r}" + _when(self.due)


@dataclass(frozen=True)
class RanJob:
    """An attempt that ended.

    ``outcome``: ``succeeded``, ``retried``, ``dead``, ``skipped``, ``cancelled``, ``expired``, or ``returned`` if the
    job waits for another one that holds its key. ``error`` is the error as text, and ``exception`` what the body
    raised. ``due`` is when it runs again.
    """

    id: str
    task: str
    args: list[Any]
    kwargs: dict[str, Any]
    queue: str
    attempt: int
    outcome: str
    error: str | None = None
    exception: BaseException | None = field(default=None, compare=False)
    due: datetime | None = None

    def __str__(self) -> str:
        shown = f"{call_of(self.task, self.args, self.kwargs)} {self.outcome}"
        return f"{shown}: {self.error}" if self.error else shown


@dataclass(frozen=True)
class DeadJob:
    """A dead letter. ``reason`` as in ``flask_nightshift.Reason``; ``id`` is the job's, ``letter_id`` the letter's."""

    id: str
    task: str
    args: list[Any]
    kwargs: dict[str, Any]
    queue: str
    reason: str
    error: str | None
    traceback: str
    attempts: int
    letter_id: str

    def __str__(self) -> str:
        why = f": {self.error}" if self.error else ""
        return f"{call_of(self.task, self.args, self.kwargs)} died ({self.reason}){why}"


class Reader:
    """Reads messages of the app ``celery``."""

    def __init__(self, celery: Celery) -> None:
        self._accept = prepare_accept_content(celery.conf.accept_content)

    def of_message(self, stored: Stored, due: float | None) -> EnqueuedJob:
        """The job in a message of the broker, ``due`` in seconds since 1970."""
        body = parse(stored.payload)
        raw = body.get("body") or ""
        raw = base64.b64decode(raw) if (body["properties"].get("body_encoding") == "base64") else raw.encode()
        moment = datetime.fromtimestamp(due, utcnow().tzinfo) if due is not None else None
        return self._job(
            body.get("headers") or {},
            raw,
            body["content-type"],
            body["content-encoding"],
            stored.queue,
            moment,
        )

    def of_envelope(self, envelope: Envelope, queue: str, due: datetime | None = None) -> EnqueuedJob:
        """The job in a finished message."""
        return self._job(
            envelope.headers, envelope.body, envelope.content_type, envelope.content_encoding, queue, due
        )

    def of_letter(self, archived: ArchivedLetter) -> DeadJob:
        """A dead letter."""
        letter = archived.letter
        args, kwargs = self._arguments(letter.body, letter.content_type, letter.content_encoding)
        failure = letter.failure
        return DeadJob(
            letter.job_id or "",
            letter.task or "",
            args,
            kwargs,
            letter.queue,
            str(letter.reason),
            str(failure) if failure else None,
            failure.traceback if failure else "",
            len(archived.attempts),
            letter.id,
        )

    def _job(
        self,
        headers: Mapping[str, Any],
        raw: bytes,
        content_type: str,
        content_encoding: str,
        queue: str,
        due: datetime | None,
    ) -> EnqueuedJob:
        args, kwargs = self._arguments(raw, content_type, content_encoding)
        attempt = int(headers.get("retries") or 0) + 1
        return EnqueuedJob(
            str(headers.get("id", "")),
            str(headers.get("task", "")),
            args,
            kwargs,
            queue,
            due,
            attempt,
            dict(headers),
        )

    def _arguments(self, raw: bytes, content_type: str, content_encoding: str) -> Arguments:
        try:
            args, kwargs, *_ = loads(raw, content_type, content_encoding, accept=self._accept)
            return list(args), dict(kwargs)
        except Exception:  # noqa: BLE001 - a message that is no job
            return [], {}


def is_job(stored: Stored) -> bool:
    """Whether a message is one of a job; remote control has messages, too."""
    try:
        return bool((parse(stored.payload).get("headers") or {}).get("task"))
    except Undecodable:
        return False


def signature_of(task: Any) -> Signature | None:
    """The parameters of a task's body; None if they are unknown."""
    from inspect import signature

    try:
        return signature(task.run)
    except (AttributeError, TypeError, ValueError):
        return None


def same_call(one: Arguments, other: Arguments, signature: Signature | None) -> bool:
    """Whether two calls give the body the same arguments, by position or by name."""
    return _bound(one, signature) == _bound(other, signature)


def _bound(arguments: Arguments, signature: Signature | None) -> object:
    args, kwargs = arguments
    if signature is not None:
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError:
            pass
        else:
            bound.apply_defaults()
            return bound.arguments
    return list(args), dict(kwargs)


def listed(title: str, jobs: Iterable[object], otherwise: str = "") -> str:
    """Lines that list ``jobs``; ``otherwise`` if there are none."""
    lines = [f"  {job}" for job in jobs]
    if len(lines) > MOST_LISTED:
        lines[MOST_LISTED:] = [f"  … and {len(lines) - MOST_LISTED:,} more"]
    return "\n".join([f"{title}:", *lines]) if lines else otherwise


def call_of(task: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
    """A call, as Python writes it."""
    shown = [*map(repr, args), *(f"{name}={value!r}" for name, value in kwargs.items())]
    return f"{task}({', '.join(shown)})"


def _when(due: datetime | None, now: Callable[[], datetime] = utcnow) -> str:
    if due is None:
        return ""
    seconds = max(0, round((due - now()).total_seconds()))
    return f", due in {timedelta(seconds=seconds)}"


__all__ = [
    "DeadJob",
    "EnqueuedJob",
    "RanJob",
    "Reader",
    "call_of",
    "is_job",
    "listed",
    "same_call",
    "signature_of",
]
