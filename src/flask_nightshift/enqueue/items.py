"""The items of an ``enqueue_many()`` call: each one is checked as the arguments of one job."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..message.arguments import Texts, brief, cut

Arguments = tuple[Sequence[Any], Mapping[str, Any]]
"""Positional and keyword arguments of one job."""
_OPTIONS = frozenset(
    {"countdown", "durable", "eta", "expires", "headers", "ignore_result", "link", "link_error", "on_duplicate",
     "on_expired", "priority", "queue", "serializer", "soft_time_limit", "tags", "time_limit", "unique", "unique_for"}
)  # fmt: skip


def arguments_of(task: Any, items: Iterable[Any], options: Iterable[str], texts: Texts) -> list[Arguments]:
    """The arguments of each job; raises ``TypeError`` for an unknown option or an item that is not arguments.

    ``texts`` shows arguments in errors.
    """
    if unknown := sorted(set(options) - _OPTIONS):
        raise TypeError(
            f"enqueue_many() does not take {', '.join(unknown)}; it takes {', '.join(sorted(_OPTIONS))}"
        )
    return [_arguments(task, at, item, texts) for at, item in enumerate(items)]


def _arguments(task: Any, at: int, item: Any, texts: Texts) -> Arguments:
    """The arguments of one job, checked against the task's signature as ``delay()`` does."""
    args: Sequence[Any] = ()
    kwargs: Mapping[str, Any] = {}
    if isinstance(item, Mapping):
        kwargs = item
    elif isinstance(item, (tuple, list)):
        args = item
    else:
        raise TypeError(
            f"item {at} of enqueue_many() is {brief(item, 80)}: "
            "give a tuple of positional or a dict of keyword arguments"
        )
    header = getattr(task, "__header__", None)  # a class-based task has none
    if task.typing and header is not None:
        try:
            header(*args, **kwargs)
        except TypeError as exc:
            shown = texts.kwargs(item) if item is kwargs else texts.args(item)
            raise TypeError(f"item {at} of enqueue_many(), {cut(shown, 80)}: {exc}") from None
    return args, kwargs


__all__ = ["Arguments", "arguments_of"]
