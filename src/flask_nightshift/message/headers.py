"""The headers of a job's message: Celery's, and the ones that we add.

The message has Celery's format (protocol 2), so any Celery worker can read it. It lacks what Celery would only fill
with defaults (``slim``). We add the header ``nightshift`` with the job's history, and a second one when the job is
buried (``burial.py``):

    nightshift       {enqueued_at, queue, request_id, tags, attempts: [Attempt, …], lost_since, returns, run, outbox,
                      copy, durable, on_expired, origin, changed}

Pure functions on plain values: nothing here talks to a broker.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from ..domain.job import MAX_ATTEMPTS_CARRIED, Attempt, JobRef, utcnow
from ..options.kinds import MOST_TAGS, are_tags

HISTORY = "nightshift"
DEAD = "nightshift_dead"
OUTBOX, COPY = "outbox", "copy"
"""Keys in the ``nightshift`` header of a message from an outbox; see ``copies.py``."""
ON_EXPIRED = "on_expired"
"""Key in the ``nightshift`` header: what becomes of the job if it expires, where the call or its task said so."""
DURABLE = "durable"
"""Key in the ``nightshift`` header of a durable job: the id of its row in the outbox, also in its retries."""

TAGS = "tags"
"""Key in the ``nightshift`` header of a job that has tags: a list of texts."""
DROP = "drop"

ORIGIN = "origin"
"""Key in the ``nightshift`` header of a copy: the id of the job that somebody enqueued again."""

MOST = 1_000_000
"""The highest count (of retries, replays, deliveries) that we believe of a header; a higher one reads as 0."""

KEPT_PROPERTIES = ("correlation_id", "reply_to", "priority")
"""The message properties that belong to the job, not to one delivery."""

DELIVERIES = "x-nightshift-deliveries"
"""On RabbitMQ: how often the job had started when it moved to its quarantine queue, because it may kill its worker."""

ABSENT: Mapping[str, Any] = {
    "shadow": None,
    "eta": None,
    "expires": None,
    "group": None,
    "group_index": None,
    "retries": 0,
    "parent_id": None,
    "replaced_task_nesting": 0,
    "stamped_headers": None,
}
"""Headers that are not sent if they have this value, because Celery reads it from a message without them."""

# these headers describe one delivery, not the job
_BROKER_HEADERS = ("x-death", "x-delivery-count", "x-acquired-count", DELIVERIES, "compression")
_BROKER_PREFIXES = ("x-first-death-", "x-last-death-")
_CELERYS = frozenset({
    "args", "argsrepr", "correlation_id", "delivery_info", "eta", "expires", "group", "group_index", "hostname", "id",
    "ignore_result", "kwargs", "kwargsrepr", "lang", "origin", "parent_id", "properties", "replaced_task_nesting",
    "reply_to", "retries", "root_id", "shadow", "stamped_headers", "stamps", "task", "timelimit",
})  # fmt: skip
"""What an ordinary job's headers contain, and a worker's request beside them."""


def stamp(
    headers: dict[str, Any], *, queue: str, at: datetime, request_id: str | None, tags: Sequence[str] = ()
) -> datetime:
    """Add the ``nightshift`` header to a message that is enqueued at ``at``; an existing one stays.

    Returns when the job was first enqueued.
    """
    if HISTORY in headers:
        return parse_time(history(headers).get("enqueued_at")) or at
    past: dict[str, Any] = {"enqueued_at": at.isoformat(), "queue": queue}
    headers[HISTORY] = past
    if request_id is not None:
        past["request_id"] = request_id
    if tags:
        past[TAGS] = list(tags)
    return at


def slim(headers: Mapping[str, Any]) -> dict[str, Any]:
    """``headers`` without those that say nothing to Celery (``ABSENT``)."""
    return {name: value for name, value in headers.items() if name not in ABSENT or value != ABSENT[name]}


def slim_embed(embed: Mapping[str, Any]) -> dict[str, Any]:
    """The third part of a job's body (callbacks, errbacks, chain, chord) without what the job does not have."""
    return {name: value for name, value in embed.items() if value is not None}


def history(headers: Mapping[str, Any] | None) -> dict[str, Any]:
    """A copy of the ``nightshift`` header; empty if there is none (from a plain Celery producer)."""
    return dict(_history(headers or {}))


def _history(headers: Mapping[str, Any]) -> Mapping[str, Any]:
    """The ``nightshift`` header itself, to read."""
    value = headers.get(HISTORY)
    return value if isinstance(value, (dict, Mapping)) else {}


def drops_expired(headers: Mapping[str, Any] | None, task: Any) -> bool:
    """Whether the job is dropped if it has expired; its message decides, then its ``task`` (None: unknown)."""
    said = _history(headers or {}).get(ON_EXPIRED) or getattr(task, ON_EXPIRED, None)
    return bool(said == DROP)


def due(headers: Mapping[str, Any]) -> datetime | None:
    """When the delay of a delayed job ended."""
    value = due_text(headers)
    return None if value is None else parse_time(value)


def due_text(headers: Mapping[str, Any]) -> Any:
    """The same, as the message has it."""
    return _history(headers).get("due")


def attempts(headers: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """The ended attempts that travel with the message, oldest first."""
    value = history(headers).get("attempts")
    return [dict(a) for a in value if isinstance(a, Mapping)] if isinstance(value, (list, tuple)) else []


def origin(headers: Mapping[str, Any] | None) -> str | None:
    """The id of the job of which this one is a copy; None if it is none."""
    value = history(headers).get(ORIGIN)
    return value if isinstance(value, str) else None


def retries(headers: Mapping[str, Any]) -> int:
    """The number of retries so far (Celery's ``retries`` header); 0 if missing or implausible."""
    return _count(headers.get("retries"))


def deliveries(headers: Mapping[str, Any] | None, *, redelivered: bool = False) -> int:
    """How many earlier deliveries RabbitMQ's headers and our own count.

    Where RabbitMQ gives no count, its ``redelivered`` flag counts as one.
    """
    counts = [
        value if isinstance(value := (headers or {}).get(name), int) and 0 <= value <= MOST else 0
        for name in (DELIVERIES, "x-delivery-count", "x-acquired-count")
    ]
    return counts[0] + max(*counts[1:], int(redelivered))


def run(headers: Mapping[str, Any] | None) -> int:
    """The number of replays so far; 0 if missing or implausible. It separates the attempts of one run from the next."""
    return _run(_history(headers or {}))


def _run(past: Mapping[str, Any]) -> int:
    return _count(past.get("run"))


def _count(value: object) -> int:
    return value if isinstance(value, int) and 0 <= value <= MOST else 0


def ref(headers: Mapping[str, Any], queue: str) -> JobRef:
    """The job and attempt that a message stands for."""
    past = _history(headers)
    return JobRef(
        str(headers.get("id")),
        str(headers.get("task")),
        queue,
        retries(headers) + 1 if "retries" in headers else 1,
        past.get("request_id"),
        parse_time(past.get("enqueued_at")),
        _run(past) if "run" in past else 0,
        _durable(past) if DURABLE in past else "",
        tags(past) if TAGS in past else (),
    )


def tags(past: Mapping[str, Any]) -> tuple[str, ...]:
    """The tags in the ``nightshift`` header ``past``, without what nobody could have given."""
    value = past.get(TAGS, ())
    if value == () or not isinstance(value, (list, tuple)):
        return ()
    return tuple(tag for tag in value if are_tags([tag]))[:MOST_TAGS]


def _durable(past: Mapping[str, Any]) -> str:
    row = past[DURABLE]
    return row if isinstance(row, str) else ""


def parse_time(value: object) -> datetime | None:
    """An ISO 8601 text as an aware datetime (UTC if it names no zone).

    None if it is anything else, or in the year 1 or 9999, where a change of time zone overflows.
    """
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
    for name in ("returns", OUTBOX, COPY):
        past.pop(name, None)
    carried = [*attempts(headers), ended.as_dict()][-MAX_ATTEMPTS_CARRIED:]
    return {
        **job_headers(headers),
        "retries": retries(headers) + 1,
        "eta": due.isoformat(),
        HISTORY: {**past, "attempts": carried},
    }


def returned(headers: Mapping[str, Any], *, due: datetime) -> dict[str, Any]:
    """The headers of a job that asked to be returned: the same attempt runs again at ``due``."""
    past = history(headers)
    return {
        **job_headers(headers),
        "eta": due.isoformat(),
        HISTORY: {**past, "returns": returns(headers) + 1},
    }


def returns(headers: Mapping[str, Any] | None) -> int:
    """How often this attempt has asked to be returned; 0 if missing or implausible."""
    return _count(history(headers).get("returns"))


def postponed(headers: Mapping[str, Any], *, since: datetime, due: datetime) -> dict[str, Any]:
    """The headers of a job whose task no worker knows yet: the same attempt is tried again at ``due``."""
    return {
        **job_headers(headers),
        "eta": due.isoformat(),
        HISTORY: {**history(headers), "lost_since": since.isoformat()},
    }


def lost_since(headers: Mapping[str, Any]) -> datetime | None:
    """When a worker first postponed this message; None if none has."""
    return parse_time(history(headers).get("lost_since"))


def job_headers(headers: Mapping[str, Any]) -> dict[str, Any]:
    """The headers that belong to the job, without those that describe one delivery."""
    return {
        k: v for k, v in headers.items() if k not in _BROKER_HEADERS and not k.startswith(_BROKER_PREFIXES)
    }


def shown(request: Mapping[str, Any]) -> dict[str, Any]:
    """A worker's request as a task sees it: without our headers and those of one delivery.

    A task may publish it again (``signature_from_request()``), so the ``delivery_info`` of a delayed job names the
    job's queue and not the delay exchange.
    """
    found = dict(request)
    found.pop(HISTORY, None)
    found.pop(DEAD, None)
    if not _CELERYS.issuperset(found):
        found = job_headers(found)
    info = dict(found.get("delivery_info") or {})
    exchange = info.get("exchange")
    if exchange and str(exchange).startswith(("nightshift.", "celery_delayed")):
        info |= {"exchange": "", "routing_key": info.get("queue")}
    found["delivery_info"] = info
    return found


def job_properties(properties: Mapping[str, Any]) -> dict[str, Any]:
    """The properties that belong to the job, not to one delivery (``KEPT_PROPERTIES``)."""
    return {k: properties[k] for k in KEPT_PROPERTIES if properties.get(k) is not None}
