"""The steps that check what users of the stack rely on; each names its claim and returns what it observed."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

from stack import Failed, Stack, all_logs, docker, http, until

RECOVERY = 20.0
"""Seconds within which a job of a killed worker must run again; the aim is 5."""
HOLD = 40
"""Seconds that the slow partner takes: longer than anything here waits for."""
NOT_JSON = "worker: Warm shutdown (MainProcess)"
"""Celery writes this line from its signal handler, past all logging."""


class Story:
    """The steps, in the order of ``STEPS``, on one started stack."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack

    def build(self) -> str:
        """the image builds"""
        self.stack.compose("build", timeout=900)
        size = int(docker("image", "inspect", "-f", "{{.Size}}", self.stack.image)) / 1e6
        return f"{size:.0f} MB"

    def start(self) -> str:
        """everything starts, each when what it needs is healthy"""
        self.stack.compose("up", "-d", "--scale", "partners=2", timeout=300)
        services = {"broker": 1, "postgres": 1, "web": 1, "worker": 1, "partners": 2, "beat": 1}
        for service, count in services.items():
            self.stack.await_healthy(service, count, 240)
        took = until(
            lambda: http(f"{self.stack.web}/health/ready")[0] == 200, 60, "/health/ready answers 200"
        )
        migrated = self.stack.containers("migrate")[0]["State"]
        expect(migrated["ExitCode"] == 0 and not migrated["Running"], f"migrate: {migrated}")
        return f"3 workers healthy; /health/ready {took:.1f} s later"

    def is_closed(self) -> str:
        """only web and mails are published, and on 127.0.0.1; processes are not root and cannot write"""
        published = {}
        for service in ("web", "worker", "partners", "beat", "broker", "postgres", "mailpit"):
            for ports in self.stack.containers(service)[0]["NetworkSettings"]["Ports"].values():
                published[service] = [port["HostIp"] for port in ports or []]
        published = {service: hosts for service, hosts in published.items() if hosts}
        expect(published == {"web": ["127.0.0.1"], "mailpit": ["127.0.0.1"]}, f"published: {published}")
        for service in ("web", "worker", "beat"):
            self.stack.compose(
                "exec", "-T", service, "sh", "-c", "test $(id -u) != 0 && ! touch /app/x 2>/dev/null"
            )
        code, body = http(f"{self.stack.web}/metrics")
        expect(code == 403, f"/metrics answered {code}: {body[:200]}")
        return "and /metrics answers 403 to strangers"

    def page(self) -> str:
        """the page answers"""
        code, body = http(f"{self.stack.web}/")
        expect(code == 200 and "<form" in body, f"/ answered {code}: {body[:200]}")
        return f"{len(body):,} bytes with its forms"

    def sign_up(self) -> str:
        """a sign-up sends its mail"""
        begun = time.monotonic()
        job = self._post("/signup", {"name": "Ada", "email": "ada@example.org"})
        until(lambda: "ada@example.org" in self._recipients(), 30, "the mail is in mailpit")
        took = time.monotonic() - begun
        self._await_success(job)
        return f"in mailpit {took:.2f} s after the request"

    def kill_worker(self) -> str:
        """docker kill of a worker for partners in mid-job: another finishes it"""
        job, first = self._slow_job()
        victim = next(each for each in self.stack.running("partners") if address(each) == first["client"])
        killed_at = time.time()
        docker("kill", victim["Id"])
        again, record = self._second_run(job, killed_at)
        expect(again["client"] != first["client"], "the job ran in the container that was killed")
        return f"it ran again after {again['at'] - killed_at:.2f} s; attempts {record['attempts']}"

    def crash_worker(self) -> str:
        """the only worker crashes in mid-job: Docker starts it again and it finishes the job"""
        job, _ = self._slow_job()
        only = self.stack.running("partners")
        expect(len(only) == 1, f"{len(only)} workers for partners run, not one")
        killed_at = time.time()
        docker("exec", only[0]["Id"], "sh", "-c", "kill -KILL -1")
        again, record = self._second_run(job, killed_at)
        restarts = self.stack.containers("partners")
        expect(sum(each["RestartCount"] for each in restarts) == 1, "Docker did not start it again once")
        return f"it ran again after {again['at'] - killed_at:.2f} s; attempts {record['attempts']}"

    def scale(self) -> str:
        """--scale worker=3"""
        self.stack.compose("up", "-d", "--scale", "worker=3", timeout=180)
        self.stack.await_healthy("worker", 3, 240)
        workers = [*self.stack.running("worker"), *self.stack.running("partners")]
        hosts = {each["Config"]["Hostname"] for each in workers}

        def known() -> bool:
            rows = json.loads(self.stack.flask("jobs", "stats", "--json"))["workers"]
            return {row["hostname"] for row in rows if row["healthy"]} == hosts

        until(known, 30, "`flask jobs stats` shows all these workers as healthy")
        return "three workers, and those for partners, healthy and seen by `flask jobs stats`"

    def broker_comes_back(self) -> str:
        """the broker's container is removed and made anew: its jobs are still there"""
        self.stack.compose("stop", "worker", timeout=120)
        jobs = [self._post("/signup", {"name": f"U{n}", "email": f"u{n}@example.org"}) for n in range(20)]
        self.stack.compose("rm", "--stop", "--force", "broker", timeout=120)
        begun = time.monotonic()
        hook = {"url": "http://partner:8000/ok", "payload": {}}
        code, body = http(f"{self.stack.web}/hooks", hook)
        refused = time.monotonic() - begun
        expect(
            code == 503 and refused < 5,
            f"without a broker /hooks answered {code} in {refused:.1f} s: {body[:200]}",
        )
        code, body = http(f"{self.stack.web}/signup", {"name": "Eve", "email": "u20@example.org"})
        expect(code == 202, f"without a broker /signup, which needs none, answered {code}: {body[:200]}")
        jobs.append(json.loads(body)["job"]["id"])
        self.stack.compose("up", "-d", "--scale", "worker=3", timeout=240)
        for job in jobs:
            self._await_success(job, 60)
        mails = [mail for mail in self._recipients() if mail.startswith("u")]
        expect(len(mails) == len(set(mails)) == 21, f"21 mails were due, {len(mails)} came")
        return f"21 jobs waited, 21 mails; meanwhile /hooks answered 503 in {refused:.2f} s, and /signup 202"

    def commands(self) -> str:
        """flask jobs health, stats and doctor in the container"""
        until(lambda: http(f"{self.stack.web}/health/ready")[0] == 200, 60, "/health/ready answers 200")
        health = json.loads(self.stack.flask("jobs", "health", "--json"))
        stats = json.loads(self.stack.flask("jobs", "stats", "--json"))
        findings = json.loads(self.stack.flask("jobs", "doctor", "--json"))
        for finding in findings:
            if finding["level"] in ("warning", "info"):
                print(f"      doctor: {finding['level']} {finding['check']}: {finding['message']}")
        counted = {row["outcome"]: 0 for row in stats["totals"]}
        for row in stats["totals"]:
            counted[row["outcome"]] += row["count"]
        expect(counted.get("succeeded", 0) >= 23, f"23 jobs have succeeded; stats say {counted}")
        expect(not counted.get("dead"), f"no job died; stats say {counted}")
        return f"{health['status']}; {counted}; doctor has no error among {len(findings)} findings"

    def stop(self) -> str:
        """an orderly stop lets a running job finish, and all end with 0"""
        job = self._post("/hooks", {"url": "http://partner:8000/slow?hold=15", "payload": {"last": True}})
        until(lambda: self._calls(job), 30, "the job runs")
        begun = time.monotonic()
        self.stack.compose("stop", "worker", "partners", "beat", timeout=120)
        took = time.monotonic() - begun
        record = self._job(job)
        expect(record["state"] == "succeeded" and record["attempts"] == 1, f"after the stop: {record}")
        self.stack.compose("stop", "web", timeout=120)
        ended = {
            s: [c["State"]["ExitCode"] for c in self.stack.containers(s)]
            for s in ("web", "worker", "partners", "beat")
        }
        expect(not any(code for codes in ended.values() for code in codes), f"exit codes {ended}")
        return f"workers stopped in {took:.1f} s with the job done in its first attempt"

    def logs(self) -> str:
        """web, workers and beat log JSON, line by line, without a password"""
        seen = 0
        for service in ("web", "worker", "partners", "beat"):
            for container in self.stack.containers(service):
                for line in all_logs(container["Id"]):
                    seen += 1
                    if line == NOT_JSON:
                        continue
                    try:
                        event = json.loads(line)
                    except ValueError:
                        raise Failed(f"{service} logged a line that is not JSON: {line[:300]!r}") from None
                    expect(
                        isinstance(event, dict) and event.get("event"),
                        f"{service}: a line without event: {line}",
                    )
                    expect(
                        "nightshift:nightshift@" not in line and ":changeme@" not in line, f"password: {line}"
                    )
        return f"{seen} lines"

    # what the steps are made of
    def _post(self, path: str, body: dict[str, Any]) -> str:
        code, text = http(self.stack.web + path, body)
        expect(code == 202, f"POST {path} answered {code}: {text[:300]}")
        return str(json.loads(text)["job"]["id"])

    def _job(self, job: str) -> dict[str, Any]:
        code, text = http(f"{self.stack.web}/jobs/{job}")
        return json.loads(text) if code == 200 else {"state": f"HTTP {code}"}

    def _await_success(self, job: str, seconds: float = 30) -> dict[str, Any]:
        record: dict[str, Any] = {}

        def done() -> bool:
            record.update(self._job(job))
            expect(record["state"] != "dead", f"dead: {record}")
            return record["state"] == "succeeded"

        until(done, seconds, f"job {job} succeeds")
        return record

    def _recipients(self) -> list[str]:
        code, text = http(f"{self.stack.mail}/api/v1/messages?limit=100")
        expect(code == 200, f"mailpit answered {code}: {text[:200]}")
        return [to["Address"] for message in json.loads(text)["messages"] for to in message["To"]]

    def _calls(self, job: str) -> list[dict[str, Any]]:
        code, text = http(f"{self.stack.partner()}/calls")
        expect(code == 200, f"the partner answered {code}: {text[:200]}")
        return [call for call in json.loads(text) if call["key"] == job]

    def _slow_job(self) -> tuple[str, dict[str, Any]]:
        """A job that runs now, and its first call to the partner."""
        job = self._post("/hooks", {"url": f"http://partner:8000/slow?hold={HOLD}", "payload": {"order": 42}})
        until(lambda: self._calls(job), 30, "the slow job runs")
        return job, self._calls(job)[0]

    def _second_run(self, job: str, killed_at: float) -> tuple[dict[str, Any], dict[str, Any]]:
        until(lambda: len(self._calls(job)) > 1, RECOVERY, "the job runs again after its worker was killed")
        record = self._await_success(job)
        calls = self._calls(job)
        expect(len(calls) == 2, f"the partner was called {len(calls)} times: {calls}")
        expect(calls[1]["at"] > killed_at, "it ran again before it was killed")
        return calls[1], record


STEPS: list[Callable[[Story], str]] = [
    Story.build,
    Story.start,
    Story.is_closed,
    Story.page,
    Story.sign_up,
    Story.kill_worker,
    Story.crash_worker,
    Story.scale,
    Story.broker_comes_back,
    Story.commands,
    Story.stop,
    Story.logs,
]


def expect(held: object, otherwise: str) -> None:
    if not held:
        raise Failed(otherwise)


def address(container: dict[str, Any]) -> str:
    return next(iter(container["NetworkSettings"]["Networks"].values()))["IPAddress"]
