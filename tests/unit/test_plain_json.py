"""Our JSON and kombu's JSON give the same results and the same errors."""

from __future__ import annotations

import json
from collections import OrderedDict, namedtuple
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from typing import Any
from uuid import UUID

import pytest
from hypothesis import example, given, reject
from hypothesis import strategies as st
from kombu.utils.json import dumps, loads

from flask_nightshift.message.codec import decode, encode


class Text(str):
    """A subclass of str, such as markup."""

    __slots__ = ()


class Number(int):
    """A subclass of int."""


class Color(Enum):
    RED = "red"


class Size(IntEnum):
    BIG = 3


class Word(StrEnum):
    YES = "yes"


Point = namedtuple("Point", "x y")

any_text = st.text(st.characters())  # lone surrogates too
plain = st.none() | st.booleans() | st.integers() | st.floats() | any_text
odd = (
    st.uuids() | st.decimals() | st.datetimes() | st.dates() | st.binary() | st.timedeltas()
    | st.sampled_from([Color.RED, Size.BIG, Word.YES, Text("more"), Number(7), Point(1, UUID(int=1))])
    | st.frozensets(st.integers())
)  # fmt: skip
keys = any_text | st.integers() | st.none() | st.booleans() | st.floats() | st.uuids() | st.just(Word.YES)


def nested(leaves: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.recursive(
        leaves,
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.tuples(inner, inner)
            | st.dictionaries(any_text, inner, max_size=4)
            | st.dictionaries(keys, inner, max_size=2).map(OrderedDict)
        ),
        max_leaves=12,
    )


def outcome(call: Callable[[], Any]) -> str:
    """The result of ``call`` with its types and NaN, or the error that it raises."""
    try:
        return repr(call())
    except Exception as exc:  # noqa: BLE001 - whichever it is
        return type(exc).__name__


def same(value: Any) -> None:
    ours = outcome(lambda: loads(encode(value).decode()))
    assert ours == outcome(lambda: loads(dumps(value)))


@given(nested(plain))
def test_plain_values_are_written_as_kombu_does(value: Any) -> None:
    same(value)


@given(nested(plain | odd))
def test_odd_values_are_written_as_kombu_does(value: Any) -> None:
    same(value)


@pytest.mark.parametrize(
    "value",
    [
        2**64, -(2**200), 1e16, 5e-324, -0.0, float("nan"), float("-inf"), "\ud800", "\0\u2028é🎉", b"bytes", {1, 2},
        {1: "a"}, {True: 1}, {None: 1}, {1.5: 1}, {UUID(int=5): 1}, {(1, 2): 3}, {Word.YES: 1}, {Text("k"): 1},
        Text("more"), Number(7), Color.RED, Size.BIG, Word.YES, Point(1, 2), OrderedDict(a=UUID(int=1)),
        Decimal("1.10"),
        UUID(int=3), date(2026, 1, 2), datetime(2026, 1, 2, tzinfo=UTC), timedelta(1), ..., bytearray(b"x"),
        {"__type__": "uuid", "__value__": {"hex": UUID(int=9).hex}}, {"__type__": "nonsense"}, ([{"a": ({},)}],),
    ],
    ids=repr,
)  # fmt: skip
def test_written_as_kombu_does(value: Any) -> None:
    same(value)
    same({"args": [[value], {"deep": (value,)}]})


def test_a_recursive_value_raises_as_with_kombu() -> None:
    value: list[Any] = []
    value.append(value)
    with pytest.raises((ValueError, RecursionError)) as kombus:
        dumps(value)
    with pytest.raises(kombus.type):
        encode(value)


@pytest.mark.parametrize("depth", [50, 200, 100_000])
def test_deep_values(depth: int) -> None:
    raw = b"[" * depth + b"]" * depth
    assert outcome(lambda: decode(raw)) == outcome(lambda: json.loads(raw))


@given(nested(plain))
@example([float("nan"), 2**70])
@example({"lone": "\ud800"})
def test_json_written_by_kombu_is_read(value: Any) -> None:
    try:
        text = dumps(value)
    except TypeError:  # a key that JSON cannot have
        reject()
    assert outcome(lambda: decode(text.encode())) == outcome(lambda: loads(text))


@given(
    st.text('[]{}:,"\\/ 0123456789.eE+-truefalsnN\t\n\x00\x7fu', max_size=12).map(str.encode)
    | st.binary(max_size=8)
)
def test_invalid_json_raises_as_with_kombu(raw: bytes) -> None:
    assert outcome(lambda: decode(raw)) == outcome(lambda: loads(raw.decode()))


@pytest.mark.parametrize(
    "raw",
    [
        b"-0", b"-0.0", b"1e5", b"1E400", b"-1e400", b"1" * 400, b"NaN", b"Infinity", b'"\\ud800"', b'"\\ud83d\\ude00"',
        b'{"a":1,"a":2}', b"\xef\xbb\xbf1", b'"\n"', b'"\xff"', b"01", b"[1,]", b"",
        b" ", b"null x", b'{"a":1', b"1.", b".5", b'"\\x"',
        b'{"__type__":"uuid","__value__":{"hex":"00000000000000000000000000000009"}}', b'{"__type__":1}', b"1" * 5000,
    ],
    ids=lambda raw: repr(raw[:20]),
)  # fmt: skip
def test_read_as_kombu_does(raw: bytes) -> None:
    assert outcome(lambda: decode(raw)) == outcome(lambda: loads(raw.decode()))
