"""Check the app's configuration, which needs neither broker nor database."""

from __future__ import annotations

import difflib
from collections.abc import Iterator

from ...brokers.values import Finding
from ...compat import check
from ...config.leftovers import leftovers
from ...errors import ConfigurationError
from ...journal import note
from ...schedule import entries
from ..our_rules import hidden
from .check import Seen, looks, some

LONGEST_SENSIBLE_BACKOFF = 86_400.0
"""Seconds between attempts above which the unit is probably mistaken."""
UNSAFE_CONTENT = frozenset({"pickle", "yaml", "application/x-python-serialize", "application/x-yaml"})


@looks
def libraries(_: Seen) -> Iterator[Finding]:
    """Versions of Celery and others that were not checked; only for such a version their source is compared."""
    unchecked = check.unchecked()
    broken = check.broken(load=True)
    remedy = "Install the versions that Flask-Nightshift requires: pip install Flask-Nightshift"
    for each in broken:
        yield Finding("error", "libraries", str(each), remedy)
    changed = check.differing() if unchecked and not broken else []
    for each in changed:
        yield Finding("warning", "libraries", str(each), remedy)
    for library in unchecked:
        level = "warning" if broken or changed else "info"
        yield Finding(level, "libraries", f"{library}", remedy)


@looks
def settings(seen: Seen) -> Iterator[Finding]:
    """Names that look like a setting but have no effect."""
    for found in leftovers(seen.services.app, seen.services.settings):
        yield Finding(
            "warning", "settings", f"{found.name} in {found.where} has no effect", f"{found.remedy}."
        )


@looks
def history(seen: Seen) -> Iterator[Finding]:
    """Jobs that the history does not record."""
    if said := note(seen.services.settings.history):
        yield Finding("info", "history", said, "Set NIGHTSHIFT_HISTORY to 'all' to see every job.")


@looks
def time_limits(seen: Seen) -> Iterator[Finding]:
    """Time limits of tasks: a job without one can keep a worker busy for ever."""
    conf, grace = seen.services.celery.conf, seen.services.settings.stop_grace
    unlimited, crossed, longer = [], [], []
    for task in seen.services.tasks():
        hard = task.time_limit or conf.task_time_limit
        soft = task.soft_time_limit or conf.task_soft_time_limit
        if not hard:
            unlimited.append(task.name)
        elif soft and soft >= hard:
            crossed.append(f"{task.name} ({soft:g} >= {hard:g} s)")
        elif hard > grace:
            longer.append(task.name)
    if unlimited:
        yield Finding(
            "warning",
            "time limits",
            f"none for {some(unlimited)}: a job that hangs keeps its worker for ever",
            "Set time_limit (seconds) on the task, or in NIGHTSHIFT_TASK_DEFAULTS.",
        )
    if crossed:
        yield Finding(
            "error",
            "time limits",
            f"the soft limit never comes: {some(crossed)}",
            "Make soft_time_limit smaller than time_limit.",
        )
    if longer:
        yield Finding(
            "info",
            "time limits",
            f"{some(longer)} may run longer than the stop grace of {grace:g} s; what still runs then goes "
            "back to its queue and begins again on another worker",
            "Make these jobs safe to run twice, or raise NIGHTSHIFT_STOP_GRACE (and the container's).",
        )
    if not (unlimited or crossed):
        yield Finding("ok", "time limits", "every task has one")


@looks
def retries(seen: Seen) -> Iterator[Finding]:
    """Tasks that retry for ever, or wait for very long."""
    endless, slow = [], []
    for task in seen.services.tasks():
        if task.max_retries is None:
            endless.append(task.name)
        waits = [task.retry_backoff_max if task.retry_backoff else task.default_retry_delay]
        if any(wait and float(wait) > LONGEST_SENSIBLE_BACKOFF for wait in waits):
            slow.append(f"{task.name} ({float(waits[0]):g} s)")
    if endless:
        yield Finding(
            "warning",
            "retries",
            f"{some(endless)} retry for ever: a hopeless job never becomes a dead letter",
            "Set max_retries to a number.",
        )
    if slow:
        yield Finding(
            "warning",
            "retries",
            f"may wait longer than a day for the next attempt: {some(slow)}",
            "retry_backoff_max is in seconds; make it smaller.",
        )


@looks
def request_context(seen: Seen) -> Iterator[Finding]:
    """The host of the links that jobs make."""
    names = [task.name for task in seen.services.tasks() if task.request_context]
    if not names:
        return
    config = seen.services.app.config
    host, scheme = config.get("SERVER_NAME"), config["PREFERRED_URL_SCHEME"]
    if not host:
        yield Finding(
            "error",
            "request context",
            f"{some(names)} need SERVER_NAME: workers refuse to start without it",
            "Set SERVER_NAME (such as 'www.example.com') in app.config, or take request_context off the tasks.",
        )
    elif scheme == "http" and not seen.services.app.debug:
        yield Finding(
            "info",
            "request context",
            f"links that {some(names)} make begin with http://{host}",
            "If the app is served over HTTPS, set PREFERRED_URL_SCHEME to 'https'.",
        )
    else:
        yield Finding("ok", "request context", f"links of jobs begin with {scheme}://{host}")


@looks
def content(seen: Seen) -> Iterator[Finding]:
    """Formats that let a message run code in a worker."""
    unsafe = sorted(UNSAFE_CONTENT & set(seen.services.celery.conf.accept_content or ()))
    if unsafe:
        yield Finding(
            "warning",
            "content",
            f"workers accept {', '.join(unsafe)}: who can write to the broker can run code in a worker",
            "Take it out of NIGHTSHIFT_CELERY['accept_content'].",
        )


@looks
def schedule(seen: Seen) -> Iterator[Finding]:
    """Entries of the schedule that cannot run."""
    try:
        found = entries.entries(seen.services)
    except ConfigurationError as exc:
        yield Finding("error", "schedule", str(exc), "Correct the entry: Beat does not start with it.")
        return
    known = set(seen.services.celery.tasks)
    for name, entry in sorted(found.items()):
        task = entry["task"]
        if task not in known:
            near = difflib.get_close_matches(str(task), known, n=1)
            hint = f"Did you mean {near[0]!r}?" if near else "Is the module that declares it imported?"
            yield Finding("error", "schedule", f"entry {name!r} names the unknown task {task!r}", hint)


@looks
def http(seen: Seen) -> Iterator[Finding]:
    """Routes that are hidden, or open to everyone."""
    prefix = seen.services.settings.url_prefix
    for path in hidden(seen.services.app):
        if not path.startswith((f"{prefix}/health/", f"{prefix}/metrics")):
            continue
        yield Finding(
            "warning",
            "http",
            f"the app has a route {path} of its own, which hides Nightshift's",
            "Set NIGHTSHIFT_URL_PREFIX to have both, or NIGHTSHIFT_HTTP_ACCESS to 'off'.",
        )
    if seen.services.settings.http_access == "open":
        yield Finding(
            "info",
            "http",
            "details of health and metrics are open to everyone who reaches the web app",
            "Unless the network is closed, set NIGHTSHIFT_HTTP_ACCESS to 'token'.",
        )


__all__ = [
    "content", "history", "http", "libraries", "request_context", "retries", "schedule", "settings", "time_limits",
]  # fmt: skip
