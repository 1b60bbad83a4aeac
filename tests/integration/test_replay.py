"""A replay claims the letter before it publishes: operators, crashes, outages, Ctrl-C, on all brokers and databases."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import textwrap
import threading
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from sqlalchemy import text, update

from burials import DeadLetterSystem, dead_letter_system  # noqa: F401 - a fixture
from children import fork, join
from flask_nightshift import dead_letters, journal
from flask_nightshift.dead_letters import Filters, Status, claims
from flask_nightshift.domain.events import JobStarted
from flask_nightshift.domain.job import JobRef, JobState, utcnow
from flask_nightshift.store import Store, migration, tables
from servers import Valkey, wait_for


def replay(system: DeadLetterSystem, **more: Any) -> dead_letters.Result:
    filters = more.pop("filters", Filters())
    return dead_letters.replay(system.store, system.broker, filters, **more)


def status(system: DeadLetterSystem, letter_id: str) -> Status:
    return dead_letters.find(system.store, letter_id).status


def statuses(store: Store) -> Counter[str]:
    return Counter(str(one.status) for one in dead_letters.list_letters(store, Filters(status=None), None))


def age(system: DeadLetterSystem, seconds: float) -> None:
    """Make a claim older by a given time."""
    with system.store.begin() as connection:
        column = tables.dead_letters.c.status_at
        then = utcnow() - timedelta(seconds=seconds)
        connection.execute(
            update(tables.dead_letters)
            .where(tables.dead_letters.c.status == "replaying")
            .values({column: then})
        )


class TestTwoAtOnce:
    def test_operators_publish_each_letter_once(self, system: DeadLetterSystem) -> None:
        ids = system.died(*(f"j{number}" for number in range(60)))
        report = Path(system.app.instance_path) / "replayed"

        def operator() -> None:
            result = replay(system)
            with report.open("a") as out:
                out.write(f"{len(result.ids)}\n")

        join(*(fork(operator) for _ in range(3)))
        assert system.in_queue("mail") == len(ids)
        assert sum(map(int, report.read_text().split())) == len(ids)
        assert statuses(system.store) == {"replayed": len(ids)}

    def test_of_a_replay_and_a_discard_one_wins_and_both_report_it(self, system: DeadLetterSystem) -> None:
        ids = system.died(*(f"j{number}" for number in range(40)))
        results: dict[str, dead_letters.Result] = {}
        begin = threading.Barrier(2)

        def work(name: str, act: Any) -> None:
            begin.wait()
            results[name] = act()

        threads = [
            threading.Thread(target=work, args=("replay", lambda: replay(system))),
            threading.Thread(
                target=work, args=("discard", lambda: dead_letters.discard(system.store, Filters()))
            ),
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        replayed, discarded = set(results["replay"].ids), set(results["discard"].ids)
        assert not replayed & discarded
        assert replayed | discarded == set(ids)
        assert system.in_queue("mail") == len(replayed)
        assert statuses(system.store) == Counter(replayed=len(replayed), discarded=len(discarded))

    def test_a_letter_claimed_by_another_replay_is_left_alone(self, system: DeadLetterSystem) -> None:
        [letter_id] = system.died("j1")
        assert claims.Claims(system.store).claim(letter_id, [Status.WAITING]) is not None
        named = Filters(ids=(letter_id,))
        assert "being replayed by" in replay(system, filters=named).skipped[letter_id]
        assert "being replayed by" in replay(system, filters=named, force=True).skipped[letter_id]
        assert "being replayed by" in dead_letters.discard(system.store, named).skipped[letter_id]
        assert system.in_queue("mail") == 0


class TestWaysBack:
    def test_a_process_that_dies_before_the_publish_leaves_a_letter_that_waits_again(
        self, system: DeadLetterSystem
    ) -> None:
        [letter_id] = system.died("j1")

        def dies() -> None:
            system.broker.publish = lambda *_: os._exit(0)  # type: ignore[method-assign]
            replay(system)

        join(fork(dies))
        assert status(system, letter_id) is Status.REPLAYING
        assert replay(system).ids == ()
        age(system, claims.STALE + 1)
        assert replay(system).ids == (letter_id,)
        assert system.in_queue("mail") == 1

    def test_a_process_that_dies_after_the_publish_doubles_no_job_that_has_begun(
        self, system: DeadLetterSystem
    ) -> None:
        [letter_id] = system.died("j1")
        publish = system.broker.publish

        def dies() -> None:
            def then_die(*args: Any, **options: Any) -> None:
                publish(*args, **options)
                os._exit(0)

            system.broker.publish = then_die  # type: ignore[method-assign]
            replay(system)

        join(fork(dies))
        writer = journal.Journal(system.store, worker="w")
        writer(JobStarted(JobRef("j1", "mail.send", "mail", 1, run=1), utcnow(), "w"))
        assert writer.flush()
        writer.close()
        age(system, claims.STALE + 1)
        assert replay(system).ids == ()
        assert status(system, letter_id) is Status.REPLAYED
        assert system.in_queue("mail") == 1

    def test_a_job_id_that_was_used_before_counts_as_begun_only_if_it_began_since(
        self, system: DeadLetterSystem
    ) -> None:
        """An app may choose its job ids, so an earlier job with the same id may have been replayed."""
        [first] = system.died("invoice-7")
        assert replay(system, filters=Filters(ids=(first,))).ids == (first,)
        writer = journal.Journal(system.store, worker="w")
        began = utcnow() - timedelta(minutes=10)
        writer(JobStarted(JobRef("invoice-7", "mail.send", "mail", 1, run=1), began, "w"))
        assert writer.flush()
        writer.close()
        [second] = system.died("invoice-7")
        assert claims.Claims(system.store).claim(second, [Status.WAITING]) is not None  # and its process dies
        age(system, claims.STALE + 1)
        assert replay(system).ids == (second,)
        assert system.in_queue("mail") == 2

    def test_a_discarded_letter_whose_publish_fails_is_discarded_again(
        self, system: DeadLetterSystem, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        [letter_id] = system.died("j1")
        named = Filters(ids=(letter_id,))
        dead_letters.discard(system.store, named)
        monkeypatch.setattr(claims.Claims, "holds", False)
        with pytest.raises(Exception, match="took too long"):
            replay(system, filters=named, force=True)
        assert status(system, letter_id) is Status.DISCARDED
        assert replay(system).ids == ()

    def test_a_running_worker_takes_back_what_a_dead_replay_claimed(self, system: DeadLetterSystem) -> None:
        [letter_id] = system.died("j1")
        assert claims.Claims(system.store).claim(letter_id, [Status.WAITING]) is not None
        age(system, claims.STALE + 1)
        worker = dead_letters.Archiver(system.broker, system.store)
        worker.start()
        wait_for(lambda: status(system, letter_id) is Status.WAITING, 10, "not taken back")
        worker.stop()
        assert dead_letters.find(system.store, letter_id).claimed_by is None

    def test_a_letter_that_cannot_be_replayed_keeps_waiting(self, system: DeadLetterSystem) -> None:
        [letter_id] = system.died("j1", queue="")
        assert "queue" in replay(system).skipped[letter_id]
        assert status(system, letter_id) is Status.WAITING
        assert system.state("j1") is JobState.DEAD

    def test_a_process_that_was_suspended_does_not_publish_on_an_old_claim(
        self, system: DeadLetterSystem, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        [letter_id] = system.died("j1")
        monkeypatch.setattr(claims.Claims, "holds", False)
        with pytest.raises(Exception, match="took too long"):
            replay(system)
        assert status(system, letter_id) is Status.WAITING
        assert system.in_queue("mail") == 0


def test_the_migration_keeps_letters_that_were_there_and_they_can_be_replayed(
    system: DeadLetterSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    [letter_id] = system.died("j1")
    with system.store.begin(timeout=30) as connection:
        config = migration._config()
        config.attributes["connection"] = connection
        command.downgrade(config, "0002")
    with system.store.read() as connection:
        assert connection.execute(text("SELECT count(*) FROM nightshift_dead_letters")).scalar() == 1
    assert system.store.migrate()[0] == "0003"
    assert replay(system).ids == (letter_id,)
    assert system.in_queue("mail") == 1


APP = """
    from flask import Flask
    from flask_nightshift import Nightshift

    app = Flask(__name__, instance_path={folder!r})
    app.config.update(NIGHTSHIFT_BROKER_URL={broker!r}, NIGHTSHIFT_DATABASE_URL={database!r})
    jobs = Nightshift(app)
"""


class Terminal:
    """``flask jobs`` in a process of its own."""

    def __init__(self, system: DeadLetterSystem) -> None:
        self.system = system
        broker, database = (
            system.app.config[key] for key in ("NIGHTSHIFT_BROKER_URL", "NIGHTSHIFT_DATABASE_URL")
        )
        self.file = Path(system.app.instance_path) / "app.py"
        self.file.write_text(
            textwrap.dedent(APP).format(folder=system.app.instance_path, broker=broker, database=database)
        )

    def start(self, *words: str, **options: Any) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "flask", "--app", str(self.file), "jobs", *words]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
        return subprocess.Popen(command, text=True, cwd=self.file.parent, **pipes)

    def run(self, *words: str) -> tuple[int, str, str]:
        process = self.start(*words)
        out, err = process.communicate(timeout=60)
        return process.returncode, out, err


@pytest.fixture
def terminal(system: DeadLetterSystem) -> Terminal:
    return Terminal(system)


class TestTerminal:
    def test_ctrl_c_says_what_was_done_and_how_to_go_on(self, terminal: Terminal) -> None:
        system = terminal.system
        ids = system.died(*(f"j{number}" for number in range(6)))
        process = terminal.start("dead", "replay", "--all", "--yes", "--rate", "4/m")
        wait_for(lambda: system.in_queue("mail") == 1, 30, "nothing replayed")
        wait_for(lambda: statuses(system.store)["replayed"] == 1, 10, "not marked")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=10)
        assert process.returncode == 130
        assert "1 dead letter replayed" in out
        assert "5 not looked at. Run the same command again" in err
        assert "no worker consumes 'mail'" in err
        assert "Aborted" not in out + err
        assert statuses(system.store) == {"replayed": 1, "waiting": 5}
        status, out, err = terminal.run("dead", "replay", "--all", "--yes")
        assert (status, system.in_queue("mail")) == (0, len(ids))
        assert "5 dead letters replayed" in out
        status, _, err = terminal.run("dead", "replay", "")
        assert status == 1
        assert "'' is not enough" in err

    def test_progress_is_shown_in_a_terminal(self, terminal: Terminal) -> None:
        terminal.system.died(*(f"j{number}" for number in range(5)))
        ours, theirs = pty.openpty()
        process = terminal.start("dead", "replay", "--all", "--yes", stderr=theirs)
        os.close(theirs)
        shown = b""
        try:
            while part := os.read(ours, 4096):
                shown += part
        except OSError:  # how Linux says that the other end is closed
            pass
        process.communicate(timeout=30)
        assert b"Replaying" in shown
        assert b"5/5" in shown

    def test_a_database_that_is_locked_after_the_publish_is_reported(self, terminal: Terminal) -> None:
        system = terminal.system
        [letter_id] = system.died("j1")
        publish, locks = system.broker.publish, []

        def then_lock(*args: Any, **options: Any) -> None:
            publish(*args, **options)
            locks.append(_lock(system.store))

        system.broker.publish = then_lock  # type: ignore[method-assign]
        done = threading.Event()
        outcome: list[Any] = []

        def operator() -> None:
            outcome.append(replay(system))
            done.set()

        threading.Thread(target=operator).start()
        wait_for(lambda: locks, 10, "not published")
        assert not done.wait(1)  # it waits, and marks when the lock is gone
        next(locks[0], None)
        assert done.wait(20)
        assert outcome[0].ids == (letter_id,)
        assert status(system, letter_id) is Status.REPLAYED
        assert system.in_queue("mail") == 1


def _lock(store: Store) -> Iterator[None]:
    """Hold the table's lock; the next ``next()`` releases it."""

    def hold() -> Iterator[None]:
        other = Store(store._url.render_as_string(hide_password=False))
        with other.begin(timeout=30) as connection:
            connection.execute(update(tables.dead_letters).values(queue=tables.dead_letters.c.queue))
            yield
        other.close()

    held = hold()
    next(held)
    return held


def test_the_notes_of_an_error_are_printed(valkey: Valkey, tmp_path: Path, monkeypatch: Any) -> None:
    from opsapp import opened

    monkeypatch.setattr(claims, "MARK_TIMEOUT", 0)
    with opened(tmp_path, valkey.fresh_url()) as ops:
        ops.bury()
        publish = ops.services.broker.publish
        locks = []

        def then_lock(*args: Any, **options: Any) -> None:
            publish(*args, **options)
            locks.append(_lock(ops.services.store))

        monkeypatch.setattr(ops.services.broker, "publish", then_lock)
        done = ops.run("dead", "replay", "--all", "--yes")
        next(locks[0], None)
        assert done.exit_code == 1
        for part in ("locked", "was published to 'mail'", "second try is safe", "0 of 1 dead letters"):
            assert part in done.output
        monkeypatch.setattr(ops.services.broker, "publish", publish)
        assert "0 dead letters replayed" in ops.ok("dead", "replay", "--all", "--yes")
        assert ops.services.broker.depths(["mail"])[0].ready == 1
