"""An action in several parts that fails after the first: the error and the audit say what was done."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bulks import wait_in_outbox
from flask_nightshift import journal
from flask_nightshift.assistant import tools
from flask_nightshift.brokers.redis.transport import queues
from flask_nightshift.domain.actor import Actor
from flask_nightshift.domain.job import JobState
from flask_nightshift.domain.orders import Pause
from flask_nightshift.errors import BrokerUnavailable
from flask_nightshift.journal import Target
from flask_nightshift.observe import audit
from flask_nightshift.operations import cancelling, dropping, pauses
from flask_nightshift.operations import delayed as operations
from opsapp import Ops, opened
from servers import Valkey


@pytest.fixture
def server() -> Iterator[Valkey]:
    """A server of the test's own, which it stops."""
    made = Valkey()
    made.ensure()
    yield made
    made.close()


@pytest.fixture
def ops(server: Valkey, tmp_path: Path) -> Iterator[Ops]:
    with opened(tmp_path, server.url) as made:
        yield made


def states(ops: Ops, ids: list[str]) -> dict[str, JobState]:
    ops.flush()
    found = [journal.find_job(ops.services.store, job_id) for job_id in ids]
    return {each.id: each.state for each in found if each is not None}


def test_a_cancellation_says_how_many_were_cancelled_before(
    ops: Ops, server: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cancelling, "CHUNK", 2)
    monkeypatch.setattr(dropping, "ANNOUNCE_SECONDS", 0.5)
    ids = [ops.send.delay(number).id for number in range(6)]
    ops.flush()
    targets = cancelling.matching(ops.services, cancelling.Unfinished(task="mail.send"))

    def stop(done: int, _: int) -> None:
        if done == 4:
            server.stop()

    with pytest.raises(BrokerUnavailable) as failed:
        cancelling.cancel_all(ops.services, targets, by="ann", progress=stop)
    notes = " ".join(failed.value.__notes__)
    assert "4 jobs had been cancelled before" in notes
    assert "Nothing was cancelled" not in notes
    assert failed.value.acted_on == 4
    ended = [job_id for job_id, state in states(ops, ids).items() if state is JobState.CANCELLED]
    assert len(ended) == 4


def test_jobs_that_left_an_outbox_are_recorded_although_the_broker_is_away(
    ops: Ops, server: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dropping, "ANNOUNCE_SECONDS", 0.5)
    published, [waiting] = ops.send.delay(1).id, wait_in_outbox(ops, 1)
    ops.flush()
    server.stop()
    targets = [Target(each, "mail.send", "mail", JobState.QUEUED) for each in (published, waiting)]
    with pytest.raises(BrokerUnavailable) as failed:
        dropping.drop(ops.services, targets, kill=False, by="ann")
    assert "1 job had been cancelled before, and 1 job or more were not" in " ".join(failed.value.__notes__)
    assert failed.value.acted_on == 1
    assert states(ops, [waiting]) == {waiting: JobState.CANCELLED}


def test_the_command_and_the_audit_say_it(ops: Ops, server: Valkey, monkeypatch: pytest.MonkeyPatch) -> None:
    book, before = type(ops.services.orders), type(ops.services.orders).pause

    def pause(self: Any, ordered: Pause) -> Any:
        if ordered.queue == "images":
            server.stop()
        return before(self, ordered)

    monkeypatch.setattr(book, "pause", pause)
    said = ops.run("pause", "mail", "images", "--why", "a move")
    assert said.exit_code == 1
    assert "1 queue had been paused before: mail." in said.output
    (row,) = audit.page(ops.services).actions
    assert (row.outcome, row.count, row.why) == ("failed", 1, "a move")
    assert "1 queue had been paused before" in (row.error or "")


def test_delayed_jobs_that_were_taken_are_recorded(
    ops: Ops, server: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The broker goes away between two queues, and between two jobs of one."""
    monkeypatch.setattr(dropping, "ANNOUNCE_SECONDS", 0.5)
    ids = [ops.send.apply_async((number,), countdown=3600).id for number in range(3)]
    ops.flush()
    take, taken = queues._take, list[bool]()

    def stop(*args: Any) -> bool:
        if len(taken) == 2:
            server.stop()
        done = take(*args)
        taken.append(done)
        return done

    monkeypatch.setattr(queues, "_take", stop)
    with pytest.raises(BrokerUnavailable) as failed:
        operations.cancel(ops.services, None, ids, by="ann")
    assert failed.value.acted_on == 2
    assert "2 jobs had been cancelled before" in " ".join(failed.value.__notes__)
    assert sorted(states(ops, ids).values()) == ["cancelled", "cancelled", "queued"]


def test_an_assistant_learns_what_was_done_however_long_the_error_is(
    ops: Ops, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: Any, **__: Any) -> None:
        error = BrokerUnavailable(f"no answer {'x' * 2000}")
        error.add_note("3 jobs had been cancelled before.")
        raise error

    monkeypatch.setattr(pauses, "resume", away)
    tool = tools.tools(["pause"])["resume_queue"]
    with pytest.raises(tools.Refused, match="3 jobs had been cancelled before"):
        tools.call(ops.services, tool, {"queue": "mail"}, Actor("assistant", frozenset({"pause"})))
