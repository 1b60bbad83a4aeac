"""The environment of an idiom's test: one small app of ``apps/`` with its own folder, broker and processes."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil

from flask_nightshift import JobRecord
from flask_nightshift.domain.job import JobState
from flask_nightshift.journal import find_job
from flask_nightshift.store import Store
from places import TESTS
from servers import free_port, wait_for

APPS = TESTS / "idioms" / "apps"


class Process:
    """A process of the idiom; a file contains its output."""

    def __init__(self, name: str, argv: list[str], env: dict[str, str], folder: Path) -> None:
        self.name = name
        self._log = folder / f"{name}.log"
        with self._log.open("ab") as output:
            self.popen = subprocess.Popen(
                argv, env=env, cwd=folder, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                start_new_session=True,
            )  # fmt: skip

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def stop(self, seconds: float = 40) -> int:
        """Send SIGTERM and wait; returns the exit code."""
        self.popen.terminate()
        return self.popen.wait(seconds)

    def kill(self) -> None:
        if self.popen.poll() is None:
            family = [psutil.Process(self.popen.pid)]
            for process in [*family, *family[0].children(recursive=True)]:
                process.kill()
            self.popen.wait(10)


class Workshop:
    """``app`` is a module of ``apps/``; ``ledger()`` returns the lines that jobs write into ``$LEDGER``."""

    def __init__(self, folder: Path, broker_url: str, app: str, **env: str) -> None:
        self.folder = folder
        self._ledger = folder / "ledger"
        self._ledger.touch()
        self.database = "nightshift.sqlite3"
        self.processes: list[Process] = []
        self.env = {
            **{key: value for key, value in os.environ.items() if not key.startswith(("NIGHTSHIFT_", "FLASK_"))},
            "PYTHONPATH": os.pathsep.join(filter(None, [str(APPS), os.environ.get("PYTHONPATH")])),
            "FLASK_APP": app,
            "INSTANCE": str(folder),
            "LEDGER": str(self._ledger),
            "NIGHTSHIFT_BROKER_URL": broker_url,
            "NIGHTSHIFT_LOG_FORMAT": "json",
            **env,
        }  # fmt: skip

    def run(self, *argv: str, ok: bool = True, stdin: str | None = None) -> str:
        """Run ``python -m ARGV`` and wait for its end; returns its output."""
        done = subprocess.run(
            [sys.executable, "-m", *argv], env=self.env, cwd=self.folder, input=stdin,
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        said = done.stdout + done.stderr
        assert not ok or done.returncode == 0, f"{' '.join(argv)} ended with {done.returncode}: {said}"
        return said

    def start(self, name: str, *argv: str, ready: str = "") -> Process:
        """Start ``python -m ARGV``; returns when its log contains ``ready``."""
        return self._start(name, [sys.executable, "-m", *argv], ready)

    def start_program(self, name: str, *argv: str, ready: str = "") -> Process:
        """Start a program of the virtual environment."""
        return self._start(name, [str(Path(sys.executable).parent / argv[0]), *argv[1:]], ready)

    def _start(self, name: str, argv: list[str], ready: str) -> Process:
        process = Process(name, argv, self.env, self.folder)
        self.processes.append(process)
        try:
            wait_for(lambda: ready in process.log or process.popen.poll() is not None, 40, "no sign of life")
        finally:
            if ready not in process.log:
                print(process.log)  # for the report of a failed test
        assert ready in process.log, f"{name} ended with {process.popen.poll()}: {process.log[-3000:]}"
        return process

    def enqueue(self, *calls: str) -> list[str]:
        """Evaluate ``calls`` in the app's module, in one process; returns the ids of their jobs."""
        return self.evaluate(*(f"{call}.id" for call in calls))

    def evaluate(self, *expressions: str) -> list[Any]:
        """The values of ``expressions``, evaluated in the app's module (also as ``m``) and context, as JSON."""
        code = (
            f"import json, {self.env['FLASK_APP']} as m\n"
            "with m.app.app_context():\n"
            f"    print(json.dumps([eval(each, vars(m) | {{'m': m}}) for each in {list(expressions)!r}]))\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=self.env,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return list(json.loads(done.stdout.splitlines()[-1]))

    @contextlib.contextmanager
    def client(self) -> Iterator[httpx.Client]:
        """A client of the app, which Flask's own server serves."""
        port = free_port()
        self.start("web", "flask", "run", "--port", str(port), ready="Running on")
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=15) as client:
            yield client

    def job(self, job_id: str) -> JobRecord | None:
        """The job's record in the history, or None."""
        store = Store(f"sqlite:///{self.folder}/{self.database}")
        try:
            return find_job(store, job_id)
        finally:
            store.close()

    def until_settled(self, job_id: str) -> JobRecord:
        """Wait until the job has succeeded or died; returns its record."""

        def settled() -> JobRecord | None:
            found = self.job(job_id)
            return found if found is not None and found.state in (JobState.SUCCEEDED, JobState.DEAD) else None

        found: JobRecord = self.until(settled, f"{job_id} is not settled")
        return found

    def ledger(self) -> list[str]:
        """The lines that jobs have written, in order."""
        return self._ledger.read_text().splitlines()

    def until(self, check: Callable[[], Any], what: str, seconds: float = 30) -> Any:
        try:
            return wait_for(check, seconds, what)
        except TimeoutError:
            for process in self.processes:
                print(f"--- {process.name}", process.log[-6000:], sep="\n")
            raise

    def close(self) -> None:
        for process in self.processes:
            process.kill()
