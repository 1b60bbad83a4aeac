"""Dead letters on real brokers and databases: archived once, found, replayed, discarded."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

from burials import TRACEBACK, DeadLetterSystem, dead_letter_system, take_away  # noqa: F401 - a fixture
from children import fork, join
from flask_nightshift import dead_letters, journal
from flask_nightshift.brokers.base import Broker, PendingDeadLetter
from flask_nightshift.config import settings as config
from flask_nightshift.dead_letters import Archiver, Filters, Status, archiver, claims, letters
from flask_nightshift.domain.fingerprint import Cause
from flask_nightshift.domain.job import DeadLetter, Failure, JobState, Reason, utcnow
from flask_nightshift.errors import BrokerUnavailable, DatabaseUnavailable, DeadLetterNotFound
from flask_nightshift.message import burial
from flask_nightshift.message import headers as message_headers
from flask_nightshift.message.arguments import by_name
from flask_nightshift.message.burial import DEAD_QUEUE
from flask_nightshift.message.envelope import Envelope
from flask_nightshift.store import tables
from servers import wait_for


@dataclass
class LosesAcknowledgements:
    """A broker that loses the acknowledgements of its dead letters."""

    broker: Broker

    def take_dead_letters(self, limit: int = 100, max_bytes: int = 10**7) -> list[PendingDeadLetter]:
        return [_Unheard(item.letter) for item in self.broker.take_dead_letters(limit, max_bytes)]


@dataclass
class _Unheard:
    letter: DeadLetter

    def done(self) -> None:
        raise BrokerUnavailable("the connection broke")


class TestArchive:
    def test_a_letter_is_kept_as_it_was(self, system: DeadLetterSystem) -> None:
        body = b'[[7], {"name": "Zo\xc3\xab"}, {}]'
        letter_id = system.bury("j1", body=body)
        assert system.archive() == 1
        assert system.in_queue() == 0
        archived = dead_letters.find(system.store, letter_id)
        letter = archived.letter
        assert (letter.job_id, letter.task, letter.queue) == ("j1", "mail.send", "mail")
        assert (letter.reason, letter.worker, letter.body) == (Reason.EXHAUSTED, "w1", body)
        assert letter.failure == Failure("OSError", "refused j1", TRACEBACK)
        assert letter.headers["id"] == "j1"
        assert letter.properties["correlation_id"] == "j1"
        assert archived.arguments(by_name(None)) == ("[7]", '{"name": "Zoë"}')
        assert [attempt["number"] for attempt in archived.attempts] == [3]
        assert archived.status is Status.WAITING
        assert (archived.fingerprint, archived.place) == burial.cause_of(letter)
        assert json.loads(json.dumps(archived.as_dict(by_name(None))))["args"] == "[7]"

    def test_bytes_that_are_not_text(self, system: DeadLetterSystem) -> None:
        body = bytes(range(256))
        [letter_id] = system.died("j1", body=body, reason=Reason.UNDECODABLE)
        assert dead_letters.find(system.store, letter_id).letter.body == body

    def test_a_letter_archived_without_its_acknowledgement_is_archived_once(
        self, system: DeadLetterSystem
    ) -> None:
        system.bury("j1")
        broken = Archiver(LosesAcknowledgements(system.broker), system.store)  # type: ignore[arg-type]
        with pytest.raises(BrokerUnavailable):
            broken.run_once()
        assert dead_letters.count(system.store) == 1
        assert wait_for(system.archive, 5, "the letter did not come back") == 1
        assert (dead_letters.count(system.store), system.in_queue()) == (1, 0)

    def test_many_archivers_at_once(self, system: DeadLetterSystem) -> None:
        for number in range(150):
            system.bury(f"j{number}")
        threads = [threading.Thread(target=system.archive) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        system.archive()
        assert (dead_letters.count(system.store), system.in_queue()) == (150, 0)

    def test_the_journal_records_a_death_that_no_worker_reported(self, system: DeadLetterSystem) -> None:
        system.died("j1")
        record = journal.find_job(system.store, "j1")
        assert record is not None
        assert (record.state, record.attempts, record.task) == (JobState.DEAD, 3, "mail.send")
        assert record.error == {"error": "OSError", "message": "refused j1"}
        assert (record.args, record.kwargs, record.request_id) == ("(7,)", "{'to': 'ann'}", "req-1")

    def test_deaths_that_no_worker_counted_are_counted_once(self, system: DeadLetterSystem) -> None:
        system.died("settled-by-a-worker")
        assert journal.totals(system.store) == []
        headers = system.job("killed") | {
            "x-death": [{"reason": "delivery_limit", "queue": "mail", "count": 1, "time": utcnow()}]
        }
        letter = burial.dead_letter(b"[[],{},{}]", headers, {}, "application/json", "utf-8")
        for _ in range(2):  # the acknowledgement was lost
            dead_letters.archive(system.store, [letter], worker="w9")
        [row] = journal.totals(system.store)
        assert (row.task, row.queue, row.outcome, row.count) == ("mail.send", "mail", "dead", 1)
        assert system.state("killed") is JobState.DEAD
        stored = dead_letters.find(system.store, letter.id).letter
        assert stored.reason is Reason.DELIVERY_LIMIT
        assert stored.headers == headers  # times and all

    def test_burials_by_the_lease_transport_are_counted(self, system: DeadLetterSystem) -> None:
        from flask_nightshift.brokers.payload import Burial

        note = Burial("delivery_limit", "its worker died 5 times", "mail", "w2").header()
        headers = system.job("killed") | {message_headers.DEAD: note}
        letter = burial.dead_letter(b"[[],{},{}]", headers, {}, "application/json", "utf-8")
        dead_letters.archive(system.store, [letter], worker="w9")
        assert [row.count for row in journal.totals(system.store)] == [1]

    def test_a_message_of_a_foreign_producer(self, system: DeadLetterSystem) -> None:
        system.broker.publish(Envelope(b"\xff\x00garbage", {}, content_type="application/x-what"), DEAD_QUEUE)
        assert system.archive() == 1
        [found] = dead_letters.list_letters(system.store)
        assert (found.letter.body, found.letter.job_id) == (b"\xff\x00garbage", None)
        assert found.letter.content_type == "application/x-what"

    def test_texts_that_databases_refuse(self, system: DeadLetterSystem) -> None:
        [letter_id] = system.died("j1", failure=Failure("E", "nul \0 and half \ud800"))
        failure = dead_letters.find(system.store, letter_id).letter.failure
        assert failure is not None
        assert failure.message.startswith("nul \ufffd and half ")

    def test_a_letter_that_cannot_be_stored_keeps_no_other_waiting(
        self, system: DeadLetterSystem, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        good = system.bury("good")
        system.bury("bad", body=b"keep me")
        plain = burial.cause_of

        def refuses(letter: DeadLetter) -> Cause:
            if letter.job_id == "bad":
                raise ValueError("a defect of ours")
            return plain(letter)

        monkeypatch.setattr(letters, "cause_of", refuses)
        system.archive()
        assert [found.letter.id for found in dead_letters.list_letters(system.store)] == [good]
        assert "store.refused" in caplog.text
        assert system.in_queue() == 0
        with system.store.read() as connection:
            assert (
                base64.b64encode(b"keep me") in connection.execute(select(tables.refused.c.data)).scalar_one()
            )


class TestThread:
    @pytest.fixture
    def archiving(self, system: DeadLetterSystem) -> Iterator[Archiver]:
        made = Archiver(system.broker, system.store)
        made.start()
        yield made
        made.stop()

    def test_the_archiver_works_by_itself_and_at_once_when_woken(
        self, system: DeadLetterSystem, archiving: Archiver
    ) -> None:
        for number in range(3):
            system.bury(f"j{number}")
            archiving.notify()
            wait_for(lambda n=number: dead_letters.count(system.store) == n + 1, 5, "not archived")

    def test_with_the_database_down_letters_stay_queued_and_one_line_says_so(
        self, system: DeadLetterSystem, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setattr(archiver, "INTERVAL", 0.1)
        monkeypatch.setattr(archiver, "BACKOFF_MAX", 0.2)
        back = take_away(system)
        for number in range(3):
            system.bury(f"j{number}")
        thread = Archiver(system.broker, system.store)
        thread.start()
        wait_for(lambda: "archive_paused" in caplog.text, 15, "nothing said")
        thread.notify()
        with pytest.raises(DatabaseUnavailable):
            dead_letters.count(system.store)
        back()
        wait_for(lambda: "archive_resumed" in caplog.text, 20, "not resumed")
        thread.stop()
        assert (dead_letters.count(system.store), system.in_queue()) == (3, 0)
        told = [record.message for record in caplog.records if record.name == "flask_nightshift.dead_letters"]
        assert told == ["dead_letters.archive_paused", "dead_letters.archive_resumed"]

    def test_the_broker_goes_and_comes_back(
        self,
        system: DeadLetterSystem,
        archiving: Archiver,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        monkeypatch.setattr(archiver, "BACKOFF_MAX", 0.5)
        system.server.stop()
        wait_for(lambda: "archive_paused" in caplog.text, 15, "nothing said")
        system.server.start()
        wait_for(lambda: system.bury("j1"), 20, "the broker is not back")
        wait_for(lambda: dead_letters.count(system.store) >= 1, 20, "not archived")

    def test_a_child_does_not_hang_on_the_parent_s_lock(self, system: DeadLetterSystem) -> None:
        parent = Archiver(system.broker, system.store)

        def works() -> None:
            parent.start()
            parent.stop()

        with parent._loop.changed:
            child = fork(works)
        join(child)


class TestLookingUp:
    def test_filters(self, system: DeadLetterSystem) -> None:
        mail = system.died("m1", "m2")
        [other] = system.died(
            "i1", task="images.make", reason=Reason.PERMANENT, failure=Failure("ValueError", "bad")
        )
        fingerprint = dead_letters.find(system.store, mail[0]).fingerprint

        def ids(**conditions: Any) -> set[str]:
            return {
                found.letter.id for found in dead_letters.list_letters(system.store, Filters(**conditions))
            }

        assert ids() == {*mail, other}
        assert ids(task="mail.send") == set(mail)
        assert ids(reason="permanent") == {other}
        assert ids(fingerprint=fingerprint) == set(mail)
        assert ids(since=utcnow() - timedelta(minutes=5)) == {*mail, other}
        assert ids(since=utcnow() + timedelta(minutes=5)) == set()
        assert ids(ids=(other, "nobody")) == {other}
        assert ids(task="mail.send", reason="permanent") == set()
        assert dead_letters.count(system.store, Filters(task="mail.send")) == 2
        assert len(dead_letters.list_letters(system.store, limit=2)) == 2

    def test_the_latest_death_comes_first(self, system: DeadLetterSystem) -> None:
        letters = [system.died(job_id)[0] for job_id in ("first", "second", "third")]
        assert [found.letter.id for found in dead_letters.list_letters(system.store)] == letters[::-1]

    def test_an_unknown_letter(self, system: DeadLetterSystem) -> None:
        with pytest.raises(DeadLetterNotFound, match="nobody"):
            dead_letters.find(system.store, "nobody")


class TestReplay:
    def replay(self, system: DeadLetterSystem, **more: Any) -> dead_letters.Result:
        filters = more.pop("filters", Filters())
        return dead_letters.replay(system.store, system.broker, filters, **more)

    def test_the_same_job_is_back_in_its_queue(self, system: DeadLetterSystem) -> None:
        [letter_id] = system.died("j1")
        result = self.replay(system)
        assert (result.ids, result.skipped) == ((letter_id,), {})
        assert system.in_queue("mail") == 1
        assert dead_letters.find(system.store, letter_id).status is Status.REPLAYED
        record = journal.find_job(system.store, "j1")
        assert record is not None
        assert (record.state, record.run, record.attempts, record.error) == (JobState.QUEUED, 1, 0, None)
        assert dead_letters.count(system.store) == 0

    def test_it_dies_again_and_is_replayed_again(self, system: DeadLetterSystem) -> None:
        [first] = system.died("j1")
        self.replay(system)
        published = burial.revived(dead_letters.find(system.store, first).letter)
        headers = burial.buried(
            published.headers, reason=Reason.PERMANENT, failure=None, queue="mail", worker="w1", at=utcnow()
        )
        system.broker.publish(Envelope(published.body, headers), DEAD_QUEUE)
        assert system.archive() == 1
        assert system.state("j1") is JobState.DEAD
        second = headers[message_headers.DEAD]["id"]
        assert self.replay(system).ids == (second,)
        record = journal.find_job(system.store, "j1")
        assert record is not None
        assert (record.state, record.run) == (JobState.QUEUED, 2)

    def test_a_second_replay_is_skipped_with_the_reason(self, system: DeadLetterSystem) -> None:
        ids = tuple(system.died("j1", "j2"))
        self.replay(system, filters=Filters(ids=ids[:1]))
        result = self.replay(system, filters=Filters(ids=(*ids, "nobody")))
        assert result.ids == ids[1:]
        assert result.skipped[ids[0]].startswith("already replayed")
        assert result.skipped["nobody"] == "there is no such dead letter"
        assert system.in_queue("mail") == 2

    def test_a_dry_run_changes_nothing(self, system: DeadLetterSystem) -> None:
        [letter_id] = system.died("j1")
        result = self.replay(system, dry_run=True)
        assert (result.ids, result.dry_run) == ((letter_id,), True)
        assert (system.in_queue("mail"), dead_letters.count(system.store)) == (0, 1)

    def test_the_oldest_go_first_up_to_a_limit_at_a_rate(self, system: DeadLetterSystem) -> None:
        letters = [system.died(f"j{number}")[0] for number in range(4)]
        slept: list[float] = []
        result = self.replay(system, limit=3, rate=20, sleep=slept.append)
        assert list(result.ids) == letters[:3]
        assert slept == [pytest.approx(0.05)] * 2
        assert system.in_queue("mail") == 3

    @pytest.mark.parametrize("reason", [Reason.UNDECODABLE, Reason.INVALID])
    def test_a_letter_without_a_job_is_refused_unless_forced(
        self, system: DeadLetterSystem, reason: Reason
    ) -> None:
        [letter_id] = system.died("j1", reason=reason)
        assert "not a job" in self.replay(system).skipped[letter_id]
        assert system.in_queue("mail") == 0
        assert self.replay(system, force=True).ids == (letter_id,)
        assert system.in_queue("mail") == 1

    def test_without_a_queue_one_must_be_named(self, system: DeadLetterSystem) -> None:
        [letter_id] = system.died("j1", queue="")
        assert "queue" in self.replay(system, force=True).skipped[letter_id]
        assert self.replay(system, queue="elsewhere").ids == (letter_id,)
        assert system.in_queue("elsewhere") == 1

    def test_a_broker_that_is_down_leaves_the_letter_waiting(self, system: DeadLetterSystem) -> None:
        system.died("j1")
        system.server.stop()
        with pytest.raises(BrokerUnavailable) as caught:
            self.replay(system)
        assert "0 of 1 dead letters had been replayed before" in caught.value.__notes__[0]
        assert dead_letters.count(system.store) == 1
        assert system.state("j1") is JobState.DEAD

    def test_a_database_that_fails_after_the_publish_is_reported(
        self, system: DeadLetterSystem, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        [letter_id] = system.died("j1")
        monkeypatch.setattr(claims, "MARK_TIMEOUT", 1.0)
        publish = system.broker.publish
        back: list[Callable[[], object]] = []

        def publish_then_lose(*args: Any, **options: Any) -> None:
            publish(*args, **options)
            back.append(take_away(system))

        monkeypatch.setattr(system.broker, "publish", publish_then_lose)
        with pytest.raises(DatabaseUnavailable) as caught:
            self.replay(system)
        back[0]()
        assert f"{letter_id} (job j1) was published to 'mail'" in caught.value.__notes__[0]
        assert system.in_queue("mail") == 1
        # a second try skips it
        assert "being replayed" in self.replay(system, filters=Filters(ids=(letter_id,))).skipped[letter_id]
        assert self.replay(system).ids == ()
        assert system.in_queue("mail") == 1


class TestDiscard:
    def test_a_discarded_letter_stays_in_the_table(self, system: DeadLetterSystem) -> None:
        keep, drop = system.died("keep", "drop")
        result = dead_letters.discard(system.store, Filters(ids=(drop,)))
        assert result.ids == (drop,)
        assert [found.letter.id for found in dead_letters.list_letters(system.store)] == [keep]
        assert dead_letters.find(system.store, drop).status is Status.DISCARDED
        assert "discarded" in dead_letters.discard(system.store, Filters(ids=(drop,))).skipped[drop]
        assert system.state("drop") is JobState.DEAD

    def test_a_discarded_letter_is_not_replayed_unless_forced(self, system: DeadLetterSystem) -> None:
        ids = tuple(system.died("j1"))
        dead_letters.discard(system.store, Filters())
        assert dead_letters.replay(system.store, system.broker, Filters(ids=ids)).ids == ()
        assert dead_letters.replay(system.store, system.broker, Filters(ids=ids), force=True).ids == ids

    def test_a_dry_run_and_a_limit(self, system: DeadLetterSystem) -> None:
        ids = tuple(system.died("j1", "j2"))
        assert dead_letters.discard(system.store, Filters(), dry_run=True).ids == ids
        assert dead_letters.count(system.store) == 2
        assert dead_letters.discard(system.store, Filters(), limit=1).ids == ids[:1]


class TestPrune:
    @pytest.fixture
    def settings(self, system: DeadLetterSystem) -> config.Settings:
        return config.load(system.app)

    def test_old_letters_go_and_a_waiting_one_keeps_its_job(
        self, system: DeadLetterSystem, settings: config.Settings
    ) -> None:
        old, recent = system.died("old", "recent")
        dead_letters.discard(system.store, Filters(ids=(recent,)))
        long_ago = utcnow() - timedelta(days=80)  # longer than jobs are kept, shorter than dead letters
        with system.store.begin() as connection:
            connection.execute(update(tables.jobs).values(updated_at=long_ago))
            connection.execute(
                update(tables.dead_letters).where(tables.dead_letters.c.id == old).values(status_at=long_ago)
            )
        counts = journal.prune(system.store, settings, utcnow())
        assert (counts["jobs"], counts["dead_letters"]) == (1, 0)
        assert (system.state("old"), system.state("recent")) == (JobState.DEAD, None)
        counts = journal.prune(system.store, settings, utcnow() + timedelta(days=91))
        assert (counts["dead_letters"], counts["waiting_dead_letters"]) == (1, 0)
        with pytest.raises(DeadLetterNotFound):
            dead_letters.find(system.store, recent)
        journal.prune(system.store, settings, utcnow() + timedelta(days=4000))
        assert dead_letters.find(system.store, old)
        assert system.state("old") is JobState.DEAD

    def test_a_waiting_letter_is_pruned_only_if_configured_and_then_logged(
        self, system: DeadLetterSystem, caplog: pytest.LogCaptureFixture
    ) -> None:
        [letter_id] = system.died("j1")
        system.app.config["NIGHTSHIFT_KEEP_WAITING_DAYS"] = "100"
        settings = config.load(system.app)
        assert (
            journal.prune(system.store, settings, utcnow() + timedelta(days=99))["waiting_dead_letters"] == 0
        )
        caplog.set_level("INFO")
        later = utcnow() + timedelta(days=101)
        assert journal.prune(system.store, settings, later)["waiting_dead_letters"] == 1
        [told] = [record for record in caplog.records if record.message == "dead_letters.pruned"]
        assert told.levelname == "WARNING"
        assert (told.__dict__["letter_id"], told.__dict__["job_id"]) == (letter_id, "j1")
        [summary] = [record for record in caplog.records if record.message == "retention.pruned"]
        assert summary.__dict__["counts"]["waiting_dead_letters"] == 1


def test_the_thread_stops_in_time(system: DeadLetterSystem) -> None:
    running = Archiver(system.broker, system.store)
    running.start()
    started = time.monotonic()
    running.stop()
    assert time.monotonic() - started < 3
