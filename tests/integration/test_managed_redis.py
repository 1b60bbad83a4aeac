"""The user of ``docs/how-to/managed-redis.md`` may do what Nightshift does, and little else."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from redis.exceptions import NoPermissionError

from broker_harness import a_job, make_harness
from flask_nightshift.brokers.redis.permissions import needed
from flask_nightshift.domain.job import utcnow
from flask_nightshift.errors import BrokerUnavailable
from flask_nightshift.message.burial import DEAD_QUEUE
from opsapp import opened
from redis_servers import ACL_LINES, Managed
from servers import RedisServer
from system import System, running

pytestmark = [pytest.mark.redis]

SELDOM = {
    "watch", "unwatch", "select", "client|setname", "client|setinfo",  # redis-py, by URL and version
    "brpop", "punsubscribe",  # kombu: remote control, the end of a consumer
    "hscan", "mget", "pttl",  # where a job is, the outbox, locks
    "incr", "setex", "zcount", "zremrangebyscore",  # add_to_chord, results, locks that were replaced
}  # fmt: skip
NEVER = {"keys", "flushdb", "flushall", "monitor", "debug", "shutdown", "config", "replicaof", "acl"}


@pytest.fixture(scope="module")
def managed(managed_redis: Managed) -> Managed:
    managed_redis.fresh_url()
    managed_redis.forget()
    return managed_redis


CALLS = """
import jobsapp
from celery import chord
from sqlalchemy.orm import Session
from flask_nightshift.services import current
app = jobsapp.create_app()
with app.app_context():
    task = app.extensions["celery"].tasks["test.succeed"]
    result = chord([task.si(f"part-{n}") for n in range(3)])(task.si("end"))
    print(result.get(timeout=30))
    task.enqueue_many([(f"of-many-{n}",) for n in range(5)])
    for _ in range(2):
        task.apply_async(("once",), unique="until_done", unique_key="once", countdown=1)
    with Session(current().store.engine) as session:
        task.apply_async_on_commit(("boxed",), session=session)
        session.commit()
"""


@pytest.fixture(scope="module")
def lived(managed: Managed, tmp_path_factory: pytest.TempPathFactory) -> Managed:
    """The server after a system and the contract's calls have used it; each must have had its way."""
    settings = {"NIGHTSHIFT_QUEUES": "celery,mail", "WITH_SCHEDULE": "1"}
    with running(tmp_path_factory.mktemp("managed"), managed.url, **settings) as system:
        _run_a_system(system)
    _call_as_the_contract(managed)
    return managed


def _run_a_system(system: System) -> None:
    """Web, a worker with Beat that is killed, its successor, results, outbox, remote control, the command line."""
    system.web()
    worker = system.worker("--concurrency", "1")
    for name, args in (("succeed", []), ("flaky", [1]), ("permanent", [])):
        system.enqueue(f"test.{name}", name, *args)
    system.until(lambda: system.json("dead", "list"), 30, "no dead letter")
    assert system.python(CALLS).strip()
    for marker in ("of-many-4", "once", "boxed"):
        system.until(lambda marker=marker: "done" in system.events(marker), 20, f"{marker} has not run")
    assert system.events("once").count("begun") == 1
    system.enqueue("test.nap", "held", 60)
    system.until(lambda: "begun" in system.events("held"), 20, "it does not run")
    worker.kill_tree()
    system.worker("--beat", "--concurrency", "1", name="second")
    system.until(lambda: system.events("held").count("begun") == 2, 30, "it does not run again")

    system.enqueue("test.succeed", "later", countdown=600)
    told = system.python(COMMANDS)
    assert told.count("exit") == 10, told
    assert "may do all that is needed" in told
    assert "Error" not in told


COMMANDS = """
import jobsapp
app = jobsapp.create_app()
for words in (
    "stats", "workers", "delayed list", "pause mail", "resume mail", "locks", "dead replay --all --yes --bulk",
    "purge mail --yes", "health", "doctor",
):
    done = app.test_cli_runner().invoke(args=["jobs", *words.split()])
    print(words, "exit", done.exit_code, done.output)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
"""


def _call_as_the_contract(managed: Managed) -> None:
    with make_harness("redis", managed) as harness:
        queue = "mail-of-the-contract"
        for due in (None, utcnow() + timedelta(hours=1)):
            harness.broker.publish(a_job(), queue, due=due)
        job = a_job()
        harness.broker.publish(job, queue, due=utcnow() + timedelta(hours=1))
        delayed = harness.broker.delayed_jobs()
        assert delayed is not None
        assert delayed.find(queue, {job.headers["id"]: None})
        assert delayed.run_now(queue, {job.headers["id"]: utcnow() + timedelta(hours=1)})
        assert harness.broker.place(queue, job.headers["id"], None).where.name == "READY"
        with harness.consumer(queue) as receive:
            receive().ack()
            harness.broker.give_back(receive())
        assert harness.broker.purge(queue)
        harness.broker.publish(a_job(), DEAD_QUEUE)
        for letter in harness.broker.take_dead_letters():
            letter.done()


def test_nothing_is_refused_that_is_needed(lived: Managed) -> None:
    assert lived.refused() == set()


def test_the_user_may_do_nothing_else(lived: Managed) -> None:
    """Each allowed command was used, or is listed with those that are used seldom."""
    allowed = {word[1:] for line in ACL_LINES for word in line.split() if word.startswith("+")}
    with lived.client() as client:
        used = {name.split("_", 1)[1] for name in client.info("commandstats")}
    assert " ".join(sorted(allowed - used - SELDOM)) == ""
    assert not {name.partition("|")[0] for name in allowed} & NEVER
    with lived.client(lived.url) as client, pytest.raises(NoPermissionError):
        client.get("foreign:app")


def test_what_is_published_is_what_the_doctor_tries() -> None:
    published = {word for line in ACL_LINES for word in line.split()[3:] if word[0] in "+~&"}
    doctors = needed({}, ["celery", "mail"], database=0, results="").rules()
    by_the_way = {"+client|setname", "+client|setinfo"}  # not needed, and the doctor does not mind
    assert published - by_the_way == doctors


def limited(server: RedisServer, *rules: str) -> str:
    """The URL of a user that may do everything but what ``rules`` take away."""
    with server.client() as client:
        client.execute_command("ACL", "SETUSER", "shop", "reset", "on", ">s3cret", *rules)
    return server.fresh_url().replace(f":{server.password}@", "shop:s3cret@")


@pytest.mark.parametrize("server", ["redis_server", "valkey"])
@pytest.mark.parametrize(
    ("rules", "missing"),
    [
        (["~*", "&*", "+@all", "-zadd", "-exec", "-script|load"], "+exec +script|load +zadd"),
        (["~*", "&*", "+@all", "-multi"], "+multi"),
        (["~nightshift*", "~celery*", "&*", "+@all"], "~_kombu.* ~unacked* ~*.celery.pidbox* ~mail*"),
        (["~*", "&/0.*", "+@all"], "&/0.celery.pidbox &/0.celeryev/* &celery-task-meta-*"),
    ],
)
def test_the_doctor_names_what_the_user_lacks(
    server: str, rules: list[str], missing: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    with opened(tmp_path, limited(request.getfixturevalue(server), *rules)) as ops:
        (found,) = [row for row in found_by_the_doctor(ops) if row["check"] == "permissions"]
        assert found["level"] == "error"
        assert f"ACL SETUSER shop {missing} (docs/how-to/managed-redis.md" in found["remedy"]


def test_the_doctor_tries_without_doing(valkey: RedisServer, tmp_path: Path) -> None:
    """It leaves no key, and what it tries does not run."""
    url = limited(valkey, "~*", "&*", "+@all", "-client|list")
    with opened(tmp_path, url) as ops:
        with valkey.client() as client:
            client.config_resetstat()
        found = [row for row in found_by_the_doctor(ops) if row["check"] == "permissions"]
        assert [row["level"] for row in found] == ["info", "ok"]
        assert "after 15 s instead of about 3 s" in found[0]["message"]
        with valkey.client() as client:
            assert client.keys("*") == []
            ran = {
                name
                for name, stats in client.info("commandstats").items()
                if stats["calls"] > stats["rejected_calls"]
            }
        assert ran.isdisjoint({"cmdstat_zadd", "cmdstat_blpop", "cmdstat_del", "cmdstat_psubscribe"})


def found_by_the_doctor(ops: Any) -> list[dict[str, str]]:
    return list(json.loads(ops.run("doctor", "--json").stdout))


@pytest.mark.thorough
def test_the_rules_of_another_database_with_a_prefix(redis_server: RedisServer, tmp_path: Path) -> None:
    options = {"global_keyprefix": "shop:"}
    url = limited(redis_server, *needed(options, [], database=3, results="").rules()).replace("/0", "/3")
    settings = {"NIGHTSHIFT_CELERY": json.dumps({"broker_transport_options": options})}
    with running(tmp_path, url, **settings) as system:
        with redis_server.client() as client:
            client.execute_command("ACL", "LOG", "RESET")
        system.web()
        system.worker("--beat", "--concurrency", "1")
        assert system.python(CALLS).strip()
        doctor = {row["check"]: row for row in json.loads(system.cli("doctor", "--json", ok=False).stdout)}
        assert doctor["permissions"]["level"] == "ok", doctor
        with redis_server.client() as client:
            refused = {entry["object"] for entry in client.acl_log()}
        assert refused - {"config|get", "client|setinfo"} == set()


def test_a_refused_command_is_named_to_who_enqueues(valkey: RedisServer) -> None:
    url = limited(valkey, "~*", "&*", "+@all", "-evalsha")
    with (
        make_harness("redis", valkey, NIGHTSHIFT_BROKER_URL=url) as harness,
        pytest.raises(BrokerUnavailable, match=r"run EVALSHA \(\+evalsha .*docs/how-to/managed-redis.md"),
    ):
        harness.broker.publish(a_job(), harness.queue)


@pytest.mark.parametrize("server", ["redis_server", "valkey"])
@pytest.mark.parametrize(("lacks", "named"), [("-zadd", "script|ZADD"), ("~other*", "key")])
def test_a_script_that_may_not_go_on_says_so(
    server: str, lacks: str, named: str, request: pytest.FixtureRequest
) -> None:
    rules = ["~*", "&*", "+@all", lacks] if lacks[0] == "-" else [lacks, "&*", "+@all"]
    started = request.getfixturevalue(server)
    with (
        make_harness("redis", started, NIGHTSHIFT_BROKER_URL=limited(started, *rules)) as harness,
        pytest.raises(BrokerUnavailable, match=rf"({named}).*docs/how-to/managed-redis.md"),
    ):
        harness.broker.publish(a_job(), harness.queue, due=utcnow() + timedelta(hours=1))


def test_a_worker_that_may_not_go_on_says_so(valkey: RedisServer, tmp_path: Path) -> None:
    with running(tmp_path, limited(valkey, "~*", "&*", "+@all", "-psubscribe")) as system:
        worker = system.worker("--concurrency", "1", wait=False)
        assert worker.popen.wait(30) == 1
        (line,) = worker.lines("worker.refused")
        assert "run PSUBSCRIBE (+psubscribe" in line["message"]
        assert "docs/how-to/managed-redis.md" in line["message"]
