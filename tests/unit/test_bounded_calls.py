"""Answers that are kept: the last one is shown while a new one is on its way, or cannot be had."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from flask_nightshift.observe import bounded_calls
from servers import wait_for


def test_the_last_answer_is_shown_while_a_new_one_is_on_its_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded_calls, "ERROR_KEPT", 0.0)
    calls, ready = bounded_calls.BoundedCalls(lambda: None), threading.Event()
    ready.set()
    answers: list[Any] = [1, RuntimeError("away"), 3]

    def question() -> int:
        ready.wait(10)
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return int(answer)

    def ask(max_age: float) -> Any:
        return calls.kept("number", question, timeout=5, max_age=max_age).value

    try:
        assert ask(max_age=60) == ask(max_age=60) == 1
        ready.clear()
        assert ask(max_age=0) == ask(max_age=60) == 1  # the second call hangs
        ready.set()
        wait_for(lambda: len(answers) == 1, 5, "the second call has not ended")
        wait_for(lambda: ask(max_age=60) == 3, 5, "it was not asked again")
        assert answers == []
    finally:
        calls.close()
