"""The ids of jobs: UUIDs of version 7 (RFC 9562), each larger than the ones before it in the same process.

They sort by time, so that the database keeps the rows of one hour together. With random ids each job changes pages of
its own, which costs more the longer the history is.

Two processes must never make the same id, because a job with a known id is dropped as a duplicate. The library draws
from a random generator that a forked child inherits. The library's own hook reseeds it after ``os.fork``, and ours
after a fork that Python does not see (``lifetime/forks.py``).
"""

from __future__ import annotations

import uuid_utils

from ..lifetime.forks import reset_if_forked, when_forked


class _Generator:
    """The library's random generator, of which a process has one."""

    def after_fork(self) -> None:
        """Draw a new seed from the operating system."""
        uuid_utils.reseed_rng()


_generator = _Generator()
when_forked(_generator)


def new_id() -> str:
    """The id of a job."""
    reset_if_forked()
    return str(uuid_utils.uuid7())


def new_ids(count: int) -> list[str]:
    """The ids of ``count`` jobs, in ascending order."""
    reset_if_forked()
    return [str(uuid_utils.uuid7()) for _ in range(count)]


__all__ = ["new_id", "new_ids"]
