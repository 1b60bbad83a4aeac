"""Configuration: reads ``NIGHTSHIFT_*`` into one frozen ``Settings``.

A value comes from ``app.config``, or, if the app does not set it, from the environment variable of the same name.
``load`` checks everything once, at start. A wrong value raises an error with the key, the value and what is allowed, so
it cannot fail later in a worker.

``Settings`` declares each setting once: its type, limits, default and words. ``make reference`` writes the
table in docs/reference/settings.md from it.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Annotated, Any, Literal, get_type_hints

from flask import Flask
from msgspec import Meta

from ..errors import ConfigurationError
from ..options import task as task_options
from ..options.of_tasks import EVERY_TASK
from ..text.passwords import refused_url
from ..text.redaction import NAMES
from . import broker_url, celery_settings, database_url
from .cluster_url import is_cluster
from .dashboard import importable, links, prefix
from .history import DAYS, days_by_state, redacted_names
from .queue_names import queue_name, queue_names
from .setting import Setting, checked, mapping

PREFIX = "NIGHTSHIFT_"
ON_COMMIT = "on_commit"
"""The value of ``NIGHTSHIFT_ENQUEUE`` with which jobs wait for the session's transaction."""
MAX_VERSION = 200
Days = Annotated[float, Meta(ge=0.01, le=36_500)]


def _celery(key: str, value: Any) -> dict[str, Any]:
    return celery_settings.checked(key, mapping(key, value))


def _task_defaults(key: str, value: Any) -> dict[str, Any]:
    options = mapping(key, value)
    return task_options.checked(options, lambda name: f"{key}[{name!r}]", only=EVERY_TASK)


def _secret(key: str, value: Any) -> str:
    if not isinstance(value, str):
        raise ConfigurationError(key, "***", f"give text, not {type(value).__name__}")
    return value


def _version(key: str, value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)  # from_prefixed_env() reads a date or the digits of a commit as a number
    if not isinstance(value, str) or len(value) > MAX_VERSION:
        allowed = f"give text of at most {MAX_VERSION} characters"
        if isinstance(value, float):
            allowed += "; from_prefixed_env() reads 1.10 as a number: write '\"1.10\"' in the environment"
        raise ConfigurationError(key, value, allowed)
    return value


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The checked configuration of one app; the key of ``broker_url`` is ``NIGHTSHIFT_BROKER_URL``, and so on.

    ``repr`` leaves out settings that may contain a password, so tracebacks do not show them.
    """

    broker_url: Annotated[
        str,
        Setting(
            "The broker's URL. Schemes: `embedded`, `redis`, `rediss`, `redis+socket`, `sentinel`, "
            "`redis+cluster`, `rediss+cluster`, `amqp`, `amqps`, and `memory` for tests",
            check=broker_url.checked,
        ),
    ] = field(default="embedded://", repr=False)
    database_url: Annotated[
        str,
        Setting(
            "The database for the history: SQLite or PostgreSQL. `postgresql://` uses psycopg 3 if it is "
            "installed, else psycopg2; a driver that you name is kept. The app's own SQLite file keeps its "
            "journal mode; a file that Nightshift creates gets a write-ahead log. In-memory SQLite works only in "
            "tests (`TESTING`)",
            default="`SQLALCHEMY_DATABASE_URI`, else SQLite in the instance folder",
            check=database_url.checked,
        ),
    ] = field(default="", repr=False)
    schedule: Annotated[
        dict[str, Any],
        Setting(
            "The jobs that Beat enqueues: a dict from names to `{task, schedule, args, kwargs, queue, options}`. "
            "`schedule` is a number of seconds, a timedelta or a crontab expression ([more](reference.md#the-schedule))"
        ),
    ] = field(default_factory=dict)
    celery: Annotated[
        dict[str, Any],
        Setting("Celery's own settings ([how each is treated](reference/celery-settings.md))", check=_celery),
    ] = field(default_factory=dict, repr=False)
    task_defaults: Annotated[
        dict[str, Any], Setting("Task options for every task that does not set its own", check=_task_defaults)
    ] = field(default_factory=dict)
    default_queue: Annotated[str, Setting("The queue of tasks that set none", check=queue_name)] = "celery"
    queues: Annotated[tuple[str, ...], Setting("More queues that workers consume", check=queue_names)] = ()
    enqueue: Annotated[
        Literal["at_once", "on_commit"],
        Setting(
            "`at_once`, or `on_commit`: `delay()`, `apply_async()` and `enqueue_many()` inside a transaction of "
            "Flask-SQLAlchemy's session wait for its commit, as `delay_on_commit()` does. SQLAlchemy begins a "
            "transaction at the first query, and a job of a session that is closed without commit is not enqueued "
            "(`job.not_enqueued` in the log)"
        ),
    ] = "at_once"
    redis_transport: Annotated[
        Literal["lease", "kombu"],
        Setting("`lease` for [Nightshift's transport](transport.md), or `kombu` for the stock transport"),
    ] = "lease"
    delivery_limit: Annotated[
        int,
        Meta(ge=1, le=1000),
        Setting(
            "How often an attempt may start without being settled before its job becomes a dead letter, because "
            "the job kills its worker ([how deliveries are counted](guarantees.md#a-job-that-kills-its-worker)). "
            "Workers count, so a change takes effect when they restart. A RabbitMQ queue of an earlier release "
            "also keeps its own `x-delivery-limit`, which counts jobs that never started, too; `flask jobs "
            "doctor` names such queues",
            unit="a count",
        ),
    ] = 5
    unknown_task_wait: Annotated[
        float,
        Meta(ge=0, le=604_800),
        Setting("Seconds for which a job of an unknown task is postponed", unit="seconds"),
    ] = 900.0
    stop_grace: Annotated[
        float,
        Meta(ge=0, le=86_400),
        Setting("Seconds that running jobs may take to finish after SIGTERM", unit="seconds"),
    ] = 25.0
    result_backend: Annotated[
        str | None,
        Setting(
            "Celery's result backend", default="Redis, Valkey: the broker; RabbitMQ: the history database"
        ),
    ] = field(default=None, repr=False)
    history: Annotated[
        Literal["all", "failures", "off"],
        Setting(
            "Which jobs the history records: `all`, `failures` (jobs that were retried, died or were replayed), or "
            "none (`off`). Totals, metrics and dead letters are kept in any case "
            "([what works without it](how-to/database.md#record-fewer-jobs))"
        ),
    ] = "all"
    redact: Annotated[
        tuple[str, ...],
        Setting(
            "Names of arguments that are shown as `***`: a name is hidden if it contains one of these, whatever its "
            "case and without regard to `_` and `-` ([where this holds](how-to/database.md#hide-arguments)). A list, "
            "or text with commas; an empty list hides nothing",
            default=", ".join(f"`{name}`" for name in NAMES),
            check=redacted_names,
        ),
    ] = NAMES
    keep_jobs_days: Annotated[
        dict[str, float],
        Setting(
            "Days for which finished jobs stay in the history, with their attempts: a number, or a dict by state, such "
            "as `{'succeeded': 1, 'dead': 30}`; a state that it does not name has the default. A dead job stays for as "
            "long as its dead letter waits",
            default="`7`",
            check=days_by_state,
        ),
    ] = field(default_factory=lambda: days_by_state("", DAYS))
    keep_dead_days: Annotated[
        Days,
        Setting("Days for which dead letters are kept after they were replayed or discarded", unit="days"),
    ] = 90.0
    keep_once_days: Annotated[
        Days,
        Setting("Days for which a key of `jobs.once()` or `idempotency_key` is not done again", unit="days"),
    ] = 30.0
    keep_audit_days: Annotated[
        Days,
        Setting(
            "Days for which the audit is kept, and bulk actions that have ended. Of the audit, the latest 100,000 "
            "actions are kept at most",
            unit="days",
        ),
    ] = 365.0
    keep_waiting_days: Annotated[
        Days | None,
        Setting(
            "Days for which dead letters wait for a decision. After that, Nightshift deletes them, and with them "
            "the last information about their jobs. Each deletion is logged (`dead_letters.pruned`)",
            default="no limit",
            unit="days, or nothing for ever,",
        ),
    ] = None
    version: Annotated[
        str | None,
        Setting(
            "The version of your app, such as a commit or an image tag, in at most 200 characters. `flask jobs "
            "workers` shows it for each worker, so a rolling deploy shows which workers still run the old code",
            check=_version,
        ),
    ] = None
    log_format: Annotated[
        Literal["auto", "json", "console"], Setting("`json`, `console`, or `auto`: console in a terminal")
    ] = "auto"
    log_level: Annotated[
        Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"], Setting("The log level of workers and Beat")
    ] = "INFO"
    url_prefix: Annotated[
        str,
        Meta(pattern=r"\A((/[\w.~-]+)+)?\Z"),
        Setting(
            "The prefix of `/health/live`, `/health/ready` and `/metrics`. If the app has a route at one of these "
            "paths, that route takes precedence; a warning at start and `flask jobs doctor` say so",
            allowed="a path such as '/internal' without a slash at the end, or ''",
        ),
    ] = ""
    http_access: Annotated[
        Literal["local", "token", "open", "off"],
        Setting(
            "Who may read metrics and health details. `token`: callers who send `NIGHTSHIFT_HTTP_TOKEN`; if none "
            "is set, access is closed. `local`: also callers from this machine. Use it only if no proxy runs "
            "there, because a bare `proxy_pass` makes strangers look local. `open`: everyone. `off`: the pages do "
            "not exist. `flask jobs up`, which listens on this machine only, sets `local`"
        ),
    ] = "token"
    http_token: Annotated[
        str | None, Setting("The bearer token for metrics and health details", check=_secret)
    ] = field(default=None, repr=False)
    dashboard_prefix: Annotated[
        str,
        Setting(
            "The path of [the dashboard](how-to/dashboard.md); with `off`, it does not exist. A route of the app under "
            "it takes precedence",
            check=prefix,
        ),
    ] = "/nightshift"
    dashboard_auth: Annotated[
        Callable[..., Any] | str | None,
        Setting(
            "Who may see [the dashboard](how-to/dashboard.md#who-may-see-it), and do what: a function that takes the "
            "request and returns an `Actor` or None, or its import path, such as `shop.auth:who`",
            default="nobody",
            check=importable,
        ),
    ] = field(default=None, repr=False)
    links: Annotated[
        dict[str, str],
        Setting(
            "Links from a job to other systems: a dict from names to URLs with `{job_id}`, `{task}`, `{queue}`, "
            "`{request_id}` or `{worker}` in them, such as `{'logs': 'https://logs.example.com/?q={job_id}'}`",
            check=links,
        ),
    ] = field(default_factory=dict)


def load(app: Flask) -> Settings:
    """Read and check the settings of ``app``; raises ``ConfigurationError``."""
    _refuse_unknown(app)
    values: dict[str, Any] = {}
    for name, declared in declarations().items():
        key = PREFIX + name.upper()
        value = app.config.get(key)
        if value is None or value == "":  # from_prefixed_env() reads an empty variable as ""
            value = os.environ.get(key)
        if value is not None and value != "":
            values[name] = checked(key, value, declared)
    values["database_url"] = database_url.resolve(app, values.get("database_url"))
    if values.get("http_access") == "token" and not values.get("http_token"):
        raise ConfigurationError(
            "NIGHTSHIFT_HTTP_TOKEN", None, "NIGHTSHIFT_HTTP_ACCESS = 'token' needs a token"
        )
    settings = Settings(**values)
    if is_cluster(settings.result_backend or "") and settings.result_backend != settings.broker_url:
        allowed = "Redis Cluster keeps results only where the jobs are: leave it out, or give another backend"
        raise ConfigurationError("NIGHTSHIFT_RESULT_BACKEND", refused_url(settings.result_backend), allowed)
    return settings


@cache
def declarations() -> dict[str, Any]:
    """The declaration of each setting, by the name of its field."""
    return get_type_hints(Settings, include_extras=True)


def _refuse_unknown(app: Flask) -> None:
    for key in app.config:
        if key.startswith(PREFIX) and (hint := unknown_setting(key)):
            raise ConfigurationError(key, "***", f"there is no such setting; {hint}")  # maybe a password


def unknown_setting(key: str) -> str:
    """A hint if ``key``, which begins with the prefix, is not a setting; empty if it is one."""
    known = sorted(PREFIX + name.upper() for name in declarations())
    if key in known:
        return ""
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.75)
    return f"did you mean {near[0]}?" if near else f"the settings are {', '.join(known)}"


__all__ = ["PREFIX", "Settings", "declarations", "load", "unknown_setting"]
