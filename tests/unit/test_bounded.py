"""Stored failures are limited in bytes; a message too large for a broker is reduced, or wrapped and unwrapped."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from flask_nightshift.brokers.rabbitmq.frames import TooLarge, check, fitting
from flask_nightshift.domain.job import MAX_TEXT, MAX_TRACEBACK, Failure, cut
from flask_nightshift.message.burial import DEAD_QUEUE
from flask_nightshift.message.envelope import Envelope
from flask_nightshift.message.headers import DEAD, HISTORY
from flask_nightshift.message.oversize import unwrapped

PILE = "\N{PILE OF POO}"


@pytest.mark.parametrize("text", ["plain" * 10, PILE * 20, "a" + PILE * 20, "\udcff" * 30, "", "é" * 30])
@pytest.mark.parametrize("most", [0, 1, 7, 10, 49, 50, 1000])
def test_a_text_is_cut_between_characters(text: str, most: int) -> None:
    raw = text.encode("utf-8", "surrogatepass")
    start, end = cut(text, most), cut(text, most, end=True)
    assert text.startswith(start)
    assert text.endswith(end)
    for part in (start, end):
        size = len(part.encode("utf-8", "surrogatepass"))
        assert min(most, len(raw)) - 3 <= size <= most or size == len(raw) <= most


def test_a_failure_is_bounded_in_bytes_and_keeps_its_beginning() -> None:
    failure = Failure.of(ValueError("the reason " + PILE * 20_000), PILE * 20_000 + "the last line")
    assert len(failure.message.encode()) <= MAX_TEXT
    assert len(failure.traceback.encode()) <= MAX_TRACEBACK
    assert failure.traceback.endswith("the last line")
    because = failure.because("x" * 5_000)
    assert because.message.startswith("the reason ")
    assert "(xxx" in because.message
    assert len(because.message.encode()) <= MAX_TEXT


def a_message(user: int, attempts: int = 10) -> Envelope:
    past = [{"number": n, "error": "ValueError", "message": PILE * 500} for n in range(attempts)]
    headers = {"id": "1", "task": "t", "x-user": "u" * user, HISTORY: {"attempts": past, "request_id": "r"}}
    return Envelope(b"[[], {}, {}]", headers)


def test_a_retry_carries_fewer_attempts_until_it_fits() -> None:
    kept = [
        len(fitting(a_message(user), "mail", 131_072).headers[HISTORY]["attempts"])
        for user in (0, 125_000, 130_000)
    ]
    assert kept == [10, 10, 1]
    brief = fitting(a_message(125_000), "mail", 131_072).headers[HISTORY]["attempts"]
    assert max(len(each["message"].encode()) for each in brief) <= 200
    with pytest.raises(TooLarge, match="'x-user' with about 131,"):
        fitting(a_message(131_072), "mail", 131_072)


def test_a_dead_letter_that_does_not_fit_is_whole_in_its_body() -> None:
    letter = a_message(131_000)
    letter.headers[DEAD] = {"id": "2", "reason": "permanent", "message": PILE * 500, "traceback": "t" * 9}
    letter.headers["when"] = datetime(2026, 1, 2, tzinfo=UTC)
    sent = fitting(letter, DEAD_QUEUE, 131_072)
    check({"application_headers": sent.headers}, 4_096)
    body, headers, content_type, encoding = unwrapped(
        sent.body, sent.headers, sent.content_type, sent.content_encoding
    )
    assert (body, headers, content_type, encoding) == (
        letter.body, letter.headers, letter.content_type, letter.content_encoding,
    )  # fmt: skip
