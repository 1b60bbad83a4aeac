"""The ids of jobs: UUIDs of version 7 (RFC 9562), each larger than the ones before it in the same process.

They sort by time, so that the database keeps the rows of one hour together. With random ids each job changes pages of
its own, which costs more the longer the history is.

Two processes must never make the same id, because a job with a known id is dropped as a duplicate. The library draws
from a random generator that a forked child inherits. The library's own hook reseeds it after ``os.fork``, and ours
after a fork that Python does not see (``lifetime/forks.py``).
"""

from __future__ import annotations

import hashlib
import uuid
from datetime import UTC, datetime, timedelta

import uuid_utils

from ..lifetime.forks import reset_if_forked, when_forked

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_MICROSECOND = timedelta(microseconds=1)


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


def id_of(moment: datetime, name: str) -> str:
    """The id that stands for ``name`` at ``moment``, the same in every process: it begins with the moment."""
    since = moment - _EPOCH
    digest = hashlib.sha256(f"{name}\0{since // _MICROSECOND}".encode("utf-8", "surrogatepass")).digest()
    bits = (since // _MILLISECOND % (1 << 48)) << 80 | int.from_bytes(digest[:10])
    bits = bits & ~(0xF << 76) | 7 << 76  # the version
    return str(uuid.UUID(int=bits & ~(0b11 << 62) | 0b10 << 62))  # the variant


__all__ = ["id_of", "new_id", "new_ids"]
