"""The short way to run a job and Celery's: every feature of a task looks the same, whichever way its jobs go."""

from __future__ import annotations

import dataclasses
import difflib
import json
import re
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from flask_nightshift.journal import find_job
from flask_nightshift.store import Store
from servers import Server
from system import System, running

pytestmark = pytest.mark.timeout(400)  # busy machines are slow
WAYS = ("short", "celerys")
"""Two workers, one of which sends every job through Celery's tracer; each has a queue of this name."""
NEVER_SHORT = {
    "called", "called fails", "chain", "chord", "group", "hooked", "hooked fails", "kept", "kept nothing",
    "stamped", "tracked", "unstorable",
}  # fmt: skip
"""The scenarios in which no job is ordinary."""
TOGETHER = ("appends", "chain", "chord", "group", "link", "nests", "otel", "replaces")
"""The scenarios of which two jobs may run at the same time, if only while the first one still ends."""
SHARED_IDS = {"replaces": ("('replaces',)", "('replaces', 'replacement')")}
"""The scenarios of which two jobs have the same id, and the arguments of each.

The process that enqueued the first and the worker that enqueued the second write to the history at their own times, and
its row keeps the arguments that it got first.
"""
_DIFFERS = frozenset(
    {
        "started_at",
        "ended_at",
        "runtime",
        "due",
        "wait",
        "delivery_tag",
        "pid",
        "timestamp",
        "at",
        "time",
        "updated_at",
        "expiration",
    }
)
"""What two runs of the same way give other values."""
_TEXTS = [
    (re.compile(r"[0-9a-f]{32}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"), "UUID"),
    (re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00)?"), "TIME"),
    (re.compile(r"datetime\(.*?\)"), "TIME"),
    (re.compile(r"gen\d+@"), "gen@"),
    (re.compile(r"0x[0-9a-f]+"), "0x"),
    (re.compile(r"\d+(\.\d+)? ?s\b"), "SECONDS"),
    (re.compile(r"\d\d:\d\d:\d\d"), "CLOCK"),
    (re.compile(r'(?m)^ *File "[^"]*(celery/app|flask_nightshift|billiard)[^"]*".*\n(    .*\n)*'), ""),
]


@pytest.fixture(
    params=[
        "prefork",
        *(pytest.param(each, marks=pytest.mark.thorough) for each in ("threads", "solo", "gevent")),
    ]
)
def pool(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_everything_looks_the_same_both_ways(valkey: Server, tmp_path: Path, pool: str) -> None:
    with running(tmp_path, valkey.fresh_url(), **_settings(tmp_path)) as system:
        seen, short = run_both_ways(system, pool)
    assert set(seen["short"]) - short["short"] == NEVER_SHORT
    _are_the_same(seen, short)


def test_it_is_the_same_on_rabbitmq(rabbitmq: Server, tmp_path: Path) -> None:
    # nothing is taken ahead: what goes back there goes back as a copy, with other headers than what a delay sent
    settings = {**_settings(tmp_path), "NIGHTSHIFT_CELERY": '{"worker_prefetch_multiplier": 1}'}
    with running(tmp_path, rabbitmq.fresh_url(), **settings) as system:
        seen, short = run_both_ways(system, "prefork")
    assert set(seen["short"]) - short["short"] == NEVER_SHORT
    _are_the_same(seen, short)


@pytest.mark.parametrize(
    "watcher", ["signals", *(pytest.param(each, marks=pytest.mark.thorough) for each in ("sentry", "otel"))]
)
def test_a_watched_worker_goes_celerys_way(valkey: Server, tmp_path: Path, watcher: str) -> None:
    with running(tmp_path, valkey.fresh_url(), WATCHED=watcher, **_settings(tmp_path)) as system:
        seen, short = run_both_ways(system, "prefork", deaths=False)
        heard = [json.loads(line)[1:3] for line in system.ledger.read_text().splitlines()]
    assert not short["short"]
    said = {
        "signals": ["a value", "task_prerun"],
        "sentry": ["a value", "sentry"],
        "otel": ["otel", "run/plain"],
    }
    assert said[watcher] in heard
    _are_the_same(seen, short)


@pytest.mark.thorough
def test_the_test_kit_does_what_a_worker_does(valkey: Server, tmp_path: Path) -> None:
    with running(tmp_path, valkey.fresh_url(), **_settings(tmp_path)) as system:
        seen, short = run_both_ways(system, "solo")
        for way in WAYS:
            kit, noted, ways = _in_the_kit(system, way)
            assert kit.keys() == seen[way].keys()
            assert ways & kit.keys() == short[way] & kit.keys()
            for scenario, real in seen[way].items():
                told = {**kit[scenario], "ledger": noted[way, scenario]}
                real["letters"] = [each and each["reason"] for each in real["letters"]]
                for what in ("ledger", "history", "result", "letters"):
                    assert _of_any_worker(told[what]) == _of_any_worker(real[what]), f"{scenario}: {what}"


def _in_the_kit(system: System, way: str) -> tuple[dict[str, Any], dict[tuple[str, str], Any], set[str]]:
    """What is seen of each scenario in the test kit, its ledger, and the scenarios that took the short way."""
    seen, ledger = system.folder / f"seen-{way}", system.folder / f"ledger-{way}"
    env = {**system.env, "LEDGER": str(ledger), "WAY": way, "CELERYS_WAY": "1" if way == "celerys" else ""}
    subprocess.run([sys.executable, "-m", "waykit", str(seen)], env=env, timeout=180, check=True)
    noted, ways = _ledger(ledger)
    return json.loads(seen.read_text()), noted, ways[way]


def _of_any_worker(value: Any) -> Any:
    """``value`` without the worker's name, and without the stack in the text of what has none."""
    text = json.dumps(_plain(value), default=repr)
    text = re.sub(r"""(?<=no repr'\)) .*?(?<!\\)(?=")""", "", text)
    return json.loads(re.sub("tests@localhost|(short|celerys)@test", "WORKER", text))


@pytest.mark.thorough
def test_our_spans_go_either_way_and_are_the_same(valkey: Server, tmp_path: Path) -> None:
    with running(tmp_path, valkey.fresh_url(), WATCHED="spans", **_settings(tmp_path)) as system:
        seen, short = run_both_ways(system, "prefork")
        ledger, _ = _ledger(system.ledger)
    assert set(seen["short"]) - short["short"] == NEVER_SHORT
    _are_the_same(seen, short)
    spans = {way: sorted(map(json.dumps, ledger[way, "spans"])) for way in WAYS}
    assert {json.loads(each)[0] for each in spans["short"]} == {"process short", "send short"}
    assert spans["short"] == spans["celerys"]


def _are_the_same(seen: dict[str, dict[str, Any]], short: dict[str, set[str]]) -> None:
    assert not short["celerys"]
    for scenario in seen["short"]:
        one, other = (json.dumps(seen[way][scenario], indent=1, default=repr).splitlines() for way in WAYS)
        difference = "\n".join(difflib.unified_diff(one, other, *WAYS, lineterm=""))
        assert not difference, f"{scenario}:\n{difference}"


def _settings(folder: Path) -> dict[str, str]:
    (folder / "results").mkdir()
    return {"FLASK_APP": "waysapp", "NIGHTSHIFT_RESULT_BACKEND": f"file://{folder}/results"}


def run_both_ways(
    system: System, pool: str, *, deaths: bool = True
) -> tuple[dict[str, dict[str, Any]], dict[str, set[str]]]:
    """What is seen of each scenario on each way, and the scenarios in which a job took the short way."""
    options = ("--pool", pool, "--concurrency", "1" if pool == "solo" else "2")
    system.worker(*options, "--queues", "short", name="short", wait=False, WAY="short")
    system.worker(*options, "--queues", "celerys", name="celerys", wait=False, WAY="celerys", CELERYS_WAY="1")
    for worker in system.processes:
        system.until_ready(worker)
    ids = _run(system, pool)
    if pool == "prefork" and deaths:
        for way, more in _run(
            system, "deadly"
        ).items():  # alone, because a dead child's last records may be lost
            ids[way] |= more
    for worker in system.processes:
        worker.stop()
    store = Store(f"sqlite:///{system.env['INSTANCE']}/nightshift.sqlite3")
    history = {way: _history(store, ids[way]) for way in WAYS}
    store.close()
    ledger, ways = _ledger(system.ledger)
    results = {way: _results(system, ids[way]) for way in WAYS}
    logs = {way: _lines(system, way, ids[way]) for way in WAYS}
    letters = {way: _letters(system, ids[way]) for way in WAYS}
    return {
        way: {
            scenario: {
                "ledger": ledger[way, scenario],
                "history": history[way][scenario],
                "result": results[way][scenario],
                "log": logs[way].get(scenario),
                "letters": letters[way][scenario],
            }
            for scenario in ids[way]
        }
        for way in WAYS
    }, ways


def _run(system: System, scenarios: str) -> dict[str, dict[str, list[str]]]:
    """Run scenarios to their end; returns their jobs' ids."""
    ids = {}
    for way in WAYS:
        said = system.python(f"import waysapp; waysapp.main({way!r}, {scenarios!r})")
        ids[way] = json.loads(said.splitlines()[-1])
    system.until(lambda: _quiet(system, ids), 90, "some scenario does not end")
    return ids


def _quiet(system: System, ids: dict[str, dict[str, list[str]]]) -> bool:
    """Whether every job has ended, and nothing was noted for a while."""
    store = Store(f"sqlite:///{system.env['INSTANCE']}/nightshift.sqlite3")
    try:
        for way in WAYS:
            for job_id in (jobs[0] for name, jobs in ids[way].items() if name != "fails ignore"):
                found = find_job(store, job_id)
                if found is not None and found.state not in ("succeeded", "dead"):
                    return False
    finally:
        store.close()
    size = system.ledger.stat().st_size
    time.sleep(2)
    return system.ledger.stat().st_size == size


def _plain(value: Any) -> Any:
    """``value`` without what differs between two runs of the same way, and without frames that are not the task's."""
    if isinstance(value, dict):
        return {key: 0 if key in _DIFFERS else _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    if not isinstance(value, str):
        return value if isinstance(value, (bool, int, float, type(None))) else _plain(repr(value))
    for pattern, to in _TEXTS:
        value = pattern.sub(to, value)
    return value.replace("celerys", "short")


def _ledger(path: Path) -> tuple[dict[tuple[str, str], Any], dict[str, set[str]]]:
    found: dict[tuple[str, str], Any] = defaultdict(list)
    ways: dict[str, set[str]] = {way: set() for way in WAYS}
    for line in path.read_text().splitlines():
        way, key, what, seen = json.loads(line)
        if what != "way":
            found[way, key].append([_plain(what), _plain(seen)])
        else:
            ways[way].add(key)
    for way, scenario in found.keys() & {(way, name) for way in WAYS for name in TOGETHER}:
        found[way, scenario].sort(key=json.dumps)
    return found, ways


def _history(store: Store, ids: dict[str, list[str]]) -> dict[str, Any]:
    return {scenario: [_row(store, scenario, job_id) for job_id in jobs] for scenario, jobs in ids.items()}


def _row(store: Store, scenario: str, job_id: str) -> Any:
    found = find_job(store, job_id)
    if found is None:
        return None
    row = _plain(dataclasses.asdict(found))
    if scenario in SHARED_IDS:
        assert row["args"] in SHARED_IDS[scenario]
        row["args"] = SHARED_IDS[scenario][0]
    return row


def _results(system: System, ids: dict[str, list[str]]) -> dict[str, Any]:
    code = (
        "import json, waysapp\n"
        "app = waysapp.create_app()\n"
        "made = {}\n"
        f"for name, jobs in {ids!r}.items():\n"
        "    made[name] = [app.extensions['celery'].backend.get_task_meta(each) for each in jobs]\n"
        "print(json.dumps(made, default=repr))"
    )
    return {name: _plain(found) for name, found in json.loads(system.python(code).splitlines()[-1]).items()}


def _lines(system: System, way: str, ids: dict[str, list[str]]) -> dict[str, Any]:
    scenario_of = {each: scenario for scenario, jobs in ids.items() for each in jobs}
    (worker,) = [process for process in system.processes if process.name == way]
    found: dict[str, Any] = defaultdict(list)
    for line in worker.log.splitlines():
        if line.startswith("{") and (scenario := scenario_of.get(json.loads(line).get("job_id", ""))):
            found[scenario].append(_plain(json.loads(line)))
    return {scenario: sorted(lines, key=json.dumps) for scenario, lines in found.items()}


def _letters(system: System, ids: dict[str, list[str]]) -> dict[str, Any]:
    found = {letter["job_id"]: letter for letter in system.dead()}
    return {name: [_plain(found.get(each)) for each in jobs] for name, jobs in ids.items()}
