"""Spans and metrics of jobs, exported by real processes: web, worker (in each pool), Beat, relay and replay."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from servers import Server
from system import System, running


class Told:
    """What all processes have written to the file of spans."""

    def __init__(self, path: Path) -> None:
        self.lines = [json.loads(line) for line in path.read_text().splitlines()]
        self.spans = [line for line in self.lines if "span" in line]

    def of(self, job_id: str, operation: str) -> list[dict[str, Any]]:
        """The spans of one job's message."""
        wanted = {"messaging.message.id": job_id, "messaging.operation.name": operation}
        found = [span for span in self.spans if wanted.items() <= span["attributes"].items()]
        return sorted(found, key=lambda span: int(span["start"]))

    def one(self, job_id: str, operation: str) -> dict[str, Any]:
        (span,) = self.of(job_id, operation)
        return span

    def named(self, name: str) -> dict[str, Any]:
        (span,) = [span for span in self.spans if span["span"] == name]
        return span

    def metrics(self, name: str, **attributes: str) -> list[dict[str, Any]]:
        """The last value of each process and set of attributes, because values are cumulative."""
        last = {
            (line["pid"], json.dumps(line["attributes"], sort_keys=True)): line
            for line in self.lines
            if line.get("metric") == name and attributes.items() <= line["attributes"].items()
        }
        return list(last.values())


class Traced:
    """A system whose processes report; ``told`` once all have ended."""

    def __init__(self, system: System) -> None:
        self.system = system

    def enqueue(self, *scenarios: str) -> dict[str, list[str]]:
        said = self.system.python(f"import otelapp, json; print(json.dumps(otelapp.main({list(scenarios)})))")
        made: dict[str, list[str]] = json.loads(said.splitlines()[-1])
        return made

    def until_done(self, *markers: str, seconds: float = 60) -> None:
        ledger = self.system.ledger
        self.system.until(
            lambda: set(markers) <= set(ledger.read_text().splitlines()), seconds, f"{markers} are not done"
        )

    def told(self) -> Told:
        for process in self.system.processes:
            process.stop()
        return Told(Path(self.system.env["SPANS"]))


@contextmanager
def traced(folder: Path, url: str, **settings: str) -> Iterator[Traced]:
    spans = folder / "spans"
    spans.touch()
    with running(folder, url, FLASK_APP="otelapp", SPANS=str(spans), **settings) as system:
        yield Traced(system)


@pytest.fixture(params=["valkey", pytest.param("rabbitmq", marks=pytest.mark.rabbitmq)])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., Any]:
    server: Server = request.getfixturevalue(request.param)

    def make(**settings: str) -> Any:
        return traced(tmp_path, server.fresh_url(), **settings)

    return make


def test_each_way_of_a_job_is_traced(place: Callable[..., Any]) -> None:
    with place() as traced:
        traced.system.worker("--pool", "prefork", "--concurrency", "2", ROLE="worker")
        ids = traced.enqueue("killed")  # first, because what its process has not exported is lost with it
        traced.system.until(lambda: len(traced.system.archived()) == 1, 60, "no dead letter")
        ids |= traced.enqueue(
            "plain", "flaky", "fails", "many", "celerys", "chain", "chord", "within", "on_commit", "relayed"
        )
        traced.until_done(
            "plain", "flaky at last", "fails", "celerys", "second", "together", "within 4711",
            "within inner", "committed", "relayed", "errback of one", "errback of another",
        )  # fmt: skip
        traced.system.until(lambda: len(traced.system.archived()) == 2, 30, "no dead letters")
        (traced.system.folder / "ledger.repaired").touch()
        traced.system.cli("dead", "replay", "--task", "fails", "--yes")
        traced.system.until(lambda: traced.system.ledger.read_text().count("fails") == 2, 30, "not replayed")
        told = traced.told()

    system = "rabbitmq" if traced.system.env["NIGHTSHIFT_BROKER_URL"].startswith("amqp") else "redis"
    (plain,) = ids["plain"]
    send, process = told.one(plain, "send"), told.one(plain, "process")
    assert send["span"] == "send celery"
    assert send["kind"] == "PRODUCER"
    assert send["parent"] == told.named("request plain")["id"]
    assert process["span"] == "process celery"
    assert process["kind"] == "CONSUMER"
    assert process["parent"] == send["id"]
    assert process["links"] == [send["id"]]
    assert process["status"] == "UNSET"
    shared = {
        "messaging.system": system,
        "messaging.destination.name": "celery",
        "server.address": "127.0.0.1",
        "nightshift.task": "add",
    }
    assert shared.items() <= send["attributes"].items()
    if system == "rabbitmq":
        shared["messaging.rabbitmq.destination.routing_key"] = "celery"
    else:
        assert "messaging.rabbitmq.destination.routing_key" not in process["attributes"]
    said = {"messaging.client.id": "worker@test", "nightshift.attempt": 1, "nightshift.outcome": "succeeded"}
    assert (shared | said).items() <= process["attributes"].items()

    # each attempt has a span of its own, with one parent
    (flaky,) = ids["flaky"]
    attempts = told.of(flaky, "process")
    assert [span["attributes"]["nightshift.attempt"] for span in attempts] == [1, 2, 3]
    assert [span["attributes"]["nightshift.outcome"] for span in attempts] == [
        "retried",
        "retried",
        "succeeded",
    ]
    assert {span["parent"] for span in attempts} == {told.one(flaky, "send")["id"]}
    assert [span["status"] for span in attempts] == ["ERROR", "ERROR", "UNSET"]
    assert attempts[0]["attributes"]["error.type"] == "ConnectionError"
    (event,) = attempts[0]["events"]
    assert event["exception.message"] == "the partner of flaky is down"
    assert "Traceback" in event["exception.stacktrace"]

    # a replay continues the trace, and its send links to the span that created the message
    (fails,) = ids["fails"]
    first, again = told.of(fails, "send")
    assert (again["kind"], again["links"]) == ("CLIENT", [first["id"]])
    assert [span["attributes"]["nightshift.outcome"] for span in told.of(fails, "process")] == [
        "dead",
        "succeeded",
    ]
    assert {span["parent"] for span in told.of(fails, "process")} == {first["id"]}

    # a child that was killed told nothing, so the worker's main process does
    lost = told.one(ids["killed"][0], "process")
    assert lost["attributes"]["nightshift.outcome"] == "lost"
    assert lost["attributes"]["error.type"].endswith("WorkerLostError")
    assert lost["parent"] == told.one(ids["killed"][0], "send")["id"]

    # an errback is sent within the attempt that failed; beside it, if that was killed
    for failed, parent in (
        (fails, told.of(fails, "process")[0]),
        (ids["killed"][0], told.one(ids["killed"][0], "send")),
    ):
        (errback,) = [
            span
            for span in told.spans
            if span["attributes"].get("messaging.message.conversation_id") == failed
            and span["attributes"]["messaging.operation.name"] == "send"
        ]
        assert (errback["parent"], errback["trace"]) == (parent["id"], parent["trace"])

    # a batch: a span for each message, and one for the publish, which links to them
    creates = [told.one(each, "create") for each in ids["many"]]
    (batch,) = [span for span in told.spans if span["attributes"].get("messaging.batch.message_count") == 3]
    assert (batch["span"], batch["kind"]) == ("send celery", "CLIENT")
    assert batch["links"] == [span["id"] for span in creates]
    for each, create in zip(ids["many"], creates, strict=True):
        assert told.one(each, "process")["parent"] == create["id"]

    (celerys,) = ids["celerys"]
    assert told.one(celerys, "process")["parent"] == told.one(celerys, "send")["id"]
    assert told.one(celerys, "send")["parent"] == told.named("request celerys")["id"]

    # the next job of a chain is enqueued within the one before
    first_id, second_id = ids["chain"]
    assert told.one(second_id, "send")["parent"] == told.one(first_id, "process")["id"]
    assert told.one(second_id, "process")["parent"] == told.one(second_id, "send")["id"]
    body = told.one(ids["chord"][0], "process")
    assert body["trace"] == told.named("request chord")["trace"]
    assert body["parent"] == told.one(ids["chord"][0], "send")["id"]

    # what a body does lies within its span, also on the short way
    within = told.one(ids["within"][0], "process")
    (inner,) = [
        span
        for span in told.spans
        if span["attributes"].get("messaging.operation.name") == "send" and span["parent"] == within["id"]
    ]
    assert inner["trace"] == within["trace"] == told.named("request within")["trace"]

    # jobs of a transaction carry the context of the call, whoever publishes them, and only what is sent has a send span
    committed, rolled_back = ids["on_commit"]
    assert told.one(committed, "create")["parent"] == told.named("request on_commit")["id"]
    assert told.one(committed, "process")["parent"] == told.one(committed, "create")["id"]
    assert told.one(committed, "send")["links"] == [told.one(committed, "create")["id"]]
    assert not told.of(rolled_back, "send")
    (relayed,) = ids["relayed"]
    relay = told.one(relayed, "send")
    assert relay["role"] == "worker"
    assert relay["links"] == [told.one(relayed, "create")["id"]]
    assert told.one(relayed, "process")["parent"] == told.one(relayed, "create")["id"]

    # providers are made in the children; the main process makes its own when it has something to report
    children = {
        span["pid"] for span in told.spans if span["attributes"].get("nightshift.outcome") == "succeeded"
    }
    assert len(children) >= 2
    assert lost["pid"] not in children
    assert {line["pid"] for line in told.lines if "made" in line} >= children

    _metrics_agree(told, system)


def _metrics_agree(told: Told, system: str) -> None:
    common = {"messaging.system": system, "messaging.destination.name": "celery"}
    processed = [
        span for span in told.spans if span["attributes"].get("messaging.operation.name") == "process"
    ]
    consumed = told.metrics("messaging.client.consumed.messages", **common)
    assert sum(line["value"] for line in consumed) == len(processed)
    durations = told.metrics("messaging.process.duration", **common)
    assert sum(line["value"] for line in durations) == len(processed)
    assert {line["unit"] for line in durations} == {"s"}
    errors = [line["value"] for line in consumed if line["attributes"].get("error.type") == "ConnectionError"]
    assert sum(errors) == 2
    sends = [span for span in told.spans if span["attributes"].get("messaging.operation.name") == "send"]
    count = sum(span["attributes"].get("messaging.batch.message_count", 1) for span in sends)
    sent = told.metrics("messaging.client.sent.messages", **common)
    assert sum(line["value"] for line in sent) == count
    operations = told.metrics("messaging.client.operation.duration", **common)
    assert sum(line["value"] for line in operations) == len(sends)
    assert {line["attributes"]["messaging.operation.type"] for line in operations} == {"send"}


THOROUGH = [pytest.param(pool, marks=pytest.mark.thorough) for pool in ("threads", "solo")]


@pytest.mark.parametrize("pool", ["gevent", *THOROUGH])
def test_pools_without_children(valkey: Server, tmp_path: Path, pool: str) -> None:
    with traced(tmp_path, valkey.fresh_url()) as place:
        place.system.worker("--pool", pool, *([] if pool == "solo" else ["--concurrency", "4"]))
        ids = place.enqueue("plain", "flaky", "chain", "within")
        place.until_done("plain", "flaky at last", "second", "within 4711", "within inner")
        told = place.told()
    first, second = ids["chain"]
    assert told.one(ids["plain"][0], "process")["parent"] == told.one(ids["plain"][0], "send")["id"]
    assert len(told.of(ids["flaky"][0], "process")) == 3
    assert told.one(second, "send")["parent"] == told.one(first, "process")["id"]
    for span in told.spans:  # no job's span lies in the trace of another
        if (job := span["attributes"].get("messaging.message.id")) == ids["plain"][0]:
            assert span["trace"] == told.named("request plain")["trace"], job


def test_links_in_messaging_mode_and_providers_from_before_the_fork(valkey: Server, tmp_path: Path) -> None:
    with traced(tmp_path, valkey.fresh_url(), OTEL_MODE="messaging", OTEL_WHERE="global") as place:
        place.system.worker("--pool", "prefork", "--concurrency", "2")
        ids = place.enqueue("plain", "flaky", "within")
        place.until_done("plain", "flaky at last", "within 4711", "within inner")
        told = place.told()
    for job_id in (ids["plain"][0], ids["flaky"][0]):
        send = told.one(job_id, "send")
        for span in told.of(job_id, "process"):
            assert span["parent"] is None
            assert span["links"] == [send["id"]]
            assert span["trace"] != send["trace"]
    inner = told.named("within")
    assert inner["parent"] == told.one(ids["within"][0], "process")["id"]


@pytest.mark.parametrize(
    "broker", ["valkey", pytest.param("rabbitmq", marks=[pytest.mark.rabbitmq, pytest.mark.thorough])]
)
def test_a_tick_begins_a_trace(broker: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    server: Server = request.getfixturevalue(broker)
    with traced(tmp_path, server.fresh_url(), WITH_SCHEDULE="1") as place:
        place.system.worker("--pool", "solo", ROLE="worker")
        first, second = place.system.beat(), place.system.command("beat", WITH_SCHEDULE="1")
        place.system.until(lambda: place.system.ledger.read_text().count("tick") > 3, 60, "no ticks")
        for beat in (first, second):
            beat.stop()
        told = place.told()
    processed = [span for span in told.spans if span["span"] == "process celery"]
    assert len(processed) > 3
    for span in processed:
        (send,) = told.of(span["attributes"]["messaging.message.id"], "send")
        assert send["parent"] is None
        assert span["parent"] == send["id"]
    traces = [span["trace"] for span in processed]
    assert len(set(traces)) == len(traces)
