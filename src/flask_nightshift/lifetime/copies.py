"""End a copy of this process, which a job made with ``os.fork()``, where the job's body ends.

The copy returns from the body or raises, like the original. Without this module it would continue as a worker: it would
report for the job, take jobs from the original's pipe, and acknowledge over the original's connection.
"""

from __future__ import annotations

import contextlib
import os
import sys
import traceback

from .process import pid


class OriginalOnly:
    """Lets only the process that entered the block leave it; a copy made inside exits there, as a program would.

    A class and not a generator: each attempt enters two, and this takes a third of the time.
    """

    __slots__ = ("_pid",)

    def __enter__(self) -> None:
        self._pid = pid()

    def __exit__(self, kind: object, exc: BaseException | None, trace: object) -> None:
        if pid() != self._pid:
            _end(exc)


def _end(exc: BaseException | None) -> None:
    """Exit with the exit code of a program that ``exc`` ends, without the worker's clean-up."""
    code = 0
    with contextlib.suppress(Exception):
        if isinstance(exc, SystemExit):
            code = _exit_code(exc)
        elif exc is not None:
            code = 1
            traceback.print_exception(exc)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    os._exit(code)


def _exit_code(exc: SystemExit) -> int:
    if exc.code is None or isinstance(exc.code, int):
        return (exc.code or 0) & 0xFF
    sys.stderr.write(f"{exc.code}\n")
    return 1


__all__ = ["OriginalOnly"]
