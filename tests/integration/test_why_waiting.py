"""``flask jobs show`` tells why a job waits, on both brokers and databases, with real workers, jobs and faults."""

from __future__ import annotations

import gc
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from celery import chain, chord, group
from sqlalchemy import update

import whyapp
from flask_nightshift.domain.job import utcnow
from flask_nightshift.observe import job_detail
from flask_nightshift.operations import jobs as operations
from flask_nightshift.operations import pauses
from flask_nightshift.services import current
from flask_nightshift.store import tables
from servers import free_port, wait_for
from system import Process, System
from why_site import PAIRS, why_system


class Site:
    """A system, and its app current here."""

    def __init__(self, system: System, broker: str) -> None:
        self.system, self.broker = system, broker

    def detail(self, job_id: str) -> job_detail.JobDetail:
        return job_detail.detail(current(), operations.find(current(), job_id))

    def why(self, job_id: str) -> str:
        """The sentence, or the state of a job that does not wait."""
        found = self.detail(job_id)
        return found.waiting.reason.sentence if found.waiting else str(found.record.state)

    def until_why(self, job_id: str, pattern: str) -> str:
        def said() -> str | None:
            sentence = self.why(job_id)
            return sentence if re.fullmatch(pattern, sentence) else None

        try:
            return str(wait_for(said, 40, pattern))
        except TimeoutError as exc:
            raise TimeoutError(f"{exc}; it is said: {self.why(job_id)}") from None

    def until_state(self, job_id: str, state: str) -> None:
        wait_for(lambda: self.detail(job_id).record.state == state, 40, f"{job_id} is {state}")

    def open(self, gate: str) -> None:
        Path(self.system.env["INSTANCE"], f"gate.{gate}").touch()

    def worker(self, name: str, queues: str, concurrency: int) -> Process:
        """A worker whose heartbeat is there."""
        made = self.system.worker("--queues", queues, "--concurrency", str(concurrency), name=name)
        known = lambda: any(row["name"] == f"{name}@test" for row in self.workers())  # noqa: E731
        wait_for(known, 20, f"{name} has reported")
        return made

    def workers(self) -> list[dict[str, Any]]:
        from flask_nightshift.observe import workers

        return [workers.as_dict(row) for row in workers.seen(current(), utcnow())]

    def silence(self, *names: str) -> None:
        """Make killed workers look as they do 15 s later."""
        long_ago = utcnow() - timedelta(minutes=2)
        rows = update(tables.workers).where(tables.workers.c.name.in_([f"{name}@test" for name in names]))
        with current().store.begin() as connection:
            connection.execute(rows.values(seen_at=long_ago))


@pytest.fixture(params=PAIRS)
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    with why_system(request, tmp_path) as (system, broker):
        yield Site(system, broker)


def enqueue(site: Site, call: Any) -> str:
    """The id of a job whose record is written."""
    job_id = str(call().id)
    assert current().journal.flush(10)
    return job_id


def test_before_and_without_workers(site: Site) -> None:
    waits = enqueue(site, whyapp.quick.delay)
    assert site.why(waits) == "No worker is alive, so none consumes its queue 'mail'."
    due = enqueue(site, lambda: whyapp.quick.apply_async(countdown=3600))
    assert re.fullmatch(r"It is due at .* UTC, in 60 min\.", site.why(due))
    assert [each.cause for each in site.detail(due).waiting.also] == ["no_worker"]  # type: ignore[union-attr]
    first, second = (
        enqueue(site, lambda: whyapp.quick.apply_async(
            unique="until_done", unique_key="report", on_duplicate="replace", countdown=1)) for _ in range(2)
    )  # fmt: skip
    by = "Another job" if site.broker == "valkey" else f"The job {second}"
    replaced = f"{by} has replaced it as the unique job; a worker skips it when it meets it."
    assert site.why(first) == replaced

    pauses.pause(current(), ["mail"], by="ann", reason="deploy")
    assert re.fullmatch(r"The queue 'mail' is paused since .* UTC by ann: deploy\.", site.why(waits))
    assert "waits     The queue 'mail' is paused since " in site.system.cli("show", waits).stdout
    pauses.resume(current(), ["mail"])

    away = re.sub(r"^(\w+)://.*", rf"\1://127.0.0.1:{free_port()}", site.system.env["NIGHTSHIFT_BROKER_URL"])
    database = site.system.env["NIGHTSHIFT_DATABASE_URL"]
    elsewhere = whyapp.create_app(NIGHTSHIFT_BROKER_URL=away, NIGHTSHIFT_DATABASE_URL=database)
    with elsewhere.app_context():
        kept = str(whyapp.kept.delay().id)
        assert re.fullmatch(
            r"It waits in the outbox for \d+ s, because the broker does not answer: .*", site.why(kept)
        )
        assert site.why(waits).startswith("The broker does not answer, so no worker gets it: ")
    whyapp.jobs.close(elsewhere)
    assert site.why(kept[-8:]).endswith("and neither a worker nor Beat is alive to run one.")


def test_beside_workers(site: Site) -> None:
    site.worker("one", "celery,mail", 1)
    held = enqueue(site, lambda: whyapp.hold.delay("a"))
    site.until_why(held, "running")
    others = [enqueue(site, whyapp.quick.delay) for _ in range(6)]
    busy = r"The only worker of 'mail' is busy with 1 job, for the longest with why.hold .* \(\d+ s\)\."
    most = "About" if site.broker == "valkey" else "At most"
    site.until_why(
        others[-1], rf"(A worker has taken it and .*|{busy} {most} \d+ jobs? (is|are) before it; none .*)"
    )
    unknown = enqueue(site, lambda: whyapp.jobs.celery.send_task("why.quik", queue="mail"))
    site.until_why(
        unknown,
        re.escape("No live worker of the queue 'mail' knows its task 'why.quik'. Did you mean 'why.quick'?"),
    )
    postponed = site.detail(unknown).waiting
    assert postponed is not None
    assert [each.cause for each in postponed.also] in ([], ["taken"], ["postponed"])
    lost = enqueue(site, lambda: whyapp.quick.apply_async(queue="mial"))
    assert site.why(lost) == "No live worker consumes its queue 'mial'. Did you mean 'mail'?"
    purged = enqueue(site, lambda: whyapp.quick.apply_async(queue="celery"))
    current().broker.purge("celery")
    gone = "The broker does not have it: " if site.broker == "valkey" else "Its queue is empty: "
    site.until_why(purged, rf"({gone}|A worker has taken it and ).*")
    with current().store.begin() as connection:  # as long as its start is not written
        connection.execute(update(tables.jobs).where(tables.jobs.c.id == held).values(state="queued"))
    assert site.why(held) == "The worker one@test runs it already; the history is behind."
    site.open("a")
    site.until_state(others[-1], "succeeded")

    retried = enqueue(site, whyapp.fails.delay)
    site.until_why(retried, r"Its retry is due at .* UTC, in \d+ (s|min)\.")
    assert site.detail(retried).following[0].what == "retry"
    shown = site.system.cli("show", retried).stdout
    assert "waits     Its retry is due at " in shown
    assert "next      its retry at " in shown


def test_jobs_that_wait_for_others(site: Site) -> None:
    site.worker("two", "celery,mail", 3)
    body = chord([whyapp.part.s(""), whyapp.part.s("p"), whyapp.part.s("p")], whyapp.total.s()).apply_async()
    link = r"why.part [-0-9a-f]+, which runs on two@test"
    site.until_why(body.id, rf"It is the body of a chord and waits for 2 of 3 jobs: {link}; {link}\.")
    last = chain(whyapp.part.si("c"), whyapp.part.si(""), whyapp.quick.si()).apply_async()
    first = last.parent.parent
    site.until_why(last.id, rf"It follows why.part {last.parent.id}, which is not enqueued yet\.")
    site.until_why(last.parent.id, rf"It follows why.part {first.id}, which runs on two@test\.")
    told = site.system.json("show", first.id)
    assert [(each["what"], each["job_id"], each["task"]) for each in told["next"]] == [
        ("job", last.parent.id, "why.part"), ("job", last.id, "why.quick"),
    ]  # fmt: skip
    assert told["waiting"] is None
    page = site.system.cli("show", body.id[-12:]).stdout
    assert "waits for 2 of 3 jobs:" in page
    assert page.count("├─ why.part ") + page.count("└─ why.part ") == 3
    for gate in "cp":
        site.open(gate)
    site.until_state(body.id, "succeeded")
    site.until_state(last.id, "succeeded")
    done = site.detail(last.id)
    assert done.family is not None
    assert done.family.parent is not None
    assert (done.family.parent.job_id, done.family.this.root_id) == (last.parent.id, first.id)

    whole = chain(whyapp.part.si(""), group(whyapp.part.si(""), whyapp.part.si("")), whyapp.total.s())
    end = enqueue(site, whole.apply_async)
    gc.collect()  # a GroupResult is a cycle, whose end needs the broker
    site.until_state(end, "succeeded")

    def shapes() -> list[tuple[str, int]]:
        return [(each.job.job_id, len(each.parts)) for top in site.detail(end).trees for each in top.children]

    wait_for(lambda: shapes() == [(end, 2)], 10, "both workers have recorded their parts")
    (top,) = site.detail(end).trees
    assert site.detail(top.job.job_id).trees == (top,), "the same from above"

    charging = enqueue(site, lambda: whyapp.charge.delay("key"))
    site.until_state(charging, "running")
    again = enqueue(site, lambda: whyapp.charge.delay("key"))
    site.until_why(
        again, rf"Its last attempt gave it back \d+ s ago: 'why.charge:key' is in progress: .*{charging}.*"
    )
    site.open("key")

    parent = enqueue(site, whyapp.parent.delay)
    site.until_state(parent, "succeeded")
    children = wait_for(
        lambda: len(found := site.detail(parent).trees[0].children if site.detail(parent).trees else ()) == 2 and found,
        20, "both children are known",
    )  # fmt: skip
    assert {each.job.task for each in children} == {"why.quick"}
    assert all(each.job.parent_id == parent for each in children)


def test_a_worker_that_died(site: Site) -> None:
    doomed = site.worker("doomed", "mail", 2)
    held = [enqueue(site, lambda: whyapp.hold.delay("z")) for _ in range(2)]
    for each in held:
        site.until_state(each, "running")
    wait_for(lambda: len(list(Path(site.system.env["INSTANCE"]).glob("held.*"))) == 1, 20, "they hold")
    doomed.kill_tree()
    site.silence("doomed")
    assert all(
        site.why(each).startswith("Its worker doomed@test is gone (not heard of for ") for each in held
    )
    site.worker("heir", "mail", 2)

    def quarantined() -> list[str]:
        return [said for each in held if "killed its worker" in (said := site.why(each))]

    (said,) = wait_for(lambda: len(found := quarantined()) == 1 and found, 40, "one waits in quarantine")
    assert ("1 job waits there" in said) == (site.broker == "rabbitmq")
    site.open("z")
    for each in held:
        site.until_state(each, "succeeded")
