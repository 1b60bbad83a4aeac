"""A dead letter that is no job: people see the beginning of its message, without what NIGHTSHIFT_REDACT hides."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from flask import Request

from flask_nightshift import Actor
from flask_nightshift.dead_letters import Archiver
from flask_nightshift.domain.actor import everything
from flask_nightshift.message.burial import DEAD_QUEUE
from flask_nightshift.message.envelope import Envelope
from opsapp import opened


def who(_: Request) -> Actor:
    return everything("ada")


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        (b'{"user": "ada", "password": "hunter2"}', '{"user": "ada", "password": "***"}'),
        (b'[[{"token": "hunter2"}], {}, {}]', '[[{"token": "***"}], {}, {}]'),
        (b"user=ada&password=hunter2", "25 bytes of text/plain"),
        (b"\x80\x04hunter2", "9 bytes of application/x-pickle"),
        (b"[" * 100_000, "100,000 bytes of text/plain"),
    ],
)
def test_what_is_redacted_is_not_in_its_beginning(tmp_path: Path, body: bytes, shown: str) -> None:
    kind = "application/x-pickle" if body[0] == 0x80 else "text/plain"
    config: dict[str, Any] = {"NIGHTSHIFT_DASHBOARD_AUTH": who, "SECRET_KEY": "k", "TESTING": True}
    with opened(tmp_path, "memory://", **config) as ops:
        ops.services.broker.publish(Envelope(body, {}, {}, kind, "binary"), DEAD_QUEUE)
        Archiver(ops.services.broker, ops.services.store).run_once()
        (letter,) = ops.json("dead", "list")
        page = ops.app.test_client().get(f"/nightshift/letters/letter?letter_id={letter['id']}")
        for text in (page.get_data(as_text=True).replace("&#34;", '"'), ops.ok("dead", "show", letter["id"])):
            assert shown in text
            assert "hunter2" not in text
