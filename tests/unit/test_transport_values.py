"""The pure parts of the lease transport: payloads, pending acknowledgements, options, names."""

from __future__ import annotations

import base64
import enum
import json
from typing import Any

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from flask_nightshift.brokers import payload
from flask_nightshift.brokers.payload import job_id
from flask_nightshift.brokers.redis.transport.acks import MOST_AT_ONCE, Ack, Acks
from flask_nightshift.brokers.redis.transport.keys import KeySpace
from flask_nightshift.brokers.redis.transport.options import Options
from flask_nightshift.brokers.redis.transport.raw_connection import packed

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def message(**changes: Any) -> dict[str, Any]:
    return {
        "body": base64.b64encode(b"[]").decode(),
        "headers": {"id": "j"},
        "properties": {"body_encoding": "base64", "delivery_tag": "t", "delivery_info": {"routing_key": "q"}},
        **changes,
    }


@given(st.binary(max_size=60) | json_values.map(lambda value: json.dumps(value).encode()))
def test_anything_is_either_a_message_or_undecodable(raw: bytes) -> None:
    try:
        body = payload.parse(raw)
    except payload.Undecodable:
        return
    delivered = payload.for_delivery(body, payload.take_count(body), 1, "jobs")
    assert delivered["properties"]["delivery_tag"] == 1


@given(st.binary(max_size=200))
def test_buried_bytes_can_be_read_back(raw: bytes) -> None:
    letter = json.loads(payload.bury_raw(raw, payload.Burial("undecodable", "why", "q", "w"), "dead"))
    assert base64.b64decode(letter["body"]) == raw
    assert payload.parse(json.dumps(letter).encode()) == letter


def test_a_buried_message_is_itself_with_one_more_header() -> None:
    before = message()
    letter = json.loads(payload.bury(before, payload.Burial("delivery_limit", "why", "q", "w"), "dead"))
    assert letter["body"] == before["body"]
    header = letter["headers"].pop("nightshift_dead")
    assert letter["headers"] == before["headers"]
    assert {key: header[key] for key in ("reason", "error", "queue", "worker")} == {
        "reason": "delivery_limit",
        "error": "why",
        "queue": "q",
        "worker": "w",
    }
    assert before == message(), "the original was changed"


@pytest.mark.parametrize(
    ("eta", "expected"),
    [
        (None, None),
        ("", None),
        ("tomorrow", None),
        (12, None),
        ("1970-01-01T00:00:10+00:00", 10.0),
        ("1970-01-01T00:00:10Z", 10.0),
        ("1970-01-01T00:00:10", 10.0),
        ("1970-01-01T01:00:10.5+01:00", 10.5),
    ],
)
def test_due_reads_the_eta_header(eta: Any, expected: float | None) -> None:
    assert payload.due(message(headers={"eta": eta})) == expected


@pytest.mark.parametrize(("count", "taken"), [(2, 2), (0, 0), (-1, 0), ("3", 0), (None, 0)])
def test_the_delivery_count_is_taken_out(count: Any, taken: int) -> None:
    body = {"x-delivery-count": count, **message()}
    assert payload.take_count(body) == taken
    assert body == message()


def test_a_first_delivery_has_no_count_even_if_its_headers_were_copied() -> None:
    body = payload.for_delivery(message(headers={"x-delivery-count": 4}), 0, 7, "jobs")
    assert "x-delivery-count" not in body["headers"]
    assert body["properties"]["delivery_tag"] == 7
    assert "redelivered" not in body["properties"]["delivery_info"]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=60))
def test_an_acknowledgement_is_kept_until_it_is_confirmed(steps: list[tuple[str, bool]]) -> None:
    acks, unconfirmed = Acks(), set()
    for number, (queue, reply_came) in enumerate(steps):
        ack = Ack(queue, number)
        acks.add(ack)
        unconfirmed.add(ack)
        if number % 3 == 0:
            batch = acks.take()
            if reply_came:
                acks.confirm(batch)
                unconfirmed -= set(batch.acks)
            else:
                acks.put_back(batch)
        assert set(acks.unconfirmed()) == unconfirmed
    assert {ack for batch in acks.take_all() for ack in batch.acks} == unconfirmed


def test_acknowledgements_are_grouped_by_queue_and_sent_in_portions() -> None:
    acks = Acks()
    for number in range(MOST_AT_ONCE + 1):
        assert acks.add(Ack("ab"[number % 2], number)) == (number == 0)
    args = acks.take().args()
    assert args[:3] == [2, "a", MOST_AT_ONCE // 2]
    assert acks.take().args() == [1, "a", 1, MOST_AT_ONCE, 0]
    assert acks.take().args() == [0, 0]
    assert acks.age() is None


@pytest.mark.parametrize(
    "wrong", [{"lease_seconds": 2}, {"lease_renew_seconds": 0}, {"delivery_limit": 0}], ids=str
)
def test_options_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Options.of(wrong)


def test_ready_lists_have_kombus_names() -> None:
    assert KeySpace("p:").ready("q") == "p:q"
    assert KeySpace("p:").ready("q", 3) == "p:q\x06\x163"


def test_the_id_of_a_message_is_its_jobs() -> None:
    assert job_id(message()) == "j"
    assert job_id(message(headers=None)) == "t"
    assert job_id({}) == ""


@given(
    st.lists(st.text() | st.binary() | st.integers() | st.floats(allow_nan=False), min_size=1, max_size=8),
)
def test_a_command_is_packed_as_redis_py_packs_it(command: list[str | bytes | int | float]) -> None:
    theirs: Any = redis.connection  # typed in part; this serializer needs no hiredis
    encoder = theirs.Encoder("utf-8", "strict", decode_responses=False)
    expected = theirs.PythonRespSerializer(6000, encoder.encode).pack("EVALSHA", *command)
    assert b"".join(packed(["EVALSHA", *command])) == b"".join(expected)


def test_a_queue_may_be_named_by_an_enum() -> None:
    class Name(enum.StrEnum):
        MAIL = "mail"

    assert packed(("LPUSH", Name.MAIL, b"\xff")) == packed(("LPUSH", "mail", b"\xff"))
