"""Servers for every kind of test; see ``servers.py``.

A server starts with the first test that uses it and runs until the end of the test run. If a test kills or freezes it,
it is started again before the next test.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Generator, Iterator

import pytest
from celery import _state

from chaos.faults import IN_EACH_CHANGE
from redis_cluster import RedisCluster, TlsCluster, ValkeyCluster
from redis_servers import Managed
from servers import Postgres, RabbitMQ, RedisServer, Server, Valkey

# with it, each process that a test starts would compile its modules anew, and each process of pytest all test modules
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
# a shell's background job ignores Ctrl-C and SIGQUIT, and so would the processes that tests start and interrupt
for _signum, _default in ((signal.SIGINT, signal.default_int_handler), (signal.SIGQUIT, signal.SIG_DFL)):
    if signal.getsignal(_signum) is signal.SIG_IGN:
        signal.signal(_signum, _default)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Remove lone surrogates from a test's output, because a report with one cannot be sent and would end the run."""
    report = yield
    report.sections = [(name, _sendable(text)) for name, text in report.sections]
    if report.longrepr is not None and _sendable(text := str(report.longrepr)) != text:
        report.longrepr = _sendable(text)
    return report


def _sendable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()


@pytest.fixture(scope="session")
def valkey() -> Iterator[Valkey]:
    """Valkey on TCP: ``url``, ``fresh_url()``, ``stop()``, ``start()``, ``kill()``, ``freeze()`` and more."""
    server = Valkey()
    server.start()
    yield server
    server.close()


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """Debian's Redis, with the same methods."""
    server = RedisServer()
    server.start()
    yield server
    server.close()


@pytest.fixture(scope="session")
def managed_redis() -> Iterator[Managed]:
    """Debian's Redis as the user of docs/how-to/managed-redis.md."""
    server = Managed()
    server.start()
    yield server
    server.close()


@pytest.fixture(scope="session")
def redis_cluster() -> Iterator[RedisCluster]:
    """Redis Cluster: three masters and three replicas, with the same methods."""
    cluster = RedisCluster()
    cluster.start()
    yield cluster
    cluster.close()


@pytest.fixture(scope="session")
def valkey_cluster() -> Iterator[ValkeyCluster]:
    """The same of Valkey."""
    cluster = ValkeyCluster()
    cluster.start()
    yield cluster
    cluster.close()


@pytest.fixture(scope="session")
def tls_cluster() -> Iterator[TlsCluster]:
    """The same of Redis, over TLS."""
    cluster = TlsCluster()
    cluster.start()
    yield cluster
    cluster.close()


@pytest.fixture(scope="session")
def rabbitmq() -> Iterator[RabbitMQ]:
    """RabbitMQ, with the same methods; ``.fresh_url()`` is a new vhost."""
    server = RabbitMQ()
    server.start()
    yield server
    server.close()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """PostgreSQL, with the same methods; ``.fresh_url()`` is a new database."""
    server = Postgres()
    server.start()
    yield server
    server.close()


TWINS = {
    "redis_server": "valkey",
    "[embedded": "[redis",
    "[cluster": "[redis",
    "[managed": "[redis",
    "valkey-postgres": "valkey-sqlite",
    "rabbitmq-sqlite": "rabbitmq-postgres",
}
"""What a name of a test that ``QUICK=1`` leaves out contains, and what that of its twin contains instead."""
ON_VALKEY = (("rabbitmq-postgres", "valkey-sqlite"), ("rabbitmq", "valkey"), ("rabbitmq", "redis_server"))
"""The same, for the files in ``ONE_BROKER``."""
LEFT_OUT = (
    "browser/test_shop_page.py", "chaos/test_command.py", "integration/test_look_ahead.py",
    "integration/test_pages_with_servers_away.py", "integration/test_shop_tasks.py", "integration/test_ticks.py",
    "integration/test_transport_celery.py", "integration/test_transport_gevent.py",
    "integration/test_worker_imports.py", "integration/test_worker_upgrade.py",
    "browser/test_docs_site.py", "idioms/test_move.py", "idioms/test_web_servers.py",
    "integration/test_alerts_fire.py", "integration/test_app_migrations.py", "integration/test_benchmarks.py",
    "integration/test_bounds.py", "integration/test_celery_worker.py", "integration/test_early_acks.py",
    "integration/test_frozen_worker.py", "integration/test_innocents.py", "integration/test_many_apps.py",
    "integration/test_names_and_queues.py", "integration/test_poor_systems.py", "integration/test_shop_strangers.py",
    "integration/test_worker_servers.py", "chaos/test_redis.py", "integration/test_prune_much.py",
    "integration/test_shop_http.py", "integration/test_transport_server_states.py",
    "integration/test_transport_upgrade.py",
)  # fmt: skip
"""Files that ``QUICK=1`` leaves out, because CI has 30 minutes: their tests are long, and others meet the same code."""
ONE_BROKER = (
    "browser/", "idioms/", "integration/test_after_the_body.py", "integration/test_async_tasks.py",
    "integration/test_attempts_told_by_jobs.py", "integration/test_both_ways.py", "integration/test_bulk",
    "integration/test_copies_in_workers.py", "integration/test_dead_letters.py", "integration/test_durable.py",
    "integration/test_endings.py", "integration/test_once", "integration/test_otel.py", "integration/test_http_api",
    "integration/test_system.py", "integration/test_task_classes.py", "integration/test_why_waiting.py",
    "integration/test_pause.py", "integration/test_unique_jobs.py", "integration/test_replay.py",
    "integration/test_settlement_faults.py", "integration/test_list.py", "chaos/test_outbox.py",
    "integration/test_audit_command.py", "integration/test_changed_arguments.py", "integration/test_cli_hostile.py",
    "integration/test_history_modes.py",
    "integration/test_pages_of_queues.py", "integration/test_pause_command.py", "integration/test_progress.py",
    "integration/test_redact.py", "test_jobs_run_retry_and_die_without_the_database",
    "test_a_worker_that_is_stuck_or_gone_turns_unhealthy", "test_the_schedule_fires_and_survives",
    "test_metrics_are_the_clusters_and_survive_restarts", "integration/test_cancel_pools.py",
    "integration/test_canvas.py", "integration/test_mcp.py", "integration/test_monitoring.py",
    "integration/test_retry_options.py", "integration/test_scaling.py", "integration/test_settings_of_celery.py",
    "test_a_job_that_crashes_the_event_loop_is_finally_buried", "test_each_letter_is_told_once",
)  # fmt: skip
"""Files and tests that ``QUICK=1`` runs on Valkey or Redis alone, if they have a twin there.

Little of their code knows brokers, and the tests of contracts, settlement, leases and faults run on each.
"""
KEPT = [
    f"test_broker.py::{name}[cluster"
    for name in (
        "test_jobs_arrive_in_the_order_in_which_they_were_published",
        "test_a_delayed_job_arrives_at_its_time_and_not_before",
        "test_replace_writes_the_next_state_and_releases_the_message",
        "test_replace_with_a_delay_is_a_retry",
        "test_a_buried_job_is_taken_until_it_is_done",
        "test_purge_deletes_the_ready_jobs_and_counts_them",
        "test_the_broker_can_be_used_from_many_threads",
    )
]
"""Tests that stay although they have a twin: the portion of the contract that runs on a Redis Cluster."""


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """``QUICK=1`` leaves out tests whose twins run the code on a like server, or on each half of a crossed pair."""
    if not os.environ.get("QUICK"):
        return
    every = {item.nodeid for item in items}

    def has_twin(item: pytest.Item) -> bool:
        if item.get_closest_marker("thorough") or item.nodeid.split("::")[0].endswith(LEFT_OUT):
            return True
        if "::test_no_job_is_lost[" in item.nodeid:
            return item.nodeid.partition("[")[2].rstrip("]") not in {fault.value for fault in IN_EACH_CHANGE}
        if any(name in item.nodeid for name in KEPT):
            return False
        twins = (*TWINS.items(), *(ON_VALKEY if any(part in item.nodeid for part in ONE_BROKER) else ()))
        names = {item.nodeid.replace(*each) for each in twins} - {item.nodeid}
        return not names.isdisjoint(every)

    twins = {item for item in items if has_twin(item)}
    config.hook.pytest_deselected(items=[*twins])
    items[:] = [item for item in items if item not in twins]


@pytest.fixture(autouse=True, scope="module")
def _nodes_stay_small() -> None:
    """A module begins on a RabbitMQ node with few vhosts; its own fixtures may keep theirs."""
    for server in list(Server.running):
        if isinstance(server, RabbitMQ):
            server.renew()


@pytest.fixture(autouse=True)
def _servers_are_back() -> Iterator[None]:
    yield
    for server in list(Server.running):
        server.ensure()


@pytest.fixture(autouse=True)
def _shared_tasks_end() -> Iterator[None]:
    """Remove the ``@shared_task``s of a test, which otherwise appear in all later apps of the process."""
    before = set(_state._on_app_finalizers)
    yield
    _state._on_app_finalizers.intersection_update(before)


_LEVEL = logging.getLogger().level


@pytest.fixture(autouse=True)
def _logging_stays() -> Iterator[None]:
    """Restore the root logger's level, which a worker in this process changes; one of a wider fixture, too."""
    root = logging.getLogger()
    root.setLevel(_LEVEL)
    yield
    root.setLevel(_LEVEL)
    for name, logger in list(root.manager.loggerDict.items()):
        if name.startswith("flask_nightshift") and isinstance(logger, logging.Logger):
            logger.disabled = False
