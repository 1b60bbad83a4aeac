"""How Nightshift treats each of Celery's settings: honoured as it is, merged with ours, or refused by name.

``checked`` checks ``NIGHTSHIFT_CELERY`` and what a user sets on ``celery.conf`` later, so no setting is silently
ignored. A test compares the tables with Celery's own list of settings.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from celery.app.defaults import _TO_NEW_KEY, DEFAULTS

from ..errors import ConfigurationError
from ..options.of_tasks import FAILED, LOST, TOO_LONG

STORES = (
    "arangodb_", "azureblockblob_", "cache_", "cassandra_", "consul_", "cosmosdbsql_", "couchbase_", "couchdb_",
    "database_", "dynamodb_", "elasticsearch_", "filesystem_", "gcs_", "mongodb_", "redis_", "rpc_", "s3_",
)  # fmt: skip
"""Prefixes of the settings of result stores; Celery reads them, and we do not check them."""

_AS_THEY_ARE = """
    accept_content enable_utc imports include result_accept_content timezone

    beat_cron_starting_deadline

    broker_channel_error_retry broker_connection_max_retries broker_connection_retry
    broker_connection_retry_on_startup broker_connection_timeout broker_heartbeat broker_heartbeat_checkrate
    broker_login_method broker_pool_acquire_timeout broker_use_ssl

    control_exchange control_queue_durable control_queue_exclusive control_queue_expires control_queue_ttl

    event_exchange event_queue_durable event_queue_exclusive event_queue_expires event_queue_prefix
    event_queue_ttl event_serializer

    override_backends result_backend_always_retry result_backend_base_sleep_between_retries_ms
    result_backend_max_retries result_backend_max_sleep_between_retries_ms result_backend_thread_safe
    result_backend_transport_options result_cache_max result_chord_expires result_chord_join_timeout
    result_chord_retry_interval result_compression result_exchange result_exchange_type result_expires
    result_extended result_failure_expires result_persistent result_serializer

    security_cert_store security_certificate security_digest security_key security_key_password

    task_allow_error_cb_on_chord_header task_always_eager task_annotations task_compression
    task_create_missing_queues task_eager_propagates task_inherit_parent_priority task_queues
    task_remote_tracebacks task_send_sent_event task_serializer task_store_eager_result

    worker_agent worker_autoscaler worker_cancel_long_running_tasks_on_connection_loss worker_concurrency
    worker_deduplicate_successful_tasks worker_disable_rate_limits worker_enable_prefetch_count_reduction
    worker_enable_remote_control worker_lost_wait worker_max_memory_per_child worker_max_tasks_per_child
    worker_pool worker_pool_putlocks worker_pool_restarts worker_prefetch_multiplier worker_proc_alive_timeout
    worker_redirect_stdouts worker_redirect_stdouts_level worker_send_task_events worker_state_db worker_timer
    worker_timer_precision
"""
HONOURED = frozenset(_AS_THEY_ARE.split())
"""Honoured as Celery documents them; for some, our default differs from Celery's."""

OF_TASKS = {
    "task_acks_late": "acks_late",
    "task_default_priority": "priority",
    "task_default_rate_limit": "rate_limit",
    "task_ignore_result": "ignore_result",
    "task_soft_time_limit": "soft_time_limit",
    "task_store_errors_even_if_ignored": "store_errors_even_if_ignored",
    "task_time_limit": "time_limit",
    "task_track_started": "track_started",
}
"""From Celery's setting to the task option; honoured for every task that does not set the option."""

MERGED = {
    "beat_schedule": "its entries are added to those of `NIGHTSHIFT_SCHEDULE` and to the retention job",
    "broker_pool_limit": (
        "the number of idle connections to keep. A publish never waits for a connection; further connections are "
        "opened and then closed"
    ),
    "broker_transport_options": "they take precedence over Nightshift's",
    "task_routes": "they apply to tasks that set no queue themselves",
}
"""Honoured in part or combined with ours; the text says how."""

_FIXED: dict[str, tuple[Any, str]] = {
    "task_acks_on_failure": (True, FAILED),
    "task_acks_on_failure_or_timeout": (True, FAILED),
    "task_acks_on_timeout": (True, TOO_LONG),
    "task_default_delivery_mode": (2, "the broker writes jobs to disk, so that a restart loses none"),
    "task_protocol": (2, "a job's history travels in headers, which protocol 1 lacks"),
    "task_reject_on_worker_lost": (True, LOST),
    "task_retry_on_worker_lost": (True, LOST),
    "worker_detect_quorum_queues": (True, "job queues on RabbitMQ are quorum queues"),
    "worker_direct": (False, "to give a worker its own queue, use `flask jobs worker --queues NAME`"),
    "worker_disable_prefetch": (
        False,
        "by default, no prefetched job waits in a worker for longer than a tenth of a second",
    ),
    "worker_enable_soft_shutdown_on_idle": (False, "a worker without jobs stops at once; see NIGHTSHIFT_STOP_GRACE"),
    "worker_pool_start_method": ("fork", "child processes share memory with the worker's main process"),
}  # fmt: skip
"""Settings with one allowed value, which applies anyway: the value, and the reason."""

_BROKER = "set NIGHTSHIFT_BROKER_URL instead"
_DEFAULT_QUEUE = "set NIGHTSHIFT_DEFAULT_QUEUE instead"
_DECLARE = "to use another kind of queue, declare it in `task_queues`"
_LOGS = (
    "set NIGHTSHIFT_LOG_FORMAT instead, or connect your own logging setup to `celery.signals.setup_logging`"
)
_MEMORY = "Beat stores its last runs in the database at each tick"
_PUBLISH = "`delay()` returns an id or raises `BrokerUnavailable` within 3 s; the caller decides whether to try again"
REFUSED = {
    "beat_enable_remote_control": "Beat takes no remote commands",
    "beat_max_loop_interval": "Beat wakes when an entry is due, and every 5 s for its heartbeat",
    "beat_remote_control_max_tick_age": "Beat takes no remote commands; `flask jobs health` looks at its last tick",
    "beat_schedule_filename": _MEMORY,
    "beat_scheduler": "Nightshift has its own scheduler; set NIGHTSHIFT_SCHEDULE",
    "beat_sync_every": _MEMORY,
    "broker_failover_strategy": "each connection starts with a node that is not known to be down",
    "broker_host": _BROKER,
    "broker_native_delayed_delivery_queue_type": "delayed jobs wait in quorum queues",
    "broker_password": _BROKER,
    "broker_port": _BROKER,
    "broker_read_url": _BROKER,
    "broker_transport": "set NIGHTSHIFT_BROKER_URL, and on Redis NIGHTSHIFT_REDIS_TRANSPORT, instead",
    "broker_url": _BROKER,
    "broker_user": _BROKER,
    "broker_vhost": _BROKER,
    "broker_write_url": _BROKER,
    "result_backend": "set NIGHTSHIFT_RESULT_BACKEND instead",
    "task_create_missing_queue_exchange_type": _DECLARE,
    "task_create_missing_queue_type": _DECLARE,
    "task_default_exchange": _DEFAULT_QUEUE,
    "task_default_exchange_type": _DECLARE,
    "task_default_queue": _DEFAULT_QUEUE,
    "task_default_queue_type": _DECLARE,
    "task_default_routing_key": _DEFAULT_QUEUE,
    "task_publish_retry": _PUBLISH,
    "task_publish_retry_policy": _PUBLISH,
    "task_queue_max_priority": "quorum queues have no such limit; a job's priority is 0 to 255",
    "task_repr_maxlevels": (
        "arguments are shown with at most 1,024 characters; set `argsrepr=` to show other text for a job"
    ),
    "worker_consumer": "Nightshift has its own consumer",
    "worker_eta_task_limit": "delayed jobs wait in the broker, not in a worker's memory",
    "worker_hijack_root_logger": _LOGS,
    "worker_log_color": "set NO_COLOR or FORCE_COLOR in the environment instead",
    "worker_log_datefmt": _LOGS,
    "worker_log_format": _LOGS,
    "worker_soft_shutdown_timeout": "set NIGHTSHIFT_STOP_GRACE instead",
    "worker_task_log_datefmt": _LOGS,
    "worker_task_log_format": _LOGS,
}
"""Settings that we refuse: what to do instead, or why."""

AT_START = frozenset(
    {"broker_login_method", "broker_pool_limit", "broker_transport_options", "broker_use_ssl"}
)
"""Settings that are read once, in ``init_app``; a later change is refused."""

_NAMESPACES = ("beat_", "broker_", "control_", "event_", "result_", "security_", "task_", "worker_")
_KNOWN = HONOURED | OF_TASKS.keys() | MERGED.keys() | _FIXED.keys() | REFUSED.keys() | DEFAULTS.keys()
_NEAR = 0.85
"""From this similarity on (``difflib``, 0 to 1) a name counts as a misspelling of another."""
_SECRET = ("pass", "secret", "key", "url", "backend")


def checked(where: str, given: Mapping[str, Any], *, late: bool = False) -> dict[str, Any]:
    """``given`` under Celery's current (lower-case) names.

    ``where`` is the place of the settings in an error (``NIGHTSHIFT_CELERY``); ``late``: the app is already set up.
    Raises ``ConfigurationError`` for a setting that is refused or misspelt.
    """
    settings: dict[str, Any] = {}
    for key, value in given.items():
        name = current_name(key) or key
        if name in settings and settings[name] != value:
            raise _refusal(where, key, value, f"{name!r}, which is the same setting, has another value")
        _check(where, key, name, value, late)
        settings[name] = value
    return settings


def _check(where: str, key: str, name: str, value: Any, late: bool) -> None:
    if name in REFUSED and value is not None:
        raise _refusal(where, key, value, REFUSED[name])
    if name in _FIXED and value is not None and value != _FIXED[name][0]:
        wanted, why = _FIXED[name]
        raise _refusal(where, key, value, f"{why} (the value in effect is {wanted!r})")
    if late and name in AT_START:
        raise _refusal(
            where, key, value, f"give it in NIGHTSHIFT_CELERY[{name!r}]: it is read when the app is set up"
        )
    if not is_known(name) and (hint := _misspelt(name)):
        raise _refusal(where, key, value, f"Celery has no such setting; {hint}")


def remedy(name: str) -> str:
    """What to do about the Celery setting ``name``, found in a place that Nightshift does not read."""
    if name in REFUSED:
        return REFUSED[name]
    if name in _FIXED:
        return f"drop it: {_FIXED[name][1]}"
    return f"give it as NIGHTSHIFT_CELERY[{name!r}]"


def current_name(name: str) -> str | None:
    """Celery's current name for the setting ``name``, which may be an old one or begin with ``CELERY_``.

    None if it is not a setting of Celery's.
    """
    candidates = [name, _TO_NEW_KEY.get(name, "")]
    if name.isupper():
        candidates += [name.removeprefix("CELERY_").lower(), name.lower()]
    return next((candidate for candidate in candidates if is_known(candidate)), None)


def is_setting_or_typo(name: str) -> bool:
    """Whether ``name``, found in a settings module, is a setting of Celery's, perhaps an old or a misspelt name."""
    return current_name(name) is not None or bool(_misspelt(name))


def is_known(name: str) -> bool:
    """Whether ``name`` is the current name of a setting of Celery's."""
    return name in _KNOWN or name.startswith(STORES)


def _misspelt(name: str) -> str:
    """A hint for a name that Celery does not know; empty if it may be another library's setting."""
    plain = name.removeprefix("CELERY_").lower()
    near = difflib.get_close_matches(plain, _KNOWN, n=1, cutoff=_NEAR)
    if near:
        return f"did you mean {near[0]!r}?"
    if plain.startswith(_NAMESPACES):
        alike = difflib.get_close_matches(plain, _KNOWN, n=3)
        return "see its list of settings" + (f", which has {', '.join(map(repr, alike))}" if alike else "")
    return ""


def _refusal(where: str, key: str, value: Any, why: str) -> ConfigurationError:
    secret = any(word in key.lower() for word in _SECRET) or (isinstance(value, str) and "://" in value)
    return ConfigurationError(f"{where}[{key!r}]", "***" if secret else value, why)


__all__ = ["MERGED", "OF_TASKS", "checked", "current_name", "is_known", "is_setting_or_typo", "remedy"]
