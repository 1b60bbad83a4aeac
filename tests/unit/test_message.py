"""The job's message: a retry, a burial and a replay change only our headers."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_nightshift.domain.job import (
    MAX_ATTEMPTS_CARRIED,
    MAX_TEXT,
    MAX_TRACEBACK,
    Attempt,
    DeadLetter,
    Failure,
    Reason,
)
from flask_nightshift.message import arguments, burial
from flask_nightshift.message import headers as message_headers

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
OURS = {message_headers.HISTORY, message_headers.DEAD, "retries", "eta", "expires"}

plain_values = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20)
json_values = (
    plain_values
    | st.lists(plain_values, max_size=3)
    | st.dictionaries(st.text(max_size=5), plain_values, max_size=3)
)
strangers_headers = st.dictionaries(st.text(min_size=1, max_size=20), json_values, max_size=5)
headers = st.builds(
    lambda more, job_id, retries: {**more, "id": job_id, "task": "t", "retries": retries},
    strangers_headers,
    st.uuids().map(str),
    st.integers(0, 50),
)
reasons = st.sampled_from(Reason)
texts = st.text(max_size=50)
bodies = st.binary(max_size=200)


def attempt(number: int) -> Attempt:
    return Attempt(number, NOW.isoformat(), "w1", 0.5, "OSError", "refused")


def test_tags_stay_with_a_job_in_retries_returns_and_replays() -> None:
    tagged: dict[str, Any] = {"id": "j1", "task": "mail.send"}
    message_headers.stamp(tagged, queue="mail", at=NOW, request_id=None, tags=("billing", "customer:7"))
    retried = message_headers.next_attempt(tagged, attempt(1), due=NOW)
    for found in (
        tagged,
        retried,
        message_headers.returned(retried, due=NOW),
        message_headers.postponed(tagged, since=NOW, due=NOW),
        burial.revived(bury(retried)).headers,
    ):
        assert message_headers.ref(found, "mail").tags == ("billing", "customer:7")


@pytest.mark.parametrize("forged", [None, "billing", 7, {"a": 1}, [1, "", "x" * 65, None]])
def test_forged_tags_are_none(forged: Any) -> None:
    assert message_headers.ref({"id": "1", "task": "t", "nightshift": {"tags": forged}}, "mail").tags == ()


def stamped(**more: Any) -> dict[str, Any]:
    found: dict[str, Any] = {"id": "j1", "task": "mail.send", "retries": 0, "lang": "py", **more}
    message_headers.stamp(found, queue="mail", at=NOW, request_id="r1")
    return found


def others(headers: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in headers.items() if name not in OURS}


def bury(headers: dict[str, Any], body: bytes = b"[[], {}, {}]", **more: Any) -> DeadLetter:
    options: dict[str, Any] = {
        "reason": Reason.EXHAUSTED,
        "failure": Failure("E"),
        "queue": "mail",
        "worker": "w1",
        "at": NOW,
    }
    dead = burial.buried(headers, **{**options, **more})
    return burial.dead_letter(body, dead, {"priority": 3, "delivery_tag": "x"}, "application/json", "utf-8")


class TestStamp:
    def test_the_ref_of_a_stamped_message(self) -> None:
        ref = message_headers.ref(stamped(), "mail")
        assert (ref.job_id, ref.task, ref.queue, ref.attempt, ref.run) == ("j1", "mail.send", "mail", 1, 0)
        assert (ref.request_id, ref.enqueued_at) == ("r1", NOW)

    def test_a_message_that_has_a_history_keeps_it(self) -> None:
        found = stamped()
        message_headers.stamp(found, queue="other", at=NOW + timedelta(hours=1), request_id="r2")
        assert message_headers.history(found)["queue"] == "mail"

    def test_a_message_of_a_plain_celery_producer_has_no_history(self) -> None:
        plain = {"id": "j1", "task": "t", "retries": 2}
        ref = message_headers.ref(plain, "celery")
        assert (ref.attempt, ref.request_id, ref.enqueued_at) == (3, None, None)

    @given(strangers_headers)
    def test_foreign_headers_can_be_read(self, found: dict[str, Any]) -> None:
        for value in (
            None,
            7,
            "text",
            [1],
            {"attempts": 3},
            {"attempts": [1, {"a": 1}]},
            {"run": "x"},
            {"run": -1},
        ):
            odd = {**found, message_headers.HISTORY: value, "retries": value}
            assert message_headers.retries(odd) >= 0
            assert message_headers.run(odd) >= 0
            assert all(isinstance(item, dict) for item in message_headers.attempts(odd))
            assert message_headers.lost_since(odd) is None
            message_headers.ref(odd, "q")


class TestRetry:
    @given(headers)
    def test_a_retry_counts_and_keeps_every_other_header(self, found: dict[str, Any]) -> None:
        before = json.dumps(found)
        following = message_headers.next_attempt(found, attempt(1), due=NOW)
        assert following["retries"] == found["retries"] + 1
        assert following["eta"] == NOW.isoformat()
        assert others(following) == others(message_headers.job_headers(found))
        assert json.dumps(found) == before  # the delivered message is untouched

    @given(st.integers(1, 40))
    def test_the_latest_attempts_travel_along(self, count: int) -> None:
        found = stamped()
        for number in range(1, count + 1):
            found = message_headers.next_attempt(found, attempt(number), due=NOW)
        carried = [item["number"] for item in message_headers.attempts(found)]
        assert carried == list(range(1, count + 1))[-MAX_ATTEMPTS_CARRIED:]
        assert message_headers.ref(found, "mail").attempt == count + 1
        assert message_headers.ref(found, "mail").enqueued_at == NOW

    def test_headers_of_one_delivery_are_dropped(self) -> None:
        found = stamped(**{"x-death": [{}], "x-delivery-count": 3, "x-first-death-queue": "q", "x-mine": 1})
        following = message_headers.next_attempt(found, attempt(1), due=NOW)
        assert [name for name in following if name.startswith("x-")] == ["x-mine"]

    def test_a_message_that_is_put_off_remembers_since_when(self) -> None:
        found = message_headers.postponed(stamped(), since=NOW, due=NOW + timedelta(seconds=5))
        assert message_headers.lost_since(found) == NOW
        assert found["eta"] == (NOW + timedelta(seconds=5)).isoformat()
        assert message_headers.ref(found, "q").attempt == 1


class TestBurial:
    @given(headers, bodies, reasons, texts, texts, texts)
    def test_a_letter_says_what_its_burial_said(
        self, found: dict[str, Any], body: bytes, reason: Reason, error: str, text: str, trace: str
    ) -> None:
        failure = Failure(error or "E", text, trace)
        letter = bury(found, body, reason=reason, failure=failure)
        assert (letter.reason, letter.failure, letter.body) == (reason, failure, body)
        assert (letter.queue, letter.worker, letter.at) == ("mail", "w1", NOW)
        assert (letter.job_id, letter.task) == (found["id"], "t")
        assert letter.properties == {"priority": 3}

    def test_each_burial_has_an_id_of_its_own_and_keeps_it(self) -> None:
        dead = burial.buried(stamped(), reason=Reason.REJECTED, failure=None, queue="q", worker="w", at=NOW)
        again = [burial.dead_letter(b"", dead, None, None, None).id for _ in range(2)]
        assert again[0] == again[1] != bury(stamped()).id

    def test_the_fatal_attempt_comes_last(self) -> None:
        found = message_headers.next_attempt(stamped(), attempt(1), due=NOW)
        letter = bury(found, ended=attempt(2))
        assert [item["number"] for item in message_headers.attempts(letter.headers)] == [1, 2]

    def test_a_letter_that_rabbitmq_wrote(self) -> None:
        deaths = [{"reason": "delivery_limit", "queue": "mail", "count": 1, "time": NOW.replace(tzinfo=None)}]
        found = stamped(**{"x-death": deaths})
        letter = burial.dead_letter("[[],{},{}]", found, None, "application/json", "utf-8")
        assert (letter.reason, letter.queue, letter.at) == (Reason.DELIVERY_LIMIT, "mail", NOW)
        assert (letter.job_id, letter.worker, letter.failure) == ("j1", None, None)
        assert letter.id == burial.dead_letter("[[],{},{}]", found, None, None, None).id
        other = burial.dead_letter("[[1],{},{}]", found, None, None, None)
        assert letter.id != other.id

    @pytest.mark.parametrize(
        ("cause", "reason"),
        [("expired", Reason.EXPIRED), ("rejected", Reason.REJECTED), ("maxlen", Reason.REJECTED)],
    )
    def test_reasons_of_rabbitmq(self, cause: str, reason: Reason) -> None:
        found = stamped(**{"x-death": [{"reason": cause, "queue": "mail", "count": 1, "time": NOW}]})
        assert burial.dead_letter(b"", found, None, None, None).reason is reason

    @given(bodies, strangers_headers)
    def test_anything_in_the_dead_letter_queue_can_be_read(self, body: bytes, found: dict[str, Any]) -> None:
        oddities: tuple[Any, ...] = (None, 7, [], {}, {"id": None}, {"id": "x", "reason": "?", "at": "?"})
        for odd in oddities:
            found_too = {**found, message_headers.DEAD: odd, "x-death": odd}
            letter = burial.dead_letter(body, found_too, None, None, None)
            assert letter.body == body
            assert letter.id
            assert isinstance(letter.reason, Reason)
            burial.cause_of(letter)
            arguments.by_name(None).of(letter.headers, letter.body)


class TestReplay:
    @given(headers, bodies)
    def test_a_replay_is_the_same_job(self, found: dict[str, Any], body: bytes) -> None:
        letter = bury(found, body)
        back = burial.revived(letter)
        assert back.body == body
        assert back.headers["id"] == found["id"]
        assert not {"retries", "eta", "expires"} & back.headers.keys()
        assert message_headers.DEAD not in back.headers
        assert others(back.headers) == others(message_headers.job_headers(found))
        assert (back.content_type, back.content_encoding) == ("application/json", "utf-8")
        assert back.properties == {"priority": 3}

    def test_each_replay_begins_a_run_in_one_history(self) -> None:
        found = message_headers.postponed(stamped(), since=NOW, due=NOW)
        for run in range(1, 4):
            found = burial.revived(bury(found, ended=attempt(run))).headers
            ref = message_headers.ref(found, "mail")
            assert (ref.run, ref.attempt, ref.enqueued_at) == (run, 1, NOW)
            assert len(message_headers.attempts(found)) == run
            assert message_headers.lost_since(found) is None

    def test_a_replayed_job_does_not_expire(self) -> None:
        assert "expires" not in burial.revived(bury(stamped(expires=NOW.isoformat()))).headers


class TestWords:
    def test_arguments_as_text_for_people(self) -> None:
        assert arguments.by_name(None).of({}, '[["Zoë"], {"a": 1}, null]'.encode()) == ('["Zoë"]', '{"a": 1}')
        reprs = {"argsrepr": "(1,)", "kwargsrepr": "{}"}
        assert arguments.by_name(None).of(reprs, b"\x80pickled") == ("(1,)", "{}")
        assert arguments.by_name(None).of({}, b"[1]") == ("", "")

    @given(st.text() | st.none() | st.integers())
    def test_a_time_is_aware_or_none(self, value: object) -> None:
        found = message_headers.parse_time(value)
        assert found is None or found.tzinfo is not None

    def test_a_naive_time_is_in_utc(self) -> None:
        assert message_headers.parse_time("2026-05-01T12:00:00") == NOW

    @given(st.text(max_size=5000), st.text(max_size=20_000))
    def test_a_failure_is_cut_to_size(self, text: str, trace: str) -> None:
        failure = Failure.of(ValueError(text), trace)
        assert (failure.error, failure.message) == ("ValueError", text[:MAX_TEXT])
        assert len(failure.traceback) <= MAX_TRACEBACK
        assert trace.endswith(failure.traceback)

    def test_an_exception_that_cannot_be_printed_is_a_failure_all_the_same(self) -> None:
        class Mute(Exception):
            def __str__(self) -> str:
                raise RuntimeError("no words")

        assert "no words" in Failure.of(Mute()).message
