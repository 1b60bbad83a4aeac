"""The user of ``docs/how-to/managed-redis.md`` may do what Nightshift does, and little else."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from redis.exceptions import NoPermissionError

from broker_harness import a_job, make_harness
from flask_nightshift.domain.job import utcnow
from flask_nightshift.message.burial import DEAD_QUEUE
from places import ROOT
from servers import RedisServer
from system import System, running

pytestmark = [pytest.mark.redis]

PAGE = (ROOT / "docs/how-to/managed-redis.md").read_text()
LINES = re.findall(r"^(ACL SETUSER nightshift .*)$", PAGE, re.MULTILINE)
EXPECTED = {"config|get"}
"""What is asked and may be refused."""
SELDOM = {
    "discard", "watch", "unwatch", "select", "client|setname", "client|setinfo",  # redis-py, by URL and version
    "brpop", "punsubscribe", "zrevrangebyscore",  # kombu: remote control, what its own transport left
    "hscan", "mget", "pttl",  # where a job is, the outbox, locks
    "hlen", "lpop", "setex", "zcount", "zremrangebyscore",  # chords and results, locks that were replaced
}  # fmt: skip
NEVER = {"keys", "flushdb", "flushall", "monitor", "debug", "shutdown", "config", "replicaof", "acl"}


class Managed(RedisServer):
    """A Redis with that user."""

    @property
    def limited_url(self) -> str:
        return f"redis://nightshift:s3cret@127.0.0.1:{self.port}/0"

    def refused(self) -> set[str]:
        with self.client() as client:
            return {f"{entry['reason']} {entry['object']}" for entry in client.acl_log()}


@pytest.fixture(scope="module")
def managed() -> Iterator[Managed]:
    server = Managed()
    server.start()
    with server.client() as client:
        knows_setinfo = client.info("server")["redis_version"] >= "7.2"
        for line in LINES if knows_setinfo else LINES[:-1]:
            client.execute_command(*line.split())
        client.execute_command("ACL", "SETUSER", "nightshift", "~other*")  # the app's queue
        client.execute_command("ACL", "LOG", "RESET")
        client.config_resetstat()
    yield server
    server.close()


@pytest.fixture
def system(managed: Managed, tmp_path: Path) -> Iterator[System]:
    with contextlib.ExitStack() as stack:
        yield stack.enter_context(running(tmp_path, managed.limited_url, NIGHTSHIFT_QUEUES="celery,mail"))


CHORD = """
import jobsapp
from celery import chord, current_app
app = jobsapp.create_app()
with app.app_context():
    task = app.extensions["celery"].tasks["test.succeed"]
    result = chord([task.si(f"part-{n}") for n in range(3)])(task.si("end"))
    print(result.get(timeout=30))
"""


def test_nothing_is_refused_that_is_needed(managed: Managed, system: System) -> None:
    """Web, a worker that is killed, its successor, results, a chord, remote control and the command line."""
    system.web()
    worker = system.worker("--concurrency", "1")
    for name, args in (("succeed", []), ("flaky", [1]), ("permanent", [])):
        system.enqueue(f"test.{name}", name, *args)
    system.until(lambda: system.json("dead", "list"), 30, "no dead letter")
    assert system.python(CHORD).strip()
    system.enqueue("test.nap", "held", 60)
    system.until(lambda: "begun" in system.events("held"), 20, "it does not run")
    worker.kill_tree()
    system.worker("--concurrency", "1", name="second")
    system.until(lambda: system.events("held").count("begun") == 2, 30, "it does not run again")

    system.enqueue("test.succeed", "later", countdown=600)
    for words in (
        ["stats"], ["workers"], ["delayed", "list"], ["pause", "mail"], ["resume", "mail"], ["locks"],
        ["dead", "replay", "--all", "--yes"], ["purge", "mail", "--yes"], ["health"], ["doctor"],
    ):  # fmt: skip
        done = system.cli(*words, ok=False)
        assert "permission" not in (done.stdout + done.stderr).lower().replace("no permission", "")
        assert "Traceback" not in done.stderr, (words, done.stderr)
    assert managed.refused() - {f"command {name}" for name in EXPECTED} == set()


def test_the_contracts_calls_are_allowed(managed: Managed) -> None:
    with make_harness("redis", managed, NIGHTSHIFT_BROKER_URL=managed.limited_url) as harness:
        queue = "mail-of-the-contract"
        for due in (None, utcnow() + timedelta(hours=1)):
            harness.broker.publish(a_job(), queue, due=due)
        job = a_job()
        harness.broker.publish(job, queue, due=utcnow() + timedelta(hours=1))
        delayed = harness.broker.delayed_jobs()
        assert delayed is not None
        assert delayed.find(queue, job.headers["id"])
        assert delayed.run_now(queue, job.headers["id"])
        assert harness.broker.place(queue, job.headers["id"], None).where.name == "READY"
        with harness.consumer(queue) as receive:
            receive().ack()
            harness.broker.give_back(receive())
        assert harness.broker.purge(queue)
        harness.broker.publish(a_job(), DEAD_QUEUE)
        for letter in harness.broker.take_dead_letters():
            letter.done()
    assert managed.refused() - {f"command {name}" for name in EXPECTED} == set()


def test_the_user_may_do_nothing_else(managed: Managed) -> None:
    """Each allowed command was used by the tests above, or is listed with those that are used seldom."""
    allowed = {word[1:] for line in LINES for word in line.split() if word.startswith("+")}
    with managed.client() as client:
        used = {name.split("_", 1)[1] for name in client.info("commandstats")}
    assert " ".join(sorted(allowed - used - SELDOM)) == ""
    assert not {name.partition("|")[0] for name in allowed} & NEVER
    with managed.client(managed.limited_url) as client, pytest.raises(NoPermissionError):
        client.get("another:app")
