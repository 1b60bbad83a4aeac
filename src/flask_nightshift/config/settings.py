"""Configuration: ``NIGHTSHIFT_*`` in, one frozen ``Settings`` out.

A key comes from ``app.config``; one that the app does not set is taken from the environment under its own
name. Everything is checked here, once, at start: a wrong value is refused with the key, the value and what
is allowed, so that no worker finds out at three in the morning.
"""

from __future__ import annotations

import difflib
import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from flask import Flask

from ..errors import ConfigurationError
from ..options import task as task_options
from ..text.passwords import refused_url
from . import celery_settings, database_url

PREFIX = "NIGHTSHIFT_"
BROKER_SCHEMES = ("embedded", "redis", "rediss", "redis+socket", "sentinel", "amqp", "amqps", "pyamqp")
IN_PROCESS = "memory"
"""A scheme for tests, which a refusal therefore does not suggest."""


def _key(default: Any, check: Callable[[str, Any], Any], help_: str, *, secret: bool = False) -> Any:
    """A setting; what is ``secret`` may hold a password and stays out of ``repr``, and so of tracebacks."""
    metadata = {"check": check, "help": help_}
    if default == {}:
        return field(default_factory=dict, metadata=metadata, repr=not secret)
    return field(default=default, metadata=metadata, repr=not secret)


def _number(low: float, high: float, what: str) -> Callable[[str, Any], float]:
    def check(key: str, value: Any) -> float:
        seconds = value.total_seconds() if isinstance(value, timedelta) else value
        if isinstance(seconds, str):
            try:
                seconds = float(seconds)
            except ValueError:
                raise ConfigurationError(key, value, f"give {what} as a number") from None
        if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not low <= seconds <= high:
            raise ConfigurationError(key, value, f"give {what} between {low:g} and {high:g}")
        return float(seconds)

    return check


def _whole(low: int, high: int, what: str) -> Callable[[str, Any], int]:
    number = _number(low, high, what)

    def check(key: str, value: Any) -> int:
        result = number(key, value)
        if result != int(result):
            raise ConfigurationError(key, value, f"give {what} as a whole number")
        return int(result)

    return check


def _choice(*allowed: str) -> Callable[[str, Any], str]:
    def check(key: str, value: Any) -> str:
        for each in allowed:
            if isinstance(value, str) and value.strip().lower() == each.lower():
                return each
        raise ConfigurationError(key, value, "one of " + ", ".join(map(repr, allowed)))

    return check


def _mapping(key: str, value: Any) -> dict[str, Any]:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError as exc:
            raise ConfigurationError(key, refused_url(value), f"give a JSON object ({exc})") from None
    if not isinstance(value, Mapping) or not all(isinstance(k, str) for k in value):
        raise ConfigurationError(key, value, "give a dict with text keys (a JSON object in the environment)")
    return dict(value)


def _celery(key: str, value: Any) -> dict[str, Any]:
    return celery_settings.checked(key, _mapping(key, value))


def _task_defaults(key: str, value: Any) -> dict[str, Any]:
    options = _mapping(key, value)
    return task_options.checked(options, lambda name: f"{key}[{name!r}]", only=task_options.EVERY_TASK)


def _names(key: str, value: Any) -> tuple[str, ...]:
    names = [part.strip() for part in value.split(",")] if isinstance(value, str) else value
    if not isinstance(names, (list, tuple, set, frozenset)):
        raise ConfigurationError(key, value, "give a list of queue names, or names with commas between")
    for name in names:
        queue_name(key, name)
    return tuple(names)


def queue_name(key: str, value: Any) -> str:
    """``value``, if it may be the name of a queue; ``key`` is what it was given as. Raises ``ConfigurationError``."""
    if not isinstance(value, str) or not re.fullmatch(r"[\w.:-]{1,200}", value):
        raise ConfigurationError(key, value, "a queue name is 1 to 200 letters, digits and . _ : -")
    if value.startswith(("nightshift.", "celery_delayed")):
        raise ConfigurationError(
            key, value, "names starting with 'nightshift.' or 'celery_delayed' are taken"
        )
    return value


def _broker_url(key: str, value: Any) -> str:
    allowed = "a URL that starts with " + ", ".join(f"{s}://" for s in BROKER_SCHEMES)
    if not isinstance(value, str):
        raise ConfigurationError(key, refused_url(value), allowed)
    for url in value.split(";"):
        scheme, separator, rest = url.partition("://")
        if "cluster" in scheme:
            allowed = f"Redis Cluster is not supported; give one server, or Sentinels: {allowed}"
        if separator and scheme == IN_PROCESS and url == value:
            continue
        if not separator or scheme not in BROKER_SCHEMES or (scheme != "embedded" and not rest):
            raise ConfigurationError(key, refused_url(value), allowed)
        _check_parts(key, value, url)
    return value


def _check_parts(key: str, value: str, url: str) -> None:
    """Refuse a port or a number of a database that is none."""
    if url.startswith(("embedded:", "redis+socket:")):
        return
    try:
        parts = urlsplit(url)
        wrong = parts.port == 0
    except ValueError:
        wrong = True
    if wrong:
        allowed = "its port is no number from 1 to 65535 (in a password, write / # ? as %2F %23 %3F)"
        raise ConfigurationError(key, refused_url(value), allowed)
    database = parts.path.strip("/")
    if parts.scheme in ("redis", "rediss", "sentinel") and database and not database.isdecimal():
        raise ConfigurationError(key, refused_url(value), "its path is the number of a database, such as /0")


def _optional_text(key: str, value: Any) -> str | None:
    if value is not None and not isinstance(value, str):
        raise ConfigurationError(key, value, "give text")
    return value or None


def _optional_days(key: str, value: Any) -> float | None:
    return None if value == "" else _number(0.01, 36_500, "days, or nothing for ever,")(key, value)


def _secret(key: str, value: Any) -> str | None:
    if value is not None and not isinstance(value, str):
        raise ConfigurationError(key, "***", f"give text, not {type(value).__name__}")
    return value or None


def _prefix(key: str, value: Any) -> str:
    if not isinstance(value, str) or (value and not re.fullmatch(r"(/[\w.~-]+)+", value)):
        raise ConfigurationError(key, value, "a path such as '/internal' without a slash at the end, or ''")
    return value


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The configuration of one app, checked; the key of ``broker_url`` is ``NIGHTSHIFT_BROKER_URL``."""

    broker_url: str = _key(
        "embedded://", _broker_url, "Where jobs travel; several URLs separated by ;", secret=True
    )
    database_url: str = _key(
        "", database_url.checked, "Where history is kept; SQLite or PostgreSQL", secret=True
    )
    schedule: dict[str, Any] = _key(
        {}, _mapping, "Jobs that Beat enqueues: name to {task, schedule, args, kwargs}"
    )
    celery: dict[str, Any] = _key({}, _celery, "Celery's own settings, under its present names", secret=True)
    task_defaults: dict[str, Any] = _key(
        {}, _task_defaults, "Options for every task that does not set its own"
    )
    default_queue: str = _key("celery", queue_name, "The queue of tasks that name none")
    queues: tuple[str, ...] = _key((), _names, "Further queues that workers consume")
    redis_transport: str = _key("lease", _choice("lease", "kombu"), "Ours, or kombu's stock one")
    delivery_limit: int = _key(5, _whole(1, 1000, "a count"), "Deliveries of one attempt before it is buried")
    unknown_task_wait: float = _key(
        900.0, _number(0, 604_800, "seconds"), "How long a job of an unknown task is put off"
    )
    stop_grace: float = _key(
        25.0, _number(0, 86_400, "seconds"), "How long running jobs may go on after SIGTERM"
    )
    result_backend: str | None = _key(
        None, _optional_text, "Celery result backend; None: chosen to fit the broker", secret=True
    )
    keep_jobs_days: float = _key(
        7.0, _number(0.01, 36_500, "days"), "Days that finished jobs stay in the history"
    )
    keep_dead_days: float = _key(
        90.0, _number(0.01, 36_500, "days"), "Days that replayed and discarded dead letters stay"
    )
    keep_waiting_days: float | None = _key(
        None, _optional_days, "Days that dead letters wait for a decision; None: for ever"
    )
    log_format: str = _key(
        "auto", _choice("auto", "json", "console"), "auto: console in a terminal, else json"
    )
    log_level: str = _key(
        "INFO", _choice("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"), "Of workers and Beat"
    )
    url_prefix: str = _key("", _prefix, "Before /health/live, /health/ready and /metrics")
    http_access: str = _key(
        "token", _choice("local", "token", "open", "off"), "Who may read details and metrics"
    )
    http_token: str | None = _key(
        None, _secret, "The bearer token that opens them when access is 'token'", secret=True
    )


def load(app: Flask) -> Settings:
    """Read and check the settings of ``app``; raises ``ConfigurationError``."""
    _refuse_unknown(app)
    values: dict[str, Any] = {}
    for item in fields(Settings):
        key = PREFIX + item.name.upper()
        value = app.config.get(key)
        if value is None or value == "":  # as from_prefixed_env() reads an empty variable
            value = os.environ.get(key)
        if value is not None and value != "":
            values[item.name] = item.metadata["check"](key, value)
    values["database_url"] = database_url.resolve(app, values.get("database_url"))
    if values.get("http_access") == "token" and not values.get("http_token"):
        raise ConfigurationError(
            "NIGHTSHIFT_HTTP_TOKEN", None, "NIGHTSHIFT_HTTP_ACCESS = 'token' needs a token"
        )
    return Settings(**values)


def _refuse_unknown(app: Flask) -> None:
    for key in app.config:
        if key.startswith(PREFIX) and (hint := unknown_setting(key)):
            raise ConfigurationError(key, "***", f"there is no such setting; {hint}")  # it may be a password


def unknown_setting(key: str) -> str:
    """What ``key``, which begins with the prefix, was meant to be; empty if there is such a setting."""
    known = sorted(PREFIX + item.name.upper() for item in fields(Settings))
    if key in known:
        return ""
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.75)
    return f"did you mean {near[0]}?" if near else f"the settings are {', '.join(known)}"


__all__ = ["BROKER_SCHEMES", "PREFIX", "Settings", "load", "queue_name", "unknown_setting"]
