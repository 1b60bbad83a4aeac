"""The options of a task: what each accepts, and what it means to those who set it.

``task.py`` checks a declaration against this table. ``make reference`` writes docs/reference/task-options.md from it
and from a task that sets none of them. Standard library only.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass

from .kinds import (
    ANYTHING,
    BOOLEAN,
    CLASS,
    COUNT,
    ERRORS,
    FUNCTION,
    IS_UNIQUE,
    LIMIT,
    LONGEST,
    MAPPING,
    MOMENT,
    NAME,
    ON_DUPLICATE,
    ON_EXPIRED,
    PERSISTENT,
    PRIORITY,
    QUEUE,
    SECONDS,
    TAGS,
    TEXT,
    UNIQUE_FOR,
    Kind,
    always,
    is_count,
    is_rate,
    is_seconds,
    or_none,
)

FAILED = "a job that failed is retried or becomes a dead letter; it is never redelivered for ever"
TOO_LONG = (
    "a job that exceeds its time limit is retried or becomes a dead letter; it is never redelivered for ever"
)
LOST = "a job whose process died is retried up to `max_retries` times"
UNROUTED = "a job that reaches no queue raises an error"

RETRY_KWARGS: Mapping[str, Kind] = {
    "max_retries": or_none(COUNT, "for no limit"),
    "countdown": or_none(SECONDS, "for the task's own wait"),
    "queue": QUEUE,
    "priority": PRIORITY,
    "expires": MOMENT,
}
"""The options of an automatic retry: those of ``retry()`` that make sense for every failure."""


@dataclass(frozen=True, slots=True)
class Option:
    """One option: its values, and a sentence about it (Markdown, with links from docs/).

    ``default`` is set only where the default needs words.
    """

    kind: Kind
    meaning: str
    default: str = ""


def _is_plain(function: object) -> bool:
    """Whether ``function`` can be called where its result is needed at once."""
    return function is None or (callable(function) and not inspect.iscoroutinefunction(function))


_EVERY_TASK: Mapping[str, Option] = {
    # retries
    "max_retries": Option(
        or_none(COUNT, "for no limit"),
        "How many retries follow a failed first attempt. When they are used up, the job becomes a dead letter."),
    "autoretry_for": Option(
        ERRORS, "The job is retried after these exceptions, but never after `PermanentFailure`. With `()`, it is "
        "retried only when its body asks for it."),
    "dont_autoretry_for": Option(ERRORS, "After these exceptions, the job becomes a dead letter at once."),
    "retry_backoff": Option(
        or_none(Kind(f"give the first wait in seconds, from 0 to {LONGEST}, or True or False",
                     lambda value: isinstance(value, bool) or is_seconds(value)), "for none"),
        "The first wait, which doubles with each retry; `True` is 1 second. With `False`, `None` or 0, each wait is "
        "`default_retry_delay`."),
    "retry_backoff_max": Option(SECONDS, "The longest wait of the backoff."),
    "retry_jitter": Option(
        BOOLEAN, "Wait a random part of the backoff, so that many jobs do not return at once. `False`: wait all of "
        "it."),
    "default_retry_delay": Option(
        or_none(SECONDS, "for none"), "The wait before each retry where there is no backoff."),
    "retry_kwargs": Option(
        or_none(Kind("give a dict with any of " + ", ".join(RETRY_KWARGS),
                     lambda value: isinstance(value, Mapping)), "for none"),
        "Options of automatic retries."),
    # limits
    "soft_time_limit": Option(
        LIMIT, "After this time, the body gets `SoftTimeLimitExceeded`. If a task or a call sets only one of the two "
        "limits, the default of the other gives way."),
    "time_limit": Option(LIMIT, "After this time, the process of the body is killed (pool `prefork`)."),
    "rate_limit": Option(
        or_none(Kind("give a number or a text such as '10/s', '100/m', '5/h'", is_rate), "for no limit"),
        "How many jobs of the task each worker begins in a second, a minute or an hour."),
    "expires": Option(MOMENT, "From then on, a job that has not started does not start."),
    "on_expired": Option(
        ON_EXPIRED, "What becomes of a job that expires: a dead letter, or nothing "
        "([how](how-to/cancel.md#jobs-that-expire)). Entries of the schedule say `\"drop\"`.", '`"dead"`'),
    # the message
    "queue": Option(QUEUE, "The queue of the task's jobs.", "the default queue"),
    "priority": Option(
        PRIORITY, "On RabbitMQ, jobs with a larger number come first "
        "([from which version](how-to/rabbitmq.md#priorities)). On Redis and Valkey, 0 comes first."),
    "serializer": Option(
        TEXT, "The serializer of arguments. Workers accept JSON, unless Celery's `accept_content` names others."),
    "compression": Option(TEXT, "Compresses messages, as in Celery: `\"gzip\"`, for example.", "none"),
    "acks_late": Option(
        BOOLEAN, "The worker acknowledges a job when its next state is durable. `False`: before the body begins, so "
        "that a crash loses the job."),
    # the body
    "request_context": Option(
        BOOLEAN, "Body and hooks run in a request context of `SERVER_NAME`, `APPLICATION_ROOT` and "
        "`PREFERRED_URL_SCHEME` ([how](how-to/links.md)). Without `SERVER_NAME`, a worker refuses to start."),
    "throws": Option(ERRORS, "Exceptions that are expected: Celery logs them without a traceback."),
    "typing": Option(BOOLEAN, "A call with arguments that the body does not take raises `TypeError`."),
    "send_events": Option(BOOLEAN, "Workers that send events send those of the task's jobs, too."),
    # results
    "ignore_result": Option(BOOLEAN, "Results are not stored ([when they are](reference.md#results-and-canvas))."),
    "track_started": Option(BOOLEAN, "The result backend learns when a job begins."),
    "store_errors_even_if_ignored": Option(BOOLEAN, "Errors are stored even though results are ignored."),
    "store_eager_result": Option(BOOLEAN, "With `task_always_eager`, results are stored, too."),
    "trail": Option(BOOLEAN, "A result names the jobs that the body enqueued, as in Celery."),
    "resultrepr_maxsize": Option(
        Kind("give a whole number from 1", lambda value: is_count(value) and value > 0),
        "The most characters of a result in logs and events."),
    # what is so in any case, as in config/celery_settings.py
    "acks_on_failure": Option(always(True, FAILED), f"Always so: {FAILED}."),
    "acks_on_timeout": Option(always(True, TOO_LONG), f"Always so: {TOO_LONG}."),
    "acks_on_failure_or_timeout": Option(always(True, FAILED), "Both of these."),
    "reject_on_worker_lost": Option(always(True, LOST), f"Always so: {LOST}.", "`True`"),
    "retry_on_worker_lost": Option(always(True, LOST), f"Always so: {LOST}.", "`True`"),
    "delivery_mode": Option(PERSISTENT, "Always so: the broker writes jobs to disk.", "`2`"),
    "mandatory": Option(always(True, UNROUTED), f"Always so: {UNROUTED}.", "`True`"),
    "immediate": Option(always(False, "RabbitMQ has no such publishes"), "RabbitMQ has no such publishes.", "`False`"),
}  # fmt: skip
_ONE_TASK: Mapping[str, Option] = {
    "name": Option(
        or_none(NAME, "for module.function"), "The task's name. Jobs carry it; logs and metrics show it.",
        "`module.function`"),
    "bind": Option(BOOLEAN, "The body gets the task as its first argument, `self`.", "`False`"),
    "base": Option(
        Kind("give a class that is derived from celery.Task", lambda value: value is None or isinstance(value, type)),
        "The task's class. Its options and hooks take precedence over the app's defaults.", "`celery.Task`"),
    "tags": Option(TAGS, "Words for `flask jobs list --tag`. A job has those of its task and of its call."),
    "unique": Option(
        IS_UNIQUE, "At most one job with the same key waits (`\"until_started\"`), or waits or runs "
        "(`\"until_done\"`) ([how](how-to/once.md#unique-jobs)).", "`False`"),
    "unique_key": Option(
        Kind("give a function of the task's arguments, no coroutine, or None for all arguments", _is_plain),
        "Makes the key: text, a number, or a list of them. In a call, it is the key itself.", "all arguments"),
    "unique_for": Option(UNIQUE_FOR, "The lock ends so long after the job was due, in any case.", "`86400`"),
    "on_duplicate": Option(
        ON_DUPLICATE, "What a duplicate does. `\"skip\"`: the call returns the result of the job that exists. "
        "`\"raise\"`: it raises `DuplicateJob`. `\"replace\"`: the duplicate takes the place of a job that has not "
        "started; else it is skipped.", '`"skip"`'),
    "idempotency_key": Option(
        Kind("give a function of the task's arguments that returns text, no coroutine, or None", _is_plain),
        "Of the task's jobs with the same key, one succeeds. Repeats are `skipped` for `NIGHTSHIFT_KEEP_ONCE_DAYS`."),
    "durable": Option(
        BOOLEAN, "The job survives the loss of the broker "
        "([how](how-to/transactions.md#jobs-that-survive-the-loss-of-the-broker)). Not with "
        "`on_duplicate=\"replace\"`."),
    "before_start": Option(FUNCTION, "A hook that runs before the body.", "none"),
    "on_success": Option(FUNCTION, "A hook for a body that returned.", "none"),
    "on_failure": Option(FUNCTION, "A hook for a job that failed for good.", "none"),
    "on_retry": Option(FUNCTION, "A hook for a job that is retried.", "none"),
    "after_return": Option(FUNCTION, "A hook for the end of an attempt, whatever it was.", "none"),
    # Celery's others
    "exchange": Option(ANYTHING, "On RabbitMQ, as in Celery. It must lead to one queue in `task_queues`.", "none"),
    "exchange_type": Option(TEXT, "On RabbitMQ, as in Celery.", "none"),
    "routing_key": Option(TEXT, "On RabbitMQ, as in Celery. It must lead to one queue in `task_queues`.", "none"),
    "pydantic": Option(BOOLEAN, "Pydantic validates arguments and result, as in Celery.", "`False`"),
    "pydantic_strict": Option(BOOLEAN, "Pydantic converts no value.", "`False`"),
    "pydantic_context": Option(or_none(MAPPING, "for none"), "The context of Pydantic's validation.", "none"),
    "pydantic_dump_kwargs": Option(or_none(MAPPING, "for none"), "Arguments of `model_dump()` for the result.", "none"),
    "on_replace": Option(FUNCTION, "What `self.replace()` does with the new signature, as in Celery.", "Celery's"),
    "shadow_name": Option(FUNCTION, "Names the job in logs and events, as in Celery.", "none"),
    "Request": Option(CLASS, "The class of a job's request in a worker, as in Celery.", "Nightshift's"),
    "Strategy": Option(CLASS, "How a worker handles a message of the task, as in Celery.", "Nightshift's"),
    "shared": Option(BOOLEAN, "The task exists in all Celery apps of the process, as in Celery.", "`True`"),
    "lazy": Option(BOOLEAN, "The task is made when it is first used, as in Celery.", "`True`"),
}  # fmt: skip
OPTIONS: Mapping[str, Option] = {**_EVERY_TASK, **_ONE_TASK}
"""By name, in the order of the reference."""
EVERY_TASK = frozenset(_EVERY_TASK)
"""The options that can be set for all tasks of an app at once."""
HOOKS = ("before_start", "on_success", "on_failure", "on_retry", "after_return")
UNIQUE = ("unique", "unique_key", "unique_for", "on_duplicate")
"""The options of a unique task."""
IDEMPOTENCY_KEY = "idempotency_key"
DURABLE = "durable"
ON_EXPIRED_OPTION = "on_expired"
TAGS_OPTION = "tags"

__all__ = [
    "DURABLE",
    "EVERY_TASK",
    "FAILED",
    "HOOKS",
    "IDEMPOTENCY_KEY",
    "LOST",
    "ON_EXPIRED_OPTION",
    "OPTIONS",
    "RETRY_KWARGS",
    "TAGS_OPTION",
    "TOO_LONG",
    "UNIQUE",
    "Option",
]
