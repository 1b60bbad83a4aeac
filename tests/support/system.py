"""A whole system under test: web, worker and Beat as separate processes on one broker and one database."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
from sqlalchemy import select

from flask_nightshift.store import Store
from flask_nightshift.store.tables import dead_letters
from places import APPS, python_path
from servers import free_port, wait_for


class Process:
    """One process of the system; a file contains its output."""

    def __init__(self, name: str, argv: list[str], env: dict[str, str], folder: Path) -> None:
        self.name = name
        self.log_file = folder / f"{name}.log"
        self._output = self.log_file.open("ab")
        self.popen = subprocess.Popen(
            argv, env=env, cwd=APPS, stdout=self._output, stderr=subprocess.STDOUT, start_new_session=True
        )

    @property
    def log(self) -> str:
        return self.log_file.read_text(errors="replace")

    def lines(self, event: str, **fields: Any) -> list[dict[str, Any]]:
        """The structured log lines of ``event`` whose fields have the given values."""
        found = []
        for line in self.log.splitlines():
            with contextlib.suppress(ValueError):
                entry = json.loads(line)
                if isinstance(entry, dict) and entry.get("event") == event:
                    found.append(entry)
        return [e for e in found if all(e.get(k) == v for k, v in fields.items())]

    def signal(self, number: int) -> None:
        self.popen.send_signal(number)

    def kill_tree(self) -> None:
        """Send SIGKILL to the process and all its children."""
        with contextlib.suppress(psutil.NoSuchProcess):
            victims = [
                psutil.Process(self.popen.pid),
                *psutil.Process(self.popen.pid).children(recursive=True),
            ]
            for victim in victims:
                with contextlib.suppress(psutil.NoSuchProcess):
                    victim.kill()
        self.popen.wait(10)

    def stop(self, seconds: float = 40) -> int:
        """Send SIGTERM and wait; returns the exit code."""
        self.popen.terminate()
        return self.popen.wait(seconds)


class System:
    """A system; ``worker()``, ``beat()`` and ``web()`` start its parts, and ``enqueue()`` uses the web process."""

    def __init__(self, folder: Path, broker_url: str, **settings: str) -> None:
        self.folder = folder
        self.ledger = folder / "ledger"
        self.ledger.touch()
        (folder / "instance").mkdir(exist_ok=True)
        self.env = {
            **os.environ,
            "PYTHONPATH": python_path(),
            "FLASK_APP": "jobsapp",
            "LEDGER": str(self.ledger),
            "INSTANCE": str(folder / "instance"),
            "NIGHTSHIFT_BROKER_URL": broker_url,
            "NIGHTSHIFT_LOG_FORMAT": "json",
            "NIGHTSHIFT_HTTP_ACCESS": "open",
            **settings,
        }
        self.processes: list[Process] = []
        self.http: httpx.Client | None = None
        self._migrate()

    @property
    def database_url(self) -> str:
        """The URL of the history's database."""
        inside = f"sqlite:///{self.env['INSTANCE']}/nightshift.sqlite3"
        return self.env.get("NIGHTSHIFT_DATABASE_URL") or inside

    def _migrate(self) -> None:
        """As ``flask jobs migrate``, but in this process: to start another takes much longer than what it does."""
        if "ORDERS_URL" in self.env:  # the app has a database of its own
            self.cli("migrate")
            return
        with self.store() as store:
            store.migrate()

    @contextlib.contextmanager
    def store(self) -> Iterator[Store]:
        """The history's database, seen from this process."""
        store = Store(self.database_url)
        try:
            yield store
        finally:
            store.close()

    # -- processes -----------------------------------------------------------------------------------------

    def cli(self, *words: str, ok: bool = True, seconds: float = 60) -> subprocess.CompletedProcess[str]:
        """Run ``flask jobs …`` and wait for its end."""
        done = subprocess.run(
            [sys.executable, "-m", "flask", "jobs", *words],
            env=self.env, cwd=APPS, text=True, capture_output=True, timeout=seconds, check=False,
        )  # fmt: skip
        if ok:
            assert done.returncode == 0, f"flask jobs {' '.join(words)}: {done.stdout}\n{done.stderr}"
        return done

    def python(self, code: str) -> str:
        """Run ``code`` in a process of its own; returns its output."""
        return subprocess.run(
            [sys.executable, "-c", code],
            env=self.env, cwd=APPS, text=True, stdout=subprocess.PIPE, timeout=60, check=True,
        ).stdout  # fmt: skip

    def json(self, *words: str) -> Any:
        return json.loads(self.cli(*words, "--json").stdout)

    def worker(self, *options: str, name: str = "worker", wait: bool = True, **env: str) -> Process:
        argv = [sys.executable, "-m", "flask", "jobs", "worker", "--name", f"{name}@test", *options]
        return self._worker(name, argv, env, wait)

    def celery_worker(self, *options: str, name: str = "worker", wait: bool = True, **env: str) -> Process:
        """As ``worker``, but started by Celery's own command, with its defaults."""
        command = ["-m", "celery", "-A", "celeryapp:celery", "worker", "-l", "info", "-n", f"{name}@test"]
        return self._worker(name, [sys.executable, *command, *options], env, wait)

    def _worker(self, name: str, argv: list[str], env: dict[str, str], wait: bool) -> Process:
        process = self._start(name, argv, env)
        if wait:
            self.until_ready(process)
        return process

    def until_ready(self, worker: Process) -> None:
        self.until(lambda: " ready" in worker.log, 30, f"{worker.name} is not ready")

    def beat(self) -> Process:
        process = self._start("beat", [sys.executable, "-m", "flask", "jobs", "beat"], {"WITH_SCHEDULE": "1"})
        self.until(lambda: process.lines("beat.started"), 30, "beat has not started")
        return process

    def command(self, *words: str, **env: str) -> Process:
        """Start ``flask jobs …``, and do not wait."""
        return self._start(words[0], [sys.executable, "-m", "flask", "jobs", *words], env)

    def web(self) -> Process:
        port = free_port()
        argv = [
            sys.executable,
            "-m",
            "gunicorn",
            "--bind",
            f"127.0.0.1:{port}",
            "--threads",
            "4",
            f"{self.env['FLASK_APP']}:create_app()",
        ]
        process = self._start("web", argv, {})
        http = self.http = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=15)
        self.until(lambda: http.get("/health/live").status_code == 200, 30, "the web app is not up")
        return process

    def _start(self, name: str, argv: list[str], env: dict[str, str]) -> Process:
        process = Process(name, argv, {**self.env, **env}, self.folder)
        self.processes.append(process)
        return process

    def close(self) -> None:
        for process in self.processes:
            if process.popen.poll() is None:
                process.signal(signal.SIGCONT)
                process.kill_tree()
        if self.http is not None:
            self.http.close()

    # -- jobs ----------------------------------------------------------------------------------------------

    def enqueue(self, task: str, *args: Any, **options: Any) -> str:
        """Enqueue a job with a POST to the web app; returns the job's id."""
        assert self.http is not None, "start web() first"
        response = self.http.post(f"/enqueue/{task}", json={"args": args, "options": options})
        assert response.status_code == 202, response.text
        return str(response.json()["id"])

    def job(self, job_id: str) -> dict[str, Any]:
        assert self.http is not None, "start web() first"
        return self.http.get(f"/jobs/{job_id}").json()

    def until_state(self, job_id: str, state: str, seconds: float = 30) -> dict[str, Any]:
        try:
            self.until(lambda: self.job(job_id)["state"] == state, seconds, f"{job_id} is not {state}")
        except TimeoutError as exc:
            raise TimeoutError(f"{exc}; it is {self.job(job_id)}") from None
        return self.job(job_id)

    def archived(self) -> set[str]:
        """The ids of the jobs that have a dead letter; to wait for, as ``dead`` starts a process."""
        with self.store() as store, store.read() as connection:
            return set(connection.execute(select(dead_letters.c.job_id)).scalars())

    def dead(self, **filters: str) -> list[dict[str, Any]]:
        words = [word for key, value in filters.items() for word in (f"--{key}", value)]
        return list(self.json("dead", "list", "--limit", "1000", *words))

    def events(self, marker: str) -> list[str]:
        """The events in the ledger for ``marker``, in order."""
        lines = (line.split(" ", 1) for line in self.ledger.read_text().splitlines())
        return [event for who, event in lines if who == marker]

    def until(self, check: Callable[..., Any], seconds: float, what: str) -> Any:
        return wait_for(check, seconds, what)


@contextlib.contextmanager
def running(folder: Path, broker_url: str, **settings: str) -> Iterator[System]:
    system = System(folder, broker_url, **settings)
    try:
        yield system
    finally:
        system.close()
