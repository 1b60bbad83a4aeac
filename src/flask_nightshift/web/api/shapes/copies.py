"""Shapes of copies of jobs, and of arguments that somebody changes."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta

from .base import Name, Shape, Why

NewArgs = Annotated[
    list[Any],
    Meta(description="Other positional arguments. '***' at the place of a hidden value keeps it."),
]
NewKwargs = Annotated[
    dict[str, Any],
    Meta(description="Other arguments by name, all of them. '***' at the place of a hidden value keeps it."),
]


class Copied(Shape):
    """A job that is a copy of another one. ``left``: it is no part of the original's group or chord."""

    job_id: str
    original_id: str
    task: str
    queue: str
    changed: Annotated[bool, Meta(description="Whether it has other arguments.")]
    left: bool


class JobArguments(Shape):
    """The arguments of a job, to change them; ``***`` stands for a hidden value.

    Where the app has texts of its own for arguments, only those are told, as ``said``, and the values are null.
    """

    task: str
    queue: str
    args: list[Any] | None
    kwargs: dict[str, Any] | None
    said: list[str]
    parameters: Annotated[str, Meta(description="What the task takes, if it is known here.")]


class Copy(Shape):
    """How to enqueue a job again."""

    queue: Annotated[Name | None, Meta(description="Enqueue it there, not where the original came from.")] = (
        None
    )
    why: Why = ""


class CopyChanged(Copy):
    """How to enqueue a changed copy of a job; what is left out stays as it is."""

    args: NewArgs | None = None
    kwargs: NewKwargs | None = None


__all__ = [
    "Copied", "Copy", "CopyChanged", "JobArguments", "NewArgs", "NewKwargs",
]  # fmt: skip
