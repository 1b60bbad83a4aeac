"""The headers of a job's message: Celery's, and those that we add.

The message is Celery's (protocol 2), so any Celery producer or worker can read it. We add one header,
``nightshift``, in which a job's history travels with it, and a second one when it is buried (``burial.py``):

    nightshift       {enqueued_at, request_id, queue, attempts: [Attempt, …], lost_since, returns, run}

Pure functions on plain values: nothing here talks to a broker.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from ..domain.job import MAX_ATTEMPTS_CARRIED, Attempt, JobRef, utcnow

HISTORY = "nightshift"
DEAD = "nightshift_dead"

MOST = 1_000_000
"""Retries or replays beyond which a header that tells them is absurd."""

KEPT_PROPERTIES = ("correlation_id", "reply_to", "priority")
"""The properties of a message that belong to the job and not to one delivery of it."""

DELIVERIES = "x-nightshift-deliveries"
"""On RabbitMQ: how often a job had begun when it was put aside, because it may end its worker."""

# these headers speak of one passage through the broker
_BROKER_HEADERS = ("x-death", "x-delivery-count", "x-acquired-count", DELIVERIES, "compression")
_BROKER_PREFIXES = ("x-first-death-", "x-last-death-")


def stamp(headers: dict[str, Any], *, queue: str, at: datetime, request_id: str | None) -> datetime:
    """Mark a message that is being enqueued at ``at``; one that has a history keeps it.

    Returns when its job was enqueued for the first time.
    """
    if HISTORY in headers:
        return parse_time(history(headers).get("enqueued_at")) or at
    headers[HISTORY] = {
        "enqueued_at": at.isoformat(),
        "request_id": request_id,
        "queue": queue,
        "attempts": [],
    }
    return at


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
