"""The board: which running jobs were cancelled, in memory that a worker shares with its child processes.

The worker writes it, and a job's body reads it, perhaps a million times: while nothing was cancelled since the worker
began, that is a look at one number.
"""

from __future__ import annotations

import mmap
from hashlib import blake2b
from typing import Any

PLACES = 1024
"""The latest cancelled jobs that it shows; a worker runs fewer at once."""
_DIGEST = 16
_HEADER = 8
_MOST_ANSWERS = 1000


class Board:
    """Shows up to ``PLACES`` jobs. One process writes; it and the children that it forks after ``open()`` read."""

    def __init__(self) -> None:
        self._memory: mmap.mmap | None = None
        self._changes: Any = [0]
        self._seen = 0
        self._answers: dict[str, bool] = {}

    def open(self) -> None:
        """Reserve the memory; children that were forked before it see nothing."""
        if self._memory is None:
            self._memory = mmap.mmap(-1, _HEADER + PLACES * _DIGEST)
            self._changes = memoryview(self._memory)[:_HEADER].cast("Q")

    def show(self, job_id: str) -> None:
        """Show that the job was cancelled; the oldest entry makes room."""
        if self._memory is None or self._place(job_id) is not None:
            return
        at = _HEADER + self._changes[0] % PLACES * _DIGEST
        self._memory[at : at + _DIGEST] = _digest(job_id)
        self._changes[0] += 1  # last, so that who reads a number finds its entry

    def clear(self, job_id: str) -> None:
        """The job has ended, and its id may be used again."""
        if self._memory is not None and (at := self._place(job_id)) is not None:
            self._memory[at : at + _DIGEST] = bytes(_DIGEST)
            self._changes[0] += 1

    def shows(self, job_id: str) -> bool:
        """Whether the job was cancelled."""
        changes = self._changes[0]
        if not changes:
            return False
        if changes != self._seen or len(self._answers) > _MOST_ANSWERS:
            self._seen, self._answers = changes, {}
        answer = self._answers.get(job_id)
        if answer is None:
            answer = self._answers[job_id] = self._place(job_id) is not None
        return answer

    def _place(self, job_id: str) -> int | None:
        """Where the job is shown."""
        if self._memory is None:
            return None
        wanted, at = _digest(job_id), -1
        while (at := self._memory.find(wanted, max(at + 1, _HEADER))) >= 0:
            if (at - _HEADER) % _DIGEST == 0:
                return at
        return None


def _digest(job_id: str) -> bytes:
    return blake2b(job_id.encode("utf-8", "surrogatepass"), digest_size=_DIGEST).digest()


board = Board()
"""The board of this process; a worker opens it."""

__all__ = ["PLACES", "Board", "board"]
