"""Celery's globals as in a worker's process, while a test runs a job there.

A worker sets them once, when it starts (``setup_worker_optimizations``). Here they are put back after each job, because
the process is the test's, and may have other apps and other workers.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from celery import Task, _state
from celery.app import trace
from kombu.serialization import prepare_accept_content

from ..app.current import as_current


@contextmanager
def as_in_worker(celery: Any, name: str) -> Iterator[None]:
    """Within the block, this thread is in a process of the worker ``name`` of the app ``celery``."""
    localized, blocks = trace._localized[:], _state.task_join_will_block()  # noqa: SLF001
    call = Task.__call__
    with as_current(celery):
        celery.finalize()
        try:
            trace._localized[:] = [celery.tasks, prepare_accept_content(celery.conf.accept_content), name]  # noqa: SLF001
            trace._install_stack_protection()  # noqa: SLF001 - so that hooks get the request that the body had
            _state._set_task_join_will_block(True)  # noqa: SLF001 - as a worker's pool does
            yield
        finally:
            _state._set_task_join_will_block(blocks)  # noqa: SLF001
            if Task.__call__ is not call:
                trace.reset_worker_optimizations(celery)
            trace._localized[:] = localized  # noqa: SLF001


__all__ = ["as_in_worker"]
