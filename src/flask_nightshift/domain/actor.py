"""Who acts on jobs, queues and dead letters, and what they are allowed to do."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from types import MappingProxyType

from ..errors import ConfigurationError

VIEW, VIEW_ARGS, REPLAY, EDIT, DISCARD = "view", "view_args", "replay", "edit", "discard"
CANCEL, PAUSE, RUN, PURGE = "cancel", "pause", "run", "purge"

PERMISSIONS = MappingProxyType(
    {
        VIEW: "See jobs, queues, workers, schedules and dead letters, without the arguments of jobs.",
        VIEW_ARGS: "See the arguments and results of jobs; NIGHTSHIFT_REDACT hides some of them from everybody.",
        REPLAY: "Replay dead letters: their jobs run again.",
        EDIT: "Change the arguments of a dead letter before its replay, and enqueue a changed copy of a job.",
        DISCARD: "Discard dead letters: their jobs do not run.",
        CANCEL: "Cancel jobs, and stop those that run.",
        PAUSE: "Pause and resume queues and entries of the schedule, and leave out the next run of an entry.",
        RUN: "Run delayed jobs and entries of the schedule now, enqueue a job again, and release a lock.",
        PURGE: "Delete all jobs that wait in a queue, for good.",
    }
)
"""Each permission, and what it allows."""
LONGEST_NAME = 200
"""Characters of an actor's name."""


@dataclass(frozen=True, slots=True)
class Actor:
    """Somebody who acts, by the ``name`` that the audit shows; ``permissions`` are keys of ``PERMISSIONS``.

    Raises ``ConfigurationError`` (a ``ValueError``) for a permission that does not exist, or a name that is empty or
    longer than ``LONGEST_NAME`` characters.
    """

    name: str
    permissions: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if not self.name.strip() or len(self.name) > LONGEST_NAME:
            raise ConfigurationError("Actor.name", self.name[:40], f"use 1 to {LONGEST_NAME} characters")
        if isinstance(self.permissions, str):  # a set of its letters otherwise
            raise ConfigurationError("Actor.permissions", self.permissions, "use a set of names")
        object.__setattr__(self, "permissions", frozenset(self.permissions))
        for unknown in sorted(map(str, self.permissions - PERMISSIONS.keys())):
            raise ConfigurationError("Actor.permissions", unknown, f"use some of {', '.join(PERMISSIONS)}")

    def may(self, permission: str) -> bool:
        """Whether the actor has ``permission``; a permission that does not exist is a ``KeyError``."""
        if permission not in PERMISSIONS:
            raise KeyError(permission)
        return permission in self.permissions


def everything(name: str, without: Iterable[str] = ()) -> Actor:
    """An actor with all permissions but those in ``without``."""
    return Actor(name, frozenset(PERMISSIONS) - frozenset(without))


__all__ = ["LONGEST_NAME", "PERMISSIONS", "Actor", "everything"]
