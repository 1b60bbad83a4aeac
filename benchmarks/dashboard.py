"""``python -m benchmarks.dashboard``: how long each page of the dashboard takes with a long history.

It fills a history with ``ROWS`` (1,000,000) jobs, ``LETTERS`` (100,000) dead letters and the rest of a busy system. It
asks for each page and for the lists of the HTTP API ``ROUNDS`` (10) times in turn, and prints the medians of the time
and of the processor time, in ms. A page whose median is longer than ``GOAL`` ms makes the exit code 1. ``DATABASE``
(sqlite,postgres), ``BROKER`` (valkey or rabbitmq).
"""

from __future__ import annotations

import importlib
import os
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from flask import Flask
from flask.testing import FlaskClient

from flask_nightshift import Nightshift
from flask_nightshift.domain.actor import PERMISSIONS, everything
from flask_nightshift.observe import incidents
from flask_nightshift.observe import jobs as lists
from flask_nightshift.observe.filters import Filters
from flask_nightshift.operations import bulk, dead_letters, tokens
from flask_nightshift.operations.dead_letters import Filters as LetterFilters
from flask_nightshift.services import Services, current
from flask_nightshift.web.dashboard import routing
from flask_nightshift.web.dashboard.routing import ROUTES, Kind

from . import history
from .servers import real

busy: Any = importlib.import_module("busy_history")  # servers.py has put the tests' support on the path

GOAL = 150.0
PREFIX = "/nightshift"
SCHEDULE = {"nightly": {"task": "nightshift.prune", "schedule": 3600}}
DELAYED = 2_000
"""Jobs that wait for their time in the broker, and in the history."""
PLANS = (
    "do=cancel&q=task:mail.*", "do=cancel&q=queue:mail", "do=cancel&q=state:retrying", "do=run&q=queue:mail",
    "do=replay", "do=discard&task=mail.send",
)  # fmt: skip
QUERIES = (
    "state:succeeded", "state:retrying", "state:dead", "task:mail.*", "error:timeout",
    "task:image.scale state:succeeded", f"worker:{busy.WORKERS[0]}", "since:1h", "queue:mail since:2d", "4711",
)  # fmt: skip


LETTERS = (
    "show=all", "sort=count", "trend=days", "show=all&sort=count&trend=days", "task=hook.deliver", "reason=exhausted",
    "since=1h",
)  # fmt: skip
API = (
    "/incidents", "/incidents?status=any&order=count&trend=days&limit=200", "/dead-letters?status=any&limit=200",
    "/jobs?limit=200", "/jobs?q=state:retrying", "/job-count?q=task:mail.*", "/due", "/delayed", "/queues", "/workers",
    "/tasks?period=month", "/overview", "/overview/verdict", "/overview/trend?period=month", "/schedule", "/locks",
    "/actions", "/audit",
)  # fmt: skip


def paths(services: Services) -> Iterator[str]:
    """Every page with the values that it needs, jobs by several queries, and one job in every state that there is."""
    store = services.store
    routing.table()
    values = _values(services)
    for route in ROUTES.values():
        if route.kind is Kind.PAGE and "<" not in route.rule:
            for query in values.get(route.name, ("",)):
                yield f"{route.rule}{'?' if query else ''}{query}"
    for period in ("day", "month"):
        yield f"/?period={period}"
        yield f"/tasks?period={period}"
    for query in LETTERS:
        yield f"/letters?{query}"
    for path in API:
        if path != "/delayed" or services.broker.capabilities.lists_delayed:
            yield f"/api/v1{path}"
    for query in QUERIES:
        yield f"/jobs?q={query}"
    page = lists.page(store, Filters(state="succeeded"), limit=200)
    yield f"/jobs?after={(page.after or '').replace('+', '%2B')}"
    for state in ("succeeded", "retrying", "dead"):
        for job in lists.page(store, Filters(state=state), limit=1).jobs:
            yield f"/jobs/{job.id}"


def _values(services: Services) -> dict[str, Sequence[str]]:
    """The queries of the pages that need values, by the names of their routes."""
    store = services.store
    (cause,) = incidents.incidents(services, incidents.Wanted(), 1).found
    letters = dead_letters.latest(services, LetterFilters(), 50)
    (job,) = lists.page(store, Filters(state="succeeded"), limit=1).jobs
    waits = bulk.plan(services, bulk.DISCARD, LetterFilters(task="no.such"))
    action = bulk.start(services, waits, by="bench")
    return {
        "odd_job": [f"job_id={job.id}"],
        "incident": [f"fingerprint={cause.fingerprint}"],
        "letter": [f"letter_id={cause.example}"],
        "edit_letter": [f"letter_id={cause.example}"],
        "copy_job": [f"job_id={cause.example}"],
        "check_letters": [
            f"do={verb}&" + "&".join(f"id={each.letter.id}" for each in letters)
            for verb in ("replay", "discard")
        ],
        "schedule": ["name=nightly"],
        "ask_pause": ["queue=mail"],
        "ask_purge": ["queue=mail"],
        "ask_to_release": ["key=nobody"],
        "bulk_plan": PLANS,
        "bulk_action": [f"action_id={action.id}"],
    }


def delay(services: Services) -> None:
    """Have ``DELAYED`` jobs wait for their time."""
    send = services.celery.tasks["nightshift.prune"]
    for number in range(DELAYED):
        send.apply_async(countdown=3600 + number, queue="mail")
    services.journal.flush(60)


def measure(
    client: FlaskClient, wanted: list[str], rounds: int, token: str
) -> dict[str, tuple[float, float, int]]:
    """The medians of time and processor time of each page in ms, and its size in bytes."""
    headers = {"Authorization": f"Bearer {token}"}
    times: dict[str, list[tuple[float, float]]] = defaultdict(list)
    sizes: dict[str, int] = {}
    for number in range(rounds + 1):
        for path in wanted:
            began, used = time.perf_counter(), time.process_time()
            answer = client.get(PREFIX + path, headers=headers)
            took = (time.perf_counter() - began) * 1e3, (time.process_time() - used) * 1e3
            if answer.status_code not in (200, 303, 404):
                raise SystemExit(f"{path}: {answer.status_code}\n{answer.text[-2000:]}")
            sizes[path] = len(answer.data)
            if number:  # the first round warms up
                times[path].append(took)
    return {
        path: (statistics.median(wall), statistics.median(cpu), sizes[path])
        for path, (wall, cpu) in ((path, tuple(zip(*each, strict=True))) for path, each in times.items())
    }


def main() -> None:
    """Measure what the environment names."""
    rows, rounds = int(os.environ.get("ROWS", "1000000")), int(os.environ.get("ROUNDS", "10"))
    slow = False
    brokers = {"valkey": real.Valkey, "rabbitmq": real.RabbitMQ}
    broker = brokers[os.environ.get("BROKER", "valkey")]()
    broker.start()
    postgres = real.Postgres()
    try:
        for kind in os.environ.get("DATABASE", "sqlite,postgres").split(","):
            with tempfile.TemporaryDirectory(prefix="nightshift-bench-") as home:
                if kind == "postgres":
                    postgres.start()
                url = postgres.fresh_url() if kind == "postgres" else f"sqlite:///{home}/history.db"
                slow |= _one(kind, url, broker.fresh_url(), Path(home), rows, rounds)
    finally:
        broker.close()
        postgres.close()
    sys.exit(int(slow))


def _one(kind: str, url: str, broker: str, home: Path, rows: int, rounds: int) -> bool:
    history.fill(url, rows)
    app = Flask("dashboard", instance_path=str(home))
    app.config.update(NIGHTSHIFT_BROKER_URL=broker, NIGHTSHIFT_DATABASE_URL=url, SECRET_KEY="only for this")
    app.config.update(NIGHTSHIFT_DASHBOARD_AUTH=lambda _: everything("bench"), NIGHTSHIFT_SCHEDULE=SCHEDULE)
    jobs = Nightshift(app)
    services = current(app)
    store = services.store
    busy.fill(store, jobs=5000, letters=int(os.environ.get("LETTERS", "100000")))
    busy.alive(store)
    delay(services)
    token = tokens.create(services, "bench", PERMISSIONS, by="bench").text
    found = measure(app.test_client(), list(paths(services)), rounds, token)
    load = " ".join(f"{each:.1f}" for each in os.getloadavg())
    print(f"{kind}, {rows:,} jobs, load {load}:          time      CPU time    size")
    for path, (wall, cpu, size) in found.items():
        print(f"  {path[:60]:<60} {wall:7.1f} ms {cpu:7.1f} ms {size / 1024:6.0f} KiB", flush=True)
    jobs.close()
    return any(wall > GOAL for wall, _, _ in found.values())


if __name__ == "__main__":
    main()
