"""Celery's current app, of this thread."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from celery import _state


@contextmanager
def as_current(celery: Any) -> Iterator[None]:
    """Within the block, ``celery`` is the current app of this thread."""
    before = _state._tls.current_app  # noqa: SLF001 - Celery has no getter that tells None
    _state._set_current_app(celery)  # noqa: SLF001
    try:
        yield
    finally:
        _state._set_current_app(before)  # noqa: SLF001


__all__ = ["as_current"]
