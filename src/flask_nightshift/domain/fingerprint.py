"""The fingerprint of a death: equal for dead letters with the same cause, which make an incident.

It is a hash of the task, the error's type and where it was raised. Ids and times change from job to job, so the error's
message is left out; a deployment moves lines and folders, so line numbers and the beginning of paths are, too.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

from .frames import Frame, raised_at


class Cause(NamedTuple):
    """``fingerprint``: 12 hex digits. ``place``: where the error was raised, for people; empty if that is unknown."""

    fingerprint: str
    place: str


def cause(reason: str, task: str | None, error: str | None, traceback: str | None) -> Cause:
    """The cause of the death of a job of ``task``; without an ``error``, the ``reason`` stands for it."""
    frame = raised_at(traceback or "")
    where = _where(frame) if frame is not None else ()
    said = repr(("v2", task or "", error or str(reason), where)).encode("utf-8", "backslashreplace")
    place = f"{frame.short}:{frame.function}" if frame is not None else ""
    return Cause(hashlib.sha256(said).hexdigest()[:12], place)


def _where(frame: Frame) -> tuple[str, ...]:
    return (frame.short, frame.function, frame.source)


__all__ = ["Cause", "cause"]
