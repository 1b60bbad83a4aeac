"""Replay with changed arguments, and copies of jobs: really run by a worker, on both brokers and both databases."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from celery import chain, group

from cancel_place import PAIRS
from children import fork, join
from flask_nightshift.cli import jobs as jobs_command
from flask_nightshift.dead_letters import Status
from flask_nightshift.dead_letters.claims import take_back
from flask_nightshift.domain.job import utcnow
from flask_nightshift.errors import ArgumentsRefused, BodyNotKept, DuplicateJob, JobNotFound
from flask_nightshift.observe import job_detail
from flask_nightshift.operations import copies, dead_letters
from flask_nightshift.operations import jobs as job_operations
from flask_nightshift.operations.dead_letters import Filters
from flask_nightshift.store import tables
from lettersapp import after, create_app, jobs, kept, keyed, once, only, pay
from system import System, running


class Letters:
    """A system with a worker, and an app in this process that enqueues, replays and copies."""

    def __init__(self, system: System, app: Any) -> None:
        self.system, self.app = system, app
        self.services = app.extensions["nightshift"]

    def died(self, result: Any) -> str:
        """The id of the job's dead letter, when it is archived."""
        self.system.until(lambda: self.letter(result.id), 30, f"{result.id} does not die")
        found = self.letter(result.id)
        assert found is not None
        return str(found.letter.id)

    def letter(self, job_id: str, number: int = 0) -> Any:
        found = dead_letters.latest(self.services, Filters(status=None), 100)
        mine = [each for each in found if each.letter.job_id == job_id]
        return mine[number] if len(mine) > number else None

    def did(self, job_id: str, *what: Any) -> None:
        """Wait until the body of the job notes just ``what``."""
        self.system.until(lambda: self.notes(job_id), 30, f"{job_id} does not run")
        assert self.notes(job_id) == [list(what)]

    def notes(self, job_id: str) -> list[Any]:
        lines = map(json.loads, self.system.ledger.read_text().splitlines())
        return [line[2:] for line in lines if line[0] == job_id]

    def of_task(self, task: str) -> list[Any]:
        lines = map(json.loads, self.system.ledger.read_text().splitlines())
        return [[line[0], *line[2:]] for line in lines if line[1] == task]

    def command(self, *words: str) -> Any:
        return self.app.test_cli_runner().invoke(jobs_command, list(words))

    def job(self, job_id: str) -> Any:
        self.services.journal.flush()
        return job_detail.detail(self.services, job_operations.find(self.services, job_id))


class Shared:
    """The system of the module's tests; a test that runs again gets a new one."""

    def __init__(self, request: pytest.FixtureRequest, factory: pytest.TempPathFactory) -> None:
        self._request, self._factory = request, factory
        self._stack = ExitStack()
        self._made: Letters | None = None

    def of(self, test: Any) -> Letters:
        if self._made is None or getattr(test, "execution_count", 1) > 1:
            self.close()
            self._made = self._open(self._factory.mktemp("letters"))
        self._made.system.ledger.write_text("")
        return self._made

    def _open(self, folder: Path) -> Letters:
        broker, database = self._request.param
        settings = {"FLASK_APP": "lettersapp"}
        if database is not None:
            settings["NIGHTSHIFT_DATABASE_URL"] = self._request.getfixturevalue(database).fresh_url()
        url = self._request.getfixturevalue(broker).fresh_url()
        system = self._stack.enter_context(running(folder, url, **settings))
        config = {"INSTANCE": system.env["INSTANCE"], "NIGHTSHIFT_BROKER_URL": url}
        app = create_app(**config, NIGHTSHIFT_DATABASE_URL=system.database_url)
        self._stack.enter_context(app.app_context())
        self._stack.enter_context(pytest.MonkeyPatch.context()).setenv("LEDGER", str(system.ledger))
        self._stack.callback(jobs.close, app)
        system.worker("--concurrency", "2", "--queues", "celery,quiet")
        return Letters(system, app)

    def close(self) -> None:
        self._stack.close()


@pytest.fixture(scope="module", params=PAIRS)
def shared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    made = Shared(request, tmp_path_factory)
    yield made
    made.close()


@pytest.fixture
def letters(shared: Shared, request: pytest.FixtureRequest) -> Letters:
    return shared.of(request.node)


class TestReplay:
    def test_a_job_runs_with_changed_arguments_under_its_id(self, letters: Letters) -> None:
        job = chain(pay.s(1, -5, "s3cret", note_to="ann"), after.s("x")).apply_async()
        first = job.parent.id
        letter_id = letters.died(job.parent)
        shown = dead_letters.editable(letters.services, letter_id)
        assert (shown.args, shown.kwargs) == ('[1, -5, "***"]', '{"note_to": "ann"}')
        done = letters.command("dead", "replay", letter_id, "--args", '[1, 50, "***"]')
        assert done.exit_code == 0, done.output
        assert "1 dead letter replayed" in done.output
        letters.did(first, 1, 50, "s3cret", "ann")
        letters.did(job.id, 50, "x")  # the chain goes on, with the ids that it had
        letters.system.until(lambda: letters.job(first).record.state == "succeeded", 10, "it is not recorded")
        record = letters.job(first).record
        assert (record.run, record.args) == (1, "(1, 50, '***')")
        replayed = letters.letter(first)
        assert (replayed.status, replayed.new_args) == (Status.REPLAYED, '[1, 50, "***"]')
        assert "s3cret" not in letters.command("dead", "show", letter_id).output

    def test_wrong_arguments_are_refused_and_the_letter_waits(self, letters: Letters) -> None:
        job = pay.delay(2, -5, "s3cret")
        letter_id = letters.died(job)
        wrong = {
            "args is not JSON": ("[1", None),
            "args must be a JSON list": ('{"a": 1}', None),
            "kwargs must be a JSON object": (None, "[]"),
            "args is nested too deeply": ("[" * 600 + "]" * 600, None),
            "the name 'a' is there twice": (None, '{"a": 1, "a": 2}'),
            r"does not take these arguments: .*it takes \(user_id, amount, \[token\], \[note_to\]\)": (
                "[1]",
                None,
            ),
            "unexpected keyword argument 'nonsense'": (None, '{"nonsense": 1}'),
            r"args\[1\] is '\*\*\*', which stands for a hidden value": ('[1, "***"]', None),
            "nested too deeply": ("[" * 100_000, None),
        }
        for said, (args, kwargs) in wrong.items():
            with pytest.raises(ArgumentsRefused, match=said) as caught:
                dead_letters.replay_changed(letters.services, letter_id, args=args, kwargs=kwargs)
            assert "s3cret" not in str(caught.value)
        done = letters.command("dead", "replay", letter_id, "--task", "letters.pay", "--args", "[1]")
        assert done.exit_code == 2
        assert letters.letter(job.id).status is Status.WAITING
        assert (
            letters.command("dead", "replay", letter_id, "--kwargs", "{}").exit_code == 0
        )  # nothing has changed
        letters.system.until(lambda: letters.letter(job.id, 1), 30, "it does not die again")
        assert letters.letter(job.id).letter.body == letters.letter(job.id, 1).letter.body

    def test_the_keys_of_a_unique_job_are_computed_anew(self, letters: Letters) -> None:
        """The body is changed, and with it the key, unless the key says the same or the call gave it."""
        jobs_ = [only.delay(3, -5), keyed.delay(3, -5), only.apply_async((4, -5), unique_key="told")]
        ids = [letters.died(job) for job in jobs_]
        holder = only.apply_async((3, 50), countdown=600)
        result = dead_letters.replay_changed(letters.services, ids[0], args="[3, 50]")
        assert f"the job {holder.id} holds its lock" in result.skipped[ids[0]]
        waiting = letters.letter(jobs_[0].id)
        assert (waiting.status, waiting.new_args) == (Status.WAITING, None)
        for letter_id, job, args in zip(ids, jobs_, ([3, 60], [3, 60], [4, 60]), strict=True):
            assert dead_letters.replay_changed(letters.services, letter_id, args=json.dumps(args)).ids == (
                letter_id,
            )
            letters.did(job.id, *args)
        with pytest.raises(DuplicateJob, match=holder.id):
            copies.enqueue(letters.services, ids[0], args="[3, 50]")

    def test_a_job_whose_work_was_done_is_refused(self, letters: Letters) -> None:
        job = once.delay(5, -5)
        letter_id = letters.died(job)
        other = once.delay(6, 1)
        letters.did(other.id, 6, 1)
        letters.system.until(lambda: letters.job(other.id).record.state == "succeeded", 10, "not recorded")
        with pytest.raises(
            ArgumentsRefused, match=f"the job {other.id} has done its work .*the same idempotency key"
        ):
            dead_letters.replay_changed(letters.services, letter_id, args="[6, 1]")
        assert letters.letter(job.id).status is Status.WAITING
        dead_letters.replay_changed(letters.services, letter_id, args="[5, 1]")
        letters.did(job.id, 5, 1)

    def test_of_operators_at_once_one_replays(self, letters: Letters) -> None:
        letter_id = letters.died(pay.delay(7, -5))
        job_id = dead_letters.find(letters.services, letter_id).letter.job_id
        results: list[Any] = []
        begin = threading.Barrier(3)

        def operator(amount: int) -> None:
            begin.wait()
            args = json.dumps([7, amount])
            results.append(dead_letters.replay_changed(letters.services, letter_id, args=args).ids)

        threads = [threading.Thread(target=operator, args=(amount,)) for amount in (1, 2, 3)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        assert sorted(results) == [(), (), (letter_id,)]
        letters.system.until(lambda: letters.notes(str(job_id)), 30, "it does not run")
        [did] = letters.notes(str(job_id))
        assert json.loads(letters.letter(str(job_id)).new_args) == did[:2]

    def test_a_kill_before_the_publish_loses_nothing(self, letters: Letters) -> None:
        letter_id = letters.died(pay.delay(8, -5))

        def dies() -> None:
            letters.services.broker.publish = lambda *_, **__: os._exit(0)
            dead_letters.replay_changed(letters.services, letter_id, args="[8, 1]")

        join(fork(dies))
        found = dead_letters.find(letters.services, letter_id)
        assert (found.status, found.new_args) == (Status.REPLAYING, "[8, 1]")
        with letters.services.store.begin() as connection:  # the claim grows old
            table = tables.dead_letters
            long_ago = (
                table.update().where(table.c.id == letter_id).values(status_at=utcnow().replace(year=2025))
            )
            connection.execute(long_ago)
        assert take_back(letters.services.store) == 1
        found = dead_letters.find(letters.services, letter_id)
        assert (found.status, found.new_args) == (Status.WAITING, None)
        dead_letters.replay_changed(letters.services, letter_id, args="[8, 2]")
        letters.did(str(found.letter.job_id), 8, 2, "", "")


class TestCopies:
    def test_a_dead_letter_is_enqueued_again_and_as_a_changed_copy(self, letters: Letters) -> None:
        workflow = chain(
            pay.s(11, -5, "s3cret"), after.s("x"), group(after.s("y"), after.s("z"))
        ).apply_async()
        first = workflow
        while first.parent is not None:
            first = first.parent
        letter_id = letters.died(first)
        made = copies.enqueue(letters.services, letter_id, args='[11, 7, "***"]')
        assert (made.original_id, made.changed, made.left) == (first.id, True, False)
        letters.did(made.job_id, 11, 7, "s3cret", "")
        letters.system.until(
            lambda: len(letters.of_task("letters.after")) == 3, 30, "the chain does not go on"
        )
        followed = letters.of_task("letters.after")
        assert sorted(each[2] for each in followed) == ["x", "y", "z"]
        announced = {each.job_id for each in letters.job(first.id).family.members.values()} - {first.id}
        assert announced
        assert not announced & {each[0] for each in followed}  # under new ids
        copy, original = letters.job(made.job_id), letters.job(first.id)
        assert (copy.as_dict()["origin_id"], original.as_dict()["copies"]) == (first.id, [made.job_id])
        assert (original.record.state, letters.letter(first.id).status) == ("dead", Status.WAITING)
        assert f"copy of   {first.id}" in letters.command("show", made.job_id).output
        again = json.loads(letters.command("copy", first.id, "--json").output)
        assert again["changed"] is False
        letters.system.until(
            lambda: letters.letter(again["job_id"]), 30, "it does not die as the first one did"
        )
        assert letters.letter(again["job_id"]).origin == first.id

    def test_a_durable_job_and_a_delayed_one(self, letters: Letters) -> None:
        job = kept.apply_async((12,), countdown=600)
        made = copies.enqueue(letters.services, job.id, args="[13]")
        letters.did(made.job_id, 13)
        letters.system.until(lambda: letters.job(made.job_id).record.state == "succeeded", 10, "not recorded")
        assert letters.job(job.id).record.state == "queued"
        later = pay.apply_async((14, 1), countdown=600, link=after.s("linked"))
        letters.services.journal.flush()
        if letters.services.broker.delayed_jobs() is None:
            with pytest.raises(BodyNotKept, match="delayed jobs only on Redis and Valkey"):
                copies.enqueue(letters.services, later.id)
            return
        made = copies.enqueue(letters.services, later.id[-12:])
        letters.did(made.job_id, 14, 1, "", "")
        letters.system.until(lambda: letters.of_task("letters.after"), 30, "its callback does not run")

    def test_a_copy_of_a_job_that_was_replayed_with_other_arguments_never_has_the_old_ones(
        self, letters: Letters
    ) -> None:
        job = pay.apply_async((20, -5))
        letter_id = letters.died(job)
        replayed = letters.command("dead", "replay", letter_id, "--args", "[20, 3]", "--queue", "unheard")
        assert replayed.exit_code == 0, replayed.output
        with pytest.raises(BodyNotKept, match=f"replayed with other arguments.*{letter_id}"):
            copies.enqueue(letters.services, job.id)
        of_the_letter = copies.original(letters.services, letter_id)
        assert copies.editable(letters.services, of_the_letter).args == "[20, -5]"

    def test_a_copy_leaves_its_group_and_an_ended_job_has_no_body(self, letters: Letters) -> None:
        results = group(pay.s(15, -5), pay.s(16, 1)).apply_async()
        letter_id = letters.died(results.children[0])
        made = copies.enqueue(letters.services, letter_id, kwargs='{"note_to": "ann"}', args="[15, 2]")
        assert made.left
        letters.did(made.job_id, 15, 2, "", "ann")
        assert letters.job(made.job_id).family.this.group_id is None
        ended = results.children[1].id
        letters.system.until(lambda: letters.job(ended).record.state == "succeeded", 10, "not recorded")
        with pytest.raises(BodyNotKept, match=f"the message of the job {ended} is not kept"):
            copies.enqueue(letters.services, ended)
        with pytest.raises(JobNotFound):
            copies.enqueue(letters.services, "no-such-job")
