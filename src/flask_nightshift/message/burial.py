"""Turns a message into a dead letter, reads a dead letter, and revives one for a replay.

A dead letter has the original body, byte for byte, and one more header, ``nightshift_dead``:

    nightshift_dead  {id, reason, error, message, traceback, at, queue, worker}

Pure functions on plain values: nothing here talks to a broker.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from ..domain.fingerprint import Cause, cause
from ..domain.job import MAX_ATTEMPTS_CARRIED, Attempt, DeadLetter, Failure, Reason, utcnow
from .envelope import Envelope
from .headers import (
    COPY,
    DEAD,
    DURABLE,
    HISTORY,
    OUTBOX,
    attempts,
    history,
    job_headers,
    job_properties,
    parse_time,
    run,
)

DEAD_QUEUE = "nightshift.dead"
"""The name of the dead-letter queue, on every broker."""
REFUSED_QUEUE = "nightshift.refused"
"""The queue where the archiver puts a dead letter that every table of the database refuses."""

_X_DEATH_REASONS = {"delivery_limit": Reason.DELIVERY_LIMIT, "expired": Reason.EXPIRED}


def buried(
    headers: Mapping[str, Any] | None,
    *,
    reason: Reason,
    failure: Failure | None,
    queue: str,
    worker: str,
    at: datetime,
    ended: Attempt | None = None,
) -> dict[str, Any]:
    """The headers of a dead letter; ``ended`` is the job's last attempt, or None if it did not run."""
    past = history(headers)
    if ended is not None:
        past["attempts"] = [*attempts(headers), ended.as_dict()][-MAX_ATTEMPTS_CARRIED:]
    return {
        **job_headers(headers or {}),
        HISTORY: past,
        DEAD: {
            "id": uuid.uuid4().hex,
            "reason": str(reason),
            "error": failure.error if failure else "",
            "message": failure.message if failure else "",
            "traceback": failure.traceback if failure else "",
            "at": at.isoformat(),
            "queue": queue,
            "worker": worker,
        },
    }


def revived(letter: DeadLetter, at: datetime | None = None) -> Envelope:
    """The message that a replay publishes.

    It keeps the job id and the history. Its attempts count from 1 again, and it has no delay and no expiry. ``at``
    (default: now) is when its wait begins.
    """
    headers = job_headers(letter.headers)
    headers.pop(DEAD, None)
    past = history(headers)
    for name in ("lost_since", "returns", OUTBOX, COPY, DURABLE):
        past.pop(name, None)
    past["run"] = run(headers) + 1
    past["due"] = (at or utcnow()).isoformat()  # the wait of this run counts from here
    for name in ("retries", "eta", "expires"):
        headers.pop(name, None)
    headers[HISTORY] = past
    return Envelope(
        letter.body, headers, job_properties(letter.properties), letter.content_type, letter.content_encoding
    )


def dead_letter(
    body: bytes | str,
    headers: Mapping[str, Any] | None,
    properties: Mapping[str, Any] | None,
    content_type: str | None,
    content_encoding: str | None,
) -> DeadLetter:
    """Read a message of the dead-letter queue; Nightshift, RabbitMQ or anyone else may have put it there."""
    headers = dict(headers or {})
    raw = body.encode() if isinstance(body, str) else bytes(body)
    note = _our_note(headers) or _rabbitmq_note(headers, raw) or _stranger_note(headers, raw)
    failure = Failure(note["error"], note["message"], note["traceback"]) if note["error"] else None
    job_id, task = headers.get("id"), headers.get("task")
    return DeadLetter(
        id=note["id"],
        reason=note["reason"],
        at=note["at"],
        queue=note["queue"],
        job_id=str(job_id) if job_id else None,
        task=str(task) if task else None,
        failure=failure,
        body=raw,
        content_type=content_type or "application/octet-stream",
        content_encoding=content_encoding or "binary",
        headers=headers,
        properties=job_properties(properties or {}),
        worker=note.get("worker"),
    )


def cause_of(letter: DeadLetter) -> Cause:
    """What groups ``letter`` with others that died of the same cause, and where its error was raised."""
    failure = letter.failure
    return cause(
        letter.reason,
        letter.task,
        failure.error if failure else None,
        failure.traceback if failure else None,
    )


def _our_note(headers: Mapping[str, Any]) -> dict[str, Any] | None:
    note = headers.get(DEAD)
    if not isinstance(note, Mapping) or "id" not in note:
        return None
    try:
        reason = Reason(str(note.get("reason")))
    except ValueError:
        reason = Reason.REJECTED
    return {
        "id": str(note["id"]),
        "reason": reason,
        "error": str(note.get("error") or ""),
        "message": str(note.get("message") or ""),
        "traceback": str(note.get("traceback") or ""),
        "at": parse_time(note.get("at")) or utcnow(),
        "queue": str(note.get("queue") or ""),
        "worker": note.get("worker"),
    }


def _rabbitmq_note(headers: Mapping[str, Any], body: bytes) -> dict[str, Any] | None:
    deaths = headers.get("x-death")
    if not isinstance(deaths, (list, tuple)) or not deaths or not isinstance(deaths[0], Mapping):
        return None
    last = deaths[0]  # the latest
    cause, queue = str(last.get("reason")), str(last.get("queue") or "")
    at = last.get("time")
    note = {
        "id": _digest(headers.get("id"), cause, last.get("queue"), last.get("count"), at, body),
        "reason": _X_DEATH_REASONS.get(cause, Reason.REJECTED),
        "error": "",
        "message": "",
        "traceback": "",
        "at": at.replace(tzinfo=at.tzinfo or utcnow().tzinfo) if isinstance(at, datetime) else utcnow(),
        "queue": queue,
    }
    if queue.startswith("celery_delayed_"):  # the delay was over, and the job's queue did not exist
        missing = str(history(headers).get("queue") or "")
        gone = f"the queue {missing!r} did not exist when the job's delay was over"
        note |= {"reason": Reason.REJECTED, "queue": missing, "error": "QueueMissing", "message": gone}
    return note


def _stranger_note(headers: Mapping[str, Any], body: bytes) -> dict[str, Any]:
    past = history(headers)
    return {
        "id": _digest(headers.get("id"), body),
        "reason": Reason.REJECTED,
        "error": "",
        "message": "",
        "traceback": "",
        "at": utcnow(),
        "queue": str(past.get("queue") or ""),
    }


def _digest(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]
