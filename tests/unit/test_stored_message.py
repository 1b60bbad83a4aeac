"""A message that waits in the outbox is the same when it is read."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_nightshift.domain.job import utcnow
from flask_nightshift.message import stored
from flask_nightshift.message.envelope import Envelope
from flask_nightshift.outbox.rows import row_of

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@given(st.binary(), st.dictionaries(st.text(), PLAIN), st.dictionaries(st.text(), PLAIN))
def test_what_is_plain(body: bytes, headers: dict[str, Any], properties: dict[str, Any]) -> None:
    envelope = Envelope(body, headers, properties, plain=True)
    assert stored.from_bytes(stored.to_bytes(envelope), stored.FORMAT) == envelope


def test_what_only_kombu_can_write() -> None:
    headers = {
        "at": datetime(2026, 1, 2, tzinfo=UTC),
        "id": uuid.UUID(int=1),
        "price": Decimal("1.10"),
        "half": "\ud800",
    }
    envelope = Envelope(
        b"\x80\x02", headers, {"priority": 3}, "application/x-python-serialize", "binary", plain=False
    )
    assert stored.from_bytes(stored.to_bytes(envelope), stored.FORMAT) == envelope


def test_half_a_character_in_a_plain_header() -> None:
    envelope = Envelope(b"[]", {"argsrepr": "\ud800"}, plain=True)
    assert stored.from_bytes(stored.to_bytes(envelope), 1) == envelope


def test_what_cannot_be_stored() -> None:
    with pytest.raises(TypeError):
        stored.to_bytes(Envelope(b"[]", {"lock": object()}))


def test_a_newer_format_is_not_read() -> None:
    raw = stored.to_bytes(Envelope(b"[]", {}))
    with pytest.raises(stored.UnknownFormat, match="format 2; this version"):
        stored.from_bytes(raw, 2)


@pytest.mark.parametrize("raw", [b"", b"\xc1", b"\x90"])
def test_damage_is_told(raw: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        stored.from_bytes(raw, stored.FORMAT)


def test_a_row_numbers_its_message() -> None:
    headers = {"id": "7", "task": "t", "nightshift": {"queue": "mail"}}
    row = row_of(Envelope(b"[]", headers, plain=True), task="t", queue="mail", due=utcnow())
    assert row.copy == 1
    for copy in (1, 4):
        found = row._replace(copy=copy).envelope()
        assert found.headers["nightshift"] == {"queue": "mail", "outbox": row.id, "copy": copy}
    assert headers["nightshift"] == {"queue": "mail"}
