"""How a call travels to a child of the pool ``prefork``, and its end back.

Most ends say only that the job succeeded; they have no body at all.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

from billiard.einfo import ExceptionInfo
from billiard.exceptions import WorkerLostError

from ..attempt import Ended, Report, run

_RETURNED, _FAILED, _RAISED = b"\x00", b"\x01", b"\x02"
_ATTEMPT = b"\x00"
"""Before a call of ``attempt.run``, in place of the name of the function; a pickle begins otherwise."""
_SUCCEEDED = tuple(Report("succeeded", representation="None"))[2:]


def packed_call(target: Callable[..., Any], args: Any, kwargs: Any) -> bytes:
    """A call for a child. Raises if it cannot be pickled."""
    if target is run and not kwargs:
        return _ATTEMPT + pickle.dumps(args, pickle.HIGHEST_PROTOCOL)
    return pickle.dumps((target, tuple(args), dict(kwargs or {})), pickle.HIGHEST_PROTOCOL)


def call(packed: bytes) -> bytes:
    """In the child: make the call; what it returned, packed."""
    if packed.startswith(_ATTEMPT):
        returned: Any = run(*pickle.loads(memoryview(packed)[1:]))  # noqa: S301 - from our parent process
    else:
        target, args, kwargs = pickle.loads(packed)  # noqa: S301 - likewise
        returned = target(*args, **kwargs)
    failed = isinstance(returned, tuple) and bool(returned) and bool(returned[0])
    if not failed and _is_plain(returned):
        return b""
    return (_FAILED if failed else _RETURNED) + pickle.dumps(returned, pickle.HIGHEST_PROTOCOL)


def is_final(body: bytes) -> bool:
    """In the child: whether the call succeeded, so that its job must not run again."""
    return not body.startswith(_FAILED)


def end_of(body: bytes, runtime: float) -> tuple[bool, Any]:
    """The end of the call that ended with ``body`` after ``runtime`` seconds: whether it raised, and what."""
    if not body:
        return False, success(runtime)
    return body.startswith(_RAISED), pickle.loads(memoryview(body)[1:])  # noqa: S301 - from our own child


def success(runtime: float | None) -> Ended:
    """The end of an attempt of which only its success is known."""
    return 0, ("succeeded", runtime, *_SUCCEEDED), runtime


def packed_error(exc: BaseException) -> bytes:
    """In the child: what the call raised, with its traceback; called while it is handled."""
    try:
        return _RAISED + pickle.dumps(ExceptionInfo(), pickle.HIGHEST_PROTOCOL)
    except Exception:  # noqa: BLE001 - an exception may hold anything
        return _RAISED + pickle.dumps(info(WorkerLostError(repr(exc))), pickle.HIGHEST_PROTOCOL)


def info(exc: BaseException) -> ExceptionInfo:
    """``exc`` as Celery takes it."""
    try:
        raise exc
    except BaseException:  # noqa: BLE001 - the one above
        return ExceptionInfo()


def _is_plain(returned: Any) -> bool:
    return (
        isinstance(returned, tuple)
        and len(returned) == 3
        and isinstance(returned[1], tuple)
        and returned[1][0] == "succeeded"
        and returned[1][2:] == _SUCCEEDED
    )


__all__ = ["call", "end_of", "info", "is_final", "packed_call", "packed_error", "success"]
