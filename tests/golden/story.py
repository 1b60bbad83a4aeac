"""The story of a system on one broker, in which everything that leaves a trace happens once.

The first worker has no database, so dead letters stay in the broker; the second worker has one.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from flask_nightshift.domain.job import utcnow
from flask_nightshift.store import heartbeats
from places import python_path
from servers import free_port
from system import Process, System

from . import app as golden_app
from .brokers import Rabbit, Redis
from .history import History
from .normal import Normal
from .publishing import WAYS
from .readings import families, log_events

TESTS = Path(__file__).parents[1]
COMMANDS = {
    "delayed-run-now": ["delayed", "run-now", "{delayed}", "--queue", "spare", "--json"],
    "delayed-cancel": ["delayed", "cancel", "{other}", "--queue", "spare", "--yes", "--json"],
    "delayed-hand-over": ["delayed", "hand-over", "--queue", "spare", "--yes", "--json"],
    "purge": ["purge", "spare", "--yes", "--json"],
    "health": ["health", "--json"],
    "stats": ["stats", "--json"],
    "workers": ["workers", "--json"],
    "doctor": ["doctor", "--json"],
    "list": ["list", "--json", "--limit", "5"],
    "show-succeeded": ["show", "{succeeded}", "--json"],
    "show-dead": ["show", "{dead}", "--json"],
    "show-unknown": ["show", "{unknown}", "--json"],
    "migrate": ["migrate", "--json"],
    "delayed-list": ["delayed", "list", "--json"],
    "locks": ["locks", "--json"],
    "locks-release": ["locks", "release", "golden.plain:told", "--json"],
    "cancel": ["cancel", "{waiting}", "--json"],
    "cancel-ended": ["cancel", "{succeeded}"],
    "cancel-all": ["cancel", "--task", "no.such", "--yes", "--json"],
    "recover": ["recover", "--dry-run", "--json"],
    "dead-list": ["dead", "list", "--json"],
    "dead-incidents": ["dead", "incidents", "--json"],
    "dead-show": ["dead", "show", "{dead}", "--json"],
    "copy": ["copy", "{dead}", "--json", "--queue", "later"],
    "copy-ended": ["copy", "{succeeded}"],
    "dead-replay-changed": ["dead", "replay", "{dead}", "--args", '["***"]'],
    "dead-replay-dry": ["dead", "replay", "{dead}", "--dry-run", "--json"],
    "dead-replay-bulk": ["dead", "replay", "--task", "golden.dies", "--bulk", "--dry-run", "--json"],
    "dead-discard": ["dead", "discard", "{dead}", "--dry-run", "--json"],
    "dead-replay": ["dead", "replay", "{dead}", "--queue", "later"],
    "dead-list-any": ["dead", "list", "--status", "any", "--json"],
    "pause": ["pause", "--reason", "golden", "later", "mial", "--json"],
    "resume": ["resume", "--all", "--json"],
    "schedule-pause": ["schedule", "pause", "nightly", "--json"],
    "schedule-list": ["schedule", "list", "--json"],
    "schedule-resume": ["schedule", "resume", "nightly", "--json"],
    "schedule-skip-next": ["schedule", "skip-next", "nightly", "--json"],
    "schedule-run-now": ["schedule", "run-now", "nightly", "--json"],
    "schedule-show": ["schedule", "show", "nightly", "--json"],
    "token-create": ["token", "create", "ci", "--scope", "view,replay", "--json"],
    "token-list": ["token", "list", "--json"],
    "token-revoke": ["token", "revoke", "ci", "--json"],
    "schedule-unknown": ["schedule", "show", "nigthly", "--json"],
    "bulk-discard": ["dead", "discard", "--all", "--bulk", "--rate", "10/s", "--why", "golden", "--yes"],
    "bulk-list": ["bulk", "list", "--json"],
    "bulk-show-unknown": ["bulk", "show", "0123456789abcdef", "--json"],
    "bulk-unknown": ["bulk", "cancel", "0123456789abcdef", "--json"],
    "audit": ["audit", "--json"],
}
"""In this order; ids of jobs stand for what is in braces."""


class Story:
    """Lives it, and keeps what was seen in ``seen``: a value, made comparable, by the name of its file.

    ``printed`` has what each command printed as JSON, by the name of the command in ``COMMANDS``.
    """

    def __init__(self, folder: Path, url: str, view: Redis | Rabbit) -> None:
        self.seen: dict[str, Any] = {}
        self.printed: dict[str, Any] = {}
        self._before: set[str] = set()
        self._view, self._folder = view, folder
        self._history = History(folder / "history.sqlite3")
        self._normal = Normal({str(folder): "<folder>"})
        self._system = System(
            folder,
            url,
            FLASK_APP="golden.app",
            PYTHONPATH=python_path(),
            NIGHTSHIFT_DATABASE_URL=self._history.url,
            WITH_NIGHTLY="1",
        )
        self._app = golden_app.create_app(
            INSTANCE=str(folder / "instance"),
            NIGHTSHIFT_BROKER_URL=url,
            NIGHTSHIFT_DATABASE_URL=self._history.url,
            NIGHTSHIFT_HTTP_ACCESS="open",
        )

    def live(self) -> None:
        with self._app.app_context():
            self._publish()
            self._schedule()
            self._work(held=self._work_without_a_database())
            self._look("at-the-end")
            if written := self._view.written():
                self.seen["entities/all.txt"] = "\n".join(sorted({self._normal(line) for line in written}))

    def close(self) -> None:
        self._system.close()
        golden_app.jobs.close(self._app)

    # -- the parts, in their order -----------------------------------------------------------------------------

    def _publish(self) -> None:
        for way, call in WAYS.items():
            call()
            self._keep(f"messages/{way}.json", self._view.take())
        WAYS["delay"]()
        WAYS["countdown"]()
        self._look("jobs-wait")
        self._view.take()

    def _schedule(self) -> None:
        beat = self._system.beat()
        self._until(lambda: beat.lines("beat.tick"), "Beat enqueues nothing")
        assert beat.stop() == 0
        (queue, messages), *_ = self._view.take().items()
        self._keep("messages/beat.json", {queue: messages[:1]})
        self._keep("log-events/beat.txt", log_events(beat.log))

    def _work_without_a_database(self) -> str:
        """The worker is killed while it runs the job whose id is returned."""
        away = f"postgresql+psycopg://golden@127.0.0.1:{free_port()}/away"
        worker = self._worker("first", NIGHTSHIFT_DATABASE_URL=away)
        self._run(worker, "fails", "retrying")
        self._run(worker, "dies", "dead")
        self._run(worker, "parent", "succeeded")
        found = self._view.take()
        self._keep("messages/from-a-job.json", {"later": found.pop("later")})
        self._keep("messages/dead-letter.json", {"nightshift.dead": found.pop("nightshift.dead")})
        self._keep("messages/retry.json", found)
        held = golden_app.held.delay()
        self._until(lambda: worker.lines("job.started", job_id=held.id), "it does not begin")
        self._run(worker, "fails", "retrying")
        self._run(worker, "dies", "dead")
        self._look("a-job-runs")
        self._view.take()
        worker.kill_tree()
        (self._folder / "go-on").touch()
        return str(held.id)

    def _work(self, held: str) -> None:
        worker = self._worker("second")
        self._until(
            lambda: worker.lines("job.succeeded", job_id=held),
            "the job of the killed worker does not come back",
        )
        succeeded = self._run(worker, "kept", "succeeded")
        self._run(worker, "flaky", "succeeded")
        self._run(worker, "returns", "succeeded")
        WAYS["countdown"]()
        dead = self._run(worker, "dies", "dead")
        self._until(self._history.dead_letter, "the dead letter is not archived")
        self._keep("dead-letter-row.json", self._history.dead_letter())
        self._until(lambda: self._history.has_ended(dead), "history is not written")
        waiting = golden_app.plain.apply_async((7,), unique="until_done", unique_key="told", queue="later").id
        self._keep("messages/unique.json", {"later": self._view.take()["later"]})
        self._until(lambda: self._history.knows(waiting), "history does not know the job that waits")
        later = [golden_app.plain.apply_async((7,), countdown=3600, queue="spare").id for _ in range(2)]
        self._until(lambda: self._history.knows(later[1]), "history does not know the delayed job")
        self._beat_has_ticked()
        ids = {"delayed": later[0], "other": later[1], "unknown": "no-such-job"}
        self._command(succeeded=succeeded, dead=dead, waiting=waiting, **ids)
        self._keep("messages/replay.json", {"later": self._view.take()["later"]})
        self._read_http()
        assert worker.stop() == 0
        self._keep("log-events/worker.txt", log_events(worker.log))

    def _beat_has_ticked(self) -> None:
        """Write what a Beat writes when it stops. The story's own Beat may have stopped long ago on a slow machine."""
        heartbeats.stop(golden_app.jobs.services.store, "beat", utcnow())

    def _command(self, **ids: str) -> None:
        words = [json.dumps([word.format(**ids) for word in command]) for command in COMMANDS.values()]
        done = subprocess.run(
            [sys.executable, "-m", "golden.commands", *words],
            env=self._system.env, text=True, capture_output=True, timeout=120, check=True,
        )  # fmt: skip
        for name, told in zip(COMMANDS, json.loads(done.stdout), strict=True):
            if told["exit"] == 0 and "--json" in COMMANDS[name]:
                self.printed[name] = told["output"] = json.loads(told["output"])
            self._keep(f"commands/{name}.json", told, measured=True)

    def _read_http(self) -> None:
        self._beat_has_ticked()
        client = self._app.test_client()
        self._keep("http/metrics.txt", families(client.get("/metrics").text))
        for name in ("live", "ready"):
            answer = client.get(f"/health/{name}")
            told = {"status": answer.status_code, "body": answer.get_json()}
            self._keep(f"http/{name}.json", told, measured=True)

    # -- tools -------------------------------------------------------------------------------------------------

    def _keep(self, name: str, value: Any, *, measured: bool = False) -> None:
        self.seen[name] = self._normal(value, measured=measured)

    def _look(self, moment: str) -> None:
        """Keep what there is in the broker, or how it differs from the moment before."""
        lines = {self._normal(line) for line in self._view.entities()}
        before, self._before = self._before, lines
        changes = [(line, "-") for line in before - lines] + [(line, "+") for line in lines - before]
        self.seen[f"entities/{moment}.txt"] = "\n".join(f"{sign} {line}" for line, sign in sorted(changes))

    def _worker(self, name: str, **env: Any) -> Process:
        return self._system.worker("--queues", "celery,mail", "--concurrency", "2", name=name, **env)

    def _run(self, worker: Process, task: str, event: str) -> str:
        """Enqueue a job and wait until the worker says what became of it; its id.

        It ends only when history knows it, else the archiver may be the first to write its arguments.
        """
        job_id = str(getattr(golden_app, task).delay(7).id)
        self._until(lambda: self._history.knows(job_id), f"{task}: history does not know it")
        (self._folder / job_id).touch()
        self._until(lambda: worker.lines(f"job.{event}", job_id=job_id), f"{task}: no job.{event}")
        return job_id

    def _until(self, check: Any, what: str) -> None:
        self._system.until(check, 100, what)
