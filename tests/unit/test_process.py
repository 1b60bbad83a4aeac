"""The id of this process is known without asking the system, and a copy of it is noticed however it was made."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from typing import Any

import pytest

from flask_nightshift.lifetime import process


def _by_python() -> int:
    return os.fork()


def _by_c() -> int:
    """As uWSGI forks: Python's hooks are not called."""
    return int(ctypes.PyDLL(None).fork())


@pytest.mark.parametrize("fork", [_by_python, _by_c])
def test_a_child_and_its_child_know_themselves(fork: Callable[[], int]) -> None:
    assert process.pid() == os.getpid()
    assert _right_in_child(fork, lambda: _right_in_child(fork, lambda: True))
    assert process.pid() == os.getpid()


def test_the_system_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    known = process.pid()
    if isinstance(process._known, bytes):
        pytest.skip("this kernel empties no memory in copies of a process")
    monkeypatch.setattr(os, "getpid", _not_called)
    assert process.pid() == known


def test_the_system_is_asked_each_time_where_memory_is_not_emptied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "_known", bytes(1))
    assert process.pid() == os.getpid()
    assert _right_in_child(_by_c, lambda: True)


def _right_in_child(fork: Callable[[], int], further: Callable[[], bool]) -> bool:
    child = fork()
    if child == 0:
        right = False
        try:
            right = process.pid() == os.getpid() and process.pid() != os.getppid() and further()
        finally:
            os._exit(0 if right else 1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def _not_called(*_: Any) -> int:
    raise AssertionError("getpid() was called")
