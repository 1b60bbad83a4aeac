"""Web and worker on servers reached over TLS, over a unix socket, or through Sentinel with failovers."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from typing import Any

import pytest
import redis

from flask_nightshift.brokers.redis.transport.keys import KeySpace
from redis_servers import Group, OnSocket, Secure
from servers import RedisServer, wait_for
from system import System

ONCE = ["begun", "done"]
QUEUE = "celery"


def marker() -> str:
    return uuid.uuid4().hex[:12]


# -- TLS and a unix socket


def test_tls(started: Any, at: Callable[..., System]) -> None:
    server = started(Secure())
    _jobs_of_each_fate(at(f"{server.url}?ssl_ca_certs={server.certificate}"), server)


def test_a_unix_socket(started: Any, at: Callable[..., System]) -> None:
    server = started(OnSocket())
    _jobs_of_each_fate(at(server.url), server)


def _jobs_of_each_fate(system: System, server: RedisServer) -> None:
    """One succeeds and has a result, one is retried, one dies and is archived, one waits its time."""
    worker = system.worker("--concurrency", "2")
    well, again, delayed, dead = (marker() for _ in range(4))
    succeeded = system.enqueue("test.succeed", well)
    retried = system.enqueue("test.flaky", again, 2)
    system.enqueue("test.nap", delayed, 0, countdown=1)
    died = system.enqueue("test.permanent", dead)
    assert system.until_state(succeeded, "succeeded")["result"] == well
    assert system.until_state(retried, "succeeded")["attempts"] == 3
    system.until_state(died, "dead")
    system.until(system.archived, 20, "the dead letter is not archived")
    letters = system.dead()
    assert [(letter["job_id"], letter["reason"]) for letter in letters] == [(died, "permanent")]
    system.until(lambda: system.events(delayed) == ONCE, 20, "the delayed job did not run")
    assert system.events(again) == ["begun"] * 3 + ["done"]
    with server.client() as client:
        assert client.zcard("nightshift:consumers") == 1
        assert worker.stop() == 0
        assert client.llen(QUEUE) == client.hlen("nightshift:leased") == 0
        assert not client.exists("nightshift:consumers"), "the lease was not released"


# -- Sentinel


@pytest.fixture
def group(started: Any) -> Group:
    return Group(started)


def test_the_master_is_killed(group: Group, at: Callable[..., System]) -> None:
    fates = _moves(at, group, group.master.kill)
    assert fates == [ONCE] * 4


def test_the_master_answers_readonly(group: Group, at: Callable[..., System]) -> None:
    fates = _moves(at, group, group.switch_by_hand)
    assert fates == [ONCE] * 4
    with pytest.raises(redis.ReadOnlyError):
        group.master.client().set("x", 1)


@pytest.mark.parametrize("refuses_alone", [False, True])
def test_sentinel_switches_while_the_master_lives(
    group: Group, at: Callable[..., System], refuses_alone: bool
) -> None:
    """For about ten seconds the old master accepts writes that will be lost, unless it requires a replica."""

    def fail_over() -> None:
        group.master.client().config_set("min-replicas-to-write", int(refuses_alone))
        group.sentinel.client().execute_command("SENTINEL FAILOVER", "shop")
        if not refuses_alone:
            wait_for(lambda: group.master.role == "slave", 30, "the old master is not a replica")

    fates = _moves(at, group, fail_over)
    if refuses_alone:
        assert fates == [ONCE] * 4
    else:
        assert fates[3] == ONCE
    wait_for(lambda: group.master.role == "slave", 30, "the old master is not a replica")


def _moves(at: Callable[..., System], group: Group, fail_over: Callable[[], Any]) -> list[list[str]]:
    """Check a running job, a waiting one, a delayed one, and one that is enqueued after the move.

    Web and worker keep running, and nothing is left on the new master.
    """
    options = json.dumps({"broker_transport_options": {"master_name": "shop"}})
    system = at(group.sentinel.url, NIGHTSHIFT_CELERY=options)
    worker = system.worker("--concurrency", "1")
    names = running, waiting, delayed, after = [marker() for _ in range(4)]
    system.enqueue("test.nap", running, 4)
    system.until(lambda: system.events(running) == ["begun"], 20, "it does not begin")
    system.enqueue("test.nap", waiting, 0)
    system.enqueue("test.nap", delayed, 0, countdown=2)
    group.replicated()
    fail_over()
    group.switched()
    _enqueued(system, after)
    for who in names:
        system.until(lambda who=who: "done" in system.events(who), 60, f"lost:\n{worker.log[-3000:]}")
    with group.replica.client() as client:
        left = QUEUE, KeySpace().delayed(QUEUE), KeySpace().leased
        system.until(lambda: not client.exists(*left), 30, "something is left")
    assert worker.popen.poll() is None, "it is the same process"
    return [system.events(who) for who in names]


def _enqueued(system: System, who: str) -> None:
    """The same web process finds the new master too."""
    assert system.http is not None
    http, job = system.http, {"args": [who, 0]}
    system.until(lambda: http.post("/enqueue/test.nap", json=job).status_code == 202, 30, "not enqueued")
