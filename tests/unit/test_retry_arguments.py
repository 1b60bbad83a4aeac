"""The arguments of a retry with new arguments: Celery's rules, case by case."""

from __future__ import annotations

from typing import Any

import pytest

from flask_nightshift.options.call import arguments_of_retry


def body(a: int, b: int = 0, *rest: int, **more: int) -> None: ...


def only(a: int, /, b: int = 0) -> None: ...


@pytest.mark.parametrize(
    ("run", "before", "given", "expected"),
    [
        (body, ([1], {"b": 2}), ([5], {"b": 6}), ([5], {"b": 6})),
        (body, ([1], {}), ([5], None), ([5], {})),
        (body, ([], {"a": 1}), (None, {"a": 5}), ([], {"a": 5})),
        (body, ([], {"a": 1, "b": 2}), ([5], None), ([5], {"b": 2})),
        (body, ([1], {"b": 2, "c": 3}), ([5, 6], None), ([5, 6], {"c": 3})),
        (body, ([1, 2, 3], {}), (None, {"b": 6, "c": 7}), ([1, 6, 3], {"c": 7})),
        (body, ([1], {"b": 2}), (None, {"c": 7}), ([1], {"c": 7})),
        (only, ([1, 2], {}), (None, {"b": 6}), ([1, 6], {})),
        (only, ([], {"b": 2}), ([5], None), ([5], {"b": 2})),
    ],
)
def test_new_arguments_take_the_place_of_the_old_ones(
    run: Any, before: Any, given: Any, expected: Any
) -> None:
    assert arguments_of_retry(run, before, *given) == expected
