"""``flask jobs locks``: what it shows is enough to release a lock."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from opsapp import Ops, opened_on


@pytest.fixture(params=["valkey", "rabbitmq"])
def ops(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ops]:
    with opened_on(request, tmp_path) as made:
        yield made


def test_a_shown_key_is_whole_and_a_cut_list_says_so(ops: Ops) -> None:
    assert ops.ok("locks") == "No unique job holds a lock.\n"
    first, second = (ops.send.apply_async((number,), unique="until_done").id for number in (1, 2))
    shown = ops.ok("locks")
    assert all(job_id[-8:] in shown for job_id in (first, second))
    assert "--limit" not in shown
    assert "These are the first 1; --limit shows more." in ops.ok("locks", "--limit", "1")

    lines = [line.split() for line in ops.ok("locks", "--limit", "1").splitlines()]
    begun = next(at for at, line in enumerate(lines) if line and line[0].startswith("mail.send:"))
    key = lines[begun][0] + (lines[begun + 1][0] if len(lines[begun + 1]) == 1 else "")
    held = {lock["key"]: lock["job_id"] for lock in ops.json("locks")}
    assert ops.ok("locks", "release", key) == f"Released {key}, which the job {held[key]} held.\n"
