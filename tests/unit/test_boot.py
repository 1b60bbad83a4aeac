"""What a worker's processes do with the garbage collector."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from flask_nightshift.worker.boot import YOUNG, collect_seldom, settle_memory


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)
    gc.unfreeze()


def test_a_child_collects_garbage_as_usual_although_its_parent_collects_seldom() -> None:
    # given the parent
    gc.set_threshold(700, 9, 8)
    collect_seldom()
    assert gc.get_threshold() == (YOUNG, 9, 8)

    # when a child begins (here in the same process)
    settle_memory()

    # then
    assert gc.get_threshold() == (700, 9, 8)


@pytest.mark.parametrize("given", [(0, 10, 10), (YOUNG + 1, 10, 10)], ids=["never", "more seldom still"])
def test_what_the_user_has_set_stays(given: tuple[int, int, int]) -> None:
    gc.set_threshold(*given)
    collect_seldom()
    settle_memory()
    assert gc.get_threshold() == given
