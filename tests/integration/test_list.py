"""Pages of jobs from the history: filters, keys, tags, search, parts of ids, and rows of older versions."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select, text, update

from flask_nightshift import journal
from flask_nightshift.domain.events import (
    JobDied,
    JobEnqueued,
    JobEvent,
    JobReturned,
    JobStarted,
    JobSucceeded,
)
from flask_nightshift.domain.job import Failure, JobRef, Reason, utcnow
from flask_nightshift.errors import DeadLetterNotFound, InvalidKey, JobNotFound
from flask_nightshift.journal import batch as batches
from flask_nightshift.journal import progress
from flask_nightshift.journal.following import Open
from flask_nightshift.journal.progress import Said
from flask_nightshift.observe import job_counts
from flask_nightshift.observe import jobs as pages
from flask_nightshift.observe.filters import Filters
from flask_nightshift.operations import ids
from flask_nightshift.store import Store, blocks, kinds
from flask_nightshift.store.tables import jobs
from flask_nightshift.store.tables import kinds as kinds_table
from flask_nightshift.store.tables import tags as tags_table
from opsapp import Ops, opened
from servers import Valkey

NOW = utcnow()
TASKS, QUEUES, WORKERS = ("a.mail", "b.report"), ("mail", "slow"), ("w:1", "w:2")
ERRORS = ("OSError", "requests.exceptions.Timeout")


def write(store: Store, *events: JobEvent) -> None:
    batches.write(store, batches.Batch("j", "w:1", 1, len(events), Open().follow(events)))


def ref(job_id: str, seconds: float = 0, **values: Any) -> JobRef:
    known: dict[str, Any] = {
        "task": TASKS[0],
        "queue": QUEUES[0],
        "attempt": 1,
        "enqueued_at": NOW + timedelta(seconds=seconds),
    }
    return JobRef(job_id, **(known | values))


def enqueue(store: Store, *refs: JobRef) -> None:
    write(store, *(JobEnqueued(job, job.enqueued_at or NOW, f"('{job.job_id}',)", "{}") for job in refs))


def die(job: JobRef, worker: str = "w:1", error: str = "OSError") -> JobDied:
    return JobDied(job, NOW, worker, 0.5, Failure(error, "it broke"), Reason.EXHAUSTED)


def listed(store: Store, **conditions: Any) -> list[str]:
    """All ids that meet ``conditions``, page by page."""
    limit = conditions.pop("limit", 3)
    found: list[str] = []
    after: str | None = None
    while True:
        page = pages.page(store, Filters(**conditions), limit=limit, after=after)
        assert len(page.jobs) <= limit
        found += [job.id for job in page.jobs]
        if page.after is None:
            return found
        assert page.after != after
        after = page.after


def test_every_combination_of_filters_finds_what_a_scan_finds(store: Store) -> None:
    lottery = random.Random(16)
    shapes = list(itertools.product(TASKS, QUEUES, WORKERS, ("queued", "running", "succeeded", *ERRORS)))
    made: list[tuple[Any, ...]] = []
    events: list[JobEvent] = []
    for number in range(150):
        task, queue, worker, end = lottery.choice(shapes)
        tags = ("often",) if number % 3 else ("often", "seldom")
        # many have the same time, as those of one enqueue_many()
        job = ref(f"{number:03}-{lottery.random()}", number // 20, task=task, queue=queue, tags=tags)
        events.append(JobEnqueued(job, NOW))
        if end != "queued":
            events.append(JobStarted(job, NOW, worker, 0.0))
        if end == "succeeded":
            events.append(JobSucceeded(job, NOW, worker, 0.5))
        elif end in ERRORS:
            events.append(die(job, worker, end))
        state = "dead" if end in ERRORS else end
        made.append((job.enqueued_at, job.job_id, state, task, queue, None if state == "queued" else worker,
                     end if state == "dead" else None, tags))  # fmt: skip
    write(store, *events)
    made.sort(reverse=True)

    def scan(
        state: Any, task: Any, queue: Any, worker: Any, error: Any, tag: Any, since: Any, until: Any
    ) -> list[str]:
        wanted = (state, task, queue, worker, error)
        return [
            row[1] for row in made
            if all(value is None or value == row[at] for at, value in enumerate(wanted, 2))
            and (tag is None or tag in row[7])
            and (since is None or row[0] >= since)
            and (until is None or row[0] < until)
        ]  # fmt: skip

    times = (None, NOW + timedelta(seconds=3))
    names = ("state", "task", "queue", "worker", "error", "tag", "since", "until")
    every = list(itertools.product(
        (None, "queued", "dead", "running", "retrying"), (None, TASKS[1]), (None, QUEUES[0]), (None, WORKERS[1]),
        (None, ERRORS[1]), (None, "seldom"), times, times,
    ))  # fmt: skip
    for wanted in lottery.sample(every, 120):
        conditions = dict(zip(names, wanted, strict=True))
        assert listed(store, **conditions, limit=lottery.choice((1, 7, 40))) == scan(**conditions), conditions
    assert listed(store, error="Timeout") == scan(None, None, None, None, ERRORS[1], None, None, None)


def test_wildcards_and_names_that_have_a_star(store: Store) -> None:
    names = ("mail.send", "mail.bill", "Mail.send", "email.send", "a*b", "aXb", "100%_[x]?")
    enqueue(store, *(ref(name, number, task=name, queue=name.upper()) for number, name in enumerate(names)))
    for pattern, found in (
        ("mail.*", "mail.bill mail.send"),
        ("*.send", "email.send Mail.send mail.send"),
        ("*ail.s*", "email.send Mail.send mail.send"),
        ("a*b", "aXb a*b"),
        (r"a\*b", "a*b"),
        ("100%*", "100%_[x]?"),
        ("*_[x]?", "100%_[x]?"),
        ("100?*", ""),
        ("*", " ".join(reversed(names))),
    ):
        assert listed(store, task=pattern) == found.split(), pattern
        assert listed(store, task=pattern, queue="*") == found.split(), pattern
        assert job_counts.count(store, Filters(task=pattern)).number == len(found.split())
    write(store, die(ref("email.send", task="email.send"), error="requests.exceptions.ReadTimeout"))
    for error, ids_ in (("readtimeout", ["email.send"]), ("timeout", []), ("*timeout", ["email.send"])):
        assert listed(store, error=error) == ids_
        assert job_counts.count(store, Filters(error=error)).number == len(ids_)
    assert pages.did_you_mean(store, Filters(task="male.*"))[0].startswith(
        "no job in the history has the task"
    )
    assert pages.did_you_mean(store, Filters(error="timeout"))[0].endswith("did you mean 'ReadTimeout'?")
    assert pages.did_you_mean(store, Filters(task="mail.*", error="ReadTimeOut")) == []


def test_counts_are_those_of_the_lists_and_stop_at_the_limit(store: Store) -> None:
    tags = ("billing",)
    enqueue(store, *(ref(f"job-{number}", number, tags=tags if number % 2 else ()) for number in range(9)))
    write(store, *(die(ref(f"job-{number}", number, tags=tags), f"w:{number}") for number in (1, 3)))
    write(store, die(ref("job-4", 4)))
    with store.begin() as connection:  # as an older version wrote them
        old = update(jobs).values(kind=None)
        connection.execute(old.where(jobs.c.id == "job-8"))
        connection.execute(old.where(jobs.c.id == "job-6").values(enqueued_at=None))
    every: list[dict[str, Any]] = [
        {}, {"state": "queued"}, {"state": "dead"}, {"tag": "billing"}, {"tag": "billing", "state": "queued"},
        {"worker": "w:*"}, {"since": NOW + timedelta(seconds=2)}, {"search": "job-"}, {"search": ("job-3", "broke")},
        {"state": "dead", "until": NOW + timedelta(seconds=4)}, {"tag": "none"}, {"task": "none"},
        {"tag": "billing", "since": NOW + timedelta(seconds=2), "until": NOW + timedelta(seconds=6)},
    ]  # fmt: skip
    for wanted in every:
        number = len(listed(store, **wanted))
        found = job_counts.count(store, Filters(**wanted))
        assert (found.number, found.more) == (number, False), wanted
        if number > 1:
            assert str(job_counts.count(store, Filters(**wanted), limit=number - 1)) == f"{number - 1}+"
    ticks = itertools.count(step=pages.SEARCH_SECONDS)
    assert job_counts.count(store, Filters(search="job-"), clock=lambda: next(ticks)).more is False


def test_a_page_stays_where_it_is_while_jobs_are_enqueued(store: Store) -> None:
    enqueue(store, *(ref(f"job-{number}", number) for number in range(6)))
    first = pages.page(store, limit=2)
    enqueue(store, ref("later", 99))
    second = pages.page(store, limit=2, after=first.after)
    assert [job.id for job in (*first.jobs, *second.jobs)] == ["job-5", "job-4", "job-3", "job-2"]
    assert pages.page(store, limit=10, after=second.after).after is None
    for wrong in ("nonsense", "2026-11-27T10:00", ",", "x,id"):
        with pytest.raises(InvalidKey, match="is not the key of a page"):
            pages.page(store, after=wrong)


def test_a_job_moves_between_lists_with_its_state(store: Store) -> None:
    job = ref("job", tags=("billing",))
    enqueue(store, job)
    write(store, JobStarted(job, NOW + timedelta(seconds=1), "w:2", 0.0))
    assert listed(store, state="running", worker="w:2", tag="billing") == ["job"]
    write(store, JobReturned(job, NOW + timedelta(seconds=2), "w:2", "the worker stops"))
    assert listed(store, state="queued", tag="billing") == ["job"]
    assert listed(store, worker="w:2") == listed(store, state="running", tag="billing") == []
    write(store, die(job)._replace(at=NOW + timedelta(seconds=3)))
    assert listed(store, state="dead", error="OSError", tag="billing") == ["job"]
    assert pages.page(store).jobs[0].tags == ("billing",)


def test_a_job_that_does_not_say_when_it_was_enqueued_counts_from_its_start(store: Store) -> None:
    """It comes from a plain Celery producer."""
    job = ref("foreign", enqueued_at=None)
    write(store, JobStarted(job, NOW + timedelta(seconds=5), "w:1"))
    write(store, JobSucceeded(job, NOW + timedelta(seconds=9), "w:1", 4.0))
    enqueue(store, ref("older", 1), ref("newer", 8))
    assert listed(store) == ["newer", "foreign", "older"]
    record = journal.find_job(store, "foreign")
    assert record is not None
    assert (record.enqueued_at, record.history[0].wait) == (NOW + timedelta(seconds=5), None)


def test_progress_before_the_start_is_recorded_changes_neither_list_nor_order(store: Store) -> None:
    with store.begin() as connection:
        for job, at in ((ref("job"), NOW), (ref("foreign", enqueued_at=None), NOW + timedelta(seconds=5))):
            progress.write(connection, [Said(job, at, 1, 2, "")])
    assert listed(store, state="running") == ["foreign", "job"]
    job = ref("job")
    write(store, JobStarted(job, NOW, "w:1", 0.0))
    assert listed(store, state="running") == ["foreign", "job"]
    write(store, JobStarted(ref("foreign", enqueued_at=None), NOW + timedelta(seconds=5), "w:1"))
    assert listed(store, state="running") == ["foreign", "job"]


class TestSearch:
    def test_it_looks_in_arguments_and_errors(self, store: Store) -> None:
        enqueue(store, ref("one", 1), ref("two", 2), ref("50%", 3))
        write(store, die(ref("two", 2)))
        assert listed(store, search="ONE") == ["one"]
        assert listed(store, search="it broke") == ["two"]
        assert listed(store, search="%") == ["50%"]
        assert listed(store, search="one", state="dead") == []
        assert listed(store, search=("TWO", "broke")) == ["two"]
        assert listed(store, search=("one", "broke")) == []

    def test_it_says_how_far_it_looked_and_goes_on(
        self, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        enqueue(store, *(ref(f"job-{number:03}", number) for number in range(60)), ref("needle", -1))
        monkeypatch.setattr(pages, "_FIRST_CHUNK", 10)
        monkeypatch.setattr(job_counts, "_FIRST_CHUNK", 10)
        ticks = itertools.count(step=pages.SEARCH_SECONDS / 4)
        counted = job_counts.count(store, Filters(search="job-"), clock=lambda: next(ticks))
        assert counted.more
        assert 0 < counted.number < 60
        page = pages.page(store, Filters(search="needle"), clock=lambda: next(ticks))
        assert page.jobs == []
        assert page.looked_back_to is not None
        assert NOW < page.looked_back_to <= NOW + timedelta(seconds=50)
        assert listed(store, search="needle") == ["needle"]
        assert pages.page(store, Filters(search="needle"), after=page.after).looked_back_to is None


class TestPartsOfIds:
    def test_a_job_is_found_by_any_start_and_any_end(
        self, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(blocks, "ROWS", 3)
        monkeypatch.setattr(blocks, "_left", 0)
        names = [f"{number:08x}-job-{number * 7919 % 65536:04x}" for number in range(20)]
        for name in names:
            enqueue(store, ref(name))
        with store.begin() as connection:  # as an older version wrote it
            connection.execute(update(jobs).where(jobs.c.id == names[3]).values(block=None))
            assert connection.execute(select(func.count(jobs.c.block.distinct()))).scalar_one() > 3
        for name in names:
            for part in (name, name[:8], name[-9:], name[-5:]):
                assert ids.job_id(store, part) == name

    @pytest.mark.parametrize("given", ["0000", "job-", "-job-", "abc", "%", "_", "", " ", "\0", "é" * 9])
    def test_what_fits_several_or_none_is_refused(self, store: Store, given: str) -> None:
        enqueue(store, ref("00001111-job-a"), ref("00002222-job-b"), ref("ABCD-job-"), ref("xabc-job-"))
        with pytest.raises(JobNotFound):
            ids.job_id(store, given)
        assert ids.job_id(store, "BCD-job-") == "ABCD-job-"

    def test_a_dead_letter_is_found_by_its_id_and_by_that_of_its_job(self, store: Store) -> None:
        values = dict.fromkeys(("queue", "reason", "fingerprint", "content_type", "content_encoding"), "x")
        times = dict.fromkeys(("at", "archived_at", "status_at"), NOW)
        from flask_nightshift.store.tables import dead_letters

        with store.begin() as connection:
            for letter, job in (("letter-one", "job-one-1111"), ("letter-two", "job-two-2222")):
                row = {
                    "id": letter,
                    "job_id": job,
                    "status": "waiting",
                    "body": b"",
                    "headers": {},
                    "properties": {},
                }
                connection.execute(dead_letters.insert(), {**row, "attempts": [], **values, **times})
        for given in ("letter-o", "-one", "job-one-1111", "job-one", "1111"):
            assert ids.letter_id(store, given) == "letter-one"
        with pytest.raises(DeadLetterNotFound, match="not enough to tell one"):
            ids.letter_id(store, "letter")

    @pytest.mark.parametrize(
        ("statuses", "meant"),
        [
            (["replayed", "discarded"], 1),
            (["discarded", "replayed"], 1),
            (["waiting", "replayed", "discarded"], 0),
            (["waiting", *["replayed"] * 8], 0),
            (["waiting", "waiting"], None),
        ],
    )
    def test_of_several_letters_of_a_job_the_waiting_or_the_latest_is_meant(
        self, store: Store, statuses: list[str], meant: int | None
    ) -> None:
        from flask_nightshift.store.tables import dead_letters

        values = dict.fromkeys(("queue", "reason", "fingerprint", "content_type", "content_encoding"), "x")
        values |= {"job_id": "job-one-1111"}
        with store.begin() as connection:
            for number, status in enumerate(statuses):
                times = dict.fromkeys(("archived_at", "status_at"), NOW) | {
                    "at": NOW + timedelta(seconds=number)
                }
                row = {"id": f"letter-{9 - number}", "status": status, "body": b"", "headers": {}, **times}
                connection.execute(dead_letters.insert(), {**row, **values, "properties": {}, "attempts": []})
        for given in ("job-one-1111", "1111", "job-one"):
            if meant is None:
                with pytest.raises(DeadLetterNotFound, match="it may be letter-8, letter-9"):
                    ids.letter_id(store, given)
            else:
                assert ids.letter_id(store, given) == f"letter-{9 - meant}"


class TestOlderVersions:
    def test_their_rows_are_listed_and_mended(self, store: Store) -> None:
        """They write rows without kinds, and some without a time; and change rows without changing the kind."""
        tags = ("billing",)
        enqueue(
            store,
            ref("stale", 1, tags=tags),
            ref("lost", 2, tags=tags),
            ref("none", 3),
            ref("more", 4),
        )
        with store.begin() as connection:
            connection.execute(
                update(jobs).where(jobs.c.id == "stale").values(state="succeeded", worker="w:9")
            )
            old = {"kind": None, "block": None}
            connection.execute(update(jobs).where(jobs.c.id == "lost").values(**old))
            timeless = {**old, "enqueued_at": None, "started_at": NOW, "state": "dead", "error": "E"}
            connection.execute(update(jobs).where(jobs.c.id.in_(("none", "more"))).values(**timeless))
        assert listed(store, state="queued") == ["lost"]
        for limit in (1, 2, 9):
            assert listed(store, limit=limit) == ["lost", "stale", "none", "more"]
            assert listed(store, limit=limit, state="dead", error="E") == ["none", "more"]
            assert listed(store, limit=limit, tag="billing", task=TASKS[0]) == ["lost", "stale"]
            assert listed(store, limit=limit, search="(") == ["lost", "stale", "none", "more"]
        assert listed(store, since=NOW - timedelta(days=1)) == ["lost", "stale"]

        assert kinds.fill(store.read, store.begin) == 4

        def writes(**_: Any) -> Any:
            raise AssertionError("it looks for rows while others wait to write")

        assert kinds.fill(store.read, writes) == 0
        assert listed(store) == ["lost", "stale", "none", "more"]
        assert listed(store, state="succeeded", worker="w:9", tag="billing") == ["stale"]
        assert listed(store, state="dead", error="E", since=NOW) == ["none", "more"]

    def test_kinds_without_jobs_are_pruned_and_written_again(self, store: Store) -> None:
        enqueue(store, ref("one"))
        enqueue(store, ref("two"))  # now the process has read that the table has the kind
        long_ago = NOW - kinds.KEPT - timedelta(hours=1)
        with store.begin() as connection:
            connection.execute(update(kinds_table).values(seen_at=long_ago))
        assert kinds.prune(store.begin, NOW) == 0
        with store.begin() as connection:
            connection.execute(text("DELETE FROM nightshift_jobs"))
        assert kinds.prune(store.begin, NOW) == 1
        kinds._known.clear()
        enqueue(store, ref("three"))
        assert listed(store, task=TASKS[0]) == ["three"]


def test_tags_are_pruned_with_their_job(store: Store) -> None:
    from flask_nightshift.config.settings import Settings

    enqueue(store, ref("job", tags=("billing", "customer:7")))
    job = ref("job", tags=("billing", "customer:7"))
    write(store, JobSucceeded(job, NOW, "w:1", 0.5))
    journal.prune(store, Settings(), NOW + timedelta(days=400))
    with store.read() as connection:
        assert connection.execute(select(func.count()).select_from(tags_table)).scalar_one() == 0


@pytest.fixture
def ops(valkey: Valkey, tmp_path: Path) -> Iterator[Ops]:
    with opened(tmp_path, valkey.fresh_url()) as made:
        yield made


def test_the_command(ops: Ops) -> None:
    store = ops.services.store
    enqueue(store, *(ref(f"0199aaaa-{number:04}", number - 7200, tags=("billing",)) for number in range(4)))
    write(store, die(ref("0199aaaa-0002", 2 - 7200, tags=("billing",))))

    shown = ops.ok("list", "--state", "queued", "--limit", "2")
    assert "aaa-0003" in shown
    assert "aaa-0001" in shown
    assert "billi" in shown
    key = shown.partition("There are more: --after ")[2].split()[0]
    assert "aaa-0000" in ops.ok("list", "--state", "queued", "--after", key)
    found = ops.json("list", "--error", "OSError", "--since", "3h", "--until", "1h", "--tag", "billing")
    assert [job["id"] for job in found["jobs"]] == ["0199aaaa-0002"]
    assert found["after"] is found["looked_back_to"] is None
    assert ops.json("list", "--since", "10m")["jobs"] == []
    assert "No jobs match." in ops.ok("list", "--state", "running")
    query = "state:dead task:a.* error:os tag:billing since:3h broke"
    for words in ([query], query.split(), ["error:os", "--since", "3h", "broke", "--tag", "billing"]):
        assert [job["id"] for job in ops.json("list", *words)["jobs"]] == ["0199aaaa-0002"]
    assert "no such" not in ops.ok("list", "--search", "no such")
    assert ops.ok("show", "0003").count("billing") == 1
    assert ops.json("show", "0003")["tags"] == ["billing"]


def test_tags_of_task_and_call_travel_on_every_way(ops: Ops) -> None:
    heard: list[tuple[str, ...]] = []
    ops.services.events.subscribe(lambda event: heard.append(event.job.tags), JobEnqueued)

    @ops.jobs.task(name="mail.bill", tags=["billing"])
    def bill(number: int) -> None:
        """Never runs here."""

    with ops.app.app_context():
        more: dict[str, Any] = {"tags": ["customer:7", "billing"]}
        bill.delay(1)
        bill.apply_async((1,), **more)
        bill.apply_async((1,), **more, delivery_mode=2)  # by Celery's producer
        bill.apply_async((1,), **more, countdown=60)
        bill.s(1).set(**more).delay()
        bill.enqueue_many([(1,), (2,)], **more)
        ops.services.celery.send_task("mail.bill", (1,), **more)
        assert heard == [("billing",), *[("billing", "customer:7")] * 7]
        ops.services.celery.send_task("elsewhere", (1,), tags=["far"])
        ops.send.delay()
        assert heard[-2:] == [("far",), ()]
        with pytest.raises(ValueError, match="with those of the task a job has at most 10"):
            bill.apply_async((1,), tags=[f"{number}" for number in range(10)])
    ops.services.journal.flush(10)
    assert len(ops.json("list", "--tag", "customer:7")["jobs"]) == 7


@pytest.mark.parametrize(("words", "said"), [
    (["--state", "succeded"], "did you mean 'succeeded'"),
    (["--state", "nothing"], "The states are queued, "),
    (["--since", "yesterday"], "is not a time; write 2h"),
    (["--until", "2026-13-01"], "is not a time"),
    (["--since", "1h", "--until", "2h"], "No job was enqueued since"),
    (["stat:dead"], "There is no field 'stat'; did you mean state:?"),
    (["task:a", "--task", "b"], "Task is given twice"),
    (["--after", "x"], "is not the key of a page"),
    (["--search", " "], "needs a text"),
    (["--limit", "0"], "is not in the range"),
])  # fmt: skip
def test_wrong_words_are_refused(ops: Ops, words: list[str], said: str) -> None:
    refused = ops.run("list", *words)
    assert refused.exit_code != 0
    assert said in " ".join(refused.output.split())
