"""The message of a job and what we add to it.

The message is Celery's (protocol 2), so any Celery producer or worker can read it. We add one header,
``nightshift``, in which a job's history travels with it, and a second one, ``nightshift_dead``, when it is
buried: a dead letter is the original message, byte for byte, with these two headers.

    nightshift       {enqueued_at, request_id, queue, attempts: [Attempt, …], lost_since, returns, run}
    nightshift_dead  {id, reason, error, message, traceback, at, queue, worker}

Pure functions on plain values: nothing here talks to a broker.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from ..domain.job import MAX_ATTEMPTS_CARRIED, Attempt, DeadLetter, Failure, JobRef, Reason, utcnow

HISTORY = "nightshift"
DEAD = "nightshift_dead"
DEAD_QUEUE = "nightshift.dead"
"""The name of the dead-letter queue, on every broker."""
REFUSED_QUEUE = "nightshift.refused"
"""Where the archiver puts the dead letters that the database takes nowhere."""

MOST = 1_000_000
"""Retries or replays beyond which a header that tells them is absurd."""

LEAST_CUT = 1000
"""Characters of a text for people that was cut because it was too long, and not given that way."""

KEPT_PROPERTIES = ("correlation_id", "reply_to", "priority")
"""The properties of a message that belong to the job and not to one delivery of it."""

DELIVERIES = "x-nightshift-deliveries"
"""On RabbitMQ: how often a job had begun when it was put aside, because it may end its worker."""

# these headers speak of one passage through the broker
_BROKER_HEADERS = ("x-death", "x-delivery-count", "x-acquired-count", DELIVERIES, "compression")
_BROKER_PREFIXES = ("x-first-death-", "x-last-death-")

_X_DEATH_REASONS = {"delivery_limit": Reason.DELIVERY_LIMIT, "expired": Reason.EXPIRED}


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message ready to be published: raw body and headers, without a destination."""

    body: bytes
    headers: dict[str, Any]
    properties: dict[str, Any] = field(default_factory=dict)
    content_type: str = "application/json"
    content_encoding: str = "utf-8"


def stamp(headers: dict[str, Any], *, queue: str, at: datetime, request_id: str | None) -> None:
    """Mark a message that is being enqueued for the first time; one that has a history keeps it."""
    headers.setdefault(
        HISTORY,
        {"enqueued_at": at.isoformat(), "request_id": request_id, "queue": queue, "attempts": []},
    )


def history(headers: Mapping[str, Any] | None) -> dict[str, Any]:
    """A copy of the ``nightshift`` header, empty if there is none (a plain Celery producer)."""
    value = (headers or {}).get(HISTORY)
    return dict(value) if isinstance(value, (dict, Mapping)) else {}


def attempts(headers: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """The ended attempts that travel with the message, oldest first."""
    value = history(headers).get("attempts")
    return [dict(a) for a in value if isinstance(a, Mapping)] if isinstance(value, (list, tuple)) else []


def retries(headers: Mapping[str, Any]) -> int:
    """How many retries went before: Celery's ``retries`` header, 0 if absent or absurd."""
    return _count(headers.get("retries"))


def deliveries(headers: Mapping[str, Any] | None, *, redelivered: bool = False) -> int:
    """How often the message was handed out before and came back, as far as RabbitMQ and we can tell."""
    counts = [
        value if isinstance(value := (headers or {}).get(name), int) and 0 <= value <= MOST else 0
        for name in (DELIVERIES, "x-delivery-count", "x-acquired-count")
    ]
    return counts[0] + max(*counts[1:], int(redelivered))


def run(headers: Mapping[str, Any] | None) -> int:
    """How many replays went before, 0 if absent or absurd: tells the attempts of one run from the next's."""
    return _run(history(headers))


def _run(past: Mapping[str, Any]) -> int:
    return _count(past.get("run"))


def _count(value: object) -> int:
    return value if isinstance(value, int) and 0 <= value <= MOST else 0


def ref(headers: Mapping[str, Any], queue: str) -> JobRef:
    """Which attempt of which job a message is."""
    past = history(headers)
    return JobRef(
        str(headers.get("id")),
        str(headers.get("task")),
        queue,
        retries(headers) + 1,
        past.get("request_id"),
        parse_time(past.get("enqueued_at")),
        _run(past),
    )


def parse_time(value: object) -> datetime | None:
    """An ISO 8601 text as an aware datetime, or None if it is not one, or at an end of time."""
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    if not 1 < moment.year < 9999:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=utcnow().tzinfo)


def next_attempt(headers: Mapping[str, Any], ended: Attempt, *, due: datetime) -> dict[str, Any]:
    """The headers of the retry that follows ``ended``."""
    past = history(headers)
    past.pop("returns", None)
    carried = [*attempts(headers), ended.as_dict()][-MAX_ATTEMPTS_CARRIED:]
    return {
        **job_headers(headers),
        "retries": retries(headers) + 1,
        "eta": due.isoformat(),
        HISTORY: {**past, "attempts": carried},
    }


def returned(headers: Mapping[str, Any], *, due: datetime) -> dict[str, Any]:
    """The headers of a job that asked to be returned: the same attempt, later."""
    past = history(headers)
    return {
        **job_headers(headers),
        "eta": due.isoformat(),
        HISTORY: {**past, "returns": returns(headers) + 1},
    }


def returns(headers: Mapping[str, Any] | None) -> int:
    """How often this attempt has asked to be returned, 0 if absent or absurd."""
    return _count(history(headers).get("returns"))


def postponed(headers: Mapping[str, Any], *, since: datetime, due: datetime) -> dict[str, Any]:
    """The headers of a message that no worker could run yet: the same attempt, later."""
    return {
        **job_headers(headers),
        "eta": due.isoformat(),
        HISTORY: {**history(headers), "lost_since": since.isoformat()},
    }


def lost_since(headers: Mapping[str, Any]) -> datetime | None:
    """Since when workers have been putting this message off, if they have."""
    return parse_time(history(headers).get("lost_since"))


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
    """The headers of a dead letter; ``ended`` is the attempt that killed it, if it ran."""
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


def revived(letter: DeadLetter, at: datetime | None = None) -> Outgoing:
    """The message that a replay publishes: same id and history, attempts start afresh, nothing delays it."""
    headers = job_headers(letter.headers)
    headers.pop(DEAD, None)
    past = history(headers)
    past.pop("lost_since", None)
    past.pop("returns", None)
    past["run"] = run(headers) + 1
    past["due"] = (at or utcnow()).isoformat()  # its wait counts from now
    headers.update({"retries": 0, "eta": None, "expires": None, HISTORY: past})
    return Outgoing(
        letter.body, headers, job_properties(letter.properties), letter.content_type, letter.content_encoding
    )


def dead_letter(
    body: bytes | str,
    headers: Mapping[str, Any] | None,
    properties: Mapping[str, Any] | None,
    content_type: str | None,
    content_encoding: str | None,
) -> DeadLetter:
    """Read a message of the dead-letter queue, put there by us or by RabbitMQ's dead-letter exchange."""
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


def fingerprint(letter: DeadLetter) -> str:
    """What groups dead letters with the same cause: reason, task, error type and the last frame of ours.

    Twelve hex digits. Messages are left out: they carry ids and times that differ each time.
    """
    frames = [f for f in (letter.failure.traceback if letter.failure else "").splitlines() if "File " in f]
    parts = (letter.reason, letter.task, letter.failure.error if letter.failure else "", frames[-1:])
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:12]


def arguments(headers: Mapping[str, Any], body: bytes) -> tuple[str, str]:
    """The arguments as text for people: as JSON from the body, or as Celery's reprs where it is not JSON.

    Whoever gave ``argsrepr`` or ``kwargsrepr`` to hide something sees those, and never the body.
    """
    try:
        args, kwargs, _ = json.loads(body)
        return _unless_hidden(args, headers.get("argsrepr")), _unless_hidden(
            kwargs, headers.get("kwargsrepr")
        )
    except (ValueError, TypeError, RecursionError):
        return str(headers.get("argsrepr") or ""), str(headers.get("kwargsrepr") or "")


def _unless_hidden(value: Any, given: object) -> str:
    """``value`` as JSON, unless ``given`` is another text than the one that is made of it by itself."""
    shown = json.dumps(value, ensure_ascii=False)
    if not given:
        return shown
    own = (repr(tuple(value)), repr(value)) if isinstance(value, list) else (repr(value),)
    begin = str(given).removesuffix("...")
    cut = begin != given and len(begin) >= LEAST_CUT
    made = given in own or (cut and any(text.startswith(begin) for text in own))
    return shown if made else str(given)


def job_headers(headers: Mapping[str, Any]) -> dict[str, Any]:
    """The headers that belong to the job: without those of one passage through the broker."""
    return {
        k: v for k, v in headers.items() if k not in _BROKER_HEADERS and not k.startswith(_BROKER_PREFIXES)
    }


def shown(request: Mapping[str, Any]) -> dict[str, Any]:
    """A worker's request as a task sees it: what its caller sent, and nothing of ours.

    A task may send it on (``signature_from_request()``), so a job that was delayed is shown as published to its queue.
    """
    found = job_headers(request)
    for name in (HISTORY, DEAD):
        found.pop(name, None)
    info = dict(request.get("delivery_info") or {})
    if str(info.get("exchange") or "").startswith(("nightshift.", "celery_delayed")):
        info |= {"exchange": "", "routing_key": info.get("queue")}
    found["delivery_info"] = info
    return found


def job_properties(properties: Mapping[str, Any]) -> dict[str, Any]:
    """The properties that belong to the job."""
    return {k: properties[k] for k in KEPT_PROPERTIES if properties.get(k) is not None}


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
    if queue.startswith("celery_delayed_"):  # its delay was over, and there was no queue for it to go to
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
